//! The fault matrix, on the line: ends of every kind, lines that are dead and do not say so, brokers that
//! do not read, answer or exist for a while. The neighbor does not notice, and afterwards all is as before.

use std::thread;
use std::time::{Duration, Instant};

use mqtt_fleet::testing::{Packet, PingReply, Seen, TestBroker};
use mqtt_fleet::{Delivery, QoS, Retry, Session};

use crate::support::fleet::{MARGIN, PATIENCE, quick, quick_retry, spec, start};
use crate::support::matrix::{Rig, VICTIM};
use crate::support::mosquitto::Mosquitto;
use crate::support::proc::wait_until;
use crate::support::proxy::Proxy;

const SECOND: Duration = Duration::from_secs(1);

/// Fails if one of the two ends is taken for the other, or costs more than one attempt.
#[test]
fn fin_and_rst_are_told_apart() {
    let rig = Rig::start("FIN", |spec| spec);
    assert!(rig.broker.kick(VICTIM));
    rig.lost("Closed");
    rig.recovers_at_once();

    let rig = Rig::start("RST", |spec| spec);
    assert!(rig.broker.cut(VICTIM));
    rig.lost("Broken");
    rig.recovers_at_once();
}

/// Fails if a ping that is never answered is waited for longer than promised, or if a late answer counts as
/// none.
#[test]
fn a_ping_that_is_never_answered_ends_the_connection() {
    let rig = Rig::start("no PINGRESP", |spec| spec.keep_alive(SECOND));
    rig.broker.on_ping_of(VICTIM, PingReply::Delay(SECOND / 4));
    let since = Instant::now();
    let pings = rig
        .broker
        .wait_for(|_| since.elapsed() > 3 * SECOND, PATIENCE);
    pings.unwrap();
    assert_eq!(rig.victim().stats().losses, 0, "late is not never");
    let since = Instant::now();
    rig.broker.on_ping_of(VICTIM, PingReply::Never);
    rig.lost("KeepAlive");
    // The ping before was answered: the next one is at most one keep alive away.
    let noticed_after = since.elapsed();
    assert!(noticed_after < 2 * SECOND + MARGIN, "{noticed_after:?}");
    rig.broker.clear_faults();
    rig.recovers_at_once();
}

/// Fails if a line that nothing comes through is believed in for more than two keep alives, or if what was
/// sent into it is lost or counted twice.
#[test]
fn a_frozen_line_is_noticed_and_nothing_in_it_is_lost() {
    let broker = TestBroker::start().unwrap();
    thread::scope(|scope| {
        let proxy = Proxy::start(scope, broker.addr(), 1);
        let frozen = mqtt_fleet::ClientSpec::new("frozen", proxy.url())
            .client_id("frozen")
            .session(Session::Kept)
            .keep_alive(SECOND)
            .retry(quick_retry(3));
        let fleet = start([frozen, spec("beside", &broker)]);
        fleet.wait_connected(PATIENCE).unwrap();
        let client = fleet.client("frozen").unwrap();
        proxy.freeze(true);
        let since = Instant::now();
        let receipt = client.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
        client.wait_disconnected(PATIENCE).unwrap();
        let noticed_after = since.elapsed();
        assert!(noticed_after < 2 * SECOND + MARGIN, "{noticed_after:?}");
        proxy.freeze(false);
        let delivery = receipt.wait_timeout(PATIENCE);
        assert_eq!(delivery, Ok(Delivery::Acknowledged));
        client.wait_connected(PATIENCE).unwrap();
        assert_eq!(client.stats().losses, 1);
        assert_eq!(client.ledger().acknowledged, 1);
        assert_eq!(fleet.client("beside").unwrap().stats().losses, 0);
        assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
        proxy.end_all();
    });
}

/// Fails if a write into a full socket blocks for ever, or is given up for another cause: it has the
/// connect timeout. The keep alive is long enough not to matter.
#[test]
fn a_broker_that_does_not_read_is_given_up_after_the_connect_timeout() {
    let rig = Rig::start("stalled reader", |spec| {
        spec.connect_timeout(SECOND).outbox_capacity(2)
    });
    assert!(rig.broker.stop_reading(VICTIM));
    let payload = vec![0; 200 * 1024];
    let full = (0..1_000).find(|_| {
        let (topic, qos) = ("flood", QoS::AtMostOnce);
        let victim = rig.victim();
        let sent = victim.publish_timeout(topic, qos, false, payload.clone(), SECOND / 4);
        sent.is_err()
    });
    assert!(full.is_some(), "the socket takes no more");
    let since = Instant::now();
    rig.lost("WriteTimeout");
    let noticed_after = since.elapsed();
    assert!(noticed_after < SECOND + MARGIN, "{noticed_after:?}");
    rig.recovers_at_once();
}

/// Fails if a SUBSCRIBE that is never answered is waited for without end. It has ten seconds, of which this
/// test takes every one; a ping is what wakes the client then.
#[test]
fn a_subscribe_that_is_never_answered_ends_the_connection() {
    let rig = Rig::start("no SUBACK", |spec| spec.keep_alive(SECOND));
    rig.broker.never_suback(true);
    let since = Instant::now();
    rig.victim().subscribe("more", QoS::AtMostOnce).unwrap();
    let asked = |seen: &[Seen]| {
        let more = |(filter, _): &(String, QoS)| filter == "more";
        seen.iter()
            .any(|it| matches!(&it.packet, Packet::Subscribe { filters, .. } if filters.iter().any(more)))
    };
    rig.broker.wait_for(asked, PATIENCE).unwrap();
    // This one stays unanswered; those of the next connection are answered.
    rig.broker.never_suback(false);
    rig.lost("SubackTimeout");
    let noticed_after = since.elapsed();
    assert!(noticed_after >= 10 * SECOND, "{noticed_after:?}");
    assert!(noticed_after < 12 * SECOND + MARGIN, "{noticed_after:?}");
    rig.recovers();
}

/// Fails if a client that retries for ever does not come back after a long outage, asks too often
/// meanwhile, loses what it took, or disturbs its neighbor on another broker.
#[test]
fn a_mosquitto_that_is_away_for_long_is_found_again() {
    let Some(mut mosquitto) = Mosquitto::start() else {
        return;
    };
    let other = TestBroker::start().unwrap();
    let (first, longest) = (Duration::from_millis(10), Duration::from_millis(100));
    let patient = mqtt_fleet::ClientSpec::new("patient", mosquitto.url())
        .subscribe("down", QoS::AtLeastOnce)
        .retry(quick(Retry::forever()).pause(first..=longest));
    let fleet = start([patient, spec("beside", &other)]);
    fleet.wait_subscribed(PATIENCE).unwrap();
    let client = fleet.client("patient").unwrap();
    mosquitto.kill();
    client.wait_disconnected(PATIENCE).unwrap();
    let receipt = client
        .publish("down", QoS::AtLeastOnce, false, "kept")
        .unwrap();
    // Many times the attempts of a policy with three: a minute of the default one has fewer.
    wait_until("many attempts fail", PATIENCE, || {
        client.stats().failed_attempts >= 20
    });
    mosquitto.restart();
    let delivery = receipt.wait_timeout(PATIENCE);
    assert_eq!(delivery, Ok(Delivery::Acknowledged));
    let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!(message.text(), "kept", "subscribed first, then sent");
    drop(message);
    let stats = client.stats();
    assert_eq!((stats.losses, stats.connects), (1, 2));
    assert_eq!(fleet.client("beside").unwrap().stats().losses, 0);
    assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
}
