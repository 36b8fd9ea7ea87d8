//! The fault matrix: another process has the same client id. Each takes the session from the other, and
//! each theft is a loss.

use std::time::{Duration, Instant};

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, ClientState, Delivery, Fleet, Outcome, QoS, Retry};

use crate::support::fleet::{MARGIN, PATIENCE, quick, quick_retry, spec};
use crate::support::matrix::kind;
use crate::support::mosquitto::Mosquitto;
use crate::support::proc::{holds_within, wait_until};
use crate::support::program::Program;

const SECOND: Duration = Duration::from_secs(1);

fn twin(url: &str, retry: Retry) -> ClientSpec {
    ClientSpec::new("twin", url)
        .client_id("twin")
        .retry(retry)
        // Three thefts in a row may come upon the same message.
        .max_closes(0)
}

/// The other process: a fleet until a signal comes or its client has ended.
fn run_twin(url: &str, retry: Retry) -> ! {
    let fleet = Fleet::builder()
        .client(twin(url, retry))
        .stop_deadline(SECOND)
        .on_state(|change| println!("{}: {}", change.client(), change.state()));
    let report = fleet.run().unwrap();
    println!("{report}");
    std::process::exit(report.exit_code());
}

/// Starts the twins and sees one of them give up and the other one stay. `beside` must not notice.
fn one_of_them_gives_up(test: &str, url: &str) {
    let fleet = Fleet::builder()
        .client(twin(url, quick_retry(3)))
        .client(ClientSpec::new("beside", url).client_id("beside"))
        .start()
        .unwrap();
    let (ours, beside) = (
        fleet.client("twin").unwrap(),
        fleet.client("beside").unwrap(),
    );
    fleet.wait_connected(PATIENCE).unwrap();
    let program = Program::again(test, url);
    let theirs_ended = || program.output().contains("twin: ended");
    wait_until("one of them gives up", PATIENCE, || {
        ours.outcome().is_some() || theirs_ended()
    });
    let stats = ours.stats();
    // Each theft is a loss, and of the two the budget of one is used up.
    assert!((1..=3).contains(&stats.losses), "{stats:?}");
    assert!(stats.failed_attempts >= stats.losses, "{stats:?}");
    match ours.outcome() {
        Some(Outcome::RetriesExhausted {
            attempts: 3,
            last_error,
        }) => {
            let kind = kind(&last_error);
            assert!(["Closed", "Broken"].contains(&kind), "{last_error}");
            assert_eq!(stats.failed_attempts, 3, "{stats:?}");
            // The other one is left in peace.
            let quiet = || theirs_ended();
            assert!(!holds_within(SECOND, quiet), "{}", program.output());
            program.signal("TERM");
            let (status, output) = program.ended(PATIENCE);
            assert_eq!(status.code(), Some(0), "{output}");
        }
        Some(other) => panic!("{other:?}"),
        None => {
            let (status, output) = program.ended(PATIENCE);
            assert_eq!(status.code(), Some(1), "{output}");
            assert!(output.contains("attempt 3 of 3 failed"), "{output}");
            ours.wait_connected(PATIENCE).unwrap();
            let receipt = ours.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
            receipt.wait_timeout(PATIENCE).unwrap();
        }
    }
    assert_eq!(beside.stats().losses, 0);
    let begin = Instant::now();
    let report = fleet.stop(SECOND);
    assert!(begin.elapsed() < SECOND + MARGIN, "{report}");
    assert!(report.abandoned().is_empty(), "{report}");
}

/// Fails if two processes with one client id go on for ever on three attempts each, if both give up, or if
/// the outcome does not say what happened.
#[test]
fn a_client_id_that_another_process_has_ends_one_of_them() {
    if let Some(url) = Program::told() {
        run_twin(&url, quick_retry(3));
    }
    let test = "matrix_twins::a_client_id_that_another_process_has_ends_one_of_them";
    let broker = TestBroker::start().unwrap();
    one_of_them_gives_up(test, &broker.url());
    if let Some(mosquitto) = Mosquitto::start() {
        one_of_them_gives_up(test, &mosquitto.url());
    }
}

/// Fails if a theft is no loss, if a message is lost or never acknowledged between two of them, if a stop
/// waits for the other one, or if what they do to each other reaches a third.
#[test]
fn twins_that_never_give_up_steal_until_one_is_stopped() {
    let endless = || quick(Retry::forever());
    if let Some(url) = Program::told() {
        run_twin(&url, endless());
    }
    let test = "matrix_twins::twins_that_never_give_up_steal_until_one_is_stopped";
    let broker = TestBroker::start().unwrap();
    let fleet = Fleet::builder()
        .client(twin(&broker.url(), endless()))
        .client(spec("beside", &broker))
        .start()
        .unwrap();
    let states = fleet.states();
    let ours = fleet.client("twin").unwrap();
    fleet.wait_connected(PATIENCE).unwrap();
    let program = Program::again(test, &broker.url());
    let begin = Instant::now();
    while ours.stats().losses < 20 {
        let receipt = ours.publish("t", QoS::AtLeastOnce, false, "1");
        let delivery = receipt.unwrap().wait_timeout(PATIENCE);
        let stats = ours.stats();
        assert_eq!(delivery, Ok(Delivery::Acknowledged), "{stats:?}");
        assert!(begin.elapsed() < 2 * PATIENCE, "{stats:?}");
    }
    let begin = Instant::now();
    let report = fleet.stop(SECOND);
    let took = begin.elapsed();
    assert!(took < SECOND + MARGIN, "{took:?}: {report}");
    for client in report.clients() {
        assert_eq!(*client.outcome(), Outcome::Stopped, "{report}");
    }
    let stats = report.client("beside").unwrap().stats();
    assert_eq!((stats.connects, stats.losses), (1, 0));

    let stats = report.client("twin").unwrap().stats();
    println!("{} connects, {} losses", stats.connects, stats.losses);
    let mut lost = 0;
    for change in states.iter().filter(|change| change.client() == "twin") {
        if let ClientState::Lost { cause } = change.state() {
            assert!(["Closed", "Broken"].contains(&kind(cause)), "{cause:?}");
            lost += 1;
        }
    }
    assert_eq!(stats.losses, lost);
    // None was stable, so that each was a failed attempt; and so is a theft before CONNACK. The last
    // connection may have ended by the stop.
    assert!(stats.failed_attempts >= stats.losses, "{stats:?}");
    assert!(stats.connects - stats.losses <= 1, "{stats:?}");

    // In peace now, and a signal ends it.
    wait_until("the other one is there", PATIENCE, || {
        broker.connected() == ["twin"]
    });
    program.signal("TERM");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
}
