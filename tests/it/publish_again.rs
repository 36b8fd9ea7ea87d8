//! What was accepted outlives the connection: it is sent on the next one, in order.

use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, Sessions, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, QoS, Session};

use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, Publish, count_in, number, numbered, publishes, subscribed, tireless, wait_for_in,
    wait_for_publishes,
};

const STOP: Duration = Duration::from_secs(10);

fn plant(broker: &TestBroker, session: Session) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .session(session)
        .retry(tireless())
}

fn sent(broker: &TestBroker) -> Vec<Publish> {
    publishes(&broker.seen(), "plant", Direction::In)
}

fn numbers(publishes: &[Publish]) -> Vec<usize> {
    publishes.iter().map(|it| number(&it.payload)).collect()
}

fn publish(fleet: &Fleet, qos: QoS, numbers: std::ops::Range<usize>) {
    let client = fleet.client("plant").unwrap();
    for n in numbers {
        client.publish("t", qos, false, numbered(n)).unwrap();
    }
}

fn wait_acknowledged(fleet: &Fleet, count: u64) {
    wait_until("all are acknowledged", PATIENCE, || {
        fleet.stats().published.acknowledged == count
    });
}

/// Fails when what is published without a connection is lost (rumqttc's own queue would lose it), sent
/// twice or sent out of order.
#[test]
fn what_is_published_while_disconnected_is_sent_afterwards() {
    for session in [Session::Clean, Session::Kept] {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker, session)));
        let client = fleet.client("plant").unwrap();
        broker.stop();
        client.wait_disconnected(PATIENCE).unwrap();
        publish(&fleet, QoS::AtLeastOnce, 0..50);
        publish(&fleet, QoS::AtMostOnce, 50..60);
        publish(&fleet, QoS::ExactlyOnce, 60..70);
        // One that was published in the moment of the loss comes back from rumqttc first.
        wait_until("all wait", PATIENCE, || client.queued() == 70);
        broker.restart(Sessions::Kept).unwrap();
        wait_for_publishes(&broker, "plant", 70);
        wait_acknowledged(&fleet, 60);
        let sent = sent(&broker);
        assert_eq!(numbers(&sent), (0..70).collect::<Vec<_>>());
        assert!(sent.iter().all(|it| !it.dup));
        assert_eq!(fleet.stop(STOP).total().published.finished(), 70);
    }
}

/// How many of forty may be under way: of QoS 2 always few.
fn window(qos: QoS) -> usize {
    if qos == QoS::ExactlyOnce { 10 } else { 20 }
}

/// Cuts the connection with a window of messages unacknowledged and others behind them; returns what
/// the next connection saw.
fn cut_in_flight(session: Session, qos: QoS) -> (Vec<Publish>, Vec<Publish>) {
    let broker = TestBroker::start().unwrap();
    let window = window(qos);
    let fleet = subscribed(Fleet::builder().client(plant(&broker, session).window(20)));
    broker.hold_acks(true);
    publish(&fleet, qos, 0..40);
    wait_for_publishes(&broker, "plant", window);
    broker.cut("plant");
    broker.hold_acks(false);
    wait_for_publishes(&broker, "plant", window + 40);
    wait_acknowledged(&fleet, 40);
    let sent = sent(&broker);
    let connection = sent[0].connection;
    let (before, after): (Vec<_>, Vec<_>) =
        sent.into_iter().partition(|it| it.connection == connection);
    assert_eq!(numbers(&before), (0..window).collect::<Vec<_>>());
    assert_eq!(numbers(&after), (0..40).collect::<Vec<_>>());
    assert_eq!(broker.connects("plant"), 2);
    let stats = fleet.stop(STOP).total();
    assert_eq!(
        (stats.published.accepted, stats.published.acknowledged),
        (40, 40)
    );
    (before, after)
}

/// Fails when an unacknowledged message is not sent again, is overtaken by a later one, loses its
/// identifier, or is not marked as a repetition (rumqttc never does that).
#[test]
fn unacknowledged_messages_are_repeated_in_a_kept_session() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (before, after) = cut_in_flight(Session::Kept, qos);
        for (first, again) in before.iter().zip(&after) {
            assert_eq!((again.packet_id, again.qos), (first.packet_id, qos));
            assert!(again.dup, "{again:?}");
        }
        assert!(after[window(qos)..].iter().all(|it| !it.dup));
    }
}

/// Fails when unacknowledged messages die with the session (rumqttc drops them then), or when they are
/// marked as repetitions of what the broker knows nothing of.
#[test]
fn unacknowledged_messages_are_sent_anew_without_a_session() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (_before, after) = cut_in_flight(Session::Clean, qos);
        assert!(after.iter().all(|it| !it.dup && it.qos == qos));
    }
}

