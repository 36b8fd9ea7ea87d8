//! From a broker's address to what rumqttc is given, on the client's own thread.
//!
//! rumqttc would look names up on a thread of its runtime, one more for each client for ten
//! seconds, and dropping that runtime waits for it. So it is given addresses, but for `mqtts`
//! with a host name: there it has one text for the address and for the name that the broker
//! needs to choose a certificate (SNI). That name is looked up here first all the same: what the
//! name service says or keeps to itself then is as with any other broker.
//!
//! rumqttc goes through the addresses of such a name in the order of the name service, so one that
//! swallows everything keeps it from all others. After such an attempt the next ones go to the
//! addresses, each in turn, although no broker is told a name there.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::{
    observe::cause::Cause,
    spec::address::{Address, Scheme},
};

/// What rumqttc is to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Address(SocketAddr),
    /// The host's name, which rumqttc looks up once more.
    Name,
    /// An address of the host's name, where the broker is not told the name and its certificate
    /// must have it all the same.
    InPlaceOfName(SocketAddr),
    /// The file of a socket.
    File,
}

#[derive(Debug)]
pub(crate) struct Resolver {
    address: Address,
    /// The address that was tried last, and whether a connection to it was stable since.
    last: Option<(SocketAddr, bool)>,
    detour: Detour,
}

/// The attempts at the addresses of a name whose own attempt hung.
#[derive(Debug, Default)]
struct Detour {
    /// Where an attempt by name begins, if the name has more addresses than that.
    first: Option<SocketAddr>,
    /// The next attempt is one of them.
    is_next: bool,
    /// The last attempt was one of them.
    is_taken: bool,
    /// The addresses that have had their turn.
    tried: Vec<SocketAddr>,
}

