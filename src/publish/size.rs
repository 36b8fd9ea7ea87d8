//! How many bytes a PUBLISH packet has, so that one that is too large is refused at the door.

use crate::spec::qos::QoS;

/// Bytes of a PUBLISH packet (section 3.3).
pub(crate) fn packet_size(topic: usize, qos: QoS, payload: usize) -> usize {
    let packet_id = match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce | QoS::ExactlyOnce => 2,
    };
    let remaining = 2 + topic + packet_id + payload;
    let length_field = match remaining {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    };
    1 + length_field + remaining
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_field_grows() {
        assert_eq!(packet_size(1, QoS::AtMostOnce, 0), 5);
        assert_eq!(packet_size(1, QoS::AtLeastOnce, 122), 129);
        assert_eq!(packet_size(1, QoS::AtLeastOnce, 123), 131);
        assert_eq!(packet_size(1, QoS::AtMostOnce, 16_381), 16_388);
    }
}
