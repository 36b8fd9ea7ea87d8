//! Brokers that take a few filters in a packet, and close the connection on more, or refuse them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mqtt_fleet::testing::{Packet, Seen, Sessions, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, Outcome, QoS, RefusedSubscription, Session};

use crate::support::fleet::ended;
use crate::support::receiving::{PATIENCE, subscribed, tireless};

/// What such a broker does.
#[derive(Clone, Copy, PartialEq)]
enum OnMore {
    Close,
    /// SUBACK with code 0x80 for each.
    Refuse,
}

/// A broker that does this on a SUBSCRIBE or UNSUBSCRIBE of more filters than `most`, as some hosted ones do, in
/// front of the test broker. Returns its port, and how many packets it has refused.
#[expect(
    clippy::disallowed_methods,
    reason = "these threads end with their sockets, and the first with the process"
)]
fn stingy(broker: &TestBroker, most: usize, on_more: OnMore) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = broker.port();
    let refused = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&refused);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)) else {
                continue;
            };
            let (mut back, mut from) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                _ = std::io::copy(&mut from, &mut back);
                _ = back.shutdown(Shutdown::Both);
            });
            let counter = Arc::clone(&counter);
            std::thread::spawn(move || {
                while let Some(packet) = packet(&mut client) {
                    let kind = packet[0] >> 4;
                    let filters = match kind {
                        8 => filters(&packet[4..], 1),
                        10 => filters(&packet[4..], 0),
                        _ => 0,
                    };
                    if filters > most {
                        counter.fetch_add(1, Ordering::SeqCst);
                    }
                    if filters > most && kind == 8 && on_more == OnMore::Refuse {
                        let mut suback = vec![0x90, 2 + filters as u8, packet[2], packet[3]];
                        suback.resize(4 + filters, 0x80);
                        client.write_all(&suback).unwrap();
                        continue;
                    }
                    if filters > most || server.write_all(&packet).is_err() {
                        break;
                    }
                }
                _ = server.shutdown(Shutdown::Both);
                _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    (port, refused)
}

/// Fails when a broker that takes eight filters in a packet ends a client with more: told of it or not, with
/// those of the spec, with those that came at run time, and with those that a kept session is to forget.
#[test]
fn a_broker_that_takes_eight_filters_in_a_packet() {
    for is_told in [true, false] {
        for session in [Session::Clean, Session::Kept] {
            let broker = TestBroker::start().unwrap();
            let (port, _) = stingy(&broker, 8, OnMore::Close);
            let mut spec = ClientSpec::new("plant", ("127.0.0.1", port))
                .client_id("plant")
                .session(session)
                .retry(tireless());
            if is_told {
                spec = spec.filters_per_subscribe(8);
            }
            let n_of_spec = if is_told { 20 } else { 2 };
            for n in 0..n_of_spec {
                spec = spec.subscribe(format!("s/{n}"), QoS::AtLeastOnce);
            }
            let fleet = subscribed(Fleet::builder().client(spec));
            let client = fleet.client("plant").unwrap();
            for n in 0..12 {
                let filter = format!("r/{n}");
                client.subscribe(filter, QoS::AtLeastOnce).unwrap();
            }
            client.wait_subscribed(PATIENCE).unwrap();
            let before = broker.connects("plant");
            assert!(broker.kick("plant"));
            broker
                .wait_for(|_| broker.connects("plant") > before, PATIENCE)
                .unwrap();
            client.wait_subscribed(PATIENCE).unwrap();
            broker
                .publish("r/11", QoS::AtLeastOnce, false, "1")
                .unwrap();
            let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
            assert_eq!(message.topic(), "r/11");
            drop(message);
            if is_told {
                assert_eq!(client.stats().losses, 1);
            }
            if session == Session::Kept {
                broker.stop();
                client.wait_disconnected(PATIENCE).unwrap();
                for n in 0..12 {
                    client.unsubscribe(format!("r/{n}")).unwrap();
                }
                broker.restart(Sessions::Kept).unwrap();
                let forgotten = |seen: &[Seen]| {
                    let unsubscribes = seen.iter().filter_map(|it| match &it.packet {
                        Packet::Unsubscribe { filters, .. } => Some(filters),
                        _ => None,
                    });
                    unsubscribes.flatten().count() == 12
                };
                broker.wait_for(forgotten, PATIENCE).unwrap();
            }
            assert_eq!(fleet.stop(Duration::from_secs(10)).exit_code(), 0);
        }
    }
}

/// SUBSCRIBEs that came, by how many filters they have.
fn subscribes(broker: &TestBroker) -> Vec<usize> {
    let seen = broker.seen();
    let subscribes = seen.iter().filter_map(|it| match &it.packet {
        Packet::Subscribe { filters, .. } => Some(filters.len()),
        _ => None,
    });
    subscribes.collect()
}

/// Fails when a broker that refuses what is more than eight filters in a packet leaves a client without its
/// subscriptions, if that costs the connection or is told as a refusal, or if the client asks that way again
/// on its next connection.
#[test]
fn a_broker_that_refuses_more_than_eight_filters_in_a_packet() {
    let broker = TestBroker::start().unwrap();
    let (port, refused) = stingy(&broker, 8, OnMore::Refuse);
    let mut spec = ClientSpec::new("plant", ("127.0.0.1", port))
        .client_id("plant")
        .refused_subscription(RefusedSubscription::EndClient)
        .retry(tireless());
    for n in 0..12 {
        spec = spec.subscribe(format!("s/{n}"), QoS::AtLeastOnce);
    }
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    assert_eq!(subscribes(&broker), [1; 12]);
    for connects in 1..=2 {
        broker
            .publish("s/11", QoS::AtLeastOnce, false, "1")
            .unwrap();
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(message.topic(), "s/11");
        drop(message);
        assert_eq!(client.stats().refused_subscriptions, 0);
        assert_eq!(client.stats().losses, connects - 1);
        if connects == 1 {
            let next = client.next_connection();
            assert!(broker.kick("plant"));
            next.wait_subscribed(PATIENCE).unwrap();
        }
    }
    // The second time it was asked one by one from the start.
    assert_eq!(refused.load(Ordering::SeqCst), 1);
    assert_eq!(subscribes(&broker), [1; 24]);
    assert_eq!(fleet.stop(Duration::from_secs(10)).exit_code(), 0);
}

/// Fails when a client goes on asking for filters that the broker refuses each for itself, if a refusal is told
/// twice or not at all, or if filters that were granted are asked for again.
#[test]
fn filters_that_are_refused_are_asked_for_twice_at_most() {
    let broker = TestBroker::start().unwrap();
    let spec = |name: &str| {
        let spec = ClientSpec::new(name, broker.url()).client_id(name);
        ["no/1", "no/2", "no/3"]
            .into_iter()
            .fold(spec, |spec, filter| {
                spec.subscribe(filter, QoS::AtLeastOnce)
            })
    };
    for n in 1..=3 {
        broker.fail_subscribe(format!("no/{n}"));
    }
    let fleet = subscribed(Fleet::builder().client(spec("plant")));
    let client = fleet.client("plant").unwrap();
    assert_eq!(subscribes(&broker), [3, 1, 1, 1]);
    assert_eq!(client.stats().refused_subscriptions, 3);
    // What follows comes behind any further SUBSCRIBE.
    let receipt = client.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    receipt.wait_timeout(PATIENCE).unwrap();
    assert_eq!(subscribes(&broker), [3, 1, 1, 1]);
    // One that is granted says that the others are refused for what they are.
    client.subscribe("yes", QoS::AtLeastOnce).unwrap();
    client.wait_subscribed(PATIENCE).unwrap();
    let next = client.next_connection();
    assert!(broker.kick("plant"));
    next.wait_subscribed(PATIENCE).unwrap();
    assert_eq!(subscribes(&broker), [3, 1, 1, 1, 1, 4]);
    fleet.stop(Duration::from_secs(10));

    let strict = spec("strict").refused_subscription(RefusedSubscription::EndClient);
    let fleet = Fleet::builder().client(strict).start().unwrap();
    let outcome = ended(&fleet, "strict");
    let is_refused = matches!(outcome, Outcome::SubscriptionRefused { .. });
    assert!(is_refused, "{outcome:?}");
    fleet.stop(Duration::from_secs(10));
}

/// Packets of this test are shorter than 128 bytes.
fn packet(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    from.read_exact(&mut head).ok()?;
    let mut packet = vec![0; 2 + usize::from(head[1])];
    packet[..2].copy_from_slice(&head);
    from.read_exact(&mut packet[2..]).ok()?;
    Some(packet)
}

/// How many filters there are, each with so many bytes behind it.
fn filters(mut rest: &[u8], behind: usize) -> usize {
    let mut n = 0;
    while let [high, low, ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = &rest[2 + length + behind..];
        n += 1;
    }
    n
}
