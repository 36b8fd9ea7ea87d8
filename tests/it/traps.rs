//! What a plain loop over rumqttc falls into, and this crate does not: each trap is shown on both.

mod plain;
mod received;

use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, PublishErrorKind, QoS, Session};
use rumqttc::{Event, Incoming, Outgoing};

use crate::support::fleet::wait_connects;
use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, count_in, gate, number, numbered, publishes, reconnect, subscribed, tireless,
    wait_for_in, wait_for_publishes,
};
use plain::{beside, options, wait_for_event};

const STOP: Duration = Duration::from_secs(10);
/// How long what a plain loop never does is waited for.
const NEVER: Duration = Duration::from_millis(300);

fn spec(broker: &TestBroker) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
}

fn ours(spec: ClientSpec) -> Fleet {
    subscribed(Fleet::builder().client(spec))
}

/// Publishes a number at QoS 1 with a plain client.
fn plainly(client: &rumqttc::Client) -> impl Fn(usize) + '_ {
    let qos = rumqttc::QoS::AtLeastOnce;
    move |n| client.publish("t", qos, false, numbered(n)).unwrap()
}

/// Publishes a number at QoS 1 with ours.
fn with_us(fleet: &Fleet) -> impl Fn(usize) + '_ {
    let client = fleet.client("plant").unwrap();
    move |n| {
        let receipt = client.publish("t", QoS::AtLeastOnce, false, numbered(n));
        drop(receipt.unwrap());
    }
}

/// The numbers that came on the second connection.
fn after_the_cut(broker: &TestBroker) -> Vec<usize> {
    let sent = publishes(&broker.seen(), "plant", Direction::In);
    let first = sent[0].connection;
    let after = sent.iter().filter(|it| it.connection > first);
    after.map(|it| number(&it.payload)).collect()
}

fn is_puback(packet: &Packet) -> bool {
    matches!(packet, Packet::Puback { .. })
}

fn is_pubcomp(packet: &Packet) -> bool {
    matches!(packet, Packet::Pubcomp { .. })
}

fn is_disconnect(packet: &Packet) -> bool {
    *packet == Packet::Disconnect
}

fn subscribe_plainly(client: &rumqttc::Client, events: &crossbeam_channel::Receiver<Event>) {
    client
        .subscribe("t", rumqttc::QoS::ExactlyOnce)
        .expect("the loop runs");
    wait_for_event(events, |it| {
        matches!(it, Event::Incoming(Incoming::SubAck(_)))
    });
}

/// Fails when what was unacknowledged at the loss is forgotten with the session, as rumqttc forgets its
/// whole backlog.
#[test]
fn backlog_rescue() {
    fn script(broker: &TestBroker, publish: impl Fn(usize)) -> Vec<usize> {
        broker.hold_acks(true);
        (0..3).for_each(&publish);
        wait_for_publishes(broker, "plant", 3);
        broker.cut("plant");
        wait_connects(broker, "plant", 2);
        broker.hold_acks(false);
        publish(3);
        let came = |_: &[_]| after_the_cut(broker).contains(&3);
        broker.wait_for(came, PATIENCE).unwrap();
        after_the_cut(broker)
    }
    let broker = TestBroker::start().unwrap();
    beside(&broker, options(&broker), |client, _events| {
        assert_eq!(script(&broker, plainly(client)), [3]);
    });
    let broker = TestBroker::start().unwrap();
    let fleet = ours(spec(&broker));
    assert_eq!(script(&broker, with_us(&fleet)), [0, 1, 2, 3]);
    assert!(fleet.stop(STOP).total().published.balances());
}

/// Fails when a broker that acknowledges out of order and then loses the session makes the client mute:
/// rumqttc waits for ever for the identifier of a message that it has forgotten.
#[test]
fn collision_with_lost_session() {
    // Two are unacknowledged; only the second is answered, so that the first one's identifier is next.
    fn begin(broker: &TestBroker, publish: impl Fn(usize)) {
        broker.hold_acks(true);
        (0..2).for_each(&publish);
        wait_for_publishes(broker, "plant", 2);
        assert!(broker.send_raw("plant", &[0x40, 2, 0, 2][..]));
    }
    fn end(broker: &TestBroker, publish: impl Fn(usize), patience: Duration) -> bool {
        broker.cut("plant");
        wait_connects(broker, "plant", 2);
        broker.hold_acks(false);
        publish(3);
        let came = |_: &[_]| after_the_cut(broker).contains(&3);
        broker.wait_for(came, patience).is_ok()
    }
    let broker = TestBroker::start().unwrap();
    let mut narrow = options(&broker);
    narrow.set_inflight(2);
    beside(&broker, narrow, |client, events| {
        let publish = plainly(client);
        begin(&broker, &publish);
        wait_for_event(events, |it| {
            matches!(it, Event::Incoming(Incoming::PubAck(_)))
        });
        publish(2);
        wait_for_event(events, |it| {
            matches!(it, Event::Outgoing(Outgoing::AwaitAck(1)))
        });
        assert!(!end(&broker, &publish, NEVER));
    });
    let broker = TestBroker::start().unwrap();
    let fleet = ours(spec(&broker).window(2));
    let publish = with_us(&fleet);
    begin(&broker, &publish);
    publish(2);
    wait_for_publishes(&broker, "plant", 3);
    assert!(end(&broker, &publish, PATIENCE));
    assert_eq!(after_the_cut(&broker), [0, 2, 3]);
    fleet.stop(STOP);
}

