//! What is measured, each in a process of its own: commands come as lines on its standard input,
//! answers go as lines to its standard output.
//!
//! | command | answer |
//! |---|---|
//! | `connect` | `ready`, once all clients are connected and subscribed |
//! | `counts` | messages received, and errors |
//! | `go` | `ok`; the publisher threads begin |
//! | `halt` | how many messages were published; the publisher threads have ended |
//! | `echo <ms>` | how many round trips, and their quantiles in nanoseconds |
//! | `clear`, `latency` | `ok`; the quantiles of the times from the intended time, in nanoseconds |
//! | `quit` | how long it took to stop all clients, in microseconds; then the process ends |

pub(crate) mod bare;
pub(crate) mod check;
pub(crate) mod commands;
pub(crate) mod histogram;
pub(crate) mod job;
pub(crate) mod ours;
pub(crate) mod publishers;
pub(crate) mod raw;
