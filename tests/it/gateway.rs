//! The example `gateway`: whichever side is cut, and when it is killed, nothing is lost and nothing goes round.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Instant;

use bytes::Bytes;
use mqtt_fleet::testing::{Direction, Packet, Seen, Sessions, TestBroker};
use mqtt_fleet::{ClientSpec, QoS};

use crate::support::certificates::Certificates;
use crate::support::fleet::{PATIENCE, n_from, start};
use crate::support::mosquitto::Mosquitto;
use crate::support::proc::wait_until;
use crate::support::program::{Program, figure};
use crate::support::proxy::Proxy;
use crate::support::receiving::{number, numbered};

const LOCAL: &str = "gateway-site-7-local";
const CLOUD: &str = "gateway-site-7-cloud";

/// A gateway between two brokers that has its subscriptions.
fn gateway(local: &TestBroker, cloud: &TestBroker, more: &[&str]) -> Program {
    let (local_url, cloud_url) = (local.url(), cloud.url());
    let mut arguments = vec!["--local", &local_url, "--cloud", &cloud_url];
    arguments.extend(more);
    let program = Program::example("gateway", &arguments);
    for (broker, side) in [(local, "-local"), (cloud, "-cloud")] {
        let subscribed = broker.wait_for(
            |seen| {
                seen.iter()
                    .any(|it| it.client.ends_with(side) && is_suback(it))
            },
            PATIENCE,
        );
        subscribed.unwrap();
    }
    program
}

fn is_suback(seen: &Seen) -> bool {
    matches!(seen.packet, Packet::Suback { .. })
}

