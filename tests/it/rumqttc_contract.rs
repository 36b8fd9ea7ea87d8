//! What rumqttc 0.25.1 does and does not document, and this crate relies on: one test for each, which names
//! what relies on it. A new version of rumqttc is looked at here first.
//!
//! This file has the part without a connection; `rumqttc_contract/connection.rs` has the other.

mod connection;

use std::panic::{UnwindSafe, catch_unwind};
use std::time::Duration;

use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::mqttbytes::v4::{PubComp, PubRec};
use rumqttc::{
    Disconnect, Event, MqttOptions, MqttState, NetworkOptions, Outgoing, Packet, PubAck, PubRel,
    Publish, QoS, Request, StateError, Subscribe, Unsubscribe,
};

const IDS: u16 = 8;

fn state() -> MqttState {
    MqttState::new(IDS, true)
}

fn publish(packet_id: u16, qos: QoS) -> Publish {
    let mut publish = Publish::new("t", qos, "1");
    publish.pkid = packet_id;
    publish
}

fn send(state: &mut MqttState, request: impl Into<Request>) -> Option<Packet> {
    state.handle_outgoing_packet(request.into()).unwrap()
}

fn publish_as(state: &mut MqttState, packet_id: u16, qos: QoS) -> Option<Packet> {
    send(state, Request::Publish(publish(packet_id, qos)))
}

fn panics(f: impl FnOnce() + UnwindSafe) -> bool {
    catch_unwind(f).is_err()
}

fn last_outgoing(state: &mut MqttState) -> Outgoing {
    match state.events.pop_back() {
        Some(Event::Outgoing(outgoing)) => outgoing,
        other => panic!("{other:?}"),
    }
}

/// Relied on by `IterEngine::hand_to_state` (`engine/iter/send.rs`), which takes the event of its request from
/// the back of the queue, and by `IterEngine::make_room_for` (`packet_ids.rs`), which does the same.
///
/// Fails when a request has no event, more than one, or one of another kind.
#[test]
fn each_request_has_one_event() {
    let requests: [(Request, Outgoing); 7] = [
        (
            Request::Publish(publish(0, QoS::AtMostOnce)),
            Outgoing::Publish(0),
        ),
        (
            Request::Publish(publish(0, QoS::AtLeastOnce)),
            Outgoing::Publish(1),
        ),
        (
            Request::Publish(publish(0, QoS::ExactlyOnce)),
            Outgoing::Publish(2),
        ),
        (
            Subscribe::new("f", QoS::AtMostOnce).into(),
            Outgoing::Subscribe(3),
        ),
        (
            Request::Unsubscribe(Unsubscribe::new("f")),
            Outgoing::Unsubscribe(4),
        ),
        (Request::PubRel(PubRel::new(7)), Outgoing::PubRel(7)),
        (Request::Disconnect(Disconnect), Outgoing::Disconnect),
    ];
    let mut state = state();
    for (request, event) in requests {
        assert!(send(&mut state, request).is_some());
        assert_eq!(state.events.len(), 1, "{event:?}");
        assert_eq!(last_outgoing(&mut state), event);
    }
}

/// Relied on by `IterEngine::forget_refused` (`engine/iter/events.rs`): without it, a PUBCOMP for a message of QoS 1
/// would count as its acknowledgement.
///
/// Fails when rumqttc looks at a packet before it queues its event: then that would take away another one.
#[test]
fn a_packet_has_its_event_before_it_is_looked_at() {
    let stray: [Packet; 4] = [
        Packet::PubAck(PubAck::new(3)),
        Packet::PubRec(PubRec::new(3)),
        Packet::PubRel(PubRel::new(3)),
        Packet::PubComp(PubComp::new(3)),
    ];
    for packet in stray {
        let mut state = state();
        let error = state.handle_incoming_packet(packet.clone()).unwrap_err();
        assert!(matches!(error, StateError::Unsolicited(3)), "{error:?}");
        assert_eq!(state.events, [Event::Incoming(packet)]);
    }
    let mut state = state();
    let error = state.handle_incoming_packet(Packet::PingReq).unwrap_err();
    assert!(matches!(error, StateError::WrongPacket), "{error:?}");
    assert_eq!(state.events, [Event::Incoming(Packet::PingReq)]);
}

