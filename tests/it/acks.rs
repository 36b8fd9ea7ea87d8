//! A message is acknowledged after it was handled, in the order of receipt, on its own connection.

use std::time::Duration;

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, FleetBuilder, QoS, Session};

use crate::support::proc::wait_until;
use crate::support::receiving::{
    Gate, PATIENCE, count_in, gate, pubacks, publishes, reconnect, subscribed, take, tireless,
    wait_for_in,
};

const STOP: Duration = Duration::from_secs(10);

fn is_puback(packet: &Packet) -> bool {
    matches!(packet, Packet::Puback { .. })
}

fn plant(broker: &TestBroker, qos: QoS) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
        .subscribe("t/+", qos)
}

/// Handlers of texts that begin with "slow" wait at the gate; all that returned are in the channel.
fn gated(spec: ClientSpec) -> (FleetBuilder, Gate, crossbeam_channel::Receiver<String>) {
    let (gate, door) = gate();
    let (sink, handled) = unbounded();
    let builder =
        Fleet::builder()
            .client(spec)
            .workers(4)
            .on_message("t/+", move |message, _clients| {
                if message.text().starts_with("slow") {
                    door.pass(message);
                }
                sink.send(message.text().into_owned())?;
                Ok(())
            });
    (builder, gate, handled)
}

/// Makes the client send something that the broker answers, so that whatever the client had sent before
/// is in the record.
fn round_trip(broker: &TestBroker, fleet: &Fleet) {
    let client = fleet.client("plant").unwrap();
    let before = broker.published("round").len();
    client
        .publish("round", QoS::AtMostOnce, false, "trip")
        .unwrap();
    broker
        .wait_for(|_| broker.published("round").len() > before, PATIENCE)
        .unwrap();
}

/// Fails when PUBACK is sent on receipt, or not at all.
#[test]
fn puback_follows_the_handler() {
    let broker = TestBroker::start().unwrap();
    let (builder, gate, handled) = gated(plant(&broker, QoS::AtLeastOnce));
    let fleet = subscribed(builder);
    for round in 1..=3 {
        broker
            .publish("t/1", QoS::AtLeastOnce, false, "slow")
            .unwrap();
        gate.wait_for_one();
        round_trip(&broker, &fleet);
        assert_eq!(count_in(&broker.seen(), "plant", is_puback), round - 1);
        gate.let_one_pass();
        take(&handled, 1);
        wait_for_in(&broker, "plant", round, is_puback);
    }
    fleet.stop(STOP);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 3);
}

/// Fails when a worker acknowledges by itself what it has finished: MQTT wants the order of receipt.
#[test]
fn pubacks_leave_in_the_order_of_receipt() {
    let broker = TestBroker::start().unwrap();
    let (builder, mut gate, handled) = gated(plant(&broker, QoS::AtLeastOnce));
    let fleet = subscribed(builder);
    broker
        .publish("t/0", QoS::AtLeastOnce, false, "slow")
        .unwrap();
    gate.wait_for_one();
    for n in 1..20 {
        let topic = format!("t/{n}");
        broker
            .publish(topic, QoS::AtLeastOnce, false, "quick")
            .unwrap();
    }
    // Twenty topics use all four lanes, so that some are finished while the first is held.
    take(&handled, 3);
    round_trip(&broker, &fleet);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 0);
    gate.open();
    take(&handled, 17);
    wait_for_in(&broker, "plant", 20, is_puback);
    let seen = broker.seen();
    let received = publishes(&seen, "plant", Direction::Out);
    let connection = received[0].connection;
    let order: Vec<u16> = received.iter().map(|it| it.packet_id).collect();
    assert_eq!(pubacks(&seen, "plant", connection), order);
    fleet.stop(STOP);
}

/// Fails when a message that was cut off from its acknowledgement does not come again, or when its late
/// acknowledgement is sent on the next connection: there its identifier stands for another delivery.
#[test]
fn an_acknowledgement_belongs_to_its_connection() {
    let broker = TestBroker::start().unwrap();
    let spec = plant(&broker, QoS::AtLeastOnce).session(Session::Kept);
    let (builder, gate, handled) = gated(spec);
    let fleet = subscribed(builder);
    let client = fleet.client("plant").unwrap();
    broker
        .publish("t/1", QoS::AtLeastOnce, false, "slow 1")
        .unwrap();
    assert_eq!(gate.wait_for_one(), "slow 1");
    broker.cut("plant");
    // The broker sends it again at once, and it waits behind itself in its lane.
    broker
        .wait_for(
            |seen| publishes(seen, "plant", Direction::Out).len() == 2,
            PATIENCE,
        )
        .unwrap();
    client.wait_connected(PATIENCE).unwrap();
    let again = publishes(&broker.seen(), "plant", Direction::Out);
    let (first, second) = (again[0].connection, again[1].connection);
    assert_ne!(first, second);
    assert_eq!(
        (again[1].dup, again[1].packet_id),
        (true, again[0].packet_id)
    );
    gate.let_one_pass();
    take(&handled, 1);
    // The second delivery is in its handler now: what the first one left behind would be sent.
    assert_eq!(gate.wait_for_one(), "slow 1");
    round_trip(&broker, &fleet);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 0, "stale");
    gate.let_one_pass();
    take(&handled, 1);
    wait_for_in(&broker, "plant", 1, is_puback);
    round_trip(&broker, &fleet);
    let seen = broker.seen();
    assert_eq!(pubacks(&seen, "plant", first), [0_u16; 0]);
    assert_eq!(pubacks(&seen, "plant", second), [again[0].packet_id]);
    let stats = fleet.stop(STOP).total();
    assert_eq!((stats.received, stats.handled), (2, 2));
}

