//! The state of a client is true, and every change of it is told, in order, with its cause.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, unbounded};
use mqtt_fleet::testing::{Packet, Sessions, TestBroker};
use mqtt_fleet::{Cause, ClientState, Fleet, Outcome, QoS, Retry, StateChange, WaitError};

use crate::support::fleet::{
    MARGIN, PATIENCE, ended, n_from, next_state, quick, quick_retry, spec, start, wait_connects,
};

/// One word for each state; a cause that is not that of a closed or refused connection shows up whole.
fn word(change: &StateChange) -> String {
    let expected = |cause: &Cause| match cause {
        Cause::Closed => true,
        Cause::Connect { kind, .. } => *kind == io::ErrorKind::ConnectionRefused,
        _ => false,
    };
    match change.state() {
        ClientState::Connecting { attempt, .. } => format!("connecting {attempt}"),
        ClientState::Connected { .. } => "connected".to_owned(),
        ClientState::Lost { cause } if expected(cause) => "lost".to_owned(),
        ClientState::AttemptFailed { attempt, cause, .. } if expected(cause) => {
            format!("failed {attempt}")
        }
        ClientState::Ended {
            outcome: Outcome::RetriesExhausted { last_error, .. },
        } if expected(last_error) => "gave up".to_owned(),
        other => other.to_string(),
    }
}

/// A connection that is lost for good, from the start of its client to its end.
const LIFE: [&str; 9] = [
    "connecting 1",
    "connected",
    "lost",
    "failed 1",
    "connecting 2",
    "failed 2",
    "connecting 3",
    "failed 3",
    "gave up",
];

/// Fails if a change is left out, told twice, out of order or without its cause, or if the stream does not
/// end with the clients.
#[test]
fn the_receiver_sees_every_change_in_order() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("watched", &broker)]);
    fleet.wait_connected(PATIENCE).unwrap();
    broker.stop();
    let changes: Vec<_> = fleet.states().iter().collect();
    let words: Vec<_> = changes.iter().map(word).collect();
    assert_eq!(words, LIFE);
    let of_client = |change: &StateChange| {
        change.client() == "watched" && change.broker() == broker.addr().to_string()
    };
    assert!(changes.iter().all(of_client));
    assert!(changes.is_sorted_by_key(StateChange::at));
    assert_eq!(changes[2].cause(), Some(&Cause::Closed));
}

/// Fails if the callback misses a change, or runs on a thread that a client needs for itself.
#[test]
fn the_callback_sees_them_too_on_a_worker() {
    let threads = life_by_callback(true);
    assert!(
        threads.iter().all(|thread| thread.starts_with("worker-")),
        "{threads:?}"
    );
}

/// Fails if a fleet without workers has no thread for the callback, or takes a client's.
#[test]
fn or_on_the_publisher_of_a_fleet_without_workers() {
    let threads = life_by_callback(false);
    assert!(
        threads.iter().all(|thread| thread == "publisher"),
        "{threads:?}"
    );
}

/// Leads a client through its life and returns the names of the threads that told of it.
fn life_by_callback(with_worker: bool) -> Vec<String> {
    let broker = TestBroker::start().unwrap();
    let (tell, told) = unbounded();
    let mut builder = Fleet::builder()
        .client(spec("called", &broker))
        .on_state(move |change| {
            let thread = thread::current().name().unwrap_or_default().to_owned();
            // The test may have failed and gone.
            let _ = tell.send((word(change), thread));
        });
    if with_worker {
        builder = builder.on_message("any", |_message, _clients| Ok(()));
    }
    let fleet = builder.start().unwrap();
    fleet.wait_connected(PATIENCE).unwrap();
    broker.stop();
    let calls = LIFE.map(|_| told.recv_timeout(PATIENCE).unwrap());
    fleet.stop(PATIENCE);
    let (words, threads): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
    assert_eq!(words, LIFE);
    assert!(told.try_recv().is_err());
    threads
}

/// Fails if the panic of a callback ends the thread that all callbacks share.
#[test]
fn a_callback_that_panics_is_called_again() {
    let broker = TestBroker::start().unwrap();
    let (tell, told) = unbounded();
    let fleet = Fleet::builder()
        .client(spec("shocking", &broker))
        .on_state(move |change| {
            let _ = tell.send(word(change));
            panic!("it can't bear {}", change.state());
        })
        .start()
        .unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "connecting 1");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "connected");
    assert!(fleet.stop(PATIENCE).abandoned().is_empty());
}

/// Fails if the client believes in a connection that is lost, or announces the loss after the retry.
#[test]
fn a_loss_is_known_before_the_first_retry() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("knowing", &broker).retry(quick(Retry::forever()))]);
    let client = fleet.client("knowing").unwrap();
    let states = fleet.states();
    client.wait_connected(PATIENCE).unwrap();
    assert!(client.is_connected());
    broker.stop();
    client.wait_disconnected(PATIENCE).unwrap();
    assert!(!client.is_connected());
    broker.restart(Sessions::Kept).unwrap();
    let lost = next_state(&states, "knowing", |state| {
        matches!(state, ClientState::Lost { .. })
    });
    wait_connects(&broker, "knowing", 2);
    let seen = broker.seen();
    let mut connects = seen
        .iter()
        .filter(|seen| matches!(seen.packet, Packet::Connect { .. }));
    assert!(lost.at() <= connects.nth(1).unwrap().at);
}

