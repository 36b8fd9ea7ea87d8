//! MQTT over WebSocket: what the server is asked for, and what follows from its answer.

use mqtt_fleet::{Cause, ClientSpec, Outcome, QoS, Retry, Tls};

use crate::support::certificates::Certificates;
use crate::support::fleet::{PATIENCE, outcome_of, quick, quick_retry, start};
use crate::support::mosquitto::Mosquitto;
use crate::support::proc::wait_until;
use crate::support::silent::Silent;

/// What a client gave up for; panics if it did not make two attempts.
fn gave_up(url: String) -> Cause {
    match outcome_of(ClientSpec::new("ws", url).retry(quick_retry(2))) {
        Outcome::RetriesExhausted {
            attempts: 2,
            last_error,
        } => last_error,
        other => panic!("{other:?}"),
    }
}

/// Fails if the path, the query, the host or the sub-protocol is not what the URL and the standard say, or if
/// credentials of the URL are in the request.
#[test]
fn the_request_is_that_of_the_url() {
    Silent::serve(
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        |silent| {
            let port = silent.addr().port();
            let url = format!("ws://user:word@localhost:{port}/a/b?c=d");
            let Cause::WebSocket { message, .. } = gave_up(url) else {
                panic!("it is an answer of HTTP");
            };
            assert!(message.contains("404"), "{message}");
            let heard = String::from_utf8(silent.heard(PATIENCE)).unwrap();
            let lines: Vec<String> = heard.lines().map(str::to_ascii_lowercase).collect();
            for line in [
                "get /a/b?c=d http/1.1",
                &format!("host: localhost:{port}"),
                "sec-websocket-protocol: mqtt",
            ] {
                let n = lines.iter().filter(|it| *it == line).count();
                assert_eq!(n, 2, "{line} in each of two requests:\n{heard}");
            }
            assert!(!heard.contains("word"), "{heard}");
        },
    );
}

/// Fails if an answer that is no WebSocket for MQTT is taken for something else, or ends the client at once: a
/// proxy may answer so while the broker starts.
#[test]
fn an_answer_that_is_no_websocket_is_tried_again() {
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
          sec-websocket-accept: wrong\r\n\r\n",
        b"rubbish\r\n\r\n",
    ];
    for answer in answers {
        Silent::serve(answer, |silent| {
            let cause = gave_up(format!("ws://{}", silent.addr()));
            assert!(matches!(cause, Cause::WebSocket { .. }), "{cause:?}");
        });
    }
}

/// Fails if the default path is another one.
#[test]
fn the_default_path_is_mqtt() {
    Silent::serve(
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        |silent| {
            gave_up(format!("ws://{}", silent.addr()));
            let heard = String::from_utf8(silent.heard(PATIENCE)).unwrap();
            assert!(heard.starts_with("GET /mqtt HTTP/1.1\r\n"), "{heard}");
        },
    );
}

/// Fails if what exceeds a frame, a buffer or a read is not put together again, in either direction.
///
/// What mosquitto 2.0.11 sends over a WebSocket it cuts into frames of 4 KiB, of which it writes ten a second:
/// so what is large here goes to it, and another transport fetches it.
#[test]
fn many_messages_of_all_sizes_pass_in_order() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "right", &["localhost"]);
    let secure = format!("protocol websockets\n{}", made.shown("right"));
    let builder = Mosquitto::builder().listener("protocol websockets");
    let Some(broker) = builder.listener(&secure).start() else {
        return;
    };
    let (plain, secure) = (broker.port_of(0), broker.port_of(1));
    let specs = [
        ClientSpec::new("ws", format!("ws://localhost:{plain}")),
        ClientSpec::new("wss", format!("wss://localhost:{secure}/")).tls(Tls::ca_file(&ca.file)),
    ];
    for spec in specs {
        let name = spec.name().to_owned();
        let qos = QoS::AtLeastOnce;
        let fleet = start([
            spec.subscribe("to-ws", qos),
            ClientSpec::new("tcp", broker.url()).subscribe("to-tcp", qos),
        ]);
        fleet.wait_subscribed(PATIENCE).unwrap();
        for (from, topic, most) in [(&*name, "to-tcp", 50_000), ("tcp", "to-ws", 4_000)] {
            let client = fleet.client(from).unwrap();
            let payload = |n: usize| vec![n as u8; n * n % most];
            for n in 0..300 {
                client.publish(topic, qos, false, payload(n)).unwrap();
            }
            for n in 0..300 {
                let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
                assert_eq!(message.topic(), topic);
                assert!(message.payload() == &payload(n), "{from}: message {n}");
            }
        }
        let report = fleet.stop(PATIENCE);
        assert_eq!(
            (report.exit_code(), report.total().connects),
            (0, 2),
            "{report}"
        );
    }
}

/// Fails if the name that the certificate must be for is not also told to the server, or if the request names it
/// as the host.
#[test]
fn the_server_is_told_the_other_name() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "right", &["broker.example"]);
    let tls = || Tls::ca_file(&ca.file).server_name("broker.example");
    Silent::serve(b"\x15\x03\x03\0\x02\x02\x28", |silent| {
        let url = format!("wss://{}", silent.addr());
        let spec = ClientSpec::new("wss", url).tls(tls()).retry(quick_retry(1));
        let outcome = outcome_of(spec);
        assert!(
            matches!(
                outcome,
                Outcome::RetriesExhausted {
                    last_error: Cause::Tls { .. },
                    ..
                }
            ),
            "{outcome:?}"
        );
        let hello = silent.heard(PATIENCE);
        let name = b"broker.example";
        assert!(hello.windows(name.len()).any(|window| window == name));
    });
    let secure = format!("protocol websockets\n{}", made.shown("right"));
    let Some(broker) = Mosquitto::builder().listener(&secure).start() else {
        return;
    };
    let url = || format!("wss://127.0.0.1:{}", broker.port_of(0));
    let fleet = start([ClientSpec::new("wss", url()).tls(tls())]);
    fleet.wait_connected(PATIENCE).unwrap();
    let unnamed = ClientSpec::new("unnamed", url()).tls(Tls::ca_file(&ca.file));
    let outcome = outcome_of(unnamed);
    assert!(
        matches!(outcome, Outcome::Certificate { .. }),
        "{outcome:?}"
    );
}

/// Fails if a loss of the WebSocket is not noticed, or not recovered from.
#[test]
fn a_restart_of_the_broker_is_survived() {
    let builder = Mosquitto::builder().listener("protocol websockets");
    let Some(mut broker) = builder.start() else {
        return;
    };
    let url = format!("ws://127.0.0.1:{}", broker.port_of(0));
    let fleet = start([ClientSpec::new("ws", url).retry(quick(Retry::forever()))]);
    let client = fleet.client("ws").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    broker.kill();
    client.wait_disconnected(PATIENCE).unwrap();
    broker.restart();
    wait_until("it is connected again", PATIENCE, || {
        client.stats().connects == 2
    });
    let receipt = client.publish("t", QoS::ExactlyOnce, false, "1").unwrap();
    receipt.wait_timeout(PATIENCE).unwrap();
}
