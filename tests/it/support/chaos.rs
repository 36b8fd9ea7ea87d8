//! A broker that fails at random, publishers that go on all the while, and books that are looked at.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mqtt_fleet::testing::{ConnectReply, Sessions, TestBroker};
use mqtt_fleet::{
    Client, Delivery, FailedCause, Fleet, Ledger, PublishErrorKind, QoS, Receipt, ReceiptError,
};

/// Random numbers that are the same for the same seed (xorshift64*, by Vigna).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        // Zero would stay zero.
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// What is done: until when, with which numbers, and whether the broker may lose its sessions.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) until: Instant,
    pub(crate) loses_sessions: bool,
    /// Never sent to: what pauses on it can be told apart from a sleep by being ended.
    pub(crate) over: Receiver<()>,
}

impl Plan {
    pub(crate) fn dice(&self, stream: u64) -> Dice {
        Dice::new(self.seed * 1_000 + stream)
    }

    pub(crate) fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// The random time between two events: a pause is what is tested here, not what orders anything.
    pub(crate) fn pause(&self, dice: &mut Dice, milliseconds: u64) {
        let pause = Duration::from_millis(dice.below(milliseconds) + 1);
        let _ = self.over.recv_timeout(pause);
    }
}

/// A message that was accepted.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) client: String,
    pub(crate) thread: u64,
    /// Client, thread and number: no two messages have the same.
    pub(crate) payload: String,
    pub(crate) qos: QoS,
    pub(crate) receipt: Receipt,
}

/// Publishes at all qualities of service, by all ways, until the plan is over.
pub(crate) fn publisher(plan: &Plan, client: &Client, thread: u64) -> Vec<Sent> {
    let mut dice = plan.dice(100 + thread);
    let mut all: Vec<Sent> = Vec::new();
    while plan.goes_on() {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][dice.below(3) as usize];
        let (name, n) = (client.name(), all.len());
        let topic = format!("up/{name}/{thread}/{}", u8::from(qos));
        let payload = format!("{name}:{thread}:{n}");
        let result = match dice.below(3) {
            0 => client.publish(&topic, qos, false, payload.clone()),
            1 => client.try_publish(&topic, qos, false, payload.clone()),
            _ => {
                let timeout = Duration::from_millis(dice.below(5));
                client.publish_timeout(&topic, qos, false, payload.clone(), timeout)
            }
        };
        match result {
            Ok(receipt) => {
                if dice.below(4) == 0 {
                    // Whatever it says: this keeps the pace with the broker.
                    let _ = receipt.wait_timeout(Duration::from_millis(5));
                }
                let client = name.to_owned();
                all.push(Sent {
                    client,
                    thread,
                    payload,
                    qos,
                    receipt,
                });
            }
            Err(error) => match error.kind() {
                PublishErrorKind::Full | PublishErrorKind::Timeout => {
                    plan.pause(&mut dice, 3);
                }
                other => panic!("refused: {other:?}"),
            },
        }
    }
    all
}

/// Makes the broker fail, one fault after the other, until the plan is over; then it is well again.
pub(crate) fn faults(plan: &Plan, broker: &TestBroker, victims: &[&str]) {
    let mut dice = plan.dice(1);
    while plan.goes_on() {
        let victim = victims[dice.below(victims.len() as u64) as usize];
        match dice.below(12) {
            0 | 1 => drop(broker.cut(victim)),
            2 => drop(broker.kick(victim)),
            3..=5 => broker.cut_after(victim, 1 + dice.below(40) as usize),
            6 => {
                broker.silence(victim);
                plan.pause(&mut dice, 40);
                broker.kick(victim);
            }
            7 => {
                broker.hold_acks_of(victim, true);
                plan.pause(&mut dice, 60);
                broker.hold_acks_of(victim, false);
            }
            8 => {
                broker.hold_acks_of(victim, true);
                plan.pause(&mut dice, 60);
                broker.release_acks_reversed(victim);
            }
            9 => {
                // Cut while acknowledgements are held: a full window is repeated.
                broker.hold_acks_of(victim, true);
                plan.pause(&mut dice, 30);
                broker.cut(victim);
                plan.pause(&mut dice, 30);
                broker.hold_acks_of(victim, false);
            }
            10 => {
                let replies = [ConnectReply::AcceptThenKick, ConnectReply::Close];
                broker.on_connect_of(victim, replies[dice.below(2) as usize]);
                broker.cut(victim);
                plan.pause(&mut dice, 30);
                broker.on_connect_of(victim, ConnectReply::Accept);
            }
            _ => {
                broker.stop();
                plan.pause(&mut dice, 30);
                let lost = plan.loses_sessions && dice.below(2) == 0;
                let sessions = if lost { Sessions::Lost } else { Sessions::Kept };
                broker.restart(sessions).expect("the broker starts again");
            }
        }
        plan.pause(&mut dice, 25);
    }
    broker.clear_faults();
    // Also what is silent, and stays so without this.
    broker.kick_all();
}

