//! A QoS 2 message comes once, wherever its handshake was interrupted.

use std::time::Duration;

use bytes::Bytes;
use mqtt_fleet::testing::{Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, Message, QoS, Session};

use crate::support::fleet::{ended, quick_retry};
use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, count_in, number, numbered, reconnect, subscribed, tireless, wait_for_in,
    wait_for_publishes,
};

const STOP: Duration = Duration::from_secs(10);

fn plant(broker: &TestBroker) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .session(Session::Kept)
        .retry(tireless())
        .subscribe("t", QoS::ExactlyOnce)
}

fn is_pubrec(packet: &Packet) -> bool {
    matches!(packet, Packet::Pubrec { .. })
}

fn is_pubcomp(packet: &Packet) -> bool {
    matches!(packet, Packet::Pubcomp { .. })
}

fn send(broker: &TestBroker, n: usize) {
    let sent = broker.publish("t", QoS::ExactlyOnce, false, numbered(n));
    sent.unwrap();
}

fn next(fleet: &Fleet) -> Message {
    fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap()
}

/// Sends one more message and asserts that it is the next one: nothing came a second time.
fn assert_nothing_else(broker: &TestBroker, fleet: &Fleet) {
    send(broker, 999);
    let message = next(fleet);
    assert_eq!(
        (message.text().as_ref(), message.duplicate()),
        ("999", false)
    );
}

/// A PUBLISH at QoS 2 to "t" that says that it is a repetition.
fn repetition(packet_id: u8, payload: u8) -> Bytes {
    Bytes::from(vec![0x3c, 6, 0, 1, b't', 0, packet_id, payload])
}

/// Fails when a broker that repeats PUBLISH on the same connection, as those of MQTT 3.1 may, has its
/// message delivered twice, or when what comes behind it is not acknowledged any more.
#[test]
fn repeated_on_the_same_connection() {
    for repetitions in 1..=3 {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker)));
        send(&broker, 1);
        let first = next(&fleet);
        for _ in 0..repetitions {
            assert!(broker.send_raw("plant", repetition(1, b'1')));
        }
        wait_until("the repetitions came", PATIENCE, || {
            fleet.stats().repeated == repetitions
        });
        drop(first);
        wait_for_in(&broker, "plant", 1, is_pubcomp);
        assert_nothing_else(&broker, &fleet);
        wait_for_in(&broker, "plant", 2, is_pubcomp);
        let stats = fleet.stop(STOP).total();
        assert_eq!((stats.handled, stats.repeated), (2, repetitions));
        assert_eq!(broker.connects("plant"), 1);
    }
}

/// Fails when a message comes twice because the connection was lost while it was handled, or when its
/// handshake is not completed on the next one.
#[test]
fn lost_before_it_was_handled() {
    for cuts in 1..=3 {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker)));
        let client = fleet.client("plant").unwrap();
        send(&broker, 1);
        let message = next(&fleet);
        for cut in 1..=cuts {
            reconnect(&broker, &client, |id| broker.cut(id));
            wait_until("it is repeated", PATIENCE, || {
                client.stats().repeated == cut
            });
        }
        assert_eq!(count_in(&broker.seen(), "plant", is_pubrec), 0);
        drop(message);
        wait_for_in(&broker, "plant", 1, is_pubcomp);
        assert_nothing_else(&broker, &fleet);
        wait_for_in(&broker, "plant", 2, is_pubcomp);
        assert_eq!(count_in(&broker.seen(), "plant", is_pubrec), 2);
        assert_eq!(broker.connects("plant") as u64, 1 + cuts);
        let stats = fleet.stop(STOP).total();
        assert_eq!((stats.handled, stats.repeated), (2, cuts));
    }
}

