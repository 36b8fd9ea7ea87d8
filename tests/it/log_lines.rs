//! What the log says, and how often: nothing new is hidden, and nothing is said a thousand times.

use std::time::Duration;

use log::{Level, LevelFilter, Metadata, Record};
use mqtt_fleet::testing::{ConnectReply, Sessions, TestBroker};
use mqtt_fleet::{Client, Fleet, QoS, Retry};
use parking_lot::Mutex;

use crate::support::fleet::{PATIENCE, quick, spec, start, wait_connects};
use crate::support::proc;

/// Keeps the lines of this crate.
struct Kept(Mutex<Vec<(Level, String)>>);

impl log::Log for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("mqtt_fleet")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = (record.level(), record.args().to_string());
            self.0.lock().push(line);
        }
    }

    fn flush(&self) {}
}

impl Kept {
    /// The only logger of this process.
    fn install() -> &'static Self {
        let kept = Box::leak(Box::new(Self(Mutex::new(Vec::new()))));
        log::set_logger(kept).expect("the process has no other logger");
        log::set_max_level(LevelFilter::Info);
        kept
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.0.lock();
        lines
            .iter()
            .map(|(level, text)| format!("{level} {text}"))
            .collect()
    }

    fn with(&self, text: &str) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| line.contains(text));
        lines
    }

    /// How many clients lines with this text speak of: one each, or the count in it.
    fn clients(&self, text: &str) -> usize {
        let counted = |line: &String| match line.split_once(" more client") {
            Some((count, _)) => count.rsplit(' ').next().unwrap().parse().unwrap(),
            None => 1,
        };
        self.with(text).iter().map(counted).sum()
    }
}

/// Fails when many clients in one outage say the same a thousand times, when what is left out is not
/// counted, or when the beginning or the end of the outage is not in the log.
#[test]
fn an_outage_of_many_clients_is_a_few_lines() {
    proc::alone(
        "log_lines::an_outage_of_many_clients_is_a_few_lines",
        || {
            const CLIENTS: usize = 200;
            let kept = Kept::install();
            let broker = TestBroker::start().unwrap();
            let retry = Retry::forever()
                .pause(Duration::from_millis(5)..=Duration::from_millis(20))
                .stable_after(Duration::ZERO);
            let fleet =
                start((0..CLIENTS).map(|i| spec(&format!("c{i}"), &broker).retry(retry.clone())));
            fleet.wait_connected(PATIENCE).unwrap();
            broker.stop();
            let clients: Vec<Client> = fleet.clients().iter().collect();
            proc::wait_until("many attempts", PATIENCE, || {
                clients.iter().all(|it| it.stats().failed_attempts >= 20)
            });
            broker.restart(Sessions::Lost).unwrap();
            fleet.wait_connected(PATIENCE).unwrap();
            let report = fleet.stop(PATIENCE);
            assert!(report.total().failed_attempts >= 20 * CLIENTS as u64);
            let lines = kept.lines();
            assert!(lines.len() < 80, "{}: {lines:#?}", lines.len());
            assert_eq!(kept.clients("disconnected from "), CLIENTS, "{lines:#?}");
            assert!(kept.clients("ttempt") >= CLIENTS, "{lines:#?}");
            assert_eq!(
                kept.clients("connected to") + kept.clients("connected again to"),
                CLIENTS
            );
            let connected = kept.with(" after an outage of ");
            assert!(connected[0].starts_with("INFO client c"), "{connected:?}");
            assert!(
                !kept
                    .with(" more clients: disconnected from 127.0.0.1:")
                    .is_empty()
            );
        },
    );
}

/// Fails when a loss costs two lines, or when its line does not say which attempt it cost.
#[test]
fn a_loss_is_one_line() {
    proc::alone("log_lines::a_loss_is_one_line", || {
        let kept = Kept::install();
        let broker = TestBroker::start().unwrap();
        let fleet = start([spec("plant", &broker)]);
        let next = fleet.next_connections();
        fleet.wait_connected(PATIENCE).unwrap();
        assert!(broker.kick("plant"));
        wait_connects(&broker, "plant", 2);
        next.wait_connected(PATIENCE).unwrap();
        fleet.stop(PATIENCE);
        let mut warnings = kept.with("WARN ");
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        let line = warnings.remove(0);
        assert!(
            line.starts_with("WARN client plant: disconnected from 127.0.0.1:"),
            "{line}"
        );
        assert!(
            line.ends_with(" (before it was stable: attempt 1 of 3 failed)"),
            "{line}"
        );
    });
}

