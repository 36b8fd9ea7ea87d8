//! A birth message that was cut off does not hurt what is published after it in the same session.

use std::time::Duration;

use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Delivery, Fleet, QoS, Session};

use crate::support::receiving::{
    PATIENCE, number, numbered, publishes, reconnect, subscribed, take, tireless, wait_for_in,
};

const STOP: Duration = Duration::from_secs(10);

/// As many as use each identifier of a window of two several times.
const MANY: usize = 200;

fn plant(broker: &TestBroker, birth: QoS) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .session(Session::Kept)
        .window(2)
        .retry(tireless())
        .birth("state", birth, false, "online")
        // The broker closes more often than any message is worth, and without a reason.
        .max_closes(0)
}

/// Connects and cuts so many connections off while the birth message waits for its acknowledgement.
fn cut_births(broker: &TestBroker, fleet: &Fleet, cuts: usize) {
    let plant = fleet.client("plant").unwrap();
    for cut in 1..=cuts {
        let is_birth =
            |packet: &Packet| matches!(packet, Packet::Publish { topic, .. } if topic == "state");
        wait_for_in(broker, "plant", cut, is_birth);
        reconnect(broker, &plant, |id| broker.cut(id));
    }
}

/// Fails when the identifier of a birth message that was never acknowledged stays taken: the window, two
/// wide here, closes after two cuts and never opens again.
#[test]
fn it_does_not_take_room_in_the_window_for_ever() {
    for birth in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = TestBroker::start().unwrap();
        broker.hold_acks(true);
        let fleet = subscribed(Fleet::builder().client(plant(&broker, birth)));
        cut_births(&broker, &fleet, 3);
        broker.hold_acks(false);
        let plant = fleet.client("plant").unwrap();
        let receipt = plant.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
        assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
        fleet.stop(STOP);
    }
}

/// Fails when the broker is left with half a QoS 2 handshake of a birth message: it would take the next
/// message with that identifier for a repetition, acknowledge it and give it to nobody.
#[test]
fn its_identifier_is_free_again_at_qos_2() {
    let broker = TestBroker::start().unwrap();
    let watch = ClientSpec::new("watch", broker.url()).subscribe("t", QoS::ExactlyOnce);
    let (tell, told) = crossbeam_channel::unbounded();
    let watch = subscribed(Fleet::builder().client(watch).on_message(
        "t",
        move |message, _clients| {
            tell.send(number(message.payload()))?;
            Ok(())
        },
    ));
    broker.hold_acks_of("plant", true);
    let fleet = subscribed(Fleet::builder().client(plant(&broker, QoS::ExactlyOnce)));
    cut_births(&broker, &fleet, 1);
    broker.hold_acks_of("plant", false);
    let plant = fleet.client("plant").unwrap();
    for n in 0..MANY {
        let receipt = plant
            .publish("t", QoS::ExactlyOnce, false, numbered(n))
            .unwrap();
        assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    }
    assert_eq!(take(&told, MANY), (0..MANY).collect::<Vec<_>>());
    fleet.stop(STOP);
    watch.stop(STOP);
}

/// Fails when the birth message of a later connection takes the identifier of a message that is still
/// unacknowledged: it has come around after so many cuts.
#[test]
fn it_never_takes_the_identifier_of_a_message_in_flight() {
    let broker = TestBroker::start().unwrap();
    broker.hold_acks(true);
    let fleet = subscribed(Fleet::builder().client(plant(&broker, QoS::AtLeastOnce)));
    let plant = fleet.client("plant").unwrap();
    let receipt = plant.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    let is_it = |packet: &Packet| matches!(packet, Packet::Publish { topic, .. } if topic == "t");
    // More often than there are identifiers.
    for cut in 1..=100 {
        wait_for_in(&broker, "plant", cut, is_it);
        assert!(!receipt.is_done());
        reconnect(&broker, &plant, |id| broker.cut(id));
    }
    let failed = plant.stats().losses;
    broker.hold_acks(false);
    assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    assert_eq!(
        failed, 100,
        "no connection was lost but those that were cut"
    );
    fleet.stop(STOP);
}