/// Fails if a wait ends without what it waited for and without an error, names the wrong client, or goes on
/// although the client has ended.
#[test]
fn waits_tell_what_they_waited_for() {
    let broker = TestBroker::start().unwrap();
    broker.never_suback(true);
    let fleet = start([spec("waited", &broker).subscribe("any", QoS::AtMostOnce)]);
    let client = fleet.client("waited").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    fleet.wait_connected(PATIENCE).unwrap();
    let short = Duration::from_millis(5);
    let still_connected = |error: WaitError| match error {
        WaitError::Timeout {
            client,
            state,
            waited,
        } => {
            assert_eq!((client.as_str(), waited), ("waited", short));
            assert!(matches!(*state, ClientState::Connected { .. }), "{state}");
        }
        other => panic!("{other}"),
    };
    still_connected(client.wait_subscribed(short).unwrap_err());
    still_connected(client.wait_disconnected(short).unwrap_err());
    still_connected(client.wait_ended(short).unwrap_err());
    assert!(fleet.wait_subscribed(short).is_err());
    assert!(fleet.wait_ended(short).is_err());

    client.stop();
    assert_eq!(client.wait_ended(PATIENCE), Ok(Outcome::Stopped));
    fleet.wait_ended(PATIENCE).unwrap();
    client.wait_disconnected(PATIENCE).unwrap();
    let ended = WaitError::Ended {
        client: "waited".to_owned(),
        outcome: Box::new(Outcome::Stopped),
    };
    assert_eq!(client.wait_connected(PATIENCE), Err(ended.clone()));
    assert_eq!(client.wait_subscribed(PATIENCE), Err(ended.clone()));
    assert_eq!(fleet.wait_connected(PATIENCE), Err(ended));
}

/// Fails if a peer that sends neither data nor FIN is believed in for longer than two keep alives.
#[test]
fn a_silent_peer_is_noticed_within_two_keep_alives() {
    let broker = TestBroker::start().unwrap();
    let keep_alive = Duration::from_secs(1);
    let fleet = start([spec("abandoned", &broker).keep_alive(keep_alive)]);
    let client = fleet.client("abandoned").unwrap();
    let states = fleet.states();
    client.wait_connected(PATIENCE).unwrap();
    broker.wait_connected(1, PATIENCE).unwrap();
    let silent_since = Instant::now();
    assert!(broker.silence("abandoned"));
    let lost = next_state(&states, "abandoned", |state| {
        matches!(state, ClientState::Lost { .. })
    });
    assert_eq!(lost.cause(), Some(&Cause::KeepAlive));
    let noticed_after = lost.at() - silent_since;
    assert!(noticed_after < 2 * keep_alive + MARGIN, "{noticed_after:?}");
    // The connection that nobody reads any more goes, so that the broker can be dropped at once.
    wait_connects(&broker, "abandoned", 2);
}

/// Fails if a blocked handler keeps the network thread from its pings, or its client's state from being
/// true.
#[test]
fn keep_alive_holds_while_a_handler_blocks() {
    let broker = TestBroker::start().unwrap();
    let (entered, is_entered) = bounded(1);
    let (release, held) = bounded::<()>(0);
    let keep_alive = Duration::from_secs(1);
    let busy = spec("busy", &broker).subscribe("any", QoS::AtLeastOnce);
    let fleet = Fleet::builder()
        .client(busy.keep_alive(keep_alive).retry(quick_retry(1)))
        .on_message("any", move |_message, _clients| {
            entered.send(())?;
            let _ = held.recv();
            Ok(())
        })
        .workers(1)
        .start()
        .unwrap();
    let client = fleet.client("busy").unwrap();
    client.wait_subscribed(PATIENCE).unwrap();
    broker.publish("any", QoS::AtLeastOnce, false, "").unwrap();
    is_entered.recv_timeout(PATIENCE).unwrap();
    let pings = || n_from(&broker, "busy", |packet| *packet == Packet::Pingreq);
    let before = pings();
    let kept = broker.wait_for(|_| pings() >= before + 3, PATIENCE);
    kept.unwrap();
    assert!(client.is_connected());
    assert_eq!(client.stats().losses, 0);
    drop(release);
}

/// Fails if a refused subscription is taken for a granted one, ends the connection, or is told to nobody.
#[test]
fn a_refused_subscription_is_announced_and_reported() {
    let broker = TestBroker::start().unwrap();
    broker.fail_subscribe("secret/#");
    let curious = spec("curious", &broker)
        .subscribe("open/#", QoS::AtLeastOnce)
        .subscribe("secret/#", QoS::AtLeastOnce);
    let fleet = start([curious]);
    let client = fleet.client("curious").unwrap();
    client.wait_subscribed(PATIENCE).unwrap();
    let refused = Cause::SubscriptionRefused {
        filter: "secret/#".to_owned(),
    };
    let changes: Vec<_> = std::iter::from_fn(|| fleet.states().try_recv().ok()).collect();
    let told = changes
        .iter()
        .filter(|change| change.cause() == Some(&refused));
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{changes:?}");
    assert!(matches!(told[0].state(), ClientState::Connected { .. }));
    assert!(client.is_connected());
    assert_eq!(client.stats().refused_subscriptions, 1);

    client.stop();
    assert_eq!(ended(&fleet, "curious"), Outcome::Stopped);
    let report = fleet.join();
    let curious = report.client("curious").unwrap();
    assert_eq!(curious.refused_subscriptions(), ["secret/#"]);
    assert_eq!(report.exit_code(), 1);
    assert!(report.to_string().contains("secret/#"), "{report}");
}
