//! Slow lines, both ways: what moves is never given up, however long it takes, and what does not move is
//! noticed on time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{Cause, ClientSpec, ClientState, Delivery, QoS, ReceiptError, Retry};

use crate::support::fleet::{MARGIN, PATIENCE, next_state, quick_retry, spec, start};
use crate::support::matrix::CONNACK;
use crate::support::proxy::Proxy;

const SECOND: Duration = Duration::from_secs(1);
const MEGABYTE: usize = 1_000_000;
const LARGE: usize = 20 * MEGABYTE;

/// A slow line takes its time.
const LONG: Duration = Duration::from_secs(120);

fn broker() -> TestBroker {
    let broker = TestBroker::builder().max_packet_size(LARGE + 1_000);
    broker.start().unwrap()
}

fn client(name: &str, proxy: &Proxy) -> ClientSpec {
    ClientSpec::new(name, proxy.url())
        .client_id(name)
        .max_packet_size(LARGE + 1_000)
}

/// Fails if a large message is given up on a line that moves, at any quality of service, or if one that
/// waits for it to be sent is: 20 MB at 4 MB/s take five times the connect timeout, and longer than a keep
/// alive.
#[test]
fn what_goes_out_slowly_goes_out_once() {
    let broker = broker();
    thread::scope(|scope| {
        let proxy = Proxy::start(scope, broker.addr(), 1);
        proxy.slow(4 * MEGABYTE as u64);
        let specs = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| {
            client(&format!("up{}", u8::from(qos)), &proxy)
                .connect_timeout(SECOND)
                .keep_alive(4 * SECOND)
                .retry(quick_retry(1))
        });
        let fleet = start(specs);
        fleet.wait_connected(PATIENCE).unwrap();
        let mut receipts = Vec::new();
        for (client, qos) in
            fleet
                .clients()
                .iter()
                .zip([QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
        {
            for payload in [vec![7; LARGE], b"behind".to_vec()] {
                let receipt = client.publish(client.name(), qos, false, payload);
                receipts.push((qos, receipt.unwrap()));
            }
        }
        for (qos, receipt) in receipts {
            let promised = match qos {
                QoS::AtMostOnce => Delivery::Sent,
                _ => Delivery::Acknowledged,
            };
            assert_eq!(receipt.wait_timeout(LONG), Ok(promised), "{qos:?}");
        }
        for client in fleet.clients().iter() {
            broker
                .wait_for(|_| broker.published(client.name()).len() == 2, LONG)
                .unwrap();
            let arrived = broker.published(client.name());
            assert_eq!(arrived[0].len(), LARGE);
            assert_eq!(client.stats().losses, 0);
        }
        assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
        proxy.end_all();
    });
}

/// Fails if a ping counts as unanswered while its answer waits behind a large message that is coming, or
/// a SUBSCRIBE does.
#[test]
fn what_comes_in_slowly_is_no_silence() {
    let broker = broker();
    thread::scope(|scope| {
        let proxy = Proxy::start(scope, broker.addr(), 1);
        let spec = client("down", &proxy)
            .subscribe("large", QoS::AtLeastOnce)
            .connect_timeout(SECOND)
            .keep_alive(SECOND)
            .retry(quick_retry(1));
        let fleet = start([spec]);
        fleet.wait_subscribed(PATIENCE).unwrap();
        // Twelve seconds: a SUBACK has ten.
        proxy.slow(LARGE as u64 / 12);
        broker
            .publish("large", QoS::AtLeastOnce, false, vec![7; LARGE])
            .unwrap();
        let client = fleet.client("down").unwrap();
        client.subscribe("more", QoS::AtMostOnce).unwrap();
        let message = fleet.messages().unwrap().recv_timeout(LONG).unwrap();
        assert_eq!(message.payload().len(), LARGE);
        drop(message);
        client.wait_subscribed(LONG).unwrap();
        assert_eq!(client.stats().losses, 0);
        assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
        proxy.end_all();
    });
}

/// Fails if a line of 1 MB/s does not carry 20 MB each way with the defaults: it takes twenty seconds, and
/// a connect timeout has five.
#[test]
fn twenty_megabytes_each_way_with_the_defaults() {
    let broker = broker();
    thread::scope(|scope| {
        let proxy = Proxy::start(scope, broker.addr(), 1);
        let both = client("both", &proxy).subscribe("down", QoS::AtLeastOnce);
        let fleet = start([both]);
        fleet.wait_subscribed(PATIENCE).unwrap();
        proxy.slow(MEGABYTE as u64);
        broker
            .publish("down", QoS::AtLeastOnce, false, vec![7; LARGE])
            .unwrap();
        let client = fleet.client("both").unwrap();
        let receipt = client
            .publish("up", QoS::AtLeastOnce, false, vec![7; LARGE])
            .unwrap();
        let message = fleet.messages().unwrap().recv_timeout(LONG).unwrap();
        assert_eq!(message.payload().len(), LARGE);
        drop(message);
        assert_eq!(receipt.wait_timeout(LONG), Ok(Delivery::Acknowledged));
        assert_eq!(broker.connects("both"), 1);
        assert_eq!(client.stats().losses, 0);
        assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
        proxy.end_all();
    });
}

/// Fails if a line that stands still in the middle of a large message, out or in, is believed in for longer
/// than promised because it has moved before.
#[test]
fn a_line_that_stands_still_is_noticed_in_the_middle() {
    let broker = broker();
    thread::scope(|scope| {
        let proxy = Proxy::start(scope, broker.addr(), 1);
        let out = client("out", &proxy)
            .connect_timeout(SECOND)
            .keep_alive(60 * SECOND);
        let into = client("in", &proxy)
            .subscribe("large", QoS::AtLeastOnce)
            .connect_timeout(60 * SECOND)
            .keep_alive(2 * SECOND);
        let fleet = start([out, into].map(|spec| spec.retry(quick_retry(1))));
        let states = fleet.states();
        fleet.wait_subscribed(PATIENCE).unwrap();
        proxy.slow(MEGABYTE as u64);
        let payload = vec![7; LARGE];
        let client = fleet.client("out").unwrap();
        let receipt = client.publish("t", QoS::AtLeastOnce, false, payload.clone());
        broker
            .publish("large", QoS::AtLeastOnce, false, payload)
            .unwrap();
        // Both have moved for longer than their timeouts.
        let since = Instant::now();
        let moving = broker.wait_for(|_| since.elapsed() > 5 * SECOND, PATIENCE);
        moving.unwrap();
        assert_eq!(fleet.stats().losses, 0);
        proxy.freeze(true);
        let frozen_at = Instant::now();
        let is_lost = |state: &ClientState| matches!(state, ClientState::Lost { .. });
        let lost = next_state(&states, "out", is_lost);
        assert_eq!(lost.cause(), Some(&Cause::WriteTimeout));
        let noticed_after = frozen_at.elapsed();
        assert!(noticed_after < 2 * SECOND + MARGIN, "{noticed_after:?}");
        let client = fleet.client("in").unwrap();
        client.wait_disconnected(PATIENCE).unwrap();
        // What was under way before may have counted as a sign of life at the first ping.
        let noticed_after = frozen_at.elapsed();
        assert!(noticed_after < 6 * SECOND + MARGIN, "{noticed_after:?}");
        drop(receipt);
        fleet.stop(Duration::from_millis(100));
        proxy.freeze(false);
        proxy.end_all();
    });
}

/// A client of a broker that reads nothing any more, whose thread sleeps; what another thread gives it. Says
/// after how long the line is noticed to stand still.
fn noticed_after(max_age: Option<Duration>, messages: usize, bytes: usize) -> Duration {
    let broker = broker();
    let spec = spec("idle", &broker)
        .max_packet_size(LARGE + 1_000)
        .outbox_capacity(messages)
        .connect_timeout(SECOND)
        .keep_alive(3_600 * SECOND)
        .retry(quick_retry(1));
    let fleet = start([match max_age {
        Some(age) => spec.max_age(age),
        None => spec,
    }]);
    let states = fleet.states();
    let client = fleet.client("idle").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    assert!(broker.stop_reading("idle"));
    let begun = Instant::now();
    for _ in 0..messages {
        drop(client.publish("t", QoS::AtMostOnce, false, vec![7; bytes]));
    }
    let is_lost = |state: &ClientState| matches!(state, ClientState::Lost { .. });
    let lost = next_state(&states, "idle", is_lost);
    assert_eq!(lost.cause(), Some(&Cause::WriteTimeout));
    let noticed_after = lost.at() - begun;
    fleet.stop_now(Duration::from_millis(100));
    noticed_after
}

/// Fails if a packet that another thread hands over while the client sleeps stands still for longer than
/// promised: large ones did for four connect timeouts more, and small ones until the oldest message
/// behind them grew too old.
#[test]
fn a_line_that_stands_still_is_noticed_by_a_client_that_slept() {
    let old = Some(3_600 * SECOND);
    for (name, max_age, messages, bytes) in [
        ("large", None, 1, LARGE),
        ("large, which may grow too old", old, 1, LARGE),
        ("small", None, 20_000, 1_000),
        ("small, which may grow too old", old, 20_000, 1_000),
    ] {
        let noticed_after = noticed_after(max_age, messages, bytes);
        assert!(
            noticed_after < 3 * SECOND + MARGIN,
            "{name}: {noticed_after:?}"
        );
    }
}

/// Fails if an unanswered SUBSCRIBE is noticed only when the next ping wakes the client: a keep alive may be
/// long, and a SUBSCRIBE has ten seconds.
#[test]
fn an_unanswered_subscribe_is_noticed_at_every_keep_alive() {
    let broker = broker();
    let keep_alives = [1, 5, 30, 600];
    let specs = keep_alives
        .map(|seconds| spec(&format!("k{seconds}"), &broker).keep_alive(seconds * SECOND));
    let fleet = start(specs);
    fleet.wait_connected(PATIENCE).unwrap();
    let states = fleet.states();
    broker.never_suback(true);
    let since = Instant::now();
    for client in fleet.clients().iter() {
        client.subscribe("more", QoS::AtMostOnce).unwrap();
    }
    for seconds in keep_alives {
        let client = fleet.client(&format!("k{seconds}")).unwrap();
        client.wait_disconnected(PATIENCE).unwrap();
        let noticed_after = since.elapsed();
        assert!(noticed_after >= 10 * SECOND, "{seconds}: {noticed_after:?}");
        let most = 10 * SECOND + 2 * MARGIN;
        assert!(noticed_after < most, "{seconds}: {noticed_after:?}");
    }
    let lost = next_state(&states, "k600", |state| {
        matches!(state, ClientState::Lost { .. })
    });
    assert_eq!(lost.cause(), Some(&Cause::SubackTimeout));
    fleet.stop(PATIENCE);
}

/// Fails if a message that waits for a broker's acknowledgements expires only at the next wake-up: the keep
/// alive is a minute, and so is the pause between attempts.
#[test]
fn a_message_that_grows_too_old_expires_on_time() {
    let broker = broker();
    let spec = spec("old", &broker)
        .max_age(SECOND)
        .window(1)
        .keep_alive(60 * SECOND);
    let retry = Retry::forever().pause(60 * SECOND..=120 * SECOND);
    let fleet = start([spec.retry(retry)]);
    fleet.wait_connected(PATIENCE).unwrap();
    let client = fleet.client("old").unwrap();
    broker.hold_acks(true);
    let publish = || client.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    let (_held, waits) = (publish(), publish());
    assert_eq!(waits.wait_timeout(5 * SECOND), Err(ReceiptError::Expired));
    broker.stop();
    client.wait_disconnected(PATIENCE).unwrap();
    let waits = publish();
    assert_eq!(waits.wait_timeout(5 * SECOND), Err(ReceiptError::Expired));
    fleet.stop(PATIENCE);
}

/// Fails if a SUBSCRIBE that has waited for a burst of messages to pass stays in the encoder until the next
/// ping flushes it. How long the burst has to be depends on how it is read, so there are some.
#[test]
fn what_waited_for_a_burst_to_pass_leaves_at_once() {
    let bursts = (0..12).map(|n| 16_000 + 60 * n);
    thread::scope(|scope| {
        let specs: Vec<_> = bursts
            .map(|n_messages| {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let url = format!("mqtt://{}", listener.local_addr().unwrap());
                scope.spawn(move || burst_to(&listener, n_messages));
                // Of both a client may wake to flush.
                ClientSpec::new(format!("burst{n_messages}"), url)
                    .subscribe("t", QoS::AtMostOnce)
                    .connect_timeout(60 * SECOND)
                    .keep_alive(60 * SECOND)
                    .retry(quick_retry(1))
            })
            .collect();
        let fleet = start(specs);
        for client in fleet.clients().iter() {
            let subscribed = client.wait_subscribed(8 * SECOND);
            subscribed.unwrap_or_else(|error| panic!("{}: {error}", client.name()));
        }
        fleet.stop(PATIENCE);
    });
}

/// A broker for one client: it answers CONNECT, sends a burst, answers SUBSCRIBE and reads on to the end.
fn burst_to(listener: &TcpListener, n_messages: usize) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut packet = [0; 256];
    let n_read = stream.read(&mut packet).unwrap();
    assert_eq!((packet[0], n_read > 10), (0x10, true), "CONNECT");
    let mut bytes = CONNACK.to_vec();
    for _ in 0..n_messages {
        bytes.extend_from_slice(b"\x30\x04\x00\x01ta");
    }
    stream.write_all(&bytes).unwrap();
    // A client that gives up closes: that is an empty read.
    if stream.read(&mut packet).unwrap_or_default() > 4 {
        assert_eq!(packet[0], 0x82, "SUBSCRIBE");
        let suback = [0x90, 3, packet[2], packet[3], 0];
        stream.write_all(&suback).unwrap();
    }
    while stream.read(&mut packet).is_ok_and(|n_read| n_read > 0) {}
}
