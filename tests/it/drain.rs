//! A draining stop: what was received is handled, what was accepted goes out, and the deadline holds.

use std::thread;
use std::time::{Duration, Instant};

use mqtt_fleet::testing::{Packet, Sessions, TestBroker};
use mqtt_fleet::{
    Client, ClientSpec, FailedCause, Fleet, Outcome, PublishErrorKind, QoS, ReceiptError, Report,
    Session,
};

use crate::support::fleet::{MARGIN, quick_retry};
use crate::support::proc::wait_until;
use crate::support::receiving::{
    PATIENCE, count_in, gate, numbered, subscribed, tireless, wait_for_in, wait_for_publishes,
};

/// Longer than any test here takes, so that none is ended by it.
const LONG: Duration = Duration::from_secs(60);

fn spec(name: &str, broker: &TestBroker) -> ClientSpec {
    ClientSpec::new(name, broker.url())
        .client_id(name)
        .retry(tireless())
}

fn publish(client: &Client, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let receipt = client.publish("t", QoS::AtLeastOnce, false, numbered(n));
        drop(receipt.unwrap());
    }
}

fn wait_refused(client: &Client) {
    wait_until("messages are refused", PATIENCE, || {
        let refused = client.try_publish("late", QoS::AtLeastOnce, false, "1");
        refused.is_err_and(|error| error.kind() == PublishErrorKind::Ended)
    });
}

/// Drains beside `meanwhile`, which begins when the clients take no message any more.
fn drain(fleet: &Fleet, deadline: Duration, meanwhile: impl FnOnce()) -> (Report, Duration) {
    thread::scope(|scope| {
        let draining = scope.spawn(|| {
            let begun = Instant::now();
            (fleet.stop_draining(deadline), begun.elapsed())
        });
        meanwhile();
        draining.join().unwrap()
    })
}

fn is_puback(packet: &Packet) -> bool {
    matches!(packet, Packet::Puback { .. })
}

/// Fails when a drain ends before everything is acknowledged, when messages are taken that no longer go
/// out, or when DISCONNECT overtakes something.
#[test]
fn everything_accepted_goes_out() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(spec("plant", &broker).window(20)));
        let client = fleet.client("plant").unwrap();
        broker.hold_acks(true);
        publish(&client, 0..100);
        let last = client.publish("t", qos, false, numbered(100)).unwrap();
        wait_for_publishes(&broker, "plant", 20);
        let (report, took) = drain(&fleet, LONG, || {
            wait_refused(&client);
            assert!(client.is_connected());
            let message = client.publish("t", qos, false, "late").unwrap_err();
            assert_eq!(message.payload(), "late");
            broker.hold_acks(false);
        });
        assert!(took < LONG / 2, "{took:?}");
        assert!(last.is_done());
        let ledger = report.total().published;
        // Of the probing for the beginning of the drain some may have been taken.
        assert_eq!(ledger.acknowledged + ledger.sent, ledger.accepted);
        assert!(ledger.accepted >= 101 && ledger.balances(), "{ledger:?}");
        assert_eq!(report.exit_code(), 0, "{report}");
        wait_for_in(&broker, "plant", 1, |it| *it == Packet::Disconnect);
        assert_eq!(broker.published("t").len(), 101);
        assert_eq!(broker.connects("plant"), 1);
    }
}

/// Fails when a drain that can't be completed outlasts its deadline, or leaves messages without an end.
#[test]
fn the_deadline_holds() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(spec("plant", &broker).window(5)));
    let client = fleet.client("plant").unwrap();
    broker.hold_acks(true);
    let first = client.publish("t", QoS::AtLeastOnce, false, "0").unwrap();
    publish(&client, 1..20);
    wait_for_publishes(&broker, "plant", 5);
    let deadline = Duration::from_secs(3);
    let (report, took) = drain(&fleet, deadline, || {});
    assert!(took <= deadline + MARGIN, "{took:?}");
    let ledger = report.total().published;
    assert_eq!(
        (ledger.failed, ledger.unsent, ledger.in_progress),
        (5, 15, 0)
    );
    assert_eq!(*report.clients()[0].outcome(), Outcome::Stopped);
    let failed = Some(Err(ReceiptError::Failed(FailedCause::NotAcknowledged)));
    assert_eq!(first.try_result(), failed);
    wait_for_in(&broker, "plant", 1, |it| *it == Packet::Disconnect);
}

