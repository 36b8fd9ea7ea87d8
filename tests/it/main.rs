//! The promises, at the public surface: one file per promise.