/// Fails when the acknowledgement of a birth message is taken for that of a message in flight: its sender
/// would be told that the broker has it, and the broker never said so.
#[test]
fn its_acknowledgement_is_never_taken_for_that_of_a_message() {
    // More often than there are identifiers.
    const CUTS: usize = 50;
    let broker = TestBroker::start().unwrap();
    broker.hold_acks(true);
    let fleet = subscribed(Fleet::builder().client(plant(&broker, QoS::AtLeastOnce)));
    let plant = fleet.client("plant").unwrap();
    let receipt = plant.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    let ids_on = |topic: &str| -> Vec<u16> {
        let sent = publishes(&broker.seen(), "plant", Direction::In).into_iter();
        let on_topic = sent.filter(|it| it.topic == topic);
        on_topic.map(|it| it.packet_id).collect()
    };
    for cut in 1..=CUTS {
        broker
            .wait_for(
                |_| ids_on("state").len() >= cut && ids_on("t").len() >= cut,
                PATIENCE,
            )
            .unwrap();
        let packet_id = ids_on("state")[cut - 1];
        assert!(broker.send_packet("plant", Packet::Puback { packet_id }));
        // Not cut: what is under way to the client gets there.
        reconnect(&broker, &plant, |id| broker.kick(id));
        assert!(!receipt.is_done(), "{:?}", receipt.try_result());
    }
    let (births, messages) = (ids_on("state"), ids_on("t"));
    assert!(births.iter().all(|id| !messages.contains(id)), "{births:?}");
    broker.hold_acks(false);
    assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    fleet.stop(STOP);
}

/// Fails when the birth messages of many short connections use up the identifiers of a session: at QoS 2
/// each keeps its own until PUBCOMP comes, and one that took an identifier in use would be a repetition to
/// the broker, which gives it to nobody. Fails, too, if the birth message that had to wait never comes, if
/// another message overtakes it, or if subscriptions find no identifier any more.
#[test]
fn short_connections_do_not_use_up_the_identifiers() {
    // More often than there are identifiers in a window of two.
    const CUTS: usize = 50;
    let broker = TestBroker::start().unwrap();
    broker.hold_acks(true);
    let fleet = subscribed(Fleet::builder().client(plant(&broker, QoS::ExactlyOnce)));
    let plant = fleet.client("plant").unwrap();
    let waiting = plant.publish("t", QoS::AtMostOnce, false, "1").unwrap();
    waiting.wait_timeout(PATIENCE).unwrap();
    for _ in 0..CUTS {
        let of_exchange = |packet: &Packet| match packet {
            Packet::Publish { topic, .. } => topic == "state",
            packet => matches!(packet, Packet::Pubrel { .. }),
        };
        broker
            .wait_for(
                |seen| {
                    let last = seen.iter().map(|it| it.connection).max();
                    let mut on_last = seen.iter().filter(|it| Some(it.connection) == last);
                    on_last.any(|it| it.direction == Direction::In && of_exchange(&it.packet))
                },
                PATIENCE,
            )
            .unwrap();
        reconnect(&broker, &plant, |id| broker.cut(id));
    }
    let births = || publishes(&broker.seen(), "plant", Direction::In);
    let mut ids: Vec<u16> = births()
        .iter()
        .filter(|it| it.topic == "state")
        .map(|it| it.packet_id)
        .collect();
    let sent = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), sent, "none is used twice");
    let behind = plant.publish("t", QoS::AtLeastOnce, false, "2").unwrap();
    plant.subscribe("in", QoS::AtLeastOnce).unwrap();
    broker.hold_acks(false);
    assert_eq!(behind.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    plant.wait_subscribed(PATIENCE).unwrap();
    let last = births().iter().map(|it| it.connection).max();
    let on_last: Vec<_> = births()
        .into_iter()
        .filter(|it| Some(it.connection) == last)
        .map(|it| it.topic)
        .collect();
    assert_eq!(on_last, ["state", "t"], "the birth message comes first");
    assert_eq!(plant.stats().losses, CUTS as u64);
    fleet.stop(STOP);
}
