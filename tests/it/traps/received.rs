//! The traps of what comes in.

use super::*;

/// Fails when a repeated PUBREL is taken for an error: it comes again on each connection, so that
/// rumqttc connects in an endless loop.
#[test]
fn pubrel_replay() {
    fn script(broker: &TestBroker) {
        // PUBREC arrives, PUBCOMP is lost with the connection.
        broker.cut_after("plant", 2);
        broker.publish("t", QoS::ExactlyOnce, false, "1").unwrap();
    }
    let broker = TestBroker::start().unwrap();
    let mut kept = options(&broker);
    kept.set_clean_session(false);
    beside(&broker, kept, |client, events| {
        subscribe_plainly(client, events);
        script(&broker);
        wait_connects(&broker, "plant", 6);
    });
    assert_eq!(count_in(&broker.seen(), "plant", is_pubcomp), 1);
    let broker = TestBroker::start().unwrap();
    let fleet = ours(
        spec(&broker)
            .session(Session::Kept)
            .subscribe("t", QoS::ExactlyOnce),
    );
    script(&broker);
    drop(fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap());
    wait_for_in(&broker, "plant", 2, is_pubcomp);
    fleet.stop(STOP);
    assert_eq!(broker.connects("plant"), 2);
}

/// Fails when an acknowledgement of a lost connection goes out on the next one, where the broker takes it
/// for that of another message.
#[test]
fn stale_ack() {
    let publish = |broker: &TestBroker, payload: &'static str| {
        let published = broker.publish("t", QoS::AtLeastOnce, false, payload);
        published.unwrap();
    };
    let broker = TestBroker::start().unwrap();
    let mut manual = options(&broker);
    manual.set_manual_acks(true);
    beside(&broker, manual, |client, events| {
        let receive = || match wait_for_event(events, |it| {
            matches!(it, Event::Incoming(Incoming::Publish(_)))
        }) {
            Event::Incoming(Incoming::Publish(publish)) => publish,
            _ => unreachable!(),
        };
        subscribe_plainly(client, events);
        publish(&broker, "old");
        let old = receive();
        broker.cut("plant");
        wait_connects(&broker, "plant", 2);
        subscribe_plainly(client, events);
        publish(&broker, "new");
        let new = receive();
        assert_eq!((new.pkid, &new.payload[..]), (old.pkid, &b"new"[..]));
        client.ack(&old).unwrap();
        // "new" is acknowledged, and nobody has handled it.
        wait_for_in(&broker, "plant", 1, is_puback);
    });
    let broker = TestBroker::start().unwrap();
    let fleet = ours(spec(&broker).subscribe("t", QoS::AtLeastOnce));
    publish(&broker, "old");
    let old = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    reconnect(&broker, &fleet.client("plant").unwrap(), |id| {
        broker.cut(id)
    });
    fleet.wait_subscribed(PATIENCE).unwrap();
    publish(&broker, "new");
    let new = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!(new.text(), "new");
    drop(old);
    // Whatever the old one had sent would be in the record before this.
    with_us(&fleet)(0);
    wait_for_publishes(&broker, "plant", 1);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 0);
    drop(new);
    wait_for_in(&broker, "plant", 1, is_puback);
    fleet.stop(STOP);
}

/// Fails when a message is acknowledged before its handler has returned: one that dies with the process
/// then is lost, and rumqttc answers a whole batch before it shows the first of it.
#[test]
fn ack_before_handling() {
    let publish = |broker: &TestBroker| {
        for n in 0..5 {
            broker
                .publish("t", QoS::AtLeastOnce, false, numbered(n))
                .unwrap();
        }
    };
    let broker = TestBroker::start().unwrap();
    let (client, mut connection) = rumqttc::Client::new(options(&broker), 10);
    client.subscribe("t", rumqttc::QoS::AtLeastOnce).unwrap();
    for event in connection.iter() {
        match event.unwrap() {
            Event::Incoming(Incoming::SubAck(_)) => publish(&broker),
            // Nobody has looked at its payload yet.
            Event::Incoming(Incoming::Publish(_)) => break,
            _ => {}
        }
    }
    wait_for_in(&broker, "plant", 1, is_puback);
    let broker = TestBroker::start().unwrap();
    let (mut gate, door) = gate();
    let spec = spec(&broker).subscribe("t", QoS::AtLeastOnce);
    let builder = Fleet::builder().client(spec).workers(1);
    let fleet = subscribed(builder.on_message("t", move |message, _clients| {
        door.pass(message);
        Ok(())
    }));
    publish(&broker);
    gate.wait_for_one();
    with_us(&fleet)(0);
    wait_for_publishes(&broker, "plant", 1);
    assert_eq!(count_in(&broker.seen(), "plant", is_puback), 0);
    gate.open();
    wait_for_in(&broker, "plant", 5, is_puback);
    fleet.stop(STOP);
}
