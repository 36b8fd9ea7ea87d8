//! From where a fleet can be stopped, or one client of it: from everywhere, its own threads included.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use mqtt_fleet::testing::{Packet, TestBroker};
use mqtt_fleet::{Fleet, Outcome, QoS};

use crate::support::fleet::{MARGIN, PATIENCE, ended, n_from, spec, start};
use crate::support::proc;

const DEADLINE: Duration = Duration::from_secs(1);

/// Fails if a handler that stops the fleet waits for itself.
#[test]
fn a_handler_stops_the_clients() {
    let broker = TestBroker::start().unwrap();
    let fleet = Fleet::builder()
        .client(spec("asked", &broker).subscribe("off", QoS::AtLeastOnce))
        .client(spec("other", &broker))
        .on_message("off", |_message, clients| {
            clients.stop();
            Ok(())
        })
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    broker.publish("off", QoS::AtLeastOnce, false, "").unwrap();
    fleet.wait_ended(PATIENCE).unwrap();
    assert_eq!(fleet.join().exit_code(), 0);
}

/// Fails if `Fleet::stop` in a handler joins the worker that it runs on, or exceeds its deadline.
#[test]
fn a_handler_stops_the_fleet_itself() {
    let broker = TestBroker::start().unwrap();
    let cell: Arc<OnceLock<Arc<Fleet>>> = Arc::default();
    let (told, report) = bounded(1);
    let own_fleet = Arc::clone(&cell);
    let stopping = spec("inside", &broker).subscribe("off", QoS::AtLeastOnce);
    let fleet = Fleet::builder()
        .client(stopping)
        .on_message("off", move |_message, _clients| {
            let fleet = own_fleet.get().ok_or("it is not there yet")?;
            let begin = Instant::now();
            let report = fleet.stop(PATIENCE);
            told.send((report, begin.elapsed()))?;
            Ok(())
        })
        .workers(2)
        .start()
        .unwrap();
    let fleet = Arc::new(fleet);
    cell.set(Arc::clone(&fleet)).unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    broker.publish("off", QoS::AtLeastOnce, false, "").unwrap();
    let (report, took) = report.recv_timeout(PATIENCE).unwrap();
    assert!(took < PATIENCE / 2, "it waited for itself: {took:?}");
    let outcome = report.client("inside").unwrap().outcome();
    assert_eq!(*outcome, Outcome::Stopped);
    assert!(report.abandoned().is_empty(), "{report}");
    assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
}

/// Fails if a handler that drains the fleet waits for the end of its own message, or if what it published
/// just before does not go out.
#[test]
fn a_handler_drains_the_fleet() {
    const MANY: usize = 200;
    let broker = TestBroker::start().unwrap();
    let cell: Arc<OnceLock<Arc<Fleet>>> = Arc::default();
    let (told, report) = bounded(1);
    let own_fleet = Arc::clone(&cell);
    let draining = spec("draining", &broker).subscribe("off", QoS::AtLeastOnce);
    let fleet = Fleet::builder()
        .client(draining)
        .on_message("off", move |_message, clients| {
            let fleet = own_fleet.get().ok_or("it is not there yet")?;
            let client = clients.get("draining")?;
            for n in 0..MANY {
                client.publish("last", QoS::AtLeastOnce, false, n.to_string())?;
            }
            let begin = Instant::now();
            let report = fleet.stop_draining(PATIENCE);
            told.send((report, begin.elapsed()))?;
            Ok(())
        })
        .workers(1)
        .start()
        .unwrap();
    let fleet = Arc::new(fleet);
    cell.set(Arc::clone(&fleet)).unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    broker.publish("off", QoS::AtLeastOnce, false, "").unwrap();
    let (report, took) = report.recv_timeout(PATIENCE * 2).unwrap();
    assert!(took < PATIENCE / 2, "it waited for itself: {took:?}");
    assert_eq!(report.total().published.acknowledged, MANY as u64);
    assert!(report.abandoned().is_empty(), "{report}");
    assert_eq!(broker.published("last").len(), MANY);
    assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
}

/// Fails if `Fleet::stop` in a pub function joins the publisher that it runs on.
#[test]
fn a_pub_function_stops_the_fleet_itself() {
    let broker = TestBroker::start().unwrap();
    let cell: Arc<OnceLock<Arc<Fleet>>> = Arc::default();
    let (told, report) = bounded(1);
    let own_fleet = Arc::clone(&cell);
    let ticking =
        spec("ticking", &broker).publish_every(Duration::from_millis(5), move |_client| {
            if let Some(fleet) = own_fleet.get() {
                let begin = Instant::now();
                let report = fleet.stop(PATIENCE);
                told.send((report, begin.elapsed()))?;
            }
            Ok(())
        });
    let fleet = Arc::new(start([ticking]));
    cell.set(Arc::clone(&fleet)).unwrap();
    let (report, took) = report.recv_timeout(PATIENCE).unwrap();
    assert!(took < PATIENCE / 2, "it waited for itself: {took:?}");
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
}

