//! Sessions, take-over and wills.

use super::*;
use crate::testing::Sessions;

#[test]
fn a_session_is_resumed_with_dup_and_the_same_ids() {
    let broker = broker();
    let (mut client, session_present) = Client::resumed(&broker, "c");
    assert!(!session_present);
    client.subscribe("t", QoS::ExactlyOnce);
    broker.publish("t", QoS::AtLeastOnce, false, "1").unwrap();
    broker.publish("t", QoS::ExactlyOnce, false, "2").unwrap();
    broker.publish("t", QoS::ExactlyOnce, false, "3").unwrap();
    assert_eq!(client.ping().len(), 3);
    client.send(Packet::Pubrec { packet_id: 2 });
    assert_eq!(client.packet(), Packet::Pubrel { packet_id: 2 });
    drop(client);
    broker.wait_disconnected("c", LIMIT).unwrap();
    broker.publish("t", QoS::AtLeastOnce, false, "4").unwrap();
    broker.publish("t", QoS::AtMostOnce, false, "lost").unwrap();

    let (mut client, session_present) = Client::resumed(&broker, "c");
    assert!(session_present);
    assert_eq!(
        client.ping(),
        [
            repeated("t", QoS::AtLeastOnce, 1, "1"),
            Packet::Pubrel { packet_id: 2 },
            repeated("t", QoS::ExactlyOnce, 3, "3"),
            publish("t", QoS::AtLeastOnce, 4, "4"),
        ]
    );
}

#[test]
fn qos_2_dedup_survives_a_reconnect_with_a_session() {
    let broker = broker();
    let (mut client, _) = Client::resumed(&broker, "c");
    client.send(publish("t", QoS::ExactlyOnce, 6, "x"));
    assert_eq!(client.packet(), Packet::Pubrec { packet_id: 6 });
    let mut subscriber = Client::clean(&broker, "s");
    subscriber.subscribe("t", QoS::AtMostOnce);
    let (mut client, _) = Client::resumed(&broker, "c");
    client.send(repeated("t", QoS::ExactlyOnce, 6, "x"));
    assert_eq!(client.packet(), Packet::Pubrec { packet_id: 6 });
    assert!(subscriber.ping().is_empty());
}

#[test]
fn a_clean_session_forgets() {
    let broker = broker();
    let (mut client, _) = Client::resumed(&broker, "c");
    client.subscribe("t", QoS::AtLeastOnce);
    drop(Client::clean(&broker, "c"));
    broker.wait_disconnected("c", LIMIT).unwrap();
    let (mut client, session_present) = Client::resumed(&broker, "c");
    assert!(!session_present);
    broker.publish("t", QoS::AtLeastOnce, false, "x").unwrap();
    assert!(client.ping().is_empty());
}

#[test]
fn a_second_connection_takes_over() {
    let broker = broker();
    let mut watcher = Client::clean(&broker, "watcher");
    watcher.subscribe("will", QoS::AtMostOnce);
    let mut first = Client::open(&broker);
    first.send(connect("c", true, Some(will("will"))));
    assert_eq!(first.packet(), connack(0, false));
    let mut second = Client::clean(&broker, "c");
    assert_eq!(first.next(), Found::End);
    assert_eq!(
        watcher.packet(),
        publish("will", QoS::AtMostOnce, 0, "gone")
    );
    assert!(second.ping().is_empty());
    assert_eq!(broker.connected(), ["c", "watcher"]);
    assert_eq!(broker.connects("c"), 2);
}

#[test]
fn a_will_is_published_unless_the_client_says_disconnect() {
    let broker = broker();
    let mut watcher = Client::clean(&broker, "watcher");
    watcher.subscribe("will/+", QoS::AtMostOnce);
    let open = |id: &str| {
        let mut client = Client::open(&broker);
        client.send(connect(id, true, Some(will(&format!("will/{id}")))));
        assert_eq!(client.packet(), connack(0, false));
        client
    };
    let mut polite = open("polite");
    polite.send(Packet::Disconnect);
    assert_eq!(polite.next(), Found::End);
    let mut kicked = open("kicked");
    assert!(broker.kick("kicked"));
    assert_eq!(kicked.next(), Found::End);
    drop(open("dropped"));
    broker.wait_disconnected("dropped", LIMIT).unwrap();
    open("garbage").send(Packet::Pingresp);
    broker.wait_disconnected("garbage", LIMIT).unwrap();
    assert_eq!(
        watcher.ping(),
        ["kicked", "dropped", "garbage"].map(|id| publish(
            &format!("will/{id}"),
            QoS::AtMostOnce,
            0,
            "gone"
        ))
    );
}

#[test]
fn the_keep_alive_is_enforced() {
    let broker = broker();
    let mut client = Client::open(&broker);
    let mut packet = connect("c", true, None);
    if let Packet::Connect { keep_alive, .. } = &mut packet {
        *keep_alive = 1;
    }
    client.send(packet);
    assert_eq!(client.packet(), connack(0, false));
    // One and a half seconds, the shortest that the protocol has.
    assert_eq!(client.next(), Found::End);
    assert!(broker.connected().is_empty());
}

#[test]
fn a_restart_keeps_or_loses_sessions() {
    let broker = broker();
    let addr = broker.addr();
    let (mut client, _) = Client::resumed(&broker, "c");
    client.subscribe("t", QoS::AtLeastOnce);
    broker.publish("r", QoS::AtMostOnce, true, "kept").unwrap();
    broker.publish("t", QoS::AtLeastOnce, false, "x").unwrap();
    assert_eq!(client.packet(), publish("t", QoS::AtLeastOnce, 1, "x"));
    broker.stop();
    assert_eq!(client.next(), Found::End);
    assert!(!broker.is_running());
    assert!(broker.connected().is_empty());
    let refused = TcpStream::connect(addr).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // The port is still ours. Only who insists on it, as std's listener does, could take it.
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    assert!(other.bind(&addr.into()).is_err());

    broker.restart(Sessions::Kept).unwrap();
    assert_eq!(broker.addr(), addr);
    let (mut client, session_present) = Client::resumed(&broker, "c");
    assert!(session_present);
    assert_eq!(client.packet(), repeated("t", QoS::AtLeastOnce, 1, "x"));
    client.subscribe("r", QoS::AtMostOnce);
    assert_eq!(client.packet(), retained("r", QoS::AtMostOnce, 0, "kept"));

    broker.restart(Sessions::Lost).unwrap();
    let (mut client, session_present) = Client::resumed(&broker, "c");
    assert!(!session_present);
    client.subscribe("r", QoS::AtMostOnce);
    assert!(client.ping().is_empty());
}
