//! What is sent leaves with the flush, and what the encoder holds counts. A broker of this file answers
//! CONNECT, and reads on only when it is asked to.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    engine::{
        Engine, Event, Wait, WakePacket,
        iter::{state::IterEngine, waker::RequestWaker},
    },
    outbox::Waker,
    session::packet::{Outgoing, Packet},
    spec::{
        address::{Address, Scheme},
        qos::QoS,
        settings::Settings,
    },
    transport::resolve::Target,
};

/// More than any socket takes whose other end does not read.
const LARGE: usize = 16 * 1024 * 1024;

/// A connection, and the broker's end of it.
fn connected() -> (Box<IterEngine>, RequestWaker, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let broker = listener.local_addr().unwrap();
    let mut settings = Settings::new("sends".to_owned());
    settings.max_packet_size = 2 * LARGE;
    let (mut engine, waker) = IterEngine::new(settings, None).unwrap();
    let address = Address::Network {
        scheme: Scheme::Mqtt,
        host: broker.ip().to_string(),
        port: broker.port(),
        target: String::new(),
    };
    engine.set_target(&address, Target::Address(broker), None);
    let stream = thread::scope(|scope| {
        let accepted = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let mut connect = [0; 256];
            assert!(stream.read(&mut connect).unwrap() > 10);
            stream.write_all(b"\x20\x02\x00\x00").unwrap();
            stream
        });
        engine.connect().unwrap();
        accepted.join().unwrap()
    });
    (engine, waker, stream)
}

/// The next packet that is shorter than 128 bytes.
fn short_packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet).expect("it has left");
    packet.resize(2 + usize::from(packet[1]), 0);
    stream.read_exact(&mut packet[2..]).unwrap();
    packet
}

fn publish(packet_id: u16, bytes: usize) -> Packet {
    let message = Outgoing {
        topic: "t".to_owned(),
        qos: QoS::AtLeastOnce,
        retain: false,
        payload: vec![b'0' + packet_id as u8; bytes].into(),
    };
    Packet::Publish {
        packet_id,
        duplicate: true,
        message,
    }
}

/// Fails if a packet that was given to the encoder waits there until something else happens: nothing follows
/// DISCONNECT, and a SUBSCRIBE may be all that there is for a keep alive.
#[test]
fn what_is_sent_leaves_with_the_flush() {
    let (mut engine, _waker, mut stream) = connected();
    let filters = vec![("t".to_owned(), QoS::AtMostOnce)];
    let subscribe = Packet::Subscribe {
        packet_id: 7,
        filters,
    };
    let bytes = [&[0x82, 6, 0, 7, 0, 1, b't', 0][..], &[0xC0, 0], &[0xE0, 0]];
    for (packet, bytes) in [subscribe, Packet::Ping, Packet::Disconnect]
        .into_iter()
        .zip(bytes)
    {
        engine.send(packet).unwrap();
        engine.flush().unwrap();
        assert!(!engine.is_behind());
        assert_eq!(short_packet(&mut stream), bytes);
    }
}

/// Fails if a packet that the socket does not take is lost, refused, or overtaken.
#[test]
fn what_the_socket_does_not_take_is_sent_piece_by_piece() {
    let (mut engine, _waker, mut stream) = connected();
    // The broker reads nothing: the first one fills the socket and stays in the encoder.
    engine.send(publish(1, LARGE)).unwrap();
    engine.flush().unwrap();
    assert!(engine.is_behind());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut first = vec![0; 1 + 4 + 5 + LARGE];
            stream.read_exact(&mut first).unwrap();
            assert_eq!((first[0], first.last()), (0x3A, Some(&b'1')));
            for n in [b'2', b'3'] {
                let packet = short_packet(&mut stream);
                assert_eq!((packet[0], packet.last()), (0x3A, Some(&n)));
            }
        });
        while engine.is_behind() {
            engine.next(Wait::default()).unwrap();
        }
        engine.send(publish(2, 100)).unwrap();
        engine.send(publish(3, 100)).unwrap();
        engine.flush().unwrap();
    });
}

/// Fails if what is carried with a wake-up goes out under another identifier than the session's, also when that
/// has come round or is beyond rumqttc's table; or if it is taken for sent when it was not.
#[test]
fn what_is_carried_has_the_identifier_of_the_session() {
    let (mut engine, waker, mut stream) = connected();
    for packet_id in [1, 2, 30, 3, 31, 32, 1, 200, 4, 256, 1, 300, 2] {
        engine.set_next_id(packet_id);
        assert_eq!(engine.next_id(), Some(packet_id));
        let Packet::Publish { message, .. } = publish(packet_id, 1) else {
            panic!("a publish");
        };
        let carried = Packet::Publish {
            packet_id,
            duplicate: false,
            message,
        };
        assert!(!waker.wake());
        waker.wake_with(carried).unwrap();
        let event = engine.next(Wait::default()).unwrap();
        assert!(
            matches!(event, Some(Event::WakeSent(WakePacket::Other))),
            "{event:?}"
        );
        let sent = short_packet(&mut stream);
        assert_eq!((sent[0], &sent[5..7]), (0x32, &packet_id.to_be_bytes()[..]));
        // The broker acknowledges it, so that its identifier is free.
        let [high, low] = packet_id.to_be_bytes();
        stream.write_all(&[0x40, 2, high, low]).unwrap();
        let event = engine.next(Wait::default()).unwrap();
        assert!(
            matches!(event, Some(Event::Acknowledged { packet_id: its }) if its == packet_id),
            "{event:?}"
        );
    }
    assert!(!engine.close(), "all of it was sent");
    waker.wake_with(Packet::Disconnect).unwrap();
    assert!(engine.close(), "it was not");
}
