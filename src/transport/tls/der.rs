//! As much of DER (X.690) as a certificate and a key need to be told from other things: what a file is,
//! which public key a certificate has, and until when it is valid.

/// The tags that are looked for.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// What a structure is, by its outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Certificate,
    /// PKCS#8.
    Pkcs8,
    /// PKCS#1, of RSA.
    Pkcs1,
    /// SEC1, of an elliptic curve.
    Sec1,
    /// PKCS#8, encrypted.
    Encrypted,
    /// A PKCS#12 container.
    Pkcs12,
}

/// Reads elements one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x84 => {
                let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = after;
                let shift = |length: usize, digit: &u8| (length << 8) | usize::from(*digit);
                digits.iter().fold(0, shift)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next element, if it has this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, content)| content)
    }
}

/// The only element of these bytes, if it is a sequence.
fn whole(der: &[u8]) -> Option<Reader<'_>> {
    let mut reader = Reader(der);
    let content = reader.expect(SEQUENCE)?;
    reader.0.is_empty().then_some(Reader(content))
}

/// What these bytes are, if they are one of the things that are told apart here.
pub(super) fn kind(der: &[u8]) -> Option<Kind> {
    let tags: Vec<u8> = {
        let mut reader = whole(der)?;
        std::iter::from_fn(|| reader.next())
            .map(|(tag, _)| tag)
            .take(9)
            .collect()
    };
    let version = whole(der)?.next()?.1;
    Some(match tags.as_slice() {
        [SEQUENCE, SEQUENCE, BIT_STRING] => Kind::Certificate,
        [SEQUENCE, OCTET_STRING] => Kind::Encrypted,
        [INTEGER, SEQUENCE, OCTET_STRING, ..] => Kind::Pkcs8,
        [INTEGER, SEQUENCE] | [INTEGER, SEQUENCE, SEQUENCE] if version == [3] => Kind::Pkcs12,
        [INTEGER, OCTET_STRING, ..] => Kind::Sec1,
        [INTEGER, INTEGER, INTEGER, INTEGER, INTEGER, ..] if tags.len() == 9 => Kind::Pkcs1,
        _ => return None,
    })
}

/// What is looked at in a certificate. Of version 1 as well, which rustls does not read.
pub(super) struct Certificate<'a> {
    /// Whether it has a version of its own: version 1 has none, and no extensions.
    pub(super) has_version: bool,
    validity: Reader<'a>,
    public_key: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut fields = Reader(whole(der)?.expect(SEQUENCE)?);
        let has_version = fields.0.first() == Some(&VERSION);
        if has_version {
            fields.next()?;
        }
        fields.expect(INTEGER)?; // the serial number
        fields.expect(SEQUENCE)?; // the algorithm of the signature
        fields.expect(SEQUENCE)?; // the issuer
        let validity = Reader(fields.expect(SEQUENCE)?);
        fields.expect(SEQUENCE)?; // the subject
        let public_key = fields.expect(SEQUENCE)?;
        Some(Self {
            has_version,
            validity,
            public_key,
        })
    }

    /// Since when and until when it is valid, in seconds since 1970.
    pub(super) fn validity(&self) -> Option<(i64, i64)> {
        let mut reader = Reader(self.validity.0);
        Some((time(reader.next()?)?, time(reader.next()?)?))
    }

    /// The bits of its public key, without what they are for.
    pub(super) fn key_bits(&self) -> Option<&'a [u8]> {
        key_bits(self.public_key)
    }
}

/// The bits of a public key that comes as `SubjectPublicKeyInfo`.
pub(super) fn public_key_bits(der: &[u8]) -> Option<&[u8]> {
    key_bits(whole(der)?.0)
}

fn key_bits(content: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(content);
    reader.expect(SEQUENCE)?;
    reader.expect(BIT_STRING)
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` (RFC 5280, section 4.1.2.5).
fn time((tag, digits): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| number(rest.get(at..at + 2)?);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    // Days since 1970, in years that begin in March.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (month * 153 + 2) / 5
        + day
        - 1
        - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// What a private key is for, in words, if it is for something that rustls with ring can't sign with.
pub(super) fn foreign_curve(der: &[u8]) -> Option<&'static str> {
    /// Object identifiers, without tag and length.
    const NAMES: [(&[u8], &str); 7] = [
        (&[0x2b, 0x81, 0x04, 0x00, 0x23], "on the curve P-521"),
        (&[0x2b, 0x81, 0x04, 0x00, 0x0a], "on the curve secp256k1"),
        (&[0x2b, 0x65, 0x71], "of the kind Ed448"),
        (&[0x2b, 0x65, 0x6e], "of the kind X25519, which can't sign"),
        (
            &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01],
            "of the kind DSA",
        ),
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
            "of the kind RSA-PSS",
        ),
        (
            &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01],
            "on a Brainpool curve",
        ),
    ];
    let is_named = |oid: &[u8]| {
        let mut named = vec![OBJECT_ID, u8::try_from(oid.len()).unwrap_or_default()];
        named.extend_from_slice(oid);
        der.windows(named.len()).any(|window| window == named)
    };
    NAMES
        .iter()
        .find(|(oid, _)| is_named(oid))
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a time of a certificate is off by a day, in leap years too.
    #[test]
    fn times_are_read() {
        let utc = |text: &str| time((UTC_TIME, text.as_bytes()));
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("000229120000Z"), Some(951_825_600));
        assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
        assert_eq!(
            time((GENERALIZED_TIME, b"20500101000000Z")),
            Some(2_524_608_000)
        );
        assert_eq!(utc("7001010000Z"), None);
        assert_eq!(utc("7001010000+0Z"), None);
    }

    /// Fails when a cut or a random structure makes the reader panic.
    #[test]
    fn cuts_are_no_panic() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let der = certificate.der();
        assert_eq!(kind(der), Some(Kind::Certificate));
        assert_eq!(kind(&key.serialize_der()), Some(Kind::Pkcs8));
        let parsed = Certificate::parse(der).unwrap();
        assert!(parsed.has_version && parsed.validity().is_some());
        for end in 0..der.len() {
            assert_eq!(kind(&der[..end]), None, "{end}");
            let cut = Certificate::parse(&der[..end]);
            assert!(cut.is_none(), "{end}");
        }
    }
}
