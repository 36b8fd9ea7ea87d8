//! The packets of MQTT 3.1.1 as the record shows them.
//!
//! An enum of our own, so that no type of the codec is public: the codec is known to `wire.rs`
//! only. A password is never part of it, so a record can be printed.

use bytes::Bytes;

use crate::spec::qos::QoS;

/// One MQTT packet, as it was received or sent.
///
/// ```
/// use mqtt_fleet::testing::Packet;
///
/// let packet = Packet::Puback { packet_id: 7 };
/// assert_eq!(packet.to_string(), "PUBACK id 7");
/// assert_eq!(packet.name(), "PUBACK");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packet {
    /// A client asks to be connected (section 3.1).
    Connect {
        /// The client id as it came: empty if the client asked for one.
        client_id: String,
        /// Whether the client wants to start without a session.
        clean_session: bool,
        /// Keep alive in seconds; 0 is none.
        keep_alive: u16,
        /// The user name, if one came.
        username: Option<String>,
        /// Whether a password came, which is not shown.
        has_password: bool,
        /// What to publish if the connection ends without a DISCONNECT.
        will: Option<WillMessage>,
    },
    /// The answer to a CONNECT (section 3.2).
    Connack {
        /// Whether the broker had kept a session of that client id.
        session_present: bool,
        /// 0 is accepted; the others are listed in table 3.1 of the standard.
        code: u8,
    },
    /// A message (section 3.3).
    Publish {
        /// The topic name.
        topic: String,
        /// The quality of service of this delivery.
        qos: QoS,
        /// To the broker: keep it. From the broker: it was kept.
        retain: bool,
        /// It may have been delivered before.
        dup: bool,
        /// The packet identifier; 0 with QoS 0.
        packet_id: u16,
        /// The payload.
        payload: Bytes,
    },
    /// QoS 1: received (section 3.4).
    Puback {
        /// The identifier of the PUBLISH.
        packet_id: u16,
    },
    /// QoS 2, first step: received (section 3.5).
    Pubrec {
        /// The identifier of the PUBLISH.
        packet_id: u16,
    },
    /// QoS 2, second step: it will not come again (section 3.6).
    Pubrel {
        /// The identifier of the PUBLISH.
        packet_id: u16,
    },
    /// QoS 2, third step: the identifier is free again (section 3.7).
    Pubcomp {
        /// The identifier of the PUBLISH.
        packet_id: u16,
    },
    /// A client subscribes (section 3.8).
    Subscribe {
        /// The packet identifier.
        packet_id: u16,
        /// The filters with the quality of service asked for.
        filters: Vec<(String, QoS)>,
    },
    /// The answer to a SUBSCRIBE (section 3.9).
    Suback {
        /// The identifier of the SUBSCRIBE.
        packet_id: u16,
        /// Per filter: the QoS granted, or 0x80 for refused.
        codes: Vec<u8>,
    },
    /// A client unsubscribes (section 3.10).
    Unsubscribe {
        /// The packet identifier.
        packet_id: u16,
        /// The filters, as they were subscribed.
        filters: Vec<String>,
    },
    /// The answer to an UNSUBSCRIBE (section 3.11).
    Unsuback {
        /// The identifier of the UNSUBSCRIBE.
        packet_id: u16,
    },
    /// A client shows that it is alive (section 3.12).
    Pingreq,
    /// The answer to a PINGREQ (section 3.13).
    Pingresp,
    /// A client leaves on purpose (section 3.14).
    Disconnect,
}

/// What a client wants to have published if its connection ends without a DISCONNECT.
///
/// ```
/// use mqtt_fleet::{QoS, testing::WillMessage};
///
/// let will = WillMessage {
///     topic: "gw/state".into(),
///     qos: QoS::AtLeastOnce,
///     retain: true,
///     payload: "offline".into(),
/// };
/// assert_eq!(will.payload, "offline");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WillMessage {
    /// The topic name.
    pub topic: String,
    /// The quality of service.
    pub qos: QoS,
    /// Whether the broker keeps it.
    pub retain: bool,
    /// The payload.
    pub payload: Bytes,
}

impl Packet {
    /// The name that the standard gives to this kind of packet, such as `"PUBLISH"`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "CONNECT",
            Self::Connack { .. } => "CONNACK",
            Self::Publish { .. } => "PUBLISH",
            Self::Puback { .. } => "PUBACK",
            Self::Pubrec { .. } => "PUBREC",
            Self::Pubrel { .. } => "PUBREL",
            Self::Pubcomp { .. } => "PUBCOMP",
            Self::Subscribe { .. } => "SUBSCRIBE",
            Self::Suback { .. } => "SUBACK",
            Self::Unsubscribe { .. } => "UNSUBSCRIBE",
            Self::Unsuback { .. } => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
        }
    }
}

/// The kind and what tells it from its neighbors; of a payload only the length.
impl std::fmt::Display for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name())?;
        match self {
            Self::Connect {
                client_id,
                clean_session,
                keep_alive,
                ..
            } => write!(
                f,
                " {client_id:?} clean {clean_session} keep alive {keep_alive}"
            ),
            Self::Connack {
                session_present,
                code,
            } => write!(f, " code {code} session {session_present}"),
            Self::Publish {
                topic,
                qos,
                retain,
                dup,
                packet_id,
                payload,
            } => {
                let (qos, n_bytes) = (u8::from(*qos), payload.len());
                write!(f, " {topic:?} qos {qos} id {packet_id} {n_bytes} bytes")?;
                f.write_str(if *retain { " retain" } else { "" })?;
                f.write_str(if *dup { " dup" } else { "" })
            }
            Self::Puback { packet_id }
            | Self::Pubrec { packet_id }
            | Self::Pubrel { packet_id }
            | Self::Pubcomp { packet_id }
            | Self::Unsuback { packet_id } => write!(f, " id {packet_id}"),
            Self::Subscribe { packet_id, filters } => write!(f, " id {packet_id} {filters:?}"),
            Self::Suback { packet_id, codes } => write!(f, " id {packet_id} {codes:?}"),
            Self::Unsubscribe { packet_id, filters } => write!(f, " id {packet_id} {filters:?}"),
            Self::Pingreq | Self::Pingresp | Self::Disconnect => Ok(()),
        }
    }
}
