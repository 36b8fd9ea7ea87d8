//! `stop` returns by its deadline, whatever the clients are doing, and nothing connects after it.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use mqtt_fleet::testing::{ConnectReply, Packet, TestBroker};
use mqtt_fleet::{ClientState, Fleet, Outcome, PublishErrorKind, QoS, Report, Retry, Will};

use crate::support::fleet::{
    MARGIN, PATIENCE, ended, n_from, next_state, spec, start, wait_connects,
};
use crate::support::proc;

const DEADLINE: Duration = Duration::from_secs(1);

/// Stops a fleet; fails if that takes longer than it may.
fn stopped_in_time(fleet: &Fleet) -> Report {
    let begin = Instant::now();
    let report = fleet.stop(DEADLINE);
    let took = begin.elapsed();
    assert!(took < DEADLINE + MARGIN, "{took:?}: {report}");
    report
}

/// As `stopped_in_time`, with every client ended as it should be, and nothing lost or left undone.
fn stopped_cleanly(fleet: &Fleet) {
    let report = stopped_by_all(fleet);
    assert_eq!(report.exit_code(), 0, "{report}");
}

/// As `stopped_in_time`, with every client ended as it should be.
fn stopped_by_all(fleet: &Fleet) -> Report {
    let report = stopped_in_time(fleet);
    for client in report.clients() {
        assert_eq!(*client.outcome(), Outcome::Stopped, "{report}");
    }
    assert!(report.abandoned().is_empty(), "{report}");
    report
}

fn n_disconnects(broker: &TestBroker, client: &str) -> usize {
    n_from(broker, client, |packet| *packet == Packet::Disconnect)
}

/// Fails if an idle client is not woken, or goes without DISCONNECT.
#[test]
fn an_idle_client_disconnects() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("idle", &broker)]);
    fleet.wait_connected(PATIENCE).unwrap();
    // It is given the time to fall asleep, of which nothing tells.
    fleet.wait_ended(Duration::from_millis(100)).unwrap_err();
    stopped_cleanly(&fleet);
    broker.wait_disconnected("idle", PATIENCE).unwrap();
    assert_eq!(n_disconnects(&broker, "idle"), 1);
    assert_eq!(broker.connects("idle"), 1);
}

/// Fails if the stop waits for the connect timeout, hides who it left behind, or if the abandoned client
/// ever tries again.
#[test]
fn a_client_that_connects_to_a_silent_peer_is_abandoned_and_named() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect(ConnectReply::Never);
    let timeout = Duration::from_secs(3);
    let fleet = start([spec("stop-mute-peer", &broker).connect_timeout(timeout)]);
    wait_connects(&broker, "stop-mute-peer", 1);
    let report = stopped_in_time(&fleet);
    let outcome = report.client("stop-mute-peer").unwrap().outcome();
    let Outcome::Abandoned { state } = outcome else {
        panic!("{report}");
    };
    assert!(matches!(
        **state,
        ClientState::Connecting { attempt: 1, .. }
    ));
    let [abandoned] = report.abandoned() else {
        panic!("{report}");
    };
    assert!(abandoned.contains("stop-mute-peer"), "{report}");
    assert_eq!(report.exit_code(), 1);

    broker.on_connect(ConnectReply::Accept);
    proc::wait_until("the abandoned thread ends by itself", PATIENCE, || {
        proc::threads_named("stop-mute-peer") == 0
    });
    assert_eq!(broker.connects("stop-mute-peer"), 1);
}

/// Fails if a CONNACK that comes after the stop brings the client back to life.
#[test]
fn a_connack_that_comes_too_late_is_answered_with_disconnect() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect(ConnectReply::Delay(Duration::from_millis(1_500)));
    let late = spec("stop-late", &broker).subscribe("any", QoS::AtLeastOnce);
    let fleet = start([late]);
    wait_connects(&broker, "stop-late", 1);
    stopped_in_time(&fleet);
    assert_eq!(ended(&fleet, "stop-late"), Outcome::Stopped);
    broker.wait_disconnected("stop-late", PATIENCE).unwrap();
    assert_eq!(n_disconnects(&broker, "stop-late"), 1);
    assert_eq!(broker.connects("stop-late"), 1);
}

