//! The fault matrix, at the name service: a name whose first address is a black hole, and look-ups that
//! hang. Each test runs in a network of its own.

use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

#[cfg(feature = "tls")]
use mqtt_fleet::Tls;
use mqtt_fleet::testing::{Packet, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, ClientState, Fleet, Outcome, QoS, Retry};

#[cfg(feature = "tls")]
use crate::support::certificates::Certificates;
#[cfg(feature = "tls")]
use crate::support::fleet::ended;
use crate::support::fleet::{
    MARGIN, PATIENCE, n_from, next_state, quick, quick_retry, spec, start,
};
#[cfg(feature = "tls")]
use crate::support::mosquitto::Mosquitto;
use crate::support::proc::{thread_names, wait_until};
use crate::support::world::{BLACK_HOLE, network};

const SECOND: Duration = Duration::from_secs(1);

/// The name service asks one server, which is a black hole, once, and gives up after three seconds.
const ETC: [(&str, &str); 5] = [
    ("nsswitch.conf", "hosts: files dns\n"),
    ("host.conf", "multi on\n"),
    ("hosts", "127.0.0.1 localhost twice\n127.0.0.2 twice\n"),
    // The black hole first, wherever the name service has it.
    ("gai.conf", "precedence ::ffff:127.0.0.2/128 100\n"),
    (
        "resolv.conf",
        "nameserver 127.0.0.2\noptions timeout:3 attempts:1\n",
    ),
];

/// How long a look-up may take there.
const LOOK_UP: Duration = Duration::from_secs(3);

/// Publishes to the client itself, and waits for the message.
fn exchange(fleet: &Fleet, name: &str) {
    let client = fleet.client(name).unwrap();
    let receipt = client.publish(format!("to/{name}"), QoS::AtLeastOnce, false, "1");
    receipt.unwrap().wait_timeout(PATIENCE).unwrap();
    let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!(message.client(), name);
}

/// Fails if an address that swallows everything costs more than one attempt of one connect timeout, if the
/// next attempt begins with the same address, if it has its turn again after the loss of a stable connection to the
/// other one, or if another client notices.
#[test]
fn a_name_whose_first_address_is_a_black_hole() {
    let test = "matrix_names::a_name_whose_first_address_is_a_black_hole";
    network(test, &ETC, || {
        let broker = TestBroker::start().unwrap();
        let addresses: Vec<_> = ("twice", broker.port())
            .to_socket_addrs()
            .unwrap()
            .map(|address| address.ip().to_string())
            .collect();
        assert_eq!(addresses, [BLACK_HOLE, "127.0.0.1"]);
        let swallowed = ClientSpec::new("swallowed", format!("mqtt://twice:{}", broker.port()))
            .client_id("swallowed")
            .connect_timeout(SECOND)
            .subscribe("to/swallowed", QoS::AtLeastOnce)
            .retry(quick_retry(4).stable_after(Duration::ZERO));
        let beside = spec("beside", &broker).subscribe("to/beside", QoS::AtLeastOnce);
        let begin = Instant::now();
        let fleet = start([swallowed, beside]);
        let states = fleet.states();
        let beside = fleet.client("beside").unwrap();
        beside.wait_subscribed(PATIENCE).unwrap();
        exchange(&fleet, "beside");
        assert!(begin.elapsed() < SECOND, "the other one waits for nothing");

        let failed = next_state(&states, "swallowed", |state| {
            matches!(state, ClientState::AttemptFailed { attempt: 1, .. })
        });
        let took = begin.elapsed();
        let cause = failed.cause().unwrap();
        assert!(matches!(cause, Cause::ConnectTimeout { .. }), "{cause:?}");
        assert!(took >= SECOND && took < SECOND + MARGIN, "{took:?}");

        let swallowed = fleet.client("swallowed").unwrap();
        swallowed.wait_subscribed(PATIENCE).unwrap();
        exchange(&fleet, "swallowed");
        assert_eq!(swallowed.stats().failed_attempts, 1);
        assert_eq!(broker.connects("swallowed"), 1);

        // A stable connection's address is the first one after its loss.
        for connects in 2..=3 {
            assert!(broker.kick("swallowed"));
            next_state(&states, "swallowed", |state| {
                matches!(state, ClientState::Lost { .. })
            });
            swallowed.wait_subscribed(PATIENCE).unwrap();
            exchange(&fleet, "swallowed");
            assert_eq!(swallowed.stats().failed_attempts, 1);
            assert_eq!(broker.connects("swallowed"), connects);
        }
        assert_eq!(beside.stats().losses, 0);
        assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
    });
}

