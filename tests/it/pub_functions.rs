//! Pub functions are called on their moments, while their client is connected, and never in a burst.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{never, unbounded};
use mqtt_fleet::testing::{Direction, Packet, Seen, Sessions, TestBroker};
use mqtt_fleet::{ClientSpec, FailureKind, Fleet, OnFailure, Outcome, QoS, Repeat};

use crate::support::proc::{self, wait_until};
use crate::support::receiving::{PATIENCE, number, numbered, subscribed, take, tireless};

const STOP: Duration = Duration::from_secs(10);

/// Longer than a tick may be late on a busy machine before it counts as missed.
const INTERVAL: Duration = Duration::from_millis(20);

/// The publishes of a record by clients, with their moments.
fn ticks(seen: &[Seen]) -> Vec<(Instant, &str, usize)> {
    let incoming = seen.iter().filter(|it| it.direction == Direction::In);
    incoming
        .filter_map(|it| match &it.packet {
            Packet::Publish { payload, .. } => Some((it.at, it.client.as_str(), number(payload))),
            _ => None,
        })
        .collect()
}

/// A pub function that publishes how many times it was called.
fn counting(
    topic: &'static str,
) -> impl FnMut(&mqtt_fleet::Client) -> mqtt_fleet::HandlerResult + Clone + Send + Sync {
    let mut calls = 0;
    move |client| {
        calls += 1;
        client.try_publish(topic, QoS::AtMostOnce, false, numbered(calls))?;
        Ok(())
    }
}

/// Fails when the schedule slips by the length of the calls (the next one counted from the end of the
/// last), when calls come before their moments, when some are left out without being counted, or when
/// those that one long call had no time for are made up for.
#[test]
fn moments_are_absolute() {
    let broker = TestBroker::start().unwrap();
    let (call, calls) = unbounded();
    let work = Duration::from_millis(5);
    let mut n = 0;
    let spec = ClientSpec::new("plant", broker.url()).publish_every(INTERVAL, move |_client| {
        call.send(Instant::now())?;
        n += 1;
        // Each call takes a quarter of the interval, and one of them ten intervals.
        let _ = never::<()>().recv_timeout(if n == 10 { 10 * INTERVAL } else { work });
        Ok(())
    });
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let moments = take(&calls, 50);
    // All that the last call missed is counted when the thread has ended.
    let stats = fleet.stop(STOP).total();
    // No later than the moment of the first call, had all been called in time.
    let on_grid = |(k, moment): (usize, &Instant)| *moment - INTERVAL * k as u32;
    let start = moments.iter().enumerate().map(on_grid).min().unwrap();
    let passed = (moments[49] - start).as_nanos() / INTERVAL.as_nanos();
    assert!(
        passed <= 49 + u128::from(stats.missed_ticks),
        "{passed} intervals passed: {stats:?}"
    );
    assert!(stats.missed_ticks >= 9, "{stats:?}");
    // A late call may be close to the next one, and that one is on the grid.
    let dense = moments.windows(3).find(|it| it[2] - it[0] < INTERVAL);
    assert_eq!(dense, None, "a burst");
}

/// Fails when a pub function is called without a connection, when what was missed is made up for in a
/// burst, or when it is not counted.
#[test]
fn an_outage_is_neither_published_into_nor_made_up_for() {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .retry(tireless())
        .publish_every(INTERVAL, counting("tick"));
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    broker
        .wait_for(|seen| ticks(seen).len() >= 3, PATIENCE)
        .unwrap();
    broker.stop();
    client.wait_disconnected(PATIENCE).unwrap();
    // One call may be under way in the moment of the loss.
    let called = client.stats().ticks;
    let missed = client.stats().missed_ticks;
    wait_until("twenty are missed", PATIENCE, || {
        client.stats().missed_ticks >= missed + 20
    });
    assert!(client.stats().ticks <= called + 1);
    let already = ticks(&broker.seen()).len();
    broker.restart(Sessions::Lost).unwrap();
    broker
        .wait_for(|seen| ticks(seen).len() >= already + 10, PATIENCE)
        .unwrap();
    fleet.stop(STOP);
    let seen = broker.seen();
    let after = &ticks(&seen)[already..];
    // One was perhaps in the outbox since the loss, and a late call may be close to the next.
    let connected = seen
        .iter()
        .rfind(|it| matches!(it.packet, Packet::Connect { .. }))
        .unwrap()
        .at;
    let at_once = after.iter().filter(|(at, ..)| *at < connected + INTERVAL);
    assert!(at_once.count() <= 3, "a burst: {after:?}");
    let numbers: Vec<usize> = after.iter().map(|(_, _, n)| *n).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "none is called for nothing: {numbers:?}"
    );
}

/// Fails when the copies of a template all publish at one moment, or when they share their state.
#[test]
fn the_copies_of_a_template_are_spread_and_have_their_own_state() {
    let broker = TestBroker::start().unwrap();
    let interval = Duration::from_secs(1);
    let template = ClientSpec::new("dev-{i}", broker.url()).publish_every(interval, counting("n"));
    let fleet = subscribed(Fleet::builder().clients(template.times(20)));
    broker
        .wait_for(
            |seen| ticks(seen).iter().filter(|(_, _, n)| *n == 2).count() == 20,
            PATIENCE,
        )
        .unwrap();
    fleet.stop(STOP);
    let seen = broker.seen();
    let ticks = ticks(&seen);
    let firsts: Vec<Instant> = ticks
        .iter()
        .filter(|(_, _, n)| *n == 1)
        .map(|(at, ..)| *at)
        .collect();
    assert_eq!(firsts.len(), 20, "each counts for itself");
    let span = firsts[19] - firsts[0];
    assert!(span >= interval / 2, "{span:?}");
    for (_, client, n) in &ticks {
        let of_it = ticks.iter().filter(|(_, other, _)| other == client);
        assert!(*n <= of_it.count(), "{client}");
    }
}

