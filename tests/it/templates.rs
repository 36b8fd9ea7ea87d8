//! Placeholders: every text of a spec is filled in, or is refused.

use std::fs;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Copies, Fleet, QoS, SpecFile};

use crate::support::fleet::{PATIENCE, quick_retry, start};
use crate::support::scratch::scratch;

/// Every key whose value is a text of one's own, with the placeholders in it. The table of keys in
/// docs/SPEC_FILES.md is walked below, so that a new key has to be named here or there.
const TEXTS: &str = r#"{
    "name": "dev-{i}",
    "times": 3,
    "broker": "mqtts://h",
    "tls": {
        "ca_file": "{i}-{name}-ca.pem",
        "alpn": ["{i}-{name}"],
        "server_name": "{i}-{name}.example",
        "client_certificate": {"certificate": "{i}-{name}.pem", "key": "{i}-{name}.key"}
    },
    "client_id": "{i}-{name}",
    "credentials": {"username": "{i}-{name}", "password_file": "{i}-{name}.password"},
    "will": {"topic": "{i}/{name}", "payload": "{i}-{name}"},
    "birth": {"topic": "{i}/{name}", "payload": "{i}-{name}"},
    "subscribe": ["{i}/{name}", {"filter": "{i}/{name}/#", "qos": 1}]
}"#;

