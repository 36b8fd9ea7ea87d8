//! The example `service`.
