//! How the network thread is woken, with and without something to send.

use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

use super::{ROOM, Recorder, carried, offer, outbox, parked, settings, step};
use crate::{
    outbox::{
        Outbox,
        entry::Progress,
        network_side::Taken,
        receipt::{Delivery, Receipt},
        send_batch::SendBatch,
    },
    session::packet::{Control, Packet},
    spec::{outbox::OutboxSettings, qos::QoS},
};

#[test]
fn one_packet_is_carried_at_a_time_and_what_comes_meanwhile_goes_together() {
    let (outbox, carries) = outbox(settings(10, 10));
    let _first = offer(&outbox, "first", QoS::AtMostOnce);
    assert_eq!(
        carried(&carries),
        "silence",
        "nobody is woken without a connection"
    );
    outbox.connected(false, [], None);
    let mut progress = Vec::new();
    assert_eq!(step(&outbox, &mut progress), Some(vec!["first".to_owned()]));
    let second = offer(&outbox, "second", QoS::AtMostOnce);
    assert_eq!(carried(&carries), "second", "it was parked");
    let kept: Vec<_> = ["third", "fourth"]
        .map(|topic| offer(&outbox, topic, QoS::AtMostOnce))
        .into();
    assert_eq!(carried(&carries), "silence", "it is woken already");
    assert_eq!(step(&outbox, &mut progress), Some(vec![]), "carried first");
    assert_eq!(outbox.ledger().in_progress, 3);
    progress.push(Progress::WakeSent);
    let sent = step(&outbox, &mut progress).unwrap();
    assert_eq!(sent, ["third", "fourth"]);
    assert!(second.is_done() && kept.iter().all(Receipt::is_done));
    let _fifth = offer(&outbox, "fifth", QoS::AtMostOnce);
    assert_eq!(carried(&carries), "fifth", "it was parked");
}

/// Fails when something waits for an engine that can be woken with nothing to send, or leaves twice.
#[test]
fn an_engine_that_carries_nothing_is_woken_once() {
    let (wakes, woken) = unbounded();
    let outbox = Outbox::new(settings(10, 10));
    outbox.attach(Box::new(Recorder::Waking(wakes)));
    outbox.connected(false, [], None);
    let mut progress = Vec::new();
    step(&outbox, &mut progress).unwrap();
    let receipts = ["a", "b"].map(|topic| offer(&outbox, topic, QoS::AtLeastOnce));
    assert_eq!(woken.len(), 1);
    assert_eq!(step(&outbox, &mut progress).unwrap(), ["a", "b"]);
    let answers = [1, 2].map(|packet_id| Progress::Acknowledged { packet_id });
    progress.extend(answers);
    step(&outbox, &mut progress).unwrap();
    assert!(
        receipts
            .iter()
            .all(|it| it.wait() == Ok(Delivery::Acknowledged))
    );
    outbox.close();
    assert_eq!(woken.len(), 2, "to end");
    assert_eq!(step(&outbox, &mut progress), None);
}

/// Fails when what an engine refuses to carry is lost, or keeps its identifier.
#[test]
fn what_an_engine_refuses_to_carry_is_put_back() {
    let (outbox, carries) = parked(settings(10, 1));
    drop(carries);
    let receipt = offer(&outbox, "a", QoS::AtLeastOnce);
    assert!(outbox.control(Control::Unsubscribe(vec!["b".to_owned()])));
    let mut progress = Vec::new();
    let sent = step(&outbox, &mut progress).unwrap();
    assert!(
        sent[0].starts_with("Unsubscribe") && sent[1] == "a",
        "{sent:?}"
    );
    let packet_id = outbox.state.lock().inflight.first_sent().unwrap().packet_id;
    progress.push(Progress::Acknowledged { packet_id });
    step(&outbox, &mut progress).unwrap();
    assert_eq!(receipt.wait(), Ok(Delivery::Acknowledged));
}

/// Fails when the thread parks with another identifier prepared than the next one: what the engine carries
/// would be sent under it.
#[test]
fn the_next_identifier_is_prepared_before_the_thread_parks() {
    let (outbox, _carries) = outbox(settings(10, 10));
    outbox.connected(false, [], None);
    let park = |next_id| {
        let mut batch = SendBatch::default();
        outbox.take_or_park(&mut Vec::new(), &mut batch, ROOM, Some(next_id))
    };
    assert_eq!(park(7), Taken::NextId(1));
    assert_eq!(park(1), Taken::Parked { expires_at: None });
}

/// Fails when an answer changes the next identifier while the thread is parked, and something is carried before
/// the engine is prepared for it.
#[test]
fn nothing_is_carried_under_an_identifier_that_an_answer_has_freed() {
    let (outbox, carries) = outbox(settings(10, 10));
    outbox.connected(false, [], None);
    let (mut progress, mut engine_next) = (Vec::new(), 1);
    let mut park = |progress: &mut Vec<Progress>| loop {
        let mut batch = SendBatch::default();
        match outbox.take_or_park(progress, &mut batch, ROOM, Some(engine_next)) {
            Taken::NextId(id) => engine_next = id,
            Taken::Parked { .. } => return engine_next,
            taken => panic!("{taken:?}"),
        }
    };
    let publish = |expected: u16| {
        drop(offer(&outbox, "t", QoS::AtLeastOnce));
        match carries.try_recv() {
            Ok(Packet::Publish { packet_id, .. }) => assert_eq!(packet_id, expected),
            nothing => panic!("{nothing:?}"),
        }
    };
    // The second one stays unanswered, until the count has come round to the first.
    for round in 0_u16..17 {
        let packet_id = match round {
            0 => 1,
            1 => 2,
            16 => 1,
            later => later + 1,
        };
        assert_eq!(park(&mut progress), packet_id);
        publish(packet_id);
        progress.push(Progress::WakeSent);
        progress.extend((packet_id != 2).then_some(Progress::Acknowledged { packet_id }));
    }
    assert_eq!(park(&mut progress), 3, "2 is in use");
    // What a brief wait does first, and another thread comes right behind it.
    outbox.apply(&mut vec![Progress::Acknowledged { packet_id: 2 }]);
    drop(offer(&outbox, "t", QoS::AtLeastOnce));
    assert!(carries.is_empty(), "the engine would send it as 3");
}

/// Fails when a client that is stopped on its own waits for nothing once its last message has expired.
#[test]
fn a_client_has_finished_when_its_last_message_has_expired() {
    let (outbox, _carries) = outbox(OutboxSettings {
        max_age: Some(Duration::ZERO),
        ..settings(10, 10)
    });
    drop(offer(&outbox, "old", QoS::AtLeastOnce));
    outbox.connected(false, [], None);
    let hours = Instant::now() + Duration::from_secs(360_000);
    assert!(!outbox.finish(Some(hours)));
    let (mut progress, mut batch) = (Vec::new(), SendBatch::default());
    let taken = outbox.take_or_park(&mut progress, &mut batch, ROOM, None);
    assert_eq!(taken, Taken::Finished);
}

#[test]
fn closing_wakes_a_parked_thread_and_keeps_it_from_parking() {
    let (outbox, carries) = parked(settings(1, 1));
    outbox.close();
    assert_eq!(carried(&carries), "Disconnect");
    assert!(step(&outbox, &mut vec![Progress::WakeSent]).is_none());
}
