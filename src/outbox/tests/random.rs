//! The outbox against a made-up broker and engine: whatever happens in whatever order, nothing is
//! lost without a word, and each message ends as its receipt says.

use std::{
    collections::HashSet,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use proptest::prelude::*;

use super::{ROOM, message, outbox, settings};
use crate::{
    outbox::{
        NotTaken, Outbox, Patience,
        entry::Progress,
        network_side::Taken,
        receipt::{Delivery, FailedCause, Receipt, ReceiptError},
        send_batch::{Outbound, SendBatch},
        state::NetworkThread,
        suspicion::ConnectionEnd,
    },
    session::packet::{Control, Outgoing, Packet},
    spec::{
        outbox::{OutboxOverflow, OutboxSettings, Replay},
        qos::QoS,
    },
};

const WINDOW: u16 = 5;

/// What the broker has of one client, and what it has seen.
#[derive(Default)]
struct Wire {
    /// PUBLISH of QoS 1 and 2 that is not answered.
    unanswered: Vec<(u16, Outgoing)>,
    /// QoS 2 messages between PUBREC and PUBCOMP.
    released: Vec<(u16, usize)>,
    /// Numbers of messages, in the order of their first sending.
    first_sent: Vec<usize>,
    sent: HashSet<usize>,
    acknowledged: HashSet<usize>,
    /// The engine panicked with these in its hands.
    dropped_in_panic: HashSet<usize>,
}

struct Model {
    outbox: Arc<Outbox>,
    carries: Receiver<Packet>,
    /// The identifier that the engine would give to what it carries.
    engine_next: u16,
    connected: bool,
    progress: Vec<Progress>,
    batch: SendBatch,
    wire: Wire,
    offered: Vec<(Outgoing, Receipt)>,
    /// A stop has begun: messages are only taken with a connection.
    stopping: bool,
    /// No message is taken any more.
    refuses: bool,
    closed: bool,
}

fn number(message: &Outgoing) -> usize {
    message.topic.parse().unwrap()
}

impl Model {
    fn offer(&mut self, n: usize) {
        let name = self.offered.len().to_string();
        let qos = [0, 1, 1, 2, 2][n];
        // None, one, some that are packed, and some that are not.
        let size = [0, 1, 300, 511, 2_000][(n + self.offered.len()) % 5];
        let offered = Outgoing {
            payload: (0..size)
                .map(|at| (at + self.offered.len()) as u8)
                .collect(),
            retain: size == 1,
            ..message(&name, QoS::try_from(qos).unwrap())
        };
        match self.outbox.offer(offered.clone().into(), Patience::None) {
            Ok(receipt) => {
                assert!(!self.refuses, "nothing is taken any more");
                assert!(!self.stopping || self.connected, "it would not be sent");
                self.offered.push((offered, receipt));
            }
            Err((back, refusal)) => {
                assert_eq!(back.payload(), offered.payload);
                let has_reason = self.refuses || self.stopping && !self.connected;
                assert_eq!(refusal == NotTaken::Closed, has_reason);
            }
        }
    }

    /// The broker gets a message: it is what it was when it was offered.
    fn write(&mut self, packet_id: u16, duplicate: bool, message: Outgoing) {
        let offered = &self.offered[number(&message)].0;
        assert_eq!(message.payload, offered.payload);
        assert_eq!((message.qos, message.retain), (offered.qos, offered.retain));
        let wire = &mut self.wire;
        let is_first = wire.sent.insert(number(&message));
        if is_first {
            wire.first_sent.push(number(&message));
        }
        assert!(!duplicate || !is_first, "a duplicate of what?");
        assert_eq!(packet_id == 0, message.qos == QoS::AtMostOnce);
        if packet_id == 0 {
            assert!(is_first, "QoS 0 is sent once");
            return;
        }
        assert!(wire.unanswered.iter().all(|(its, _)| *its != packet_id));
        assert!(wire.released.iter().all(|(its, _)| *its != packet_id));
        assert!(wire.unanswered.len() + wire.released.len() < WINDOW.into());
        wire.unanswered.push((packet_id, message));
    }

    fn send(&mut self, packet: Packet) {
        if let Packet::Publish {
            packet_id,
            duplicate,
            message,
        } = packet
        {
            self.write(packet_id, duplicate, message);
        }
    }

    /// One round of the network thread, which sends at most this many packets and then loses its
    /// connection, or panics with the next one in its hands.
    fn turn(&mut self, most: usize, panics: bool) {
        if let Ok(packet) = self.carries.try_recv() {
            if let Packet::Publish { packet_id, .. } = &packet {
                // It is not told an identifier: it counts.
                assert!(*packet_id == 0 || *packet_id == self.engine_next);
                self.counted(*packet_id);
            }
            self.send(packet);
            self.progress.push(Progress::WakeSent);
        }
        let taken = loop {
            let (progress, batch) = (&mut self.progress, &mut self.batch);
            let next_id = Some(self.engine_next);
            match self.outbox.take_or_park(progress, batch, ROOM, next_id) {
                Taken::NextId(id) => self.engine_next = id,
                taken => break taken,
            }
        };
        // Else something would be carried while the engine sends, and cannot take it.
        let is_parked = self.outbox.lock().network == NetworkThread::Parked;
        assert_eq!(is_parked, matches!(taken, Taken::Parked { .. }));
        if taken == Taken::Finished {
            let is_drained = self.outbox.lock().is_drained();
            assert!(is_drained, "it had all the time in the world");
        }
        for _ in 0..most {
            match self.batch.pop() {
                None => return,
                Some(Outbound::Packet(packet)) => self.send(packet),
                Some(Outbound::Publish { packet_id, message }) => {
                    let pending = self.batch.sent().unwrap();
                    self.progress.push(match packet_id {
                        0 => Progress::SentOnce(pending),
                        _ => Progress::Sent {
                            packet_id,
                            message: Box::new(message.clone()),
                            pending,
                        },
                    });
                    if packet_id == self.engine_next {
                        self.counted(packet_id);
                    }
                    self.write(packet_id, false, message);
                }
            }
        }
        if panics {
            if let Some(Outbound::Publish { message, .. }) = self.batch.pop() {
                self.wire.dropped_in_panic.insert(number(&message));
            }
            self.lose();
        } else if !self.batch.is_empty() {
            self.lose();
        }
    }

    fn counted(&mut self, packet_id: u16) {
        if packet_id != 0 {
            self.engine_next = packet_id % 64 + 1;
        }
    }

    /// PUBACK, PUBREC or PUBCOMP.
    fn answer(&mut self, n: usize) {
        let wire = &mut self.wire;
        if n % 2 == 0 && !wire.released.is_empty() {
            let (packet_id, number) = wire.released.remove(n % wire.released.len());
            wire.acknowledged.insert(number);
            self.progress.push(Progress::Acknowledged { packet_id });
        } else if !wire.unanswered.is_empty() {
            let (packet_id, message) = wire.unanswered.remove(n % wire.unanswered.len());
            self.progress.push(match message.qos {
                QoS::ExactlyOnce => {
                    wire.released.push((packet_id, number(&message)));
                    Progress::Released { packet_id }
                }
                _ => {
                    wire.acknowledged.insert(number(&message));
                    Progress::Acknowledged { packet_id }
                }
            });
        }
    }

    fn connect(&mut self, session_present: bool) {
        self.connected = true;
        self.engine_next = 1;
        self.outbox.connected(session_present, [], None);
        let mut released = mem::take(&mut self.wire.released);
        // What is repeated comes first. A network thread may lose its connection meanwhile; here it is all
        // sent before anything else happens.
        let preamble: Vec<_> = self.outbox.lock().preamble.drain(..).collect();
        for packet in preamble {
            match packet {
                Packet::Publish {
                    packet_id,
                    duplicate,
                    message,
                } => {
                    assert_eq!(message.payload, self.offered[number(&message)].0.payload);
                    assert!(duplicate && self.wire.sent.contains(&number(&message)));
                    self.wire.unanswered.push((packet_id, message));
                }
                Packet::Release { packet_id } => {
                    let at = released.iter().position(|(id, _)| *id == packet_id);
                    self.wire.released.push(released.remove(at.unwrap()));
                }
                packet => panic!("{packet:?}"),
            }
        }
        assert!(
            !session_present || released.is_empty(),
            "PUBREL is repeated"
        );
    }

    fn lose(&mut self) {
        self.connected = false;
        let carries = &self.carries;
        let close = || matches!(carries.try_recv(), Ok(Packet::Publish { .. }));
        let (progress, batch) = (&mut self.progress, &mut self.batch);
        self.outbox
            .disconnected(progress, batch, ConnectionEnd::default(), close);
        self.wire.unanswered.clear();
        assert!(self.batch.is_empty() && self.progress.is_empty());
    }

    /// Rarely: a step towards the end.
    fn stop(&mut self, n: usize) {
        match n {
            0..=2 => {
                self.outbox.take_while_connected();
                self.stopping = true;
            }
            3 => {
                self.outbox.drain();
                self.refuses = true;
            }
            4 => {
                let hours = Instant::now() + Duration::from_secs(360_000);
                self.refuses = true;
                let at_once = self.outbox.finish(Some(hours));
                let is_drained = self.outbox.lock().is_drained();
                assert_eq!(at_once, !self.connected || self.closed || is_drained);
            }
            // Between the loss and what was seen before it.
            5 if self.connected => {
                self.outbox.lost();
                self.outbox.close();
                (self.refuses, self.closed) = (true, true);
                self.lose();
            }
            6 => {
                self.outbox.close();
                (self.refuses, self.closed) = (true, true);
            }
            _ => {}
        }
    }

    fn check(&self) {
        assert!(!self.outbox.lock().is_stuck(), "a wake-up was lost");
        let ledger = self.outbox.ledger();
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!(ledger.accepted, self.offered.len() as u64);
    }

    /// The client has ended: each receipt says what has become of its message.
    fn check_dispositions(&self, settings: &OutboxSettings) {
        let wire = &self.wire;
        assert!(wire.first_sent.is_sorted(), "{:?}", wire.first_sent);
        for (number, (message, receipt)) in self.offered.iter().enumerate() {
            let disposition = receipt.try_result().unwrap();
            let is_sent = wire.sent.contains(&number);
            let is_acknowledged = wire.acknowledged.contains(&number);
            let in_panic = wire.dropped_in_panic.contains(&number);
            let is_qos0 = message.qos == QoS::AtMostOnce;
            let is_lost = is_sent && !is_qos0 && !is_acknowledged;
            let is_true = match disposition {
                Ok(Delivery::Acknowledged) => is_acknowledged,
                Ok(Delivery::Sent) => is_qos0 && is_sent,
                Err(ReceiptError::Failed(FailedCause::ConnectionLost)) => {
                    in_panic || is_qos0 && is_sent
                }
                Err(ReceiptError::Failed(FailedCause::SessionLost)) => {
                    is_lost && settings.replay == Replay::OnlyWithSession
                }
                Err(ReceiptError::Failed(FailedCause::NotAcknowledged)) => is_lost,
                Err(ReceiptError::Unsent) => !is_sent,
                Err(ReceiptError::Dropped) => {
                    !is_sent && settings.overflow == OutboxOverflow::DropOldest
                }
                Err(ReceiptError::Expired) => !is_sent && settings.max_age.is_some(),
                // The broker of this model never closes on a message.
                Err(ReceiptError::Failed(FailedCause::BrokerCloses { .. })) => false,
                Err(ReceiptError::Timeout) => false,
            };
            assert!(
                is_true,
                "message {number} at {:?}: {disposition:?}",
                message.qos
            );
            assert_eq!(is_acknowledged, disposition == Ok(Delivery::Acknowledged));
        }
    }
}

proptest! {
    #![proptest_config(crate::properties::fixed_seed())]

    #[test]
    fn each_message_ends_as_its_receipt_says(
        steps in prop::collection::vec((0_u8..12, 0_usize..50), 0..200),
        drops in any::<bool>(), expires in prop::bool::weighted(0.2), replays in any::<bool>(),
    ) {
        let settings = OutboxSettings {
            overflow: if drops { OutboxOverflow::DropOldest } else { OutboxOverflow::Refuse },
            max_age: expires.then_some(Duration::ZERO),
            replay: if replays { Replay::Always } else { Replay::OnlyWithSession },
            ..settings(20, WINDOW)
        };
        let (outbox, carries) = outbox(settings.clone());
        let mut model = Model {
            outbox,
            carries,
            engine_next: 1,
            connected: false,
            progress: Vec::new(),
            batch: SendBatch::default(),
            wire: Wire::default(),
            offered: Vec::new(),
            stopping: false,
            refuses: false,
            closed: false,
        };
        for (step, n) in steps {
            match step {
                0..=2 => model.offer(n % 5),
                3 if model.connected => model.turn(usize::MAX, false),
                4 if model.connected => model.turn(n % 5, n % 5 == 1),
                5 | 10 if model.connected => model.answer(n),
                6 if model.connected => model.lose(),
                7 if !model.connected && !model.closed => model.connect(n % 5 > 1),
                8 => {
                    let (packet_id, qos) = (1, QoS::AtLeastOnce);
                    model.outbox.control(Control::Acknowledge { packet_id, qos });
                }
                9 if model.connected => {
                    model.outbox.apply(&mut model.progress);
                    if n % 2 == 0 {
                        // Something may come before the wait begins.
                        model.offer(n % 5);
                    }
                    let no_time = Duration::ZERO;
                    model.outbox.wait_until_brought(no_time, no_time, |_| Some(n + 1));
                }
                11 => model.stop(n),
                _ => {}
            }
            model.check();
        }
        model.lose();
        model.outbox.end();
        model.check();
        prop_assert_eq!(model.outbox.ledger().in_progress, 0);
        model.check_dispositions(&settings);
    }
}
