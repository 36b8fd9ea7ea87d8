//! What a connection of rumqttc does: which packets it reads at once, when its encoder waits, what comes
//! first, what a loss leaves.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{
    Client, Connection, ConnectionError, Disconnect, Event, MqttOptions, Outgoing, Packet, Publish,
    QoS, Request, StateError, Subscribe,
};

use crate::support::fleet::PATIENCE;

const CONNACK: &[u8] = b"\x20\x02\x00\x00";

/// A connection behind its CONNACK, and the broker's end of it, from which nothing is read but CONNECT.
struct Wire {
    client: Client,
    connection: Connection,
    peer: TcpStream,
    listener: TcpListener,
}

impl Wire {
    fn new() -> Wire {
        Wire::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut MqttOptions)) -> Wire {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut options = MqttOptions::new("c", "127.0.0.1", port);
        options.set_manual_acks(true).set_inflight(8);
        change(&mut options);
        let (client, mut connection) = Client::new(options, 4);
        let (event, peer) = connect(&mut connection, &listener, CONNACK);
        assert!(matches!(event, Ok(Event::Incoming(Packet::ConnAck(_)))));
        Wire {
            client,
            connection,
            peer,
            listener,
        }
    }

    fn next(&mut self) -> Event {
        self.connection.iter().next().unwrap().unwrap()
    }

    fn error(&mut self) -> ConnectionError {
        self.connection.iter().next().unwrap().unwrap_err()
    }

    fn feed(&mut self, packet: Packet) -> Poll<Result<(), StateError>> {
        let network = self.connection.eventloop.network.as_mut().unwrap();
        pin!(network.write(packet)).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn flush(&mut self) -> Poll<Result<(), StateError>> {
        let network = self.connection.eventloop.network.as_mut().unwrap();
        pin!(network.flush()).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn read(&mut self) -> Poll<Result<Packet, StateError>> {
        let network = self.connection.eventloop.network.as_mut().unwrap();
        pin!(network.read()).poll(&mut Context::from_waker(Waker::noop()))
    }
}

/// One attempt to connect, which is answered with these bytes.
fn connect(
    connection: &mut Connection,
    listener: &TcpListener,
    answer: &[u8],
) -> (Result<Event, ConnectionError>, TcpStream) {
    thread::scope(|scope| {
        let peer = scope.spawn(|| {
            let (mut peer, _) = listener.accept().unwrap();
            let mut head = [0; 2];
            peer.read_exact(&mut head).unwrap();
            assert_eq!(head[0], 0x10, "CONNECT");
            peer.read_exact(&mut vec![0; head[1].into()]).unwrap();
            peer.write_all(answer).unwrap();
            peer
        });
        let event = connection.iter().next().unwrap();
        (event, peer.join().unwrap())
    })
}

fn message(size: usize) -> Packet {
    Packet::Publish(Publish::new("t", QoS::AtMostOnce, vec![0; size]))
}

/// Relied on by `client/events.rs`, which reads on after these, and by `IterEngine::buffered`
/// (`IterEngine::pop_event`, `engine/iter/events.rs`): the first event is returned, the others wait in a queue that is public.
///
/// Fails when one call reads another number of packets.
#[test]
fn nine_packets_are_read_at_once() {
    let mut wire = Wire::new();
    let packet = b"\x30\x03\x00\x01t";
    // One write of 100 bytes comes as a whole.
    wire.peer.write_all(&packet.repeat(20)).unwrap();
    wire.next();
    assert_eq!(wire.connection.eventloop.state.events.len(), 8);
}

/// Relied on by `IterEngine::listen_for` and `IterEngine::go_on` (`engine/iter/wait.rs`): `recv_timeout` may cut a flush,
/// the rest stays in the encoder, and so do the events; flushing again sends it.
///
/// Fails when a flush that is cut loses bytes or ends the connection.
#[test]
fn a_flush_that_is_cut_goes_on_later() {
    const SIZE: usize = 30_000_000;
    let mut wire = Wire::with(|options| {
        options.set_max_packet_size(2 * SIZE, 2 * SIZE);
    });
    wire.connection
        .eventloop
        .network_options
        .set_connection_timeout(3_600);
    wire.client
        .try_publish("t", QoS::AtMostOnce, false, vec![0; SIZE])
        .unwrap();
    let cut = wire.connection.recv_timeout(Duration::from_millis(50));
    assert!(cut.is_err(), "nobody reads, and no socket holds as much");
    let events = &wire.connection.eventloop.state.events;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(wire.flush().is_pending());
    thread::scope(|scope| {
        let mut peer = wire.peer.try_clone().unwrap();
        let read = scope.spawn(move || peer.read_exact(&mut vec![0; SIZE]).is_ok());
        wire.connection.eventloop.state.events.clear();
        while wire.flush().is_pending() {
            let turn = wire.connection.recv_timeout(Duration::from_millis(1));
            assert!(turn.is_err(), "nothing comes");
        }
        assert!(read.join().unwrap());
    });
}

/// Relied on by `Line::finder` (`engine/iter/line.rs`): a waker that reading has left behind is dropped inside the
/// runtime, and that counts how often it sleeps: once for each piece of a packet that comes.
///
/// Fails when it is dropped elsewhere, or when pieces leave no trace.
#[test]
fn pieces_of_a_packet_wake_the_runtime_that_a_waker_finds() {
    struct Finder(Arc<OnceLock<tokio::runtime::Handle>>);
    impl Wake for Finder {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Finder {
        fn drop(&mut self) {
            let _ = self.0.set(tokio::runtime::Handle::current());
        }
    }
    let mut wire = Wire::new();
    let found = Arc::new(OnceLock::new());
    {
        let waker = Arc::new(Finder(Arc::clone(&found))).into();
        let network = wire.connection.eventloop.network.as_mut().unwrap();
        let read = pin!(network.read()).poll(&mut Context::from_waker(&waker));
        assert!(read.is_pending());
        // The first waker is replaced inside the runtime; this one is not the last that refers to it.
        std::mem::drop(waker);
    }
    assert!(
        wire.connection
            .recv_timeout(Duration::from_millis(5))
            .is_err()
    );
    let metrics = found.get().expect("the runtime is known").metrics();
    let before = metrics.worker_park_count(0);
    let mut peer = wire.peer.try_clone().unwrap();
    peer.write_all(b"\x30\x7f").unwrap();
    assert!(
        wire.connection
            .recv_timeout(Duration::from_millis(50))
            .is_err()
    );
    assert!(metrics.worker_park_count(0) > before);
}

/// Relied on by `IterEngine::encode` (`engine/iter/send.rs`) and `ROOM` (`budget.rs`): below this the
/// encoder takes any packet at once, without a runtime, and sends nothing before a flush.
///
/// Fails when the encoder waits earlier, or later, or sends by itself.
#[test]
fn the_encoder_takes_packets_at_once_below_8_kib() {
    let mut wire = Wire::new();
    // 15 of 512 bytes: 7,680.
    for _ in 0..15 {
        assert!(matches!(wire.feed(message(506)), Poll::Ready(Ok(()))));
    }
    // Any size is taken there.
    assert!(matches!(wire.feed(message(8_000)), Poll::Ready(Ok(()))));
    wire.peer.set_nonblocking(true).unwrap();
    let unread = wire.peer.read(&mut [0; 10]).unwrap_err();
    assert_eq!(unread.kind(), std::io::ErrorKind::WouldBlock);
    wire.peer.set_nonblocking(false).unwrap();
    // Above it, each packet is a flush first: until the socket is full, which nobody reads here.
    let full = (0..100_000).find(|_| wire.feed(message(8_000)).is_pending());
    assert!(full.is_some());
    assert!(wire.flush().is_pending());
}

/// Relied on by `IterEngine::begin_flush` (`engine/iter/wait.rs`) and `IterEngine::flush_answers` (`read.rs`): what was
/// encoded is sent with the next flush, ours or that of the next call.
///
/// Fails when a flush with a waker that wakes nobody sends nothing.
#[test]
fn a_flush_without_a_runtime_sends() {
    let mut wire = Wire::new();
    assert!(matches!(wire.feed(message(0)), Poll::Ready(Ok(()))));
    assert!(matches!(wire.flush(), Poll::Ready(Ok(()))));
    let mut came = [0; 5];
    wire.peer.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"\x30\x03\x00\x01t");
}

/// Relied on by `IterEngine::read_one` (`engine/iter/read.rs`).
///
/// Fails when reading without a runtime misses what has come, or waits for what has not.
#[test]
fn a_read_without_a_runtime_finds_what_the_last_call_left() {
    let mut wire = Wire::new();
    let packet = b"\x30\x03\x00\x01t";
    wire.peer.write_all(&packet.repeat(12)).unwrap();
    wire.next();
    let left = std::iter::from_fn(|| match wire.read() {
        Poll::Ready(Ok(packet)) => Some(packet),
        Poll::Ready(Err(error)) => panic!("{error}"),
        Poll::Pending => None,
    });
    let left = left.count();
    assert_eq!(1 + wire.connection.eventloop.state.events.len() + left, 12);
}

/// Relied on by `IterEngine::read_until_closed` (`engine/iter/closing.rs`): nothing may follow DISCONNECT.
///
/// Fails when a collision does not keep rumqttc from its channel any more, or keeps its backlog too.
#[test]
fn a_collision_closes_the_channel_and_not_the_backlog() {
    let mut wire = Wire::new();
    let hold = Publish::new("", QoS::AtLeastOnce, "");
    wire.connection.eventloop.state.collision = Some(hold);
    wire.client
        .try_publish("t", QoS::AtMostOnce, false, "1")
        .unwrap();
    let soon = Duration::from_millis(50);
    wire.connection.recv_timeout(soon).unwrap_err();
    let backlog = &mut wire.connection.eventloop.pending;
    backlog.push_back(Subscribe::new("f", QoS::AtMostOnce).into());
    assert_eq!(wire.next(), Event::Outgoing(Outgoing::Subscribe(1)));
    wire.connection.eventloop.state.collision = None;
    assert_eq!(wire.next(), Event::Outgoing(Outgoing::Publish(0)));
}

/// Relied on by `IterEngine::read_until_closed` (`engine/iter/closing.rs`): after DISCONNECT rumqttc reads on. And by
/// `IterEngine::close_socket`: its backlog is in the order in which it would leave, one request in a call.
///
/// Fails when the order is another one, or when rumqttc closes the connection itself.
#[test]
fn the_backlog_goes_first_and_disconnect_does_not_close() {
    let mut wire = Wire::new();
    wire.client
        .try_publish("t", QoS::AtMostOnce, false, "1")
        .unwrap();
    let backlog = &mut wire.connection.eventloop.pending;
    backlog.push_back(Request::Disconnect(Disconnect));
    assert_eq!(wire.next(), Event::Outgoing(Outgoing::Disconnect));
    wire.peer.write_all(b"\x30\x03\x00\x01t").unwrap();
    // In either order: it looks at both.
    let events = [wire.next(), wire.next()];
    assert!(events.contains(&Event::Outgoing(Outgoing::Publish(0))));
    assert!(
        events.contains(&Event::Incoming(Packet::Publish(Publish::new(
            "t",
            QoS::AtMostOnce,
            ""
        ))))
    );
}

/// Relied on by `IterEngine::close_socket` (`engine/iter/closing.rs`): what nobody has sent comes back at the loss,
/// but for PUBACKs; so does what was not acknowledged. PUBRECs are among it, and are dropped there.
///
/// Fails when a request is lost with the connection, or when its order is another one.
#[test]
fn a_loss_gives_back_what_was_in_flight_then_the_channel() {
    let mut wire = Wire::new();
    let publish = |wire: &Wire, payload: &'static str| {
        let published = wire
            .client
            .try_publish("t", QoS::AtLeastOnce, false, payload);
        published.unwrap();
    };
    publish(&wire, "sent");
    assert_eq!(wire.next(), Event::Outgoing(Outgoing::Publish(1)));
    publish(&wire, "waits");
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut received = Publish::new("", qos, "");
        received.pkid = 7;
        wire.client.try_ack(&received).unwrap();
    }
    let eventloop = &mut wire.connection.eventloop;
    eventloop.clean();
    assert!(eventloop.network.is_none());
    let back: Vec<_> = eventloop.pending.drain(..).collect();
    let [
        Request::Publish(sent),
        Request::Publish(waits),
        Request::PubRec(_),
    ] = &back[..]
    else {
        panic!("{back:?}");
    };
    assert_eq!((sent.pkid, &sent.payload[..]), (1, &b"sent"[..]));
    assert_eq!((waits.pkid, &waits.payload[..]), (0, &b"waits"[..]));
}

