//! What goes through the encoder because rumqttc does not come to its backlog: it leaves at once, and
//! counts there. A broker of this file answers CONNECT, and reads on only when it is asked to.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    client::{
        link::{Link, RumqttcBell, Wait},
        resolve::Hop,
        subscriptions::Opening,
    },
    publish::{flight::Repeat, message::Outgoing},
    spec::{
        address::{Address, Scheme},
        broker::Broker,
        qos::QoS,
        settings::Settings,
    },
};

/// More than any socket takes whose other end does not read.
const LARGE: usize = 16 * 1024 * 1024;

/// More calls than a packet waits for rumqttc's backlog.
const CALLS: usize = 100;

/// A connection, and the broker's end of it.
fn connected() -> (Box<Link>, RumqttcBell, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let broker = listener.local_addr().unwrap();
    let url = format!("mqtt://{broker}");
    let mut settings = Settings::new("stalled".to_owned(), Broker::from(url));
    settings.max_packet_size = 2 * LARGE;
    let (mut link, bell) = Link::new(settings, None).unwrap();
    let address = Address::Network {
        scheme: Scheme::Mqtt,
        host: broker.ip().to_string(),
        port: broker.port(),
        target: String::new(),
    };
    link.aim(&address, Hop::Address(broker), None);
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
        link.connect().unwrap();
        accepted.join().unwrap()
    });
    (link, bell, stream)
}

/// The next packet that is shorter than 128 bytes.
fn short_packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet).expect("it has left");
    packet.resize(2 + usize::from(packet[1]), 0);
    stream.read_exact(&mut packet[2..]).unwrap();
    packet
}

fn publish(packet_id: u16, bytes: usize) -> Repeat {
    let message = Outgoing {
        topic: "t".to_owned(),
        qos: QoS::AtLeastOnce,
        retain: false,
        payload: vec![b'0' + packet_id as u8; bytes].into(),
    };
    Repeat::Publish { packet_id, message }
}

/// Fails if a SUBSCRIBE that was put into the encoder waits there until something else is sent.
#[test]
fn a_subscribe_that_has_waited_leaves_at_once() {
    let (mut link, _bell, mut stream) = connected();
    let opening = Opening {
        subscribe: vec![vec![("t".to_owned(), QoS::AtMostOnce)]],
        ..Opening::default()
    };
    link.begin(opening, Vec::new(), None, 0);
    // On a line that always brings something rumqttc does not write its backlog: here it is not run at all.
    let is_open = (0..CALLS).any(|_| link.open(&mut |_| {}).unwrap());
    assert!(is_open);
    assert_eq!(short_packet(&mut stream)[0], 0x82);
}

/// Fails if a DISCONNECT that was put into the encoder waits there until something else is sent: nothing
/// follows it.
#[test]
fn a_disconnect_that_has_waited_leaves_at_once() {
    let (mut link, _bell, mut stream) = connected();
    let is_sent = (0..CALLS).any(|_| link.disconnect().unwrap());
    assert!(is_sent);
    assert_eq!(short_packet(&mut stream), [0xE0, 0]);
}

/// Fails if what is put into the encoder does not count there: what follows it would be refused by a socket
/// that is full, and a broker that reads slowly be taken for one that does not read.
#[test]
fn what_has_waited_counts_in_the_encoder() {
    let (mut link, _bell, mut stream) = connected();
    let repeats = vec![publish(1, LARGE), publish(2, 100), publish(3, 100)];
    link.begin(Opening::default(), repeats, None, 3);
    let open = |link: &mut Link| link.open(&mut |_| {}).expect("nothing is refused");
    // The broker reads nothing: the first one fills the socket and stays in the encoder.
    let is_open = (0..CALLS).any(|_| open(&mut link));
    assert!(!is_open && link.is_behind());
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
        while link.is_behind() || !open(&mut link) {
            link.next(Wait::default()).unwrap();
        }
    });
}
