//! The report tells the truth: who had problems, of which kind, what was lost, and what costs the code.

use std::net::TcpListener;
use std::time::Duration;

use crossbeam_channel::bounded;
use mqtt_fleet::testing::{ConnectReply, Sessions, TestBroker};
use mqtt_fleet::{
    Cause, ClientProblem, ClientSpec, Fleet, OutboxOverflow, QoS, Replay, Report, Retry,
};

use crate::support::fleet::{PATIENCE, quick, spec, start, wait_connects};
use crate::support::proc;

/// A client that never gives up, of a port that nobody listens on.
fn without_broker(name: &str) -> ClientSpec {
    let port = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    ClientSpec::new(name, format!("mqtt://127.0.0.1:{port}")).retry(quick(Retry::forever()))
}

fn first_line(report: &Report) -> String {
    report.to_string().lines().next().unwrap().to_owned()
}

fn problems(report: &Report, client: &str) -> Vec<ClientProblem> {
    report.client(client).unwrap().problems().collect()
}

/// Fails when a client that never connected, or a message that was never sent, is "all is well".
#[test]
fn a_client_that_never_connected_had_problems() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("good", &broker), without_broker("lonely")]);
    let good = fleet.client("good").unwrap();
    good.wait_connected(PATIENCE).unwrap();
    let lonely = fleet.client("lonely").unwrap();
    assert_eq!(good.last_cause(), None);
    lonely.publish("a", QoS::AtLeastOnce, false, "1").unwrap();
    proc::wait_until("two failed attempts", PATIENCE, || {
        lonely.stats().failed_attempts >= 2
    });
    assert!(matches!(lonely.last_cause(), Some(Cause::Connect { .. })));
    assert!(lonely.last_cause_at().is_some());
    let report = fleet.stop(PATIENCE);
    assert_eq!(
        first_line(&report),
        "1 of 2 clients had problems (1 never connected, 1 lost messages); lost: 1 unsent"
    );
    let text = report.to_string();
    assert!(text.contains("  no connection to 127.0.0.1:"), "{text}");
    assert_eq!(report.exit_code(), 1);
    let lonely = report.client("lonely").unwrap();
    assert!(matches!(lonely.last_cause(), Some(Cause::Connect { .. })));
}

/// Fails when a client that never connected costs nothing because it lost no message either.
#[test]
fn a_client_that_never_connected_costs_the_code_without_a_loss() {
    let fleet = start([without_broker("lonely")]);
    let lonely = fleet.client("lonely").unwrap();
    proc::wait_until("a failed attempt", PATIENCE, || {
        lonely.stats().failed_attempts >= 1
    });
    let report = fleet.stop(PATIENCE);
    assert_eq!(problems(&report, "lonely"), [ClientProblem::NeverConnected]);
    assert_eq!(report.exit_code(), 1);
}

/// Fails when an attempt that fails while the fleet is being stopped is forgotten: the client
/// never connected, and nothing would say so.
#[test]
fn an_attempt_that_fails_at_the_stop_counts() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect(ConnectReply::Never);
    let fleet = start([spec("plant", &broker).connect_timeout(Duration::from_secs(1))]);
    wait_connects(&broker, "plant", 1);
    let report = fleet.stop(PATIENCE);
    assert_eq!(problems(&report, "plant"), [ClientProblem::NeverConnected]);
    let plant = report.client("plant").unwrap();
    assert!(
        matches!(plant.last_cause(), Some(Cause::ConnectTimeout { .. })),
        "{report}"
    );
    assert_eq!((plant.stats().failed_attempts, report.exit_code()), (1, 1));
}

/// Fails when a client that a stop finds before its first attempt is called a problem.
#[test]
fn a_client_that_is_stopped_before_its_first_attempt_is_no_problem() {
    let broker = TestBroker::start().unwrap();
    let fleet = Fleet::builder()
        .clients((0..30).map(|i| spec(&format!("c{i}"), &broker)))
        .connect_rate(1)
        .start()
        .unwrap();
    proc::wait_until("one of them is connected", PATIENCE, || {
        fleet.clients().iter().any(|client| client.is_connected())
    });
    let report = fleet.stop(PATIENCE);
    assert!(report.total().connects < 30, "{report}");
    assert_eq!(first_line(&report), "all 30 clients ended well");
    assert_eq!(report.exit_code(), 0);
}

