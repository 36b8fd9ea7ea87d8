//! Bytes to packets and back, for any bytes.

use proptest::prelude::*;

use super::*;

fn packets() -> impl Strategy<Value = Packet> {
    let qos = prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ];
    let filters = proptest::collection::vec(("[a-z/+#é]{1,9}", qos.clone()), 1..5);
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        (any::<bool>(), 0..=5_u8).prop_map(|(present, code)| connack(code, present)),
        (1..u16::MAX, filters)
            .prop_map(|(packet_id, filters)| Packet::Subscribe { packet_id, filters }),
        (1..u16::MAX, proptest::collection::vec(0..=2_u8, 1..300))
            .prop_map(|(packet_id, codes)| Packet::Suback { packet_id, codes }),
        (1..u16::MAX, 0..5).prop_map(|(packet_id, kind)| match kind {
            0 => Packet::Puback { packet_id },
            1 => Packet::Pubrec { packet_id },
            2 => Packet::Pubrel { packet_id },
            3 => Packet::Pubcomp { packet_id },
            _ => Packet::Unsuback { packet_id },
        }),
        prop_oneof![
            Just(Packet::Pingreq),
            Just(Packet::Pingresp),
            Just(Packet::Disconnect)
        ],
        (
            1..u16::MAX,
            proptest::collection::vec("[a-z/+#é]{1,9}", 1..5)
        )
            .prop_map(|(packet_id, filters)| Packet::Unsubscribe { packet_id, filters }),
        (
            "[a-zé/]{1,200}",
            qos,
            any::<(bool, bool)>(),
            1..u16::MAX,
            payload
        )
            .prop_map(
                |(topic, qos, (retain, dup), packet_id, payload)| Packet::Publish {
                    topic,
                    qos,
                    retain,
                    dup,
                    packet_id: if qos == QoS::AtMostOnce { 0 } else { packet_id },
                    payload: payload.into(),
                }
            ),
        connects(),
    ]
}

fn connects() -> impl Strategy<Value = Packet> {
    let username = proptest::option::of("[a-z]{1,9}");
    let wills = proptest::option::of(("[a-zé/]{1,9}", any::<bool>(), "[a-z]{0,9}"));
    ("[a-z]{0,9}", any::<bool>(), any::<u16>(), username, wills).prop_map(
        |(client_id, clean_session, keep_alive, username, will)| Packet::Connect {
            client_id,
            clean_session,
            keep_alive,
            username,
            has_password: false,
            will: will.map(|(topic, retain, payload)| WillMessage {
                topic,
                qos: QoS::ExactlyOnce,
                retain,
                payload: payload.into(),
            }),
        },
    )
}

proptest! {
    #![proptest_config(crate::properties::fixed_seed())]

    #[test]
    fn what_is_encoded_is_decoded(packet in packets()) {
        let mut bytes = BytesMut::new();
        encode::encode(&packet, &mut bytes).unwrap();
        let decoded = wire::decode(&mut bytes, 1 << 20).unwrap().unwrap();
        prop_assert_eq!(decoded.packet, packet);
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn no_bytes_make_it_panic(
        first in any::<u8>(),
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        // A frame of the right length, so that what is in it is read.
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&[first, body.len() as u8]);
        bytes.extend_from_slice(&body);
        while let Ok(Some(_)) = wire::decode(&mut bytes, 1 << 20) {}
        let mut bytes = BytesMut::from(&body[..]);
        while let Ok(Some(_)) = wire::decode(&mut bytes, 1 << 20) {}
    }

    #[test]
    fn no_change_of_a_packet_makes_it_panic(
        packet in packets(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = BytesMut::new();
        encode::encode(&packet, &mut bytes).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        while let Ok(Some(_)) = wire::decode(&mut bytes, 1 << 20) {}
    }
}