/// Relied on by `RequestWaker::wake_with` (`engine/iter/waker.rs`): an item that the channel does not take comes back with the error.
///
/// Fails when a full channel waits, or keeps it.
#[test]
fn a_full_channel_gives_the_request_back() {
    let wire = Wire::new();
    for _ in 0..4 {
        wire.client.try_disconnect().unwrap();
    }
    let refused = wire
        .client
        .try_publish("t", QoS::AtMostOnce, false, "1")
        .unwrap_err();
    let rumqttc::ClientError::TryRequest(Request::Publish(publish)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(&publish.payload[..], b"1");
}

/// Relied on by `IterEngine::attempt` (`engine/iter/mod.rs`): one call without a connection is one attempt,
/// to where the options of that moment say; CONNACK is its event, and the next call after a loss connects.
/// Its backlog does not outlive a CONNACK without a session; `IterEngine::close_socket` leaves none in any case.
///
/// Fails when one of these changes.
#[test]
fn each_call_without_a_connection_is_one_attempt() {
    let mut wire = Wire::new();
    drop(wire.peer);
    let lost = wire.connection.iter().next().unwrap().unwrap_err();
    assert!(
        matches!(
            lost,
            ConnectionError::MqttState(StateError::ConnectionAborted)
        ),
        "{lost:?}"
    );
    let eventloop = &mut wire.connection.eventloop;
    eventloop.pending.push_back(Request::Disconnect(Disconnect));
    // Where nothing listens, then where something does.
    let port = wire.listener.local_addr().unwrap().port();
    let options = |port| {
        let mut options = MqttOptions::new("other", "127.0.0.1", port);
        options.set_inflight(8).set_manual_acks(true);
        options
    };
    eventloop.mqtt_options = options(1);
    let failed = wire.connection.iter().next().unwrap().unwrap_err();
    assert!(matches!(failed, ConnectionError::Io(_)), "{failed:?}");
    wire.connection.eventloop.mqtt_options = options(port);
    assert_eq!(wire.connection.eventloop.pending.len(), 1);
    let (event, _peer) = connect(&mut wire.connection, &wire.listener, CONNACK);
    assert!(matches!(event, Ok(Event::Incoming(Packet::ConnAck(_)))));
    assert!(wire.connection.eventloop.pending.is_empty());
    assert!(wire.connection.eventloop.state.events.is_empty());
}

/// Relied on by `Context::state_cause` (`engine/iter/cause.rs`): by this text it knows a peer that closed
/// within its first packet.
///
/// Fails when the text, or the kind of the error, is another one.
#[test]
fn an_end_within_a_packet_has_this_text() {
    let mut wire = Wire::new();
    wire.peer.write_all(b"\x30\x03\x00").unwrap();
    drop(wire.peer);
    let error = wire.connection.iter().next().unwrap().unwrap_err();
    let ConnectionError::MqttState(StateError::Deserialization(CodecError::Io(error))) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::Other);
    assert_eq!(error.to_string(), "bytes remaining on stream");
}

