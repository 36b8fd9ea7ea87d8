//! The main promises once more, against a real broker.

use std::time::Duration;

use crossbeam_channel::unbounded;
use mqtt_fleet::{ClientSpec, Fleet, Outcome, QoS, Retry, Session, Will};

use crate::support::mosquitto::Mosquitto;
use crate::support::proc::wait_until;
use crate::support::receiving::{
    Got, PATIENCE, gate, number, numbered, subscribed, take, tireless,
};

const STOP: Duration = Duration::from_secs(10);

/// Fails when a message is lost, repeated or out of order on its way through a real broker and back, at
/// any quality of service.
#[test]
fn round_trips_through_handlers() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    round_trips(&mosquitto, QoS::AtMostOnce, 100);
    round_trips(&mosquitto, QoS::AtLeastOnce, 100);
    // What exceeds its `max_inflight_messages` mosquitto acknowledges to the end and never delivers.
    round_trips(&mosquitto, QoS::ExactlyOnce, 20);
}

/// Fails when more QoS 2 messages are under way than mosquitto takes: it loses those beyond 20.
#[test]
fn round_trips_at_qos_2_with_the_default_window() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    round_trips(&mosquitto, QoS::ExactlyOnce, 100);
}

fn round_trips(mosquitto: &Mosquitto, qos: QoS, window: u16) {
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(
                ClientSpec::new("plant", mosquitto.url())
                    .window(window)
                    .subscribe("round/+", qos),
            )
            .workers(2)
            .on_message("round/+", move |message, _clients| {
                sink.send((message.qos(), Got::of(message)))?;
                Ok(())
            }),
    );
    let client = fleet.client("plant").unwrap();
    for n in 0..200 {
        let topic = format!("round/{}", n % 2);
        client.publish(topic, qos, false, numbered(n)).unwrap();
    }
    let all = take(&handled, 200);
    for topic in 0..2 {
        let name = format!("round/{topic}");
        let of = all.iter().filter(|(_, got)| got.topic == name);
        let numbers: Vec<usize> = of.map(|(_, got)| number(got.text.as_bytes())).collect();
        assert_eq!(numbers, (0..100).map(|n| 2 * n + topic).collect::<Vec<_>>());
    }
    assert!(all.iter().all(|(received, _)| *received == qos));
    let report = fleet.stop(STOP);
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!((report.total().received, report.total().connects), (200, 1));
    assert_eq!(handled.len(), 0);
}

/// Fails when pull mode does not get what others publish, or what the broker has retained.
#[test]
fn pull_mode_receives_what_others_publish() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    mosquitto.publish("state/pump", "on", 1, true);
    let fleet =
        subscribed(Fleet::builder().client(
            ClientSpec::new("plant", mosquitto.url()).subscribe("state/+", QoS::ExactlyOnce),
        ));
    for qos in 0..3 {
        mosquitto.publish("state/valve", [qos, 0, 0xFF], qos, false);
    }
    let mut messages = Vec::new();
    for _ in 0..4 {
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        messages.push((
            message.topic().to_owned(),
            message.payload().to_vec(),
            u8::from(message.qos()),
            message.retain(),
        ));
    }
    let valve = |qos| ("state/valve".to_owned(), vec![qos, 0, 0xFF], qos, false);
    let pump = ("state/pump".to_owned(), b"on".to_vec(), 1, true);
    assert_eq!(messages, [pump, valve(0), valve(1), valve(2)]);
    fleet.stop(STOP);
}

/// Fails when a client does not come back after a power cut of the broker, or comes back deaf, or loses
/// what was published meanwhile.
#[test]
fn after_a_power_cut_all_is_as_before() {
    let Some(mut mosquitto) = Mosquitto::start() else {
        return;
    };
    let fleet = subscribed(
        Fleet::builder().clients(
            ClientSpec::new("dev-{i}", mosquitto.url())
                .retry(tireless())
                .subscribe("cmd/{i}", QoS::AtLeastOnce)
                .times(10),
        ),
    );
    mosquitto.kill();
    for client in fleet.clients().iter() {
        client.wait_disconnected(PATIENCE).unwrap();
        let topic = client.name().replace("dev-", "cmd/");
        for n in 0..5 {
            client
                .publish(topic.as_str(), QoS::AtLeastOnce, false, numbered(n))
                .unwrap();
        }
    }
    mosquitto.restart();
    let mut numbers = vec![Vec::new(); 10];
    for _ in 0..50 {
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        let client = number(message.topic().replace("cmd/", "").as_bytes());
        numbers[client].push(number(message.payload()));
    }
    assert!(
        numbers.iter().all(|it| *it == [0, 1, 2, 3, 4]),
        "{numbers:?}"
    );
    let report = fleet.stop(STOP);
    assert_eq!(report.exit_code(), 0, "{report}");
    assert_eq!((report.total().connects, report.total().losses), (20, 10));
}

