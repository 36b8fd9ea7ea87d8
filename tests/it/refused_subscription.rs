//! A refused subscription ends the client or does not, as its spec says, and is never kept quiet.

use std::time::Duration;

use mqtt_fleet::testing::{Packet, Sessions, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, Fleet, Outcome, QoS, RefusedSubscription, Report, Session};

use crate::support::fleet::ended;
use crate::support::receiving::{PATIENCE, count_in, reconnect, subscribed, tireless, wait_for_in};

const STOP: Duration = Duration::from_secs(10);

fn spec(name: &str, broker: &TestBroker, refused: RefusedSubscription) -> ClientSpec {
    ClientSpec::new(name, broker.url())
        .client_id(name)
        .retry(tireless())
        .subscribe("public", QoS::AtLeastOnce)
        .refused_subscription(refused)
}

fn refused() -> Outcome {
    Outcome::SubscriptionRefused {
        filter: "secret".to_owned(),
    }
}

/// Waits for so many announcements of the refusal.
fn wait_announced(fleet: &Fleet, times: usize) {
    let cause = Cause::SubscriptionRefused {
        filter: "secret".to_owned(),
    };
    for _ in 0..times {
        let states = fleet.states();
        while states.recv_timeout(PATIENCE).unwrap().cause() != Some(&cause) {}
    }
}

fn assert_reported(report: &Report, outcome: &Outcome, times: u64) {
    let plant = report.client("plant").unwrap();
    assert_eq!(plant.outcome(), outcome);
    assert_eq!(plant.stats().refused_subscriptions, times);
    assert!(plant.refused_subscriptions().contains(&"secret".to_owned()));
    assert_eq!(report.exit_code(), 1);
    let text = report.to_string();
    assert!(text.contains("subscription refused: secret"), "{text}");
}

/// Fails when the client goes on, retries, does not say goodbye, says the wrong thing, or takes another
/// client with it.
#[test]
fn it_ends_the_client_if_the_spec_says_so() {
    let broker = TestBroker::start().unwrap();
    broker.fail_subscribe("secret");
    let end = RefusedSubscription::EndClient;
    let builder = Fleet::builder()
        .client(spec("plant", &broker, end).subscribe("secret", QoS::AtLeastOnce))
        .client(spec("other", &broker, end));
    let fleet = builder.start().unwrap();
    assert_eq!(ended(&fleet, "plant"), refused());
    wait_announced(&fleet, 1);
    wait_for_in(&broker, "plant", 1, |it| *it == Packet::Disconnect);
    let other = fleet.client("other").unwrap();
    other.wait_subscribed(PATIENCE).unwrap();
    broker
        .publish("public", QoS::AtLeastOnce, false, "1")
        .unwrap();
    let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    let of_plant = usize::from(message.client() == "plant");
    assert!(of_plant == 0 || message.client() == "other");
    assert!(other.is_connected());
    assert_eq!(broker.connects("plant"), 1);
    let report = fleet.stop(STOP);
    assert_reported(&report, &refused(), 1);
    assert_eq!(*report.client("other").unwrap().outcome(), Outcome::Stopped);
    assert_eq!(
        count_in(&broker.seen(), "other", |it| matches!(
            it,
            Packet::Connect { .. }
        )),
        1
    );
}

/// Fails when a refusal that the client survives is kept quiet, costs it its other subscriptions, or
/// its connection.
#[test]
fn the_client_goes_on_without_it_otherwise() {
    let broker = TestBroker::start().unwrap();
    broker.fail_subscribe("secret");
    let spec = spec("plant", &broker, RefusedSubscription::Continue)
        .subscribe("secret", QoS::AtLeastOnce)
        .subscribe("news", QoS::AtMostOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    wait_announced(&fleet, 1);
    for topic in ["secret", "public", "news"] {
        broker.publish(topic, QoS::AtLeastOnce, false, "1").unwrap();
    }
    for topic in ["public", "news"] {
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(message.topic(), topic);
    }
    assert!(fleet.client("plant").unwrap().is_connected());
    assert_reported(&fleet.stop(STOP), &Outcome::Stopped, 1);
    assert_eq!(broker.connects("plant"), 1);
}

/// Fails when a subscription that is made at run time is under another rule.
#[test]
fn at_run_time_the_same_holds() {
    for (rule, outcome) in [
        (RefusedSubscription::EndClient, refused()),
        (RefusedSubscription::Continue, Outcome::Stopped),
    ] {
        let broker = TestBroker::start().unwrap();
        broker.fail_subscribe("secret");
        let fleet = subscribed(Fleet::builder().client(spec("plant", &broker, rule)));
        let client = fleet.client("plant").unwrap();
        client.subscribe("secret", QoS::AtLeastOnce).unwrap();
        wait_announced(&fleet, 1);
        match rule {
            RefusedSubscription::EndClient => assert_eq!(ended(&fleet, "plant"), outcome),
            _ => client.wait_subscribed(PATIENCE).unwrap(),
        }
        assert_reported(&fleet.stop(STOP), &outcome, 1);
        wait_for_in(&broker, "plant", 1, |it| *it == Packet::Disconnect);
        assert_eq!(broker.connects("plant"), 1);
    }
}

/// Fails when a refused filter is not asked for again on the next connection, in a session that was kept
/// or lost, or when its second refusal is kept quiet.
#[test]
fn it_is_asked_for_again_on_each_connection() {
    for session in [Session::Clean, Session::Kept] {
        let broker = TestBroker::start().unwrap();
        broker.fail_subscribe("secret");
        let spec = spec("plant", &broker, RefusedSubscription::Continue)
            .session(session)
            .subscribe("secret", QoS::AtLeastOnce);
        let fleet = subscribed(Fleet::builder().client(spec));
        for _ in 0..2 {
            reconnect(&broker, &fleet.client("plant").unwrap(), |id| {
                broker.cut(id)
            });
            fleet.wait_subscribed(PATIENCE).unwrap();
        }
        wait_announced(&fleet, 3);
        // The broker changes its mind.
        broker.clear_faults();
        reconnect(&broker, &fleet.client("plant").unwrap(), |id| {
            broker.cut(id)
        });
        fleet.wait_subscribed(PATIENCE).unwrap();
        broker
            .publish("secret", QoS::AtLeastOnce, false, "1")
            .unwrap();
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(message.topic(), "secret");
        drop(message);
        assert_reported(&fleet.stop(STOP), &Outcome::Stopped, 3);
    }
}

/// Fails when a filter that was granted once is thought granted for ever: a broker that lost the session
/// may refuse it.
#[test]
fn a_refusal_after_a_reconnect_ends_the_client_too() {
    let broker = TestBroker::start().unwrap();
    let spec = spec("plant", &broker, RefusedSubscription::EndClient)
        .session(Session::Kept)
        .subscribe("secret", QoS::AtLeastOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    broker.fail_subscribe("secret");
    // With its session the client does not ask.
    reconnect(&broker, &fleet.client("plant").unwrap(), |id| {
        broker.cut(id)
    });
    broker.stop();
    broker.restart(Sessions::Lost).unwrap();
    assert_eq!(ended(&fleet, "plant"), refused());
    assert_reported(&fleet.stop(STOP), &refused(), 1);
    assert_eq!(broker.connects("plant"), 3);
}
