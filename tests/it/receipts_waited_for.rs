//! Who waits for a receipt is woken: any number of threads, in handlers too, and when a client gives up.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{
    ClientSpec, Delivery, FailedCause, Fleet, Ledger, Outcome, QoS, Receipt, ReceiptError,
};

use crate::support::fleet::{MARGIN, ended, quick_retry};
use crate::support::receiving::{PATIENCE, subscribed, take, tireless, wait_for_publishes};

const STOP: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(10);

fn plant(broker: &TestBroker) -> ClientSpec {
    ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .retry(tireless())
}

fn publish(fleet: &Fleet, qos: QoS) -> Receipt {
    let client = fleet.client("plant").unwrap();
    client.publish("t", qos, false, "1").unwrap()
}

fn ledger(fleet: &Fleet) -> Ledger {
    fleet.client("plant").unwrap().ledger()
}

/// Fails when a client that gives up leaves somebody waiting for a receipt, in any thread.
#[test]
fn giving_up_ends_every_receipt() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker).retry(quick_retry(2)).window(2)));
    broker.hold_acks(true);
    let receipts: Vec<_> = (0..10).map(|_| publish(&fleet, QoS::AtLeastOnce)).collect();
    wait_for_publishes(&broker, "plant", 2);
    thread::scope(|scope| {
        // Several for each receipt, and one thread that waits for all.
        let waiters: Vec<_> = receipts
            .iter()
            .chain(&receipts)
            .map(|receipt| scope.spawn(|| receipt.wait()))
            .collect();
        broker.stop();
        assert!(matches!(
            ended(&fleet, "plant"),
            Outcome::RetriesExhausted { .. }
        ));
        for (n, waiter) in waiters.into_iter().enumerate() {
            let expected = match n % 10 < 2 {
                true => ReceiptError::Failed(FailedCause::NotAcknowledged),
                false => ReceiptError::Unsent,
            };
            assert_eq!(waiter.join().unwrap(), Err(expected));
        }
    });
    assert_eq!((ledger(&fleet).failed, ledger(&fleet).unsent), (2, 8));
    fleet.stop(STOP);
}

/// Fails when only one of the threads that wait for a receipt is woken, or when a receipt that is dropped
/// at once takes its message, or another's end, with it.
#[test]
fn many_threads_wait_for_one_and_nobody_for_others() {
    let broker = TestBroker::start().unwrap();
    let fleet = subscribed(Fleet::builder().client(plant(&broker)));
    broker.hold_acks(true);
    let kept = publish(&fleet, QoS::AtLeastOnce);
    for _ in 0..50 {
        drop(publish(&fleet, QoS::AtLeastOnce));
    }
    let last = publish(&fleet, QoS::AtLeastOnce);
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..8)
            .map(|n| {
                let kept = &kept;
                scope.spawn(move || match n % 2 {
                    0 => kept.wait(),
                    _ => kept.wait_timeout(PATIENCE),
                })
            })
            .collect();
        wait_for_publishes(&broker, "plant", 52);
        assert!(!kept.is_done() && !last.is_done());
        broker.hold_acks(false);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(Delivery::Acknowledged));
        }
    });
    assert_eq!(last.wait_timeout(PATIENCE), Ok(Delivery::Acknowledged));
    assert_eq!(ledger(&fleet).acknowledged, 52);
    fleet.stop(STOP);
}

/// Fails when a handler or a pub function that waits for a receipt keeps the client from sending what it
/// waits for.
#[test]
fn handlers_and_pub_functions_may_wait() {
    let broker = TestBroker::start().unwrap();
    let (sink, ends) = unbounded();
    let from_handler = sink.clone();
    let spec = plant(&broker)
        .subscribe("in", QoS::ExactlyOnce)
        .publish_every(MOMENT, move |client| {
            let receipt = client.publish("tick", QoS::ExactlyOnce, false, "1")?;
            sink.send(("tick", receipt.wait_timeout(PATIENCE)))?;
            Ok(())
        });
    let builder = Fleet::builder().client(spec).workers(1);
    let fleet = subscribed(builder.on_message("in", move |_message, clients| {
        let receipt = clients
            .get("plant")?
            .publish("out", QoS::ExactlyOnce, false, "1")?;
        from_handler.send(("out", receipt.wait_timeout(PATIENCE)))?;
        Ok(())
    }));
    for _ in 0..5 {
        broker.publish("in", QoS::ExactlyOnce, false, "1").unwrap();
    }
    let mut handled = 0;
    while handled < 5 {
        let (who, end) = take(&ends, 1)[0];
        assert_eq!(end, Ok(Delivery::Acknowledged), "{who}");
        handled += usize::from(who == "out");
    }
    let stopped = Instant::now();
    fleet.stop(STOP);
    assert!(stopped.elapsed() < STOP + MARGIN);
}
