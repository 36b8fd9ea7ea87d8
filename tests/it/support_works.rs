//! The helpers of the tests do what the tests believe of them.

use std::ffi::OsStr;
use std::fs::File;
use std::hint::black_box;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::support::mosquitto::{Mosquitto, Seen, find, found_or_skipped};
use crate::support::proc;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn threads_are_found_by_name_while_they_live() {
    let (end, ended) = bounded::<()>(0);
    let name = "named-for-this-test";
    assert_eq!(proc::threads_named(name), 0);
    thread::scope(|scope| {
        // The thread itself says that it runs, so that its name is set.
        let (up, is_up) = bounded(1);
        spawn_named(scope, name, move || {
            up.send(()).unwrap();
            ended.recv().unwrap_err();
        });
        is_up.recv().unwrap();
        assert_eq!(proc::threads_named(name), 1);
        assert_eq!(proc::threads_named("named-for"), 1);
        assert!(
            proc::thread_names().contains(&"named-for-this-".to_owned()),
            "15 bytes are kept"
        );
        drop(end);
    });
    // A scope ends when its threads have returned, which is a moment before the system forgets them.
    proc::wait_until("the thread is gone", 10 * SECOND, || {
        proc::threads_named(name) == 0
    });
}

#[test]
fn threads_and_descriptors_are_counted() {
    proc::alone("support_works::threads_and_descriptors_are_counted", || {
        let threads = proc::thread_count();
        assert_eq!(threads, proc::thread_names().len());
        let (end, ended) = bounded::<()>(0);
        thread::scope(|scope| {
            scope.spawn(move || ended.recv().unwrap_err());
            assert_eq!(proc::thread_count(), threads + 1);
            drop(end);
        });

        let descriptors = proc::open_descriptors();
        let file = File::open("/proc/self/stat").unwrap();
        assert_eq!(proc::open_descriptors(), descriptors + 1);
        drop(file);
        assert_eq!(proc::open_descriptors(), descriptors);
    });
}

#[test]
fn processor_time_and_memory_grow_with_use() {
    proc::alone(
        "support_works::processor_time_and_memory_grow_with_use",
        || {
            let before = proc::cpu_time();
            let begin = Instant::now();
            proc::wait_until("a tenth of a second of work is seen", 30 * SECOND, || {
                (0..1_000_000_u64).for_each(|number| _ = black_box(number));
                proc::cpu_time() >= before + SECOND / 10
            });
            let cores = thread::available_parallelism().unwrap().get() as u32;
            assert!(proc::cpu_time() - before <= begin.elapsed() * cores + SECOND / 10);

            const MEBIBYTE: u64 = 1 << 20;
            let before = proc::resident_bytes();
            let memory = black_box(vec![1_u8; 64 << 20]);
            let grown = proc::resident_bytes() - before;
            assert!((60 * MEBIBYTE..70 * MEBIBYTE).contains(&grown), "{grown}");
            drop(memory);
        },
    );
}

#[test]
fn alone_fails_with_its_body_and_when_no_test_has_that_name() {
    let failure = catch_unwind(|| proc::alone("no_such::test", || ())).unwrap_err();
    let text = failure.downcast_ref::<String>().unwrap();
    assert!(text.contains("running 0 tests"), "{text}");
    let failure = catch_unwind(|| proc::alone("support_works::fails_alone", || ())).unwrap_err();
    let text = failure.downcast_ref::<String>().unwrap();
    assert!(text.contains("it failed as asked"), "{text}");
}

/// Fails in the process that the test above starts for it, and does nothing elsewhere.
#[test]
fn fails_alone() {
    if std::env::args().any(|argument| argument == "support_works::fails_alone") {
        proc::alone("support_works::fails_alone", || {
            panic!("it failed as asked")
        });
    }
}

#[test]
fn waiting_ends_with_the_condition_or_with_the_time() {
    let mut calls = 0;
    proc::wait_until("the third look", 10 * SECOND, || {
        calls += 1;
        calls == 3
    });
    assert_eq!(calls, 3);

    let begin = Instant::now();
    assert!(!proc::holds_within(Duration::from_millis(20), || false));
    assert!(begin.elapsed() >= Duration::from_millis(20));
    let never = || proc::wait_until("pigs fly", Duration::ZERO, || false);
    let failure = catch_unwind(never).unwrap_err();
    assert!(
        failure
            .downcast_ref::<String>()
            .unwrap()
            .contains("pigs fly")
    );
}

