//! The promises, at the public surface: one file per promise.

// Clippy takes only the `#[test]` functions themselves for tests; the helpers around them are too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod acks;
mod birth;
mod birth_again;
mod chaos;
mod chaos_mosquitto;
mod chaos_proxy;
mod coalesced;
mod credentials;
mod demo1;
#[cfg(feature = "files")]
mod demo1a;
mod demo1b;
mod demo2;
mod dispatch;
mod drain;
mod drain_ends;
mod fuzz;
mod handlers;
mod handlers_that_publish;
mod hostile;
mod isolation;
mod matrix_connecting;
mod matrix_lines;
mod matrix_map;
mod matrix_packets;
mod matrix_sides;
mod matrix_signals;
mod matrix_stages;
mod memory;
mod on_mosquitto;
mod outbox_policies;
mod outcomes;
mod overflow;
mod pub_functions;
mod publish;
mod publish_again;
mod pull;
mod qos2_on_mosquitto;
mod qos2_received;
mod qos2_sent;
mod receipts;
mod receipts_end;
mod receipts_waited_for;
mod refusals;
mod refused_subscription;
mod retry;
mod scale;
mod secrets;
mod sent_again;
mod shards;
mod signals;
mod soak;
#[cfg(feature = "files")]
mod spec_files;
mod start_checks;
mod start_limits;
mod states;
mod stop;
mod stop_from;
mod stop_goodbye;
mod stop_matrix;
mod stop_stuck;
mod subscriptions;
mod support;
mod support_works;
mod tidy;
mod traps;
mod window;