/// Relied on by `convert::network_options`: the timeout is in whole seconds, and counts from the call to
/// CONNACK. Zero fails at once.
///
/// Fails when the timeout is another one.
#[test]
fn the_connection_timeout_is_from_connect_to_connack() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    for seconds in [0, 1] {
        let options = MqttOptions::new("c", "127.0.0.1", port);
        let (_client, mut connection) = Client::new(options, 1);
        let mut network = connection.eventloop.network_options();
        network.set_connection_timeout(seconds);
        connection.eventloop.set_network_options(network);
        let since = Instant::now();
        let error = connection.iter().next().unwrap().unwrap_err();
        assert!(
            matches!(error, ConnectionError::NetworkTimeout),
            "{error:?}"
        );
        assert!(since.elapsed() >= Duration::from_secs(seconds));
    }
}

/// Relied on by the keep alive in `docs/GUARANTEES.md`: a PINGREQ leaves once in each, whatever else is sent
/// or comes, and an unanswered one ends the connection at the next.
///
/// Fails when traffic puts the ping off, or when other packets count as its answer.
#[test]
fn pings_leave_whatever_else_is_sent() {
    let keep_alive = Duration::from_secs(1);
    let mut wire = Wire::with(|options| _ = options.set_keep_alive(keep_alive));
    let mut peer = wire.peer.try_clone().unwrap();
    let begun = Instant::now();
    let (mut pings, mut messages) = (0, 0);
    thread::scope(|scope| {
        // Whatever comes is answered with a message.
        scope.spawn(move || {
            peer.write_all(b"\x30\x03\x00\x01t").unwrap();
            while peer.read(&mut [0; 64]).is_ok_and(|n| n > 0) {
                // The client may have gone meanwhile.
                _ = peer.write_all(b"\x30\x03\x00\x01t");
            }
        });
        let error = loop {
            // Not while there always is something to send: a call that finds it looks at no timer.
            match wire.connection.iter().next().unwrap() {
                Ok(Event::Outgoing(Outgoing::PingReq)) if pings > 2 => break None,
                Ok(Event::Outgoing(Outgoing::PingReq)) => pings += 1,
                Ok(Event::Incoming(Packet::Publish(_))) if begun.elapsed() < PATIENCE => {
                    messages += 1;
                    let sent = wire.client.try_publish("t", QoS::AtMostOnce, false, "1");
                    sent.unwrap();
                }
                Ok(_) => {}
                Err(error) => break Some(error),
            }
        };
        // Before an assertion fails: the scope waits for the thread, which this ends.
        wire.connection.eventloop.clean();
        assert!(
            matches!(
                error,
                Some(ConnectionError::MqttState(StateError::AwaitPingResp))
            ),
            "{error:?}"
        );
    });
    assert_eq!(pings, 1);
    assert!(messages > 0);
    assert!(begun.elapsed() >= 2 * keep_alive);
}

/// Relied on by `Client::offer` (`client/handle.rs`), which refuses such a publish before it has an identifier: one that is
/// above the encoder's limit is in flight all the same, and comes back under its identifier.
///
/// Fails when rumqttc forgets it, or keeps it without an identifier.
#[test]
fn a_publish_that_is_too_large_is_in_flight() {
    let mut wire = Wire::with(|options| _ = options.set_max_packet_size(100, 100));
    wire.client
        .try_publish("t", QoS::AtLeastOnce, false, vec![0; 200])
        .unwrap();
    let error = wire.error();
    assert!(
        matches!(
            error,
            ConnectionError::MqttState(StateError::Deserialization(
                CodecError::OutgoingPacketTooLarge { max: 100, .. }
            ))
        ),
        "{error:?}"
    );
    let pending = &wire.connection.eventloop.pending;
    assert!(
        matches!(&pending[0], Request::Publish(publish) if publish.pkid == 1),
        "{pending:?}"
    );
}
