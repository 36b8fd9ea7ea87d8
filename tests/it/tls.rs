//! TLS against a real broker: whom it trusts, what it says of a certificate that it does not trust, and that
//! nothing else changes.

use std::fs;
use std::time::Duration;

use mqtt_fleet::{
    Cause, ClientSpec, Fleet, Outcome, Problem, QoS, Retry, StartError, Tls, TlsError,
};

use crate::support::certificates::Certificates;
use crate::support::fleet::{MARGIN, PATIENCE, ended, outcome_of, quick, quick_retry, start};
use crate::support::mosquitto::{Builder, Mosquitto};
use crate::support::proc::wait_until;
use crate::support::program::Program;
use crate::support::silent::Silent;

/// A mosquitto with one listener for each of these settings.
fn mosquitto(listeners: &[String]) -> Option<Mosquitto> {
    let builder = Mosquitto::builder();
    let add = |builder: Builder, settings: &String| builder.listener(settings);
    listeners.iter().fold(builder, add).start()
}

fn spec(name: &str, url: String, tls: Tls) -> ClientSpec {
    ClientSpec::new(name, url)
        .client_id(name)
        .tls(tls)
        .retry(quick_retry(3))
}

/// A message of a client comes back to it.
fn echo(fleet: &Fleet, name: &str) {
    let client = fleet.client(name).unwrap();
    client.wait_subscribed(PATIENCE).unwrap();
    let topic = format!("echo/{name}");
    let receipt = client.publish(&*topic, QoS::AtLeastOnce, false, name.to_owned());
    receipt.unwrap().wait_timeout(PATIENCE).unwrap();
    let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (message.topic(), &message.payload()[..]),
        (&*topic, name.as_bytes())
    );
}

/// What a refused certificate is said to be; panics if the client ended in another way.
fn refusal(outcome: Outcome) -> String {
    match outcome {
        Outcome::Certificate {
            last_error: Cause::Certificate { message, .. },
        } => message,
        other => panic!("{other:?}"),
    }
}

/// Fails if a right certificate is refused, by name or by address, or if nothing passes through TLS; and with
/// a thread's default stack, if a handshake of a debug build does not fit into it.
#[test]
fn a_trusted_broker_is_reached() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "right", &["localhost", "127.0.0.1"]);
    let Some(broker) = mosquitto(&[made.shown("right")]) else {
        return;
    };
    let port = broker.port_of(0);
    let tls = Tls::ca_file(&ca.file);
    let subscribed = |name: &str, url: String| {
        spec(name, url, tls.clone()).subscribe(format!("echo/{name}"), QoS::AtLeastOnce)
    };
    let fleet = start([
        subscribed("by-name", format!("mqtts://localhost:{port}")),
        subscribed("by-address", format!("mqtts://127.0.0.1:{port}")),
    ]);
    echo(&fleet, "by-name");
    echo(&fleet, "by-address");
    let client = fleet.client("by-name").unwrap();
    assert_eq!(client.broker(), format!("mqtts://localhost:{port}"));
    let report = fleet.stop(PATIENCE);
    assert_eq!(report.exit_code(), 0, "{report}");
}

/// Fails if a wrong certificate is accepted, if it costs more than one attempt, or if the message does not say
/// whose it is and what is wrong with it.
#[test]
fn a_certificate_that_is_not_right_ends_the_client_at_once() {
    let made = Certificates::new();
    let (ca, other) = (made.authority("ca"), made.authority("other"));
    made.issue_until(&ca, "expired", &["localhost", "127.0.0.1"], 2021);
    made.issue(&ca, "elsewhere", &["elsewhere.example"]);
    made.issue(&other, "unknown", &["localhost", "127.0.0.1"]);
    let names = ["expired", "elsewhere", "unknown"];
    let Some(broker) = mosquitto(&names.map(|name| made.shown(name))) else {
        return;
    };
    let said = [
        ("localhost", "has expired"),
        ("elsewhere.example", "is not for localhost"),
        (
            "localhost",
            "is not trusted: unknown issuer (see `ca_file`)",
        ),
    ];
    for (n, (whose, why)) in said.into_iter().enumerate() {
        let url = format!("mqtts://localhost:{}", broker.port_of(n));
        let fleet = start([spec("refused", url, Tls::ca_file(&ca.file))]);
        let message = refusal(ended(&fleet, "refused"));
        assert!(
            message.contains(whose) && message.contains(why),
            "{message}"
        );
        let report = fleet.stop(PATIENCE);
        assert_eq!(report.total().failed_attempts, 1, "{report}");
        assert_eq!(report.exit_code(), 1);
    }
}

