//! An ordinary stop ends what is under way well, step by step: no message comes in any more, functions
//! end, what they published goes out.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use mqtt_fleet::testing::{Packet, Sessions, TestBroker};
use mqtt_fleet::{
    Client, ClientSpec, Fleet, OnFailure, Outcome, PublishErrorKind, QoS, Report, Session,
};

use crate::support::fleet::{MARGIN, ended, n_from};
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

fn is_puback(packet: &Packet) -> bool {
    matches!(packet, Packet::Puback { .. })
}

/// Stops beside `meanwhile`.
fn stop(fleet: &Fleet, meanwhile: impl FnOnce()) -> Report {
    thread::scope(|scope| {
        let stopping = scope.spawn(|| {
            let begun = Instant::now();
            (fleet.stop(LONG), begun.elapsed())
        });
        meanwhile();
        let (report, took) = stopping.join().unwrap();
        assert!(took < LONG / 2, "{took:?}: {report}");
        report
    })
}

/// Publishes to a client until a message comes after its stop has begun.
fn wait_closed(broker: &TestBroker, client: &Client, topic: &str) {
    wait_until("the intake is closed", PATIENCE, || {
        broker.publish(topic, QoS::AtMostOnce, false, "0").unwrap();
        client.stats().after_stop > 0
    });
}

/// A gateway whose handlers wait at a gate, each on the lane of its topic.
fn gateway(
    field: &TestBroker,
    cloud: &TestBroker,
    change: impl FnOnce(ClientSpec) -> ClientSpec,
) -> (Fleet, crate::support::receiving::Gate) {
    let (gate, door) = gate();
    let input = spec("field", field)
        .session(Session::Kept)
        .subscribe("in/+", QoS::AtLeastOnce)
        .subscribe("other", QoS::AtMostOnce);
    let fleet = Fleet::builder()
        .client(input)
        .client(change(spec("cloud", cloud)))
        .workers(2)
        .on_message("other", |_, _| Ok(()))
        .on_message("in/+", move |message, clients| {
            door.pass(message);
            let payload = message.payload().clone();
            clients
                .get("cloud")?
                .publish("out", QoS::AtLeastOnce, false, payload)?;
            Ok(())
        });
    (subscribed(fleet), gate)
}

