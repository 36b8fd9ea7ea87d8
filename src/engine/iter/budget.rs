//! How much is written at once, and how much is read until answers are flushed.

use crate::engine::Event;

/// rumqttc's encoder takes anything without waiting while it holds less.
pub(super) const ENCODER_LIMIT: usize = 8 * 1024;

/// As many encoded bytes are sent at once; what rumqttc answers by itself has to fit behind them.
pub(super) const ROOM: usize = 7_000;

/// rumqttc reads 9 packets for each run of its runtime. With this many events more, a flood costs little
/// for each message, and nobody waits long for what the outbox has meanwhile.
const MOST_EVENTS: usize = 144;

/// Where all of them are messages of QoS 0, nobody waits for an answer: it may be more, so that waking a
/// worker is worth it.
const MOST_EVENTS_AT_QOS_0: usize = 512;

/// Nor may they be more bytes: what a wake-up brings is handed over at its end.
const MOST_BYTES: usize = 64 * 1024;

// What rumqttc answers by itself meanwhile, 4 bytes for two events, may have to stay in the encoder, and a
// batch of the outbox has to fit behind it.
const _: () = assert!(MOST_EVENTS / 2 * 4 + ROOM < ENCODER_LIMIT);

/// What was read since answers were last flushed.
#[derive(Debug)]
pub(super) struct Budget {
    events: usize,
    bytes: usize,
    most_events: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            events: 0,
            bytes: 0,
            most_events: MOST_EVENTS_AT_QOS_0,
        }
    }
}

impl Budget {
    pub(super) fn is_spent(&self) -> bool {
        self.events >= self.most_events || self.bytes >= MOST_BYTES
    }

    pub(super) fn spend(&mut self, event: &Event) {
        self.events += 1;
        let is_qos_0 = match event {
            Event::Received(received) => {
                self.bytes += received.content.len();
                received.packet_id == 0
            }
            _ => false,
        };
        if !is_qos_0 {
            self.most_events = MOST_EVENTS;
        }
    }
}
