//! Subscriptions outlive connections, as they stand at the moment.

use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, Seen, Sessions, TestBroker};
use mqtt_fleet::{
    Cause, ClientSpec, Fleet, QoS, Session, SubscribeErrorKind, TopicError, WaitError,
};

use crate::support::receiving::{PATIENCE, reconnect, subscribed, tireless, wait_for_in};

const STOP: Duration = Duration::from_secs(10);

/// Subscribed to "end", with which `arrives` ends.
fn plant(broker: &TestBroker, session: Session) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .session(session)
        .retry(tireless())
        .subscribe("end", QoS::AtMostOnce)
}

/// Publishes to all these topics; returns those of which the message comes.
fn arrives(broker: &TestBroker, fleet: &Fleet, topics: &[&str]) -> Vec<String> {
    fleet.wait_subscribed(PATIENCE).unwrap();
    for topic in topics.iter().chain(&["end"]) {
        broker.publish(*topic, QoS::AtMostOnce, false, "1").unwrap();
    }
    let mut came = Vec::new();
    loop {
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        if message.topic() == "end" {
            return came;
        }
        came.push(message.topic().to_owned());
    }
}

/// The filters of each SUBSCRIBE that came from the client.
fn asked(seen: &[Seen]) -> Vec<Vec<(String, QoS)>> {
    let from_it = seen
        .iter()
        .filter(|it| it.client == "plant" && it.direction == Direction::In);
    from_it
        .filter_map(|it| match &it.packet {
            Packet::Subscribe { filters, .. } => Some(filters.clone()),
            _ => None,
        })
        .collect()
}

fn is_unsubscribe(packet: &Packet) -> bool {
    matches!(packet, Packet::Unsubscribe { .. })
}

/// Fails when subscriptions are not made again, on a broker that came back knowing nothing.
#[test]
fn they_work_again_after_the_broker_has_lost_everything() {
    for session in [Session::Clean, Session::Kept] {
        let broker = TestBroker::start().unwrap();
        let spec = plant(&broker, session).subscribe("a/+", QoS::AtLeastOnce);
        let fleet = subscribed(Fleet::builder().client(spec));
        let client = fleet.client("plant").unwrap();
        assert_eq!(arrives(&broker, &fleet, &["a/1", "b"]), ["a/1"]);
        for _ in 0..2 {
            broker.stop();
            client.wait_disconnected(PATIENCE).unwrap();
            broker.restart(Sessions::Lost).unwrap();
            client.wait_connected(PATIENCE).unwrap();
            assert_eq!(arrives(&broker, &fleet, &["a/1", "b"]), ["a/1"]);
        }
        assert_eq!(asked(&broker.seen()).len(), 3);
        fleet.stop(STOP);
    }
}