/// Fails if a pub function that stops its own client ends more than that, or less.
#[test]
fn a_pub_function_stops_its_client() {
    let broker = TestBroker::start().unwrap();
    let tick = Duration::from_millis(5);
    let shy = spec("shy", &broker).publish_every(tick, |client| {
        client.stop();
        Ok(())
    });
    let fleet = start([shy, spec("steady", &broker)]);
    let client = fleet.client("shy").unwrap();
    assert_eq!(client.wait_ended(PATIENCE), Ok(Outcome::Stopped));
    assert_eq!(client.stats().ticks, 1);
    fleet
        .client("steady")
        .unwrap()
        .wait_connected(PATIENCE)
        .unwrap();
}

/// Fails if stopping one client stops another, or does nothing.
#[test]
fn one_client_is_stopped_and_the_other_runs_on() {
    let broker = TestBroker::start().unwrap();
    let fleet = start(["leaves", "stays"].map(|name| spec(name, &broker)));
    fleet.wait_connected(PATIENCE).unwrap();
    fleet.client("leaves").unwrap().stop();
    assert_eq!(ended(&fleet, "leaves"), Outcome::Stopped);
    broker.wait_disconnected("leaves", PATIENCE).unwrap();
    let stays = fleet.client("stays").unwrap();
    stays.publish("any", QoS::AtLeastOnce, false, "").unwrap();
    let heard = broker.wait_for(|_| broker.published("any").len() == 1, PATIENCE);
    heard.unwrap();
    assert!(stays.is_connected());
    assert_eq!(fleet.threads().clients(), 1);
    assert_eq!(broker.connected(), ["stays"]);
}

/// Fails if a handle does nothing, or keeps `join` from returning.
#[test]
fn a_stop_handle_works_from_another_thread() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("handled", &broker)]);
    fleet.wait_connected(PATIENCE).unwrap();
    let handle = fleet.stop_handle();
    let report = thread::scope(|scope| {
        scope.spawn(move || handle.stop());
        fleet.join()
    });
    assert_eq!(report.exit_code(), 0);
}

/// Fails if two stops at a time wait for each other, or one of them goes without a report.
#[test]
fn two_threads_may_stop_at_once() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("contested", &broker)]);
    fleet.wait_connected(PATIENCE).unwrap();
    let begin = Instant::now();
    thread::scope(|scope| {
        let stops = [(); 4].map(|()| scope.spawn(|| fleet.stop(DEADLINE)));
        for stop in stops {
            assert_eq!(stop.join().unwrap().exit_code(), 0);
        }
    });
    assert!(begin.elapsed() < DEADLINE + MARGIN);
}

/// Fails if a dropped fleet runs on, or goes without DISCONNECT.
#[test]
fn dropping_the_fleet_stops_it() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("dropped-fleet", &broker)]);
    let kept = fleet.client("dropped-fleet").unwrap();
    kept.wait_connected(PATIENCE).unwrap();
    drop(fleet);
    assert_eq!(
        kept.outcome(),
        Some(Outcome::Stopped),
        "a kept handle keeps nothing alive"
    );
    assert_gone(&broker, "dropped-fleet");
}

/// Fails if a program that returns early, by `?`, leaves its clients running.
#[test]
fn an_early_return_stops_the_fleet() {
    fn program(broker: &TestBroker) -> Result<(), mqtt_fleet::Error> {
        let fleet = start([spec("early-return", broker)]);
        fleet.wait_connected(PATIENCE)?;
        fleet.client("a typo")?;
        unreachable!("there is no such client");
    }
    let broker = TestBroker::start().unwrap();
    program(&broker).unwrap_err();
    assert_gone(&broker, "early-return");
}

fn assert_gone(broker: &TestBroker, name: &str) {
    proc::wait_until("its thread is gone", PATIENCE, || {
        proc::threads_named(name) == 0
    });
    broker.wait_disconnected(name, PATIENCE).unwrap();
    assert_eq!(
        n_from(broker, name, |packet| *packet == Packet::Disconnect),
        1
    );
    assert_eq!(broker.connects(name), 1);
}

/// Fails if an orderly stop looks like a failure because a function was just about to publish.
#[test]
fn a_function_that_a_stop_refuses_has_not_failed() {
    let broker = TestBroker::start().unwrap();
    let (begun, is_begun) = bounded(1);
    let (go_on, told) = bounded::<()>(0);
    let spec = spec("refused", &broker).publish_every(Duration::from_millis(1), move |client| {
        if begun.try_send(()).is_ok() {
            // Until the test lets go, which is after the stop.
            let _ = told.recv();
        }
        client.try_publish("t", QoS::AtMostOnce, false, "1")?;
        Ok(())
    });
    let fleet = start([spec]);
    is_begun.recv_timeout(PATIENCE).unwrap();
    fleet.client("refused").unwrap().stop();
    drop(go_on);
    let report = fleet.join();
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!(report.total().pub_errors, 0, "{report}");
}
