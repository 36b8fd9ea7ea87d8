//! An MQTT 3.1.1 broker inside the process, for tests and demos (feature `testing`).
//!
//! [`TestBroker`] routes, keeps retained messages, sessions and wills, and does QoS 0, 1 and 2 by
//! the standard. It can be told to misbehave as brokers and networks do, and it records every
//! packet, so that a test can wait for what it expects instead of sleeping.
//!
//! It is a test kit and no product: no bound on any queue, no persistence, no promise about speed.
//!
//! A test of a program that must not lose its message when the line breaks:
//!
//! ```
//! use std::time::Duration;
//! use mqtt_fleet::{ClientSpec, Fleet, QoS, testing::TestBroker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limit = Duration::from_secs(10);
//! let broker = TestBroker::start()?;
//! broker.cut_after_bytes_from("gw", 12); // in the middle of its first PUBLISH
//! let gateway = ClientSpec::new("gw", broker.url()).client_id("gw");
//! let fleet = Fleet::builder().client(gateway).start()?;
//! let receipt = fleet.client("gw")?.publish("plant/temp", QoS::AtLeastOnce, false, "21.5")?;
//! receipt.wait_timeout(limit)?;
//! assert_eq!(broker.published("plant/temp"), ["21.5"]);
//! assert_eq!(broker.connects("gw"), 2);
//! assert_eq!(fleet.stop(limit).exit_code(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # What it can do wrong
//!
//! | what | by |
//! |---|---|
//! | CONNECT refused, answered late, never, or with garbage | [`TestBroker::on_connect`], [`TestBroker::on_connect_raw`] |
//! | SUBSCRIBE refused, granted with less, or never answered | [`TestBroker::fail_subscribe`], [`TestBroker::lower_subscribe`], [`TestBroker::never_suback`] |
//! | PINGREQ answered late or never | [`TestBroker::on_ping`] |
//! | PUBACK, PUBREC, PUBCOMP late, never, or in the wrong order | [`TestBroker::hold_acks`], [`TestBroker::release_acks_reversed`] |
//! | any packet twice | [`TestBroker::send_twice`] |
//! | a wrong packet, or one with a wrong identifier | [`TestBroker::send_packet`] |
//! | garbage instead of an answer | keep the answer back by one of these, then [`TestBroker::send_raw`] |
//! | packets in pieces, or a trickle of bytes | [`TestBroker::write_in_pieces`] |
//! | a broker that reads slowly, or not at all | [`TestBroker::read_slowly`], [`TestBroker::stop_reading`] |
//! | a connection that ends: now, with FIN or RST | [`TestBroker::kick`], [`TestBroker::cut`] |
//! | the same after some packets or bytes | [`TestBroker::cut_after`], [`TestBroker::cut_after_bytes_to`], [`TestBroker::cut_after_bytes_from`] |
//! | a line that is dead and does not say so | [`TestBroker::silence`] |
//! | a broker that goes away and comes back, with or without its sessions | [`TestBroker::stop`], [`TestBroker::restart`] |
//!
//! What is set for a client goes by its client id, which is not its name in a fleet unless it is
//! set: see [`ClientSpec::client_id`](crate::ClientSpec::client_id).

mod broker;
mod connection;
mod control;
mod delivery;
mod effects;
mod encode;
mod faults;
mod hub;
mod listener;
mod misbehave;
mod observe;
mod opening;
mod packet;
mod reader;
mod record;
mod replies;
mod router;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod wire;
mod writer;

pub use broker::{Sessions, TestBroker, TestBrokerBuilder};
pub use faults::{ConnectReply, PingReply};
pub use packet::{Packet, WillMessage};
pub use record::{Counts, Direction, Seen, WaitError};