/// Looks at the books all the while: they balance, and what has ended stays ended.
pub(crate) fn auditor(plan: &Plan, fleet: &Fleet) -> u64 {
    let mut last: HashMap<String, Ledger> = HashMap::new();
    let mut dice = plan.dice(2);
    let mut samples = 0;
    while plan.goes_on() {
        for client in fleet.clients().iter() {
            for ledger in [client.ledger(), client.stats().published] {
                assert!(ledger.balances(), "{}: {ledger:?}", client.name());
                let before = last.insert(client.name().to_owned(), ledger);
                let before = before.unwrap_or_default();
                let shrunk = buckets(&before)
                    .iter()
                    .zip(buckets(&ledger))
                    .any(|(before, now)| *before > now);
                assert!(!shrunk, "{}: {before:?} to {ledger:?}", client.name());
            }
        }
        let total = fleet.stats().published;
        assert!(total.balances(), "{total:?}");
        samples += 1;
        plan.pause(&mut dice, 2);
    }
    samples
}

/// The buckets that only grow, and what was accepted.
fn buckets(ledger: &Ledger) -> [u64; 7] {
    [
        ledger.accepted,
        ledger.acknowledged,
        ledger.sent,
        ledger.expired,
        ledger.dropped,
        ledger.failed,
        ledger.unsent,
    ]
}

/// The ledger that receipts make.
pub(crate) fn by_receipts<'a>(sent: impl IntoIterator<Item = &'a Sent>) -> Ledger {
    let mut ledger = Ledger::default();
    for sent in sent {
        ledger.accepted += 1;
        let bucket = match sent.receipt.try_result() {
            None | Some(Err(ReceiptError::Timeout)) => &mut ledger.in_progress,
            Some(Ok(Delivery::Acknowledged)) => &mut ledger.acknowledged,
            Some(Ok(Delivery::Sent)) => &mut ledger.sent,
            Some(Err(ReceiptError::Expired)) => &mut ledger.expired,
            Some(Err(ReceiptError::Dropped)) => &mut ledger.dropped,
            Some(Err(ReceiptError::Failed(_))) => &mut ledger.failed,
            Some(Err(ReceiptError::Unsent)) => &mut ledger.unsent,
            Some(other) => panic!("unknown: {other:?}"),
        };
        *bucket += 1;
    }
    ledger
}

/// How a message may have ended after a run in which nothing but connections and sessions were lost.
pub(crate) fn check_end(sent: &Sent, may_lose_session: bool) {
    let result = sent.receipt.try_result();
    let is_right = match (sent.qos, result) {
        (QoS::AtMostOnce, Some(Ok(Delivery::Sent))) => true,
        (QoS::AtMostOnce, Some(Err(ReceiptError::Failed(FailedCause::ConnectionLost)))) => true,
        (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(Ok(Delivery::Acknowledged))) => true,
        (
            QoS::AtLeastOnce | QoS::ExactlyOnce,
            Some(Err(ReceiptError::Failed(FailedCause::SessionLost))),
        ) => may_lose_session,
        _ => false,
    };
    assert!(is_right, "{sent:?}");
}
