//! Who a client says it is, and where it finds its broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{Cause, ClientSpec, Outcome, Refusal};

use crate::support::fleet::{PATIENCE, ended, outcome_of, quick_retry, spec, start};
use crate::support::proc;

/// Fails if the function is asked once and its answer kept: a token that expired would never be renewed.
#[test]
fn credentials_are_asked_for_before_every_attempt() {
    let broker = TestBroker::builder()
        .login("gateway", "token-3")
        .start()
        .unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let renewing = spec("renewing", &broker)
        .retry(quick_retry(3).refusals_too())
        .credentials_with(move || {
            let n = count.fetch_add(1, Ordering::SeqCst) + 1;
            Ok(("gateway".to_owned(), format!("token-{n}")))
        });
    let fleet = start([renewing]);
    let client = fleet.client("renewing").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    assert_eq!(broker.connects("renewing"), 3);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

/// Fails if an error is no failed attempt, if the client connects without credentials instead, or if the
/// error's text is lost.
#[test]
fn an_error_of_the_credentials_function_is_a_failed_attempt() {
    let broker = TestBroker::start().unwrap();
    let sealed = spec("sealed", &broker).credentials_with(|| Err("the vault is sealed".into()));
    assert_no_credentials(sealed, "the vault is sealed");
    assert_eq!(broker.accepted(), 0);
}

/// Fails if a panic of the function ends the thread without an outcome, or is no failed attempt.
#[test]
fn so_is_its_panic() {
    let broker = TestBroker::start().unwrap();
    let broken = spec("broken", &broker).credentials_with(|| panic!("the vault exploded"));
    assert_no_credentials(broken, "the vault exploded");
    assert_eq!(broker.accepted(), 0);
}

fn assert_no_credentials(spec: ClientSpec, expected: &str) {
    let outcome = outcome_of(spec);
    let Outcome::RetriesExhausted {
        attempts: 3,
        last_error: Cause::Credentials { message },
    } = &outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(message, expected);
    assert!(outcome.to_string().contains(expected), "{outcome}");
}

/// Fails if the user and password of a URL are not sent, or are sent before their percent signs are
/// decoded.
#[test]
fn the_url_names_user_and_password() {
    let broker = TestBroker::builder()
        .login("us@er", "se:cret")
        .start()
        .unwrap();
    let at = broker.addr();
    let client = |name: &str, url: String| {
        ClientSpec::new(name, url)
            .client_id(name)
            .retry(quick_retry(3))
    };
    let fleet = start([
        client("right", format!("mqtt://us%40er:se%3Acret@{at}")),
        client("wrong", format!("mqtt://us%40er:guess@{at}")),
        client("nobody", format!("mqtt://{at}")),
        // What the spec says counts more than the URL.
        client("overridden", format!("mqtt://nobody:guess@{at}")).credentials("us@er", "se:cret"),
    ]);
    let refused = |code| Outcome::Refused { code };
    assert_eq!(
        ended(&fleet, "wrong"),
        refused(Refusal::BadUserNameOrPassword)
    );
    assert_eq!(ended(&fleet, "nobody"), refused(Refusal::NotAuthorized));
    for name in ["right", "overridden"] {
        fleet
            .client(name)
            .unwrap()
            .wait_connected(PATIENCE)
            .unwrap();
        assert_eq!(broker.connects(name), 1);
    }
}

/// Fails if a name is looked up on another thread than the client's: rumqttc would add one for each
/// client, for ten seconds.
#[test]
fn host_names_cost_no_thread() {
    proc::alone("credentials::host_names_cost_no_thread", || {
        let others = || {
            let names = proc::thread_names();
            // The broker is in this process too, with two threads for each connection.
            let own = |name: &&String| !name.starts_with("broker-");
            names.iter().filter(own).count()
        };
        // Before the broker: a thread that has just begun has no name of its own yet.
        let before = others();
        let broker = TestBroker::start().unwrap();
        let url = format!("mqtt://localhost:{}", broker.port());
        let fleet = start(ClientSpec::new("named-{i}", url).times(10));
        fleet.wait_connected(PATIENCE).unwrap();
        broker.wait_connected(10, PATIENCE).unwrap();
        assert_eq!(others(), before + 10, "{:?}", proc::thread_names());
        assert_eq!(fleet.threads().total(), 10 + 1);
    });
}

/// Fails if only the first address of a name is tried: where `localhost` is ::1 and 127.0.0.1, this broker
/// listens on the second one only.
#[test]
fn one_attempt_tries_all_addresses_of_a_name() {
    let broker = TestBroker::start().unwrap();
    let url = format!("mqtt://localhost:{}", broker.port());
    let one_chance = ClientSpec::new("one-chance", url).retry(quick_retry(1));
    let fleet = start([one_chance]);
    let client = fleet.client("one-chance").unwrap();
    client.wait_connected(PATIENCE).unwrap();
    assert_eq!(client.stats().failed_attempts, 0);
}

/// Fails if a name without an address is no failed attempt.
#[test]
fn a_name_without_address_is_tried_three_times() {
    let lost = ClientSpec::new("lost", "mqtt://no-such-host.invalid").retry(quick_retry(3));
    let outcome = outcome_of(lost);
    let Outcome::RetriesExhausted {
        attempts: 3,
        last_error: Cause::Resolve { host, .. },
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(host, "no-such-host.invalid");
}
