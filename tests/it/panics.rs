//! Functions of the user that fail in every way that the language knows cost what they were called for,
//! and no thread: they are counted, they are in the report, and all later calls are made.

use std::error::Error;
use std::fmt;
use std::panic::{panic_any, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{Cause, FailureKind, Fleet, OnFailure, Outcome, QoS, Repeat, Retry};

use crate::support::fleet::{PATIENCE, ended, n_from, quick, quick_retry, spec};
use crate::support::proc::{self, wait_until};
use crate::support::program::Program;
use crate::support::receiving::subscribed;

const STOP: Duration = Duration::from_secs(10);

type Failing<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How a function fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    /// A panic whose payload panics when it is dropped, and so on, some times.
    PayloadPanics,
    Resumed,
    Error,
    DisplayPanics,
    DisplayFails,
    DebugPanics,
    /// Also the second of two values in it.
    ErrorDropPanics,
    SourcePanics,
}

const WAYS: [Way; 9] = [
    Way::Plain,
    Way::PayloadPanics,
    Way::Resumed,
    Way::Error,
    Way::DisplayPanics,
    Way::DisplayFails,
    Way::DebugPanics,
    Way::ErrorDropPanics,
    Way::SourcePanics,
];

/// Panics when it is dropped, so many times in a row.
struct Bomb(usize);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Bomb(self.0 - 1));
        }
    }
}

struct Nasty(
    Way,
    #[expect(dead_code, reason = "it is dropped")] Option<Bomb>,
);

impl fmt::Display for Nasty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nasty")?;
        match self.0 {
            Way::DisplayPanics => panic_any(Bomb(2)),
            Way::DisplayFails => Err(fmt::Error),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Nasty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Way::DebugPanics => panic!("in Debug"),
            _ => f.write_str("Nasty"),
        }
    }
}

impl Error for Nasty {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.0 {
            Way::SourcePanics => panic!("in source"),
            _ => None,
        }
    }
}

impl Way {
    fn fail<T>(self) -> Failing<T> {
        match self {
            Self::Plain => panic!("plain"),
            Self::PayloadPanics => panic_any(Bomb(3)),
            Self::Resumed => resume_unwind(Box::new(Bomb(1))),
            Self::ErrorDropPanics => Err(Box::new(Nasty(self, Some(Bomb(2))))),
            _ => Err(Box::new(Nasty(self, None))),
        }
    }

    fn panics(self) -> bool {
        matches!(self, Self::Plain | Self::PayloadPanics | Self::Resumed)
    }
}

fn take(calls: &Receiver<()>, n: usize, what: &str) {
    for at in 0..n {
        let call = calls.recv_timeout(PATIENCE);
        call.unwrap_or_else(|error| panic!("call {at} of {what}: {error}"));
    }
}

/// Fails if what unwinds beside a handler (its error is formatted, dropped, logged) ends the worker, so that later
/// messages are not handled, or is in no count; likewise the dead-letter function.
#[test]
fn handlers_and_the_dead_letter_function() {
    for way in WAYS {
        let broker = TestBroker::start().unwrap();
        let ((sink, calls), (dead_sink, dead)) = (unbounded(), unbounded());
        let fleet = subscribed(
            Fleet::builder()
                .client(spec("plant", &broker).subscribe("in", QoS::AtLeastOnce))
                .workers(1)
                .on_failure(OnFailure::Retry(Repeat::times(1)))
                .dead_letter(move |_, _| {
                    let _ = dead_sink.send(());
                    way.fail()
                })
                .on_message("in", move |_, _| {
                    let _ = sink.send(());
                    way.fail()
                }),
        );
        for _ in 0..3 {
            broker.publish("in", QoS::AtLeastOnce, false, "x").unwrap();
        }
        take(&calls, 6, &format!("{way:?}"));
        take(&dead, 3, &format!("{way:?}"));
        let acknowledged = || n_from(&broker, "plant", |it| matches!(it, Packet::Puback { .. }));
        wait_until("the messages are acknowledged", PATIENCE, || {
            acknowledged() == 3
        });
        assert_eq!(fleet.threads().workers(), 1, "{way:?}");
        let report = fleet.stop(STOP);
        let plant = report.client("plant").unwrap();
        let stats = plant.stats();
        let expected = match way.panics() {
            true => (9, 0),
            false => (0, 9),
        };
        assert_eq!(
            (stats.handler_panics, stats.handler_errors),
            expected,
            "{way:?}"
        );
        assert_eq!((stats.handled, stats.dead_letters), (3, 3));
        let failure = plant.first_failure().unwrap();
        assert_eq!(failure.kind(), FailureKind::Handler);
        match way {
            Way::DisplayPanics | Way::DisplayFails => {
                assert!(
                    failure.message().starts_with("nasty (its text"),
                    "{failure}"
                );
            }
            Way::Plain => assert_eq!(failure.message(), "plain"),
            Way::PayloadPanics | Way::Resumed => {
                assert_eq!(failure.message(), "a panic without text");
            }
            _ => assert_eq!(failure.message(), "nasty"),
        }
        assert_eq!(report.exit_code(), 1);
        assert_eq!(report.abandoned(), [""; 0]);
    }
}