/// Relied on by `engine/iter/packet_ids.rs`, which counts as rumqttc does, and by `advance` (`releases.rs`), which
/// moves the count with UNSUBSCRIBEs that are never sent.
///
/// Fails when identifiers don't go from 1 to the number in flight and around, for all kinds of packets.
#[test]
fn identifiers_go_around() {
    let mut state = state();
    let ids: Vec<_> = (0..10)
        .map(|n| {
            match n % 3 {
                0 => send(&mut state, Subscribe::new("f", QoS::AtMostOnce)),
                1 => send(&mut state, Request::Unsubscribe(Unsubscribe::new("f"))),
                _ => publish_as(&mut state, 0, QoS::AtLeastOnce),
            };
            match last_outgoing(&mut state) {
                Outgoing::Publish(id) | Outgoing::Subscribe(id) | Outgoing::Unsubscribe(id) => id,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8, 1, 2]);
}

/// Relied on by `IterEngine::expect_answer` (`engine/iter/send.rs`): the session chooses every identifier, and
/// those of repeated publishes and of birth messages are out of turn.
///
/// Fails when rumqttc gives a packet that has an identifier another one, or when it counts it.
#[test]
fn an_identifier_of_ours_stays_and_is_not_counted() {
    let mut state = state();
    for id in [5, 8] {
        let Some(Packet::Publish(sent)) = publish_as(&mut state, id, QoS::AtLeastOnce) else {
            panic!("it is sent");
        };
        assert_eq!(sent.pkid, id);
    }
    send(&mut state, Request::PubRel(PubRel::new(6)));
    state.events.clear();
    send(&mut state, Subscribe::new("f", QoS::AtMostOnce));
    assert_eq!(last_outgoing(&mut state), Outgoing::Subscribe(1));
    assert_eq!(state.inflight(), 3);
}

/// Relied on by `IterEngine::hand_to_state` (`engine/iter/send.rs`), which takes a request without a packet for a
/// collision, and by `IterEngine::make_room_for` (`packet_ids.rs`): no identifier is above those that rumqttc has.
///
/// Fails when a second publish under one identifier is sent, or kept elsewhere, or one beyond is taken.
#[test]
fn a_collision_keeps_the_publish_and_sends_nothing() {
    let mut state = state();
    publish_as(&mut state, 3, QoS::AtLeastOnce);
    assert_eq!(publish_as(&mut state, 3, QoS::ExactlyOnce), None);
    assert_eq!(last_outgoing(&mut state), Outgoing::AwaitAck(3));
    assert_eq!(state.collision.as_ref().map(|it| it.pkid), Some(3));
    let beyond = Request::Publish(publish(IDS + 1, QoS::AtLeastOnce));
    let error = state.handle_outgoing_packet(beyond).unwrap_err();
    assert!(matches!(error, StateError::Unsolicited(9)), "{error:?}");
}

/// Relied on by `IterEngine::make_room_for` (`engine/iter/packet_ids.rs`): what `clean` gives back is what was not
/// acknowledged. And by the copies of QoS 2 messages in `session/inflight.rs`, since rumqttc has none after PUBREC.
///
/// Fails when `clean` gives back more or less, forgets the count of identifiers, or takes the collision.
#[test]
fn clean_gives_back_what_was_not_acknowledged() {
    let mut state = state();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
        publish_as(&mut state, 0, qos);
    }
    publish_as(&mut state, 3, QoS::AtLeastOnce);
    let answer = state.handle_incoming_packet(Packet::PubRec(PubRec::new(2)));
    assert_eq!(answer.unwrap(), Some(Packet::PubRel(PubRel::new(2))));
    let answer = state.handle_incoming_packet(Packet::PubAck(PubAck::new(1)));
    assert_eq!(answer.unwrap(), None);
    state.events.clear();
    state.await_pingresp = true;
    let given_back = state.clean();
    let expected = [
        Request::Publish(publish(3, QoS::AtLeastOnce)),
        Request::PubRel(PubRel::new(2)),
    ];
    assert_eq!(given_back, expected);
    assert!(state.collision.is_some(), "it stays, and would block");
    assert!(!state.await_pingresp && state.inflight() == 0);
    send(&mut state, Subscribe::new("f", QoS::AtMostOnce));
    assert_eq!(last_outgoing(&mut state), Outgoing::Subscribe(4));
}

/// Relied on by `IterEngine::make_room_for`: what is in flight moves to a new state without being sent again.
///
/// Fails when a request that `clean` gave back is refused by a larger state, or gets another identifier.
#[test]
fn a_larger_state_takes_what_was_in_flight() {
    let mut old = state();
    publish_as(&mut old, 0, QoS::AtLeastOnce);
    publish_as(&mut old, 0, QoS::ExactlyOnce);
    let released = old.handle_incoming_packet(Packet::PubRec(PubRec::new(2)));
    assert!(released.unwrap().is_some());
    let mut grown = MqttState::new(2 * IDS, true);
    for request in old.clean() {
        send(&mut grown, request);
    }
    for answer in [
        Packet::PubAck(PubAck::new(1)),
        Packet::PubComp(PubComp::new(2)),
    ] {
        assert_eq!(grown.handle_incoming_packet(answer).unwrap(), None);
    }
    assert_eq!(grown.inflight(), 0);
}

/// Relied on by `IterEngine::read_one` (`engine/iter/read.rs`), which leaves the state out for PUBLISH of QoS 0 and
/// 1, and by `session/ack_order.rs`: every PUBACK and PUBREC is ours.
///
/// Fails when rumqttc acknowledges a message by itself, or does more with one than to queue it.
#[test]
fn with_manual_acknowledgement_a_message_is_queued_and_nothing_else() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut state = state();
        let packet = Packet::Publish(publish(5, qos));
        let answer = state.handle_incoming_packet(packet.clone()).unwrap();
        assert_eq!(answer, None);
        assert_eq!(state.events, [Event::Incoming(packet)]);
    }
}

