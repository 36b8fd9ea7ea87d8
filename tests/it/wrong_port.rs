//! What a client is told that has come to the wrong port: the likely cause, and what to write instead.

use std::time::Duration;

use mqtt_fleet::testing::{ConnectReply, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, Fleet, WaitError};

use crate::support::fleet::{PATIENCE, outcome_of, quick_retry, spec, start};
use crate::support::proc::wait_until;
use crate::support::silent::Silent;

/// How a client with this URL ends, in words.
fn end_of(url: String) -> String {
    let spec = ClientSpec::new("lost", url)
        .retry(quick_retry(1))
        .connect_timeout(Duration::from_secs(1));
    outcome_of(spec).to_string()
}

fn says(text: &str, all: &[&str]) {
    for wanted in all {
        assert!(text.contains(wanted), "no {wanted:?} in: {text}");
    }
    assert!(!text.contains("os error"), "{text}");
}

/// Fails when the port of a web server is only "no CONNACK", or an answer of bytes that mean nothing to anybody.
#[test]
fn http_is_told_the_schemes_of_a_websocket() {
    let long = format!(
        "HTTP/1.1 400 Bad Request\r\nServer: {}\r\n\r\n",
        "x".repeat(100)
    );
    for answer in [long.as_str(), "HTTP/1.1 400 Bad Request\r\n\r\n"] {
        Silent::serve(answer.as_bytes(), |server| {
            let text = end_of(format!("mqtt://{}", server.addr()));
            says(&text, &["does not speak MQTT", "ws:// or wss://"]);
        });
    }
    // One that waits for the end of the line.
    Silent::serve(b"", |server| {
        let text = end_of(format!("mqtt://{}", server.addr()));
        says(&text, &["no CONNACK", "within 1 s:", "ws://", "mqtts://"]);
    });
}

/// Fails when the port of a broker that expects TLS is only a connection that was reset, closed or answered by
/// an alert.
#[test]
fn plain_mqtt_to_tls_is_told_its_scheme() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect(ConnectReply::Close);
    says(
        &end_of(broker.url()),
        &["the broker closed", "TLS", "mqtts://"],
    );

    broker.on_connect(ConnectReply::Never);
    let fleet = start([spec("reset", &broker).retry(quick_retry(1))]);
    wait_until("there is a connection to reset", PATIENCE, || {
        broker.cut("reset")
    });
    let error = fleet.wait_connected(PATIENCE).unwrap_err().to_string();
    says(&error, &["Connection reset", "TLS", "mqtts://"]);

    Silent::serve(b"\x15\x03\x01\x00\x02\x02\x46", |server| {
        let text = end_of(format!("mqtt://{}", server.addr()));
        says(&text, &["does not speak MQTT", "mqtts://"]);
    });
}

/// Fails when a port without TLS is a corrupt message to somebody who asked for TLS.
#[cfg(feature = "tls")]
#[test]
fn tls_to_plain_mqtt_is_told_its_scheme() {
    // A broker closes; something that talks first says what no TLS begins with.
    let broker = TestBroker::start().unwrap();
    let mut urls = vec![format!("mqtts://{}", broker.addr())];
    let check = |url: &str| {
        let text = end_of(url.to_owned());
        says(&text, &["mqtt://"]);
        assert!(!text.contains("InvalidContentType"), "{text}");
    };
    if cfg!(feature = "websocket") {
        urls.push(format!("wss://{}", broker.addr()));
    }
    urls.iter().for_each(|url| check(url));
    Silent::serve(b"HTTP/1.1 400 Bad Request\r\n\r\n", |server| {
        check(&format!("mqtts://{}", server.addr()));
    });
}

/// Fails when a port that speaks no WebSocket, or a path that is none, is not told so.
#[cfg(feature = "websocket")]
#[test]
fn a_websocket_to_something_else_is_told_the_path_and_the_scheme() {
    let broker = TestBroker::start().unwrap();
    says(
        &end_of(format!("ws://{}", broker.addr())),
        &["no WebSocket", "path", "mqtt://"],
    );
    Silent::serve(
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        |server| {
            let text = end_of(format!("ws://{}/mqtt", server.addr()));
            says(&text, &["404", "path"]);
        },
    );
}

/// Fails when nothing is said of a broker that is not there, by the outcome and by a wait that is over before.
#[test]
fn a_broker_that_is_not_there_is_asked_for() {
    let down = TestBroker::start().unwrap();
    down.stop();
    let text = end_of(down.url());
    says(
        &text,
        &[
            "no connection to 127.0.0.1:",
            "Connection refused: is the broker running",
        ],
    );
    says(
        &end_of("mqtt://no-such-host.invalid".to_owned()),
        &["no-such-host.invalid was not resolved", "name"],
    );
    says(
        &end_of("unix:///no/such/socket".to_owned()),
        &["path of its socket"],
    );

    // Its second attempt hangs: the wait ends in it, and knows of the first one.
    Silent::serve(b"", |server| {
        let spec = ClientSpec::new("plant", down.url())
            .or_broker(format!("mqtt://{}", server.addr()))
            .retry(quick_retry(2))
            .connect_timeout(PATIENCE);
        let fleet = Fleet::builder().client(spec).start().unwrap();
        server.heard(PATIENCE);
        let error = fleet
            .wait_connected(Duration::from_millis(250))
            .unwrap_err();
        says(
            &error.to_string(),
            &[
                "client plant is not connected after 250 ms: connecting (attempt 2 of 2), before that: ",
                "Connection refused: is the broker running",
            ],
        );
        let WaitError::Timeout { state, .. } = error else {
            panic!("{error}");
        };
        assert!(matches!(state.last_cause(), Some(Cause::Connect { .. })));
    });
}

/// Fails when a refusal by code does not say what to check.
#[test]
fn a_refusal_says_what_to_check() {
    let broker = TestBroker::builder()
        .login("user", "right")
        .start()
        .unwrap();
    let text = outcome_of(spec("denied", &broker).credentials("user", "wrong")).to_string();
    says(&text, &["(code "]);
    for (refusal, wanted) in [
        (mqtt_fleet::Refusal::NotAuthorized, "check user name"),
        (mqtt_fleet::Refusal::BadUserNameOrPassword, "check both"),
        (mqtt_fleet::Refusal::ClientId, "client_id"),
        (mqtt_fleet::Refusal::ProtocolVersion, "3.1.1"),
    ] {
        says(&Cause::Refused(refusal).to_string(), &[wanted]);
        let outcome = mqtt_fleet::Outcome::Refused { code: refusal };
        says(&outcome.to_string(), &[wanted]);
    }
}
