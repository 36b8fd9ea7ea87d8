//! What may be published: topics and payloads as a program has them, and a message as one value.

use std::{borrow::Cow, time::Duration};

use bytes::{Bytes, BytesMut};
use mqtt_fleet::{
    Client, ClientSpec, Fleet, Payload, Publish, PublishErrorKind, QoS, Will,
    testing::{Direction, TestBroker},
};

use crate::support::receiving::publishes;

const LIMIT: Duration = Duration::from_secs(10);

fn fleet(broker: &TestBroker) -> Fleet {
    let spec = ClientSpec::new("plant", broker.url()).client_id("plant");
    let fleet = Fleet::builder().client(spec).start().unwrap();
    fleet.wait_connected(LIMIT).unwrap();
    fleet
}

/// Fails when a call does not take a topic or a payload in one of the forms that programs have them in, or
/// sends something else. Each stands on the stack, shorter lived than the client.
#[test]
fn topics_and_payloads_are_taken_as_they_are() {
    let broker = TestBroker::start().unwrap();
    let fleet = fleet(&broker);
    let client = fleet.client("plant").unwrap();
    // Small ones are packed, large ones are not.
    let mut expected = 0;
    for size in [0, 1, 511, 513, 3_000] {
        let text = "x".repeat(size);
        let bytes = Bytes::from(text.clone());
        let vec = text.clone().into_bytes();
        let topic = String::from("t");
        let qos = QoS::AtLeastOnce;
        let receipts = [
            client.publish("t", qos, false, &text),
            client.publish(&topic, qos, false, text.as_str()),
            client.publish(topic.clone(), qos, false, text.as_bytes()),
            client.publish(Cow::Borrowed("t"), qos, false, text.clone()),
            client.publish(Cow::Owned(topic.clone()), qos, false, &bytes),
            client.try_publish(&topic, qos, false, bytes.clone()),
            client.try_publish(topic.as_str(), qos, false, vec.clone()),
            client.try_publish("t", qos, false, &vec),
            client.publish_timeout("t", qos, false, Cow::Borrowed(text.as_str()), LIMIT),
            client.publish_timeout("t", qos, false, Cow::Borrowed(text.as_bytes()), LIMIT),
            client.publish("t", qos, false, BytesMut::from(text.as_str())),
            client.publish(
                "t",
                qos,
                false,
                text.clone().into_bytes().into_boxed_slice(),
            ),
            client.publish("t", qos, false, Payload::from(&text)),
        ];
        expected += receipts.len();
        for receipt in receipts {
            receipt.unwrap().wait_timeout(LIMIT).unwrap();
        }
        assert_eq!(broker.published("t").len(), expected);
        let new = broker.published("t").split_off(expected - 13);
        assert!(new.iter().all(|payload| *payload == text), "{size}");
    }
}

#[test]
fn arrays_are_payloads() {
    let broker = TestBroker::start().unwrap();
    let fleet = fleet(&broker);
    let client = fleet.client("plant").unwrap();
    let lent = [7; 600];
    for receipt in [
        client.publish("a", QoS::AtLeastOnce, false, [1, 2, 3]),
        client.publish("a", QoS::AtLeastOnce, false, b"123"),
        client.publish("a", QoS::AtLeastOnce, false, &lent[..]),
        client.publish("a", QoS::AtLeastOnce, false, lent),
    ] {
        receipt.unwrap().wait_timeout(LIMIT).unwrap();
    }
    let published = broker.published("a");
    assert_eq!(published, [&[1, 2, 3][..], b"123", &lent, &lent]);
}

/// Fails when a message that is one value is sent in another way than by the call with four arguments.
#[test]
fn a_message_as_one_value() {
    let broker = TestBroker::start().unwrap();
    let fleet = fleet(&broker);
    let client = fleet.client("plant").unwrap();
    let publish = |topic| Publish::new(topic, "on").qos(QoS::ExactlyOnce).retain(true);
    let receipts = [
        client.send(publish("sent")),
        client.try_send(publish("tried")),
        client.send_timeout(publish("timed"), LIMIT),
        client.send(Publish::new("plain", "on")),
    ];
    for receipt in receipts {
        receipt.unwrap().wait_timeout(LIMIT).unwrap();
    }
    broker
        .wait_for(|_| broker.published("plain") == ["on"], LIMIT)
        .unwrap();
    let expected = [
        ("sent", QoS::ExactlyOnce, true),
        ("tried", QoS::ExactlyOnce, true),
        ("timed", QoS::ExactlyOnce, true),
        ("plain", QoS::AtMostOnce, false),
    ];
    let seen = publishes(&broker.seen(), "plant", Direction::In);
    let seen: Vec<_> = seen
        .iter()
        .map(|it| (it.topic.as_str(), it.qos, it.retain))
        .collect();
    assert_eq!(seen, expected);
}

/// Fails when what is not taken does not come back as it was, its quality of service and its flag included.
#[test]
fn what_is_not_taken_comes_back_and_can_be_sent() {
    fn refused(client: &Client, publish: Publish<'_>) -> (PublishErrorKind, Publish<'static>) {
        let error = client.try_send(publish).unwrap_err();
        (error.kind(), error.into_publish())
    }
    let broker = TestBroker::start().unwrap();
    let nowhere = ClientSpec::new("away", "mqtt://127.0.0.1:1").outbox_capacity(1);
    let here = ClientSpec::new("here", broker.url()).client_id("here");
    let fleet = Fleet::builder()
        .client(nowhere)
        .client(here)
        .start()
        .unwrap();
    let away = fleet.client("away").unwrap();
    away.publish("t", QoS::AtMostOnce, false, "first").unwrap();
    for size in [1, 3_000] {
        let text = "x".repeat(size);
        let publish = Publish::new("t", &text).qos(QoS::AtLeastOnce).retain(true);
        let (kind, back) = refused(&away, publish.clone());
        assert_eq!((kind, &back), (PublishErrorKind::Full, &publish));
        drop(text);
        let receipt = fleet.client("here").unwrap().send(back).unwrap();
        receipt.wait_timeout(LIMIT).unwrap();
        let seen = publishes(&broker.seen(), "here", Direction::In);
        let last = seen.last().unwrap();
        assert_eq!((last.payload.len(), last.qos), (size, QoS::AtLeastOnce));
        assert!(last.retain);
    }
    fleet.stop_now(LIMIT);
}

/// Fails when will and birth message take less than the calls that publish.
#[test]
fn will_and_birth_take_the_same() {
    let text = String::from("online");
    let bytes = [0xff, 0x00];
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .client_id("plant")
        .will(Will::new(&text, &bytes[..]))
        .birth(text.as_str(), QoS::AtLeastOnce, false, &text);
    let watch = ClientSpec::new("watch", broker.url()).subscribe("online", QoS::AtLeastOnce);
    let watch = Fleet::builder().client(watch).start().unwrap();
    watch.wait_subscribed(LIMIT).unwrap();
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let next = || watch.messages().unwrap().recv_timeout(LIMIT).unwrap();
    assert_eq!(next().payload(), "online");
    broker.cut("plant");
    assert_eq!(next().payload(), &bytes[..]);
    fleet.stop_now(LIMIT);
}
