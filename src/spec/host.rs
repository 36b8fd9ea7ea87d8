//! What can be the host of a broker: a name, an IPv4 address or an IPv6 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::spec::broker_error::BrokerError;

/// The longest name that DNS can carry, in bytes, and the longest of its labels.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// Checks a host without brackets: a name, an IPv4 address, or an IPv6 address with or without a zone.
pub(super) fn check(host: &str) -> Result<(), BrokerError> {
    if host.is_empty() {
        return Err(BrokerError::NoHost);
    }
    if is_ipv6(host) {
        return Ok(());
    }
    if has_placeholder(host) {
        return wrong(
            "has a character that no host name has: a placeholder, it seems, and none is filled in here, so write out the host of each client",
        );
    }
    if host.contains([',', ';']) {
        return wrong(
            "has a comma or a semicolon: one URL names one broker (`or_broker` takes another one)",
        );
    }
    if host.contains(is_invisible) {
        return wrong("has a character that can't be seen: write it anew");
    }
    if !host.is_ascii() {
        return wrong(
            "has a character outside ASCII: write such a name in punycode, as xn--bcher-kva.example",
        );
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !host.bytes().all(is_allowed) {
        return wrong(
            "has a character that no host name has: use letters, digits, '-', '_' and '.'",
        );
    }
    // A dot at the end says that the name is complete.
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.split('.').any(str::is_empty) {
        return wrong("has a dot too many");
    }
    if name.split('.').any(|label| label.starts_with('-')) {
        return wrong("begins with '-', or has one behind a dot, which no host name does");
    }
    if name.len() > LONGEST_NAME || name.split('.').any(|label| label.len() > LONGEST_LABEL) {
        return wrong("is too long: a name has at most 253 characters, 63 between two dots");
    }
    // No top-level domain is a number, so a host that ends in one can only be meant as an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && name.parse::<Ipv4Addr>().is_err() {
        return wrong("is not an IPv4 address: four numbers from 0 to 255, such as 10.0.0.5");
    }
    Ok(())
}

/// A text of `(host, port)`. What comes out has no brackets.
pub(super) fn alone(host: &str) -> Result<&str, BrokerError> {
    if host.is_empty() {
        return Err(BrokerError::NoHost);
    }
    check_ends(host)?;
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = inside
        .filter(|host| host.is_empty() || is_ipv6(host))
        .unwrap_or(host);
    if host.contains(['/', '@', '?', '#']) || (host.contains(':') && !is_ipv6(host)) {
        return Err(BrokerError::NotOnlyAHost);
    }
    check(host)?;
    Ok(host)
}

/// Whether something stands around a URL or a host that is no part of it: as files, shells and editors
/// leave it there.
pub(super) fn check_ends(text: &str) -> Result<(), BrokerError> {
    let is_around = |c: char| c.is_whitespace() || is_invisible(c);
    if text.trim_matches(is_around).is_empty() {
        return Err(BrokerError::Empty);
    }
    if text.starts_with(is_around) || text.ends_with(is_around) {
        return Err(BrokerError::Whitespace);
    }
    // A path may end with an apostrophe: RFC 3986 allows it.
    let open = [
        '"', '\'', '`', '<', '\u{ab}', '\u{2018}', '\u{201c}', '\u{201e}',
    ];
    let closing = ['"', '`', '\u{bb}', '\u{2019}', '\u{201d}', '\u{201c}'];
    match text.starts_with(open) || text.ends_with(closing) {
        true => Err(BrokerError::Quoted),
        false => Ok(()),
    }
}

/// Controls, and the characters of Unicode that have no width: byte order marks, joiners, directions.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `h{i}`, `${HOST}`, `$HOST`, `%HOST%`, `<host>`.
fn has_placeholder(host: &str) -> bool {
    let is_batch = host.starts_with('%') && host.len() > 1 && host.ends_with('%');
    is_batch || host.contains(['{', '}', '$', '<', '>'])
}

/// The same text for the same host, however it is spelled.
pub(super) fn canonical(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        // Names do not tell upper from lower case.
        Err(_) => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
    }
}

/// An address, perhaps with the zone that a link-local one takes: `fe80::1%eth0`.
fn is_ipv6(host: &str) -> bool {
    match host.split_once('%') {
        None => host.parse::<Ipv6Addr>().is_ok(),
        Some((address, zone)) => {
            let is_zone = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.bytes().all(is_zone)
        }
    }
}

fn wrong(problem: &'static str) -> Result<(), BrokerError> {
    Err(BrokerError::Host { problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a host that people have is refused.
    #[test]
    fn hosts_that_people_have() {
        let label = "x".repeat(63);
        let long = format!("{label}.{label}.{label}.{}", "x".repeat(61));
        for host in [
            "localhost",
            "LOCALHOST",
            "my_broker",
            "broker-1",
            "broker.1.x7",
            "a.example.com.",
            "xn--bcher-kva.example",
            "3com.example",
            "10.0.0.5",
            "::1",
            "fe80::1%eth0",
            "fe80::1%2",
            "::ffff:10.0.0.5",
            &long,
        ] {
            assert_eq!(check(host), Ok(()), "{host}");
            assert_eq!(alone(host), Ok(host));
        }
        assert_eq!(alone("[::1]"), Ok("::1"));
    }

    /// Fails when a text that can't be a host is taken for one, or the error does not say what is wrong.
    #[test]
    fn hosts_that_can_not_be() {
        let long = ["x".repeat(64), vec!["x".repeat(60); 5].join(".")];
        for (host, said) in [
            ("bücher.example", "punycode"),
            ("a b", "no host name has"),
            ("a%20b", "no host name has"),
            ("${HOST}", "no host name has"),
            ("a..b", "a dot too many"),
            (".a", "a dot too many"),
            (".", "a dot too many"),
            ("10.0.0.256", "IPv4"),
            ("10.0.0", "IPv4"),
            ("1.2.3.4.5", "IPv4"),
            ("1883", "IPv4"),
            (&long[0], "too long"),
            (&long[1], "too long"),
            ("", "no host"),
        ] {
            let text = check(host).unwrap_err().to_string();
            assert!(text.contains(said), "{host}: {text}");
            assert!(alone(host).is_err());
        }
        for host in [
            "mqtt://h",
            "h/",
            "h:1883",
            "[::1]:1883",
            "user:secret@h",
            "u@h",
            "fe80::1%",
            "::1::",
        ] {
            assert_eq!(alone(host), Err(BrokerError::NotOnlyAHost), "{host}");
        }
        assert_eq!(alone("h\n"), Err(BrokerError::Whitespace));
        assert_eq!(alone("[]"), Err(BrokerError::NoHost));
    }

    /// Fails when two spellings of one host count as two hosts, or two hosts as one.
    #[test]
    fn one_host_has_one_text() {
        for (one, other) in [
            ("H", "h"),
            ("h.", "h"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("FE80::A", "fe80::a"),
            ("::ffff:10.0.0.5", "10.0.0.5"),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
        assert_ne!(canonical("localhost"), canonical("127.0.0.1"));
        assert_ne!(canonical("::1"), canonical("::2"));
    }
}