/// Fails if a look-up that hangs holds up a start, another client or a stop; if it costs a thread more than
/// its client's; if it is no failed attempt in the end; or if the stop hides whom it left behind.
#[test]
fn a_look_up_that_hangs() {
    let test = "matrix_names::a_look_up_that_hangs";
    network(test, &ETC, || {
        let own_threads = || {
            let names = thread_names();
            // The broker is in this process too, with two threads for each connection.
            names
                .iter()
                .filter(|name| !name.starts_with("broker-"))
                .count()
        };
        let before = own_threads();
        let broker = TestBroker::start().unwrap();
        let hanging = ClientSpec::new("hanging-{i}", "mqtt://broker.example")
            .retry(quick(Retry::forever()))
            .times(3);
        let beside = spec("beside", &broker)
            .keep_alive(SECOND)
            .subscribe("to/beside", QoS::AtLeastOnce);
        let begin = Instant::now();
        let fleet = start(hanging.into_iter().chain([beside]));
        let beside = fleet.client("beside").unwrap();
        beside.wait_subscribed(PATIENCE).unwrap();
        assert!(begin.elapsed() < LOOK_UP, "nobody waits for a look-up");
        let threads = thread_names();
        assert_eq!(own_threads(), before + 4, "{threads:?}");
        assert_eq!(fleet.threads().total(), 4 + 1);

        let hanging = || {
            fleet
                .clients()
                .iter()
                .filter(|client| client.name() != "beside")
        };
        let in_attempt = |wanted: u32| {
            let is_in = |state| matches!(state, ClientState::Connecting { attempt, .. } if attempt == wanted);
            hanging().all(|client| is_in(client.state()))
        };
        while !in_attempt(2) {
            exchange(&fleet, "beside");
            assert!(begin.elapsed() < PATIENCE, "the second attempt is not made");
        }
        let took = begin.elapsed();
        assert!(took >= LOOK_UP && took < LOOK_UP + 4 * MARGIN, "{took:?}");
        let failed = next_state(&fleet.states(), "hanging-0", |state| {
            matches!(state, ClientState::AttemptFailed { attempt: 1, .. })
        });
        let Some(Cause::Resolve { host, .. }) = failed.cause() else {
            panic!("{failed:?}");
        };
        assert_eq!(host, "broker.example");
        let pings = n_from(&broker, "beside", |packet| *packet == Packet::Pingreq);
        assert!(pings >= 2, "{pings} pings in {took:?}");
        assert_eq!(beside.stats().losses, 0);
        assert_eq!(own_threads(), before + 4);

        // It has 3 seconds to go.
        let begin = Instant::now();
        let report = fleet.stop(SECOND);
        let took = begin.elapsed();
        assert!(took < SECOND + MARGIN, "{took:?}: {report}");
        assert_eq!(report.abandoned().len(), 3, "{report}");
        for (n, abandoned) in report.abandoned().iter().enumerate() {
            assert_eq!(*abandoned, format!("hanging-{n} (connecting (attempt 2))"));
            let client = report.client(&format!("hanging-{n}")).unwrap();
            let outcome = client.outcome();
            assert!(matches!(outcome, Outcome::Abandoned { .. }), "{outcome:?}");
        }
        let outcome = report.client("beside").unwrap().outcome();
        assert_eq!(*outcome, Outcome::Stopped);
        wait_until(
            "they are gone with their look-up",
            LOOK_UP + PATIENCE,
            || own_threads() == before,
        );
    });
}