/// Fails if it ends the publisher thread, and with it the pub functions of all clients.
#[test]
fn pub_functions() {
    for way in WAYS {
        let broker = TestBroker::start().unwrap();
        let (sink, calls) = unbounded();
        let (good_sink, good) = unbounded();
        let every = Duration::from_millis(2);
        let fleet = Fleet::builder()
            .client(spec("bad", &broker).publish_every(every, move |_| {
                let _ = sink.send(());
                way.fail()
            }))
            .client(spec("good", &broker).publish_every(every, move |_| {
                let _ = good_sink.send(());
                Ok(())
            }))
            .start()
            .unwrap();
        take(&calls, 5, &format!("{way:?}"));
        take(&good, 5, &format!("the other's, {way:?}"));
        assert_eq!(fleet.threads().publishers(), 1);
        let report = fleet.stop(STOP);
        let stats = report.client("bad").unwrap().stats();
        let failures = match way.panics() {
            true => stats.pub_panics,
            false => stats.pub_errors,
        };
        assert_eq!(failures, stats.ticks, "{way:?}");
        let failure = report.client("bad").unwrap().first_failure().unwrap();
        assert_eq!(failure.kind(), FailureKind::PubFunction);
        assert_eq!((report.exit_code(), report.abandoned().len()), (1, 0));
    }
}

/// Fails if it ends the client as `Panicked`: asking for credentials in vain is a failed attempt.
#[test]
fn credentials_functions() {
    for way in WAYS {
        let broker = TestBroker::start().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let asking = spec("asking", &broker)
            .retry(quick_retry(3))
            .credentials_with(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                way.fail()
            });
        let fleet = Fleet::builder()
            .client(asking)
            .client(spec("beside", &broker))
            .start()
            .unwrap();
        let outcome = ended(&fleet, "asking");
        let Outcome::RetriesExhausted {
            attempts: 3,
            last_error: Cause::Credentials { message },
        } = outcome
        else {
            panic!("{way:?}: {outcome:?}");
        };
        assert!(!message.is_empty());
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        fleet
            .client("beside")
            .unwrap()
            .wait_connected(PATIENCE)
            .unwrap();
        assert_eq!(fleet.stop(STOP).exit_code(), 1);
    }
}

/// Fails if it ends the thread that calls the callback, or is in no count and not in the report.
#[test]
fn state_callbacks() {
    for way in WAYS.into_iter().filter(|way| way.panics()) {
        for has_worker in [true, false] {
            let broker = TestBroker::start().unwrap();
            let (sink, calls) = unbounded();
            let mut builder = Fleet::builder()
                .client(spec("plant", &broker).subscribe("in", QoS::AtLeastOnce))
                .on_state(move |_| {
                    let _ = sink.send(());
                    let _ = way.fail::<()>();
                });
            if has_worker {
                builder = builder.on_message("in", |_, _| Ok(())).workers(1);
            }
            let fleet = subscribed(builder);
            assert!(broker.cut("plant"));
            // Connecting, connected, lost, connecting, connected.
            take(&calls, 5, &format!("{way:?}"));
            let threads = fleet.threads();
            assert_eq!(threads.workers() + threads.publishers(), 1);
            let report = fleet.stop(STOP);
            let plant = report.client("plant").unwrap();
            assert!(plant.stats().callback_panics >= 5);
            let failure = plant.first_failure().unwrap();
            assert_eq!(failure.kind(), FailureKind::StateCallback);
            assert_eq!((report.exit_code(), report.abandoned().len()), (1, 0));
        }
    }
}

/// Fails if a function that owns values whose destructors panic ends the process, or a thread before its
/// time, when it is dropped: two of a kind at once are a panic while another one unwinds.
#[test]
fn functions_that_panic_when_they_are_dropped() {
    Program::be(drop_them);
    let test = "panics::functions_that_panic_when_they_are_dropped";
    let (status, output) = Program::role(test, drop_them).ended(PATIENCE);
    assert!(status.success(), "{output}");
}

/// A value of a function: a clone of it panics too. Nothing else holds a plain one when the fleet drops it.
struct Owned(Arc<Bomb>);

