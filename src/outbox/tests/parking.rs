//! A model check of parking: an item is never left behind while the network thread is parked and no wake-up
//! is under way, and nothing is carried while a batch is being sent.
//!
//! `.ci/model` runs it. The outbox is the real one, with the lock of the model checker (`sync.rs`), which
//! tries many orders in which threads may take it. A wake-up that is lost leaves all threads blocked, and
//! the model checker reports that as a deadlock.

use std::{env, sync::Arc, time::Duration};

use shuttle::{
    sync::{Condvar, Mutex},
    thread,
};

use super::{ROOM, message, settings};
use crate::{
    outbox::{
        Outbox, Patience, Waker,
        entry::Progress,
        network_side::Taken,
        send_batch::{Outbound, SendBatch},
    },
    session::packet::{Control, Packet},
    spec::qos::QoS,
};

/// How many orders each check tries with each scheduler, if `MODEL_ORDERS` does not say otherwise.
const ORDERS: usize = 2_000;

/// The checker's second scheduler interrupts threads at this many places, chosen by chance.
const INTERRUPTIONS: usize = 3;

/// What the threads that offer and acknowledge bring.
const N_ITEMS: usize = 4 + 2;

#[derive(Debug, Clone, Copy)]
struct Setting {
    /// The engine can't be woken without a packet to send.
    is_carrying: bool,
    /// How many messages wait at most; whoever brings one more waits.
    capacity: usize,
    /// The network thread waits briefly before it looks into the outbox.
    waits_briefly: bool,
}

/// An engine: what its thread sleeps on.
struct Engine {
    is_carrying: bool,
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    is_woken: bool,
    carried: Option<Packet>,
    /// Packets that came from the broker, which wake the thread without the outbox's knowing.
    n_arrived: usize,
    /// Publishes that the broker has acknowledged.
    acknowledged: Vec<u16>,
    /// The network thread waits for one of these.
    is_waiting: bool,
    /// A batch is being sent.
    is_sending: bool,
    n_sent: usize,
}

impl Waker for Arc<Engine> {
    fn wake(&self) -> bool {
        if self.is_carrying {
            return false;
        }
        self.line.lock().unwrap().is_woken = true;
        self.changed.notify_all();
        true
    }

    fn wake_with(&self, packet: Packet) -> Result<(), Packet> {
        let mut line = self.line.lock().unwrap();
        assert!(!line.is_sending, "carried while a batch is being sent");
        assert!(line.carried.is_none(), "two are carried at once");
        line.carried = Some(packet);
        self.changed.notify_all();
        Ok(())
    }
}

impl Line {
    /// Whether there is a reason to wake up.
    fn has_reason(&self) -> bool {
        let has_packet = self.n_arrived > 0 || !self.acknowledged.is_empty();
        self.is_woken || self.carried.is_some() || has_packet
    }
}

impl Engine {
    /// Sends a packet; the broker answers a publish at once.
    fn send(&self, packet: &Packet) {
        let mut line = self.line.lock().unwrap();
        match packet {
            Packet::Disconnect => return,
            Packet::Publish { packet_id: 0, .. } => {}
            Packet::Publish { packet_id, .. } => line.acknowledged.push(*packet_id),
            _ => {}
        }
        line.n_sent += 1;
        self.changed.notify_all();
    }

    /// Sleeps until something happens.
    fn next(&self, progress: &mut Vec<Progress>) {
        let mut line = self.line.lock().unwrap();
        while !line.has_reason() {
            line.is_waiting = true;
            line = self.changed.wait(line).unwrap();
        }
        line.is_waiting = false;
        line.is_woken = false;
        line.n_arrived = 0;
        let answers = line.acknowledged.drain(..);
        progress.extend(answers.map(|packet_id| Progress::Acknowledged { packet_id }));
        let carried = line.carried.take();
        drop(line);
        if let Some(packet) = carried {
            self.send(&packet);
            progress.push(Progress::WakeSent);
        }
    }

    fn is_asleep(&self) -> bool {
        let line = self.line.lock().unwrap();
        line.is_waiting && !line.has_reason()
    }

    fn arrive(&self) {
        self.line.lock().unwrap().n_arrived += 1;
        self.changed.notify_all();
    }

    fn wait_until_all_is_sent(&self) {
        let mut line = self.line.lock().unwrap();
        while line.n_sent < N_ITEMS {
            line = self.changed.wait(line).unwrap();
        }
    }
}

