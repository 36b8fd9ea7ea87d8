//! More packets in one piece than rumqttc reads at once: answered, told apart from garbage behind them,
//! in order, and acknowledged together without holding anything back.

use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, unbounded};
use mqtt_fleet::testing::{Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Delivery, Fleet, QoS};

use crate::support::matrix::Rig;
use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, count_in, number, numbered, subscribed, tireless, wait_for_in,
};

const STOP: Duration = Duration::from_secs(10);
/// Above the 9 packets of a round of rumqttc's, below all that one wake-up reads.
const FLOOD: u8 = 60;

/// PUBLISH to "t" whose payload is its identifier.
fn publish(qos: u8, packet_id: u8) -> Vec<u8> {
    match qos {
        0 => vec![0x30, 4, 0, 1, b't', packet_id],
        _ => vec![0x30 | qos << 1, 6, 0, 1, b't', 0, packet_id, packet_id],
    }
}

fn flood(qos: u8) -> Vec<u8> {
    (1..=FLOOD).flat_map(|id| publish(qos, id)).collect()
}

fn is_puback(packet: &Packet) -> bool {
    matches!(packet, Packet::Puback { .. })
}

/// Floods for quick handlers, each acknowledged before the next; how many messages they are.
const FLOODS: usize = 13;
const ALL_QUICK: usize = FLOODS * FLOOD as usize;

/// Sends them to "t", and behind the last one, in the same piece and so in one batch, a message to
/// another topic. Whoever subscribes to "#" gets all.
fn quick_ones_and(broker: &TestBroker, topic: &[u8; 4]) {
    let flood = flood(1);
    for round in 1..FLOODS {
        assert!(broker.send_raw("plant", flood.clone()));
        wait_for_in(broker, "plant", round * usize::from(FLOOD), is_puback);
    }
    let mut last = flood;
    last.extend_from_slice(&[0x32, 9, 0, 4]);
    last.extend_from_slice(topic);
    last.extend_from_slice(&[0, FLOOD + 1, 0]);
    assert!(broker.send_raw("plant", last));
}