/// Fails when the order of repetition is that of the identifiers: those of a window of four go up to
/// forty and begin again at one, and the cut comes while 39, 40, 1 and 2 are unacknowledged.
#[test]
fn the_order_is_kept_where_identifiers_begin_again() {
    for session in [Session::Clean, Session::Kept] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            // So many that the cut falls on every place of the identifiers' round.
            for published in 34..42 {
                let broker = TestBroker::start().unwrap();
                let fleet = subscribed(Fleet::builder().client(plant(&broker, session).window(4)));
                publish(&fleet, qos, 0..published);
                wait_acknowledged(&fleet, published as u64);
                broker.hold_acks(true);
                publish(&fleet, qos, published..published + 6);
                wait_for_publishes(&broker, "plant", published + 4);
                broker.cut("plant");
                broker.hold_acks(false);
                wait_acknowledged(&fleet, published as u64 + 6);
                let again = &numbers(&sent(&broker))[published + 4..];
                let expected: Vec<usize> = (published..published + 6).collect();
                assert_eq!(again, expected, "{session:?} {qos:?} {published}");
                fleet.stop(STOP);
            }
        }
    }
}

/// Fails when a message that was interrupted a second time, while it was being repeated, is lost, or
/// changes places with one that was not repeated yet.
#[test]
fn a_connection_cut_while_it_repeats_keeps_the_order() {
    for session in [Session::Clean, Session::Kept] {
        let broker = TestBroker::start().unwrap();
        // Otherwise the third connection repeats one by one: see `poison.rs`.
        let plant = plant(&broker, session).window(20).max_closes(0);
        let fleet = subscribed(Fleet::builder().client(plant));
        broker.hold_acks(true);
        publish(&fleet, QoS::AtLeastOnce, 0..30);
        wait_for_publishes(&broker, "plant", 20);
        // CONNECT and seven repetitions, then it breaks again; and once more.
        for _ in 0..2 {
            broker.cut_after("plant", 8);
            let before = broker.connects("plant");
            broker.cut("plant");
            broker
                .wait_for(|_| broker.connects("plant") == before + 2, PATIENCE)
                .unwrap();
        }
        broker.hold_acks(false);
        wait_acknowledged(&fleet, 30);
        let sent = sent(&broker);
        let last = sent.last().unwrap().connection;
        let after: Vec<_> = sent
            .into_iter()
            .filter(|it| it.connection == last)
            .collect();
        assert_eq!(numbers(&after), (0..30).collect::<Vec<_>>(), "{session:?}");
        fleet.stop(STOP);
    }
}

/// Fails when a QoS 2 handshake that is half done is begun anew (the message would come twice), or is
/// never completed.
#[test]
fn a_qos_2_handshake_goes_on_in_a_kept_session() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker, Session::Kept)));
    broker.hold_acks(true);
    publish(&fleet, QoS::ExactlyOnce, 0..1);
    wait_for_publishes(&broker, "plant", 1);
    // The next packet is PUBREL, and it is lost with the connection.
    broker.cut_after("plant", 1);
    broker.hold_acks(false);
    wait_acknowledged(&fleet, 1);
    publish(&fleet, QoS::ExactlyOnce, 1..3);
    wait_acknowledged(&fleet, 3);
    assert_eq!(numbers(&sent(&broker)), [0, 1, 2]);
    let is_pubrel = |packet: &Packet| matches!(packet, Packet::Pubrel { .. });
    assert_eq!(count_in(&broker.seen(), "plant", is_pubrel), 4);
    assert_eq!(broker.connects("plant"), 2);
    fleet.stop(STOP);
}

/// Fails when messages are lost in the moment of the loss itself: a thread publishes all the while that
/// the connection is cut again and again.
#[test]
fn nothing_is_lost_while_connections_come_and_go() {
    for session in [Session::Clean, Session::Kept] {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker, session)));
        std::thread::scope(|scope| {
            scope.spawn(|| publish(&fleet, QoS::AtLeastOnce, 0..2_000));
            for cut in 1..=5 {
                wait_for_publishes(&broker, "plant", 200 * cut);
                broker.cut("plant");
                wait_for_in(&broker, "plant", cut + 1, |packet| {
                    matches!(packet, Packet::Connect { .. })
                });
            }
        });
        wait_acknowledged(&fleet, 2_000);
        let mut firsts = Vec::new();
        for n in numbers(&sent(&broker)) {
            if firsts.last().is_none_or(|last| n > *last) {
                firsts.push(n);
            }
        }
        // Repetitions aside, each comes after the one before it.
        let skipped = firsts.iter().enumerate().find(|(place, n)| place != *n);
        assert_eq!((skipped, firsts.len()), (None, 2_000), "{session:?}");
        fleet.stop(STOP);
    }
}