/// Fails when a client whose connection was taken again and again is in no line of a large report,
/// or without a hint at its client id.
#[test]
fn a_client_that_flapped_is_listed_with_a_hint() {
    let broker = TestBroker::start().unwrap();
    let quiet = (0..41).map(|i| spec(&format!("quiet{i}"), &broker));
    let taken = spec("taken", &broker).retry(quick(Retry::forever()));
    let fleet = start(quiet.chain([taken]));
    let taken = fleet.client("taken").unwrap();
    for n in 1..=3 {
        wait_connects(&broker, "taken", n);
        taken.wait_connected(PATIENCE).unwrap();
        broker.kick("taken");
        proc::wait_until("the loss is known", PATIENCE, || {
            taken.stats().losses == n as u64
        });
    }
    fleet.wait_connected(PATIENCE).unwrap();
    assert!(matches!(
        taken.last_cause(),
        Some(Cause::Closed | Cause::Broken { .. })
    ));
    let report = fleet.stop(PATIENCE);
    assert_eq!(problems(&report, "taken"), [ClientProblem::Flapped]);
    assert_eq!(
        first_line(&report),
        "1 of 42 clients had problems (1 flapped)"
    );
    let text = report.to_string();
    assert!(text.contains("\ntaken "), "{text}");
    assert!(
        text.contains("another client may use the client id \"taken\""),
        "{text}"
    );
    assert!(text.contains("\n41 others "), "{text}");
    assert_eq!(report.exit_code(), 0, "it came back, and nothing was lost");
}

/// Fails when messages that no handler matched are in no line, or cost the code.
#[test]
fn unmatched_messages_are_listed_and_cost_nothing() {
    let broker = TestBroker::start().unwrap();
    let fleet = Fleet::builder()
        .client(spec("plant", &broker).subscribe("#", QoS::AtLeastOnce))
        .on_message("known/#", |_, _| Ok(()))
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    let plant = fleet.client("plant").unwrap();
    broker
        .publish("stray", QoS::AtLeastOnce, false, "1")
        .unwrap();
    proc::wait_until("the message", PATIENCE, || plant.stats().unmatched == 1);
    let report = fleet.stop(PATIENCE);
    assert_eq!(problems(&report, "plant"), [ClientProblem::Unmatched]);
    let text = report.to_string();
    assert!(text.contains("unmatched: 1"), "{text}");
    assert_eq!(report.exit_code(), 0);
}

/// Fails when a fleet whose broker is gone ended well, or when a broker that came back is held against a
/// client.
#[test]
fn clients_that_are_away_at_the_end_are_listed_and_cost_nothing() {
    let broker = TestBroker::start().unwrap();
    let clients = (0..50).map(|i| spec(&format!("c{i}"), &broker));
    let fleet = start(clients.map(|it| it.retry(quick(Retry::forever()))));
    fleet.wait_connected(PATIENCE).unwrap();
    broker.stop();
    proc::wait_until("each had a failed connect after the loss", PATIENCE, || {
        let mut all = fleet.clients().iter();
        all.all(|it| matches!(it.last_cause(), Some(Cause::Connect { .. })))
    });
    let back = fleet.next_connections();
    broker.restart(Sessions::Lost).unwrap();
    back.wait_connected(PATIENCE).unwrap();
    let away = fleet.client("c0").unwrap();
    let rest: Vec<_> = fleet.clients().iter().skip(1).collect();
    rest.iter().for_each(|client| client.stop());
    rest.iter().for_each(|client| {
        client.wait_ended(PATIENCE).unwrap();
    });
    broker.stop();
    proc::wait_until("one is away", PATIENCE, || {
        matches!(away.last_cause(), Some(Cause::Connect { .. }))
            && away.stats().losses == 2
            && away.stats().failed_attempts >= 4
    });
    let report = fleet.stop(PATIENCE);
    assert_eq!(problems(&report, "c0"), [ClientProblem::AwayAtEnd]);
    assert_eq!(
        first_line(&report),
        "1 of 50 clients had problems (1 away at the end)"
    );
    let text = report.to_string();
    assert!(
        text.contains("\nc0 ") && text.contains("away at the end: "),
        "{text}"
    );
    assert_eq!(report.exit_code(), 0, "nothing is lost");
}