/// Relied on by `engine/iter/`: PUBREL is answered by rumqttc, of a message that it has seen, once. It
/// forgets those at a loss.
///
/// Fails when it takes other PUBRELs too: then ours need not be put right.
#[test]
fn a_release_is_taken_once_and_of_what_was_seen() {
    let release = || Packet::PubRel(PubRel::new(5));
    let mut state = state();
    let received = Packet::Publish(publish(5, QoS::ExactlyOnce));
    state.handle_incoming_packet(received.clone()).unwrap();
    let answer = state.handle_incoming_packet(release()).unwrap();
    assert_eq!(answer, Some(Packet::PubComp(PubComp::new(5))));
    let events: Vec<_> = state.events.drain(..).skip(1).collect();
    let expected = [
        Event::Incoming(release()),
        Event::Outgoing(Outgoing::PubComp(5)),
    ];
    assert_eq!(events, expected);
    state.handle_incoming_packet(release()).unwrap_err();
    state.handle_incoming_packet(received).unwrap();
    state.clean();
    state.handle_incoming_packet(release()).unwrap_err();
}

/// Relied on by `client/events.rs` and `IterEngine::new`: SUBACK, UNSUBACK and PINGRESP are looked at by us alone.
///
/// Fails when rumqttc refuses one for nothing, or answers it.
#[test]
fn other_answers_are_passed_on() {
    let mut state = state();
    for bytes in [
        &b"\x90\x03\x00\x07\x80"[..],
        b"\xb0\x02\x00\x07",
        b"\xd0\x00",
    ] {
        let mut stream = bytes.into();
        let packet = Packet::read(&mut stream, 100).unwrap();
        assert_eq!(state.handle_incoming_packet(packet).unwrap(), None);
        assert_eq!(state.events.drain(..).count(), 1);
    }
}

/// Relied on by `IterEngine::outgoing` (`engine/iter/events.rs`), which clears `await_pingresp` behind each PINGREQ, so
/// that the error never comes: `engine/iter/line.rs` decides. `IterEngine::make_room_for` moves the field.
///
/// Fails when other packets count as an answer, or when the field has another meaning.
#[test]
fn only_pingresp_answers_a_ping() {
    let mut state = state();
    let ping = || Request::PingReq(rumqttc::mqttbytes::v4::PingReq);
    assert!(!state.await_pingresp);
    send(&mut state, ping());
    assert!(state.await_pingresp);
    let message = Packet::Publish(publish(0, QoS::AtMostOnce));
    state.handle_incoming_packet(message).unwrap();
    let error = state.handle_outgoing_packet(ping()).unwrap_err();
    assert!(matches!(error, StateError::AwaitPingResp), "{error:?}");
    state.handle_incoming_packet(Packet::PingResp).unwrap();
    send(&mut state, ping());
}

/// Relied on by `Context::state_cause` (`engine/iter/cause.rs`) for `Cause::TooLarge`, and by
/// `session/packet.rs`, which refuses at once what would not be encoded.
///
/// Fails when a limit is another number of bytes: without the fixed header when reading, with it when writing.
#[test]
fn limits_are_remaining_length_when_reading_and_the_packet_when_writing() {
    let packet = publish(1, QoS::AtLeastOnce);
    // Topic, identifier, payload.
    let remaining = 2 + 1 + 2 + 1;
    let mut bytes = Default::default();
    packet.write(&mut bytes).unwrap();
    assert_eq!((packet.size(), bytes.len()), (remaining + 2, remaining + 2));
    let read = Packet::read(&mut bytes.clone(), remaining - 1);
    assert!(
        matches!(read, Err(CodecError::PayloadSizeLimitExceeded(size)) if size == remaining),
        "{read:?}"
    );
    Packet::read(&mut bytes, remaining).unwrap();
    let packet = Packet::Publish(packet);
    let written = packet.write(&mut Default::default(), remaining + 1);
    assert!(
        matches!(
            written,
            Err(CodecError::OutgoingPacketTooLarge {
                pkt_size: 8,
                max: 7
            })
        ),
        "{written:?}"
    );
}

/// Relied on by `fleet/check.rs`, which refuses these values before rumqttc sees them, and by
/// `convert::network_options`: seconds, without a fraction.
///
/// Fails when a setter takes what it panicked on, or panics on what we let through.
#[test]
fn setters_panic_on_what_is_checked_before() {
    let options = || MqttOptions::new("", "", 0);
    assert!(panics(|| _ = options().set_inflight(0)));
    assert!(panics(|| {
        options().set_keep_alive(Duration::from_millis(999));
    }));
    for keep_alive in [Duration::ZERO, Duration::from_secs(65_535)] {
        options().set_keep_alive(keep_alive);
    }
    options().set_inflight(u16::MAX);
    options().set_max_packet_size(usize::MAX, usize::MAX);
    let mut network = NetworkOptions::new();
    assert_eq!(network.connection_timeout(), 5);
    network.set_connection_timeout(u64::MAX);
    assert_eq!(network.connection_timeout(), u64::MAX);
}
