//! What happened on a connection, and what follows from it: how much is read in one wake-up, and who is
//! told of each event.

use crate::{
    client::{
        link::Happened,
        network::{Network, connection::LARGE},
        subscriptions::Shortfall,
    },
    publish::{
        message::{Control, Progress},
        outbox::BATCH_BYTES,
    },
    spec::{
        outbox::{OnLowered, RefusedSubscription},
        qos::QoS,
    },
    supervise::{
        cause::Cause, log_lines::what, outcome::Outcome, report::LoweredSubscription,
        thinning::About,
    },
};

/// rumqttc reads 9 packets for each run of its runtime. With so many events more, a flood costs little
/// for each message, and nobody waits long for what the outbox has meanwhile.
const MOST_READ_ON: usize = 144;

/// Where all of them are messages of QoS 0, nobody waits for an answer: it may be more, so that waking a
/// worker is worth it.
const MOST_READ_ON_AT_QOS_0: usize = 512;

/// Nor may they be more bytes: what a wake-up brings is handed over at its end.
const MOST_BYTES_READ_ON: usize = 64 * 1024;

// What rumqttc answers by itself meanwhile, 4 bytes for two events, may have to stay in the encoder, and a
// batch of the outbox has to fit behind it.
const _: () = assert!(MOST_READ_ON / 2 * 4 + BATCH_BYTES < 8 * 1024);

impl Network {
    /// Takes note of an event, and of what rumqttc has buffered behind it. Says whether our
    /// DISCONNECT was among them.
    pub(super) fn note_all(&mut self, first: Happened) -> Result<bool, Cause> {
        let mut next = Some(first);
        while let Some(happened) = next {
            if self.note(happened)? {
                // Flushed with the DISCONNECT: what was fed before it has gone out.
                self.core.outbox.note(&mut self.progress);
                return Ok(true);
            }
            next = self.link.buffered();
        }
        Ok(false)
    }

    /// Takes note of what has arrived meanwhile: with a flood, more packets than rumqttc reads for
    /// each run of its runtime. Our DISCONNECT can't be among them.
    pub(super) fn read_on(&mut self) -> Result<(), Cause> {
        let read = self.note_arrived();
        // Also behind an error: what was answered counts as answered.
        let answered = self.link.answer();
        read.and(answered)
    }

    fn note_arrived(&mut self) -> Result<(), Cause> {
        let (mut events, mut bytes, mut most) = (0, 0, MOST_READ_ON_AT_QOS_0);
        while events < most && bytes < MOST_BYTES_READ_ON {
            let Some(happened) = self.link.arrived()? else {
                return Ok(());
            };
            match &happened {
                Happened::Received(received) if received.packet_id == 0 => {
                    bytes += received.content.len();
                }
                Happened::Received(received) => {
                    bytes += received.content.len();
                    most = MOST_READ_ON;
                }
                _ => most = MOST_READ_ON,
            }
            events += 1;
            self.note(happened)?;
        }
        // rumqttc's answer to the last one: left there, it would be all that the next call returns.
        while let Some(happened) = self.link.buffered() {
            self.note(happened)?;
        }
        Ok(())
    }

    /// Takes note of one event. Says whether it was our DISCONNECT.
    pub(super) fn note(&mut self, happened: Happened) -> Result<bool, Cause> {
        match happened {
            Happened::Received(received) => {
                if received.content.len() > LARGE {
                    // A SUBACK may have waited behind it.
                    self.core.subscriptions.lock().wait_anew();
                }
                self.dispatch
                    .deliver(received)
                    .map_err(|offense| Cause::Protocol {
                        message: offense.to_string(),
                    })?
            }
            Happened::Acknowledged { packet_id } => {
                self.progress.push(Progress::Acknowledged { packet_id });
            }
            Happened::Released { packet_id } => {
                self.progress.push(Progress::Released { packet_id });
            }
            Happened::Completed { packet_id } => self.dispatch.source().acks.completed(packet_id),
            Happened::PublishWritten { packet_id } => {
                self.progress.push(Progress::Written { packet_id });
            }
            Happened::SubscribeWritten { packet_id } => {
                self.progress.push(Progress::Used { packet_id });
                self.progress.push(Progress::Heard);
                self.core.subscriptions.lock().written(packet_id);
            }
            Happened::UnsubscribeWritten { packet_id } => {
                self.progress.push(Progress::Used { packet_id });
                self.progress.push(Progress::Heard);
                self.core
                    .subscriptions
                    .lock()
                    .unsubscribe_written(packet_id);
            }
            Happened::Unsubscribed { packet_id } => {
                self.core.subscriptions.lock().unsubscribed(packet_id);
            }
            Happened::AcknowledgementWritten => self.progress.push(Progress::Heard),
            Happened::Subscribed { packet_id, granted } => self.subscribed(packet_id, &granted)?,
            Happened::DisconnectWritten => return Ok(true),
            Happened::PingAnswered => self.progress.push(Progress::PingAnswered),
            Happened::Connected { .. } | Happened::Other => {}
        }
        Ok(false)
    }

    fn subscribed(&mut self, packet_id: u16, granted: &[Option<QoS>]) -> Result<(), Cause> {
        let answered = {
            let mut subscriptions = self.core.subscriptions.lock();
            let answered = subscriptions.answered(packet_id, granted);
            for packet in subscriptions.ask(self.core.max_packet_size) {
                self.core.outbox.control(Control::Subscribe(packet));
            }
            answered
        };
        let shortfalls = answered.ok_or_else(|| Cause::Protocol {
            message: "a SUBACK without a code for each filter".to_owned(),
        })?;
        // Told without the lock: a logger is foreign code.
        for shortfall in shortfalls {
            match shortfall {
                Shortfall::Refused(filter) => self.refused(filter),
                Shortfall::Lowered(lowered) => self.lowered(lowered),
            }
        }
        {
            // Last: whoever waits for the answers finds the refusals told.
            let subscriptions = self.core.subscriptions.lock();
            let all_answered = subscriptions.all_answered();
            self.answered |= all_answered;
            self.core.status.set_subscribed(all_answered);
        }
        if self.ending.is_some() {
            self.core.stop();
        }
        Ok(())
    }

    fn refused(&mut self, filter: String) {
        let about = About {
            what: what::REFUSED,
            place: &filter,
            text: "",
        };
        let name = &self.core.name;
        self.core.log.warn(
            &about,
            format_args!("client {name}: the broker refused {filter:?}"),
        );
        self.core.counters.refused_subscriptions.increment();
        self.core.status.refused_subscription(filter.clone());
        if self.on_refused_subscription == RefusedSubscription::EndClient {
            self.ending = Some(Outcome::SubscriptionRefused { filter });
        }
    }

    fn lowered(&mut self, lowered: LoweredSubscription) {
        let LoweredSubscription {
            filter,
            asked,
            granted,
        } = lowered.clone();
        let about = About {
            what: what::LOWERED,
            place: &filter,
            text: "",
        };
        self.core.log.warn(
            &about,
            format_args!(
                "client {}: the broker lowered {filter:?}: asked for QoS {}, granted QoS {}",
                self.core.name,
                u8::from(asked),
                u8::from(granted)
            ),
        );
        self.core.counters.lowered_subscriptions.increment();
        self.core.status.lowered_subscription(lowered);
        if self.core.on_lowered == OnLowered::EndClient {
            self.ending = Some(Outcome::SubscriptionLowered {
                filter,
                asked,
                granted,
            });
        }
    }
}
