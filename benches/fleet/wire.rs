//! As much of MQTT 3.1.1 on the wire as the instrument and the raw sockets need: packets are
//! encoded once and patched, and of what comes only headers are read.

/// What every payload begins with: its sequence number, its intended time, its client.
pub(crate) const HEAD: usize = 20;

pub(crate) const CONNECT: u8 = 1;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const PINGREQ: u8 = 12;
pub(crate) const DISCONNECT: u8 = 14;

pub(crate) const CONNACK_PACKET: [u8; 4] = [0x20, 2, 0, 0];
pub(crate) const PINGRESP_PACKET: [u8; 2] = [0xd0, 0];
pub(crate) const DISCONNECT_PACKET: [u8; 2] = [0xe0, 0];

/// The topic of a client, the same length for every number below 10,000.
pub(crate) fn topic(client: usize) -> String {
    format!("bench/{client:04}")
}

/// The client that a topic belongs to.
pub(crate) fn client_of(topic: &[u8]) -> Option<usize> {
    std::str::from_utf8(topic.get(6..)?).ok()?.parse().ok()
}

/// A packet's type, flags, body and whole length, if the whole packet is in the buffer.
pub(crate) struct Packet<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) body: &'a [u8],
    pub(crate) length: usize,
}

/// The packet at the beginning of a buffer; `None` if it is not complete yet.
#[inline]
pub(crate) fn packet(buffer: &[u8]) -> Option<Packet<'_>> {
    let first = *buffer.first()?;
    let mut remaining = 0_usize;
    let mut shift = 0;
    let mut head = 1;
    loop {
        let byte = *buffer.get(head)?;
        head += 1;
        remaining |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 21 {
            return None;
        }
    }
    let body = buffer.get(head..head + remaining)?;
    Some(Packet {
        kind: first >> 4,
        flags: first & 0x0f,
        body,
        length: head + remaining,
    })
}

/// A PUBLISH's topic, packet id (at QoS 1) and payload.
#[inline]
pub(crate) fn publish_of<'a>(packet: &Packet<'a>) -> Option<(&'a [u8], Option<u16>, &'a [u8])> {
    let length = usize::from(u16::from_be_bytes(packet.body.get(..2)?.try_into().ok()?));
    let topic = packet.body.get(2..2 + length)?;
    let rest = packet.body.get(2 + length..)?;
    if packet.flags & 0x06 == 0 {
        return Some((topic, None, rest));
    }
    let id = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
    Some((topic, Some(id), rest.get(2..)?))
}

/// The sequence number in a payload.
#[inline]
pub(crate) fn sequence_of(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.get(..8)?.try_into().ok()?))
}

/// The intended time in a payload, in nanoseconds since the epoch.
#[inline]
pub(crate) fn intended_of(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.get(8..16)?.try_into().ok()?))
}

/// The client's number in a payload.
#[inline]
pub(crate) fn number_of(payload: &[u8]) -> Option<usize> {
    let number = u32::from_le_bytes(payload.get(16..20)?.try_into().ok()?);
    usize::try_from(number).ok()
}

/// A payload of this length, with the client's number in its head.
pub(crate) fn payload(length: usize, client: usize) -> Vec<u8> {
    let mut payload = vec![b'.'; length.max(HEAD)];
    payload[..16].fill(0);
    let number = u32::try_from(client).unwrap_or(u32::MAX);
    payload[16..20].copy_from_slice(&number.to_le_bytes());
    payload
}

/// The packet id of a sequence number: they go round below 65,536.
#[inline]
pub(crate) fn id_of(sequence: u64) -> u16 {
    // The remainder is below 65,535, so that one more fits.
    (sequence % 65_535) as u16 + 1
}

/// A run of PUBLISH packets of one client, encoded once; numbers are patched in.
pub(crate) struct Run {
    bytes: Vec<u8>,
    packet: usize,
    id_at: Option<usize>,
    payload_at: usize,
}

impl Run {
    /// As many packets as fit into `room` bytes, at least one.
    pub(crate) fn new(topic: &[u8], qos: u8, payload: &[u8], room: usize) -> Self {
        let mut body = Vec::new();
        body.extend(u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes());
        body.extend(topic);
        let id_in_body = body.len();
        if qos > 0 {
            body.extend([0, 0]);
        }
        let payload_in_body = body.len();
        body.extend(payload);
        let packet = encoded(PUBLISH << 4 | qos << 1, &body);
        let head = packet.len() - body.len();
        let count = (room / packet.len()).max(1);
        Self {
            packet: packet.len(),
            id_at: (qos > 0).then_some(head + id_in_body),
            payload_at: head + payload_in_body,
            bytes: packet.repeat(count),
        }
    }

    /// How many packets it holds.
    pub(crate) fn capacity(&self) -> u64 {
        (self.bytes.len() / self.packet) as u64
    }

    /// The bytes of `count` packets, numbered from `sequence` on, each with its intended time.
    #[inline]
    pub(crate) fn numbered(
        &mut self,
        sequence: u64,
        count: u64,
        intended: impl Fn(u64) -> u64,
    ) -> &[u8] {
        let count = usize::try_from(count.min(self.capacity())).unwrap_or(0);
        let packets = self.bytes.chunks_exact_mut(self.packet).take(count);
        for (number, packet) in (sequence..).zip(packets) {
            if let Some(at) = self.id_at {
                packet[at..at + 2].copy_from_slice(&id_of(number).to_be_bytes());
            }
            let at = self.payload_at;
            packet[at..at + 8].copy_from_slice(&number.to_le_bytes());
            packet[at + 8..at + 16].copy_from_slice(&intended(number).to_le_bytes());
        }
        &self.bytes[..count * self.packet]
    }
}

/// CONNECT with a clean session.
pub(crate) fn connect(client_id: &str, keep_alive: u16) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2];
    body.extend(keep_alive.to_be_bytes());
    body.extend(
        u16::try_from(client_id.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    body.extend(client_id.as_bytes());
    encoded(CONNECT << 4, &body)
}

/// SUBSCRIBE to one filter, with the packet id 1.
pub(crate) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(
        u16::try_from(filter.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    body.extend(filter.as_bytes());
    body.push(qos);
    encoded(SUBSCRIBE << 4 | 2, &body)
}

/// The filters of a SUBSCRIBE, and its SUBACK.
pub(crate) fn subscription(packet: &Packet<'_>) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let mut rest = packet.body.get(2..)?;
    let mut filters = Vec::new();
    let mut answer = packet.body.get(..2)?.to_vec();
    while !rest.is_empty() {
        let length = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
        filters.push(rest.get(2..2 + length)?.to_vec());
        answer.push(*rest.get(2 + length)?);
        rest = &rest[3 + length..];
    }
    Some((filters, encoded(SUBACK << 4, &answer)))
}

/// A packet: its first byte, the length of its body, its body.
fn encoded(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        // Seven bits at a time.
        let byte = (rest & 0x7f) as u8;
        rest >>= 7;
        packet.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}
