//! From bytes to packets: the only file of the test broker that knows rumqttc.
//!
//! rumqttc's codec does the work. What it lets pass and the standard forbids is checked here:
//! the flags of the fixed header and the protocol level, whose refusal has an answer of its own.

use bytes::BytesMut;
use rumqttc::mqttbytes::{self, v4};

use super::packet::{Packet, WillMessage};
use crate::spec::qos::QoS;

/// A packet with what the record must not show, and so no `Debug`.
pub(super) struct Decoded {
    pub(super) packet: Packet,
    /// The password of a CONNECT.
    pub(super) password: Option<String>,
}

/// Why bytes are no packet.
#[derive(thiserror::Error)]
pub(super) enum WireError {
    /// A CONNECT of another version of MQTT: it gets CONNACK 1 [MQTT-3.1.2-2].
    #[error("the client speaks another version of the protocol")]
    Version,
    #[error("the flags are not those of the packet type")]
    Flags,
    #[error("the packet is malformed")]
    Malformed(#[source] mqttbytes::Error),
}

crate::spec::readable::debug_is_text!(WireError);

/// Takes the next packet from the front of `buffer`, or nothing if it is not complete yet.
pub(super) fn decode(
    buffer: &mut BytesMut,
    max_packet_size: usize,
) -> Result<Option<Decoded>, WireError> {
    // At once: garbage may announce a length that never comes.
    if let Some(first) = buffer.first() {
        check_flags(*first)?;
    }
    let frame = match mqttbytes::check(buffer.iter(), max_packet_size) {
        Ok(header) => &buffer[..header.frame_length()],
        Err(mqttbytes::Error::InsufficientBytes(_)) => return Ok(None),
        Err(error) => return Err(WireError::Malformed(error)),
    };
    check_version(frame)?;
    let packet = v4::Packet::read(buffer, max_packet_size).map_err(WireError::Malformed)?;
    Ok(Some(ours(packet)))
}

/// Reserved flags that are wrong close the connection [MQTT-2.2.2-2].
fn check_flags(first: u8) -> Result<(), WireError> {
    let (kind, flags) = (first >> 4, first & 0x0F);
    let expected = match kind {
        3 => flags,
        6 | 8 | 10 => 0b0010,
        _ => 0,
    };
    match flags == expected {
        true => Ok(()),
        false => Err(WireError::Flags),
    }
}

/// A CONNECT of another version is told so, which needs a look before the codec reads fields that
/// it may not have.
fn check_version(frame: &[u8]) -> Result<(), WireError> {
    if frame[0] >> 4 != 1 {
        return Ok(());
    }
    let n_length_bytes = 1 + frame[1..].iter().take_while(|byte| **byte >= 0x80).count();
    match frame.get(1 + n_length_bytes..).unwrap_or_default() {
        [0, 4, b'M', b'Q', b'T', b'T', 4, flags, ..] if flags & 1 == 1 => Err(WireError::Flags),
        [0, 4, b'M', b'Q', b'T', b'T', 4, ..] => Ok(()),
        [0, 4, b'M', b'Q', b'T', b'T', _, ..] => Err(WireError::Version),
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => Err(WireError::Version),
        // Another name is garbage, which the codec says.
        _ => Ok(()),
    }
}

fn ours(packet: v4::Packet) -> Decoded {
    let mut password = None;
    let packet = match packet {
        v4::Packet::Connect(connect) => {
            let login = connect.login;
            // The codec says "" for what is missing.
            password = login
                .as_ref()
                .map(|login| login.password.clone())
                .filter(|password| !password.is_empty());
            Packet::Connect {
                client_id: connect.client_id,
                clean_session: connect.clean_session,
                keep_alive: connect.keep_alive,
                username: login
                    .map(|login| login.username)
                    .filter(|name| !name.is_empty()),
                has_password: password.is_some(),
                will: connect.last_will.map(|will| WillMessage {
                    topic: will.topic,
                    qos: our_qos(will.qos),
                    retain: will.retain,
                    payload: will.message,
                }),
            }
        }
        v4::Packet::ConnAck(connack) => Packet::Connack {
            session_present: connack.session_present,
            code: connack.code as u8,
        },
        v4::Packet::Publish(publish) => Packet::Publish {
            topic: publish.topic,
            qos: our_qos(publish.qos),
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.pkid,
            payload: publish.payload,
        },
        v4::Packet::PubAck(ack) => Packet::Puback {
            packet_id: ack.pkid,
        },
        v4::Packet::PubRec(ack) => Packet::Pubrec {
            packet_id: ack.pkid,
        },
        v4::Packet::PubRel(ack) => Packet::Pubrel {
            packet_id: ack.pkid,
        },
        v4::Packet::PubComp(ack) => Packet::Pubcomp {
            packet_id: ack.pkid,
        },
        v4::Packet::Subscribe(subscribe) => Packet::Subscribe {
            packet_id: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| (filter.path, our_qos(filter.qos)))
                .collect(),
        },
        v4::Packet::SubAck(ack) => Packet::Suback {
            packet_id: ack.pkid,
            codes: ack
                .return_codes
                .into_iter()
                .map(|code| match code {
                    v4::SubscribeReasonCode::Success(qos) => our_qos(qos).into(),
                    v4::SubscribeReasonCode::Failure => 0x80,
                })
                .collect(),
        },
        v4::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe {
            packet_id: unsubscribe.pkid,
            filters: unsubscribe.topics,
        },
        v4::Packet::UnsubAck(ack) => Packet::Unsuback {
            packet_id: ack.pkid,
        },
        v4::Packet::PingReq => Packet::Pingreq,
        v4::Packet::PingResp => Packet::Pingresp,
        v4::Packet::Disconnect => Packet::Disconnect,
    };
    Decoded { packet, password }
}

fn our_qos(qos: mqttbytes::QoS) -> QoS {
    match qos {
        mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}
