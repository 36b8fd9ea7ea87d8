//! Values for people, policies and streams, as a program writes them.

use std::{sync::mpsc, time::Duration};

use mqtt_fleet::{
    ClientSpec, Error, Fleet, Message, OnFailure, Problem, QoS, Repeat, StartError, StateChange,
    testing::TestBroker,
};

const LIMIT: Duration = Duration::from_secs(10);

fn fleet(broker: &TestBroker) -> Fleet {
    let spec = ClientSpec::new("plant", broker.url()).subscribe("t", QoS::AtLeastOnce);
    let fleet = Fleet::builder().client(spec).start().unwrap();
    fleet.wait_subscribed(LIMIT).unwrap();
    fleet
}

/// Fails when a program has to write a line of its own to print how a client is doing.
#[test]
fn counts_are_printed_in_a_line() {
    let broker = TestBroker::start().unwrap();
    let fleet = fleet(&broker);
    let client = fleet.client("plant").unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let receipt = client.publish("u", qos, false, qos.to_string()).unwrap();
        receipt.wait_timeout(LIMIT).unwrap();
    }
    assert_eq!(broker.published("u"), ["QoS 0", "QoS 1", "QoS 2"]);
    let line = "accepted 3, acknowledged 2, sent 1";
    assert_eq!(client.ledger().to_string(), line);
    assert_eq!(
        client.stats().to_string(),
        format!("connects 1, published: {line}")
    );
}

/// Fails when a stream is not an iterator in each of the ways that a channel of std is, or has other errors.
#[test]
fn streams_are_received_from_as_std_channels_are() {
    let broker = TestBroker::start().unwrap();
    let fleet = fleet(&broker);
    let (messages, states) = (fleet.messages().unwrap(), fleet.states());
    assert_eq!(messages.try_recv().unwrap_err(), mpsc::TryRecvError::Empty);
    let late = messages.recv_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(late, mpsc::RecvTimeoutError::Timeout);
    assert!(matches!(Error::from(late), Error::ReceiveTimeout));
    for payload in ["1", "2", "3"] {
        broker
            .publish("t", QoS::AtMostOnce, false, payload)
            .unwrap();
    }
    let text = |message: Message| message.text().into_owned();
    assert_eq!(messages.iter().take(1).map(text).collect::<String>(), "1");
    assert_eq!(
        (&messages)
            .into_iter()
            .take(1)
            .map(text)
            .collect::<String>(),
        "2"
    );
    assert_eq!(messages.recv().map(text), Ok("3".to_owned()));
    fleet.stop(LIMIT);
    assert_eq!(messages.recv().unwrap_err(), mpsc::RecvError);
    assert!(matches!(Error::from(mpsc::RecvError), Error::Disconnected));
    assert_eq!(messages.into_iter().count(), 0);
    let seen: Vec<StateChange> = states.clone().into_iter().collect();
    assert!(seen.last().unwrap().state().is_ended());
    assert_eq!((&states).into_iter().count(), 0);
    assert_eq!(
        states.try_recv().unwrap_err(),
        mpsc::TryRecvError::Disconnected
    );
}

/// Fails when the pauses between repetitions are others than those that were asked for.
#[test]
fn repetitions_have_the_pauses_that_were_asked_for() {
    let pause = Duration::from_millis(60);
    let broker = TestBroker::start().unwrap();
    let (told, calls) = crossbeam_channel::bounded(10);
    let fleet = Fleet::builder()
        .client(ClientSpec::new("plant", broker.url()).subscribe("t", QoS::AtLeastOnce))
        .on_message("t", move |_message, _clients| {
            told.send(std::time::Instant::now())?;
            Err("no".into())
        })
        .on_failure(OnFailure::Retry(Repeat::times(2).pause(pause..=pause)))
        .start()
        .unwrap();
    fleet.wait_subscribed(LIMIT).unwrap();
    broker.publish("t", QoS::AtLeastOnce, false, "").unwrap();
    let next = || calls.recv_timeout(LIMIT).unwrap();
    let times = [next(), next(), next()];
    assert!(times[1] - times[0] >= pause && times[2] - times[1] >= pause);
    fleet.stop(LIMIT);
    assert!(calls.try_recv().is_err());
}

#[test]
fn pauses_of_repetitions_are_checked() {
    let second = Duration::from_secs(1);
    for pauses in [second * 2..=second, second..=Duration::MAX] {
        let error = Fleet::builder()
            .client(ClientSpec::new("plant", "mqtt://h"))
            .on_failure(OnFailure::Retry(Repeat::times(1).pause(pauses)))
            .start()
            .unwrap_err();
        let StartError::Fleet { field, problem } = error else {
            panic!("{error}");
        };
        assert_eq!(field, "on_failure");
        assert!(matches!(
            problem,
            Problem::Text(_) | Problem::OutOfRange { .. }
        ));
    }
}