/// Fails if a refused certificate is not tried again where the spec asks for that.
#[test]
fn it_is_tried_again_on_request() {
    let made = Certificates::new();
    let (ca, other) = (made.authority("ca"), made.authority("other"));
    made.issue(&other, "unknown", &["127.0.0.1"]);
    let Some(broker) = mosquitto(&[made.shown("unknown")]) else {
        return;
    };
    let url = format!("mqtts://127.0.0.1:{}", broker.port_of(0));
    let spec = spec("patient", url, Tls::ca_file(&ca.file)).retry(quick_retry(3).refusals_too());
    let Outcome::RetriesExhausted {
        attempts: 3,
        last_error: Cause::Certificate { .. },
    } = outcome_of(spec)
    else {
        panic!("it was not tried three times");
    };
}

/// Fails if a client certificate is not shown, or if the want of one, or one of a foreign authority, is not told
/// from other losses.
#[test]
fn a_broker_may_ask_for_a_certificate() {
    let made = Certificates::new();
    let (ca, other) = (made.authority("ca"), made.authority("other"));
    made.issue(&ca, "right", &["127.0.0.1"]);
    made.issue(&ca, "gateway", &[]);
    made.issue(&other, "stranger", &[]);
    let Some(broker) = mosquitto(&[made.mutual("right", &ca)]) else {
        return;
    };
    let url = || format!("mqtts://127.0.0.1:{}", broker.port_of(0));
    let tls = || Tls::ca_file(&ca.file);
    let shows = |name: &str| {
        let file = |end: &str| made.file(&format!("{name}.{end}"));
        tls().client_certificate(file("pem"), file("key"))
    };
    let fleet = start([
        spec("gateway", url(), shows("gateway")).subscribe("echo/gateway", QoS::AtLeastOnce)
    ]);
    echo(&fleet, "gateway");
    assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);

    let none = refusal(outcome_of(spec("none", url(), tls())));
    assert!(none.contains("asks for a client certificate"), "{none}");
    let stranger = refusal(outcome_of(spec("stranger", url(), shows("stranger"))));
    assert!(stranger.contains("does not trust"), "{stranger}");
}

/// Fails if the name to check is not the given one, or if it replaces more than the name.
#[test]
fn the_certificate_may_be_for_another_name() {
    let made = Certificates::new();
    let (ca, other) = (made.authority("ca"), made.authority("other"));
    made.issue(&ca, "broker", &["broker.example"]);
    let Some(broker) = mosquitto(&[made.shown("broker")]) else {
        return;
    };
    let url = || format!("mqtts://127.0.0.1:{}", broker.port_of(0));
    let named = |ca: &std::path::Path| Tls::ca_file(ca).server_name("broker.example");
    let fleet =
        start([spec("named", url(), named(&ca.file)).subscribe("echo/named", QoS::AtLeastOnce)]);
    echo(&fleet, "named");
    fleet.stop(PATIENCE);
    let unnamed = refusal(outcome_of(spec("unnamed", url(), Tls::ca_file(&ca.file))));
    assert!(unnamed.contains("is not for 127.0.0.1"), "{unnamed}");
    let foreign = refusal(outcome_of(spec("foreign", url(), named(&other.file))));
    assert!(foreign.contains("unknown issuer"), "{foreign}");
}