/// Fails when a cause that is new in an outage is left out with the old one, when the hint at a stolen
/// client id is, or when the last word on a client that is back is that it is lost.
#[test]
fn nothing_new_is_left_out_and_the_end_is_told() {
    proc::alone(
        "log_lines::nothing_new_is_left_out_and_the_end_is_told",
        || {
            let kept = Kept::install();
            let broker = TestBroker::start().unwrap();
            let retry = quick(Retry::forever()).stable_after(Duration::from_millis(300));
            let fleet = start([spec("plant", &broker)
                .retry(retry)
                .subscribe("a", QoS::AtMostOnce)]);
            let plant = fleet.client("plant").unwrap();
            plant.wait_subscribed(PATIENCE).unwrap();
            let failed = |n: u64| {
                proc::wait_until("failed attempts", PATIENCE, || {
                    plant.stats().failed_attempts >= n
                });
            };
            broker.on_connect(ConnectReply::Code(3));
            broker.kick("plant");
            failed(40);
            broker.on_connect(ConnectReply::Close);
            failed(80);
            broker.on_connect(ConnectReply::AcceptThenKick);
            failed(120);
            broker.on_connect(ConnectReply::Accept);
            // It is known to be stable when something wakes it.
            proc::wait_until("the end of the outage", PATIENCE, || {
                let _ = broker.publish("a", QoS::AtMostOnce, false, "1");
                kept.lines()
                    .last()
                    .unwrap()
                    .contains("connected to 127.0.0.1:")
            });
            fleet.stop(PATIENCE);
            let lines = kept.lines();
            assert!(!kept.with("server unavailable").is_empty(), "{lines:#?}");
            assert!(
                !kept.with("failed: the broker closed").is_empty(),
                "{lines:#?}"
            );
            assert!(
                !kept.with("may use the client id \"plant\"").is_empty(),
                "{lines:#?}"
            );
            assert!(
                !kept.with(" more like it left out)").is_empty(),
                "{lines:#?}"
            );
            assert!(lines.len() < 50, "{}: {lines:#?}", lines.len());
        },
    );
}

/// Fails when failures of functions flood the log, hide a new failure, or are not counted.
#[test]
fn failures_of_functions_are_thinned_too() {
    proc::alone("log_lines::failures_of_functions_are_thinned_too", || {
        const MESSAGES: u64 = 1_000;
        let kept = Kept::install();
        let broker = TestBroker::start().unwrap();
        let fleet = Fleet::builder()
            .clients(
                (0..10).map(|i| spec(&format!("c{i}"), &broker).subscribe("#", QoS::AtLeastOnce)),
            )
            .on_message("#", |message, _| match message.topic() {
                "new" => Err("something new".into()),
                topic => Err(format!("no place for {topic}, error 17 of 4711").into()),
            })
            .on_state(|_| panic!("in the callback"))
            .start()
            .unwrap();
        fleet.wait_subscribed(PATIENCE).unwrap();
        for n in 0..MESSAGES {
            let topic = format!("t{n}");
            broker
                .publish(&topic, QoS::AtLeastOnce, false, "1")
                .unwrap();
        }
        broker.publish("new", QoS::AtLeastOnce, false, "1").unwrap();
        proc::wait_until("all failed", PATIENCE, || {
            fleet.stats().handler_errors == 10 * (MESSAGES + 1)
        });
        fleet.stop(PATIENCE);
        let lines = kept.lines();
        assert!(lines.len() < 40, "{}: {lines:#?}", lines.len());
        assert!(!kept.with("something new").is_empty(), "{lines:#?}");
        assert_eq!(kept.clients("something new"), 10, "{lines:#?}");
        assert!(!kept.with(" more clients, ").is_empty(), "{lines:#?}");
        assert!(
            !kept.with("the state callback of c").is_empty(),
            "{lines:#?}"
        );
    });
}

/// Fails when a refused subscription is told anew at each reconnect, or a full queue at each message.
#[test]
fn what_comes_back_with_each_connection_or_message_is_thinned() {
    let test = "log_lines::what_comes_back_with_each_connection_or_message_is_thinned";
    proc::alone(test, || {
        let kept = Kept::install();
        let broker = TestBroker::start().unwrap();
        broker.fail_subscribe("secret");
        broker.lower_subscribe("low", QoS::AtMostOnce);
        let retry = quick(Retry::forever()).stable_after(Duration::ZERO);
        let (go, held) = crossbeam_channel::bounded::<()>(0);
        let fleet = Fleet::builder()
            .client(
                spec("plant", &broker)
                    .retry(retry)
                    .subscribe("secret", QoS::AtLeastOnce)
                    .subscribe("low", QoS::AtLeastOnce),
            )
            .workers(1)
            .queue_capacity(1)
            .on_message("#", move |_, _| {
                let _ = held.recv();
                Ok(())
            })
            .start()
            .unwrap();
        let plant = fleet.client("plant").unwrap();
        plant.wait_subscribed(PATIENCE).unwrap();
        for n in 0..500_u64 {
            broker.publish("low", QoS::AtMostOnce, false, "1").unwrap();
            proc::wait_until("it is dropped", PATIENCE, || plant.stats().received > n);
        }
        for _ in 0..20 {
            let next = plant.next_connection();
            assert!(broker.kick("plant"));
            next.wait_subscribed(PATIENCE).unwrap();
        }
        drop(go);
        fleet.stop(PATIENCE);
        let lines = kept.lines();
        let n = |text| kept.with(text).len();
        assert_eq!(
            n("refused \"secret\""),
            5,
            "of 21, the 1st, 2nd, 4th, 8th, 16th: {lines:#?}"
        );
        assert_eq!(n("lowered \"low\""), 5, "{lines:#?}");
        assert!(
            (1..=10).contains(&n("share of the queue is full")),
            "{lines:#?}"
        );
    });
}