/// Fails when a gateway loses what it had received: handlers still run, what they publish still goes out
/// to the other broker, and only then is the message acknowledged to the first.
#[test]
fn what_was_received_is_handled_and_passed_on() {
    let (field, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let (mut gate, door) = gate();
    let builder = Fleet::builder()
        .client(
            spec("field", &field)
                .session(Session::Kept)
                .subscribe("t/+", QoS::AtLeastOnce),
        )
        .client(spec("cloud", &cloud))
        .workers(2);
    let fleet = subscribed(builder.on_message("t/+", move |message, clients| {
        door.pass(message);
        let payload = message.payload().clone();
        clients
            .get("cloud")?
            .publish("t", QoS::AtLeastOnce, false, payload)?;
        Ok(())
    }));
    for n in 0..20 {
        field
            .publish(format!("t/{n}"), QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
    }
    wait_until("all have come", PATIENCE, || fleet.stats().received == 20);
    let (report, took) = drain(&fleet, LONG, || {
        gate.wait_for_one();
        // Meanwhile the drain begins, and neither client ends while a handler is at work.
        let ended = fleet.wait_ended(Duration::from_millis(50));
        assert!(ended.is_err());
        gate.open();
    });
    assert!(took < LONG / 2, "{took:?}");
    assert_eq!(cloud.published("t").len(), 20);
    let stats = report.total();
    assert_eq!((stats.handled, stats.handler_errors), (20, 0), "{report}");
    assert_eq!((stats.published.acknowledged, report.exit_code()), (20, 0));
    wait_for_in(&field, "field", 1, |it| *it == Packet::Disconnect);
    let pubacks = count_in(&field.seen(), "field", is_puback);
    assert_eq!(pubacks, 20, "the others would come, and go, a second time");
}

/// Fails when a client that is away is given up at once, or is waited for beyond the deadline.
#[test]
fn a_client_that_is_away_may_come_back() {
    for comes_back in [true, false] {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(spec("plant", &broker)));
        let client = fleet.client("plant").unwrap();
        broker.stop();
        client.wait_disconnected(PATIENCE).unwrap();
        publish(&client, 0..10);
        let deadline = match comes_back {
            true => LONG,
            false => Duration::from_secs(1),
        };
        let (report, took) = drain(&fleet, deadline, || {
            wait_refused(&client);
            if comes_back {
                broker.restart(Sessions::Lost).unwrap();
            }
        });
        assert!(took < deadline + MARGIN, "{took:?}");
        assert!(took < LONG / 2, "{took:?}");
        let ledger = report.total().published;
        let (gone_out, left) = match comes_back {
            true => (ledger.accepted, 0),
            false => (0, ledger.accepted),
        };
        assert_eq!((ledger.acknowledged, ledger.unsent), (gone_out, left));
        assert!(ledger.accepted >= 10);
    }
}

/// Fails when a drain waits for a client that has given up, or for messages that have expired.
#[test]
fn what_will_never_go_out_is_not_waited_for() {
    for expires in [true, false] {
        let broker = TestBroker::start().unwrap();
        let spec = match expires {
            true => spec("plant", &broker).max_age(Duration::from_millis(300)),
            false => spec("plant", &broker).retry(quick_retry(2)),
        };
        let fleet = subscribed(Fleet::builder().client(spec.window(1)));
        let client = fleet.client("plant").unwrap();
        broker.hold_acks(true);
        if expires {
            broker.stop();
            client.wait_disconnected(PATIENCE).unwrap();
        }
        publish(&client, 0..10);
        let (report, took) = drain(&fleet, LONG, || {
            wait_refused(&client);
            broker.stop();
        });
        assert!(took < LONG / 2, "{took:?}");
        let ledger = report.total().published;
        let expected = match expires {
            true => (ledger.accepted, 0, 0),
            false => (0, 1, ledger.accepted - 1),
        };
        assert_eq!((ledger.expired, ledger.failed, ledger.unsent), expected);
        assert!(ledger.accepted >= 10);
    }
}

/// Fails when a drain waits for messages that only the application can take, which may be the thread that
/// drains.
#[test]
fn pulled_messages_are_not_waited_for() {
    let broker = TestBroker::start().unwrap();
    let spec = spec("plant", &broker).subscribe("in", QoS::AtLeastOnce);
    let fleet = subscribed(Fleet::builder().client(spec));
    let client = fleet.client("plant").unwrap();
    for n in 0..5 {
        let published = broker.publish("in", QoS::AtLeastOnce, false, numbered(n));
        published.unwrap();
    }
    wait_until("they have come", PATIENCE, || {
        fleet.messages().unwrap().len() == 5
    });
    publish(&client, 0..50);
    let (report, took) = drain(&fleet, LONG, || {});
    assert!(took < LONG / 2, "{took:?}");
    let stats = report.total();
    assert_eq!((stats.published.acknowledged, stats.handled), (50, 0));
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 0);
    assert_eq!(report.abandoned().len(), 0, "{report}");
}
