//! What a stop refuses, or cuts off, is not acknowledged where it came from: whichever client is stopped
//! first, in pull mode, and where a handler waits for its receipts. Where no stop is the reason, it fails.

use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use mqtt_fleet::testing::{Packet, TestBroker};
use mqtt_fleet::{Client, ClientSpec, Fleet, Message, PublishErrorKind, QoS, Retry, Session};

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

fn field_spec(broker: &TestBroker) -> ClientSpec {
    spec("field", broker)
        .session(Session::Kept)
        .subscribe("in", QoS::AtLeastOnce)
}

fn is_puback(packet: &Packet) -> bool {
    matches!(packet, Packet::Puback { .. })
}

fn publish(broker: &TestBroker, n: usize) {
    broker
        .publish("in", QoS::AtLeastOnce, false, numbered(n))
        .unwrap();
}

fn passed_on(message: &Message, fleet: &Fleet) -> Result<(), PublishErrorKind> {
    let cloud = fleet.client("cloud").unwrap();
    let published = cloud.publish("out", QoS::AtMostOnce, false, message.payload().clone());
    published.map(drop).map_err(|error| error.kind())
}

/// Fails when a stop tells one client after the other: a handler that a client refuses a message then
/// finds that the client which it has its own message from goes on.
#[test]
fn clients_that_are_told_first_refuse_no_sooner() {
    let (field, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let nobody = cloud.url();
    let (gate, door) = gate();
    let others = ClientSpec::new("other-{i}", "mqtt://127.0.0.1:9")
        .retry(Retry::forever().pause(LONG..=LONG))
        .times(300);
    let fleet = Fleet::builder()
        .client(
            ClientSpec::new("cloud", nobody)
                .retry(tireless())
                .outbox_capacity(1),
        )
        .clients(others)
        .client(field_spec(&field))
        .on_message("in", move |message, clients| {
            door.pass(message);
            let cloud = clients.get("cloud")?;
            // Not asleep when the refusal comes: it is to notice at once.
            while let Err(error) = cloud.try_publish("out", QoS::AtMostOnce, false, "") {
                if error.kind() != PublishErrorKind::Full {
                    return Err(error.into());
                }
            }
            Ok(())
        })
        .start()
        .unwrap();
    let mut gate = gate;
    let (source, away) = (
        fleet.client("field").unwrap(),
        fleet.client("cloud").unwrap(),
    );
    source.wait_subscribed(PATIENCE).unwrap();
    away.wait_connected(PATIENCE).unwrap();
    cloud.stop();
    away.wait_disconnected(PATIENCE).unwrap();
    drop(
        away.try_publish("full", QoS::AtMostOnce, false, "")
            .unwrap(),
    );
    publish(&field, 1);
    gate.wait_for_one();
    // It looks for room from here on.
    gate.open();
    wait_until("its worker is in it", PATIENCE, || {
        source.stats().received == 1
    });
    let report = fleet.stop(LONG);
    let stats = report.client("field").unwrap().stats();
    assert_eq!((stats.handler_errors, stats.handled), (0, 0), "{report}");
    wait_for_in(&field, "field", 1, |it| *it == Packet::Disconnect);
    assert_eq!(count_in(&field.seen(), "field", is_puback), 0);
}

/// Fails when a message that the application could not pass on because of a stop is acknowledged: the client
/// that it would go to is away, or the stop is so far that none takes messages any more. Fails as well when
/// one that it has passed on before is not.
#[test]
fn what_a_pulling_application_could_not_pass_on_comes_again() {
    for is_away in [true, false] {
        let (field, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
        let builder = Fleet::builder()
            .client(field_spec(&field))
            .client(spec("cloud", &cloud))
            .client(spec("slow", &field));
        let fleet = subscribed(builder);
        let (done, left) = (
            {
                publish(&field, 1);
                fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap()
            },
            {
                publish(&field, 2);
                fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap()
            },
        );
        assert_eq!(passed_on(&done, &fleet), Ok(()));
        let is_out = || fleet.client("cloud").unwrap().ledger().in_progress == 0;
        wait_until("it has left", PATIENCE, is_out);
        if is_away {
            cloud.stop();
            fleet
                .client("cloud")
                .unwrap()
                .wait_disconnected(PATIENCE)
                .unwrap();
        }
        // The stop waits for this one.
        field.hold_acks_of("slow", true);
        let slow = fleet.client("slow").unwrap();
        drop(slow.publish("out", QoS::AtLeastOnce, false, "").unwrap());
        let report = thread::scope(|scope| {
            let stopping = scope.spawn(|| fleet.stop(LONG));
            let source = fleet.client("field").unwrap();
            wait_until("the stop has begun", PATIENCE, || {
                field.publish("in", QoS::AtMostOnce, false, "").unwrap();
                source.stats().after_stop > 0
            });
            drop(done);
            wait_for_in(&field, "field", 1, is_puback);
            wait_until("none is taken any more", PATIENCE, || {
                passed_on(&left, &fleet) == Err(PublishErrorKind::Ended)
            });
            drop(left);
            field.hold_acks_of("slow", false);
            stopping.join().unwrap()
        });
        wait_for_in(&field, "field", 1, |it| *it == Packet::Disconnect);
        assert_eq!(count_in(&field.seen(), "field", is_puback), 1, "{is_away}");
        assert_eq!(report.exit_code(), 0, "{report}");

        let fleet = subscribed(Fleet::builder().client(field_spec(&field)));
        let again = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(again.payload(), &numbered(2));
    }
}

/// Fails when a handler that waits for its receipt is taken for one that failed because a stop ends what it
/// waits for, or when its message is acknowledged: that is the handler which wants to lose nothing. A stop
/// that waits for nothing, and one whose time is over.
#[test]
fn a_handler_whose_receipt_a_stop_ends_has_its_message_again() {
    for now in [true, false] {
        let (field, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
        cloud.hold_acks(true);
        let gateway = || {
            let builder = Fleet::builder()
                .client(spec("cloud", &cloud))
                .client(field_spec(&field));
            subscribed(builder.on_message("in", |message, clients| {
                let cloud = clients.get("cloud")?;
                let payload = message.payload().clone();
                let receipt = cloud.publish("out", QoS::AtLeastOnce, false, payload)?;
                receipt.wait()?;
                Ok(())
            }))
        };
        let fleet = gateway();
        publish(&field, 1);
        wait_for_publishes(&cloud, "cloud", 1);
        let report = match now {
            true => fleet.stop_now(LONG),
            false => fleet.stop(Duration::from_secs(1)),
        };
        let stats = report.client("field").unwrap().stats();
        assert_eq!(stats.handler_errors, 0, "{report}");
        assert_eq!(report.exit_code(), 1, "it is not done: {report}");
        wait_for_in(&field, "field", 1, |it| *it == Packet::Disconnect);
        assert_eq!(count_in(&field.seen(), "field", is_puback), 0, "{now}");

        cloud.hold_acks(false);
        let fleet = gateway();
        wait_for_in(&field, "field", 1, is_puback);
        assert_eq!(fleet.stop(LONG).exit_code(), 0);
    }
}

/// Fails when a pub function that another client refuses its messages, since that was stopped on its own,
/// fails without a word at each call.
#[test]
fn a_pub_function_fails_where_another_client_was_stopped() {
    let broker = TestBroker::start().unwrap();
    let (tell, told) = bounded::<Client>(1);
    let ticking = spec("ticking", &broker).publish_every(Duration::from_millis(10), move |_| {
        let other = told.recv()?;
        drop(other.publish("out", QoS::AtMostOnce, false, "")?);
        Ok(())
    });
    let builder = Fleet::builder().client(spec("other", &broker));
    let fleet = subscribed(builder.client(ticking));
    let other = fleet.client("other").unwrap();
    other.stop();
    other.wait_ended(PATIENCE).unwrap();
    tell.send(other.clone()).unwrap();
    let ticking = fleet.client("ticking").unwrap();
    wait_until("it has failed", PATIENCE, || ticking.stats().pub_errors > 0);
    drop(tell);
    assert_eq!(fleet.stop(LONG).exit_code(), 1);
}
