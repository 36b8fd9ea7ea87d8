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
mod devices;
mod dispatch;
mod drain;
mod drain_ends;
mod drop_in;
mod error_texts;
mod failover;
#[cfg(feature = "files")]
mod file_secrets;
mod floods;
mod fuzz;
mod gateway;
mod handlers;
mod handlers_that_publish;
mod hostile;
mod isolation;
mod lateness;
mod log_lines;
mod lowered_subscription;
mod matrix_clock;
mod matrix_connecting;
mod matrix_lines;
mod matrix_map;
mod matrix_names;
mod matrix_packets;
mod matrix_sides;
mod matrix_signals;
mod matrix_stages;
mod matrix_twins;
mod memory;
mod next_connection;
mod on_mosquitto;
mod operations;
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
mod report_problems;
mod retry;
mod rumqttc_contract;
mod scale;
mod scale_pace;
mod secrets;
mod sent_again;
mod service;
mod shards;
mod shared;
mod signals;
mod signals_any_time;
mod soak;
#[cfg(feature = "files")]
mod spec_files;
mod start_checks;
mod start_limits;
mod states;
mod stop;
mod stop_from;
mod stop_from_own;
mod stop_goodbye;
mod stop_matrix;
mod stop_orderly;
mod stop_stuck;
mod stop_under_traffic;
mod subscriptions;
mod support;
mod support_works;
#[cfg(feature = "files")]
mod templates;
mod tidy;
mod tls;
#[cfg(feature = "tls")]
mod tls_files;
mod transports;
mod traps;
mod tutorial;
mod unix_socket;
mod websocket;
mod window;
