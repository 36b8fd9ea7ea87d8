//! What the outbox does with messages that can't be sent at once, and with those who wait for room.

use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use mqtt_fleet::testing::{Sessions, TestBroker};
use mqtt_fleet::{
    Client, ClientSpec, Delivery, Fleet, Offline, OutboxOverflow, Outcome, PublishError,
    PublishErrorKind, QoS, Receipt, ReceiptError, Retry, Session,
};

use crate::support::fleet::{ended, quick_retry};
use crate::support::receiving::{
    PATIENCE, numbered, reconnect, subscribed, tireless, wait_for_publishes,
};

const STOP: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(20);

fn plant(broker: &TestBroker) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
}

fn publish(client: &Client, n: usize) -> Result<Receipt, PublishError> {
    client.publish("t", QoS::AtLeastOnce, false, numbered(n))
}

/// Fails when `Offline::Reject` lets a message wait for a connection, loses its payload, or takes away
/// what was accepted before the loss.
#[test]
fn nothing_is_taken_while_offline_if_the_spec_says_so() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let spec = plant(&broker)
        .session(Session::Kept)
        .offline(Offline::Reject)
        .window(1);
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let client = fleet.client("plant").unwrap();
    let refused = |n: usize| {
        let error = publish(&client, n).unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Offline);
        assert_eq!((error.client(), error.topic()), ("plant", "t"));
        assert_eq!(error.into_message(), ("t".to_owned(), numbered(n)));
        let again = client.try_publish("t", QoS::AtMostOnce, false, "1");
        assert_eq!(again.unwrap_err().kind(), PublishErrorKind::Offline);
    };
    refused(100);
    broker.restart(Sessions::Lost).unwrap();
    client.wait_connected(PATIENCE).unwrap();
    broker.hold_acks(true);
    let receipts: Vec<_> = (0..3).map(|n| publish(&client, n).unwrap()).collect();
    wait_for_publishes(&broker, "plant", 1);
    broker.stop();
    client.wait_disconnected(PATIENCE).unwrap();
    refused(101);
    broker.hold_acks(false);
    broker.restart(Sessions::Kept).unwrap();
    for receipt in receipts {
        assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    }
    assert_eq!(broker.published("t"), ["0", "0", "1", "2"]);
    assert_eq!(fleet.stop(STOP).total().published.accepted, 3);
}

/// Fails when a publish that waits for room while the connection is lost goes on to wait although nothing
/// is to wait for a connection.
#[test]
fn who_waits_for_room_is_told_of_the_loss_if_nothing_may_wait_for_it() {
    let broker = TestBroker::start().unwrap();
    // No attempt to connect comes to its rescue: who waits is told of the loss itself.
    let hour = Duration::from_secs(3_600);
    let spec = plant(&broker)
        .retry(Retry::forever().pause(hour..=hour))
        .offline(Offline::Reject)
        .window(1)
        .outbox_capacity(1);
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    broker.hold_acks(true);
    let _held: Vec<_> = (0..2).map(|n| publish(&client, n).unwrap()).collect();
    thread::scope(|scope| {
        let waiter = blocked(scope, &client);
        broker.stop();
        let error = joined(&fleet, waiter);
        assert_eq!(error.kind(), PublishErrorKind::Offline);
    });
    fleet.stop(STOP);
}

/// Fails when a call waits although the oldest message makes room, while the client is away or while its
/// window is full.
#[test]
fn dropping_the_oldest_never_waits() {
    for away in [true, false] {
        let broker = TestBroker::start().unwrap();
        let spec = plant(&broker)
            .outbox_capacity(3)
            .window(1)
            .outbox_overflow(OutboxOverflow::DropOldest);
        let fleet = subscribed(Fleet::builder().client(spec));
        let client = fleet.client("plant").unwrap();
        broker.hold_acks(true);
        if away {
            broker.stop();
            client.wait_disconnected(PATIENCE).unwrap();
        } else {
            drop(publish(&client, 0).unwrap());
            wait_for_publishes(&broker, "plant", 1);
        }
        let in_flight = u64::from(!away);
        for n in 0..1_000 {
            publish(&client, n).unwrap();
            assert!(client.queued() <= 3);
        }
        let ledger = client.ledger();
        assert_eq!(ledger.in_progress, 3 + in_flight, "{ledger:?}");
        assert_eq!(ledger.dropped, 997);
        broker.hold_acks(false);
        if away {
            broker.restart(Sessions::Lost).unwrap();
        }
        let last = publish(&client, 1_000).unwrap();
        last.wait_timeout(PATIENCE).unwrap();
        let came = broker.published("t");
        assert_eq!(came.last(), Some(&numbered(1_000)));
        assert!(fleet.stop(STOP).total().published.balances());
    }
}

