//! A subscription that is granted with a lower quality of service than asked for is never kept quiet.

use std::time::Duration;

use mqtt_fleet::testing::{Packet, Sessions, TestBroker};
use mqtt_fleet::{
    Cause, ClientProblem, ClientSpec, Fleet, OnLowered, Outcome, QoS, Report, Session,
};

use crate::support::fleet::ended;
use crate::support::mosquitto::Mosquitto;
use crate::support::receiving::{PATIENCE, reconnect, subscribed, tireless, wait_for_in};

const STOP: Duration = Duration::from_secs(10);

const ASKED: QoS = QoS::ExactlyOnce;
const GRANTED: QoS = QoS::AtMostOnce;

fn spec(broker: &TestBroker, on_lowered: OnLowered) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
        .subscribe("low", ASKED)
        .subscribe("same", QoS::AtLeastOnce)
        .lowered_subscription(on_lowered)
}

fn outcome() -> Outcome {
    Outcome::SubscriptionLowered {
        filter: "low".to_owned(),
        asked: ASKED,
        granted: GRANTED,
    }
}

/// Waits for so many announcements.
fn wait_announced(fleet: &Fleet, times: usize) {
    let cause = Cause::SubscriptionLowered {
        filter: "low".to_owned(),
        asked: ASKED,
        granted: GRANTED,
    };
    for _ in 0..times {
        let states = fleet.states();
        while states.recv_timeout(PATIENCE).unwrap().cause() != Some(&cause) {}
    }
}

fn assert_reported(report: &Report, outcome: &Outcome, times: u64) {
    let plant = report.client("plant").unwrap();
    assert_eq!(plant.outcome(), outcome);
    assert_eq!(plant.stats().lowered_subscriptions, times);
    let [lowered] = plant.lowered_subscriptions() else {
        panic!("{report}");
    };
    assert_eq!(
        (lowered.filter.as_str(), lowered.asked, lowered.granted),
        ("low", ASKED, GRANTED)
    );
    let text = report.to_string();
    let line = "subscription lowered: low (asked for QoS 2, granted QoS 0)";
    assert!(text.contains(line), "{text}");
}

/// Fails when a lower quality of service is not announced, counted and in the report, or costs the client
/// its connection.
#[test]
fn it_is_told_everywhere() {
    let broker = TestBroker::start().unwrap();
    broker.lower_subscribe("low", GRANTED);
    // Never lowers what is as low already.
    broker.lower_subscribe("same", QoS::AtLeastOnce);
    let fleet = subscribed(Fleet::builder().client(spec(&broker, OnLowered::Continue)));
    wait_announced(&fleet, 1);
    broker.publish("low", ASKED, false, "1").unwrap();
    let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!(message.qos(), GRANTED);
    drop(message);
    let report = fleet.stop(STOP);
    assert_reported(&report, &Outcome::Stopped, 1);
    let plant = report.client("plant").unwrap();
    let problems: Vec<_> = plant.problems().collect();
    assert_eq!(problems, [ClientProblem::SubscriptionLowered]);
    assert_eq!(report.exit_code(), 1, "it has less than it asked for");
    assert_eq!(broker.connects("plant"), 1);
}

/// Fails when the spec's own choice costs the code, or is not shown all the same.
#[test]
fn what_the_spec_accepts_is_shown_and_costs_nothing() {
    let broker = TestBroker::start().unwrap();
    broker.lower_subscribe("low", GRANTED);
    let fleet = subscribed(Fleet::builder().client(spec(&broker, OnLowered::Accept)));
    let report = fleet.stop(STOP);
    assert_reported(&report, &Outcome::Stopped, 1);
    assert!(
        report.to_string().starts_with("1 of 1 client had problems"),
        "{report}"
    );
    assert_eq!(report.exit_code(), 0);
}