impl Clone for Owned {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn drop_them() -> i32 {
    let broker = TestBroker::start().unwrap();
    let owned = || Owned(Arc::new(Bomb(2)));
    let mut spec = spec("plant", &broker).subscribe("in", QoS::AtLeastOnce);
    let (credentials, every) = (owned(), Duration::from_millis(2));
    spec = spec.credentials_with(move || {
        let _ = &credentials;
        Ok(("u".to_owned(), "p".to_owned()))
    });
    let mut builder = Fleet::builder();
    for _ in 0..2 {
        let (of_client, of_fleet, ticking) = (owned(), owned(), owned());
        spec = spec
            .on_message("in", move |_, _| {
                let _ = &of_client;
                Ok(())
            })
            .publish_every(every, move |_| {
                let _ = &ticking;
                Ok(())
            });
        builder = builder.on_message("in", move |_, _| {
            let _ = &of_fleet;
            Ok(())
        });
    }
    let (dead, told) = (owned(), owned());
    let fleet = builder
        .client(spec)
        .dead_letter(move |_, _| {
            let _ = &dead;
            Ok(())
        })
        .on_state(move |_| {
            let _ = &told;
        })
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    let report = fleet.stop(STOP);
    println!("{report}");
    report.exit_code()
}

/// A payload of the user's own type. Dropping it panics.
struct Fragile(Vec<u8>);

impl AsRef<[u8]> for Fragile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic_any(Bomb(2));
    }
}

/// Fails if a payload whose `Drop` panics is dropped inside rumqttc: the client would end.
#[test]
fn payloads_that_panic_when_they_are_dropped() {
    let broker = TestBroker::start().unwrap();
    let fleet = Fleet::builder()
        .client(spec("plant", &broker))
        .start()
        .unwrap();
    fleet.wait_connected(PATIENCE).unwrap();
    let client = fleet.client("plant").unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for size in [1, 2_000, 20_000] {
            // Some find the thread parked, and some go out in a batch.
            let receipts: Vec<_> = (0..20)
                .map(|_| {
                    let payload = Bytes::from_owner(Fragile(vec![7; size]));
                    client.publish("t", qos, false, payload).unwrap()
                })
                .collect();
            for receipt in receipts {
                assert!(receipt.wait_timeout(PATIENCE).is_ok(), "{qos:?}, {size}");
            }
        }
    }
    assert_eq!(client.stats().losses, 0);
    assert_eq!(fleet.stop(STOP).exit_code(), 0);
}

/// Panics at each record, with its lock held, as a logger may whose disk is full.
struct Frail(AtomicUsize);

impl log::Log for Frail {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("mqtt_fleet") {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic_any(Bomb(2));
        }
    }

    fn flush(&self) {}
}

static FRAIL: Frail = Frail(AtomicUsize::new(0));

/// Fails if a logger that panics ends a thread, or leaves anything uncounted or unsaid.
#[test]
fn a_logger_that_panics() {
    proc::alone("panics::a_logger_that_panics", || {
        log::set_logger(&FRAIL).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let broker = TestBroker::start().unwrap();
        let (sink, calls) = unbounded();
        let (tick_sink, ticks) = unbounded();
        let every = Duration::from_millis(2);
        let lost = spec("lost", &broker)
            .retry(quick(Retry::forever()))
            .subscribe("in", QoS::AtLeastOnce)
            .publish_every(every, move |_| {
                let _ = tick_sink.send(());
                Way::Error.fail()
            });
        let nowhere = TestBroker::start().unwrap();
        nowhere.stop();
        let fleet = Fleet::builder()
            .client(lost)
            .client(spec("gives-up", &nowhere).retry(quick_retry(1)))
            .workers(1)
            .on_state(|_| panic!("told"))
            .on_message("in", move |_, _| {
                let _ = sink.send(());
                Way::Error.fail()
            })
            .start()
            .unwrap();
        let lost = fleet.client("lost").unwrap();
        lost.wait_subscribed(PATIENCE).unwrap();
        for n in 1..=3 {
            broker.publish("in", QoS::AtLeastOnce, false, "x").unwrap();
            take(&calls, 1, "the handler");
            take(&ticks, 3, "the pub function");
            assert!(broker.cut("lost"));
            wait_until("it is connected again", PATIENCE, || {
                lost.stats().connects == n + 1
            });
            lost.wait_subscribed(PATIENCE).unwrap();
        }
        assert!(FRAIL.0.load(Ordering::SeqCst) >= 6, "it was asked to log");
        let threads = fleet.threads();
        assert_eq!((threads.workers(), threads.publishers()), (1, 1));
        let report = fleet.stop(STOP);
        let stats = report.client("lost").unwrap().stats();
        assert_eq!((stats.losses, stats.handler_errors), (3, 3));
        assert_eq!(*report.client("lost").unwrap().outcome(), Outcome::Stopped);
        assert_eq!((report.exit_code(), report.abandoned().len()), (1, 0));
    });
}

fn failing_at(sink: Sender<Instant>) -> impl Fn() -> Failing<()> + Clone + Send + Sync {
    move || {
        let _ = sink.send(Instant::now());
        Err("not yet".into())
    }
}

