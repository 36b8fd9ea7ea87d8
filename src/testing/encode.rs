//! Packets to bytes, written by hand.
//!
//! A test may make the broker send what no codec writes: codes that do not exist, an identifier of
//! 0, packets that only a client may send. So nothing is checked here but what MQTT has no length
//! field for. The tests let the codec of `wire.rs` read what this file writes.

use bytes::{BufMut, BytesMut};

use super::packet::{Packet, WillMessage};
use crate::spec::qos::QoS;

/// The largest number that the length field of MQTT can hold.
const LARGEST_LENGTH: usize = 268_435_455;

/// A packet that MQTT cannot express: a text over 65,535 bytes, or more than 256 MiB in all.
#[derive(thiserror::Error)]
#[error("the packet is too long for the length fields of MQTT")]
pub(super) struct TooLong;

crate::spec::readable::debug_is_text!(TooLong);

/// Appends the bytes of a packet. On an error nothing is appended.
pub(super) fn encode(packet: &Packet, buffer: &mut BytesMut) -> Result<(), TooLong> {
    encode_with(packet, None, buffer)
}

/// As [`encode`], with the password that a CONNECT carries.
pub(super) fn encode_with(
    packet: &Packet,
    password: Option<&str>,
    buffer: &mut BytesMut,
) -> Result<(), TooLong> {
    let mut body = BytesMut::new();
    let first = put_body(packet, password, &mut body)?;
    // A payload is written to its place at once: it may be large.
    let payload: &[u8] = match packet {
        Packet::Publish { payload, .. } => payload,
        _ => &[],
    };
    let length = body.len() + payload.len();
    if length > LARGEST_LENGTH {
        return Err(TooLong);
    }
    buffer.put_u8(first);
    put_length(length, buffer);
    buffer.put_slice(&body);
    buffer.put_slice(payload);
    Ok(())
}

/// All behind the length but a payload. Returns the first byte of the packet.
fn put_body(packet: &Packet, password: Option<&str>, body: &mut BytesMut) -> Result<u8, TooLong> {
    Ok(match packet {
        Packet::Connect {
            client_id,
            clean_session,
            keep_alive,
            username,
            has_password: _,
            will,
        } => {
            body.put_slice(b"\x00\x04MQTT\x04");
            body.put_u8(
                u8::from(*clean_session) << 1
                    | will.as_ref().map_or(0, will_flags)
                    | u8::from(password.is_some()) << 6
                    | u8::from(username.is_some()) << 7,
            );
            body.put_u16(*keep_alive);
            put_field(client_id.as_bytes(), body)?;
            if let Some(will) = will {
                put_field(will.topic.as_bytes(), body)?;
                put_field(&will.payload, body)?;
            }
            for text in [username.as_deref(), password].into_iter().flatten() {
                put_field(text.as_bytes(), body)?;
            }
            0x10
        }
        Packet::Connack {
            session_present,
            code,
        } => {
            body.put_slice(&[u8::from(*session_present), *code]);
            0x20
        }
        Packet::Publish {
            topic,
            qos,
            retain,
            dup,
            packet_id,
            payload: _,
        } => {
            put_field(topic.as_bytes(), body)?;
            if *qos != QoS::AtMostOnce {
                body.put_u16(*packet_id);
            }
            0x30 | u8::from(*dup) << 3 | u8::from(*qos) << 1 | u8::from(*retain)
        }
        Packet::Puback { packet_id } => with_id(0x40, *packet_id, body),
        Packet::Pubrec { packet_id } => with_id(0x50, *packet_id, body),
        Packet::Pubrel { packet_id } => with_id(0x62, *packet_id, body),
        Packet::Pubcomp { packet_id } => with_id(0x70, *packet_id, body),
        Packet::Subscribe { packet_id, filters } => {
            body.put_u16(*packet_id);
            for (filter, qos) in filters {
                put_field(filter.as_bytes(), body)?;
                body.put_u8((*qos).into());
            }
            0x82
        }
        Packet::Suback { packet_id, codes } => {
            body.put_u16(*packet_id);
            body.put_slice(codes);
            0x90
        }
        Packet::Unsubscribe { packet_id, filters } => {
            body.put_u16(*packet_id);
            for filter in filters {
                put_field(filter.as_bytes(), body)?;
            }
            0xA2
        }
        Packet::Unsuback { packet_id } => with_id(0xB0, *packet_id, body),
        Packet::Pingreq => 0xC0,
        Packet::Pingresp => 0xD0,
        Packet::Disconnect => 0xE0,
    })
}

fn with_id(first: u8, packet_id: u16, body: &mut BytesMut) -> u8 {
    body.put_u16(packet_id);
    first
}

fn will_flags(will: &WillMessage) -> u8 {
    1 << 2 | u8::from(will.qos) << 3 | u8::from(will.retain) << 5
}

fn put_field(bytes: &[u8], body: &mut BytesMut) -> Result<(), TooLong> {
    body.put_u16(u16::try_from(bytes.len()).map_err(|_| TooLong)?);
    body.put_slice(bytes);
    Ok(())
}

fn put_length(mut length: usize, buffer: &mut BytesMut) {
    loop {
        // The cast keeps the low seven bits, which are all that is wanted.
        let low = (length & 0x7F) as u8;
        length >>= 7;
        if length == 0 {
            buffer.put_u8(low);
            return;
        }
        buffer.put_u8(low | 0x80);
    }
}