/// Fails when a kept session is subscribed to again: the broker would send all retained messages anew.
#[test]
fn a_kept_session_is_not_asked_again() {
    let broker = TestBroker::start().unwrap();
    let spec = plant(&broker, Session::Kept).subscribe("a", QoS::AtLeastOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    for _ in 0..2 {
        broker.stop();
        client.wait_disconnected(PATIENCE).unwrap();
        broker.restart(Sessions::Kept).unwrap();
        client.wait_connected(PATIENCE).unwrap();
        assert_eq!(arrives(&broker, &fleet, &["a", "b"]), ["a"]);
    }
    assert_eq!(asked(&broker.seen()).len(), 1);
    fleet.stop(STOP);
}

/// Fails when a change at run time is forgotten at the next reconnect, or, made without a connection, is
/// never told to the broker: one that kept the session still has the old subscription.
#[test]
fn changes_at_run_time_are_remembered() {
    const ALL: [&str; 4] = ["a", "b", "c", "d"];
    for (session, kept) in [
        (Session::Clean, Sessions::Lost),
        (Session::Kept, Sessions::Kept),
        (Session::Kept, Sessions::Lost),
    ] {
        let broker = TestBroker::start().unwrap();
        let spec = plant(&broker, session)
            .subscribe("a", QoS::AtMostOnce)
            .subscribe("b", QoS::AtMostOnce);
        let fleet = subscribed(Fleet::builder().client(spec));
        let client = fleet.client("plant").unwrap();
        let while_disconnected = |change: &dyn Fn()| {
            broker.stop();
            client.wait_disconnected(PATIENCE).unwrap();
            change();
            broker.restart(kept).unwrap();
            client.wait_connected(PATIENCE).unwrap();
        };
        // While connected: at once, and after a reconnect.
        client.subscribe("c", QoS::AtMostOnce).unwrap();
        client.unsubscribe("a").unwrap();
        wait_for_in(&broker, "plant", 1, is_unsubscribe);
        assert_eq!(arrives(&broker, &fleet, &ALL), ["b", "c"]);
        while_disconnected(&|| {});
        assert_eq!(arrives(&broker, &fleet, &ALL), ["b", "c"]);
        // While disconnected.
        while_disconnected(&|| {
            client.subscribe("d", QoS::AtMostOnce).unwrap();
            client.unsubscribe("b").unwrap();
        });
        if kept == Sessions::Kept {
            wait_for_in(&broker, "plant", 2, is_unsubscribe);
        }
        assert_eq!(
            arrives(&broker, &fleet, &ALL),
            ["c", "d"],
            "{session:?} {kept:?}"
        );
        // Back and forth leaves it as it is.
        while_disconnected(&|| {
            client.unsubscribe("c").unwrap();
            client.subscribe("c", QoS::AtMostOnce).unwrap();
        });
        assert_eq!(arrives(&broker, &fleet, &ALL), ["c", "d"]);
        fleet.stop(STOP);
    }
}

/// Fails when an UNSUBSCRIBE that was lost with its connection is not sent again to a broker that kept
/// the session.
#[test]
fn a_lost_unsubscribe_is_repeated() {
    let broker = TestBroker::start().unwrap();
    let spec = plant(&broker, Session::Kept).subscribe("a", QoS::AtMostOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    broker.cut_after("plant", 1);
    client.unsubscribe("a").unwrap();
    wait_for_in(&broker, "plant", 2, is_unsubscribe);
    assert_eq!(arrives(&broker, &fleet, &["a"]), [""; 0]);
    // Once it is answered, it is not sent any more.
    reconnect(&broker, &client, |id| broker.cut(id));
    assert_eq!(arrives(&broker, &fleet, &["a"]), [""; 0]);
    let seen = broker.seen();
    let unsubscribes = seen.iter().filter(|it| is_unsubscribe(&it.packet));
    assert_eq!(unsubscribes.count(), 2);
    assert_eq!(broker.connects("plant"), 3);
    fleet.stop(STOP);
}

/// Fails when a filter is subscribed to a second time beside the first, or keeps its old quality of
/// service, now or after a reconnect.
#[test]
fn the_same_filter_again_changes_its_qos() {
    let broker = TestBroker::start().unwrap();
    let spec = plant(&broker, Session::Clean)
        .subscribe("a", QoS::AtMostOnce)
        .subscribe("a", QoS::ExactlyOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    let qos_of_next = || {
        fleet.wait_subscribed(PATIENCE).unwrap();
        broker.publish("a", QoS::ExactlyOnce, false, "1").unwrap();
        fleet
            .messages()
            .unwrap()
            .recv_timeout(PATIENCE)
            .unwrap()
            .qos()
    };
    assert_eq!(qos_of_next(), QoS::ExactlyOnce);
    client.subscribe("a", QoS::AtLeastOnce).unwrap();
    assert_eq!(qos_of_next(), QoS::AtLeastOnce);
    reconnect(&broker, &client, |id| broker.kick(id));
    assert_eq!(qos_of_next(), QoS::AtLeastOnce);
    let end = ("end".to_owned(), QoS::AtMostOnce);
    let a = |qos| ("a".to_owned(), qos);
    assert_eq!(
        asked(&broker.seen()),
        [
            vec![end.clone(), a(QoS::ExactlyOnce)],
            vec![a(QoS::AtLeastOnce)],
            vec![end, a(QoS::AtLeastOnce)],
        ]
    );
    fleet.stop(STOP);
}

/// Fails when many filters make a packet above the limit, for which rumqttc ends the connection, again
/// and again; or when some of them get lost on the way.
#[test]
fn large_sets_are_split_below_the_packet_size_limit() {
    let broker = TestBroker::start().unwrap();
    let mut spec = plant(&broker, Session::Clean).max_packet_size(2_048);
    for n in 0..600 {
        spec = spec.subscribe(format!("building/{n:04}/temperature"), QoS::AtLeastOnce);
    }
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    reconnect(&broker, &client, |id| broker.kick(id));
    let last = "building/0599/temperature";
    assert_eq!(arrives(&broker, &fleet, &[last]), [last]);
    let packets = asked(&broker.seen());
    // 29 bytes for each filter.
    assert_eq!(packets.len(), 2 * 9);
    let n_filters: usize = packets.iter().map(Vec::len).sum();
    assert_eq!(n_filters, 2 * 601);
    assert_eq!(broker.connects("plant"), 2);
    assert_eq!(fleet.stop(STOP).total().refused_subscriptions, 0);
}

/// Fails when an error is another one than it says, or changes what is subscribed.
#[test]
fn errors_say_what_is_wrong() {
    let broker = TestBroker::start().unwrap();
    let fleet =
        subscribed(Fleet::builder().client(plant(&broker, Session::Clean).max_packet_size(200)));
    let client = fleet.client("plant").unwrap();
    let subscribe = |filter: &str| client.subscribe(filter, QoS::AtMostOnce).unwrap_err();
    let error = subscribe("a/#/b");
    assert_eq!(
        error.kind(),
        SubscribeErrorKind::Filter(TopicError::HashNotLast)
    );
    assert_eq!((error.client(), error.filter()), ("plant", "a/#/b"));
    let too_long = "x".repeat(191);
    assert_eq!(subscribe(&too_long).kind(), SubscribeErrorKind::TooLarge);
    let unknown = client.unsubscribe("nobody").unwrap_err();
    assert_eq!(unknown.kind(), SubscribeErrorKind::Unknown);
    let longest = "x".repeat(190);
    client.subscribe(longest.as_str(), QoS::AtMostOnce).unwrap();
    assert_eq!(arrives(&broker, &fleet, &[&longest]), [longest]);
    client.stop();
    assert_eq!(subscribe("a").kind(), SubscribeErrorKind::Ended);
    let ended = client.unsubscribe("end").unwrap_err();
    assert_eq!(ended.kind(), SubscribeErrorKind::Ended);
    assert_eq!(broker.connects("plant"), 1);
    fleet.stop(STOP);
}

/// Fails when `wait_subscribed` returns before SUBACK, at start or for a later `subscribe`; when it waits
/// for ever for a filter that is refused; and when the refusal is told to nobody.
#[test]
fn wait_subscribed_waits_for_every_answer() {
    let broker = TestBroker::start().unwrap();
    broker.never_suback(true);
    let spec = plant(&broker, Session::Clean);
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let client = fleet.client("plant").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    let timed_out = fleet.wait_subscribed(Duration::from_millis(20));
    assert!(matches!(timed_out, Err(WaitError::Timeout { .. })));
    broker.clear_faults();
    broker.fail_subscribe("secret");
    reconnect(&broker, &client, |id| broker.kick(id));
    client.wait_subscribed(PATIENCE).unwrap();

    client.subscribe("secret", QoS::AtMostOnce).unwrap();
    client.wait_subscribed(PATIENCE).unwrap();
    assert_eq!(client.stats().refused_subscriptions, 1);
    let refused = Cause::SubscriptionRefused {
        filter: "secret".to_owned(),
    };
    let states = fleet.states();
    while states.recv_timeout(PATIENCE).unwrap().cause() != Some(&refused) {}
    assert!(client.is_connected());
    let report = fleet.stop(STOP);
    let plant = report.client("plant").unwrap();
    assert_eq!(plant.refused_subscriptions(), ["secret"]);
    assert_eq!(report.exit_code(), 1);
}
