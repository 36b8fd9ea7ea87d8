//! How one message ended: the receipt that `publish` returns.

use std::{fmt, time::Duration};

use crate::{
    observe::{
        cause::{Cause, in_a_row},
        stop_refusals,
    },
    outbox::completion::{Completion, Disposition},
};

/// Says how one message ended. Dropping it costs nothing and changes nothing.
///
/// The calls that wait block the caller's thread only. In a handler or pub function they block
/// its worker or the publisher thread, never a connection.
///
/// ```
/// use std::time::Duration;
/// use mqtt_fleet::{ClientSpec, Delivery, Fleet, QoS};
/// use mqtt_fleet::testing::TestBroker;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = TestBroker::start()?;
/// let fleet = Fleet::builder().client(ClientSpec::new("plant", broker.url())).start()?;
/// let receipt = fleet.client("plant")?.publish("gw/boot", QoS::AtLeastOnce, false, "1")?;
/// assert_eq!(receipt.wait_timeout(Duration::from_secs(5))?, Delivery::Acknowledged);
/// # Ok(())
/// # }
/// ```
pub struct Receipt(Completion);

/// How a message ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// QoS 1 and 2: the broker has it.
    Acknowledged,
    /// QoS 0: it was written to the connection.
    Sent,
}

/// How a message ended otherwise, or that it has not ended.
///
/// ```
/// use mqtt_fleet::ReceiptError;
///
/// fn may_have_arrived(error: ReceiptError) -> bool {
///     matches!(error, ReceiptError::Timeout | ReceiptError::Failed(_))
/// }
/// # let _ = may_have_arrived;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// It has not ended within the time; it is still in progress.
    #[error("the message has not ended yet")]
    Timeout,
    /// It grew older than the client's `max_age` before it could be sent.
    #[error("the message expired before it could be sent")]
    Expired,
    /// The full outbox dropped it to make room for a newer one.
    #[error("the message was dropped for a newer one")]
    Dropped,
    /// It was sent, and what became of it can't be known any more.
    #[error("the message was sent, but {0}")]
    Failed(FailedCause),
    /// The client ended before it was sent.
    #[error("the message was not sent: the client has ended")]
    Unsent,
}

crate::spec::readable::debug_is_text!(ReceiptError);

/// Why it can't be known what became of a sent message.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailedCause {
    /// QoS 0: the connection broke while it was written, and it must not be repeated.
    #[error("the connection broke while it was written")]
    ConnectionLost,
    /// The broker lost the session, and the client repeats only with one.
    #[error("the session was lost before it was acknowledged")]
    SessionLost,
    /// The client ended first.
    #[error("the client ended before it was acknowledged")]
    NotAcknowledged,
    /// The broker closed the connection on this message again and again: see
    /// [`ClientSpec::max_closes`](crate::ClientSpec::max_closes). It may be too large for the broker,
    /// or not allowed; MQTT 3.1.1 gives a broker no other way to say so. [`Receipt::cause`] names the
    /// topic.
    #[error("the broker closed the connection on it{}", in_a_row(*times))]
    BrokerCloses {
        /// How many connections ended on it, one after the other.
        times: u32,
    },
}

crate::spec::readable::debug_is_text!(FailedCause);

impl Receipt {
    pub(crate) fn new(completion: Completion) -> Self {
        Self(completion)
    }

    /// Waits until the message has ended, for as long as it takes. While the client is away that
    /// can be long; a client that ends ends its messages.
    ///
    /// # Errors
    ///
    /// How it ended otherwise; never [`ReceiptError::Timeout`].
    pub fn wait(&self) -> Result<Delivery, ReceiptError> {
        self.ended(self.0.wait(Duration::MAX))
            .unwrap_or(Err(ReceiptError::Timeout))
    }