/// Fails when a message above the packet size limit gets as far as the connection: rumqttc loses the
/// connection over it, and over its repetition, for ever. Fails also when the size is reckoned wrong by
/// a byte.
#[test]
fn oversize_publish() {
    const LIMIT: usize = 10 * 1024;
    let broker = TestBroker::start().unwrap();
    let mut kept = options(&broker);
    kept.set_clean_session(false);
    beside(&broker, kept, |client, _events| {
        let qos = rumqttc::QoS::AtLeastOnce;
        client.publish("t", qos, false, vec![0; 2 * LIMIT]).unwrap();
        wait_connects(&broker, "plant", 6);
    });
    let broker = TestBroker::start().unwrap();
    let fleet = ours(spec(&broker).session(Session::Kept).max_packet_size(LIMIT));
    let client = fleet.client("plant").unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        // Fixed header, topic with its length, and the identifier where there is one.
        let id = if qos == QoS::AtMostOnce { 0 } else { 2 };
        let largest = LIMIT - 3 - 3 - id;
        let refused = client.publish("t", qos, false, vec![0; largest + 1]);
        let refused = refused.unwrap_err();
        let size = LIMIT + 1;
        assert_eq!(
            refused.kind(),
            PublishErrorKind::TooLarge { size, limit: LIMIT }
        );
        assert_eq!(refused.payload().len(), largest + 1);
        let receipt = client.publish("t", qos, false, vec![0; largest]);
        receipt.unwrap().wait_timeout(PATIENCE).unwrap();
    }
    wait_for_publishes(&broker, "plant", 3);
    fleet.stop(STOP);
    assert_eq!(broker.connects("plant"), 1);
}

/// Fails when a client whose window is full does not stop: rumqttc takes no request then, also none to
/// disconnect.
#[test]
fn queued_disconnect_with_the_window_full() {
    fn fill(broker: &TestBroker, publish: impl Fn(usize)) {
        broker.hold_acks(true);
        (0..5).for_each(publish);
        wait_for_publishes(broker, "plant", 2);
    }
    let broker = TestBroker::start().unwrap();
    let mut narrow = options(&broker);
    narrow.set_inflight(2);
    beside(&broker, narrow, |client, _events| {
        fill(&broker, plainly(client));
        client.try_disconnect().unwrap();
        let came = broker.wait_for(|seen| count_in(seen, "plant", is_disconnect) > 0, NEVER);
        assert!(came.is_err());
    });
    let broker = TestBroker::start().unwrap();
    let fleet = ours(spec(&broker).window(2));
    fill(&broker, with_us(&fleet));
    let report = fleet.stop_now(STOP);
    wait_for_in(&broker, "plant", 1, is_disconnect);
    assert!(report.abandoned().is_empty(), "{report}");
    let ledger = report.total().published;
    assert_eq!((ledger.failed, ledger.unsent), (2, 3));
}

/// Fails when a repetition is not marked as one [MQTT-3.3.1-1]: rumqttc never does.
#[test]
fn dup_flag_on_resend() {
    /// What came: whether it was marked, and its identifier.
    fn script(broker: &TestBroker, publish: impl Fn(usize)) -> Vec<(bool, u16)> {
        broker.hold_acks(true);
        publish(0);
        wait_for_publishes(broker, "plant", 1);
        broker.cut("plant");
        wait_for_publishes(broker, "plant", 2);
        let sent = publishes(&broker.seen(), "plant", Direction::In);
        sent.iter().map(|it| (it.dup, it.packet_id)).collect()
    }
    let broker = TestBroker::start().unwrap();
    let mut kept = options(&broker);
    kept.set_clean_session(false);
    beside(&broker, kept, |client, _events| {
        let publish = plainly(client);
        assert_eq!(script(&broker, publish), [(false, 1), (false, 1)]);
    });
    let broker = TestBroker::start().unwrap();
    let fleet = ours(spec(&broker).session(Session::Kept));
    assert_eq!(script(&broker, with_us(&fleet)), [(false, 1), (true, 1)]);
    broker.hold_acks(false);
    wait_until("it is acknowledged", PATIENCE, || {
        fleet.stats().published.acknowledged == 1
    });
    fleet.stop(STOP);
}