/// Fails when the client goes on, retries, or does not say goodbye.
#[test]
fn it_ends_the_client_if_the_spec_says_so() {
    let broker = TestBroker::start().unwrap();
    broker.lower_subscribe("low", GRANTED);
    let builder = Fleet::builder().client(spec(&broker, OnLowered::EndClient));
    let fleet = builder.start().unwrap();
    assert_eq!(ended(&fleet, "plant"), outcome());
    wait_for_in(&broker, "plant", 1, |it| *it == Packet::Disconnect);
    let report = fleet.stop(STOP);
    assert_reported(&report, &outcome(), 1);
    assert_eq!(report.exit_code(), 1);
    assert_eq!(broker.connects("plant"), 1);
}

/// Fails when a subscription that is made at run time, or made again on a new connection, is under
/// another rule.
#[test]
fn at_run_time_and_after_a_reconnect_the_same_holds() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(spec(&broker, OnLowered::Continue)));
    let plant = fleet.client("plant").unwrap();
    assert_eq!(plant.stats().lowered_subscriptions, 0);
    broker.lower_subscribe("low", GRANTED);
    plant.subscribe("low", ASKED).unwrap();
    plant.wait_subscribed(PATIENCE).unwrap();
    reconnect(&broker, &plant, |id| broker.cut(id));
    plant.wait_subscribed(PATIENCE).unwrap();
    wait_announced(&fleet, 2);
    assert_reported(&fleet.stop(STOP), &Outcome::Stopped, 2);
}

/// Fails when what was granted once is thought granted for ever: a broker that lost the session may grant
/// less.
#[test]
fn a_session_that_was_lost_may_be_granted_less() {
    let broker = TestBroker::start().unwrap();
    let spec = spec(&broker, OnLowered::EndClient).session(Session::Kept);
    let fleet = subscribed(Fleet::builder().client(spec));
    broker.lower_subscribe("low", GRANTED);
    // With its session the client does not ask.
    reconnect(&broker, &fleet.client("plant").unwrap(), |id| {
        broker.cut(id)
    });
    broker.stop();
    broker.restart(Sessions::Lost).unwrap();
    assert_eq!(ended(&fleet, "plant"), outcome());
    assert_reported(&fleet.stop(STOP), &outcome(), 1);
}

/// Fails when a higher quality of service than asked for ends the connection or is called lowered.
#[test]
fn a_higher_one_is_taken_as_granted() {
    let broker = TestBroker::start().unwrap();
    broker.never_suback(true);
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .subscribe("a", QoS::AtMostOnce);
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let is_subscribe = |it: &Packet| matches!(it, Packet::Subscribe { .. });
    wait_for_in(&broker, "plant", 1, is_subscribe);
    let seen = broker.seen();
    let asked = seen.iter().find_map(|seen| match &seen.packet {
        Packet::Subscribe { packet_id, .. } => Some(*packet_id),
        _ => None,
    });
    let codes = vec![2];
    let packet_id = asked.unwrap();
    assert!(broker.send_packet("plant", Packet::Suback { packet_id, codes }));
    fleet.wait_subscribed(PATIENCE).unwrap();
    let report = fleet.stop(STOP);
    assert_eq!(report.total().lowered_subscriptions, 0);
    assert_eq!((report.total().losses, report.exit_code()), (0, 0));
}

/// Fails when what a real broker grants is read wrongly.
#[test]
fn mosquitto_with_a_limit_lowers_and_is_told() {
    let Some(mosquitto) = Mosquitto::builder().setting("max_qos", "1").start() else {
        return;
    };
    let spec = ClientSpec::new("plant", mosquitto.url()).subscribe("low", ASKED);
    let fleet = subscribed(Fleet::builder().client(spec));
    let report = fleet.stop(STOP);
    let plant = report.client("plant").unwrap();
    let lowered = &plant.lowered_subscriptions()[0];
    assert_eq!((lowered.asked, lowered.granted), (ASKED, QoS::AtLeastOnce));
}
