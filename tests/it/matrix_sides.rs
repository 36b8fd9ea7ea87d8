//! The fault matrix, on our side of the line: pub functions that hang, descriptors and threads that run
//! out, a client id that somebody else has too, and a clock that jumps.

use std::fs;
use std::time::Duration;

use crossbeam_channel::{bounded, never};
use mqtt_fleet::testing::{Packet, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, ClientState, Fleet, Outcome, QoS, Retry, StartError};

use crate::support::fleet::{
    MARGIN, PATIENCE, n_from, next_state, quick, quick_retry, spec, start,
};
use crate::support::matrix::kind;
use crate::support::proc::{self, wait_until};
use crate::tidy::source::{code_of, read, sources};

const SECOND: Duration = Duration::from_secs(1);

/// Fails if a stuck pub function costs a client its pings, its messages or its stop, or another one
/// anything; or if the report does not name it.
#[test]
fn a_pub_function_that_is_stuck_holds_up_nobody_else() {
    let broker = TestBroker::start().unwrap();
    let (entered, is_entered) = bounded(1);
    let stuck = spec("stuck-pub", &broker)
        .keep_alive(SECOND)
        .subscribe("to/both", QoS::AtLeastOnce)
        .publish_every(Duration::from_millis(10), move |_client| {
            let _ = entered.try_send(());
            let _ = never::<()>().recv();
            Ok(())
        });
    let beside = spec("beside", &broker).subscribe("to/both", QoS::AtLeastOnce);
    let fleet = start([stuck, beside]);
    fleet.wait_subscribed(PATIENCE).unwrap();
    is_entered.recv_timeout(PATIENCE).unwrap();

    let pings = || n_from(&broker, "stuck-pub", |packet| *packet == Packet::Pingreq);
    let before = pings();
    broker
        .wait_for(|_| pings() >= before + 2, PATIENCE)
        .unwrap();
    for name in ["stuck-pub", "beside"] {
        let client = fleet.client(name).unwrap();
        let receipt = client.publish("to/both", QoS::AtLeastOnce, false, name);
        receipt.unwrap().wait_timeout(PATIENCE).unwrap();
        assert_eq!(client.stats().losses, 0, "{name}");
    }
    // Each of two clients gets each of two messages.
    for _ in 0..4 {
        fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    }
    let begin = std::time::Instant::now();
    let report = fleet.stop(SECOND);
    let took = begin.elapsed();
    assert!(took < SECOND + MARGIN, "{took:?}: {report}");
    for client in report.clients() {
        assert_eq!(*client.outcome(), Outcome::Stopped, "{report}");
    }
    let [abandoned] = report.abandoned() else {
        panic!("{report}");
    };
    assert!(abandoned.contains("publisher"), "{abandoned}");
}

/// Fails if a pub function that takes longer than its interval is called in a burst afterwards, or keeps
/// its client from receiving.
#[test]
fn a_pub_function_that_is_slow_skips_its_moments() {
    let broker = TestBroker::start().unwrap();
    let interval = Duration::from_millis(10);
    let pause = never::<()>();
    let slow = spec("slow", &broker)
        .subscribe("to/slow", QoS::AtLeastOnce)
        .publish_every(interval, move |client| {
            let _ = pause.recv_timeout(10 * interval);
            client.try_publish("to/slow", QoS::AtMostOnce, false, "tick")?;
            Ok(())
        });
    let fleet = start([slow]);
    let begin = std::time::Instant::now();
    for _ in 0..5 {
        fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    }
    let ticks = fleet.client("slow").unwrap().stats().ticks;
    let at_most = begin.elapsed().as_millis() / (10 * interval).as_millis() + 2;
    assert!(u128::from(ticks) <= at_most, "{ticks} of {at_most}");
    let report = fleet.stop(PATIENCE);
    // What it publishes when its client has stopped is refused: the exit code is not asked here.
    let outcome = report.client("slow").unwrap().outcome();
    assert_eq!(*outcome, Outcome::Stopped, "{report}");
    assert!(report.abandoned().is_empty(), "{report}");
}

