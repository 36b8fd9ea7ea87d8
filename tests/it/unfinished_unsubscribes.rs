//! A subscription that is ended while its broker can't be told: a kept session goes on collecting its
//! messages, and the report says so.

use mqtt_fleet::testing::{Packet, Sessions, TestBroker};
use mqtt_fleet::{Client, ClientProblem, ClientSpec, Fleet, QoS, Report, Retry, Session};

use crate::support::fleet::{PATIENCE, ended, n_from, quick, quick_retry, spec, start};
use crate::support::proc::wait_until;

fn plant(broker: &TestBroker, session: Session) -> ClientSpec {
    spec("plant", broker)
        .session(session)
        .retry(quick(Retry::forever()))
        .subscribe("in", QoS::AtLeastOnce)
        .subscribe("kept", QoS::AtLeastOnce)
}

fn unfinished(report: &Report) -> &[String] {
    report.client("plant").unwrap().unfinished_unsubscribes()
}

/// Starts a client, takes its broker away, and ends its subscription to "in".
fn away(broker: &TestBroker, session: Session) -> Fleet {
    let fleet = start([plant(broker, session)]);
    fleet.wait_subscribed(PATIENCE).unwrap();
    let client = fleet.client("plant").unwrap();
    broker.stop();
    client.wait_disconnected(PATIENCE).unwrap();
    let failed = client.stats().failed_attempts;
    wait_until("an attempt after the loss fails", PATIENCE, || {
        client.stats().failed_attempts > failed + 1
    });
    client.unsubscribe("in").unwrap();
    fleet
}

/// Fails when an UNSUBSCRIBE that was never sent is in no line of the report or costs nothing, by whatever
/// way the client ends.
#[test]
fn what_the_session_still_has_is_named() {
    let ends: [fn(&Fleet) -> Report; 4] = [
        |fleet| fleet.stop(PATIENCE),
        |fleet| fleet.stop_now(PATIENCE),
        |fleet| {
            fleet.client("plant").unwrap().stop();
            fleet.join()
        },
        |fleet| {
            fleet.stop_handle().stop();
            fleet.join()
        },
    ];
    for (row, end) in ends.into_iter().enumerate() {
        let broker = TestBroker::start().unwrap();
        let report = end(&away(&broker, Session::Kept));
        assert_eq!(unfinished(&report), ["in"], "{row}: {report}");
        let problems: Vec<_> = report.client("plant").unwrap().problems().collect();
        let expected = [
            ClientProblem::UnsubscribeUnfinished,
            ClientProblem::AwayAtEnd,
        ];
        assert_eq!(problems, expected, "{row}");
        let text = report.to_string();
        assert!(
            text.starts_with(
                "1 of 1 client had problems (1 with unfinished unsubscribes, 1 away at the end)"
            ),
            "{text}"
        );
        let line = "unsubscribe unfinished: in (the broker's session may still have it)";
        assert!(text.contains(line), "{text}");
        assert_eq!(report.exit_code(), 1, "{text}");
    }
}

/// Fails when a subscription that was ended before the first connection, or by a client that gives up, is
/// forgotten: the session of an earlier process may have it.
#[test]
fn it_is_named_without_a_connection_too() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let fleet = start([plant(&broker, Session::Kept).retry(quick_retry(50))]);
    let client = fleet.client("plant").unwrap();
    client.unsubscribe("in").unwrap();
    ended(&fleet, "plant");
    assert_eq!(unfinished(&fleet.join()), ["in"]);
}

/// Fails when what the broker was told, what it forgets by itself, or what is wanted again is called
/// unfinished.
#[test]
fn what_the_session_does_not_have_is_no_problem() {
    let broker = TestBroker::start().unwrap();
    let fleet = away(&broker, Session::Clean);
    assert_eq!(
        unfinished(&fleet.stop(PATIENCE)),
        [""; 0],
        "a clean session"
    );

    broker.restart(Sessions::Lost).unwrap();
    let fleet = away(&broker, Session::Kept);
    let again = |client: &Client| client.subscribe("in", QoS::AtMostOnce).unwrap();
    again(&fleet.client("plant").unwrap());
    let report = fleet.stop(PATIENCE);
    assert_eq!(unfinished(&report), [""; 0], "wanted again: {report}");

    for sessions in [Sessions::Kept, Sessions::Lost] {
        broker.restart(Sessions::Lost).unwrap();
        let fleet = away(&broker, Session::Kept);
        broker.restart(sessions).unwrap();
        fleet.wait_subscribed(PATIENCE).unwrap();
        let report = fleet.stop(PATIENCE);
        assert_eq!(unfinished(&report), [""; 0], "{sessions:?}: {report}");
        assert_eq!(report.exit_code(), 0, "{report}");
        broker.stop();
    }
}

/// Fails when an UNSUBSCRIBE is called unfinished that was written before DISCONNECT, though nobody has
/// waited for its answer.
#[test]
fn what_is_written_before_disconnect_is_done() {
    for at_once in [false, true] {
        let broker = TestBroker::start().unwrap();
        let fleet = start([plant(&broker, Session::Kept)]);
        fleet.wait_subscribed(PATIENCE).unwrap();
        fleet.client("plant").unwrap().unsubscribe("in").unwrap();
        let report = match at_once {
            true => fleet.stop_now(PATIENCE),
            false => fleet.stop(PATIENCE),
        };
        assert_eq!(unfinished(&report), [""; 0], "{at_once}: {report}");
        let is_told = |packet: &Packet| matches!(packet, Packet::Unsubscribe { .. });
        let told = broker.wait_for(|_| n_from(&broker, "plant", is_told) == 1, PATIENCE);
        told.unwrap();
    }
}
