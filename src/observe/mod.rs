//! What is known of a client and told: states, causes, outcomes, counters, log lines, the report.

pub(crate) mod cause;
pub(crate) mod changes;
pub(crate) mod counters;
pub(crate) mod failure;
pub(crate) mod lateness;
pub(crate) mod ledger;
pub(crate) mod log_lines;
pub(crate) mod losses;
pub(crate) mod report;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod stop_refusals;
pub(crate) mod thinning;
pub(crate) mod wait;