/// Fails when an identifier that is used anew after a lost session is acknowledged for the message that
/// had it before: the broker would take the new message for handled.
#[test]
fn a_new_message_under_an_old_identifier_is_not_acknowledged_for_the_old_one() {
    let broker = TestBroker::start().unwrap();
    // A clean session: after the cut the broker counts identifiers from 1 again.
    let (builder, gate, handled) = gated(plant(&broker, QoS::AtLeastOnce));
    let fleet = subscribed(builder);
    let client = fleet.client("plant").unwrap();
    broker
        .publish("t/1", QoS::AtLeastOnce, false, "slow old")
        .unwrap();
    gate.wait_for_one();
    reconnect(&broker, &client, |id| broker.cut(id));
    fleet.wait_subscribed(PATIENCE).unwrap();
    broker
        .publish("t/1", QoS::AtLeastOnce, false, "slow new")
        .unwrap();
    broker
        .wait_for(
            |seen| publishes(seen, "plant", Direction::Out).len() == 2,
            PATIENCE,
        )
        .unwrap();
    let received = publishes(&broker.seen(), "plant", Direction::Out);
    assert_eq!(received[0].packet_id, received[1].packet_id);
    gate.let_one_pass();
    assert_eq!(take(&handled, 1), ["slow old"]);
    assert_eq!(gate.wait_for_one(), "slow new");
    round_trip(&broker, &fleet);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 0);
    gate.let_one_pass();
    wait_for_in(&broker, "plant", 1, is_puback);
    fleet.stop(STOP);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 1);
}

/// Fails when pull mode acknowledges on receipt or when it hands a message out, instead of when it is
/// dropped.
#[test]
fn in_pull_mode_dropping_a_message_acknowledges_it() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker, QoS::AtLeastOnce)));
    let messages = fleet.messages().unwrap();
    for n in 0..3 {
        broker
            .publish(format!("t/{n}"), QoS::AtLeastOnce, false, "it")
            .unwrap();
    }
    let mut pulled: Vec<_> = (0..3)
        .map(|_| messages.recv_timeout(PATIENCE).unwrap())
        .collect();
    round_trip(&broker, &fleet);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 0);
    // The first of two goes out at once, the third waits for the second.
    let third = pulled.pop();
    drop(pulled.remove(0));
    wait_for_in(&broker, "plant", 1, is_puback);
    drop(third);
    round_trip(&broker, &fleet);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 1);
    drop(pulled);
    wait_for_in(&broker, "plant", 3, is_puback);
    fleet.stop(STOP);
}

/// Fails when messages that nobody took are acknowledged as the queue is thrown away: they would be lost.
#[test]
fn what_was_never_pulled_is_never_acknowledged() {
    let broker = TestBroker::start().unwrap();
    let spec = plant(&broker, QoS::AtLeastOnce).session(Session::Kept);
    let fleet = subscribed(Fleet::builder().client(spec));
    for n in 0..10 {
        broker
            .publish(format!("t/{n}"), QoS::AtLeastOnce, false, "it")
            .unwrap();
    }
    // One is taken and dropped, so that all are known to have come.
    drop(fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap());
    wait_for_in(&broker, "plant", 1, is_puback);
    wait_until("all have come", PATIENCE, || {
        fleet.messages().unwrap().len() == 9
    });
    let client = fleet.client("plant").unwrap();
    drop(fleet);
    assert_eq!(client.stats().handled, 1, "nobody handled the others");
    broker.wait_disconnected("plant", PATIENCE).unwrap();
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 1);
    // The broker still has them for the next one of this name.
    let spec = plant(&broker, QoS::AtLeastOnce).session(Session::Kept);
    let fleet = subscribed(Fleet::builder().client(spec));
    let topics: Vec<String> = (0..9)
        .map(|_| fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap())
        .map(|message| message.topic().to_owned())
        .collect();
    let expected: Vec<String> = (1..10).map(|n| format!("t/{n}")).collect();
    assert_eq!(topics, expected);
    fleet.stop(STOP);
}

/// Fails when PUBREC is sent before the handler returned, when the handshake stops half-way, or when a
/// QoS 2 message is handled twice.
#[test]
fn qos_2_is_received_once_and_taken_over_after_its_handler() {
    let broker = TestBroker::start().unwrap();
    let (builder, gate, handled) = gated(plant(&broker, QoS::ExactlyOnce));
    let fleet = subscribed(builder);
    let is_pubrec = |packet: &Packet| matches!(packet, Packet::Pubrec { .. });
    let is_pubcomp = |packet: &Packet| matches!(packet, Packet::Pubcomp { .. });
    broker
        .publish("t/1", QoS::ExactlyOnce, false, "slow")
        .unwrap();
    gate.wait_for_one();
    round_trip(&broker, &fleet);
    assert_eq!(count_in(&broker.seen(), "plant", is_pubrec), 0);
    gate.let_one_pass();
    wait_for_in(&broker, "plant", 1, is_pubcomp);
    for n in 0..100 {
        broker
            .publish("t/2", QoS::ExactlyOnce, false, format!("quick {n}"))
            .unwrap();
    }
    wait_for_in(&broker, "plant", 101, is_pubcomp);
    assert_eq!(count_in(&broker.seen(), "plant", is_pubrec), 101);
    let texts = take(&handled, 101);
    assert_eq!(texts[0], "slow");
    let quick = texts[1..].iter().map(|text| text.replace("quick ", ""));
    assert_eq!(
        quick.collect::<Vec<_>>(),
        (0..100).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    let stats = fleet.stop(STOP).total();
    assert_eq!((stats.received, stats.handled), (101, 101));
    assert_eq!((handled.len(), stats.connects), (0, 1));
}
