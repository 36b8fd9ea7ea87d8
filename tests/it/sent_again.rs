//! What a broker sends again in a kept session is handled once where it can be, and its copies don't fill
//! the memory.

use std::{sync::mpsc::TryRecvError, time::Duration};

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::{Packet, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, Fleet, Outcome, QoS, Retry, Session};

use crate::support::fleet::{ended, quick_retry};
use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, gate, number, numbered, reconnect, subscribed, take, tireless, wait_for_in,
};

const STOP: Duration = Duration::from_secs(10);

/// As many as the broker sends without an acknowledgement.
const MANY: usize = 20;

fn plant(broker: &TestBroker, retry: Retry) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .session(Session::Kept)
        .retry(retry)
        .subscribe("t", QoS::AtLeastOnce)
}

fn publish(broker: &TestBroker) {
    for n in 0..MANY {
        let published = broker.publish("t", QoS::AtLeastOnce, false, numbered(n));
        published.unwrap();
    }
}

fn wait_received(fleet: &Fleet, count: usize) {
    wait_until("they have come", PATIENCE, || {
        fleet.stats().received == count as u64
    });
}

fn is_puback(packet: &Packet) -> bool {
    matches!(packet, Packet::Puback { .. })
}

/// Fails when every copy is handed out, although the last one is the only one that can be acknowledged.
#[test]
fn older_copies_are_not_handed_out() {
    const CUTS: usize = 5;
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker, tireless())));
    let client = fleet.client("plant").unwrap();
    publish(&broker);
    for copies in 1..=CUTS {
        wait_received(&fleet, copies * MANY);
        reconnect(&broker, &client, |id| broker.cut(id));
    }
    wait_received(&fleet, (CUTS + 1) * MANY);
    let messages = fleet.messages().unwrap();
    for n in 0..MANY {
        let message = messages.recv_timeout(PATIENCE).unwrap();
        assert_eq!(number(message.payload()), n);
        assert!(message.duplicate());
    }
    assert_eq!(messages.try_recv().unwrap_err(), TryRecvError::Empty);
    wait_for_in(&broker, "plant", MANY, is_puback);
    let stats = fleet.stop(STOP).total();
    assert_eq!(
        (stats.handled, stats.repeated),
        (MANY as u64, (CUTS * MANY) as u64)
    );
}

/// Fails when handlers get every copy; the one that is in its handler at the loss is handled once more, as
/// QoS 1 allows.
#[test]
fn handlers_do_not_get_older_copies_either() {
    let broker = TestBroker::start().unwrap();
    let (mut gate, door) = gate();
    let (sink, handled) = unbounded();
    let builder = Fleet::builder()
        .client(plant(&broker, tireless()))
        .workers(1)
        .on_message("t", move |message, _clients| {
            door.pass(message);
            sink.send(number(message.payload()))?;
            Ok(())
        });
    let fleet = subscribed(builder);
    publish(&broker);
    gate.wait_for_one();
    wait_received(&fleet, MANY);
    let client = fleet.client("plant").unwrap();
    reconnect(&broker, &client, |id| broker.cut(id));
    wait_received(&fleet, 2 * MANY);
    gate.open();
    assert_eq!(take(&handled, 1), [0]);
    assert_eq!(take(&handled, MANY), (0..MANY).collect::<Vec<_>>());
    wait_for_in(&broker, "plant", MANY, is_puback);
    let stats = fleet.stop(STOP).total();
    let (copies, again) = (MANY as u64 + 1, MANY as u64 - 1);
    assert_eq!((stats.handled, stats.repeated), (copies, again));
    assert!(handled.is_empty());
}

/// `count` QoS 1 messages without a payload to "t", with the identifiers from 1 on, as they are on the wire.
fn unacknowledged(count: u16) -> Vec<u8> {
    let ids = (1..=count).map(u16::to_be_bytes);
    ids.flat_map(|[high, low]| [0x32, 5, 0, 1, b't', high, low])
        .collect()
}

/// Fails when a broker that sends again and again what nobody takes fills the memory: more than there are
/// packet identifiers never wait, however many connections they came on.
#[test]
fn copies_that_wait_are_bounded() {
    const HALF: u16 = 35_000;
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker, quick_retry(2))));
    let client = fleet.client("plant").unwrap();
    // With its own bookkeeping the broker would take seconds for so many.
    assert!(broker.send_raw("plant", unacknowledged(HALF)));
    wait_received(&fleet, HALF.into());
    reconnect(&broker, &client, |id| broker.cut(id));
    assert_eq!(client.stats().connects, 2);
    assert!(broker.send_raw("plant", unacknowledged(HALF)));
    let outcome = ended(&fleet, "plant");
    let Outcome::RetriesExhausted { last_error, .. } = &outcome else {
        panic!("{outcome}");
    };
    assert!(matches!(last_error, Cause::Protocol { .. }), "{outcome}");
    assert_eq!(fleet.messages().unwrap().len(), 65_535);
    fleet.stop(STOP);
}
