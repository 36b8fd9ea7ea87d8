//! What is in a file of certificates or keys: PEM as it comes from editors, secrets and shells, or DER.
//!
//! Errors are texts of ours and never hold a byte of the file: a certificate's file may hold its key.

use super::der::{self, Kind};

/// A section of a file, between its BEGIN and END, or a whole file of DER.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// What follows BEGIN, or what a file of DER is. May be anything that stands in the file.
    pub(super) label: &'a str,
    /// What is in it, or what is wrong with it.
    pub(super) content: Result<Vec<u8>, &'static str>,
}

/// All sections of a file. Text before and between them is passed over.
pub(super) fn sections<T>(file: &[u8], take: impl FnOnce(Vec<Section<'_>>) -> T) -> T {
    if let Some(label) = der_label(file) {
        return take(vec![Section {
            label,
            content: Ok(file.to_vec()),
        }]);
    }
    let text = text(file);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((label, after)) = after.split_once("-----") else {
            let content = Err("its BEGIN line is cut off");
            found.push(Section { label: "", content });
            break;
        };
        // Not beyond the next section: its END would be taken for this one's.
        let section = after.split("-----BEGIN ").next().unwrap_or(after);
        rest = &after[section.len()..];
        found.push(Section {
            label,
            content: match section.split_once("-----END ") {
                None => Err("its END line is missing"),
                Some((_, end)) if !end.starts_with(label) => {
                    Err("its END line is not that of its BEGIN line")
                }
                Some((body, _)) if body.contains("ENCRYPTED") => Err(ENCRYPTED),
                Some((body, _)) => decoded(body),
            },
        });
    }
    take(found)
}

/// What is said of a key that takes a passphrase.
pub(super) const ENCRYPTED: &str = "it is encrypted";

/// The text of a file: of UTF-16 if it says so, with line ends that a shell wrote as `\n`.
fn text(file: &[u8]) -> String {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| unit([pair[0], pair[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    };
    let text = match file {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => String::from_utf8_lossy(file).into_owned(),
    };
    text.replace("\\r", " ").replace("\\n", " ")
}

/// Base64 (RFC 4648), whatever white space is in it.
fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    let text = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let mut bytes = Vec::new();
    let (mut bits, mut n, mut padding) = (0_u32, 0, 0);
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return Err("it has a character that is not base64"),
        };
        if padding > 0 {
            return Err("it goes on behind the end of its base64");
        }
        bits = (bits << 6) | u32::from(value);
        n += 1;
        if n % 4 == 0 {
            bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
            bits = 0;
        }
    }
    match n % 4 {
        0 => {}
        2 => bytes.push((bits >> 4).to_be_bytes()[3]),
        3 => bytes.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
        _ => return Err("its base64 is cut off"),
    }
    match bytes.is_empty() {
        true => Err("there is nothing between its BEGIN and its END"),
        false => Ok(bytes),
    }
}

fn der_label(file: &[u8]) -> Option<&'static str> {
    Some(match der::kind(file)? {
        Kind::Certificate => "CERTIFICATE",
        Kind::Pkcs8 => "PRIVATE KEY",
        Kind::Pkcs1 => "RSA PRIVATE KEY",
        Kind::Sec1 => "EC PRIVATE KEY",
        Kind::Encrypted => "ENCRYPTED PRIVATE KEY",
        Kind::Pkcs12 => "PKCS12",
    })
}

/// What a file without what is looked for has instead, and what to do.
pub(super) fn instead(file: &[u8], sections: &[Section<'_>]) -> Option<&'static str> {
    let has = |end: &str| sections.iter().any(|section| section.label.ends_with(end));
    Some(if file.is_empty() {
        "it is empty"
    } else if has("PKCS12") {
        "it is a PKCS#12 container: `openssl pkcs12 -in FILE -nodes` writes what is in it as PEM"
    } else if has("CERTIFICATE REQUEST") {
        "it has a request for a certificate: give the certificate that was issued for it"
    } else if has("OPENSSH PRIVATE KEY") {
        "it has a key of OpenSSH: `ssh-keygen -p -m PKCS8 -f FILE` turns a copy of it into PEM"
    } else if has("PRIVATE KEY") {
        "it has a private key: were the files of certificate and key exchanged?"
    } else if has("PUBLIC KEY") {
        "it has a public key only"
    } else if has("TRUSTED CERTIFICATE") {
        "it has a certificate in OpenSSL's own form: `openssl x509 -in FILE -out NEW` writes it as PEM"
    } else if has("CERTIFICATE") {
        "it has a certificate: were the files of certificate and key exchanged?"
    } else if file.trim_ascii_start().starts_with(b"LS0tLS1CRUdJTi") {
        "all of it is base64 once more, as in a Kubernetes secret: decode it first"
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8]) -> Vec<Result<Vec<u8>, &'static str>> {
        sections(file, |found| {
            found.into_iter().map(|section| section.content).collect()
        })
    }

    /// Fails when a file whose lines were joined, indented, quoted or ended in another way is not read.
    #[test]
    fn pem_is_read_in_every_dress() {
        let lines = [
            "-----BEGIN CERTIFICATE-----",
            "c2Vj",
            "cmV0",
            "-----END CERTIFICATE-----",
        ];
        for file in [
            lines.join("\n"),
            lines.join("\r\n"),
            lines.join("\r"),
            lines.join(" "),
            lines.join(""),
            lines.join("\\n"),
            lines.join("\\r\\n"),
            format!("\"{}\\n\"", lines.join("\\n")),
            format!("\u{feff}{}", lines.join("\n")),
            format!("subject=CN = x\n{}\n\n", lines.join("\n    ")),
        ] {
            assert_eq!(read(file.as_bytes()), [Ok(b"secret".to_vec())], "{file}");
        }
        let utf16 = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let text = format!("\u{feff}{}", lines.join("\r\n"));
            text.encode_utf16().flat_map(order).collect()
        };
        assert_eq!(read(&utf16(u16::to_le_bytes)), [Ok(b"secret".to_vec())]);
        assert_eq!(read(&utf16(u16::to_be_bytes)), [Ok(b"secret".to_vec())]);
    }

    /// Fails when a broken section is taken for a whole one, or takes the next one with it.
    #[test]
    fn breaks_are_told() {
        let whole = "-----BEGIN A-----\nYQ==\n-----END A-----\n";
        for broken in [
            "-----BEGIN A-----\nYQ==\n",
            "-----BEGIN A-----\nYQ==\n-----END B-----\n",
            "-----BEGIN A-----\nY!==\n-----END A-----\n",
            "-----BEGIN A-----\nY\n-----END A-----\n",
            "-----BEGIN A-----\nYQ==YQ==\n-----END A-----\n",
            "-----BEGIN A-----\n-----END A-----\n",
        ] {
            let found = read(format!("{broken}{whole}").as_bytes());
            assert!(found[0].is_err(), "{broken}");
            assert_eq!(found[1], Ok(b"a".to_vec()), "{broken}");
        }
        assert!(read(b"-----BEGIN A")[0].is_err());
        assert!(read(b"").is_empty());
    }
}
