//! The outbox's lock: what becomes garbage while it is held is dropped when it has been given back.

use std::{
    mem,
    ops::{Deref, DerefMut},
};

use crate::outbox::{garbage::Garbage, state::State, sync::MutexGuard};

/// The state, while nobody else has it. The fields are dropped in this order.
pub(super) struct Guard<'a> {
    pub(super) state: MutexGuard<'a, State>,
    garbage: Garbage,
}

impl<'a> Guard<'a> {
    pub(super) fn new(state: MutexGuard<'a, State>) -> Self {
        Self {
            state,
            garbage: Garbage::default(),
        }
    }
}

impl Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.garbage = mem::take(&mut self.state.garbage);
    }
}