    /// Waits until the message has ended, at most this long.
    ///
    /// # Errors
    ///
    /// How it ended otherwise, or [`ReceiptError::Timeout`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Delivery, ReceiptError> {
        self.ended(self.0.wait(timeout))
            .unwrap_or(Err(ReceiptError::Timeout))
    }

    /// How the message ended, or `None` if it has not. Never waits.
    pub fn try_result(&self) -> Option<Result<Delivery, ReceiptError>> {
        self.ended(self.0.disposition())
    }

    /// Why the message was given up, if it was: [`Cause::ClosedOn`], which names its topic. Never waits.
    pub fn cause(&self) -> Option<Cause> {
        let (topic, times) = self.0.given_up()?;
        Some(Cause::ClosedOn {
            topic: topic.as_ref().to_owned(),
            times,
        })
    }

    /// Whether the message has ended, of whatever kind. Never waits.
    pub fn is_done(&self) -> bool {
        self.0.disposition().is_some()
    }

    /// What an end means for the caller. A handler that learns of an end which a stop has brought about
    /// has not done what it was called for, as if its message had been refused.
    fn ended(&self, disposition: Option<Disposition>) -> Option<Result<Delivery, ReceiptError>> {
        let result = self.result_of(disposition?);
        if matches!(
            result,
            Err(ReceiptError::Unsent | ReceiptError::Failed(FailedCause::NotAcknowledged))
        ) {
            stop_refusals::record();
        }
        Some(result)
    }

    fn result_of(&self, disposition: Disposition) -> Result<Delivery, ReceiptError> {
        let cause = match disposition {
            Disposition::Acknowledged => return Ok(Delivery::Acknowledged),
            Disposition::Sent => return Ok(Delivery::Sent),
            Disposition::Expired => return Err(ReceiptError::Expired),
            Disposition::Dropped => return Err(ReceiptError::Dropped),
            Disposition::Unsent => return Err(ReceiptError::Unsent),
            Disposition::ConnectionLost => FailedCause::ConnectionLost,
            Disposition::SessionLost => FailedCause::SessionLost,
            Disposition::NotAcknowledged => FailedCause::NotAcknowledged,
            Disposition::GivenUp => FailedCause::BrokerCloses {
                times: self.0.given_up().map_or(0, |(_, times)| times),
            },
        };
        Err(ReceiptError::Failed(cause))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
<<<<<<< HEAD
        let result = self.0.disposition().map(|it| self.result_of(it));
        f.debug_tuple("Receipt").field(&result).finish()
=======
        f.debug_tuple("Receipt").field(&self.0.result()).finish()
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
        if self.disposition().swap(disposition as u8, Ordering::AcqRel) == AWAITED {
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

    fn given_up(&self) -> Option<(Arc<str>, u32)> {
        let given_up = self.block.given_up.lock();
        let entry = given_up.iter().find(|(at, ..)| *at == self.at);
        entry.map(|(_, topic, times)| (Arc::clone(topic), *times))
    }

    fn disposition(&self) -> &AtomicU8 {
        // It is below: the remainder only lets the compiler see that there is nothing to check.
        &self.block.dispositions[usize::from(self.at % COMPLETIONS_OF_A_BLOCK)]
    }

    fn wait(&self, timeout: Duration) -> Result<Delivery, ReceiptError> {
        if let Some(result) = self.result() {
            return result;
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
        let _ = self.disposition().compare_exchange(
            IN_PROGRESS,
            AWAITED,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        let result = loop {
            if let Some(result) = self.result() {
                break result;
            }
            // Either may end without a reason.
            match deadline {
                None => thread::park(),
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) => thread::park_timeout(left),
                    None => break self.result().unwrap_or(Err(ReceiptError::Timeout)),
                },
            }
        };
        // It is still there if the time was over, or if the message had ended before the mark.
        waiters
            .0
            .lock()
            .retain(|it| it.completion != completion || it.thread.id() != id);
        result
    }

    fn result(&self) -> Option<Result<Delivery, ReceiptError>> {
        const ACKNOWLEDGED: u8 = Disposition::Acknowledged as u8;
        const SENT: u8 = Disposition::Sent as u8;
        const EXPIRED: u8 = Disposition::Expired as u8;
        const DROPPED: u8 = Disposition::Dropped as u8;
        const CONNECTION_LOST: u8 = Disposition::ConnectionLost as u8;
        const SESSION_LOST: u8 = Disposition::SessionLost as u8;
        const GIVEN_UP: u8 = Disposition::GivenUp as u8;
        const NOT_ACKNOWLEDGED: u8 = Disposition::NotAcknowledged as u8;
        match self.disposition().load(Ordering::Acquire) {
            IN_PROGRESS | AWAITED => None,
            ACKNOWLEDGED => Some(Ok(Delivery::Acknowledged)),
            SENT => Some(Ok(Delivery::Sent)),
            EXPIRED => Some(Err(ReceiptError::Expired)),
            DROPPED => Some(Err(ReceiptError::Dropped)),
            CONNECTION_LOST => Some(Err(ReceiptError::Failed(FailedCause::ConnectionLost))),
            SESSION_LOST => Some(Err(ReceiptError::Failed(FailedCause::SessionLost))),
            NOT_ACKNOWLEDGED => Some(Err(ReceiptError::Failed(FailedCause::NotAcknowledged))),
            GIVEN_UP => {
                let times = self.given_up().map_or(0, |(_, times)| times);
                let cause = FailedCause::BrokerCloses { times };
                Some(Err(ReceiptError::Failed(cause)))
            }
            _ => Some(Err(ReceiptError::Unsent)),
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Completion").field(&self.result()).finish()
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
    use crate::supervise::thread::Thread;

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
        assert_eq!(one.wait(Duration::ZERO), Err(ReceiptError::Timeout));
        assert_eq!(n_waiting(), 0, "after a wait in vain");
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
            |completion: &Completion| completion.disposition().load(Ordering::SeqCst) == AWAITED;
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
>>>>>>> house
    }
}