/// Fails when what rumqttc answers by itself (PUBCOMP) stays in its encoder until something else wakes
/// the thread: the next ping comes after a minute.
#[test]
fn a_flood_of_pubrel_is_answered() {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .keep_alive(Duration::from_secs(60))
        .subscribe("t", QoS::ExactlyOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    assert!(broker.send_raw("plant", flood(2)));
    // Kept, so that no PUBREC makes the broker send each PUBREL by itself. It does so too early here.
    let _kept: Vec<_> = (0..FLOOD)
        .map(|_| fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap())
        .collect();
    let releases: Vec<u8> = (1..=FLOOD).flat_map(|id| [0x62, 2, 0, id]).collect();
    assert!(broker.send_raw("plant", releases));
    let is_pubcomp = |packet: &Packet| matches!(packet, Packet::Pubcomp { .. });
    wait_for_in(&broker, "plant", FLOOD.into(), is_pubcomp);
    assert_eq!(broker.connects("plant"), 1);
    fleet.stop(STOP);
}

/// Fails when messages are lost that came with the garbage that ended their connection, or when the
/// loss has another cause than the garbage.
#[test]
fn garbage_behind_a_flood_is_told_as_such() {
    for (garbage, cause) in [
        (&b"\xf0\x00"[..], "Protocol"),
        (b"\x30\xff\xff\xff\x7f", "TooLarge"),
        // A PUBACK for nothing.
        (b"\x40\x02\x00\x07", "Protocol"),
    ] {
        let rig = Rig::start("garbage behind a flood", |spec| {
            spec.subscribe("t", QoS::AtMostOnce)
        });
        let mut bytes = flood(0);
        bytes.extend_from_slice(garbage);
        rig.send_raw(bytes);
        let messages = rig.fleet.messages().unwrap();
        for id in 1..=FLOOD {
            let message = messages.recv_timeout(PATIENCE).unwrap();
            assert_eq!(message.payload().as_ref(), [id]);
        }
        rig.lost(cause);
        rig.recovers();
    }
}

/// Fails when an acknowledgement of the wrong kind behind a flood acknowledges all the same: PUBCOMP says
/// nothing of a message of QoS 1.
#[test]
fn a_wrong_acknowledgement_behind_a_flood_acknowledges_nothing() {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
        .subscribe("t", QoS::AtMostOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    broker.hold_acks(true);
    let plant = fleet.client("plant").unwrap();
    let receipt = plant.publish("up", QoS::AtLeastOnce, false, "1").unwrap();
    let is_publish = |packet: &Packet| matches!(packet, Packet::Publish { .. });
    wait_for_in(&broker, "plant", 1, is_publish);
    let mut bytes = flood(0);
    // SUBSCRIBE had the first identifier.
    bytes.extend_from_slice(&[0x70, 2, 0, 2]);
    assert!(broker.send_raw("plant", bytes));
    // It is sent again on the next connection, and ends with the acknowledgement that comes there.
    wait_for_in(&broker, "plant", 2, is_publish);
    assert_eq!(receipt.try_result(), None);
    broker.hold_acks(false);
    assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    assert_eq!(broker.connects("plant"), 2);
    fleet.stop(STOP);
}

/// Fails when batches to the workers mix the order up, when messages handled together are acknowledged
/// out of order or not all of them, or when a handler that is slow all of a sudden loses the
/// acknowledgements of those before it.
#[test]
fn acknowledged_together_in_order_also_around_a_slow_handler() {
    const ALL: usize = 3_000;
    const SLOW: usize = 2_000;
    let broker = TestBroker::builder().window(200).start().unwrap();
    let (handled, order) = unbounded();
    let (hold, held) = bounded::<()>(0);
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .subscribe("t", QoS::AtLeastOnce);
    let fleet = Fleet::builder()
        .client(spec)
        .workers(1)
        .on_message("t", move |message, _clients| {
            let n = number(message.payload());
            if n == SLOW {
                let _ = held.recv();
            }
            handled.send(n)?;
            Ok(())
        })
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    for n in 0..ALL {
        broker
            .publish("t", QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
    }
    for n in 0..SLOW {
        assert_eq!(order.recv_timeout(PATIENCE), Ok(n));
    }
    // The slow one holds nobody back who came before it.
    wait_for_in(&broker, "plant", SLOW, is_puback);
    drop(hold);
    for n in SLOW..ALL {
        assert_eq!(order.recv_timeout(PATIENCE), Ok(n));
    }
    wait_for_in(&broker, "plant", ALL, is_puback);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), ALL);
    wait_until("all are counted", PATIENCE, || {
        fleet.stats().handled == ALL as u64
    });
    // The broker sees to the order of acknowledgements itself.
    assert_eq!(broker.connects("plant"), 1);
    fleet.stop(STOP);
}

/// Fails when acknowledgements of quick handlers wait for the end of something else, such as their
/// batch: a handler behind them that waits for one more message would wait for ever, because a broker
/// whose window is full of what is handled does not send it.
#[test]
fn who_waits_for_a_message_gets_it_though_the_window_was_full() {
    let broker = TestBroker::start().unwrap();
    let (tell, told) = bounded(1);
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .subscribe("#", QoS::AtLeastOnce);
    let fleet = Fleet::builder()
        .client(spec)
        .workers(1)
        .on_message("t", |_, _| Ok(()))
        .on_message("wait", move |_, _| Ok(told.recv_timeout(PATIENCE)?))
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    quick_ones_and(&broker, b"wait");
    wait_for_in(&broker, "plant", ALL_QUICK, is_puback);
    tell.send(()).unwrap();
    wait_for_in(&broker, "plant", ALL_QUICK + 1, is_puback);
    assert_eq!(fleet.stats().handler_errors, 0);
    fleet.stop(STOP);
}

/// Fails when a handler's stop comes before the acknowledgements of what was handled just before it, so
/// that the broker sends all that again.
#[test]
fn who_stops_from_a_handler_leaves_nothing_unacknowledged_before_it() {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .subscribe("#", QoS::AtLeastOnce);
    let fleet = Fleet::builder()
        .client(spec)
        .workers(1)
        .on_message("t", |_, _| Ok(()))
        .on_message("stop", |_, clients| {
            clients.stop();
            Ok(())
        })
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    quick_ones_and(&broker, b"stop");
    let report = fleet.join();
    wait_for_in(&broker, "plant", ALL_QUICK, is_puback);
    assert_eq!(report.total().handled, (ALL_QUICK + 1) as u64);
}

/// PUBLISH packets to "t" with payloads of this size.
fn sized(qos: u8, count: u16, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet_id in 1..=count {
        let mut remaining = 3 + usize::from(qos) * 2 + size;
        bytes.push(0x30 | qos << 1);
        while remaining >= 128 {
            bytes.push(0x80 | (remaining % 128) as u8);
            remaining /= 128;
        }
        bytes.push(remaining as u8);
        bytes.extend_from_slice(&[0, 1, b't']);
        if qos > 0 {
            bytes.extend_from_slice(&packet_id.to_be_bytes());
        }
        bytes.resize(bytes.len() + size, 7);
    }
    bytes
}

/// Fails when one wake-up takes all that a flood has: what it brings is handed over at its end, and the
/// outbox and the stop signal are looked at there. What came in one wake-up was received at one moment.
#[test]
fn a_wake_up_has_bounds() {
    /// What rumqttc reads by itself: a round, and one more packet that waited in its queue.
    const ROUND: usize = 10;
    for (qos, count, size, most) in [
        (1, 600, 1, 144),
        (0, 1_500, 1, 512),
        // Until they are 64 KiB.
        (0, 100, 20_000, 4),
        (1, 100, 20_000, 4),
    ] {
        let broker = TestBroker::start().unwrap();
        let spec = ClientSpec::new("plant", broker.url())
            .client_id("plant")
            .subscribe("t", QoS::AtLeastOnce);
        let fleet = subscribed(Fleet::builder().client(spec));
        assert!(broker.send_raw("plant", sized(qos, count, size)));
        let mut wake_ups: Vec<(Instant, usize)> = Vec::new();
        for _ in 0..count {
            let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
            match wake_ups.last_mut() {
                Some((at, messages)) if *at == message.received_at() => *messages += 1,
                _ => wake_ups.push((message.received_at(), 1)),
            }
        }
        let largest = wake_ups.iter().map(|it| it.1).max().unwrap();
        println!("QoS {qos}, {size} bytes: {largest} of {count} at once");
        assert!(
            largest <= most + ROUND,
            "QoS {qos}, {size} bytes: {largest} at once"
        );
        fleet.stop(STOP);
    }
}
