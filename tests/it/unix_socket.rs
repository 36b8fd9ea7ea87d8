//! MQTT over a Unix domain socket.

use std::io::ErrorKind;

use mqtt_fleet::{Cause, ClientSpec, Outcome, QoS};

use crate::support::certificates::Certificates;
use crate::support::fleet::{PATIENCE, outcome_of, quick_retry, start};
use crate::support::mosquitto::Mosquitto;

/// Fails if messages do not pass, or if the handle does not say where the client is connected.
#[test]
fn messages_pass_through_a_socket() {
    let made = Certificates::new();
    let path = made.file("mqtt.sock");
    let listener = format!("0 {}", path.display());
    let Some(_broker) = Mosquitto::builder().setting("listener", &listener).start() else {
        return;
    };
    let url = format!("unix://{}", path.display());
    let fleet = start([ClientSpec::new("local", &url).subscribe("in", QoS::ExactlyOnce)]);
    fleet.wait_subscribed(PATIENCE).unwrap();
    let client = fleet.client("local").unwrap();
    assert_eq!(client.broker(), url);
    for n in 0..100 {
        let payload = n.to_string();
        client
            .publish("in", QoS::ExactlyOnce, false, payload)
            .unwrap();
    }
    for n in 0..100 {
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        assert_eq!(message.payload(), &n.to_string());
    }
    let report = fleet.stop(PATIENCE);
    assert_eq!(
        (report.exit_code(), report.total().connects),
        (0, 1),
        "{report}"
    );
}

/// Fails if a socket that is not there is not tried again, or if its path is not named.
#[test]
fn a_socket_that_is_not_there_is_tried_again() {
    let made = Certificates::new();
    let path = made.file("missing.sock").display().to_string();
    let spec = ClientSpec::new("local", format!("unix://{path}")).retry(quick_retry(3));
    let Outcome::RetriesExhausted {
        attempts: 3,
        last_error: Cause::Connect { address, kind, .. },
    } = outcome_of(spec)
    else {
        panic!("it was not tried three times");
    };
    assert_eq!((address, kind), (path, ErrorKind::NotFound));
}
