//! Streams of broker bytes at random: packets as they should be, then broken in many ways.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::hostile::{MAX_PACKET, Script};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const CONNACK_WITH_SESSION: [u8; 4] = [0x20, 2, 1, 0];

/// What is done to a list of packets.
#[derive(Debug, Clone)]
enum Mutation {
    Flip {
        packet: Index,
        at: Index,
        bit: u8,
    },
    Truncate {
        packet: Index,
        at: Index,
    },
    Length {
        packet: Index,
        length: Vec<u8>,
    },
    Insert {
        packet: Index,
        at: Index,
        bytes: Vec<u8>,
    },
    Twice {
        packet: Index,
    },
    Swap {
        one: Index,
        other: Index,
    },
}

/// Any script: one to three connections, of which few stay open until
/// the client finds out, because that takes a keep alive. Some clients are stopped meanwhile.
pub(crate) fn scripts() -> impl Strategy<Value = Script> {
    let closing = vec(connection(), 1..=3).prop_map(|connections| Script {
        connections,
        stays_open: false,
        stops: false,
    });
    let stopped = (connection(), any::<bool>()).prop_map(|(connection, stays_open)| Script {
        connections: vec![connection],
        stays_open,
        stops: true,
    });
    let open = connection().prop_map(|connection| Script {
        connections: vec![connection],
        stays_open: true,
        stops: false,
    });
    prop_oneof![60 => closing, 20 => stopped, 1 => open]
}

fn connection() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let cuts = vec((any::<Index>(), any::<bool>()), 0..6);
    let packets = (0..=answers().len(), vec(packet(), 0..12));
    (
        opening(),
        prop::bool::weighted(0.8),
        packets,
        mutations(),
        cuts,
    )
        .prop_map(|(opening, waits, (n_answers, others), mutations, cuts)| {
            let mut packets = answers();
            packets.truncate(n_answers);
            packets.extend(others);
            for mutation in mutations {
                mutation.apply(&mut packets);
            }
            if !waits {
                return split(&[&opening[..], &packets.concat()].concat(), &cuts);
            }
            // What the client has sent by then is answered.
            let mut writes = vec![opening, Vec::new()];
            writes.extend(split(&packets.concat(), &cuts));
            writes
        })
}

/// What a proper broker says to a client that begins as that of `Script` does: SUBACK and PUBACK for the
/// birth message, then the acknowledgements of QoS 1 and 2 in turn.
fn answers() -> Vec<Vec<u8>> {
    let mut answers = vec![vec![0x90, 4, 0, 1, 2, 1], vec![0x40, 2, 0, 2]];
    for id in [3, 5, 7] {
        answers.push(vec![0x40, 2, 0, id]);
        answers.push(vec![0x50, 2, 0, id + 1]);
        answers.push(vec![0x70, 2, 0, id + 1]);
    }
    answers
}

/// What comes first: mostly a proper CONNACK, or nothing else would be looked at.
fn opening() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => Just(CONNACK.to_vec()),
        4 => Just(CONNACK_WITH_SESSION.to_vec()),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(flags, code)| vec![0x20, 2, flags, code]),
        1 => vec(any::<u8>(), 0..40),
        1 => packet(),
    ]
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    // PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK.
    let ack = (select(vec![0x40_u8, 0x50, 0x62, 0x70, 0xb0]), id());
    let suback = (id(), vec(select(vec![0_u8, 1, 2, 0x80, 3]), 0..4));
    prop_oneof![
        12 => publish(),
        1 => ack.prop_map(|(kind, id)| framed(kind, &id.to_be_bytes())),
        1 => suback.prop_map(|(id, codes)| framed(0x90, &[&id.to_be_bytes(), &codes[..]].concat())),
        1 => Just(framed(0xd0, &[])),
        // What only clients send, a second CONNACK, and types that there are not.
        1 => (any::<u8>(), vec(any::<u8>(), 0..20)).prop_map(|(kind, body)| framed(kind, &body)),
    ]
}