/// Fails when an unhandled message was acknowledged, or a handled one was not: a broker that kept the
/// session sends the first again, and the second not.
#[test]
fn a_kept_session_brings_back_what_was_not_handled() {
    let builder = Mosquitto::builder().persistence(true);
    let Some(mut mosquitto) = builder.start() else {
        return;
    };
    let (gate, door) = gate();
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .client(
                ClientSpec::new("plant", mosquitto.url())
                    .client_id("plant")
                    .session(Session::Kept)
                    .retry(tireless())
                    .subscribe("t", QoS::AtLeastOnce),
            )
            .workers(1)
            .on_message("t", move |message, _clients| {
                door.pass(message);
                sink.send((message.text().into_owned(), message.duplicate()))?;
                Ok(())
            }),
    );
    let client = fleet.client("plant").unwrap();
    for text in ["first", "second"] {
        mosquitto.publish("t", text, 1, false);
    }
    assert_eq!(gate.wait_for_one(), "first");
    gate.let_one_pass();
    assert_eq!(gate.wait_for_one(), "second");
    // A message to itself: what was acknowledged before it is with the broker when it has come.
    client
        .publish("t", QoS::AtLeastOnce, false, "third")
        .unwrap();
    wait_until("the third has come", PATIENCE, || {
        client.stats().received == 3
    });
    mosquitto.stop();
    client.wait_disconnected(PATIENCE).unwrap();
    mosquitto.restart();
    // In the lane wait the old third, which nobody has to handle any more, and the two that come
    // again.
    wait_until("two come again", PATIENCE, || client.stats().received == 5);
    for _ in 0..3 {
        gate.let_one_pass();
    }
    let all = take(&handled, 4);
    let texts = |duplicate| -> Vec<&str> {
        let of = all.iter().filter(|(_, it)| *it == duplicate);
        of.map(|(text, _)| text.as_str()).collect()
    };
    assert_eq!(texts(false), ["first", "second"]);
    assert_eq!(texts(true), ["second", "third"]);
    assert_eq!(fleet.stop(STOP).total().repeated, 1);
}

/// Fails when a client tries more or less often than it was told, or does not end.
#[test]
fn three_attempts_when_it_is_gone() {
    let Some(mut mosquitto) = Mosquitto::start() else {
        return;
    };
    let retry = Retry::attempts(3)
        .pause(Duration::from_millis(1)..=Duration::from_millis(10))
        .stable_after(Duration::ZERO);
    let template = ClientSpec::new("dev-{i}", mosquitto.url()).retry(retry);
    let fleet = subscribed(Fleet::builder().clients(template.times(3)));
    mosquitto.kill();
    fleet.wait_ended(PATIENCE).unwrap();
    let report = fleet.join();
    for client in report.clients() {
        let outcome = client.outcome();
        assert!(
            matches!(outcome, Outcome::RetriesExhausted { attempts: 3, .. }),
            "{outcome}"
        );
        let stats = client.stats();
        assert_eq!((stats.losses, stats.failed_attempts), (1, 3));
    }
    assert_eq!(report.exit_code(), 1);
}

/// Fails when clients get in each other's way: two hundred, each of which hears itself and its neighbor.
#[test]
fn two_hundred_clients_publish_and_receive() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let (sink, handled) = unbounded();
    let fleet = subscribed(
        Fleet::builder()
            .clients(
                ClientSpec::new("dev-{i}", mosquitto.url())
                    .subscribe("to/{name}", QoS::AtLeastOnce)
                    .times(200),
            )
            .workers(4)
            .on_message("to/+", move |message, _clients| {
                sink.send(Got::of(message))?;
                Ok(())
            }),
    );
    for (n, client) in fleet.clients().iter().enumerate() {
        for to in [n, (n + 1) % 200] {
            let topic = format!("to/dev-{to}");
            client
                .publish(topic, QoS::AtLeastOnce, false, client.name().to_owned())
                .unwrap();
        }
    }
    let mut all: Vec<(String, String)> = take(&handled, 400)
        .into_iter()
        .map(|got| (got.client, got.text))
        .collect();
    all.sort();
    let mut expected: Vec<(String, String)> = (0..200)
        .flat_map(|n| [(n, n), ((n + 1) % 200, n)])
        .map(|(to, from)| (format!("dev-{to}"), format!("dev-{from}")))
        .collect();
    expected.sort();
    assert_eq!(all, expected);
    let report = fleet.stop(STOP);
    assert_eq!(report.exit_code(), 0, "{report}");
}

/// Fails when a stop leaves without DISCONNECT (the will is published), or no birth message is retained.
#[test]
fn a_stop_is_no_loss() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let watcher = mosquitto.subscribe("state/#", 1, 3);
    let template = ClientSpec::new("dev-{i}", mosquitto.url())
        .will(Will::new("state/{name}", "lost").qos(QoS::AtLeastOnce))
        .birth("state/{name}", QoS::AtLeastOnce, true, "online");
    let fleet = subscribed(Fleet::builder().clients(template.times(2)));
    for client in fleet.clients().iter() {
        // Behind the birth message: once this is acknowledged, the broker has both.
        let behind = client.publish("behind", QoS::AtLeastOnce, false, "");
        behind.unwrap().wait_timeout(PATIENCE).unwrap();
    }
    let report = fleet.stop(STOP);
    assert_eq!(report.exit_code(), 0, "{report}");
    mosquitto.publish("state/end", "end", 1, false);
    let texts: Vec<Vec<u8>> = watcher
        .messages()
        .into_iter()
        .map(|it| it.payload)
        .collect();
    assert_eq!(texts, [&b"online"[..], b"online", b"end"]);
    let retained = mosquitto.subscribe("state/+", 1, 2).messages();
    assert!(
        retained
            .iter()
            .all(|it| it.retain && it.payload == b"online")
    );
}