/// Fails if a client does not come back when its broker does, with its subscription and what it was to send.
#[test]
fn a_restart_of_the_broker_is_survived() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "right", &["localhost"]);
    let Some(mut broker) = mosquitto(&[made.shown("right")]) else {
        return;
    };
    let url = format!("mqtts://localhost:{}", broker.port_of(0));
    let fleet = start([spec("plant", url, Tls::ca_file(&ca.file))
        .retry(quick(Retry::forever()))
        .subscribe("echo/plant", QoS::AtLeastOnce)]);
    echo(&fleet, "plant");
    let plant = fleet.client("plant").unwrap();
    broker.kill();
    plant.wait_disconnected(PATIENCE).unwrap();
    let meanwhile = plant.publish("echo/plant", QoS::AtLeastOnce, false, "2");
    broker.restart();
    meanwhile.unwrap().wait_timeout(PATIENCE).unwrap();
    let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!(message.payload(), "2");
    drop(message);
    assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
}

/// Fails if the client hello lacks the host's name or the protocols, if a handshake that is never answered is
/// not bounded by the connect timeout, or if a stop waits for longer than its deadline.
#[test]
fn a_handshake_that_hangs_is_given_up() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    Silent::serve(b"", |silent| {
        let url = format!("mqtts://localhost:{}", silent.addr().port());
        let tls = Tls::ca_file(&ca.file).alpn(["x-amzn-mqtt-ca"]);
        let spec = spec("hung", url, tls).connect_timeout(Duration::from_secs(1));
        let fleet = start([spec.clone().retry(quick_retry(1))]);
        let outcome = ended(&fleet, "hung");
        assert!(
            matches!(
                outcome,
                Outcome::RetriesExhausted {
                    last_error: Cause::ConnectTimeout { .. },
                    ..
                }
            ),
            "{outcome}"
        );
        let hello = silent.heard(PATIENCE);
        let has = |text: &[u8]| hello.windows(text.len()).any(|window| window == text);
        assert!(has(b"localhost") && has(b"x-amzn-mqtt-ca"));

        let n_before = hello.len();
        let fleet = start([spec.connect_timeout(Duration::from_secs(60))]);
        wait_until("the second hello is there", PATIENCE, || {
            silent.heard(PATIENCE).len() > n_before
        });
        let deadline = Duration::from_millis(200);
        let since = std::time::Instant::now();
        let report = fleet.stop(deadline);
        assert!(since.elapsed() <= deadline + MARGIN, "{report}");
        assert_eq!(report.abandoned().len(), 1, "{report}");
    });
}

/// Fails if a server that does not speak TLS is taken for a refusal for good, or for something else than TLS.
#[test]
fn a_server_without_tls_is_tried_again() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let made = Certificates::new();
    let ca = made.authority("ca");
    Silent::serve(b"HTTP/1.0 400 Bad Request\r\n\r\n", |silent| {
        for port in [silent.addr().port(), broker.port()] {
            let url = format!("mqtts://127.0.0.1:{port}");
            let outcome = outcome_of(spec("plain", url, Tls::ca_file(&ca.file)));
            assert!(
                matches!(
                    outcome,
                    Outcome::RetriesExhausted {
                        attempts: 3,
                        last_error: Cause::Tls { .. },
                    }
                ),
                "{outcome:?}"
            );
        }
    });
}

