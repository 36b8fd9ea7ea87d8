//! What is done to one client while the others are looked at.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
    /// So many calls of each of its functions panic from now on.
    pub(crate) panics: Panics,
}

/// Of the handler and of the pub function. Few, because each is printed with its stack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panics {
    pub(crate) handler: Arc<AtomicU32>,
    pub(crate) pub_function: Arc<AtomicU32>,
}

impl Panics {
    /// Panics if it is to.
    pub(crate) fn maybe(left: &AtomicU32) {
        let less = |left: u32| left.checked_sub(1);
        let was = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        assert!(was.is_err(), "as it was told");
    }
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

pub(crate) const ATTACKS: [Attack; 18] = [
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
    Attack {
        name: "an oversized packet again and again",
        trip: Trip::Handled,
        begin: nothing,
        again: |victim| _ = victim.broker.send_raw(VICTIM, &b"\x30\xff\xff\xff\x7f"[..]),
        end: lost,
    },
    Attack {
        name: "CONNACK refused",
        trip: Trip::Handled,
        begin: |victim| {
            victim.broker.on_connect_of(VICTIM, ConnectReply::Code(3));
            assert!(victim.broker.cut(VICTIM));
            victim.client.wait_disconnected(PATIENCE).unwrap();
        },
        again: nothing,
        end: is_away,
    },
    Attack {
        name: "SUBACK refused",
        trip: Trip::Handled,
        begin: |victim| {
            victim.broker.fail_subscribe("victim/#");
            assert!(victim.broker.cut(VICTIM));
        },
        again: nothing,
        end: |victim, before| {
            wait_until("it is refused", PATIENCE, || {
                victim.client.stats().refused_subscriptions > before.refused_subscriptions
            });
        },
    },
    Attack {
        name: "its client id is used by another one",
        trip: Trip::Handled,
        begin: nothing,
        again: |victim| {
            let mut thief = TcpStream::connect(("127.0.0.1", victim.broker.port())).unwrap();
            let connect = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06victim";
            thief.write_all(connect).unwrap();
            let _ = thief.read(&mut [0; 4]);
        },
        end: lost,
    },
    Attack {
        name: "its handler panics",
        trip: Trip::Handled,
        begin: |victim| {
            victim.panics.handler.store(3, Ordering::SeqCst);
            victim.publish_to(3, QoS::AtLeastOnce);
        },
        again: nothing,
        end: |victim, before| {
            wait_until("it panicked", PATIENCE, || {
                victim.client.stats().handler_panics == before.handler_panics + 3
            });
        },
    },
    Attack {
        name: "its pub function panics",
        trip: Trip::Handled,
        begin: |victim| victim.panics.pub_function.store(3, Ordering::SeqCst),
        again: nothing,
        end: |victim, before| {
            wait_until("it panicked", PATIENCE, || {
                victim.client.stats().pub_panics == before.pub_panics + 3
            });
        },
    },
];
