//! Watching over threads: how they start, stop, wait, fail, and what is reported of them.
//!
//! This room knows nothing of MQTT traffic. The rooms above tell it what happened.

pub(crate) mod backoff;
pub(crate) mod cause;
pub(crate) mod counters;
pub(crate) mod lateness;
pub(crate) mod ledger;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod log_lines;
pub(crate) mod losses;
pub(crate) mod outcome;
pub(crate) mod pace;
pub(crate) mod panic;
pub(crate) mod refusals;
pub(crate) mod report;
pub(crate) mod signal;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod thinning;
pub(crate) mod thread;
pub(crate) mod wait;
