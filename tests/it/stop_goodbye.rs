//! A stop says goodbye: DISCONNECT goes out whatever comes in, and behind the last acknowledgement.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, Outcome, QoS, Session};

use crate::support::fleet::{quick_retry, spec, start};
use crate::support::proc::wait_until;
use crate::support::receiving::{PATIENCE, publishes, subscribed};

const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const SUBSCRIBE_WITHOUT_ID: &[u8] = b"\x82\x06\x00\x01a\x00";
const DISCONNECT: &[u8] = b"\xe0\x00";

/// A QoS 0 message of one byte to "t".
const MESSAGE: &[u8] = b"\x30\x04\x00\x01tx";

/// Accepts a client and sends it messages without a pause, until it hangs up or the test is over.
fn flood(mut peer: &TcpStream, test: &Receiver<()>) {
    let many = MESSAGE.repeat(4_000);
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(&[CONNACK, &many].concat()).unwrap();
    while test.try_recv() == Err(TryRecvError::Empty) {
        if peer.write_all(&many).is_err() {
            return;
        }
    }
}

/// All that a client sends until it hangs up, which resets the connection: it does not read to the end.
fn all_from(mut peer: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut some = [0; 1024];
    while let Ok(n @ 1..) = peer.read(&mut some) {
        all.extend_from_slice(&some[..n]);
    }
    all
}

/// Fails if SUBSCRIBE or DISCONNECT are left to rumqttc's backlog, which is written when nothing has come in
/// for a millisecond: they would wait for as long as the flood lasts.
#[test]
fn a_flood_does_not_hold_disconnect_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        // Gone with the test, also when it fails: the scope waits for the flood.
        let (_test, is_over) = bounded::<()>(0);
        let spec = ClientSpec::new("flooded", address)
            .retry(quick_retry(1))
            .subscribe("a", QoS::AtMostOnce);
        let fleet = start([spec]);
        let (mut peer, _) = listener.accept().unwrap();
        assert!(peer.read(&mut [0; 1024]).unwrap() > 0, "CONNECT came");
        let sender = peer.try_clone().unwrap();
        scope.spawn(move || flood(&sender, &is_over));
        let sent = scope.spawn(move || all_from(&peer));
        wait_until("the flood is there", PATIENCE, || {
            fleet.stats().received > 20_000
        });

        let deadline = Duration::from_secs(3);
        let begin = Instant::now();
        let report = fleet.stop(deadline);
        let took = begin.elapsed();
        assert!(took < deadline / 2, "{took:?}: {report}");
        let outcome = report.client("flooded").unwrap().outcome();
        assert_eq!(*outcome, Outcome::Stopped);
        let mut sent = sent.join().unwrap();
        // The packet identifier is for rumqttc to choose.
        sent.drain(2..4);
        assert_eq!(sent, [SUBSCRIBE_WITHOUT_ID, DISCONNECT].concat());
    });
}

/// Fails if DISCONNECT overtakes acknowledgements that wait: the broker would send again what was handled.
///
/// In pull mode, where the test has it in its hands that all are released right before the stop. The first
/// one is dropped last: the others wait for it.
#[test]
fn what_was_handled_before_the_stop_is_acknowledged() {
    const MANY: usize = 300;
    for _ in 0..5 {
        let broker = TestBroker::builder().window(300).start().unwrap();
        let spec = spec("diligent", &broker)
            .session(Session::Kept)
            .subscribe("t", QoS::AtLeastOnce);
        let fleet = subscribed(Fleet::builder().client(spec));
        for _ in 0..MANY {
            let published = broker.publish("t", QoS::AtLeastOnce, false, "it");
            published.unwrap();
        }
        let messages = fleet.messages().unwrap();
        let mut taken: Vec<_> = (0..MANY)
            .map(|_| messages.recv_timeout(PATIENCE).unwrap())
            .collect();
        taken.reverse();
        drop(taken);
        let report = fleet.stop(PATIENCE);
        assert_eq!(report.exit_code(), 0, "{report}");

        broker.wait_disconnected("diligent", PATIENCE).unwrap();
        let seen = broker.seen();
        let received = publishes(&seen, "diligent", Direction::Out);
        let mut expected: Vec<_> = received
            .iter()
            .map(|it| Packet::Puback {
                packet_id: it.packet_id,
            })
            .collect();
        assert_eq!(expected.len(), MANY);
        expected.push(Packet::Disconnect);
        let sent = seen.iter().filter(|it| it.direction == Direction::In);
        // CONNECT and SUBSCRIBE.
        let sent: Vec<_> = sent.skip(2).map(|it| it.packet.clone()).collect();
        assert_eq!(sent, expected);
    }
}