fn publish() -> impl Strategy<Value = Vec<u8>> {
    let topic = prop_oneof![
        8 => select(vec!["in/one", "in/two", "some/one", "in/\u{e9}"]).prop_map(|it| it.as_bytes().to_vec()),
        1 => select(vec!["", "in/#", "+/one", "\0", "$SYS/one", "/"]).prop_map(|it| it.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..300),
    ];
    let payload = prop_oneof![
        8 => vec(any::<u8>(), 0..10),
        1 => (0..2 * MAX_PACKET).prop_map(|n| vec![7; n]),
    ];
    let flags = prop_oneof![8 => select(vec![0_u8, 2, 4, 10, 12, 3, 5]), 1 => 0_u8..16];
    (topic, payload, flags, id()).prop_map(|(topic, payload, flags, id)| {
        let length = u16::try_from(topic.len()).expect("topics are short");
        let mut body = length.to_be_bytes().to_vec();
        body.extend(topic);
        // Both bits of the quality of service are drawn too, and say nothing.
        if flags & 0b110 != 0 {
            body.extend(id.to_be_bytes());
        }
        body.extend(payload);
        framed(0x30 | flags, &body)
    })
}

/// Mostly one that the client may have used.
fn id() -> impl Strategy<Value = u16> {
    prop_oneof![12 => 1_u16..16, 1 => Just(0), 1 => 60..120_u16, 1 => any::<u16>()]
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let index = any::<Index>;
    let bytes = || vec(any::<u8>(), 1..5);
    let lengths = prop_oneof![
        select(vec![
            vec![0xff, 0xff, 0xff, 0x7f],
            vec![0xff, 0xff, 0xff, 0xff, 1],
            vec![0],
            vec![0x80, 0],
        ]),
        bytes(),
    ];
    let mutation = prop_oneof![
        3 => (index(), index(), 0_u8..8).prop_map(|(packet, at, bit)| Mutation::Flip { packet, at, bit }),
        1 => (index(), index()).prop_map(|(packet, at)| Mutation::Truncate { packet, at }),
        1 => (index(), lengths).prop_map(|(packet, length)| Mutation::Length { packet, length }),
        1 => (index(), index(), bytes()).prop_map(|(packet, at, bytes)| Mutation::Insert { packet, at, bytes }),
        2 => index().prop_map(|packet| Mutation::Twice { packet }),
        2 => (index(), index()).prop_map(|(one, other)| Mutation::Swap { one, other }),
    ];
    prop_oneof![2 => Just(Vec::new()), 3 => vec(mutation, 1..4)]
}

impl Mutation {
    fn apply(self, packets: &mut Vec<Vec<u8>>) {
        let n = packets.len();
        if n == 0 {
            return;
        }
        match self {
            Mutation::Swap { one, other } => packets.swap(one.index(n), other.index(n)),
            Mutation::Twice { packet } => packets.push(packet.get(packets).clone()),
            Mutation::Flip { packet, at, bit } => {
                let packet = &mut packets[packet.index(n)];
                if !packet.is_empty() {
                    let at = at.index(packet.len());
                    packet[at] ^= 1 << bit;
                }
            }
            Mutation::Truncate { packet, at } => {
                let packet = &mut packets[packet.index(n)];
                packet.truncate(at.index(packet.len() + 1));
            }
            Mutation::Length { packet, length } => {
                let packet = &mut packets[packet.index(n)];
                if packet.len() > 1 {
                    packet.splice(1..2, length);
                }
            }
            Mutation::Insert { packet, at, bytes } => {
                let packet = &mut packets[packet.index(n)];
                let at = at.index(packet.len() + 1);
                packet.splice(at..at, bytes);
            }
        }
    }
}

/// A packet of this first byte, with the right length.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let digit = (left % 128) as u8;
        left /= 128;
        packet.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// Cut into writes at these places, with a pause at some.
fn split(bytes: &[u8], cuts: &[(Index, bool)]) -> Vec<Vec<u8>> {
    let mut places: Vec<_> = cuts
        .iter()
        .map(|(at, pauses)| (at.index(bytes.len() + 1), *pauses))
        .collect();
    places.sort_unstable();
    let (mut writes, mut begin) = (Vec::new(), 0);
    for (end, pauses) in places {
        if end > begin {
            writes.push(bytes[begin..end].to_vec());
            begin = end;
        }
        if pauses {
            writes.push(Vec::new());
        }
    }
    if begin < bytes.len() {
        writes.push(bytes[begin..].to_vec());
    }
    writes
}
