//! A QoS 2 message that is sent arrives once where the session is kept, and at least once or with a
//! failure where it is lost, wherever its handshake was interrupted.

use std::time::Duration;

use mqtt_fleet::testing::{Packet, TestBroker};
use mqtt_fleet::{
    ClientSpec, Delivery, FailedCause, Fleet, QoS, Receipt, ReceiptError, Replay, Session,
};

use crate::support::receiving::{
    PATIENCE, number, numbered, subscribed, tireless, wait_for_in, wait_for_publishes,
};

const STOP: Duration = Duration::from_secs(10);

/// Which packet of the handshakes is lost with the connection.
#[derive(Debug, Clone, Copy)]
enum Lost {
    /// From the client, counted from 1: three PUBLISH, then three PUBREL.
    Sent(usize),
    /// All PUBREC.
    Pubrec,
    /// All PUBCOMP.
    Pubcomp,
}

fn all() -> impl Iterator<Item = Lost> {
    let sent = (1..=6).map(Lost::Sent);
    sent.chain([Lost::Pubrec, Lost::Pubcomp])
}

/// "plant" publishes, "reader" receives.
fn fleet(broker: &TestBroker, session: Session, replay: Replay) -> Fleet {
    let spec = |name: &str| {
        ClientSpec::new(name, broker.url())
            .client_id(name)
            .retry(tireless())
    };
    let plant = spec("plant").session(session).replay(replay);
    let reader = spec("reader").subscribe("t", QoS::ExactlyOnce);
    subscribed(Fleet::builder().client(plant).client(reader))
}

/// Publishes three messages and cuts the connection; returns their receipts once all have ended.
fn publish_and_cut(broker: &TestBroker, fleet: &Fleet, lost: Lost) -> Vec<Receipt> {
    let client = fleet.client("plant").unwrap();
    match lost {
        Lost::Sent(packet) => broker.cut_after("plant", packet),
        Lost::Pubrec | Lost::Pubcomp => broker.hold_acks_of("plant", true),
    }
    let receipts: Vec<_> = (0..3)
        .map(|n| client.publish("t", QoS::ExactlyOnce, false, numbered(n)))
        .map(Result::unwrap)
        .collect();
    if !matches!(lost, Lost::Sent(_)) {
        wait_for_publishes(broker, "plant", 3);
        if let Lost::Pubcomp = lost {
            // The broker's own answers are held back, these are not.
            let pubrecs = vec![0x50, 2, 0, 1, 0x50, 2, 0, 2, 0x50, 2, 0, 3];
            assert!(broker.send_raw("plant", pubrecs));
            let is_pubrel = |it: &Packet| matches!(it, Packet::Pubrel { .. });
            wait_for_in(broker, "plant", 3, is_pubrel);
        }
        broker.cut("plant");
        broker.hold_acks_of("plant", false);
    }
    for receipt in &receipts {
        let end = receipt.wait_timeout(PATIENCE);
        assert_ne!(end, Err(ReceiptError::Timeout), "{lost:?}");
    }
    receipts
}

/// What the reader got.
fn arrived(broker: &TestBroker, fleet: &Fleet) -> Vec<usize> {
    broker.publish("t", QoS::ExactlyOnce, false, "end").unwrap();
    let messages = (0..).map(|_| fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap());
    messages
        .take_while(|message| message.text() != "end")
        .map(|message| number(message.payload()))
        .collect()
}

/// Fails when a handshake that was interrupted delivers its message twice, never, or out of order,
/// although both sides have kept the session.
#[test]
fn once_in_a_kept_session() {
    for lost in all() {
        let broker = TestBroker::start().unwrap();
        let fleet = fleet(&broker, Session::Kept, Replay::Always);
        for receipt in publish_and_cut(&broker, &fleet, lost) {
            let end = receipt.try_result();
            assert_eq!(end, Some(Ok(Delivery::Acknowledged)), "{lost:?}");
        }
        assert_eq!(arrived(&broker, &fleet), [0, 1, 2], "{lost:?}");
        assert_eq!(broker.connects("plant"), 2, "{lost:?}");
        let ledger = fleet.stop(STOP).total().published;
        assert_eq!((ledger.acknowledged, ledger.in_progress), (3, 0));
    }
}

/// Fails when a message is lost with the session, or its receipt never ends.
#[test]
fn at_least_once_in_a_lost_session() {
    for lost in all() {
        let broker = TestBroker::start().unwrap();
        let fleet = fleet(&broker, Session::Clean, Replay::Always);
        for receipt in publish_and_cut(&broker, &fleet, lost) {
            let end = receipt.try_result();
            assert_eq!(end, Some(Ok(Delivery::Acknowledged)), "{lost:?}");
        }
        let arrived = arrived(&broker, &fleet);
        let last_of_each: Vec<_> = (0..3)
            .map(|n| arrived.iter().rposition(|it| *it == n).unwrap())
            .collect();
        assert!(last_of_each.is_sorted(), "{lost:?}: {arrived:?}");
        assert_eq!(broker.connects("plant"), 2, "{lost:?}");
        fleet.stop(STOP);
    }
}

/// Fails when a message is repeated that must not be, when a receipt says acknowledged of one that has
/// not arrived, or when it hangs because nothing is repeated.
#[test]
fn at_most_once_where_nothing_is_repeated() {
    for lost in all() {
        let broker = TestBroker::start().unwrap();
        let fleet = fleet(&broker, Session::Clean, Replay::OnlyWithSession);
        let receipts = publish_and_cut(&broker, &fleet, lost);
        let arrived = arrived(&broker, &fleet);
        for (n, receipt) in receipts.iter().enumerate() {
            let times = arrived.iter().filter(|it| **it == n).count();
            match receipt.try_result() {
                Some(Ok(Delivery::Acknowledged)) => assert_eq!(times, 1, "{lost:?}"),
                Some(Err(ReceiptError::Failed(FailedCause::SessionLost))) => {
                    assert!(times <= 1, "{lost:?}");
                }
                other => panic!("{lost:?}: {other:?}"),
            }
        }
        let ledger = fleet.stop(STOP).total().published;
        assert_eq!(ledger.acknowledged + ledger.failed, 3);
        if let Lost::Pubrec | Lost::Pubcomp = lost {
            assert_eq!(ledger.failed, 3, "{lost:?}");
        }
    }
}