/// Fails when a text of a copy keeps its `{i}`, or when a new key is a text that this test does not know.
#[test]
fn every_text_of_a_copy_is_filled() {
    let file = SpecFile::from_json(&format!("{{\"client\": [{TEXTS}]}}")).unwrap();
    let copies: Vec<ClientSpec> = file.into_iter().collect();
    for (i, copy) in copies.iter().enumerate() {
        let written = serde_json::to_string(copy).unwrap();
        assert!(!written.contains("{i}"), "{written}");
        // Ten texts and the name, and a number each.
        assert_eq!(
            written.matches(&format!("{i}-{{name}}")).count(),
            10,
            "{written}"
        );
        assert_eq!(
            written.matches(&format!("{i}/{{name}}")).count(),
            4,
            "{written}"
        );
    }
    // What may be a text is in the list above, or has words of its own.
    let no_texts = [
        "times",
        "keep_alive",
        "session",
        "retry",
        "connect_timeout",
        "offline",
        "replay",
        "max_age",
        "outbox_overflow",
        "refused_subscription",
        "lowered_subscription",
    ];
    let spec: Copies = serde_json::from_str(TEXTS).unwrap();
    let _ = spec;
    let unknown = SpecFile::from_json(r#"{"client": [{"x": 1}]}"#)
        .unwrap_err()
        .to_string();
    let (_, known) = unknown.split_once("expected one of ").unwrap();
    for key in known.split('`').skip(1).step_by(2) {
        let is_known = TEXTS.contains(&format!("\"{key}\"")) || no_texts.contains(&key);
        if is_known {
            continue;
        }
        // A number, then: a text is refused.
        let text = TEXTS.replacen('{', &format!("{{\"{key}\": \"{{i}}\","), 1);
        let taken: Result<Copies, _> = serde_json::from_str(&text);
        assert!(
            taken.is_err(),
            "{key} takes a text: is its {{i}} filled in?"
        );
    }
}

/// Fails when a URL with a placeholder in it is taken.
#[test]
fn urls_have_no_placeholders() {
    for url in [
        "mqtt://{i}.example",
        "mqtt://{name}",
        "mqtt://user-{i}:p@h",
        "ws://h/{i}",
        "unix:///run/{i}.sock",
        "mqtt://h:{i}",
    ] {
        for spec in [
            ClientSpec::new("dev-{i}", url),
            ClientSpec::new("dev-{i}", "mqtt://h").or_broker(url),
        ] {
            let error = Fleet::builder().clients(spec.times(1)).start();
            let error = error.expect_err(url).to_string();
            assert!(error.contains("broker: "), "{error}");
        }
    }
    let host = ClientSpec::new("dev-{i}", ("{i}.example", 1883)).times(1);
    assert!(Fleet::builder().clients(host).start().is_err());
}

/// Fails when a copy's credentials are sent with the placeholders in them, wherever they come from, or when doubled
/// braces do not stand for a placeholder itself.
#[test]
fn each_copy_logs_in_as_itself() {
    let mut builder = TestBroker::builder();
    for (user, password) in [
        ("user-0", "p-dev-0-{i}{name}"),
        ("user-1", "p-dev-1-{i}{name}"),
    ] {
        builder = builder.login(user, password);
    }
    let broker = builder.start().unwrap();
    let url = format!("mqtt://{}", broker.addr());
    let spec = |url: &str| ClientSpec::new("dev-{i}", url).retry(quick_retry(1));
    let connects = |copies: Copies| {
        let fleet = start(copies);
        fleet.wait_connected(PATIENCE).unwrap();
        fleet.stop(PATIENCE);
    };
    connects(
        spec(&url)
            .credentials("user-{i}", "p-{name}-{{i}}{{name}}")
            .times(2),
    );
    let of_url = format!(
        "mqtt://user-%7Bi%7D:p-%7Bname%7D-%7B%7Bi%7D%7D%7B%7Bname%7D%7D@{}",
        broker.addr()
    );
    connects(spec(&of_url).times(2));
    let directory = scratch("passwords");
    fs::create_dir(&directory).unwrap();
    for i in 0..2 {
        // What is in a file is no text of the spec: it is sent as it is.
        fs::write(
            directory.join(format!("{i}")),
            format!("p-dev-{i}-{{i}}{{name}}\n"),
        )
        .unwrap();
    }
    connects(
        spec(&url)
            .password_file("user-{i}", directory.join("{i}"))
            .times(2),
    );
    fs::remove_dir_all(&directory).unwrap();
}

/// Fails when will and birth are sent with the placeholders in their payloads, or a binary payload is changed.
#[test]
fn payloads_are_filled_if_they_are_text() {
    let broker = TestBroker::start().unwrap();
    let url = format!("mqtt://{}", broker.addr());
    let watcher = ClientSpec::new("watcher", &*url)
        .retry(quick_retry(3))
        .subscribe("state/#", QoS::AtLeastOnce);
    let fleet = start([watcher]);
    fleet.wait_connected(PATIENCE).unwrap();
    fleet
        .client("watcher")
        .unwrap()
        .wait_subscribed(PATIENCE)
        .unwrap();
    let payload = |payload: &[u8]| {
        let spec = ClientSpec::new("dev-{i}", &*url).retry(quick_retry(3));
        let spec = spec.birth("state/{i}", QoS::AtLeastOnce, false, payload.to_vec());
        let _devices = start(spec.times(1));
        let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
        message.payload().to_vec()
    };
    assert_eq!(
        payload(b"{\"i\": {i}, \"name\": \"{name}\"}"),
        b"{\"i\": 0, \"name\": \"dev-0\"}"
    );
    assert_eq!(payload(b"\xff{i}"), b"\xff{i}");
}

/// Fails when a placeholder that nothing can fill is taken: `{name}` in a name, either of them in a handler of the
/// fleet.
#[test]
fn what_can_not_be_filled_is_refused() {
    let named = ClientSpec::new("dev-{name}", "mqtt://h");
    let error = Fleet::builder()
        .client(named)
        .start()
        .unwrap_err()
        .to_string();
    assert!(error.contains("name: "), "{error}");
    for filter in ["cmd/{name}/#", "cmd/{i}"] {
        let error = Fleet::builder()
            .client(ClientSpec::new("plant", "mqtt://h"))
            .on_message(filter, |_message, _clients| Ok(()))
            .start()
            .unwrap_err()
            .to_string();
        assert!(error.contains("on_message: "), "{error}");
    }
}