/// Fails when a message comes twice, or a reconnect follows another, after a loss at any packet of the
/// handshakes of four messages: each PUBREC and each PUBCOMP.
#[test]
fn lost_at_any_packet() {
    for packet in 1..=8 {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(plant(&broker)));
        broker.cut_after("plant", packet);
        (0..4).for_each(|n| send(&broker, n));
        let mut came: Vec<usize> = (0..4).map(|_| number(next(&fleet).payload())).collect();
        came.sort_unstable();
        assert_eq!(came, [0, 1, 2, 3], "packet {packet}");
        broker
            .wait_for(|_| broker.connects("plant") == 2, PATIENCE)
            .unwrap();
        assert_nothing_else(&broker, &fleet);
        // The last handshake is complete when everything before it is.
        let is_last = |it: &Packet| *it == Packet::Pubcomp { packet_id: 5 };
        wait_for_in(&broker, "plant", 1, is_last);
        for packet_id in 1..=4 {
            let completed = |it: &Packet| *it == Packet::Pubcomp { packet_id };
            wait_for_in(&broker, "plant", 1, completed);
        }
        let stats = fleet.stop(STOP).total();
        assert_eq!((stats.handled, stats.unmatched), (5, 0), "packet {packet}");
        assert_eq!(stats.received, 5 + stats.repeated, "packet {packet}");
        assert_eq!(broker.connects("plant"), 2, "packet {packet}");
    }
}

/// A client that ends with its first connection, in a fleet of its own: its state is gone then, the
/// broker's is not.
fn interrupted(broker: &TestBroker, packet: usize) {
    let spec = plant(broker).retry(quick_retry(1));
    let fleet = subscribed(Fleet::builder().client(spec));
    broker.cut_after("plant", packet);
    send(broker, 1);
    drop(next(&fleet));
    ended(&fleet, "plant");
    fleet.stop(STOP);
}

/// Fails when the PUBREL of a message that an earlier process received ends each new connection, or
/// delivers something; for a client that still subscribes at QoS 2 and for one that does not.
#[test]
fn released_by_another_process() {
    for (subscribes, connects) in [(true, 2), (false, 2)] {
        let broker = TestBroker::start().unwrap();
        interrupted(&broker, 2);
        assert_eq!(count_in(&broker.seen(), "plant", is_pubcomp), 1);
        let spec = match subscribes {
            true => plant(&broker),
            // The broker goes on with the subscription of the kept session.
            false => ClientSpec::new("plant", broker.url())
                .client_id("plant")
                .session(Session::Kept)
                .retry(tireless()),
        };
        let fleet = subscribed(Fleet::builder().client(spec));
        wait_for_in(&broker, "plant", 2, is_pubcomp);
        assert_nothing_else(&broker, &fleet);
        wait_for_in(&broker, "plant", 3, is_pubcomp);
        let stats = fleet.stop(STOP).total();
        assert_eq!((stats.received, stats.repeated), (1, 0));
        assert!(broker.connects("plant") <= connects);
    }
}

/// Fails when a message whose PUBREC was lost with the process does not come to the next one: nobody
/// there has handled it, as far as that one can know.
#[test]
fn repeated_to_another_process() {
    let broker = TestBroker::start().unwrap();
    interrupted(&broker, 1);
    let fleet = subscribed(Fleet::builder().client(plant(&broker)));
    let message = next(&fleet);
    assert_eq!((message.text().as_ref(), message.duplicate()), ("1", true));
    drop(message);
    wait_for_in(&broker, "plant", 1, is_pubcomp);
    assert_nothing_else(&broker, &fleet);
    fleet.stop(STOP);
    assert_eq!(broker.connects("plant"), 2);
}

/// Fails when identifiers of a lost session are remembered: new messages under them would be taken for
/// repetitions and never be delivered.
#[test]
fn a_new_session_has_new_messages() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker).session(Session::Clean)));
    let client = fleet.client("plant").unwrap();
    send(&broker, 1);
    let old = next(&fleet);
    reconnect(&broker, &client, |id| broker.cut(id));
    fleet.wait_subscribed(PATIENCE).unwrap();
    send(&broker, 2);
    let new = next(&fleet);
    assert_eq!((new.text().as_ref(), new.duplicate()), ("2", false));
    drop(old);
    let receipt = client.publish("round", QoS::AtLeastOnce, false, "trip");
    receipt.unwrap().wait_timeout(PATIENCE).unwrap();
    wait_for_publishes(&broker, "plant", 1);
    assert_eq!(count_in(&broker.seen(), "plant", is_pubrec), 0);
    drop(new);
    wait_for_in(&broker, "plant", 1, is_pubcomp);
    assert_eq!(fleet.stop(STOP).total().repeated, 0);
}
