//! Connections that break in the middle of packets: nothing is lost, and QoS 2 comes once, both ways.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Delivery, Fleet, QoS, Session};

use crate::support::mosquitto::Mosquitto;
use crate::support::proxy::Proxy;
use crate::support::receiving::{PATIENCE, subscribed, take, tireless};

const STOP: Duration = Duration::from_secs(10);
const MESSAGES: usize = 300;
const BATCH: usize = 30;

fn spec(name: &str, url: &str) -> ClientSpec {
    ClientSpec::new(name, url)
        .client_id(name)
        .session(Session::Kept)
        .window(10)
        .retry(tireless())
        // A line that cuts every connection looks like a broker that closes on each message.
        .max_closes(0)
}

/// Sends messages from one client to the other, both behind a proxy that cuts each of their connections
/// after fewer bytes than `below`. Says how often each came.
fn through_cuts(target: SocketAddr, qos: QoS, below: u64) -> HashMap<String, usize> {
    std::thread::scope(|scope| {
        let proxy = Proxy::start(scope, target, u64::from(u8::from(qos)) + below);
        let (tell, told) = unbounded();
        let fleet = subscribed(
            Fleet::builder()
                .client(spec("sender", &proxy.url()))
                .client(spec("receiver", &proxy.url()).subscribe("t/#", qos))
                .on_message("t/#", move |message, _clients| {
                    tell.send(message.text().into_owned())?;
                    Ok(())
                }),
        );
        proxy.cut_below(below);
        // Those until now are never cut.
        proxy.end_all();
        let sender = fleet.client("sender").unwrap();
        let mut counts: HashMap<String, usize> = HashMap::new();
        let mut firsts = Vec::new();
        // Few at a time: what is repeated on each connection must fit between two cuts.
        for batch in 1..=MESSAGES / BATCH {
            let numbers = (batch - 1) * BATCH..batch * BATCH;
            let receipts: Vec<_> = numbers
                .map(|n| sender.publish("t/x", qos, false, n.to_string()).unwrap())
                .collect();
            for receipt in receipts {
                assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
            }
            while firsts.len() < batch * BATCH {
                let text = take(&told, 1).remove(0);
                let count = counts.entry(text.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    firsts.push(text);
                }
            }
        }
        assert!(proxy.n_cut() > 0, "it was cut");
        proxy.cut_below(0);
        let report = fleet.stop_draining(STOP);
        let total = report.total().published;
        assert!(total.balances() && total.in_progress == 0, "{total:?}");
        assert_eq!(total.acknowledged, MESSAGES as u64);
        let expected: Vec<_> = (0..MESSAGES).map(|n| n.to_string()).collect();
        assert_eq!(firsts, expected, "the order of first deliveries");
        for text in told.try_iter() {
            *counts.entry(text).or_default() += 1;
        }
        counts
    })
}

/// Fails when the bytes of half a packet make anything of the next connection, when a message is lost or
/// overtaken, or when one of QoS 2 comes twice, wherever its handshake was cut.
#[test]
fn nothing_is_lost_in_the_middle_of_packets() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for below in [300, 2_000] {
            let broker = TestBroker::start().unwrap();
            let counts = through_cuts(broker.addr(), qos, below);
            let once = counts.values().all(|count| *count == 1);
            assert!(once || qos == QoS::AtLeastOnce, "{counts:?}");
        }
    }
}

/// As above, and a real broker may see it otherwise than the test broker. Not that QoS 2 comes once: a
/// mosquitto 2.0 whose connection breaks before it has repeated a PUBREL goes back to PUBLISH, although it
/// has had PUBREC.
#[test]
fn nothing_is_lost_in_the_middle_of_packets_on_mosquitto() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for below in [2_000, 4_000] {
            let Some(mosquitto) = Mosquitto::builder().max_queued_messages(0).start() else {
                return;
            };
            let counts = through_cuts(([127, 0, 0, 1], mosquitto.port()).into(), qos, below);
            assert_eq!(counts.len(), MESSAGES);
        }
    }
}
