//! What follows from each event of a connection.

use std::time::Instant;

use crate::{
    client::client_loop::ClientLoop,
    engine::{Event, WakePacket},
    observe::{
        cause::Cause, log_lines::what, report::LoweredSubscription, state::Outcome, thinning::About,
    },
    outbox::entry::Progress,
    session::{packet::Control, subscriptions::Shortfall},
    spec::{
        outbox::{OnLowered, RefusedSubscription},
        qos::QoS,
    },
};

/// What a SUBACK may have to wait behind for long.
const LARGE: usize = 64 * 1024;

/// How a connection goes on after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    /// Our DISCONNECT was sent.
    Disconnected,
}

impl ClientLoop {
    /// Handles an event, and what else happened in the same wake-up.
    #[inline(never)]
    pub(super) fn handle_all(&mut self, first: Event) -> Result<Flow, Cause> {
        let mut next = Some(first);
        while let Some(event) = next {
            if self.handle(event)? == Flow::Disconnected {
                // What was sent before it has gone out with it.
                self.member.outbox.apply(&mut self.progress);
                return Ok(Flow::Disconnected);
            }
            next = self.engine.buffered();
        }
        Ok(Flow::Continue)
    }

    /// Handles what has arrived meanwhile: with a flood, more than one wake-up brings.
    #[inline(never)]
    pub(super) fn drain_socket(&mut self) -> Result<(), Cause> {
        let read = self.read_and_handle();
        // Also behind an error: what was answered counts as answered.
        let answered = self.engine.end_read();
        read.and(answered)
    }

    fn read_and_handle(&mut self) -> Result<(), Cause> {
        while let Some(event) = self.engine.try_read()? {
            self.handle(event)?;
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<Flow, Cause> {
        match event {
            Event::Received(received) => {
                if received.content.len() > LARGE {
                    // A SUBACK may have waited behind it.
                    self.member.subscriptions.lock().wait_anew(Instant::now());
                }
                self.dispatch
                    .deliver(received)
                    .map_err(|violation| Cause::Protocol {
                        message: violation.to_string(),
                    })?;
            }
            Event::Subscribed { packet_id, granted } => {
                self.progress.push(Progress::Answered { packet_id });
                self.subscribed(packet_id, &granted)?;
            }
            Event::Unsubscribed { packet_id } => {
                self.progress.push(Progress::Answered { packet_id });
                self.member.subscriptions.lock().unsubscribed(packet_id);
            }
            event => return Ok(self.apply(&event)),
        }
        Ok(Flow::Continue)
    }

    /// What counts also when it is found behind the end of the connection.
    pub(super) fn apply(&mut self, event: &Event) -> Flow {
        match *event {
            Event::Acknowledged { packet_id } => {
                self.progress.push(Progress::Acknowledged { packet_id });
            }
            Event::Released { packet_id } => {
                self.progress.push(Progress::Released { packet_id });
            }
            Event::Completed { packet_id } => self.dispatch.source().acks.completed(packet_id),
            Event::PingAnswered => self.progress.push(Progress::PingAnswered),
            Event::WakeSent(carried) => {
                self.progress.push(Progress::WakeSent);
                match carried {
                    WakePacket::Subscribe { packet_id } => {
                        self.member.subscriptions.lock().written(packet_id);
                    }
                    WakePacket::Unsubscribe { packet_id } => {
                        self.member
                            .subscriptions
                            .lock()
                            .unsubscribe_written(packet_id);
                    }
                    WakePacket::Disconnect => return Flow::Disconnected,
                    WakePacket::Other => {}
                }
            }
            Event::Received(_) | Event::Subscribed { .. } | Event::Unsubscribed { .. } => {}
        }
        Flow::Continue
    }

    #[inline(never)]
    fn subscribed(&mut self, packet_id: u16, granted: &[Option<QoS>]) -> Result<(), Cause> {
        let answered = {
            let mut subscriptions = self.member.subscriptions.lock();
            let answered = subscriptions.answered(packet_id, granted);
            for packet in subscriptions.ask(self.member.max_packet_size, Instant::now()) {
                self.member.outbox.control(Control::Subscribe(packet));
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
            let subscriptions = self.member.subscriptions.lock();
            let all_answered = subscriptions.all_answered();
            self.answered |= all_answered;
            self.member.status.set_subscribed(all_answered);
        }
        if self.ending.is_some() {
            self.member.stop();
        }
        Ok(())
    }

    fn refused(&mut self, filter: String) {
        let about = About {
            what: what::REFUSED,
            place: &filter,
            text: "",
        };
        let name = &self.member.name;
        self.member.log.warn(
            &about,
            format_args!("client {name}: the broker refused {filter:?}"),
        );
        self.member.counters.refused_subscriptions.increment();
        self.member.status.refused_subscription(filter.clone());
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
        self.member.log.warn(
            &about,
            format_args!(
                "client {}: the broker lowered {filter:?}: asked for QoS {}, granted QoS {}",
                self.member.name,
                u8::from(asked),
                u8::from(granted)
            ),
        );
        self.member.counters.lowered_subscriptions.increment();
        self.member.status.lowered_subscription(lowered);
        if self.member.on_lowered == OnLowered::EndClient {
            self.ending = Some(Outcome::SubscriptionLowered {
                filter,
                asked,
                granted,
            });
        }
    }
}