/// Fails if a pause is slept through.
#[test]
fn a_pause_between_attempts_ends_at_once() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let hours = Duration::from_secs(360_000);
    let retry = Retry::attempts(3).pause(hours..=hours);
    let fleet = start([spec("pausing", &broker).retry(retry)]);
    next_state(&fleet.states(), "pausing", |state| {
        matches!(state, ClientState::AttemptFailed { attempt: 1, .. })
    });
    let report = stopped_by_all(&fleet);
    assert_eq!(report.exit_code(), 1, "it never connected: {report}");
}

/// Fails if the stop waits for a handler without end, or hides which one it left behind.
#[test]
fn a_handler_that_is_stuck_is_abandoned_and_named() {
    let broker = TestBroker::start().unwrap();
    let (entered, is_entered) = bounded(1);
    let (release, held) = bounded::<()>(0);
    let fleet = Fleet::builder()
        .client(spec("stuck", &broker).subscribe("any", QoS::AtLeastOnce))
        .on_message("any", move |_message, _clients| {
            entered.send(())?;
            let _ = held.recv();
            Ok(())
        })
        .workers(1)
        .start()
        .unwrap();
    fleet.wait_subscribed(PATIENCE).unwrap();
    broker.publish("any", QoS::AtLeastOnce, false, "").unwrap();
    is_entered.recv_timeout(PATIENCE).unwrap();
    let report = stopped_in_time(&fleet);
    let outcome = report.client("stuck").unwrap().outcome();
    assert_eq!(
        *outcome,
        Outcome::Stopped,
        "its client has nothing to do with it"
    );
    let [abandoned] = report.abandoned() else {
        panic!("{report}");
    };
    assert!(abandoned.contains("worker-0"), "{abandoned}");
    assert!(abandoned.contains("stuck"), "{abandoned}");
    assert_eq!(report.exit_code(), 1);
    drop(release);
    // Free again, it is found ended by the next stop.
    let again = fleet.stop(PATIENCE);
    assert!(again.abandoned().is_empty(), "{again}");
}

/// Fails if DISCONNECT waits behind publishes that wait for an acknowledgement.
#[test]
fn a_full_window_does_not_hold_disconnect_up() {
    let broker = TestBroker::start().unwrap();
    broker.hold_acks(true);
    let fleet = start([spec("crammed", &broker).window(1)]);
    let client = fleet.client("crammed").unwrap();
    for n in 0..50 {
        client
            .publish("any", QoS::AtLeastOnce, false, n.to_string())
            .unwrap();
    }
    let first = broker.wait_for(|_| !broker.published("any").is_empty(), PATIENCE);
    first.unwrap();
    let report = stopped_by_all(&fleet);
    assert_eq!(report.exit_code(), 1, "messages were lost: {report}");
    broker.wait_disconnected("crammed", PATIENCE).unwrap();
    assert_eq!(n_disconnects(&broker, "crammed"), 1);
    assert_eq!(broker.published("any").len(), 1, "the window is 1");
}

/// Fails if the stop waits for an answer of a peer that is there no more.
#[test]
fn a_peer_that_fell_silent_does_not_matter() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("orphan", &broker)]);
    fleet.wait_connected(PATIENCE).unwrap();
    broker.wait_connected(1, PATIENCE).unwrap();
    assert!(broker.silence("orphan"));
    stopped_cleanly(&fleet);
    // It stays silent until it is told otherwise.
    broker.kick("orphan");
}

