//! Stops without a deadline from threads of the fleet: none waits for itself, nor two for each other.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, FleetBuilder, Outcome, QoS, Report};

use crate::support::fleet::{PATIENCE, spec};

/// How a fleet is stopped.
type Stop = fn(&Fleet) -> Report;

const STOPS: [Stop; 3] = [
    |fleet| fleet.stop(Duration::MAX),
    |fleet| fleet.stop_draining(Duration::MAX),
    |fleet| fleet.stop_now(Duration::MAX),
];

/// For functions that stop their own fleet, as soon as all of them have begun to.
#[derive(Clone)]
struct Own {
    fleet: Arc<OnceLock<Arc<Fleet>>>,
    stop: Stop,
    begin: Sender<()>,
    all_have_begun: Receiver<()>,
    told: Sender<Report>,
}

impl Own {
    fn stop(&self) {
        let _ = self.begin.send(());
        let _ = self.all_have_begun.recv_timeout(PATIENCE);
        let fleet = self.fleet.get().expect("it has started");
        let _ = self.told.send((self.stop)(fleet));
    }
}

/// Runs a fleet of which so many functions stop it at once, and returns what each of them was told.
fn stopped_by(
    n: usize,
    stop: Stop,
    build: impl FnOnce(Own) -> FleetBuilder,
    go: impl FnOnce(&Fleet),
) -> Vec<Report> {
    let (begin, begun) = unbounded();
    let (all, all_have_begun) = bounded::<()>(0);
    let (told, reports) = unbounded();
    let own = Own {
        fleet: Arc::default(),
        stop,
        begin,
        all_have_begun,
        told,
    };
    let cell = Arc::clone(&own.fleet);
    let fleet = Arc::new(build(own).start().unwrap());
    cell.set(Arc::clone(&fleet)).unwrap();
    go(&fleet);
    for _ in 0..n {
        begun.recv_timeout(PATIENCE).unwrap();
    }
    drop(all);
    let told = || reports.recv_timeout(PATIENCE).expect("it returns");
    let reports = (0..n).map(|_| told()).collect();
    fleet.stop(PATIENCE);
    reports
}

fn assert_stopped(reports: &[Report]) {
    for report in reports {
        assert!(report.abandoned().is_empty(), "{report}");
        for client in report.clients() {
            assert_eq!(*client.outcome(), Outcome::Stopped, "{report}");
        }
    }
}

/// Fails when two handlers that stop their fleet at once wait for each other.
#[test]
fn two_handlers_at_once() {
    for stop in STOPS {
        let broker = TestBroker::start().unwrap();
        let input = spec("plant", &broker).subscribe("off", QoS::AtLeastOnce);
        let reports = stopped_by(
            2,
            stop,
            |own| {
                let builder = Fleet::builder().client(input).workers(2).unordered();
                builder.on_message("off", move |_, _| {
                    own.stop();
                    Ok(())
                })
            },
            |fleet| {
                fleet.wait_subscribed(PATIENCE).unwrap();
                for _ in 0..2 {
                    broker.publish("off", QoS::AtLeastOnce, false, "").unwrap();
                }
            },
        );
        assert_stopped(&reports);
    }
}

/// Fails when the thread of a client, which calls its credentials function, is not known as one of the
/// fleet's.
#[test]
fn two_credentials_functions_at_once() {
    for stop in STOPS {
        let broker = TestBroker::start().unwrap();
        let reports = stopped_by(
            2,
            stop,
            |own| {
                let clients = ["one", "two"].map(|name| {
                    let own = own.clone();
                    let spec: ClientSpec = spec(name, &broker);
                    spec.credentials_with(move || {
                        own.stop();
                        Ok(("user".to_owned(), "password".to_owned()))
                    })
                });
                Fleet::builder().clients(clients)
            },
            |_| {},
        );
        assert_stopped(&reports);
        assert_eq!(broker.connects_total(), 0, "no connect follows a stop");
    }
}

/// Fails when a state callback, a pub function and a handler that stop their fleet at once wait for each
/// other.
#[test]
fn one_function_of_each_kind_at_once() {
    for stop in STOPS {
        let broker = TestBroker::start().unwrap();
        let input = spec("plant", &broker).subscribe("off", QoS::AtLeastOnce);
        let reports = stopped_by(
            3,
            stop,
            |own| {
                let (by_callback, by_handler) = (own.clone(), own.clone());
                let calls = std::sync::atomic::AtomicBool::new(false);
                let input = input.publish_every(Duration::from_millis(1), move |_client| {
                    own.stop();
                    Ok(())
                });
                Fleet::builder()
                    .client(input)
                    .workers(4)
                    .unordered()
                    .on_message("off", move |_, _| {
                        by_handler.stop();
                        Ok(())
                    })
                    .on_state(move |change| {
                        let is_first = || !calls.swap(true, std::sync::atomic::Ordering::SeqCst);
                        if change.state().to_string().contains("connected") && is_first() {
                            by_callback.stop();
                        }
                    })
            },
            |fleet| {
                fleet.wait_subscribed(PATIENCE).unwrap();
                broker.publish("off", QoS::AtLeastOnce, false, "").unwrap();
            },
        );
        assert_stopped(&reports);
    }
}