/// Fails when a failing pub function ends the thread that others are called on, or is missing in the
/// counts or the report.
#[test]
fn failures_are_counted_and_harm_nobody_else() {
    let broker = TestBroker::start().unwrap();
    let client = |name: &str| ClientSpec::new(name, broker.url());
    let (call, calls) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(client("error").publish_every(INTERVAL, |_client| Err("no reading".into())))
            .client(client("panic").publish_every(INTERVAL, |_client| panic!("short circuit")))
            .client(client("good").publish_every(INTERVAL, move |_client| {
                call.send(())?;
                Ok(())
            })),
    );
    let fails = |name: &str| {
        let stats = fleet.client(name).unwrap().stats();
        (stats.pub_errors, stats.pub_panics)
    };
    wait_until("both fail again and again", PATIENCE, || {
        fails("error").0 >= 3 && fails("panic").1 >= 3
    });
    while calls.try_recv().is_ok() {}
    take(&calls, 3);
    let report = fleet.stop(STOP);
    assert_eq!(report.exit_code(), 1);
    for (name, text) in [("error", "no reading"), ("panic", "short circuit")] {
        let client = report.client(name).unwrap();
        let failure = client.first_failure().unwrap();
        assert_eq!(failure.kind(), FailureKind::PubFunction);
        assert_eq!((failure.message(), failure.topic()), (text, None));
        assert_eq!(failure.panicked(), name == "panic");
        let stats = client.stats();
        assert_eq!(stats.ticks, stats.pub_errors + stats.pub_panics);
        assert_eq!(*client.outcome(), Outcome::Stopped);
    }
    assert_eq!(report.client("good").unwrap().first_failure(), None);
}

/// Fails when the policy is not that of handlers: three calls at `Retry(2)`, and the end of the client
/// that failed at `StopClient`.
#[test]
fn the_policy_holds_for_pub_functions_too() {
    let broker = TestBroker::start().unwrap();
    let long = Duration::from_secs(3_600);
    let tried = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&tried);
    let spec =
        ClientSpec::new("plant", broker.url()).publish_every(long, move |_client| {
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err("not yet".into()),
                _ => Ok(()),
            }
        });
    let retrying = Fleet::builder()
        .on_failure(OnFailure::Retry(Repeat::times(2)))
        .client(spec);
    let fleet = subscribed(retrying);
    wait_until("it is tried again", PATIENCE, || {
        tried.load(Ordering::SeqCst) == 3
    });
    let total = fleet.stop(STOP).total();
    assert_eq!((total.ticks, total.pub_errors), (3, 2));

    let fleet = Fleet::builder()
        .on_failure(OnFailure::StopClient)
        .client(
            ClientSpec::new("bad", broker.url())
                .publish_every(INTERVAL, |_client| Err("no reading".into())),
        )
        .client(ClientSpec::new("good", broker.url()).publish_every(INTERVAL, counting("tick")))
        .start()
        .unwrap();
    let outcome = fleet.client("bad").unwrap().wait_ended(PATIENCE).unwrap();
    assert!(
        matches!(&outcome, Outcome::Failed { failure } if failure.message() == "no reading"),
        "{outcome}"
    );
    let good = fleet.client("good").unwrap();
    let before = good.stats().ticks;
    wait_until("the other one goes on", PATIENCE, || {
        good.stats().ticks > before + 2
    });
    let report = fleet.stop(STOP);
    assert_eq!(report.client("bad").unwrap().stats().ticks, 1);
    assert_eq!(*report.client("good").unwrap().outcome(), Outcome::Stopped);
}

/// Fails when pub functions run on network threads, or on a thread each.
#[test]
fn all_share_one_thread_named_publisher() {
    let test = "pub_functions::all_share_one_thread_named_publisher";
    proc::alone(test, || {
        let broker = TestBroker::start().unwrap();
        let before = proc::thread_count();
        let (call, calls) = unbounded();
        let template =
            ClientSpec::new("dev-{i}", broker.url()).publish_every(INTERVAL, move |client| {
                let thread = thread::current().name().unwrap_or_default().to_owned();
                call.send((client.name().to_owned(), thread))?;
                Ok(())
            });
        let fleet = subscribed(Fleet::builder().clients(template.times(10)));
        // On a busy machine some are called more often than others.
        let mut called = BTreeSet::new();
        while called.len() < 10 {
            called.insert(calls.recv_timeout(PATIENCE).unwrap());
        }
        let called: Vec<(String, String)> = called.into_iter().collect();
        let expected: Vec<_> = (0..10)
            .map(|n| (format!("dev-{n}"), "publisher".to_owned()))
            .collect();
        assert_eq!(called, expected);
        assert_eq!(fleet.threads().publishers(), 1);
        assert_eq!(fleet.threads().total(), 10 + 1 + 1);
        // The broker is in this process, and has two threads for each connection.
        assert_eq!(proc::thread_count(), before + 10 + 1 + 2 * 10);
        fleet.stop(STOP);
    });
}