fn publish(local: &TestBroker, numbers: std::ops::RangeInclusive<usize>) {
    for n in numbers {
        let topic = format!("sensors/{}/temp", n % 3);
        local
            .publish(topic, QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
    }
}

/// The numbers that came to a broker on topics of the site, in the order in which each came first.
fn arrived(cloud: &TestBroker) -> Vec<usize> {
    let mut numbers = Vec::new();
    for seen in cloud.seen() {
        if let (Direction::In, Packet::Publish { topic, payload, .. }) =
            (seen.direction, &seen.packet)
        {
            let n = number(payload);
            assert_eq!(*topic, format!("site-7/sensors/{}/temp", n % 3));
            if !numbers.contains(&n) {
                numbers.push(n);
            }
        }
    }
    numbers
}

fn wait_arrived(cloud: &TestBroker, n: usize) {
    let all = cloud.wait_for(|_| arrived(cloud).len() >= n, PATIENCE);
    all.unwrap();
}

/// When each message that went in direction `way` was acknowledged the other way for the first time.
fn acknowledged(seen: &[Seen], client: &str, way: Direction) -> HashMap<Bytes, Instant> {
    let mut under_way = HashMap::new();
    let mut acknowledged = HashMap::new();
    for seen in seen.iter().filter(|seen| seen.client == client) {
        match &seen.packet {
            Packet::Publish {
                packet_id, payload, ..
            } if seen.direction == way => {
                under_way.insert(*packet_id, payload.clone());
            }
            Packet::Puback { packet_id } if seen.direction != way => {
                let payload = under_way.get(packet_id).expect("it was sent");
                acknowledged.entry(payload.clone()).or_insert(seen.at);
            }
            _ => {}
        }
    }
    acknowledged
}

fn n_pubacks(local: &TestBroker) -> usize {
    n_from(local, LOCAL, |packet| {
        matches!(packet, Packet::Puback { .. })
    })
}

/// Fails when a message is lost or overtaken by a cut of either side, in whatever state its copy is, or when
/// one is acknowledged to its own broker before the cloud has acknowledged it.
#[test]
fn nothing_is_lost_whichever_side_is_cut() {
    let (local, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let program = gateway(&local, &cloud, &[]);
    publish(&local, 1..=50);
    wait_arrived(&cloud, 20);
    assert!(cloud.cut(CLOUD));
    publish(&local, 51..=100);
    wait_arrived(&cloud, 60);
    assert!(local.cut(LOCAL));
    publish(&local, 101..=150);
    wait_arrived(&cloud, 110);
    // Both at once, the cloud for longer and without its memory.
    cloud.stop();
    local.cut(LOCAL);
    program.wait_for("cloud away", PATIENCE);
    publish(&local, 151..=200);
    local.wait_connected(1, PATIENCE).unwrap();
    // All that the local broker lets out at once wait in hand.
    wait_until("the window is in hand", PATIENCE, || {
        figure(&program.output(), " in hand") >= 20
    });
    cloud.restart(Sessions::Lost).unwrap();
    wait_arrived(&cloud, 200);
    local.stop();
    publish(&local, 201..=250);
    local.restart(Sessions::Kept).unwrap();
    wait_arrived(&cloud, 250);
    local
        .wait_for(
            |seen| acknowledged(seen, LOCAL, Direction::Out).len() == 250,
            PATIENCE,
        )
        .unwrap();
    assert_eq!(arrived(&cloud), (1..=250).collect::<Vec<_>>());

    let at_source = acknowledged(&local.seen(), LOCAL, Direction::Out);
    let in_cloud = acknowledged(&cloud.seen(), CLOUD, Direction::In);
    for (message, at) in at_source {
        assert!(
            in_cloud[&message] <= at,
            "{message:?} was acknowledged early"
        );
    }
    program.signal("TERM");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
    for said in [
        "cloud: disconnected: ",
        "local: disconnected: ",
        " arrived, 0 in hand, 0 looped, 0 refused",
    ] {
        assert!(output.contains(said), "{said} in {output}");
    }
}

/// Fails when a message is acknowledged to its broker while the cloud is yet to do so, when a killed gateway
/// has lost what it had in hand, or when it takes more in hand than it may.
#[test]
fn what_the_cloud_has_not_acknowledged_outlives_a_crash() {
    let (local, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let program = gateway(&local, &cloud, &["--in-hand", "7"]);
    cloud.hold_acks(true);
    publish(&local, 1..=10);
    wait_arrived(&cloud, 7);
    // It turns to the next one now, if it may.
    program.wait_for("7 in hand", PATIENCE);
    assert_eq!(arrived(&cloud).len(), 7, "no more than it may have");
    assert_eq!(n_pubacks(&local), 0);
    drop(program); // SIGKILL
    local.wait_disconnected(LOCAL, PATIENCE).unwrap();
    assert_eq!(n_pubacks(&local), 0);

    cloud.hold_acks(false);
    let program = gateway(&local, &cloud, &["--in-hand", "7"]);
    local
        .wait_for(
            |seen| acknowledged(seen, LOCAL, Direction::Out).len() == 10,
            PATIENCE,
        )
        .unwrap();
    assert_eq!(arrived(&cloud), (1..=10).collect::<Vec<_>>());
    program.signal("INT");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
}

/// Fails when a stop acknowledges what the cloud does not have, or gives what is in hand no time.
#[test]
fn a_stop_waits_for_what_is_in_hand_and_acknowledges_nothing_else() {
    let (local, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let program = gateway(&local, &cloud, &[]);
    cloud.hold_acks(true);
    publish(&local, 1..=3);
    wait_arrived(&cloud, 3);
    program.signal("TERM");
    program.wait_for("stopping: ", PATIENCE);
    publish(&local, 4..=4); // too late: it is for the next one
    assert_eq!(n_pubacks(&local), 0);
    cloud.hold_acks(false);
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("3 arrived, 0 in hand"), "{output}");
    assert_eq!(n_pubacks(&local), 3);
    let program = gateway(&local, &cloud, &[]);
    wait_arrived(&cloud, 4);
    drop(program);
}

/// Fails when a message goes round: on one broker that is both sides, where everything that is written is
/// received again, and in a ring of two gateways.
#[test]
fn nothing_goes_round() {
    let published = |broker: &TestBroker| -> Vec<String> {
        let seen = broker.seen().into_iter();
        let topics = seen.filter_map(|seen| match seen.packet {
            Packet::Publish { topic, .. } if seen.direction == Direction::In => Some(topic),
            _ => None,
        });
        topics.collect()
    };
    let both = TestBroker::start().unwrap();
    let program = gateway(&both, &both, &["--up", "#"]);
    let publish = |topic| both.publish(topic, QoS::AtLeastOnce, false, "x").unwrap();
    publish("sensors/a");
    // Up, and back to the side that it came from.
    program.wait_for(" 1 looped", PATIENCE);
    publish("site-7/commands/b");
    // At the local side it is the site's; down, and back to the side that it went to.
    program.wait_for(" 3 looped", PATIENCE);
    assert_eq!(published(&both), ["site-7/sensors/a", "commands/b"]);
    drop(program);

    let (left, right) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let program = gateway(&left, &right, &["--up", "#"]);
    let back = gateway(&right, &left, &["--up", "#", "--site", "site-8"]);
    left.publish("sensors/a", QoS::AtLeastOnce, false, "x")
        .unwrap();
    program.wait_for(" 1 looped", PATIENCE);
    assert_eq!(published(&right), ["site-7/sensors/a"]);
    assert_eq!(published(&left), ["site-8/site-7/sensors/a"]);
    drop(back);
}

/// Fails when a cloud that is spoken to over TLS is not reached with the authority that is given, when a message
/// is lost where such a connection is cut, or when one that is meant to go down does not.
#[test]
fn the_cloud_may_be_another_transport() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "right", &["127.0.0.1"]);
    let builder = Mosquitto::builder().listener(&made.shown("right"));
    let Some(cloud) = builder.start() else {
        return;
    };
    let witness = ClientSpec::new("witness", cloud.url());
    let witness = start([witness.subscribe("site-7/sensors/#", QoS::AtLeastOnce)]);
    witness.wait_subscribed(PATIENCE).unwrap();
    let wait_arrived = |numbers: &mut BTreeSet<usize>, n: usize| {
        while numbers.len() < n {
            let message = witness.messages().unwrap().recv_timeout(PATIENCE).unwrap();
            numbers.insert(number(message.payload()));
        }
    };
    let local = TestBroker::start().unwrap();
    std::thread::scope(|scope| {
        let encrypted = (Ipv4Addr::LOCALHOST, cloud.port_of(0));
        let proxy = Proxy::start(scope, encrypted.into(), 1);
        let cloud_url = proxy.url().replace("mqtt:", "mqtts:");
        let (local_url, file) = (local.url(), ca.file.display().to_string());
        let arguments = ["--local", &local_url, "--cloud", &cloud_url, "--ca", &file];
        let program = Program::example("gateway", &arguments);
        program.wait_for("local connected, cloud connected", PATIENCE);
        let mut numbers = BTreeSet::new();
        publish(&local, 1..=100);
        wait_arrived(&mut numbers, 30);
        proxy.end_all();
        publish(&local, 101..=200);
        wait_arrived(&mut numbers, 150);
        proxy.cut_below(1);
        proxy.end_all();
        program.wait_for("cloud away", PATIENCE);
        publish(&local, 201..=250);
        proxy.cut_below(0);
        wait_arrived(&mut numbers, 250);
        assert_eq!(numbers, (1..=250).collect());
        cloud.publish("site-7/commands/lamp", "on", 1, false);
        let came = |_: &[_]| local.published("commands/lamp") == ["on"];
        local.wait_for(came, PATIENCE).unwrap();
        program.signal("TERM");
        let (status, output) = program.ended(PATIENCE);
        assert_eq!(status.code(), Some(0), "{output}");
        assert!(output.contains(" mqtts://127.0.0.1:"), "{output}");
    });
    witness.stop(PATIENCE);
}

/// Fails when an authority that did not sign for the cloud is taken for one that did.
#[test]
fn another_authority_is_not_trusted() {
    let made = Certificates::new();
    let (ca, other) = (made.authority("ca"), made.authority("other"));
    made.issue(&ca, "right", &["127.0.0.1"]);
    let builder = Mosquitto::builder().listener(&made.shown("right"));
    let Some(cloud) = builder.start() else {
        return;
    };
    let local = TestBroker::start().unwrap();
    let cloud_url = format!("mqtts://127.0.0.1:{}", cloud.port_of(0));
    let (local_url, file) = (local.url(), other.file.display().to_string());
    let arguments = ["--local", &local_url, "--cloud", &cloud_url, "--ca", &file];
    let (status, output) = Program::example("gateway", &arguments).ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains("is not trusted: unknown issuer"),
        "{output}"
    );
}