#[cfg(feature = "tls")]
fn over_tls(name: &str, port: u16, tls: Tls) -> ClientSpec {
    ClientSpec::new(name, format!("mqtts://twice:{port}"))
        .client_id(name)
        .connect_timeout(SECOND)
        .subscribe(format!("to/{name}"), QoS::AtLeastOnce)
        .tls(tls)
        .retry(quick_retry(4).stable_after(Duration::ZERO))
}

/// Fails if with `mqtts` no attempt gets past an address that swallows everything, if it has its turn again
/// after the loss of a stable connection to the other one, or if the certificate is checked for the address and
/// not for the name.
#[cfg(feature = "tls")]
#[test]
fn with_tls_the_other_addresses_of_a_name_have_their_turn() {
    let test = "matrix_names::with_tls_the_other_addresses_of_a_name_have_their_turn";
    network(test, &ETC, || {
        let made = Certificates::new();
        let ca = made.authority("ca");
        made.issue(&ca, "right", &["twice"]);
        let builder = Mosquitto::builder().listener(&made.shown("right"));
        let Some(broker) = builder.start() else {
            return;
        };
        let port = broker.port_of(0);
        let fleet = start([over_tls("swallowed", port, Tls::ca_file(&ca.file))]);
        let states = fleet.states();
        let failed = next_state(&states, "swallowed", |state| {
            matches!(state, ClientState::AttemptFailed { attempt: 1, .. })
        });
        let cause = failed.cause().unwrap();
        assert!(matches!(cause, Cause::ConnectTimeout { .. }), "{cause:?}");
        let swallowed = fleet.client("swallowed").unwrap();
        swallowed.wait_subscribed(PATIENCE).unwrap();
        exchange(&fleet, "swallowed");
        assert_eq!(swallowed.stats().failed_attempts, 1);

        // The broker ends the connection for another one with the same client id.
        let next = swallowed.next_connection();
        let thief = ClientSpec::new("thief", broker.url()).client_id("swallowed");
        let thief = start([thief]);
        next.wait_subscribed(PATIENCE).unwrap();
        thief.stop(PATIENCE);
        exchange(&fleet, "swallowed");
        assert_eq!(swallowed.stats().losses, 1);
        assert_eq!(swallowed.stats().failed_attempts, 1);
        fleet.stop(PATIENCE);
    });
}

/// Fails if a certificate for another name is accepted at an address of the name, if one for the address is, if
/// such a refusal ends the client for good although the broker was told no name, or if it keeps the attempts
/// away from the name.
#[cfg(feature = "tls")]
#[test]
fn with_tls_an_address_must_have_the_certificate_of_the_name() {
    let test = "matrix_names::with_tls_an_address_must_have_the_certificate_of_the_name";
    network(test, &ETC, || {
        let made = Certificates::new();
        let ca = made.authority("ca");
        made.issue(&ca, "other", &["once", "127.0.0.1"]);
        let builder = Mosquitto::builder().listener(&made.shown("other"));
        let Some(broker) = builder.start() else {
            return;
        };
        let port = broker.port_of(0);
        let fleet = start([over_tls("refused", port, Tls::ca_file(&ca.file))]);
        let states = fleet.states();
        for attempt in 1..=4 {
            let failed = next_state(&states, "refused", |state| {
                matches!(state, ClientState::AttemptFailed { .. })
            });
            let cause = failed.cause().unwrap();
            let by_address =
                |host: &str| format!("{host}:{port} (an address of twice, without SNI)");
            let place = match attempt {
                2 => by_address("127.0.0.1"),
                4 => by_address(BLACK_HOLE),
                _ => format!("twice:{port}"),
            };
            match (attempt, cause) {
                (2, Cause::Certificate { address, message }) => {
                    assert_eq!(*address, place);
                    assert!(message.contains("is not for twice"), "{message}");
                }
                (1 | 3 | 4, Cause::ConnectTimeout { address, .. }) => assert_eq!(*address, place),
                _ => panic!("{attempt}: {cause:?}"),
            }
        }
        let outcome = ended(&fleet, "refused");
        let exhausted = matches!(outcome, Outcome::RetriesExhausted { attempts: 4, .. });
        assert!(exhausted, "{outcome:?}");
        fleet.stop(PATIENCE);
    });
}
