//! The end of one message, before anybody asks for it: what a receipt looks at, and what wakes those that
//! wait for it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::supervise::stop::deadline_after;

/// All ends of a message, as they fit into an atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Disposition {
    Acknowledged = 1,
    Sent,
    Expired,
    Dropped,
    ConnectionLost,
    SessionLost,
    NotAcknowledged,
    GivenUp,
    Unsent,
}

const IN_PROGRESS: u8 = 0;

/// In progress, and a thread waits for the end.
const AWAITED: u8 = u8::MAX;

impl Disposition {
    fn of(byte: u8) -> Option<Self> {
        const ACKNOWLEDGED: u8 = Disposition::Acknowledged as u8;
        const SENT: u8 = Disposition::Sent as u8;
        const EXPIRED: u8 = Disposition::Expired as u8;
        const DROPPED: u8 = Disposition::Dropped as u8;
        const CONNECTION_LOST: u8 = Disposition::ConnectionLost as u8;
        const SESSION_LOST: u8 = Disposition::SessionLost as u8;
        const NOT_ACKNOWLEDGED: u8 = Disposition::NotAcknowledged as u8;
        const GIVEN_UP: u8 = Disposition::GivenUp as u8;
        Some(match byte {
            IN_PROGRESS | AWAITED => return None,
            ACKNOWLEDGED => Self::Acknowledged,
            SENT => Self::Sent,
            EXPIRED => Self::Expired,
            DROPPED => Self::Dropped,
            CONNECTION_LOST => Self::ConnectionLost,
            SESSION_LOST => Self::SessionLost,
            NOT_ACKNOWLEDGED => Self::NotAcknowledged,
            GIVEN_UP => Self::GivenUp,
            _ => Self::Unsent,
        })
    }
}

/// The threads that wait for receipts of one client: waiting is rare, publishing is not. Each waits for
/// one message, and only the end of that one wakes it.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    /// The block's address and the place in it: the receipt keeps the block for as long as this is here.
    completion: (usize, u8),
    thread: Thread,
}

/// The other end of a receipt.
#[derive(Clone)]
pub(crate) struct Completion {
    block: Arc<CompletionBlock>,
    at: u8,
}

/// Threads whose message has ended. Dropped, it wakes them.
#[derive(Debug, Default)]
pub(crate) struct Woken(Vec<Thread>);

impl Woken {
    /// Wakes them.
    pub(crate) fn wake(&mut self) {
        for thread in self.0.drain(..) {
            thread.unpark();
        }
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        self.wake();
    }
}

/// As many completions have one allocation. It is small enough that a receipt which is kept for long keeps
/// little.
const COMPLETIONS_OF_A_BLOCK: u8 = 64;

/// The completions of messages that were accepted one after the other.
struct CompletionBlock {
    dispositions: [AtomicU8; COMPLETIONS_OF_A_BLOCK as usize],
    /// Those that were given up, with their topics. Nearly always empty.
    given_up: Mutex<Vec<(u8, Arc<str>, u32)>>,
    waiters: Arc<Waiters>,
}

impl Completion {
    /// The message has ended. Those that wait for it are put into `woken`, to be woken once no lock is
    /// held: a call of the system for each would be made under it, and what they do first may take the
    /// same lock.
    pub(crate) fn end(&self, disposition: Disposition, woken: &mut Woken) {
        if self.cell().swap(disposition as u8, Ordering::AcqRel) == AWAITED {
            let key = self.key();
            let mut waiting = self.block.waiters.0.lock();
            while let Some(at) = waiting.iter().position(|it| it.completion == key) {
                woken.0.push(waiting.swap_remove(at).thread);
            }
        }
    }

    fn key(&self) -> (usize, u8) {
        (Arc::as_ptr(&self.block).addr(), self.at)
    }

    /// Whether it belongs to the same message.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.block, &other.block) && self.at == other.at
    }

    /// It is about to be given up: its receipt says which message it was.
    pub(crate) fn name(&self, topic: &str, times: u32) {
        let entry = (self.at, topic.into(), times);
        self.block.given_up.lock().push(entry);
    }

    /// The topic and the count that it was named with.
    pub(crate) fn given_up(&self) -> Option<(Arc<str>, u32)> {
        let given_up = self.block.given_up.lock();
        let entry = given_up.iter().find(|(at, ..)| *at == self.at);
        entry.map(|(_, topic, times)| (Arc::clone(topic), *times))
    }

    fn cell(&self) -> &AtomicU8 {
        // It is below: the remainder only lets the compiler see that there is nothing to check.
        &self.block.dispositions[usize::from(self.at % COMPLETIONS_OF_A_BLOCK)]
    }

    /// Waits for the end, at most this long. `None`: it has not ended.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Disposition> {
        if let Some(ended) = self.disposition() {
            return Some(ended);
        }
        let deadline = deadline_after(timeout);
        let waiters = &self.block.waiters;
        let this = thread::current();
        let id = this.id();
        let completion = self.key();
        waiters.0.lock().push(Waiting {
            completion,
            thread: this,
        });
        // Behind the entry: an end that sees this finds it.
        let _ =
            self.cell()
                .compare_exchange(IN_PROGRESS, AWAITED, Ordering::AcqRel, Ordering::Acquire);
        let ended = loop {
            if let Some(ended) = self.disposition() {
                break Some(ended);
            }
            // Either may end without a reason.
            match deadline {
                None => thread::park(),
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) => thread::park_timeout(left),
                    None => break self.disposition(),
                },
            }
        };
        // It is still there if the time was over, or if the message had ended before the mark.
        waiters
            .0
            .lock()
            .retain(|it| it.completion != completion || it.thread.id() != id);
        ended
    }

    /// How the message has ended, if it has.
    pub(crate) fn disposition(&self) -> Option<Disposition> {
        Disposition::of(self.cell().load(Ordering::Acquire))
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Completion")
            .field(&self.disposition())
            .finish()
    }
}