/// The network thread, from its connection to the end of the outbox.
fn network(outbox: &Outbox, engine: &Engine, waits_briefly: bool) {
    let (mut progress, mut batch) = (Vec::new(), SendBatch::default());
    loop {
        if waits_briefly {
            outbox.apply(&mut progress);
            let _ = outbox.wait_until_brought(Duration::ZERO, Duration::ZERO, |_| Some(1));
        }
        match outbox.take_or_park(&mut progress, &mut batch, ROOM, None) {
            Taken::Batch => {}
            Taken::Parked { .. } | Taken::Carried(_) => {
                engine.next(&mut progress);
                continue;
            }
            Taken::Closed => break,
            taken => panic!("{taken:?}"),
        }
        engine.line.lock().unwrap().is_sending = true;
        while let Some(outbound) = batch.pop() {
            match outbound {
                Outbound::Packet(packet) => engine.send(&packet),
                Outbound::Publish { packet_id, message } => {
                    let pending = batch.sent().unwrap();
                    progress.push(match packet_id {
                        0 => Progress::SentOnce(pending),
                        _ => Progress::Sent {
                            packet_id,
                            message: Box::new(message.clone()),
                            pending,
                        },
                    });
                    engine.send(&Packet::Publish {
                        packet_id,
                        duplicate: false,
                        message,
                    });
                }
            }
        }
        engine.line.lock().unwrap().is_sending = false;
    }
    outbox.apply(&mut progress);
}

/// Whether something that may leave is in the outbox while the network thread sleeps, and nothing wakes it.
fn is_left(outbox: &Outbox, engine: &Engine) -> bool {
    let state = outbox.lock();
    // A thread that a packet has woken is marked as parked until it looks into the outbox.
    state.is_stuck() && engine.is_asleep()
}

/// One run of all threads: two that offer, one that acknowledges, the network thread, and one that closes
/// the outbox, `at_once` or when all is sent.
fn run(setting: Setting, at_once: bool) {
    let outbox = Arc::new(Outbox::new(settings(setting.capacity, 1)));
    let engine = Arc::new(Engine {
        is_carrying: setting.is_carrying,
        line: Mutex::default(),
        changed: Condvar::new(),
    });
    outbox.attach(Box::new(Arc::clone(&engine)));
    outbox.connected(false, [], None);
    let mut threads = Vec::new();
    for qos in [
        [QoS::AtLeastOnce, QoS::AtMostOnce],
        [QoS::AtMostOnce, QoS::AtLeastOnce],
    ] {
        let (engine, outbox) = (Arc::clone(&engine), Arc::clone(&outbox));
        threads.push(thread::spawn(move || {
            for qos in qos {
                let offered = outbox.offer(message("t", qos).into(), Patience::Until(None));
                assert!(at_once || offered.is_ok());
                assert!(!is_left(&outbox, &engine), "offered and left");
            }
        }));
    }
    let (line, acknowledging) = (Arc::clone(&engine), Arc::clone(&outbox));
    threads.push(thread::spawn(move || {
        for packet_id in [1, 2] {
            line.arrive();
            let qos = QoS::AtLeastOnce;
            let is_taken = acknowledging.control(Control::Acknowledge { packet_id, qos });
            assert!(at_once || is_taken);
            assert!(!is_left(&acknowledging, &line), "acknowledged and left");
        }
    }));
    let (line, running) = (Arc::clone(&engine), Arc::clone(&outbox));
    let network = thread::spawn(move || network(&running, &line, setting.waits_briefly));
    if !at_once {
        engine.wait_until_all_is_sent();
    }
    outbox.close();
    for thread in threads {
        thread.join().unwrap();
    }
    network.join().unwrap();
    outbox.end();
    let ledger = outbox.ledger();
    assert!(ledger.balances() && ledger.in_progress == 0, "{ledger:?}");
}

fn check(at_once: bool) {
    let orders = env::var("MODEL_ORDERS").map_or(ORDERS, |orders| orders.parse().unwrap());
    for is_carrying in [true, false] {
        for capacity in [1, 10] {
            for waits_briefly in [false, true] {
                let setting = Setting {
                    is_carrying,
                    capacity,
                    waits_briefly,
                };
                println!("{setting:?}");
                shuttle::check_random(move || run(setting, at_once), orders);
                shuttle::check_pct(move || run(setting, at_once), orders, INTERRUPTIONS);
            }
        }
    }
}

/// Fails when an item is left in the outbox with the network thread parked, whichever of the threads brought
/// it, and when the engine is given a packet to carry while it sends a batch.
#[test]
fn all_that_is_brought_is_sent() {
    check(false);
}

/// Fails when a network thread sleeps on after its outbox was closed, or a thread that waits for room.
#[test]
fn a_closed_outbox_leaves_no_thread_behind() {
    check(true);
}