/// The first repetitions are 10, 20, 40 and 80 ms apart, or more.
fn pauses_grow(calls: &Receiver<Instant>) {
    let mut before = calls.recv_timeout(PATIENCE).unwrap();
    for least in [10, 20, 40, 80] {
        let call = calls.recv_timeout(PATIENCE).unwrap();
        let pause = call - before;
        assert!(
            pause >= Duration::from_millis(least),
            "{pause:?} < {least} ms"
        );
        before = call;
    }
}

/// Fails if a handler is called again without a pause, or if the pauses do not grow: a handler that always
/// failed was called 4.8 million times in a second.
#[test]
fn a_repeated_call_has_a_pause_before_it() {
    let broker = TestBroker::start().unwrap();
    let (sink, calls) = unbounded();
    let failing = failing_at(sink);
    let fleet = subscribed(
        Fleet::builder()
            .client(spec("plant", &broker).subscribe("in", QoS::AtLeastOnce))
            .workers(1)
            .on_failure(OnFailure::Retry(Repeat::times(u32::MAX)))
            .on_message("in", move |_, _| failing()),
    );
    broker.publish("in", QoS::AtLeastOnce, false, "x").unwrap();
    pauses_grow(&calls);
    // The stop ends the pause and the repetitions.
    let begun = Instant::now();
    let report = fleet.stop(STOP);
    assert!(begun.elapsed() < STOP + Duration::from_secs(1));
    assert_eq!(report.abandoned(), [""; 0]);
    assert_eq!(fleet.threads().workers(), 0);
    let made = calls.len();
    drop(fleet);
    assert_eq!(calls.len(), made, "no call after the stop");
    let acknowledged = broker.seen().into_iter().any(|seen| {
        seen.direction == Direction::In && matches!(seen.packet, Packet::Puback { .. })
    });
    assert!(!acknowledged, "what was never handled is not acknowledged");
    assert_eq!(report.exit_code(), 1);
}

/// Fails if that holds for handlers only, or if one pub function that fails for ever keeps the others of its
/// thread from being called.
#[test]
fn a_pub_function_is_repeated_with_pauses_and_not_past_its_next_call() {
    let broker = TestBroker::start().unwrap();
    let (sink, calls) = unbounded();
    let failing = failing_at(sink);
    let (other_sink, others) = unbounded();
    let fleet = Fleet::builder()
        .client(spec("bad", &broker).publish_every(Duration::from_millis(400), move |_| failing()))
        .client(
            spec("good", &broker).publish_every(Duration::from_millis(400), move |_| {
                let _ = other_sink.send(());
                Ok(())
            }),
        )
        .on_failure(OnFailure::Retry(Repeat::times(u32::MAX)))
        .start()
        .unwrap();
    pauses_grow(&calls);
    take(&others, 3, "the other's pub function");
    let report = fleet.stop(STOP);
    assert_eq!(report.abandoned(), [""; 0]);
}

/// Uses three quarters of a mebibyte of stack in a debug build.
fn deep(depth: usize) -> usize {
    let page = std::hint::black_box([depth as u8; 4096]);
    match depth {
        0 => page.len(),
        _ => deep(depth - 1) + usize::from(page[7]),
    }
}

fn handle_deeply() -> i32 {
    let broker = TestBroker::start().unwrap();
    let (sink, calls) = unbounded();
    let (dead_sink, dead) = unbounded();
    let (tick_sink, ticks) = unbounded();
    let plant = spec("plant", &broker)
        .subscribe("in", QoS::AtLeastOnce)
        .publish_every(Duration::from_millis(2), move |_| {
            tick_sink.send(deep(64))?;
            Ok(())
        });
    let fleet = subscribed(
        Fleet::builder()
            .client(plant)
            .on_failure(OnFailure::Retry(Repeat::times(0)))
            .dead_letter(move |_, _| {
                dead_sink.send(deep(64))?;
                Ok(())
            })
            .on_message("in", move |_, _| {
                sink.send(deep(64))?;
                Err("to the dead letters".into())
            }),
    );
    broker.publish("in", QoS::AtLeastOnce, false, "x").unwrap();
    for calls in [calls, dead, ticks] {
        calls.recv_timeout(PATIENCE).unwrap();
    }
    fleet.stop(STOP);
    0
}

/// Fails if handlers, pub functions or the dead-letter function run on a stack that ordinary code overflows,
/// which ends the process: it was 256 KiB.
#[test]
fn a_handler_may_use_as_much_stack_as_on_a_thread_of_std() {
    Program::be(handle_deeply);
    let test = "panics::a_handler_may_use_as_much_stack_as_on_a_thread_of_std";
    let (status, output) = Program::role(test, handle_deeply).ended(PATIENCE);
    assert!(status.success(), "{output}");
}