/// Where one client's completions come from.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    waiters: Arc<Waiters>,
    /// The next one.
    next: Option<Completion>,
}

impl Completions {
    /// A completion for a message that was just accepted.
    pub(crate) fn open(&mut self) -> Completion {
        let completion = self.next.take().unwrap_or_else(|| Completion {
            block: Arc::new(CompletionBlock {
                dispositions: [const { AtomicU8::new(IN_PROGRESS) };
                    COMPLETIONS_OF_A_BLOCK as usize],
                given_up: Mutex::default(),
                waiters: Arc::clone(&self.waiters),
            }),
            at: 0,
        });
        let at = completion.at + 1;
        if at < COMPLETIONS_OF_A_BLOCK {
            let block = Arc::clone(&completion.block);
            self.next = Some(Completion { block, at });
        }
        completion
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        outbox::receipt::{Delivery, Receipt, ReceiptError},
        supervise::thread::Thread,
    };

    #[test]
    fn each_message_has_a_slot_of_its_own() {
        let mut completions = Completions::default();
        let many = 3 * usize::from(COMPLETIONS_OF_A_BLOCK) + 1;
        let opened: Vec<_> = (0..many).map(|_| completions.open()).collect();
        let receipts: Vec<_> = opened.iter().cloned().map(Receipt::new).collect();
        let first = receipts[0].wait_timeout(Duration::from_millis(1));
        assert_eq!(first, Err(ReceiptError::Timeout));
        for (ended, completion) in opened.iter().enumerate() {
            assert_eq!(receipts.iter().filter(|it| it.is_done()).count(), ended);
            completion.end(Disposition::Acknowledged, &mut Woken::default());
            assert_eq!(receipts[ended].wait(), Ok(Delivery::Acknowledged));
        }
        drop(opened);
        drop(completions);
        assert!(
            receipts.iter().all(Receipt::is_done),
            "kept for longer than the client"
        );
    }

    #[test]
    fn who_waits_is_woken() {
        let mut completions = Completions::default();
        let completion = completions.open();
        let receipt = Receipt::new(completion.clone());
        let (told, result) = crossbeam_channel::bounded(1);
        let waiter = Thread::spawn("waiter", 128 * 1024, move || {
            told.send(receipt.wait()).unwrap();
        })
        .unwrap();
        completion.end(Disposition::Unsent, &mut Woken::default());
        assert_eq!(result.recv(), Ok(Err(ReceiptError::Unsent)));
        assert!(waiter.join_until(None));
    }

    /// Fails if the end of a message wakes a thread that waits for another one, or does not wake each that waits
    /// for it; or if a wait leaves something behind.
    #[test]
    fn an_end_wakes_those_that_wait_for_it_and_no_other() {
        let mut completions = Completions::default();
        let (one, other) = (completions.open(), completions.open());
        let list = Arc::clone(&completions.waiters);
        let n_waiting = || list.0.lock().len();
        assert_eq!(one.wait(Duration::ZERO), None);
        assert_eq!(n_waiting(), 0, "after a wait that timed out");
        // The last one waits for the other message.
        let receipts =
            [&one, &one, &one, &other].map(|completion| Receipt::new(completion.clone()));
        let (told, results) = crossbeam_channel::bounded(receipts.len());
        let waiters: Vec<_> = receipts
            .into_iter()
            .map(|receipt| {
                let told = told.clone();
                let wait = move || told.send(receipt.wait()).unwrap();
                Thread::spawn("waiter", 128 * 1024, wait).unwrap()
            })
            .collect();
        let is_awaited =
            |completion: &Completion| completion.cell().load(Ordering::SeqCst) == AWAITED;
        while n_waiting() < waiters.len() || !is_awaited(&one) || !is_awaited(&other) {
            thread::yield_now();
        }
        let mut woken = Woken::default();
        completions.open().end(Disposition::Sent, &mut woken);
        assert_eq!((woken.0.len(), n_waiting()), (0, 4));
        one.end(Disposition::Sent, &mut woken);
        assert_eq!((woken.0.len(), n_waiting()), (3, 1));
        other.end(Disposition::Sent, &mut woken);
        assert_eq!((woken.0.len(), n_waiting()), (4, 0));
        drop(woken);
        drop(told);
        let results: Vec<_> = results.iter().collect();
        assert_eq!(results, [Ok(Delivery::Sent); 4]);
    }
}