/// Fails if a file that can't be used is found only when it is needed, if the error does not name client and
/// file, or if it repeats what is in the file.
#[test]
fn files_are_checked_at_the_start() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "one", &["localhost"]);
    made.issue(&ca, "two", &["localhost"]);
    let (one, two) = (made.file("one.pem"), made.file("two.key"));
    let text = made.write("text.pem", "s3cret");
    let rubbish = made.write(
        "rubbish.pem",
        "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----\n",
    );
    let missing = made.file("missing.pem");
    let problem = |tls: Tls| {
        let refused = spec("checked", "mqtts://localhost".to_owned(), tls);
        let right = spec(
            "right",
            "mqtts://localhost".to_owned(),
            Tls::ca_file(&ca.file),
        );
        let started = Fleet::builder().client(right).client(refused).start();
        let error = started.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
        let StartError::Client {
            client,
            field,
            problem,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((client.as_str(), field), ("checked", "tls"));
        let Problem::Tls(problem) = problem else {
            panic!("{problem}");
        };
        problem
    };
    let with = |certificate, key| Tls::ca_file(&ca.file).client_certificate(certificate, key);
    let file = || text.clone();
    assert!(
        matches!(problem(Tls::ca_file(&missing)), TlsError::Read { file, .. } if file == missing)
    );
    assert_eq!(
        problem(Tls::ca_file(&text)),
        TlsError::NoCertificate { file: file() }
    );
    assert!(
        matches!(problem(Tls::ca_file(&rubbish)), TlsError::Certificate { file, .. } if file == rubbish)
    );
    assert_eq!(problem(with(&one, &text)), TlsError::NoKey { file: file() });
    assert_eq!(
        problem(with(&text, &two)),
        TlsError::NoCertificate { file: file() }
    );
    assert!(matches!(problem(with(&one, &two)), TlsError::Identity { key, .. } if key == two));
    let name = "not a name".to_owned();
    let named = Tls::ca_file(&ca.file).server_name(&*name);
    assert_eq!(problem(named), TlsError::ServerName { name });
    assert_eq!(problem(Tls::ca_file(&ca.file).alpn([""])), TlsError::Alpn);

    let unused = spec(
        "unused",
        "mqtt://localhost".to_owned(),
        Tls::ca_file(&ca.file),
    );
    let error = Fleet::builder().client(unused).start().unwrap_err();
    assert!(
        error.to_string().contains("begin its URL with mqtts://"),
        "{error}"
    );
}

/// Fails if each client reads the files for itself, or if they are read again for a reconnect.
#[test]
fn files_are_read_once() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "right", &["127.0.0.1"]);
    let Some(mut broker) = mosquitto(&[made.shown("right")]) else {
        return;
    };
    let port = broker.port_of(0);
    let template = ClientSpec::new("dev-{i}", format!("mqtts://127.0.0.1:{port}"))
        .tls(Tls::ca_file(&ca.file))
        .retry(quick(Retry::forever()));
    let fleet = start(template.times(3));
    fs::remove_file(&ca.file).unwrap();
    fleet.wait_connected(PATIENCE).unwrap();
    broker.restart();
    wait_until("all are connected again", PATIENCE, || {
        fleet
            .clients()
            .iter()
            .all(|client| client.stats().connects == 2)
    });
}

/// A client that trusts what the system does: a file with a certificate that is none, and the right one.
fn trust_the_system() -> i32 {
    let url = std::env::var("BROKER_URL").unwrap();
    let spec = ClientSpec::new("plant", url).retry(quick_retry(1));
    let fleet = Fleet::builder().client(spec).start();
    match fleet {
        Ok(fleet) => match fleet.wait_connected(PATIENCE) {
            Ok(()) => println!("connected"),
            Err(error) => println!("{error}"),
        },
        Err(error) => println!("{error}"),
    }
    0
}

/// Fails if the system's certificates are not trusted by default, if one of them that can't be read does harm,
/// or if a system without any is not told at the start.
#[test]
fn the_system_is_trusted_by_default() {
    let test = "tls::the_system_is_trusted_by_default";
    Program::be(trust_the_system);
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "right", &["127.0.0.1"]);
    let Some(broker) = mosquitto(&[made.shown("right")]) else {
        return;
    };
    let rubbish = "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----\n";
    let right = fs::read_to_string(&ca.file).unwrap();
    let mixed = made.write("mixed.pem", format!("{rubbish}{right}"));
    let empty = made.write("empty.pem", "");
    let url = format!("mqtts://127.0.0.1:{}", broker.port_of(0));
    let nowhere = made.file("none");
    let said = |store: &std::path::Path| {
        let environment = [
            ("SSL_CERT_FILE", store.as_os_str()),
            ("SSL_CERT_DIR", nowhere.as_os_str()),
            ("BROKER_URL", url.as_ref()),
        ];
        let program = Program::role_in(test, &environment, trust_the_system);
        let (status, output) = program.ended(3 * PATIENCE);
        assert!(status.success(), "{status}\n{output}");
        output
    };
    let output = said(&mixed);
    assert!(output.contains("connected"), "{output}");
    let output = said(&empty);
    assert!(output.contains("no root certificates"), "{output}");
}
