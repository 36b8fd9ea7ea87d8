//! The three delivery promises of MQTT.

use std::fmt;

/// Quality of service of a message or a subscription (MQTT 3.1.1 section 4.3).
///
/// ```
/// use mqtt_fleet::QoS;
///
/// assert_eq!(QoS::try_from(1), Ok(QoS::AtLeastOnce));
/// assert_eq!(u8::from(QoS::ExactlyOnce), 2);
/// assert_eq!(QoS::ExactlyOnce.to_string(), "QoS 2");
/// assert!(QoS::try_from(3).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum QoS {
    /// QoS 0: sent once, never repeated, may be lost.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: repeated until acknowledged, may arrive twice.
    AtLeastOnce = 1,
    /// QoS 2: arrives once.
    ExactlyOnce = 2,
}

/// `QoS 1`; the number alone is `u8::from(qos)`.
impl fmt::Display for QoS {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QoS {}", u8::from(*self))
    }
}

impl From<QoS> for u8 {
    fn from(qos: QoS) -> Self {
        qos as Self
    }
}

impl TryFrom<u8> for QoS {
    type Error = InvalidQoS;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            other => Err(InvalidQoS(other)),
        }
    }
}

/// A number that is no quality of service: only 0, 1 and 2 are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{0} is no quality of service: 0, 1 or 2")]
pub struct InvalidQoS(pub u8);

crate::spec::readable::debug_is_text!(InvalidQoS);