impl Resolver {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            last: None,
            detour: Detour::default(),
        }
    }

    /// The ways to the broker, the most promising one first. Blocks as long as the system's name
    /// service does.
    pub(crate) fn resolve(&mut self) -> Result<(Address, Vec<Target>), Cause> {
        let targets = match &self.address {
            Address::Unix(_) => vec![Target::File],
            Address::Network {
                scheme, host, port, ..
            } => {
                if let Ok(address) = host.parse::<IpAddr>() {
                    vec![Target::Address(SocketAddr::new(address, *port))]
                } else {
                    let addresses = look_up(host, *port)?;
                    match scheme {
                        Scheme::Mqtts => self.by_name(addresses),
                        _ => {
                            let addresses = self.in_turn(addresses);
                            addresses.into_iter().map(Target::Address).collect()
                        }
                    }
                }
            }
        };
        Ok((self.address.clone(), targets))
    }

    /// This way is tried now. Until more is known, the next attempt begins with the one behind it:
    /// an address that swallows everything must not use up all attempts.
    pub(crate) fn trying(&mut self, target: &Target) {
        self.detour.is_taken = false;
        match target {
            Target::Address(address) => self.last = Some((*address, false)),
            Target::InPlaceOfName(address) => {
                self.last = Some((*address, false));
                self.detour.is_taken = true;
                self.detour.tried.push(*address);
            }
            Target::Name | Target::File => {}
        }
    }

    /// The attempt at this way failed.
    pub(crate) fn failed(&mut self, target: &Target, cause: &Cause) {
        let is_silent = matches!(cause, Cause::ConnectTimeout { .. });
        match target {
            // Refused by one address, rumqttc goes on to the next: it hung, so at the first one.
            Target::Name if is_silent => {
                if let Some(first) = self.detour.first {
                    if self.detour.tried.is_empty() {
                        self.last = Some((first, false));
                    }
                    self.detour.is_next = true;
                }
            }
            // There is a broker, and it may be one that must be told the name.
            Target::InPlaceOfName(_) if !is_silent && !matches!(cause, Cause::Connect { .. }) => {
                self.detour.is_next = false;
            }
            _ => {}
        }
    }

    /// Whether the last attempt told the broker no name where it would have by the URL: what the
    /// broker says then need not be its last word.
    pub(crate) fn is_on_detour(&self) -> bool {
        self.detour.is_taken
    }

    /// The connection was stable: the next attempt begins where it was.
    pub(crate) fn was_stable(&mut self) {
        self.detour.tried.clear();
        self.detour.is_next = self.detour.is_taken;
        if let Some((_, was_stable)) = &mut self.last {
            *was_stable = true;
        }
    }

    /// The way to a broker that is to be told its name: by that name, or by those of its addresses
    /// that have not had their turn since an attempt by name hung.
    fn by_name(&mut self, addresses: Vec<SocketAddr>) -> Vec<Target> {
        let first = addresses.first().copied();
        self.detour.first = first.filter(|first| addresses.iter().any(|other| other != first));
        // A broker that was reached at an address which the name no longer has is no way back.
        let is_gone = match self.last {
            Some((last, true)) => !addresses.contains(&last),
            _ => false,
        };
        if self.detour.is_next && !is_gone {
            let mut addresses = self.in_turn(addresses);
            // With a scope it is no name of a host for TLS.
            addresses.retain(|address| !self.detour.tried.contains(address) && !has_scope(address));
            if !addresses.is_empty() {
                return addresses.into_iter().map(Target::InPlaceOfName).collect();
            }
            self.detour.tried.clear();
        }
        self.detour.is_next = false;
        vec![Target::Name]
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

/// Whether it is an address of one link of this machine alone.
fn has_scope(address: &SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0)
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

    fn targets(scheme: Scheme, host: &str) -> Result<Vec<Target>, Cause> {
        resolver(scheme, host).resolve().map(|(_, targets)| targets)
    }

    fn resolver(scheme: Scheme, host: &str) -> Resolver {
        Resolver::new(Address::Network {
            scheme,
            host: host.to_owned(),
            port: 7,
            target: String::new(),
        })
    }

    #[test]
    fn addresses_are_taken_as_they_are_and_names_looked_up() {
        let literal = Target::Address("[::1]:7".parse().unwrap());
        for scheme in [Scheme::Mqtt, Scheme::Mqtts, Scheme::Wss] {
            assert_eq!(targets(scheme, "::1"), Ok(vec![literal.clone()]));
            let nothing = targets(scheme, "no-such-host.invalid").unwrap_err();
            assert!(matches!(nothing, Cause::Resolve { .. }), "{nothing}");
        }
        let is_loopback = |target: &Target| match target {
            Target::Address(address) => address.ip().is_loopback(),
            _ => false,
        };
        assert!(
            targets(Scheme::Ws, "localhost")
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
        resolver.trying(&Target::Address(a));
        assert_eq!(resolver.in_turn(vec![a, b, c]), [b, c, a]);
        resolver.trying(&Target::Address(c));
        assert_eq!(resolver.in_turn(vec![a, b, c]), [a, b, c]);
        resolver.trying(&Target::Address(b));
        resolver.was_stable();
        for _ in 0..2 {
            assert_eq!(resolver.in_turn(vec![a, b, c]), [b, c, a]);
            assert_eq!(resolver.in_turn(vec![c, a, b]), [b, c, a]);
        }
        resolver.trying(&Target::Address(b));
        assert_eq!(resolver.in_turn(vec![c, b, a]), [a, c, b]);
        assert_eq!(resolver.in_turn(vec![c, a]), [c, a], "it is gone");
    }

    #[test]
    fn tls_over_tcp_is_given_the_name() {
        assert_eq!(targets(Scheme::Mqtts, "localhost"), Ok(vec![Target::Name]));
    }

    /// Fails if a way is left out or repeated, or if a broker that must be told the name gets no attempt by it.
    #[test]
    fn the_addresses_of_a_name_have_their_turn_after_it_hung() {
        let all: [SocketAddr; 3] = [1, 2, 3].map(|n| SocketAddr::from(([10, 0, 0, n], 7)));
        let [a, b, c] = all;
        let by = |addresses: &[SocketAddr]| -> Vec<Target> {
            addresses
                .iter()
                .copied()
                .map(Target::InPlaceOfName)
                .collect()
        };
        let silent = || Cause::ConnectTimeout {
            address: String::new(),
            timeout: std::time::Duration::ZERO,
        };
        let refused = || Cause::Tls {
            address: String::new(),
            message: String::new(),
        };
        let mut resolver = resolver(Scheme::Mqtts, "twice");
        // One attempt that fails at its first way: what its ways were.
        let mut attempt = |addresses: &[SocketAddr], cause: Cause| {
            let targets = resolver.by_name(addresses.to_vec());
            resolver.trying(&targets[0]);
            resolver.failed(&targets[0], &cause);
            targets
        };
        assert_eq!(attempt(&[a], silent()), [Target::Name]);
        assert_eq!(attempt(&[a], silent()), [Target::Name], "there is no other");
        assert_eq!(attempt(&all, refused()), [Target::Name]);
        for _ in 0..2 {
            assert_eq!(attempt(&all, silent()), [Target::Name]);
            assert_eq!(attempt(&all, silent()), by(&[b, c, a]));
            assert_eq!(attempt(&all, refused()), by(&[c, a]));
            assert_eq!(attempt(&all, silent()), [Target::Name]);
            assert_eq!(attempt(&all, silent()), by(&[a]));
        }
        assert_eq!(attempt(&all, silent()), [Target::Name]);
        assert_eq!(attempt(&all, silent()), by(&[b, c, a]));
        resolver.was_stable();
        assert_eq!(resolver.by_name(all.to_vec()), by(&[b, c, a]));
        assert_eq!(resolver.by_name(vec![c, b]), by(&[b, c]));
        assert_eq!(resolver.by_name(vec![a, c]), [Target::Name], "it is gone");
    }

    /// Fails if a stable connection by name is followed by attempts that leave the name out.
    #[test]
    fn a_stable_connection_by_name_is_followed_by_the_name() {
        let all: [SocketAddr; 2] = [1, 2].map(|n| SocketAddr::from(([10, 0, 0, n], 7)));
        let mut resolver = resolver(Scheme::Mqtts, "twice");
        resolver.trying(&Target::InPlaceOfName(all[1]));
        resolver.trying(&Target::Name);
        assert!(!resolver.is_on_detour());
        resolver.was_stable();
        assert_eq!(resolver.by_name(all.to_vec()), [Target::Name]);
    }
}
