//! The thread bill: what a fleet costs, by kind.

/// How many threads a fleet has.
///
/// A client's thread is counted until its end is announced. The thread that listens to signals
/// belongs to the process and is not counted.
///
/// ```
/// use mqtt_fleet::ThreadCount;
///
/// fn line(bill: &ThreadCount) -> String {
///     format!("current threads = {}", bill.total())
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadCount {
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    pub(crate) publishers: usize,
}

impl ThreadCount {
    /// One for each client that has not ended.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// Threads that run handlers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Threads that call pub functions.
    pub fn publishers(&self) -> usize {
        self.publishers
    }

    /// All of them and the caller's own: clients + 1 for a fleet without handlers, pub functions
    /// and state callback.
    pub fn total(&self) -> usize {
        self.clients + self.workers + self.publishers + 1
    }
}
