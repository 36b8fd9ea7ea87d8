//! Brokers that take a few filters in a packet, and close the connection on more.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use mqtt_fleet::testing::{Packet, Seen, Sessions, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, QoS, Session};

use crate::support::receiving::{PATIENCE, subscribed, tireless};

/// A broker that closes on a SUBSCRIBE or UNSUBSCRIBE of more filters than this, as some hosted ones do, in
/// front of the test broker. Returns its port.
#[expect(
    clippy::disallowed_methods,
    reason = "these threads end with their sockets, and the first with the process"
)]
fn stingy(broker: &TestBroker, most: usize) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = broker.port();
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
            std::thread::spawn(move || {
                while let Some(packet) = packet(&mut client) {
                    let kind = packet[0] >> 4;
                    let is_refused = match kind {
                        8 => filters(&packet[4..], 1) > most,
                        10 => filters(&packet[4..], 0) > most,
                        _ => false,
                    };
                    if is_refused || server.write_all(&packet).is_err() {
                        break;
                    }
                }
                _ = server.shutdown(Shutdown::Both);
                _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

/// Fails when a broker that takes eight filters in a packet ends a client with more: told of it or not, with
/// those of the spec, with those that came at run time, and with those that a kept session is to forget.
#[test]
fn a_broker_that_takes_eight_filters_in_a_packet() {
    for is_told in [true, false] {
        for session in [Session::Clean, Session::Kept] {
            let broker = TestBroker::start().unwrap();
            let port = stingy(&broker, 8);
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
            let message = fleet.messages().recv_timeout(PATIENCE).unwrap();
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