/// Fails if the stop waits until a peer that reads nothing has room for DISCONNECT.
#[test]
fn nor_does_one_that_does_not_read() {
    let broker = TestBroker::start().unwrap();
    broker.read_slowly("choked", Duration::from_secs(3_600));
    let choked = spec("choked", &broker)
        .outbox_capacity(1)
        .connect_timeout(Duration::from_secs(4));
    let fleet = start([choked]);
    let client = fleet.client("choked").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    let payload = vec![0; 200 * 1024];
    let patience = Duration::from_millis(500);
    let sent = (0..1_000).find(|_| {
        let offered =
            client.publish_timeout("any", QoS::AtMostOnce, false, payload.clone(), patience);
        offered.is_err()
    });
    assert!(sent.is_some(), "the socket takes no more");
    let report = stopped_in_time(&fleet);
    assert_eq!(report.clients().len(), 1);
    broker.kick("choked");
    ended(&fleet, "choked");
    assert_eq!(broker.connects("choked"), 1);
}

/// Fails if `publish` waits for room that will never be, or loses the message that it did not take.
#[test]
fn a_blocked_publisher_is_released_with_its_message() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let retry = Retry::forever().pause(DEADLINE..=DEADLINE);
    let fleet = start([spec("crowded", &broker).outbox_capacity(1).retry(retry)]);
    let client = fleet.client("crowded").unwrap();
    client.publish("any", QoS::AtLeastOnce, false, "1").unwrap();
    let (begun, is_begun) = bounded(1);
    let error = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            begun.send(()).unwrap();
            client.publish("any", QoS::AtLeastOnce, false, "2")
        });
        is_begun.recv_timeout(PATIENCE).unwrap();
        let report = stopped_by_all(&fleet);
        assert_eq!(report.exit_code(), 1, "a message was lost: {report}");
        publisher.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), PublishErrorKind::Ended);
    assert_eq!(error.payload(), "2");
    assert_eq!(client.ledger().unsent, 1, "the first one was never sent");
}

/// Fails if clients are stopped one after the other, or if one of many goes without DISCONNECT.
#[test]
fn three_hundred_clients_stop_together() {
    proc::alone("stop::three_hundred_clients_stop_together", || {
        let broker = TestBroker::start().unwrap();
        let specs = (0..300).map(|i| spec(&format!("crowd-{i}"), &broker));
        let fleet = start(specs);
        fleet.wait_connected(PATIENCE).unwrap();
        stopped_cleanly(&fleet);
        let all_gone = broker.wait_for(
            |seen| {
                let gone = seen.iter().filter(|seen| seen.packet == Packet::Disconnect);
                gone.count() == 300
            },
            PATIENCE,
        );
        all_gone.unwrap();
        assert_eq!(broker.connects_total(), 300);
    });
}

/// Fails if the first stop takes away what the second one reports.
#[test]
fn a_second_stop_reports_again() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("twice", &broker)]);
    fleet.wait_connected(PATIENCE).unwrap();
    stopped_cleanly(&fleet);
    stopped_cleanly(&fleet);
    assert_eq!(fleet.join().clients().len(), 1);
    broker.wait_disconnected("twice", PATIENCE).unwrap();
    assert_eq!(n_disconnects(&broker, "twice"), 1);
}

/// Fails if a stop looks like a loss to the broker, or a loss like a stop.
#[test]
fn the_will_is_for_losses_and_not_for_stops() {
    let broker = TestBroker::start().unwrap();
    let mortal = |name: &str| spec(name, &broker).will(Will::new("wills", name.to_owned()));
    let fleet = start([
        spec("heir", &broker).subscribe("wills", QoS::AtLeastOnce),
        mortal("kicked"),
        mortal("stopped"),
    ]);
    fleet.wait_subscribed(PATIENCE).unwrap();
    broker.wait_connected(3, PATIENCE).unwrap();
    fleet.client("stopped").unwrap().stop();
    broker.wait_disconnected("stopped", PATIENCE).unwrap();
    assert!(broker.kick("kicked"));
    let first = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!(first.text(), "kicked", "the stopped one was there before");
}
