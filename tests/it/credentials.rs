//! Who a client says it is, and where it finds its broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{Cause, ClientSpec, Fleet, Outcome, Refusal};

use crate::support::fleet::{PATIENCE, ended, outcome_of, quick_retry, spec, start};
use crate::support::proc;
use crate::support::scratch::scratch;

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

/// What CONNECT can't carry, and how it is told.
fn unfit() -> Vec<(String, String, &'static str)> {
    let text = |text: &str| text.to_owned();
    let (fits, long) = ("x".repeat(65_535), "x".repeat(65_536));
    vec![
        (text(""), text("password"), "needs a user name"),
        (
            long.clone(),
            text("p"),
            "user name is longer than 65,535 bytes",
        ),
        (text("user"), long, "password is longer than 65,535 bytes"),
        (text("us\0er"), text("p"), "null character"),
        (text("\0"), fits, "null character"),
    ]
}

/// Fails when a user name or a password that CONNECT can't carry is taken at the start, from wherever it comes.
#[test]
fn what_connect_can_not_carry_is_refused_at_the_start() {
    let refused = |spec: ClientSpec, field: &str, said: &str| {
        let spec = spec.max_packet_size(1_000_000);
        let error = Fleet::builder()
            .client(spec)
            .start()
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("{field}: ")), "{error}");
        assert!(error.contains(said), "{error}");
        assert!(error.len() < 300 && !error.contains('\0'), "{error}");
    };
    let plain = || ClientSpec::new("plant", "mqtt://127.0.0.1");
    let encoded = |text: &str| text.replace('\0', "%00");
    for (username, password, said) in unfit() {
        refused(
            plain().credentials(&*username, &*password),
            "credentials",
            said,
        );
        let url = format!("mqtt://{}:{}@h", encoded(&username), encoded(&password));
        refused(ClientSpec::new("plant", &*url), "broker", said);
        refused(plain().or_broker(&*url), "or_broker", said);
        let file = scratch("password");
        std::fs::write(&file, &password).unwrap();
        let stored = plain().password_file(&*username, &file);
        refused(stored, "password_file", said);
        std::fs::remove_file(&file).unwrap();
    }
    // The longest ones fit, and a user name alone, and a null character in a password.
    let broker = TestBroker::start().unwrap();
    let (fits, none) = ("x".repeat(65_535), String::new());
    let logins = [
        (fits.clone(), fits),
        ("user".to_owned(), none),
        ("user".to_owned(), "a\0b".to_owned()),
    ];
    for (username, password) in logins {
        let spec = spec("fits", &broker).credentials(username, password);
        let fleet = start([spec.max_packet_size(1_000_000)]);
        fleet.wait_connected(PATIENCE).unwrap();
    }
}

/// Fails when such a login of the function reaches a broker: it would close on the packet, and nobody knew why.
#[test]
fn what_connect_can_not_carry_is_a_failed_attempt_at_run_time() {
    for (username, password, said) in unfit() {
        let broker = TestBroker::start().unwrap();
        let ask = move || Ok((username.clone(), password.clone()));
        let spec = spec("asked", &broker).max_packet_size(1_000_000);
        let outcome = outcome_of(spec.credentials_with(ask));
        let Outcome::RetriesExhausted {
            attempts: 3,
            last_error: Cause::Credentials { message },
        } = &outcome
        else {
            panic!("{outcome:?}");
        };
        assert!(message.contains(said) && message.len() < 200, "{message}");
        assert_eq!(broker.accepted(), 0);
    }
}

/// Fails when a password that was given in place of a variable's name is shown.
#[test]
fn a_password_in_place_of_a_variable_is_not_shown() {
    for secret in [
        "Zq7Xw9Kv2Jf5",
        "zq7x w9kv",
        "Zq7Xw9=Kv2Jf5",
        "",
        "730918264551",
    ] {
        let spec = ClientSpec::new("plant", "mqtt://h").password_env("user", secret);
        let shown = format!("{spec:?}");
        let error = Fleet::builder().client(spec).start().unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains("password_env: "), "{told}");
        crate::support::leaks::assert_hidden(secret, &format!("{told} {shown}"));
    }
}

/// Fails when a password's file is taken with a mark or a line end of its editor, or when one that can't be right
/// is taken, or shown.
#[test]
fn a_password_file_may_come_from_any_editor() {
    let file = scratch("password");
    let broker = TestBroker::builder()
        .login("user", "s3cr\u{e9}t")
        .start()
        .unwrap();
    for text in [
        "s3cr\u{e9}t",
        "s3cr\u{e9}t\n",
        "s3cr\u{e9}t\r\n",
        "\u{feff}s3cr\u{e9}t\r\n",
    ] {
        std::fs::write(&file, text).unwrap();
        let fleet = start([spec("reads", &broker).password_file("user", &file)]);
        fleet.wait_connected(PATIENCE).unwrap();
    }
    let utf16: Vec<u8> = "\u{feff}s3cret"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let broken: [(&[u8], &str); 5] = [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"s3cr\xe9t", "not UTF-8"),
        (&utf16, "UTF-16"),
        (&[b's'; 70_000], "larger than"),
    ];
    for (bytes, said) in broken {
        std::fs::write(&file, bytes).unwrap();
        let refused = spec("reads", &broker).password_file("user", &file);
        let error = Fleet::builder().client(refused).start().unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains(said), "{told}");
        assert!(!told.contains("s3c") && !told.contains("sss"), "{told}");
    }
    std::fs::remove_file(&file).unwrap();
}
