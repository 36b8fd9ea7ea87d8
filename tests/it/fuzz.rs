//! Hostile input: whatever a broker sends, a client ends or connects again, in time, without a panic and
//! with no more memory than before. `FUZZ_CASES`, `FUZZ_SECONDS` and `FUZZ_SEED` make it longer or
//! different.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mqtt_fleet::{Broker, Outcome, check_filter, check_topic, topic_matches};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::fleet::PATIENCE;
use crate::support::hostile::{Ended, Script};
use crate::support::proc;
use crate::support::properties::fixed_seed;
use crate::support::streams::scripts;

/// What a run may need more than after its first cases: the allocator keeps what it had.
const MORE_MEMORY: u64 = 24 * 1024 * 1024;

/// So many cases fill all pools and caches.
const WARM_UP: u32 = 20;

/// What a run did, to be printed.
#[derive(Debug, Default)]
struct Figures {
    cases: u64,
    connections: usize,
    received: u64,
    acknowledged: u64,
    /// The errors that clients ended with, without their numbers.
    errors: BTreeMap<String, u64>,
    slowest: Duration,
}

impl Figures {
    fn add(&mut self, ended: &Ended, took: Duration) {
        let total = ended.report.total();
        self.cases += 1;
        self.connections += ended.n_connections;
        self.received += total.received;
        self.acknowledged += total.published.acknowledged;
        self.slowest = self.slowest.max(took);
        for client in ended.report.clients() {
            let error = match client.outcome() {
                Outcome::RetriesExhausted { last_error, .. } => last_error.to_string(),
                other => other.to_string(),
            };
            let error = error.replace(|it: char| it.is_ascii_digit(), "");
            *self.errors.entry(error).or_default() += 1;
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("it is a number"))
}

/// A run that finds the same for the same seed. What fails is made smaller and printed.
fn runner(seed: u64, cases: u32) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn run(runner: &mut TestRunner, figures: &RefCell<Figures>) {
    let result = runner.run(&scripts(), |script| {
        let begin = Instant::now();
        let ended = script.run();
        figures.borrow_mut().add(&ended, begin.elapsed());
        Ok(())
    });
    if let Err(error) = result {
        panic!("as a file in tests/it/fuzz_corpus it is replayed: {error}");
    }
}

/// Fails if one of the streams that once were trouble, or could be, makes a client panic, hang, end
/// otherwise than it may, or lose count.
#[test]
fn the_corpus_does_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fuzz_corpus");
    let mut n = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        let script = Script::parse(&fs::read_to_string(&path).unwrap());
        script.run();
        n += 1;
    }
    assert!(n >= 5, "{n} files");
}

/// Fails if a message whose topic is none reaches a handler, or if something else is said to be wrong.
#[test]
fn a_topic_that_is_none_is_named() {
    // PUBLISH at QoS 0 to `in/#`. A broker that closes right behind it may be what is found first.
    let ended = Script::parse("open \n 20020000 \n 30 08 0004 696e2f23 4142").run();
    assert_eq!(ended.report.total().received, 0);
    let [client] = ended.report.clients() else {
        panic!("{}", ended.report);
    };
    let error = client.outcome().to_string();
    assert!(error.contains("topic is not valid"), "{error}");
}

/// Fails if a client panics, hangs, does not stop, or loses count whatever the broker sends; if the peak
/// of the memory grows with what is sent or announced; or if a thread or descriptor is left over.
#[test]
fn random_streams_do_no_harm() {
    proc::alone("fuzz::random_streams_do_no_harm", || {
        let seed = number_from("FUZZ_SEED").unwrap_or(4);
        let figures = RefCell::default();
        run(&mut runner(seed, WARM_UP), &figures);
        let (threads, descriptors) = (proc::thread_count(), proc::open_descriptors());
        let (resident, peak) = (proc::resident_bytes(), proc::peak_resident_bytes());
        let begin = Instant::now();
        match number_from("FUZZ_SECONDS") {
            Some(seconds) => {
                // A runner that has done its cases does no more.
                let mut seeds = seed + 1..;
                while begin.elapsed() < Duration::from_secs(seconds) {
                    let seed = seeds.next().expect("there are more");
                    run(&mut runner(seed, 100), &figures);
                }
            }
            None => {
                let cases = number_from("FUZZ_CASES").unwrap_or(100);
                run(&mut runner(seed + 1, cases as u32), &figures);
            }
        }
        let more = proc::resident_bytes().saturating_sub(resident);
        // Linux sums the figures up from those of each processor, and a little late.
        let more_at_peak = proc::peak_resident_bytes().saturating_sub(peak);
        println!("{:#?} in {:?}", figures.borrow(), begin.elapsed());
        println!("memory: {resident} and {more} more, {more_at_peak} more at the peak");
        assert!(more_at_peak < MORE_MEMORY, "{more_at_peak}");
        proc::wait_until("no thread is left", PATIENCE, || {
            proc::thread_count() <= threads
        });
        proc::wait_until("no descriptor is left", PATIENCE, || {
            proc::open_descriptors() <= descriptors
        });
    });
}

/// A text of a few pieces, of which some mean something, and some are anything.
fn text(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let any_text = vec(any::<char>(), 0..4).prop_map(String::from_iter);
    let piece = prop_oneof![4 => select(pieces).prop_map(str::to_owned), 1 => any_text];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn topics() -> impl Strategy<Value = String> {
    text(&[
        "/", "+", "#", "a", "$", "$SYS", "$share", "\0", " ", "\u{e9}",
    ])
}

fn urls() -> impl Strategy<Value = String> {
    text(&[
        "mqtt",
        "tcp",
        "://",
        ":",
        "//",
        "/",
        "@",
        "[",
        "]",
        "::1",
        "%",
        "%41",
        "%f",
        "?",
        "#",
        "1883",
        "65536",
        "0",
        "host",
        "127.0.0.1",
        " ",
    ])
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 2_000.max(fixed_seed().cases), ..fixed_seed() })]

    /// Fails if a topic or filter makes the matcher or the checks panic, or if a valid topic does not match
    /// itself.
    #[test]
    fn no_topic_makes_the_matcher_panic(filter in topics(), topic in topics()) {
        let _ = topic_matches(&filter, &topic);
        let _ = check_filter(&filter);
        // As a filter, `$share/` means something else.
        if check_topic(&topic).is_ok() && !topic.starts_with("$share/") {
            prop_assert!(check_filter(&topic).is_ok());
            prop_assert!(topic_matches(&topic, &topic));
        }
    }

    /// Fails if a URL or host makes `Broker` panic, or if what it takes is not printed as it is taken again.
    #[test]
    fn no_url_makes_a_broker_panic(url in urls(), port: u16) {
        let _ = Broker::try_from((url.as_str(), port)).map(|broker| broker.to_string());
        if let Ok(broker) = Broker::try_from(&url) {
            let again = Broker::try_from(format!("mqtt://{broker}"));
            prop_assert!(again.is_ok(), "{broker}");
            prop_assert_eq!(again.unwrap().to_string(), broker.to_string());
        }
    }
}
