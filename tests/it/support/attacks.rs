//! What is done to one client while the others are looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use mqtt_fleet::testing::{ConnectReply, Sessions, TestBroker};
use mqtt_fleet::{Client, PublishErrorKind, QoS, Stats};

use super::crowd::Trip;
use super::fleet::PATIENCE;
use super::proc::wait_until;
use super::stopping::{Trap, trap};

pub(crate) const VICTIM: &str = "victim";

/// The client that is attacked.
pub(crate) struct Victim {
    pub(crate) broker: TestBroker,
    pub(crate) client: Client,
    pub(crate) handler: Hook,
    pub(crate) pub_function: Hook,
}

/// Makes a function of the victim hang.
pub(crate) struct Hook {
    hangs: Arc<AtomicBool>,
    sprung: Receiver<()>,
    release: Sender<()>,
}

/// What is done at first, again and again, and at the end, where it shows that it had its effect on the
/// victim, whose counts before are given.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// A stuck handler holds up its lane, which others share: then what is promised is the network alone.
    pub(crate) trip: Trip,
    pub(crate) begin: fn(&Victim),
    pub(crate) again: fn(&Victim),
    pub(crate) end: fn(&Victim, &Stats),
}

impl Hook {
    pub(crate) fn new() -> (Hook, Arc<AtomicBool>, Trap) {
        let hangs = Arc::new(AtomicBool::new(false));
        let (trap, sprung, release) = trap();
        let hook = Hook {
            hangs: Arc::clone(&hangs),
            sprung,
            release,
        };
        (hook, hangs, trap)
    }

    fn set(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    fn wait(&self) {
        self.sprung.recv_timeout(PATIENCE).expect("it is called");
    }

    fn release(&self) {
        self.hangs.store(false, Ordering::SeqCst);
        // The one call that hangs; the hook can be set again.
        let released = self.release.send_timeout((), PATIENCE);
        released.expect("it hangs");
    }
}

impl Victim {
    fn publish_to(&self, n: usize, qos: QoS) {
        for _ in 0..n {
            self.broker.publish("victim/in", qos, false, "in").unwrap();
        }
    }

    /// Waits until it is well again.
    pub(crate) fn recover(&self) {
        self.broker.clear_faults();
        self.broker.cut(VICTIM);
        wait_until("the victim is back", PATIENCE, || {
            self.client.is_connected() && self.broker.connected() == [VICTIM]
        });
        let answered = self.client.wait_subscribed(PATIENCE);
        answered.expect("it has its subscription again");
    }
}

fn nothing(_victim: &Victim) {}

fn lost(victim: &Victim, before: &Stats) {
    assert!(victim.client.stats().losses > before.losses);
}

fn received(victim: &Victim, before: &Stats) {
    assert!(victim.client.stats().received > before.received);
}

fn is_away(victim: &Victim, _before: &Stats) {
    assert!(!victim.client.is_connected());
}

pub(crate) const ATTACKS: [Attack; 12] = [
    Attack {
        name: "kicked again and again",
        trip: Trip::Handled,
        begin: nothing,
        again: |victim| _ = victim.broker.kick(VICTIM),
        end: lost,
    },
    Attack {
        name: "garbage again and again",
        trip: Trip::Handled,
        begin: nothing,
        again: |victim| _ = victim.broker.send_raw(VICTIM, vec![0xff; 64]),
        end: lost,
    },
    Attack {
        name: "its broker is silent",
        trip: Trip::Handled,
        begin: |victim| assert!(victim.broker.silence(VICTIM)),
        again: nothing,
        end: |victim, before| {
            // Or noticed already: a busy machine makes the attack longer.
            let is_there = victim.broker.connected() == [VICTIM];
            assert!(is_there || victim.client.stats().losses > before.losses);
        },
    },
    Attack {
        name: "its broker does not read",
        trip: Trip::Handled,
        begin: |victim| assert!(victim.broker.stop_reading(VICTIM)),
        again: |victim| {
            let payload = vec![0; 200 * 1024];
            drop(
                victim
                    .client
                    .try_publish("out", QoS::AtMostOnce, false, payload),
            );
        },
        end: |victim, before| {
            // Or the write timeout was over: a busy machine makes the attack longer.
            let result = victim.client.try_publish("out", QoS::AtMostOnce, false, "");
            assert!(result.is_err() || victim.client.stats().losses > before.losses);
        },
    },
    Attack {
        name: "byte by byte",
        trip: Trip::Handled,
        begin: |victim| {
            let pause = Duration::from_millis(1);
            victim.broker.write_in_pieces_of(VICTIM, &[1], pause);
            victim.publish_to(100, QoS::AtLeastOnce);
        },
        again: nothing,
        end: received,
    },
    Attack {
        name: "a flood at QoS 0",
        trip: Trip::Handled,
        begin: nothing,
        again: |victim| victim.publish_to(200, QoS::AtMostOnce),
        end: |victim, before| {
            assert!(victim.client.stats().received > before.received + 1_000);
        },
    },
    Attack {
        name: "CONNACK never",
        trip: Trip::Handled,
        begin: |victim| {
            victim.broker.on_connect_of(VICTIM, ConnectReply::Never);
            assert!(victim.broker.cut(VICTIM));
            victim.client.wait_disconnected(PATIENCE).unwrap();
        },
        again: nothing,
        end: is_away,
    },
    Attack {
        name: "SUBACK never",
        trip: Trip::Handled,
        begin: |victim| {
            victim.broker.never_suback(true);
            assert!(victim.broker.cut(VICTIM));
        },
        again: nothing,
        end: lost,
    },
    Attack {
        name: "acknowledgements held, outbox full",
        trip: Trip::Handled,
        begin: |victim| victim.broker.hold_acks(true),
        again: |victim| {
            for _ in 0..50 {
                drop(
                    victim
                        .client
                        .try_publish("out", QoS::AtLeastOnce, false, ""),
                );
            }
        },
        end: |victim, _| {
            let error = victim
                .client
                .try_publish("out", QoS::AtLeastOnce, false, "");
            assert_eq!(error.unwrap_err().kind(), PublishErrorKind::Full);
        },
    },
    Attack {
        name: "its handler is stuck",
        trip: Trip::Acknowledged,
        begin: |victim| {
            victim.handler.set();
            victim.publish_to(1, QoS::AtLeastOnce);
            victim.handler.wait();
        },
        again: nothing,
        end: |victim, _| victim.handler.release(),
    },
    Attack {
        name: "its pub function is stuck",
        trip: Trip::Handled,
        begin: |victim| {
            victim.pub_function.set();
            victim.pub_function.wait();
        },
        again: nothing,
        end: |victim, before| {
            assert!(victim.client.stats().ticks <= before.ticks + 1);
            victim.pub_function.release();
        },
    },
    Attack {
        name: "its broker is away",
        trip: Trip::Handled,
        begin: |victim| victim.broker.stop(),
        again: nothing,
        end: |victim, before| {
            is_away(victim, before);
            victim.broker.restart(Sessions::Kept).unwrap();
        },
    },
];
