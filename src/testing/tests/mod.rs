//! Drives the broker with raw sockets: what the clients see is what is on the wire.
//!
//! Order comes from packets and from the broker's waits, never from sleeping. A client that waits
//! for a packet gives up after [`LIMIT`], so a broken broker fails the test and does not hang it.

// A test says that it failed by panicking.
#![allow(clippy::unwrap_used, clippy::panic)]

mod answers;
mod codec;
mod faults;
mod life;
mod messages;
mod sessions;
mod stream;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;

use super::packet::{Packet, WillMessage};
use super::{TestBroker, encode, wire};
use crate::spec::qos::QoS;

const LIMIT: Duration = Duration::from_secs(10);

fn broker() -> TestBroker {
    TestBroker::start().unwrap()
}

/// A client that does nothing by itself.
struct Client {
    socket: TcpStream,
    buffer: BytesMut,
}

/// What a client can find on its socket.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Packet(Packet),
    /// FIN.
    End,
    /// RST.
    Reset,
}

impl Client {
    fn open(broker: &TestBroker) -> Self {
        let socket = TcpStream::connect(broker.addr()).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            buffer: BytesMut::new(),
        }
    }

    /// Connected with a clean session.
    fn clean(broker: &TestBroker, client_id: &str) -> Self {
        let mut client = Self::open(broker);
        client.send(connect(client_id, true, None));
        assert_eq!(client.packet(), connack(0, false));
        client
    }

    /// Connected with `clean_session` false, and whether the broker had a session.
    fn resumed(broker: &TestBroker, client_id: &str) -> (Self, bool) {
        let mut client = Self::open(broker);
        client.send(connect(client_id, false, None));
        let connack = client.packet();
        let Packet::Connack {
            session_present,
            code: 0,
        } = connack
        else {
            panic!("refused: {connack}");
        };
        (client, session_present)
    }

    fn send(&mut self, packet: Packet) {
        self.send_with(packet, None);
    }

    fn send_with(&mut self, packet: Packet, password: Option<&str>) {
        let mut bytes = BytesMut::new();
        encode::encode_with(&packet, password, &mut bytes).unwrap();
        self.socket.write_all(&bytes).unwrap();
    }

    /// In one write.
    fn send_together(&mut self, packets: &[Packet]) {
        self.socket.write_all(&encoded(packets)).unwrap();
    }

    fn next(&mut self) -> Found {
        loop {
            if let Some(decoded) = wire::decode(&mut self.buffer, 1 << 28).unwrap() {
                return Found::Packet(decoded.packet);
            }
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Found::End,
                Ok(n_read) => self.buffer.extend_from_slice(&chunk[..n_read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Found::Reset,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Exactly this many bytes.
    fn bytes(&mut self, n_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; n_bytes];
        self.socket.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Nothing is on the socket. What is to give the broker the time to do wrong, such as another
    /// client's round trip, comes before.
    fn finds_nothing(&mut self) {
        self.socket.set_nonblocking(true).unwrap();
        let error = self.socket.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).unwrap();
    }

    fn packet(&mut self) -> Packet {
        match self.next() {
            Found::Packet(packet) => packet,
            other => panic!("{other:?} instead of a packet"),
        }
    }

    /// The broker has handled all that this client sent, and this client got all that the broker
    /// had for it: returns that.
    fn ping(&mut self) -> Vec<Packet> {
        self.send(Packet::Pingreq);
        let mut packets = Vec::new();
        loop {
            match self.packet() {
                Packet::Pingresp => return packets,
                packet => packets.push(packet),
            }
        }
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.send(subscribe(filter, qos));
        let codes = vec![u8::from(qos)];
        assert_eq!(
            self.packet(),
            Packet::Suback {
                packet_id: 9,
                codes
            }
        );
    }
}

fn encoded(packets: &[Packet]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for packet in packets {
        encode::encode(packet, &mut bytes).unwrap();
    }
    bytes
}

fn connect(client_id: &str, clean_session: bool, will: Option<WillMessage>) -> Packet {
    Packet::Connect {
        client_id: client_id.into(),
        clean_session,
        keep_alive: 0,
        username: None,
        has_password: false,
        will,
    }
}

fn connack(code: u8, session_present: bool) -> Packet {
    Packet::Connack {
        session_present,
        code,
    }
}

fn subscribe(filter: &str, qos: QoS) -> Packet {
    Packet::Subscribe {
        packet_id: 9,
        filters: vec![(filter.into(), qos)],
    }
}

fn publish(topic: &str, qos: QoS, packet_id: u16, payload: &str) -> Packet {
    Packet::Publish {
        topic: topic.into(),
        qos,
        retain: false,
        dup: false,
        packet_id,
        payload: payload.to_owned().into(),
    }
}

fn retained(topic: &str, qos: QoS, packet_id: u16, payload: &str) -> Packet {
    Packet::Publish {
        topic: topic.into(),
        qos,
        retain: true,
        dup: false,
        packet_id,
        payload: payload.to_owned().into(),
    }
}

fn repeated(topic: &str, qos: QoS, packet_id: u16, payload: &str) -> Packet {
    Packet::Publish {
        topic: topic.into(),
        qos,
        retain: false,
        dup: true,
        packet_id,
        payload: payload.to_owned().into(),
    }
}

fn will(topic: &str) -> WillMessage {
    WillMessage {
        topic: topic.into(),
        qos: QoS::AtMostOnce,
        retain: false,
        payload: "gone".into(),
    }
}