/// Fails if a process without free descriptors panics a client, ends one that may retry, disturbs one that
/// is connected, or does not recover when there are some again.
#[test]
fn descriptors_that_run_out_are_failed_attempts() {
    let test = "matrix_sides::descriptors_that_run_out_are_failed_attempts";
    proc::alone(test, || {
        let broker = TestBroker::start().unwrap();
        let fleet = start([
            spec("kicked", &broker).retry(quick(Retry::forever())),
            spec("finite", &broker).retry(quick_retry(3)),
            spec("beside", &broker),
        ]);
        fleet.wait_connected(PATIENCE).unwrap();
        broker.wait_connected(3, PATIENCE).unwrap();
        let states = fleet.states();
        let (_soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
        // What is open stays open, and nothing can be opened any more.
        rlimit::Resource::NOFILE.set(3, hard).unwrap();
        assert!(broker.kick("kicked"));
        for _ in 0..5 {
            let failed = next_state(&states, "kicked", |state| {
                matches!(state, ClientState::AttemptFailed { attempt: 2.., .. })
            });
            let cause = failed.cause().unwrap();
            let Cause::Connect { message, .. } = cause else {
                panic!("{cause:?}");
            };
            assert!(message.contains("Too many open files"), "{message}");
        }
        assert!(broker.kick("finite"));
        let finite = fleet.client("finite").unwrap();
        match finite.wait_ended(PATIENCE).unwrap() {
            Outcome::RetriesExhausted {
                attempts: 3,
                last_error,
            } => assert_eq!(kind(&last_error), "Connect"),
            other => panic!("{other:?}"),
        }
        let beside = fleet.client("beside").unwrap();
        let receipt = beside.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
        receipt.wait_timeout(PATIENCE).unwrap();

        rlimit::Resource::NOFILE.set(hard.min(1_024), hard).unwrap();
        let kicked = fleet.client("kicked").unwrap();
        kicked.wait_connected(PATIENCE).unwrap();
        let receipt = kicked.publish("t", QoS::AtLeastOnce, false, "2").unwrap();
        receipt.wait_timeout(PATIENCE).unwrap();
        assert_eq!(beside.stats().losses, 0);
        assert_eq!(kicked.stats().losses, 1);
        let report = fleet.stop(PATIENCE);
        assert!(report.abandoned().is_empty(), "{report}");
        assert_eq!(
            *report.client("kicked").unwrap().outcome(),
            Outcome::Stopped
        );
    });
}

/// Fails if a thread that the system refuses panics the caller, is not named, or leaves the threads made
/// before it behind. The refusal is that of memory for its stack.
#[test]
fn a_thread_that_is_refused_starts_nothing() {
    proc::alone(
        "matrix_sides::a_thread_that_is_refused_starts_nothing",
        || {
            const MIB: u64 = 1 << 20;
            let broker = TestBroker::start().unwrap();
            let threads = proc::threads_named("refused-");
            let pages = fs::read_to_string("/proc/self/statm").unwrap();
            let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
            let (_soft, hard) = rlimit::Resource::AS.get().unwrap();
            // Room for some of the stacks, and for all else besides.
            let used = pages * 4_096;
            rlimit::Resource::AS.set(used + 2_048 * MIB, hard).unwrap();
            let specs = ClientSpec::new("refused-{i}", broker.url()).times(20);
            let error = Fleet::builder()
                .clients(specs)
                .stack_size(512 << 20)
                .start()
                .unwrap_err();
            let StartError::Thread { thread, source } = error else {
                panic!("{error}");
            };
            assert!(thread.starts_with("refused-"), "{thread}: {source}");
            rlimit::Resource::AS.set(hard, hard).unwrap();
            wait_until("no thread is left", PATIENCE, || {
                proc::threads_named("refused-") == threads
            });
            let fleet = start(ClientSpec::new("after-{i}", broker.url()).times(20));
            fleet.wait_connected(PATIENCE).unwrap();
        },
    );
}

/// Fails if two processes with one client id take the session from each other without end: the attempts of
/// one of them are used up, and the other one stays.
#[test]
fn a_client_id_that_two_fleets_have_ends_one_of_them() {
    let broker = TestBroker::start().unwrap();
    let twin = || start([spec("twin", &broker)]);
    let fleets = [twin(), twin()];
    let outcome = |fleet: &Fleet| fleet.client("twin").unwrap().outcome();
    wait_until("one of them gives up", PATIENCE, || {
        fleets.iter().any(|fleet| outcome(fleet).is_some())
    });
    let (ended, running): (Vec<_>, Vec<_>) =
        fleets.iter().partition(|fleet| outcome(fleet).is_some());
    let ([loser], [winner]) = (&ended[..], &running[..]) else {
        panic!("{:?}", fleets.each_ref().map(outcome));
    };
    match outcome(loser) {
        Some(Outcome::RetriesExhausted {
            attempts: 3,
            last_error,
        }) => {
            let kind = kind(&last_error);
            assert!(["Closed", "Broken"].contains(&kind), "{last_error}");
        }
        other => panic!("{other:?}"),
    }
    let winner = winner.client("twin").unwrap();
    winner.wait_connected(PATIENCE).unwrap();
    let receipt = winner.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    receipt.wait_timeout(PATIENCE).unwrap();
    // Three of the loser, and at most one more than it failed of the winner.
    let connects = broker.connects("twin");
    assert!((4..=6).contains(&connects), "{connects}");
}

/// Where a clock that can be set is asked for the time. Set back, it must not matter: deadlines, pauses and
/// keep alives are those of `Instant`.
fn asks_the_wall_clock(text: &str) -> bool {
    let code = code_of(text);
    ["SystemTime", "UNIX_EPOCH"]
        .iter()
        .any(|name| code.contains(name))
}

/// Fails if the crate asks for the time of day, which a user or a time server sets back.
#[test]
fn only_monotonic_time_matters() {
    assert!(asks_the_wall_clock("let now = SystemTime::now();"));
    assert!(!asks_the_wall_clock(
        "let now = Instant::now(); // SystemTime"
    ));
    let paths: Vec<_> = sources().into_iter().collect();
    assert!(paths.len() > 50, "{}", paths.len());
    for path in paths {
        let name = path.display().to_string();
        assert!(!asks_the_wall_clock(&read(&name)), "{name}");
    }
}