/// Fails when a message that was sent, and waits to be sent again in a new session, is dropped for a newer
/// one: the broker has it, and "dropped" says that it has not.
#[test]
fn what_was_sent_is_never_dropped() {
    let broker = TestBroker::start().unwrap();
    let spec = plant(&broker)
        .birth("state", QoS::AtLeastOnce, false, "online")
        .window(1)
        .outbox_capacity(1)
        .outbox_overflow(OutboxOverflow::DropOldest);
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    let born = |n: usize| {
        let born = broker.wait_for(|_| broker.published("state").len() == n, PATIENCE);
        born.unwrap();
    };
    born(1);
    broker.hold_acks(true);
    let sent = publish(&client, 0).unwrap();
    wait_for_publishes(&broker, "plant", 2);
    // In the new session the birth message fills the window, so that the other one has to wait.
    reconnect(&broker, &client, |id| broker.cut(id));
    born(2);
    assert_eq!((client.queued(), broker.published("t").len()), (1, 1));
    let waits = publish(&client, 1).unwrap();
    assert!(!sent.is_done(), "{:?}", sent.try_result());
    assert_eq!((waits.is_done(), client.queued()), (false, 2));
    let newest = publish(&client, 2).unwrap();
    assert_eq!(waits.try_result(), Some(Err(ReceiptError::Dropped)));
    broker.hold_acks(false);
    for receipt in [sent, newest] {
        assert_eq!(receipt.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    }
    assert_eq!(broker.published("t"), ["0", "0", "2"]);
    assert!(fleet.stop(STOP).total().published.balances());
}

/// A thread that waits for room: it has been seen to, for all that can be seen.
fn blocked<'scope>(
    scope: &'scope Scope<'scope, '_>,
    client: &'scope Client,
) -> ScopedJoinHandle<'scope, PublishError> {
    let timed_out = client.publish_timeout("t", QoS::AtLeastOnce, false, "no room", MOMENT);
    assert_eq!(timed_out.unwrap_err().kind(), PublishErrorKind::Timeout);
    let (about_to, is_about_to) = crossbeam_channel::bounded(1);
    let waiter = scope.spawn(move || {
        about_to.send(()).unwrap();
        publish(client, 7).unwrap_err()
    });
    is_about_to.recv_timeout(PATIENCE).unwrap();
    waiter
}

/// What the thread was told; one that waits on is released by a stop, after which this fails.
fn joined(fleet: &Fleet, waiter: ScopedJoinHandle<'_, PublishError>) -> PublishError {
    let released = crate::support::proc::holds_within(PATIENCE, || waiter.is_finished());
    if !released {
        fleet.stop(STOP);
    }
    let error = waiter.join().unwrap();
    assert!(released, "it waited until the stop: {error}");
    error
}

/// Fails when a thread that waits for room is not released when the client ends, in whichever way, or
/// does not get its message back.
#[test]
fn a_blocked_publisher_is_released_when_the_client_ends() {
    for gives_up in [true, false] {
        let broker = TestBroker::start().unwrap();
        let spec = plant(&broker)
            .retry(quick_retry(2))
            .outbox_capacity(1)
            .window(1);
        let fleet = subscribed(Fleet::builder().client(spec));
        let client = fleet.client("plant").unwrap();
        broker.hold_acks(true);
        let _held: Vec<_> = (0..2).map(|n| publish(&client, n).unwrap()).collect();
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..3).map(|_| blocked(scope, &client)).collect();
            match gives_up {
                true => broker.stop(),
                false => client.stop(),
            }
            for waiter in waiters {
                let error = joined(&fleet, waiter);
                assert_eq!(error.kind(), PublishErrorKind::Ended);
                assert_eq!(error.into_message(), ("t".to_owned(), numbered(7)));
            }
        });
        // What is in flight would hold up the end of a client that is stopped.
        broker.hold_acks(false);
        let outcome = ended(&fleet, "plant");
        let gave_up = matches!(outcome, Outcome::RetriesExhausted { .. });
        assert_eq!(gave_up, gives_up, "{outcome}");
        assert_eq!(
            publish(&client, 8).unwrap_err().kind(),
            PublishErrorKind::Ended
        );
        let ledger = fleet.stop(STOP).total().published;
        assert_eq!((ledger.accepted, ledger.finished()), (2, 2));
    }
}

/// Fails when who waits for room is not woken by the age limit, which makes room: with a connection on which
/// nothing happens, and without one while the next attempt is an hour away. With a time limit of its own, too.
#[test]
fn who_waits_for_room_gets_that_of_a_message_that_grew_too_old() {
    let hour = Duration::from_secs(3_600);
    for is_connected in [true, false] {
        for limit in [None, Some(hour)] {
            let broker = TestBroker::start().unwrap();
            broker.hold_acks(true);
            let spec = plant(&broker)
                .retry(Retry::forever().pause(hour..=hour))
                .session(Session::Kept)
                .window(1)
                .outbox_capacity(1)
                .max_age(Duration::from_millis(100));
            let fleet = subscribed(Fleet::builder().client(spec));
            let client = fleet.client("plant").unwrap();
            let in_flight = publish(&client, 0).unwrap();
            wait_for_publishes(&broker, "plant", 1);
            if !is_connected {
                // What was in flight has its place in the outbox, and does not grow old.
                broker.stop();
                client.wait_disconnected(PATIENCE).unwrap();
            }
            let waits = publish(&client, 1).unwrap();
            let (tell, told) = crossbeam_channel::bounded(1);
            let published = thread::scope(|scope| {
                scope.spawn(|| {
                    let published = match limit {
                        None => publish(&client, 2),
                        Some(limit) => {
                            let (qos, payload) = (QoS::AtLeastOnce, numbered(2));
                            client.publish_timeout("t", qos, false, payload, limit)
                        }
                    };
                    // Nobody listens once the test has failed.
                    _ = tell.send(published);
                });
                let published = told.recv_timeout(PATIENCE);
                if published.is_err() {
                    // The scope waits for the one who waits.
                    client.stop();
                }
                published
            });
            let published = published.unwrap_or_else(|error| panic!("{is_connected}: {error}"));
            assert!(published.is_ok(), "{published:?}");
            assert_eq!(waits.try_result(), Some(Err(ReceiptError::Expired)));
            assert!(!in_flight.is_done());
            fleet.stop_now(STOP);
        }
    }
}