/// Fails when later messages on other lanes make a stop believe that a handler which is still at work has
/// ended: it would be refused, and its message lost.
#[test]
fn a_handler_at_work_is_waited_for_whatever_else_is_handled() {
    let (field, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let (fleet, mut gate) = gateway(&field, &cloud, |it| it);
    let client = fleet.client("field").unwrap();
    field
        .publish("in/a", QoS::AtLeastOnce, false, numbered(1))
        .unwrap();
    gate.wait_for_one();
    let report = stop(&fleet, || {
        wait_closed(&field, &client, "other");
        // It had its message long before the stop, and still has all rights.
        let cloud = fleet.client("cloud").unwrap();
        let is_lost = cloud.wait_disconnected(Duration::from_millis(300));
        assert!(is_lost.is_err(), "the stop goes on without the handler");
        gate.open();
    });
    assert_eq!(cloud.published("out"), [numbered(1)]);
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!(report.total().published.acknowledged, 1);
    wait_for_in(&field, "field", 1, |it| *it == Packet::Disconnect);
    assert_eq!(count_in(&field.seen(), "field", is_puback), 1);
}

/// Fails when a stop takes messages in after it has begun, acknowledges one that it has not delivered, or
/// hides one that it dropped.
#[test]
fn what_arrives_after_the_stop_has_begun_is_for_the_next_one() {
    let (field, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let (fleet, mut gate) = gateway(&field, &cloud, |it| it);
    let client = fleet.client("field").unwrap();
    let publish = |n| {
        let published = field.publish("in/a", QoS::AtLeastOnce, false, numbered(n));
        published.unwrap();
    };
    publish(1);
    gate.wait_for_one();
    let report = stop(&fleet, || {
        wait_closed(&field, &client, "other");
        let late = client.stats().after_stop;
        (2..=5).for_each(publish);
        wait_until("they are there", PATIENCE, || {
            client.stats().after_stop >= late + 4
        });
        gate.open();
    });
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!(cloud.published("out"), [numbered(1)]);
    wait_for_in(&field, "field", 1, |it| *it == Packet::Disconnect);
    assert_eq!(count_in(&field.seen(), "field", is_puback), 1);
    let (fleet, mut gate) = gateway(&field, &cloud, |it| it);
    gate.open();
    wait_for_publishes(&cloud, "cloud", 5);
    assert_eq!(fleet.stop(LONG).exit_code(), 0);
    assert_eq!(cloud.published("out").len(), 5);
}

/// Fails when a message whose handler could not publish, because its client is away and will not be waited
/// for, is acknowledged; when such a client makes the stop wait, with or without room in its outbox; or when
/// the handler counts as failed.
#[test]
fn a_message_that_could_not_be_passed_on_stays_at_its_broker() {
    for has_room in [true, false] {
        let (field, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
        let (fleet, mut gate) = gateway(&field, &cloud, |it| it.outbox_capacity(1));
        let (client, away) = (
            fleet.client("field").unwrap(),
            fleet.client("cloud").unwrap(),
        );
        field
            .publish("in/a", QoS::AtLeastOnce, false, numbered(1))
            .unwrap();
        gate.wait_for_one();
        cloud.stop();
        away.wait_disconnected(PATIENCE).unwrap();
        if !has_room {
            let filled = away.try_publish("full", QoS::AtMostOnce, false, "");
            drop(filled.unwrap());
        }
        let report = stop(&fleet, || {
            wait_closed(&field, &client, "other");
            gate.open();
        });
        let stats = report.client("field").unwrap().stats();
        assert_eq!(stats.handler_errors, 0, "{report}");
        assert_eq!(report.exit_code(), 1, "it is not done: {report}");
        wait_for_in(&field, "field", 1, |it| *it == Packet::Disconnect);
        assert_eq!(count_in(&field.seen(), "field", is_puback), 0);

        cloud.restart(Sessions::Lost).unwrap();
        let (fleet, mut gate) = gateway(&field, &cloud, |it| it);
        gate.open();
        wait_for_publishes(&cloud, "cloud", 1);
        assert_eq!(fleet.stop(LONG).exit_code(), 0);
    }
}

/// Fails when a client that a stop does not reach blocks the others: a handler that waits for room at a
/// client that loses its connection meanwhile has to be released.
#[test]
fn a_client_that_is_lost_during_the_stop_is_not_waited_for() {
    let (field, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let (fleet, mut gate) = gateway(&field, &cloud, |it| it.window(1).outbox_capacity(1));
    let client = fleet.client("field").unwrap();
    cloud.hold_acks(true);
    gate.open();
    for n in 0..4 {
        field
            .publish("in/a", QoS::AtLeastOnce, false, numbered(n))
            .unwrap();
    }
    wait_until("the outbox is full", PATIENCE, || {
        fleet.client("cloud").unwrap().queued() == 1
    });
    let report = stop(&fleet, || {
        wait_closed(&field, &client, "other");
        cloud.stop();
    });
    let ledger = report.total().published;
    assert_eq!((ledger.failed, ledger.unsent), (1, 1), "{report}");
    assert_eq!(report.exit_code(), 1);
    wait_for_in(&field, "field", 1, |it| *it == Packet::Disconnect);
    assert_eq!(count_in(&field.seen(), "field", is_puback), 2);
}

/// What asks for a stop.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Handle,
    Handler,
    Policy,
}

/// Fails when a stop that is only asked for, with nobody who joins, is made at once or never: by a handle,
/// by a handler, by a policy.
#[test]
fn a_stop_that_is_asked_for_is_orderly_too() {
    for by in [By::Handle, By::Handler, By::Policy] {
        let (field, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
        let (gate, door) = gate();
        let input = spec("field", &field)
            .session(Session::Kept)
            .subscribe("in/+", QoS::AtLeastOnce)
            .subscribe("other", QoS::AtMostOnce)
            .subscribe("off", QoS::AtLeastOnce);
        let builder = Fleet::builder()
            .client(input)
            .client(spec("cloud", &cloud))
            .workers(2)
            // The one that asks and the one that is at work are on one lane otherwise, by chance.
            .unordered()
            .on_failure(OnFailure::StopFleet)
            .stop_deadline(LONG)
            .on_message("off", move |_message, clients| {
                if by == By::Policy {
                    return Err("not today".into());
                }
                clients.stop();
                Ok(())
            })
            .on_message("other", |_, _| Ok(()))
            .on_message("in/+", move |message, clients| {
                door.pass(message);
                let cloud = clients.get("cloud")?;
                cloud.publish("out", QoS::AtLeastOnce, false, "1")?;
                Ok(())
            });
        let fleet = subscribed(builder);
        field.publish("in/a", QoS::AtLeastOnce, false, "1").unwrap();
        gate.wait_for_one();
        match by {
            By::Handle => fleet.stop_handle().stop(),
            By::Handler | By::Policy => {
                field.publish("off", QoS::AtLeastOnce, false, "").unwrap();
            }
        }
        // The stop has begun while the other one is at work: made at once, it would leave it nothing.
        wait_closed(&field, &fleet.client("field").unwrap(), "other");
        drop(gate);
        fleet.wait_ended(PATIENCE).unwrap();
        assert_eq!(cloud.published("out"), ["1"], "{by:?}");
        wait_for_in(&field, "field", 1, |it| *it == Packet::Disconnect);
        let acknowledged = match by {
            By::Handle => 1,
            By::Handler => 2, // Its own too: it would stop the next fleet as well.
            By::Policy => 1,  // The message that failed stays at its broker.
        };
        let found = count_in(&field.seen(), "field", is_puback);
        assert_eq!(found, acknowledged, "{by:?}");
        assert_eq!(fleet.join().exit_code(), i32::from(by == By::Policy));
    }
}

/// Fails when the message for whose failure the policy stops is acknowledged now that the stop is orderly.
#[test]
fn the_message_that_a_policy_stops_for_stays_at_its_broker() {
    for policy in [OnFailure::StopFleet, OnFailure::StopClient] {
        let broker = TestBroker::start().unwrap();
        let input = spec("plant", &broker)
            .session(Session::Kept)
            .subscribe("in", QoS::AtLeastOnce);
        let fleet = Fleet::builder()
            .client(input)
            .on_failure(policy)
            .on_message("in", |_, _| Err("not today".into()));
        let fleet = subscribed(fleet);
        broker.publish("in", QoS::AtLeastOnce, false, "1").unwrap();
        let outcome = ended(&fleet, "plant");
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome}");
        wait_for_in(&broker, "plant", 1, |it| *it == Packet::Disconnect);
        assert_eq!(count_in(&broker.seen(), "plant", is_puback), 0);
        assert_eq!(fleet.join().exit_code(), 1);
    }
}

/// Fails when a client that is stopped on its own forgets what it could send, takes more meanwhile, or goes on
/// when its connection is lost.
#[test]
fn one_client_that_is_stopped_sends_what_it_has() {
    for is_lost in [false, true] {
        let broker = TestBroker::start().unwrap();
        let fleet = subscribed(Fleet::builder().client(spec("plant", &broker).window(5)));
        let client = fleet.client("plant").unwrap();
        broker.hold_acks(true);
        for n in 0..20 {
            let receipt = client.publish("t", QoS::AtLeastOnce, false, numbered(n));
            drop(receipt.unwrap());
        }
        wait_for_publishes(&broker, "plant", 5);
        client.stop();
        let refused = client.publish("t", QoS::AtLeastOnce, false, "late");
        assert_eq!(refused.unwrap_err().kind(), PublishErrorKind::Ended);
        assert!(client.is_connected());
        match is_lost {
            true => broker.stop(),
            false => broker.hold_acks(false),
        }
        assert_eq!(ended(&fleet, "plant"), Outcome::Stopped);
        let ledger = client.ledger();
        let expected = match is_lost {
            true => (0, 5, 15),
            false => (20, 0, 0),
        };
        let found = (ledger.acknowledged, ledger.failed, ledger.unsent);
        assert_eq!(found, expected);
        assert_eq!(broker.connects("plant"), 1);
        let disconnects = n_from(&broker, "plant", |it| *it == Packet::Disconnect);
        assert_eq!(disconnects, usize::from(!is_lost));
    }
}

/// Fails when an UNSUBSCRIBE that was asked for right before a stop is lost: the kept session would go on
/// collecting messages that nobody wants.
#[test]
fn an_unsubscribe_right_before_the_stop_is_sent() {
    for at_once in [false, true] {
        for _ in 0..20 {
            let broker = TestBroker::start().unwrap();
            let spec = spec("plant", &broker)
                .session(Session::Kept)
                .subscribe("in", QoS::AtLeastOnce)
                .subscribe("kept", QoS::AtLeastOnce);
            let fleet = subscribed(Fleet::builder().client(spec));
            let client = fleet.client("plant").unwrap();
            for n in 0..200 {
                let receipt = client.publish("t", QoS::AtLeastOnce, false, numbered(n));
                drop(receipt.unwrap());
            }
            client.unsubscribe("in").unwrap();
            match at_once {
                true => fleet.stop_now(PATIENCE),
                false => fleet.stop(PATIENCE),
            };
            wait_for_in(&broker, "plant", 1, |it| *it == Packet::Disconnect);
            let n = n_from(&broker, "plant", |it| {
                matches!(it, Packet::Unsubscribe { .. })
            });
            assert_eq!(n, 1, "at once: {at_once}");
        }
    }
}

/// Fails when `stop_now` waits for what it says that it does not wait for.
#[test]
fn a_stop_without_waiting_leaves_what_is_in_the_outbox() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(spec("plant", &broker).window(5)));
    let client = fleet.client("plant").unwrap();
    broker.hold_acks(true);
    for n in 0..20 {
        let receipt = client.publish("t", QoS::AtLeastOnce, false, numbered(n));
        drop(receipt.unwrap());
    }
    wait_for_publishes(&broker, "plant", 5);
    let begun = Instant::now();
    let report = fleet.stop_now(LONG);
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    let ledger = report.total().published;
    assert_eq!((ledger.failed, ledger.unsent), (5, 15), "{report}");
    wait_for_in(&broker, "plant", 1, |it| *it == Packet::Disconnect);
}

/// Fails when several stops at once don't tell the same: one that comes later must not find all well because
/// another one is still waiting for the threads.
#[test]
fn every_stop_tells_the_same() {
    let broker = TestBroker::start().unwrap();
    let (entered, is_entered) = bounded(1);
    let (release, held) = bounded::<()>(0);
    let builder = Fleet::builder()
        .client(spec("plant", &broker).subscribe("any", QoS::AtLeastOnce))
        .workers(1)
        .on_message("any", move |_message, _clients| {
            entered.send(())?;
            let _ = held.recv();
            Ok(())
        });
    let fleet = subscribed(builder);
    broker.publish("any", QoS::AtLeastOnce, false, "").unwrap();
    is_entered.recv_timeout(PATIENCE).unwrap();
    let deadlines = [300, 600, 900].map(Duration::from_millis);
    thread::scope(|scope| {
        let stops = deadlines.map(|deadline| {
            let fleet = &fleet;
            scope.spawn(move || {
                let begun = Instant::now();
                let report = fleet.stop(deadline);
                (report, begun.elapsed(), deadline)
            })
        });
        for stop in stops {
            let (report, took, deadline) = stop.join().unwrap();
            assert!(took < deadline + MARGIN, "{took:?}: {report}");
            assert_eq!(report.abandoned().len(), 1, "{report}");
            assert!(report.abandoned()[0].contains("worker-0"), "{report}");
            assert_eq!(report.exit_code(), 1, "{report}");
        }
    });
    drop(release);
}
