//! An MQTT 3.1.1 broker inside the process, for tests and demos (feature `testing`).
//!
//! [`TestBroker`] routes, keeps retained messages, sessions and wills, and does QoS 0, 1 and 2 by
//! the standard. It can be told to misbehave as brokers and networks do, and it records every
//! packet, so that a test can wait for what it expects instead of sleeping.
//!
//! It is a test kit and no product: no bound on any queue, no persistence, no promise about speed.
//!
//! ```
//! use std::{io::Write, net::TcpStream, time::Duration};
//! use mqtt_fleet::testing::{Direction, Packet, TestBroker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = TestBroker::start()?; // give `broker.url()` to the program under test
//! let mut client = TcpStream::connect(broker.addr())?;
//! client.write_all(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02me")?; // CONNECT as "me"
//! broker.wait_connected(1, Duration::from_secs(5))?;
//! broker.kick("me");
//! broker.wait_disconnected("me", Duration::from_secs(5))?;
//! assert_eq!(broker.connects("me"), 1);
//! # Ok(())
//! # }
//! ```

mod broker;
mod connection;
mod control;
mod faults;
mod hub;
mod listener;
mod observe;
mod opening;
mod packet;
mod reader;
mod record;
mod router;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod wire;

pub use broker::{Sessions, TestBroker, TestBrokerBuilder};
pub use faults::ConnectReply;
pub use packet::{Packet, WillMessage};
pub use record::{Counts, Direction, Seen, WaitError};
