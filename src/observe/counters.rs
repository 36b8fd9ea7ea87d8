//! What happened to each client, in numbers.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::observe::ledger::Ledger;

/// Makes the live counters and their public snapshot from one list, so that they can't differ.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts of one client, or of all together, since the start of the fleet.
        ///
        /// Read from running counters one after the other: while a client runs, two of them may
        /// be a moment apart.
        ///
        /// ```
        /// use mqtt_fleet::Stats;
        ///
        /// fn waiting(stats: &Stats) -> u64 {
        ///     // While clients run, the figures may be a moment apart.
        ///     let done = stats.handled + stats.unmatched + stats.dropped + stats.repeated;
        ///     stats.received.saturating_sub(done)
        /// }
        /// assert_eq!(waiting(&Stats::default()), 0);
        /// assert_eq!(Stats::default().to_string(), "published: accepted 0");
        /// ```
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// What became of each published message.
            pub published: Ledger,
        }

        /// The counts that are not 0, by the names of their fields, and the ledger:
        /// `connects 1, received 7, handled 7, published: accepted 7, acknowledged 7`.
        impl fmt::Display for Stats {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(if self.$name > 0 {
                    let name = stringify!($name).replace('_', " ");
                    write!(f, "{name} {}, ", self.$name)?;
                })*
                write!(f, "published: {}", self.published)
            }
        }

        impl std::ops::AddAssign for Stats {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
                self.published += other.published;
            }
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn stats(&self, published: Ledger) -> Stats {
                Stats { $($name: self.$name.get(),)* published }
            }
        }
    };
}

counters! {
    /// CONNACKs with return code 0.
    connects,
    /// Failed attempts: connects that failed and connections that ended before they were stable.
    failed_attempts,
    /// Live connections that ended without being stopped.
    losses,
    /// Messages received from the broker.
    received,
    /// Messages whose handlers have all returned, or that the application has dropped.
    handled,
    /// Messages that no handler's filter matched.
    unmatched,
    /// QoS 0 messages dropped because the client's share of the queue was full, in
    /// messages or in bytes.
    dropped,
    /// Messages that arrived after the client had been told to stop, and are not counted as
    /// received: dropped at QoS 0; at QoS 1 and 2 not acknowledged, so that a broker that keeps the
    /// session sends them again.
    after_stop,
    /// QoS 2 messages that the broker repeated: they were delivered before and are not again.
    repeated,
    /// Calls of a handler or the dead-letter function that returned an error.
    handler_errors,
    /// Calls of a handler or the dead-letter function that panicked.
    handler_panics,
    /// Messages given to the dead-letter function.
    dead_letters,
    /// Calls of a pub function.
    ticks,
    /// Calls of a pub function that were due and left out: the client was not connected, or the
    /// publisher thread came too late for them.
    missed_ticks,
    /// Calls of a pub function that returned an error.
    pub_errors,
    /// Calls of a pub function that panicked.
    pub_panics,
    /// Published messages that were given up because the broker closed the connection on each of them
    /// again and again.
    given_up,
    /// Calls of the state callback that panicked.
    callback_panics,
    /// Subscriptions that the broker refused.
    refused_subscriptions,
    /// Subscriptions that the broker granted with a lower quality of service than asked for.
    lowered_subscriptions,
}

/// A number that only grows. Relaxed: it orders nothing, it is only read as a figure.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