/// Fails when what a program chose to drop costs the code or is not shown.
#[test]
fn what_a_policy_drops_is_shown_and_costs_nothing() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("plant", &broker)
        .retry(quick(Retry::forever()))
        .outbox_capacity(1)
        .outbox_overflow(OutboxOverflow::DropOldest)]);
    let plant = fleet.client("plant").unwrap();
    plant.wait_connected(PATIENCE).unwrap();
    broker.stop();
    plant.wait_disconnected(PATIENCE).unwrap();
    let older = plant.publish("a", QoS::AtLeastOnce, false, "1").unwrap();
    let newer = plant.publish("a", QoS::AtLeastOnce, false, "2").unwrap();
    broker.restart(Sessions::Kept).unwrap();
    older.wait_timeout(PATIENCE).unwrap_err();
    newer.wait_timeout(PATIENCE).unwrap();
    let report = fleet.stop(PATIENCE);
    assert_eq!(problems(&report, "plant"), [ClientProblem::DroppedByPolicy]);
    assert!(
        first_line(&report).ends_with("; lost: 1 dropped for newer ones"),
        "{report}"
    );
    assert_eq!(report.exit_code(), 0);
}

/// Fails when QoS 0 messages that found no place are no loss: nobody chose to drop them.
#[test]
fn what_found_no_place_on_receipt_costs_the_code() {
    let broker = TestBroker::start().unwrap();
    let (go, held) = bounded::<()>(0);
    let fleet = Fleet::builder()
        .client(spec("plant", &broker).subscribe("#", QoS::AtMostOnce))
        .workers(1)
        .queue_capacity(1)
        .on_message("#", move |_, _| {
            let _ = held.recv();
            Ok(())
        })
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    let plant = fleet.client("plant").unwrap();
    for _ in 0..10 {
        broker.publish("a", QoS::AtMostOnce, false, "1").unwrap();
    }
    proc::wait_until("all have come", PATIENCE, || plant.stats().received == 10);
    drop(go);
    let report = fleet.stop(PATIENCE);
    assert_eq!(
        problems(&report, "plant"),
        [ClientProblem::DroppedOnReceipt]
    );
    assert!(
        first_line(&report).contains(" dropped on receipt"),
        "{report}"
    );
    assert_eq!(report.exit_code(), 1);
}

/// Fails when what a program chose not to repeat costs the code, or is not told from a loss.
#[test]
fn what_is_not_repeated_by_choice_costs_nothing() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("plant", &broker)
        .retry(quick(Retry::forever()))
        .replay(Replay::OnlyWithSession)]);
    let plant = fleet.client("plant").unwrap();
    plant.wait_connected(PATIENCE).unwrap();
    broker.hold_acks(true);
    let receipt = plant.publish("a", QoS::AtLeastOnce, false, "1").unwrap();
    let came = broker.wait_for(|_| !broker.published("a").is_empty(), PATIENCE);
    came.unwrap();
    broker.kick("plant");
    receipt.wait_timeout(PATIENCE).unwrap_err();
    plant.wait_connected(PATIENCE).unwrap();
    let report = fleet.stop(PATIENCE);
    assert_eq!(report.total().published.failed, 1);
    assert_eq!(problems(&report, "plant"), [ClientProblem::DroppedByPolicy]);
    assert_eq!(report.exit_code(), 0, "{report}");
}
