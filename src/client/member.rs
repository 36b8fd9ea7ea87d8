//! The record of a client: what its handles, its network thread and its fleet share.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    observe::{
        counters::Counters,
        log_lines::{ClientLog, FleetLog},
        status::Status,
    },
    outbox::Outbox,
    session::{ack_order::Acknowledgement, packet::Control, subscriptions::Subscriptions},
    spec::{
        outbox::OnLowered,
        settings::{Session, Settings},
    },
    supervise::{
        stop::{Intake, StopSignal, deadline_after},
        thread::Thread,
    },
};

/// For a thread that only waits.
const TIMER_STACK: usize = 128 * 1024;

/// A client, for as long as anything refers to it.
pub(crate) struct Member {
    /// Which client of its fleet it is. No other one ever has the same number.
    pub(crate) number: u64,
    pub(crate) name: Arc<str>,
    pub(crate) client_id: String,
    pub(crate) status: Status,
    pub(crate) outbox: Outbox,
    /// Locked before the outbox, never after it.
    pub(crate) subscriptions: Mutex<Subscriptions>,
    pub(crate) counters: Arc<Counters>,
    /// Closed before the signal below is raised.
    pub(crate) intake: Intake,
    pub(crate) stop: StopSignal,
    /// How long a client that is stopped on its own may take to send what it has.
    finish_within: Duration,
    pub(crate) max_packet_size: usize,
    pub(crate) on_lowered: OnLowered,
    keeps_session: bool,
    pub(crate) log: Arc<ClientLog>,
    /// Its network thread, once it was started.
    pub(crate) thread: OnceLock<Arc<Thread>>,
}

impl Member {
    pub(crate) fn new(
        number: u64,
        settings: &Settings,
        status: Status,
        finish_within: Duration,
        log: &Arc<FleetLog>,
        intake: Intake,
    ) -> Self {
        let name: Arc<str> = settings.name.as_str().into();
        Self {
            number,
            thread: OnceLock::new(),
            log: Arc::new(ClientLog::new(Arc::clone(&name), Arc::clone(log))),
            name,
            client_id: settings.client_id.clone().unwrap_or_default(),
            status,
            outbox: Outbox::new(settings.outbox.clone()),
            subscriptions: Mutex::new(
                Subscriptions::new(settings.subscriptions.clone())
                    .at_most(settings.filters_per_subscribe),
            ),
            counters: Arc::default(),
            intake,
            stop: StopSignal::default(),
            finish_within,
            max_packet_size: settings.max_packet_size,
            on_lowered: settings.lowered_subscription,
            keeps_session: settings.session == Session::Kept,
        }
    }

    /// Sends acknowledgements, if there still is a connection.
    pub(crate) fn acknowledge(&self, acknowledgements: &[Acknowledgement]) {
        let controls = acknowledgements.iter().map(|it| Control::Acknowledge {
            packet_id: it.packet_id,
            qos: it.qos,
        });
        self.outbox.controls(controls);
    }

    /// The filters that the broker's session may still have though nobody wants them any more, once
    /// the client has ended.
    pub(crate) fn unfinished_unsubscribes(&self) -> Vec<String> {
        match self.keeps_session {
            true => self.subscriptions.lock().unfinished_unsubscribes(),
            // A clean session has ended with its connection.
            false => Vec::new(),
        }
    }

    /// Stops this client on its own, as soon as a connected one has sent what it has.
    pub(crate) fn finish(self: &Arc<Self>) {
        self.intake.close();
        if self.outbox.finish(deadline_after(self.finish_within)) {
            return self.stop();
        }
        // The network thread may sleep for longer than that when no acknowledgement comes.
        let member = Arc::clone(self);
        let timer = Thread::spawn_knowing("stopper", TIMER_STACK, move |_| {
            let _ = member.status.wait_ended(member.finish_within);
            member.stop();
        });
        if timer.is_err() {
            self.stop();
        }
    }

    /// Stops the client at once: DISCONNECT is the next thing that it sends, behind acknowledgements.
    pub(crate) fn stop(&self) {
        self.intake.close();
        // In this order: whoever finds the outbox closed finds the signal raised.
        self.stop.raise();
        self.outbox.close();
        self.status.notify();
    }

    /// Waits until the client has ended or is told to stop, or something else that is announced by a
    /// notify.
    pub(crate) fn wait_over(&self, other: impl Fn() -> bool) {
        self.status
            .wait_ended_or(|| self.stop.is_raised() || other());
    }
}
