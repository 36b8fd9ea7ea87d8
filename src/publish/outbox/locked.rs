//! The outbox's lock: what is spent while it is held is dropped when it has been given back.

use std::{
    mem,
    ops::{Deref, DerefMut},
};

use parking_lot::MutexGuard;

use crate::publish::{
    message::Outgoing,
    outbox::{books::Books, queue::Queue},
    receipt::Woken,
};

/// What the outbox has done with and nobody has dropped yet: a payload may be of the user's own type,
/// whose `Drop` may call us, and large memory takes its time.
#[derive(Debug, Default)]
pub(super) struct Spent {
    #[expect(clippy::vec_box, reason = "they are boxed already: this moves a word")]
    pub(super) messages: Vec<Box<Outgoing>>,
    /// Nothing waits in these any more.
    pub(super) memory: Vec<Queue>,
    /// Those that waited for messages which have ended.
    pub(super) woken: Woken,
}

/// The books, while nobody else has them. The fields are dropped in this order.
pub(super) struct Locked<'a> {
    pub(super) books: MutexGuard<'a, Books>,
    spent: Spent,
}

impl<'a> Locked<'a> {
    pub(super) fn new(books: MutexGuard<'a, Books>) -> Self {
        Self {
            books,
            spent: Spent::default(),
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Books;

    fn deref(&self) -> &Books {
        &self.books
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Books {
        &mut self.books
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.spent = mem::take(&mut self.books.spent);
    }
}
