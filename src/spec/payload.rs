//! A payload as its publisher has it: lent or given away.

use std::{borrow::Cow, fmt};

use bytes::{Bytes, BytesMut};

/// A payload: any bytes, also none. Calls that take one take whatever converts into it, and copy only
/// what they have to keep.
///
/// | given as | what is copied |
/// |---|---|
/// | `Vec<u8>`, `String`, `Box<[u8]>`, [`Bytes`], `BytesMut` | nothing: the memory is taken over |
/// | `&Bytes`, such as [`Message::payload`](crate::Message::payload) | nothing: the memory is shared |
/// | `&str`, `&[u8]`, `&[u8; N]`, `&String`, `&Vec<u8>` | the bytes, once |
/// | `[u8; N]` | the bytes: lend an array that is large |
///
/// Small messages are an exception: of those [`Client::publish`](crate::Client::publish) copies topic and
/// payload into its outbox, without an allocation, however they were given.
///
/// ```
/// use bytes::Bytes;
/// use mqtt_fleet::Payload;
///
/// for payload in [
///     Payload::from("on"),
///     Payload::from(String::from("on")),
///     Payload::from(b"on"),
///     Payload::from(&[b'o', b'n'][..]),
///     Payload::from(vec![b'o', b'n']),
///     Payload::from(&Bytes::from_static(b"on")),
/// ] {
///     assert_eq!(payload.as_bytes(), b"on");
/// }
/// ```
#[derive(Clone)]
pub struct Payload<'a>(Content<'a>);

#[derive(Clone)]
enum Content<'a> {
    Given(Bytes),
    Shared(&'a Bytes),
    Lent(&'a [u8]),
}

impl Payload<'_> {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Content::Given(bytes) => bytes,
            Content::Shared(bytes) => bytes,
            Content::Lent(bytes) => bytes,
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// The bytes, copied only if they were lent.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Content::Given(bytes) => bytes,
            Content::Shared(bytes) => bytes.clone(),
            Content::Lent(bytes) => Bytes::copy_from_slice(bytes),
        }
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Payload<'static> {
        Payload(Content::Given(self.into_bytes()))
    }
}

impl Default for Payload<'_> {
    /// No bytes.
    fn default() -> Self {
        Self(Content::Given(Bytes::new()))
    }
}

impl AsRef<[u8]> for Payload<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Payload<'_> {}

impl fmt::Debug for Payload<'_> {
    /// Without the bytes, which may be many or secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl From<Payload<'_>> for Bytes {
    fn from(payload: Payload<'_>) -> Self {
        payload.into_bytes()
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Content::Lent(bytes))
    }
}

impl<'a> From<&'a Bytes> for Payload<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        Self(Content::Shared(bytes))
    }
}

impl<'a> From<Cow<'a, [u8]>> for Payload<'a> {
    fn from(bytes: Cow<'a, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl<'a> From<Cow<'a, str>> for Payload<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl<const N: usize> From<[u8; N]> for Payload<'_> {
    fn from(bytes: [u8; N]) -> Self {
        Self(Content::Given(Bytes::copy_from_slice(&bytes)))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self(Content::Lent(bytes))
    }
}

/// Lends what these refer to.
macro_rules! lent {
    ($($type:ty),*) => {$(
        impl<'a> From<&'a $type> for Payload<'a> {
            fn from(lent: &'a $type) -> Self {
                Self(Content::Lent(lent.as_ref()))
            }
        }
    )*};
}

lent!(str, String, Vec<u8>);

/// Takes over the memory of these.
macro_rules! given {
    ($($type:ty),*) => {$(
        impl From<$type> for Payload<'_> {
            fn from(given: $type) -> Self {
                Self(Content::Given(given.into()))
            }
        }
    )*};
}

given!(Bytes, BytesMut, Vec<u8>, Box<[u8]>, String);