#[test]
fn a_missing_mosquitto_skips_or_fails() {
    let required = OsStr::new("1");
    let found = Some(PathBuf::from("mosquitto"));
    assert_eq!(found_or_skipped(found.clone(), Some(required)), found);
    assert_eq!(found_or_skipped(None, None), None);
    assert_eq!(found_or_skipped(None, Some(OsStr::new("0"))), None);
    let failure = catch_unwind(|| found_or_skipped(None, Some(required))).unwrap_err();
    assert!(
        failure
            .downcast_ref::<&str>()
            .unwrap()
            .contains("REQUIRE_MOSQUITTO")
    );

    assert_eq!(find("no-such-program-anywhere"), None);
    assert!(find("sh").unwrap().is_file());
}

#[test]
fn mosquitto_passes_messages_on() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    assert_eq!(broker.url(), format!("mqtt://127.0.0.1:{}", broker.port()));
    let subscriber = broker.subscribe("plant/#", 1, 3);
    broker.publish("plant/a b", "two\nlines \u{fc}", 1, false);
    broker.publish("elsewhere", "unseen", 1, false);
    broker.publish("plant/empty", "", 0, false);
    broker.publish("plant/bytes", [0, 255], 2, true);
    let seen = |topic: &str, payload: &[u8], qos| Seen {
        topic: topic.to_owned(),
        payload: payload.to_vec(),
        qos,
        retain: false,
    };
    let expected = [
        seen("plant/a b", "two\nlines \u{fc}".as_bytes(), 1),
        seen("plant/empty", b"", 0),
        seen("plant/bytes", &[0, 255], 1),
    ];
    assert_eq!(subscriber.messages(), expected);

    let retained = broker.subscribe("plant/bytes", 0, 1).messages();
    assert_eq!(
        retained,
        [Seen {
            retain: true,
            ..seen("plant/bytes", &[0, 255], 0)
        }]
    );
}

#[test]
fn mosquitto_ends_and_comes_back_on_its_port() {
    let Some(mut broker) = Mosquitto::start() else {
        return;
    };
    let port = broker.port();
    broker.publish("state", "gone with the process", 1, true);
    let process = process_of(&broker);
    broker.kill();
    assert!(!process.exists());
    assert_eq!(broker.pid(), None);
    broker.restart();
    assert_eq!(broker.port(), port);
    // Nothing was kept: what the subscriber sees first is the message that follows.
    let subscriber = broker.subscribe("state", 1, 1);
    broker.publish("state", "new", 1, true);
    assert_eq!(subscriber.messages()[0].payload, b"new");
    // Two brokers do not share a port.
    let other = Mosquitto::start().unwrap();
    assert_ne!(other.port(), port);
}

#[test]
fn a_persistent_mosquitto_keeps_what_it_holds() {
    let Some(mut broker) = Mosquitto::builder().persistence(true).start() else {
        return;
    };
    broker.publish("state", "kept", 1, true);
    let first = process_of(&broker);
    broker.stop();
    assert!(!first.exists());
    broker.restart();
    assert_eq!(
        broker.subscribe("state", 1, 1).messages()[0].payload,
        b"kept"
    );
    let log = broker.log();
    assert_eq!(log.matches(" running").count(), 2, "{log}");
    let (second, directory) = (process_of(&broker), broker.directory().to_owned());
    assert!(second.exists() && directory.join("mosquitto.db").is_file());
    drop(broker);
    assert!(!second.exists() && !directory.exists());
}

#[test]
fn settings_reach_mosquitto_and_its_complaint_reaches_the_test() {
    let limits = || {
        Mosquitto::builder()
            .max_inflight_messages(7)
            .max_queued_messages(0)
    };
    let config = limits().config(Path::new("here"), 1883);
    let expected = [
        "listener 1883 127.0.0.1",
        "max_inflight_messages 7",
        "max_queued_messages 0",
    ];
    for line in expected {
        assert!(config.lines().any(|found| found == line), "{config}");
    }
    let Some(broker) = limits().start() else {
        return;
    };
    drop(broker);
    let failure = catch_unwind(|| limits().setting("no_such_setting", "1").start()).unwrap_err();
    let text = failure.downcast_ref::<String>().unwrap();
    assert!(text.contains("no_such_setting"), "{text}");
}

fn process_of(broker: &Mosquitto) -> PathBuf {
    let pid = broker.pid().unwrap();
    PathBuf::from(format!("/proc/{pid}"))
}

fn spawn_named<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() + Send + 'scope,
) {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn_scoped(scope, body).unwrap();
}
