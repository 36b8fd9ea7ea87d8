//! What a worker has handled and not yet acknowledged, because it acknowledges several together.
//!
//! It belongs to the thread and not to the worker's loop: a handler that stops its client or the
//! fleet is inside that loop, and what was handled before it has to be acknowledged and counted
//! while the connection is there.

use std::{cell::RefCell, sync::Arc};

use crate::receive::{
    message::Message,
    source::{Settled, Source},
};

#[derive(Default)]
struct Held {
    /// Of one client, whose batch this worker is in.
    source: Option<Arc<Source>>,
    settled: Settled,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// Lets go of a message that was handled. Says how many acknowledgements are held now.
pub(crate) fn hold(message: Message) -> usize {
    HELD.with_borrow_mut(|held| {
        if held.source.is_none() {
            held.source = Some(Arc::clone(message.source()));
        }
        message.let_go(&mut held.settled);
        held.settled.tickets.len()
    })
}

/// Acknowledges and counts what this thread holds: nothing on any thread but a worker.
pub(crate) fn settle() {
    // Fails at the end of a thread, which then holds nothing any more.
    let _ = HELD.try_with(|held| {
        let held = &mut *held.borrow_mut();
        if let Some(source) = held.source.take() {
            source.settle(&mut held.settled);
        }
    });
}
