//! From a host to an address, on the client's own thread.
//!
//! rumqttc would look names up on a thread of its runtime, one more for each client for ten
//! seconds, and dropping that runtime waits for it. So rumqttc is only ever given addresses.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::{spec::broker::Address, supervise::cause::Cause};

#[derive(Debug)]
pub(crate) struct Resolver {
    address: Address,
    /// How many attempts there were: each begins with the next address of the name.
    turn: usize,
}

impl Resolver {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, turn: 0 }
    }

    /// The addresses of the host, beginning with another one each time. Blocks as long as the
    /// system's name service does.
    pub(crate) fn resolve(&mut self) -> Result<Vec<SocketAddr>, Cause> {
        let Address { host, port } = &self.address;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, *port)]);
        }
        let not_resolved = |message: String| Cause::Resolve {
            host: host.clone(),
            message,
        };
        let mut addresses: Vec<_> = (host.as_str(), *port)
            .to_socket_addrs()
            .map_err(|error| not_resolved(error.to_string()))?
            .collect();
        if addresses.is_empty() {
            return Err(not_resolved("it has no address".to_owned()));
        }
        let first = self.turn % addresses.len();
        addresses.rotate_left(first);
        self.turn = self.turn.wrapping_add(1);
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(host: &str) -> Resolver {
        Resolver::new(Address {
            host: host.to_owned(),
            port: 7,
        })
    }

    #[test]
    fn addresses_are_taken_as_they_are_and_names_looked_up() {
        let literal = resolver("::1").resolve().unwrap();
        assert_eq!(literal, ["[::1]:7".parse().unwrap()]);
        let name = resolver("localhost").resolve().unwrap();
        assert!(name.iter().all(|address| address.ip().is_loopback()));
        let nothing = resolver("no-such-host.invalid").resolve().unwrap_err();
        assert!(matches!(nothing, Cause::Resolve { .. }), "{nothing}");
    }
}
