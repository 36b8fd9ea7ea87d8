//! From a broker's address to what rumqttc is given, on the client's own thread.
//!
//! rumqttc would look names up on a thread of its runtime, one more for each client for ten
//! seconds, and dropping that runtime waits for it. So it is given addresses, but for `mqtts`
//! with a host name: there it has one text for the address and for the name that the broker
//! needs to choose a certificate. That name is looked up here first all the same: what the name
//! service says or keeps to itself then is as with any other broker.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::{
    spec::address::{Address, Scheme},
    supervise::cause::Cause,
};

/// What rumqttc is to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hop {
    Address(SocketAddr),
    /// The host's name, which rumqttc looks up once more.
    Name,
    /// The file of a socket.
    File,
}

#[derive(Debug)]
pub(crate) struct Resolver {
    address: Address,
    /// The address that was tried last, and whether a connection to it was stable since.
    last: Option<(SocketAddr, bool)>,
}

impl Resolver {
    pub(crate) fn new(address: Address) -> Self {
        let last = None;
        Self { address, last }
    }

    /// The ways to the broker, the most promising one first. Blocks as long as the system's name
    /// service does.
    pub(crate) fn resolve(&self) -> Result<(Address, Vec<Hop>), Cause> {
        let hops = match &self.address {
            Address::Unix(_) => vec![Hop::File],
            Address::Network {
                scheme, host, port, ..
            } => {
                if let Ok(address) = host.parse::<IpAddr>() {
                    vec![Hop::Address(SocketAddr::new(address, *port))]
                } else {
                    let addresses = self.in_turn(look_up(host, *port)?);
                    match scheme {
                        Scheme::Mqtts => vec![Hop::Name],
                        _ => addresses.into_iter().map(Hop::Address).collect(),
                    }
                }
            }
        };
        Ok((self.address.clone(), hops))
    }

    /// This way is tried now. Until more is known, the next attempt begins with the one behind it:
    /// an address that swallows everything must not use up all attempts.
    pub(crate) fn trying(&mut self, hop: &Hop) {
        if let Hop::Address(address) = hop {
            self.last = Some((*address, false));
        }
    }

    /// The connection was stable: the next attempt begins where it was.
    pub(crate) fn was_stable(&mut self) {
        if let Some((_, was_stable)) = &mut self.last {
            *was_stable = true;
        }
    }

    /// By the address and not by its place: the name service may give another order each time.
    fn in_turn(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        if let Some((last, was_stable)) = self.last {
            if let Some(at) = addresses.iter().position(|address| *address == last) {
                let first = if was_stable { at } else { at + 1 };
                let n = addresses.len();
                addresses.rotate_left(first % n);
            }
        }
        addresses
    }
}

/// At least one address.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Cause> {
    let not_resolved = |message: String| Cause::Resolve {
        host: host.to_owned(),
        message,
    };
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|error| not_resolved(error.to_string()))?
        .collect();
    match addresses.is_empty() {
        true => Err(not_resolved("it has no address".to_owned())),
        false => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(scheme: Scheme, host: &str) -> Result<Vec<Hop>, Cause> {
        let resolver = Resolver::new(Address::Network {
            scheme,
            host: host.to_owned(),
            port: 7,
            target: String::new(),
        });
        resolver.resolve().map(|(_, hops)| hops)
    }

    #[test]
    fn addresses_are_taken_as_they_are_and_names_looked_up() {
        let literal = Hop::Address("[::1]:7".parse().unwrap());
        for scheme in [Scheme::Mqtt, Scheme::Mqtts, Scheme::Wss] {
            assert_eq!(hops(scheme, "::1"), Ok(vec![literal.clone()]));
            let nothing = hops(scheme, "no-such-host.invalid").unwrap_err();
            assert!(matches!(nothing, Cause::Resolve { .. }), "{nothing}");
        }
        let is_loopback = |hop: &Hop| match hop {
            Hop::Address(address) => address.ip().is_loopback(),
            _ => false,
        };
        assert!(
            hops(Scheme::Ws, "localhost")
                .unwrap()
                .iter()
                .all(is_loopback)
        );
    }

    #[test]
    fn an_address_has_its_turn_until_an_attempt_at_it_fails() {
        let all: [SocketAddr; 3] = [1, 2, 3].map(|n| SocketAddr::from(([10, 0, 0, n], 7)));
        let [a, b, c] = all;
        let mut resolver = Resolver::new(Address::Unix("".into()));
        assert_eq!(resolver.in_turn(vec![a, b, c]), [a, b, c]);
        resolver.trying(&Hop::Address(a));
        assert_eq!(resolver.in_turn(vec![a, b, c]), [b, c, a]);
        resolver.trying(&Hop::Address(c));
        assert_eq!(resolver.in_turn(vec![a, b, c]), [a, b, c]);
        resolver.trying(&Hop::Address(b));
        resolver.was_stable();
        for _ in 0..2 {
            assert_eq!(resolver.in_turn(vec![a, b, c]), [b, c, a]);
            assert_eq!(resolver.in_turn(vec![c, a, b]), [b, c, a]);
        }
        resolver.trying(&Hop::Address(b));
        assert_eq!(resolver.in_turn(vec![c, b, a]), [a, c, b]);
        assert_eq!(resolver.in_turn(vec![c, a]), [c, a], "it is gone");
    }

    #[test]
    fn tls_over_tcp_is_given_the_name() {
        assert_eq!(hops(Scheme::Mqtts, "localhost"), Ok(vec![Hop::Name]));
    }
}
