//! What ends a client at once, and what is worth another attempt.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use mqtt_fleet::testing::{ConnectReply, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, ClientState, Fleet, Outcome, Refusal};

use crate::support::fleet::{PATIENCE, ended, next_state, outcome_of, quick_retry, spec, start};

const CONNACK: &[u8] = b"\x20\x02\x00\x00";

const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Server: nginx/1.22.1\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n\
    <html><head><title>400 Bad Request</title></head></html>\r\n";

/// Fails if a permanent refusal is retried, which locks accounts, or is taken for another one.
#[test]
fn a_permanent_refusal_ends_the_client_after_one_connect() {
    for code in [1, 2, 4, 5] {
        let broker = TestBroker::start().unwrap();
        broker.on_connect(ConnectReply::Code(code));
        let fleet = start([spec("refused", &broker)]);
        let outcome = ended(&fleet, "refused");
        let Outcome::Refused { code: refusal } = outcome else {
            panic!("code {code}: {outcome:?}");
        };
        assert_eq!(refusal.code(), code);
        assert_eq!(fleet.stats().failed_attempts, 1);
        assert_eq!(fleet.stop(PATIENCE).exit_code(), 1);
        assert_eq!(broker.connects("refused"), 1, "code {code}");
    }
}

/// Fails if "server unavailable" is taken for permanent.
#[test]
fn server_unavailable_is_tried_three_times() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect(ConnectReply::Code(3));
    let outcome = outcome_of(spec("early", &broker));
    let last_error = Cause::Refused(Refusal::ServerUnavailable);
    let attempts = 3;
    assert_eq!(
        outcome,
        Outcome::RetriesExhausted {
            attempts,
            last_error
        }
    );
    assert_eq!(broker.connects("early"), 3);
}

/// Fails if `refusals_too` has no effect.
#[test]
fn refusals_are_retried_on_request() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect(ConnectReply::Code(5));
    let outcome = outcome_of(spec("stubborn", &broker).retry(quick_retry(3).refusals_too()));
    let last_error = Cause::Refused(Refusal::NotAuthorized);
    let attempts = 3;
    assert_eq!(
        outcome,
        Outcome::RetriesExhausted {
            attempts,
            last_error
        }
    );
    assert_eq!(broker.connects("stubborn"), 3);
}

/// Fails if the connect timeout does not cover the wait for CONNACK, or is not the client's own.
#[test]
fn a_broker_that_never_answers_costs_three_timeouts() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect(ConnectReply::Never);
    let timeout = Duration::from_secs(1);
    let outcome = outcome_of(spec("unanswered", &broker).connect_timeout(timeout));
    let last_error = Cause::ConnectTimeout {
        address: broker.addr().to_string(),
        timeout,
    };
    let attempts = 3;
    assert_eq!(
        outcome,
        Outcome::RetriesExhausted {
            attempts,
            last_error
        }
    );
    assert_eq!(broker.connects("unanswered"), 3);
}

/// Fails if the end of a connection before CONNACK is taken for something permanent, or for a timeout.
#[test]
fn a_broker_that_closes_without_connack_is_tried_three_times() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect(ConnectReply::Close);
    let outcome = outcome_of(spec("shut-out", &broker));
    let Outcome::RetriesExhausted {
        attempts: 3,
        last_error: Cause::Closed,
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(broker.connects("shut-out"), 3);
}

/// Fails if a web server at the first connect is retried, or crashes the client.
#[test]
fn a_peer_that_does_not_speak_mqtt_ends_the_client_at_once() {
    let (peer, fleet) = astray();
    answer(&peer, BAD_REQUEST);
    let outcome = ended(&fleet, "astray");
    assert!(matches!(outcome, Outcome::NotMqtt { .. }), "{outcome:?}");
    assert_eq!(fleet.stop(PATIENCE).exit_code(), 1);
    assert_no_connection(&peer);
}

/// What its first bytes announce as a packet is longer than this answer. Fails if its end is taken for the
/// end of a broker.
#[test]
fn a_short_answer_that_is_not_mqtt_ends_the_client_at_once() {
    let (peer, fleet) = astray();
    answer(&peer, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let outcome = ended(&fleet, "astray");
    assert!(matches!(outcome, Outcome::NotMqtt { .. }), "{outcome:?}");
    fleet.stop(PATIENCE);
    assert_no_connection(&peer);
}

/// Fails if a broker that was reached before is given up for a single answer that is none.
#[test]
fn a_broker_that_was_reached_is_tried_again_after_rubbish() {
    let (peer, fleet) = astray();
    answer(&peer, CONNACK);
    answer(&peer, BAD_REQUEST);
    let states = fleet.states();
    let failed = next_state(&states, "astray", |state| {
        matches!(state, ClientState::AttemptFailed { attempt: 2, .. })
    });
    let cause = failed.cause().unwrap();
    assert!(matches!(cause, Cause::NotMqtt { .. }), "{cause:?}");
    let (mut third, _) = peer.accept().unwrap();
    third.write_all(CONNACK).unwrap();
    fleet.wait_connected(PATIENCE).unwrap();
}

/// A client of a peer that is in the hands of the test.
fn astray() -> (TcpListener, Fleet) {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    let spec = ClientSpec::new("astray", address).retry(quick_retry(3));
    (peer, start([spec]))
}

/// Answers one connection and closes it.
fn answer(peer: &TcpListener, answer: &[u8]) {
    let (mut connection, _) = peer.accept().unwrap();
    // What is left unread when a socket is closed resets it, and the answer might be lost.
    let n_read = connection.read(&mut [0; 1024]).unwrap();
    assert!(n_read > 0, "CONNECT came");
    connection.write_all(answer).unwrap();
}

fn assert_no_connection(peer: &TcpListener) {
    peer.set_nonblocking(true).unwrap();
    let more = peer.accept().map_err(|error| error.kind());
    assert_eq!(more.err(), Some(ErrorKind::WouldBlock));
}
