//! Specs from files: every key, every kind of mistake with its place, functions by name, and back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{
    ClientSpec, Copies, Fleet, Offline, OnLowered, OutboxOverflow, QoS, RefusedSubscription,
    Replay, Retry, Session, SpecFile, SpecFileError, StartError, Tls, Will,
};

use crate::support::fleet::{PATIENCE, quick_retry, start, wait_connects};
use crate::support::scratch::scratch;
use crate::tidy::source::read;

/// Every key, each with a value that is not its default.
const ALL: &str = r#"
[[client]]
name = "all-{i}"
times = 2
broker = ["mqtt://broker:1884", "unix:///run/a%20b.sock", "wss://broker/path"]
tls = { ca_file = "ca.pem", client_certificate = { certificate = "c.pem", key = "c.key" }, alpn = ["mqtt"], server_name = "b" }
client_id = "id-{i}"
keep_alive = "1m 5s"
session = "kept"
credentials = { username = "user", password_env = "SECRET" }
will = { topic = "gone/{name}", payload = "offline", qos = 1, retain = true }
birth = { topic = "here/{name}", payload = [0, 255], qos = 2, retain = true }
subscribe = ["a/{name}", { filter = "b/#", qos = 2 }, { filter = "c" }]
retry = { attempts = "forever", pause = ["200ms", 7.5], stable_after = 2, refusals_too = true }
connect_timeout = 10
max_packet_size = 1000
filters_per_subscribe = 8
outbox_capacity = 20
outbox_overflow = "drop_oldest"
window = 30
offline = "reject"
max_age = "1h"
replay = "only_with_session"
refused_subscription = "end_client"
lowered_subscription = "accept"
"#;

fn all() -> ClientSpec {
    ClientSpec::new("all-{i}", "mqtt://broker:1884")
        .or_broker("unix:///run/a%20b.sock")
        .or_broker("wss://broker/path")
        .tls(
            Tls::ca_file("ca.pem")
                .client_certificate("c.pem", "c.key")
                .alpn(["mqtt"])
                .server_name("b"),
        )
        .client_id("id-{i}")
        .keep_alive(Duration::from_secs(65))
        .session(Session::Kept)
        .password_env("user", "SECRET")
        .will(
            Will::new("gone/{name}", "offline")
                .qos(QoS::AtLeastOnce)
                .retain(true),
        )
        .birth("here/{name}", QoS::ExactlyOnce, true, &[0_u8, 255][..])
        .subscribe("a/{name}", QoS::AtMostOnce)
        .subscribe("b/#", QoS::ExactlyOnce)
        .subscribe("c", QoS::AtMostOnce)
        .retry(
            Retry::forever()
                .pause(Duration::from_millis(200)..=Duration::from_millis(7_500))
                .stable_after(Duration::from_secs(2))
                .refusals_too(),
        )
        .connect_timeout(Duration::from_secs(10))
        .max_packet_size(1_000)
        .filters_per_subscribe(8)
        .outbox_capacity(20)
        .outbox_overflow(OutboxOverflow::DropOldest)
        .window(30)
        .offline(Offline::Reject)
        .max_age(Duration::from_secs(3_600))
        .replay(Replay::OnlyWithSession)
        .refused_subscription(RefusedSubscription::EndClient)
        .lowered_subscription(OnLowered::Accept)
}

/// What specs are, but for the bytes of a will, which `Debug` does not show.
fn shown(specs: impl IntoIterator<Item = ClientSpec>) -> Vec<String> {
    specs.into_iter().map(|spec| format!("{spec:?}")).collect()
}

fn one(text: &str) -> ClientSpec {
    let mut specs = SpecFile::from_toml(text).unwrap().into_iter();
    let spec = specs.next().unwrap();
    assert!(specs.next().is_none());
    spec
}

/// Fails if a key is not read, or sets something else, or if a default differs from the setter's.
#[test]
fn a_file_says_what_setters_say() {
    let file = SpecFile::from_toml(ALL).unwrap();
    assert_eq!(shown(file), shown(all().times(2)));
    let bare = one("[[client]]\nname = 'plant'\nbroker = 'mqtt://user@host'");
    assert_eq!(
        shown([bare]),
        shown([ClientSpec::new("plant", "mqtt://user@host")])
    );
    let system = one("[[client]]\nname = 'a'\nbroker = ['mqtts://h']\ntls = {}");
    let spec = ClientSpec::new("a", "mqtts://h").tls(Tls::system());
    assert_eq!(shown([system]), shown([spec]));
    let retries = |text: &str| {
        let file = format!("[[client]]\nname = 'a'\nbroker = 'mqtt://h'\nretry = {text}");
        shown([one(&file)])
    };
    let with = |retry| shown([ClientSpec::new("a", "mqtt://h").retry(retry)]);
    assert_eq!(retries("5"), with(Retry::attempts(5)));
    assert_eq!(retries("'forever'"), with(Retry::forever()));
    let stable = Duration::from_secs(1);
    assert_eq!(
        retries("{stable_after = '1s'}"),
        with(Retry::default().stable_after(stable))
    );
}

/// Fails if something is lost, or comes back as something else, on the way through a serializer.
#[test]
fn what_is_written_reads_as_the_same() {
    let bare = ClientSpec::new("plant", "mqtt://[::1]:1884");
    let at = |broker: &str| ClientSpec::new("plant", broker);
    for spec in [
        all(),
        bare.clone(),
        at("mqtts://h"),
        at("ssl://[::1]:1/"),
        at("ws://h"),
        at("ws://h/"),
        at("wss://h:1/a%20b/c"),
        at("unix:///a%25%C3%A4/%3F%23"),
        bare.clone().or_broker("mqtt://h").or_broker(("fe80::1", 7)),
        at("mqtts://h").tls(Tls::system()),
        at("mqtts://h").tls(Tls::system().server_name("n")),
        at("mqtts://h").tls(Tls::ca_file("/ca.pem").alpn(["a", "b"])),
        bare.clone().retry(Retry::forever()),
        bare.clone().retry(Retry::attempts(7)),
        bare.clone().retry(Retry::attempts(7).refusals_too()),
        bare.clone().password_file("user", "there"),
        bare.clone().credentials("user", ""),
        bare.clone().keep_alive(Duration::from_micros(1_500_001)),
    ] {
        let text = serde_json::to_string(&spec).unwrap();
        let back: ClientSpec = serde_json::from_str(&text).unwrap();
        assert_eq!(shown([back.clone()]), shown([spec.clone()]), "{text}");
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        let copies = spec.times(3).shard(1, 2);
        let text = serde_json::to_string(&copies).unwrap();
        let back: Copies = serde_json::from_str(&text).unwrap();
        assert_eq!(back.len(), 3, "a shard belongs to a machine: {text}");
        assert_eq!(shown(back.shard(1, 2)), shown(copies));
    }
    let text = serde_json::to_string(&bare).unwrap();
    assert_eq!(text, r#"{"name":"plant","broker":"mqtt://[::1]:1884"}"#);
    let text = serde_json::to_string(&all()).unwrap();
    assert!(text.contains(r#""payload":"offline""#), "{text}");
    // Functions are no data.
    let asked = bare.credentials_with(|| Err("never called".into()));
    let asked = asked.on_message("#", |_, _| Ok(()));
    let text = serde_json::to_string(&asked).unwrap();
    assert_eq!(text, r#"{"name":"plant","broker":"mqtt://[::1]:1884"}"#);
    let several =
        serde_json::from_str::<ClientSpec>(r#"{"name":"a","times":2,"broker":"mqtt://h"}"#);
    assert!(several.unwrap_err().to_string().starts_with("`times`"));
}

/// The place and the text of a mistake.
fn mistake(error: SpecFileError) -> (usize, usize, String, String) {
    match error {
        SpecFileError::Content {
            line,
            column,
            key,
            problem,
            ..
        } => (line, column, key, problem),
        other => panic!("{other}"),
    }
}

/// Fails if a mistake is taken, or told without its line, its column or its key.
#[test]
fn mistakes_in_toml_have_a_place() {
    let plant = "[[client]]\nname = 'plant'\nbroker = 'mqtt://h'\n";
    let case = |lines: &str, place: (usize, usize), key: &str, said: &str| {
        let text = format!("{plant}\n[[client]]\nname = 'b'\nbroker = 'mqtt://h'\n{lines}\n");
        let (line, column, at, problem) = mistake(SpecFile::from_toml(&text).unwrap_err());
        // The second client's keys begin in line 8.
        assert_eq!(
            (line, column, at.as_str()),
            (place.0 + 7, place.1, key),
            "{text}{problem}"
        );
        assert!(problem.contains(said), "{problem}");
    };
    // A key that is not known, at every depth.
    case(
        "window = 5\nretries = 3",
        (2, 1),
        "client[1].retries",
        "unknown field `retries`",
    );
    case(
        "will = {topic = 'a', payload = '', retained = true}",
        (1, 36),
        "client[1].will.retained",
        "unknown field",
    );
    case(
        "subscribe = ['a', {filter = 'b', QoS = 1}]",
        (1, 34),
        "client[1].subscribe[1].QoS",
        "unknown field",
    );
    case(
        "retry = {attempt = 3}",
        (1, 10),
        "client[1].retry.attempt",
        "unknown field",
    );
    case(
        "credentials = {user = 'a'}",
        (1, 16),
        "client[1].credentials.user",
        "unknown field",
    );
    // A wrong type.
    case(
        "window = 'big'",
        (1, 10),
        "client[1].window",
        "invalid type: this text, expected a whole number from 0 to 65,535",
    );
    case(
        "window = 70_000",
        (1, 10),
        "client[1].window",
        "invalid value: this number, expected a whole number from 0 to 65,535",
    );
    case(
        "client_id = 5",
        (1, 13),
        "client[1].client_id",
        "invalid type: integer `5`, expected a string",
    );
    case(
        "times = -1",
        (1, 9),
        "client[1].times",
        "invalid value: integer `-1`",
    );
    case(
        "subscribe = 'a'",
        (1, 13),
        "client[1].subscribe",
        "expected a list",
    );
    case(
        "subscribe = ['a', 5]",
        (1, 19),
        "client[1].subscribe[1]",
        "expected a topic filter, or a table",
    );
    case(
        "will = 'offline'",
        (1, 8),
        "client[1].will",
        "expected a table with topic, payload",
    );
    case(
        "birth = {topic = 'a', payload = 5}",
        (1, 33),
        "client[1].birth.payload",
        "expected a text, or a list",
    );
    case(
        "retry = true",
        (1, 9),
        "client[1].retry",
        "expected a number of attempts",
    );
    // What is missing.
    case(
        "will = {payload = ''}",
        (1, 8),
        "client[1].will.topic",
        "missing field `topic`",
    );
    case(
        "credentials = {password = 'x'}",
        (1, 15),
        "client[1].credentials.username",
        "missing field",
    );
    case(
        "tls = {client_certificate = {certificate = 'c.pem'}}",
        (1, 29),
        "client[1].tls.client_certificate.key",
        "missing field",
    );
    // Of brokers and TLS.
    case(
        "tls = {ca = 'ca.pem'}",
        (1, 8),
        "client[1].tls.ca",
        "unknown field",
    );
    case(
        "tls = 'ca.pem'",
        (1, 7),
        "client[1].tls",
        "expected a table with ca_file",
    );
    case(
        "tls = {alpn = 'mqtt'}",
        (1, 15),
        "client[1].tls.alpn",
        "expected a list",
    );
    // A value that can't be.
    case(
        "will = {topic = 'a', payload = '', qos = 3}",
        (1, 42),
        "client[1].will.qos",
        "expected a quality of service: 0, 1 or 2",
    );
    case(
        "subscribe = [{filter = 'a', qos = -1}]",
        (1, 35),
        "client[1].subscribe[0].qos",
        "quality of service",
    );
    case(
        "subscribe = ['a', 'b/#/c']",
        (1, 19),
        "client[1].subscribe[1]",
        "#",
    );
    case(
        "subscribe = [{filter = ''}]",
        (1, 24),
        "client[1].subscribe[0].filter",
        "it is empty",
    );
    case(
        "birth = {topic = 'a/+', payload = ''}",
        (1, 18),
        "client[1].birth.topic",
        "+",
    );
    case(
        "session = 'keep'",
        (1, 11),
        "client[1].session",
        "unknown variant `keep`, expected `clean` or `kept`",
    );
    case(
        "outbox_overflow = 'DropOldest'",
        (1, 19),
        "client[1].outbox_overflow",
        "`drop_oldest`",
    );
    case(
        "keep_alive = '30'",
        (1, 14),
        "client[1].keep_alive",
        "expected a duration",
    );
    case(
        "keep_alive = -1",
        (1, 14),
        "client[1].keep_alive",
        "expected a duration",
    );
    case(
        "retry = {pause = ['1s', '5x']}",
        (1, 25),
        "client[1].retry.pause[1]",
        "expected a duration",
    );
    case(
        "retry = {pause = ['1s']}",
        (1, 18),
        "client[1].retry.pause",
        "invalid length 1",
    );
    case("retry = 0", (1, 9), "client[1].retry", "from 1 on");
    case("retry = 'always'", (1, 9), "client[1].retry", "\"forever\"");
    case(
        "credentials = {username = 'a', password = 'x', password_env = 'X'}",
        (1, 15),
        "client[1].credentials",
        "only one of",
    );
    // Syntax.
    case("window 5", (1, 8), "", "expected `=`");
    case("window = 5\nwindow = 6", (2, 1), "", "duplicate key");

    let whole = |text: &str| {
        let (line, _, key, problem) = mistake(SpecFile::from_toml(text).unwrap_err());
        (line, key, problem)
    };
    let (line, key, problem) = whole("\n[[client]]\nname = 'plant'");
    assert_eq!((line, key.as_str()), (2, "client[0].broker"), "{problem}");
    let (line, key, problem) = whole("[[client]]\nname = 'plant'\nbroker = 'localhost:1883'");
    assert_eq!((line, key.as_str()), (3, "client[0].broker"));
    assert!(
        problem.contains("it has no scheme: write mqtt://localhost:1883"),
        "{problem}"
    );
    let (_, key, problem) =
        whole("[[client]]\nname = 'a'\nbroker = ['mqtt://h', 'mqtt://{i}.example']");
    assert_eq!(key, "client[0].broker[1]", "no placeholders there");
    assert!(
        problem.contains("its host has a character that no host name has"),
        "{problem}"
    );
    let (_, key, problem) = whole("[[client]]\nname = 'a'\nbroker = []");
    assert_eq!(key, "client[0].broker");
    assert!(problem.contains("invalid length 0"), "{problem}");
    let (line, key, problem) = whole("\n[[clients]]\nname = 'plant'");
    assert_eq!((line, key.as_str()), (2, "clients"), "{problem}");
    let (line, key, problem) = whole("# nothing\n");
    assert_eq!(
        (line, key.as_str(), problem.as_str()),
        (1, "client", "missing field `client`")
    );
}

/// Fails when a value of the wrong type is answered in the words of Rust or serde, for any key and in either
/// format, so that its writer does not know what to write.
#[test]
fn values_of_the_wrong_type_are_told_what_to_write() {
    let keys = [
        "name",
        "times",
        "broker",
        "tls",
        "client_id",
        "keep_alive",
        "session",
        "credentials",
        "will",
        "birth",
        "subscribe",
        "retry",
        "connect_timeout",
        "max_packet_size",
        "outbox_capacity",
        "outbox_overflow",
        "window",
        "offline",
        "max_age",
        "replay",
        "refused_subscription",
        "tls.ca_file",
        "tls.alpn",
        "tls.server_name",
        "tls.client_certificate",
        "credentials.username",
        "credentials.password",
        "credentials.password_env",
        "credentials.password_file",
        "will.topic",
        "will.payload",
        "will.qos",
        "will.retain",
        "retry.attempts",
        "retry.pause",
        "retry.stable_after",
        "retry.refusals_too",
    ];
    let values = [
        "'x'",
        "-1",
        "1.5",
        "true",
        "['x']",
        "{x = 1}",
        "[[1]]",
        "99999999999999999",
    ];
    let of_rust = [
        "usize",
        "u16",
        "u32",
        "u64",
        "i64",
        "tuple",
        "sequence",
        "struct",
        "variant identifier",
        "Option",
        "unit",
        "newtype",
        "map",
        "path string",
        "a boolean,",
        "expected string or table",
        "::",
        "wanted",
    ];
    let (mut told, mut strange) = (0, Vec::new());
    let mut look = |at: &str, result: Result<SpecFile, SpecFileError>| {
        let Err(SpecFileError::Content { key, problem, .. }) = result else {
            return;
        };
        told += 1;
        println!("{at} -> {key}: {problem}");
        if of_rust.iter().any(|word| problem.contains(word)) {
            strange.push(format!("{at}: {key}: {problem}"));
        }
    };
    for key in keys {
        for value in values {
            let (outer, inner) = key.split_once('.').unwrap_or((key, ""));
            let json = value.replace('\'', "\"").replace("x = 1", "\"x\": 1");
            let (toml, json) = match inner {
                "" => (format!("{outer} = {value}"), format!("\"{outer}\": {json}")),
                inner => (
                    format!("{outer} = {{{inner} = {value}}}"),
                    format!("\"{outer}\": {{\"{inner}\": {json}}}"),
                ),
            };
            let mut rest = vec![("name", "a"), ("broker", "mqtt://h")];
            rest.retain(|(key, _)| *key != outer);
            let of_toml: String = rest
                .iter()
                .map(|(key, text)| format!("{key} = '{text}'\n"))
                .collect();
            let of_json: String = rest
                .iter()
                .map(|(key, text)| format!("\"{key}\": \"{text}\", "))
                .collect();
            look(
                &toml,
                SpecFile::from_toml(&format!("[[client]]\n{of_toml}{toml}")),
            );
            look(
                &json,
                SpecFile::from_json(&format!("{{\"client\": [{{{of_json}{json}}}]}}")),
            );
        }
    }
    assert!(strange.is_empty(), "{strange:#?}");
    assert!(told > 300, "{told}");
    let said = |line: &str, wanted: &str| {
        let text = format!("[[client]]\nname = 'a'\nbroker = 'mqtt://h'\n{line}");
        let error = SpecFile::from_toml(&text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    said(
        "retry = {pause = '1s'}",
        "expected two durations, the shortest and the longest, such as [\"1s\", \"30s\"]",
    );
    said("retry = {pause = ['1s']}", "such as [\"1s\", \"30s\"]");
    said("outbox_capacity = 'x'", "expected a whole number");
    said("window = -1", "expected a whole number from 0 to 65,535");
}

/// Fails if a mistake in JSON is told without its line or its key.
#[test]
fn mistakes_in_json_have_a_place() {
    let case = |lines: &str, line: usize, key: &str, said: &str| {
        let text = format!(
            "{{\"client\": [\n{{\"name\": \"b\", \"broker\": \"mqtt://h\",\n{lines}}}\n]}}"
        );
        let (at, column, name, problem) = mistake(SpecFile::from_json(&text).unwrap_err());
        assert_eq!((at, name.as_str()), (line, key), "{text}\n{problem}");
        assert!(column >= 1 && problem.contains(said), "{problem}");
        assert!(!problem.contains(" line "), "{problem}");
    };
    case(
        "\"window\": 5,\n\"retries\": 3",
        4,
        "client[0].retries",
        "unknown field `retries`",
    );
    case(
        "\"window\": \"big\"",
        3,
        "client[0].window",
        "this text, expected a whole number from 0 to 65,535",
    );
    case(
        "\"will\": {\n\"topic\": \"a\", \"payload\": \"\",\n\"qos\": 3}",
        5,
        "client[0].will.qos",
        "0, 1 or 2",
    );
    case(
        "\"will\": {\n\"payload\": \"\"}",
        4,
        "client[0].will.topic",
        "missing field",
    );
    case(
        "\"retry\": {\"pause\": [\"1s\", \"x\"]}",
        3,
        "client[0].retry.pause[1]",
        "a duration",
    );
    case(
        "\"subscribe\": [\"a\", {\"filter\": \"b/#/c\"}]",
        3,
        "client[0].subscribe[1].filter",
        "#",
    );
    case(
        "\"window\": 5,\n\"window\": 6",
        4,
        "client[0].window",
        "duplicate field",
    );
    case("\"window\": 5,,", 3, "", "");
    let rest = SpecFile::from_json("{\"client\": []}\n}").unwrap_err();
    assert_eq!(mistake(rest).0, 2);
}

/// Fails if a password, or a URL that may hold one, is repeated in an error, or in what it shows of itself.
#[test]
fn no_error_repeats_a_password() {
    for lines in [
        "broker = 's3cret'",
        "broker = 'mqtt://user:s3cret@h:port'",
        "broker = ['mqtt://user:s3cret@h:port']",
        "broker = ['mqtt://h', ['mqtt://user:s3cret@h']]",
        "broker = {url = 'mqtt://user:s3cret@h'}",
        "broker = 'mqtts://h'\ntls = 'mqtt://user:s3cret@h'",
        "broker = 'mqtt://h'\ncredentials = 'user:s3cret'",
        "broker = 'mqtt://h'\ncredentials = {username = 'u', password = 's3cret', x = 1}",
        "broker = 'mqtt://h'\ncredentials = {username = 'u', password = 's3cret', password_env = 'X'}",
        "broker = 'mqtt://h'\ncredentials = {username = 'u', password = s3cret}",
        "broker = 'mqtt://h'\ncredentials = {username = 'u', password = 's3cret}",
        "broker = 'mqtt://h'\ncredentials = {username = 'u', password = ['s3cret']}",
        "broker = 'mqtt://h'\ncredentials = {username = 'u', password = {a = 's3cret'}}",
        "broker = 'mqtt://h'\nwill = 'mqtt://user:s3cret@h'",
        "broker = 'mqtt://h'\nwindow = 's3cret'",
        "broker = 'mqtt://h'\nretry = 's3cret'",
        "broker = 'mqtt://h'\nkeep_alive = 's3cret'",
    ] {
        let text = format!("[[client]]\nname = 'plant'\n{lines}");
        let error = SpecFile::from_toml(&text).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("s3cret"), "{told}");
        assert!(told.contains(": "), "{told}");
    }
    for number in ["1234567", "-1234567", "1234567.5"] {
        let toml = format!(
            "[[client]]\nname = 'a'\nbroker = 'mqtt://h'\ncredentials = {{username = 'u', password = {number}}}"
        );
        let json = format!(
            r#"{{"client": [{{"name": "a", "broker": "mqtt://h", "credentials": {{"username": "u", "password": {number}}}}}]}}"#
        );
        for error in [
            SpecFile::from_toml(&toml).unwrap_err(),
            SpecFile::from_json(&json).unwrap_err(),
        ] {
            let told = format!("{error} {error:?}");
            assert!(!told.contains("1234567"), "{told}");
            assert_eq!(mistake(error).2, "client[0].credentials.password");
        }
    }
    let text = "[[client]]\nname = 'a'\nbroker = 'mqtt://h'\ncredentials = {username = 'u', password = 's3cret'}";
    let file = SpecFile::from_toml(text).unwrap();
    assert!(!format!("{file:?}").contains("s3cret"));
}

/// Fails if a password is written to where nobody expects it, or is left out without a word.
#[test]
fn a_password_is_not_written() {
    let plant = || ClientSpec::new("plant", "mqtt://h");
    for spec in [
        plant().credentials("user", "s3cret"),
        ClientSpec::new("plant", "mqtt://user:s3cret@h"),
        plant().or_broker("mqtt://user:s3cret@h"),
        plant().or_broker("mqtt://s3cret@h"),
    ] {
        let error = serde_json::to_string(&spec).unwrap_err().to_string();
        assert!(
            error.contains("password_env") && !error.contains("s3cret"),
            "{error}"
        );
        assert!(serde_json::to_string(&spec.times(2)).is_err());
    }
    let broker = mqtt_fleet::Broker::try_from("mqtt://user:s3cret@h").unwrap();
    assert!(serde_json::to_string(&broker).is_err());
    // The signature of a signed URL is in its query.
    let signed = "wss://h/mqtt?signature=s3cret";
    for error in [
        serde_json::to_string(&plant().or_broker(signed)).unwrap_err(),
        serde_json::to_string(&mqtt_fleet::Broker::try_from(signed).unwrap()).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(
            error.contains("query") && !error.contains("s3cret"),
            "{error}"
        );
    }
    let odd = serde_json::to_string(&ClientSpec::new("plant", ("fe80::1%eth0", 1883)));
    assert!(odd.unwrap_err().to_string().contains("as a URL"));
    let wrong = serde_json::to_string(&ClientSpec::new("plant", ("no host", 1883)));
    assert!(wrong.unwrap_err().to_string().contains("its host has"));
    // Replaced by others, those of the URLs are not written either.
    let spec = ClientSpec::new("plant", "mqtt://user:s3cret@h")
        .or_broker("mqtt://user:s3cret@h2")
        .password_env("user", "X");
    let text = serde_json::to_string(&spec).unwrap();
    assert!(
        text.contains("\"mqtt://h:1883\"") && text.contains("\"X\""),
        "{text}"
    );
}

/// Fails if a password is not taken from where it is, with or without the end of its line, or if a new one is
/// not seen at the next attempt.
#[test]
fn passwords_are_read_where_they_are() {
    let directory = Directory::new("passwords");
    let path = std::env::var("PATH").unwrap();
    let broker = TestBroker::builder()
        .login("by-file", "first")
        .login("by-env", &path)
        .start()
        .unwrap();
    directory.write("kept/password", "first\r\n");
    let url = broker.url();
    let file = directory.write(
        "kept/fleet.toml",
        &format!(
            "[[client]]\nname = 'by-file'\nclient_id = 'by-file'\nbroker = '{url}'\n\
             credentials = {{username = 'by-file', password_file = 'password'}}\n\
             [[client]]\nname = 'by-env'\nbroker = '{url}'\n\
             credentials = {{username = 'by-env', password_env = 'PATH'}}\n"
        ),
    );
    let specs = SpecFile::read(&file).unwrap();
    let specs = specs.attach_all(|spec| spec.retry(quick_retry(3)));
    let fleet = start(specs.clone());
    fleet.wait_connected(PATIENCE).unwrap();
    let client = fleet.client("by-file").unwrap();
    directory.write("kept/password", "second");
    broker.kick("by-file");
    let outcome = client.wait_ended(PATIENCE).unwrap();
    assert!(outcome.to_string().contains("refused"), "{outcome}");
    wait_connects(&broker, "by-file", 2);
    fleet.stop(PATIENCE);

    fs::remove_file(directory.0.join("kept/password")).unwrap();
    let refused = |builder: mqtt_fleet::FleetBuilder| match builder.start().unwrap_err() {
        error @ StartError::Client { field, .. } => (field, error.to_string()),
        other => panic!("{other}"),
    };
    let (field, text) = refused(Fleet::builder().clients(specs));
    assert_eq!(field, "password_file");
    assert!(
        text.contains("there is no password") && text.contains("kept"),
        "{text}"
    );
    let missing = ClientSpec::new("a", url).password_env("user", "MQTT_FLEET_NOT_SET");
    let (field, text) = refused(Fleet::builder().client(missing));
    assert_eq!(field, "password_env");
    assert!(text.contains("\"MQTT_FLEET_NOT_SET\" is not set"), "{text}");
}

/// Fails if a function reaches other clients than those of its name, or a name that is mistyped is passed over.
#[test]
fn functions_are_attached_by_name() {
    let broker = TestBroker::start().unwrap();
    let url = broker.url();
    let text = format!(
        "[[client]]\nname = 'dev-{{i}}'\ntimes = 3\nbroker = '{url}'\n[[client]]\nname = 'plant'\nbroker = '{url}'\n\
         subscribe = ['up/+']"
    );
    let file = SpecFile::from_toml(&text).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["dev-{i}", "plant"]);
    let error = file.clone().attach("dev-0", |spec| spec).unwrap_err();
    assert_eq!(error.to_string(), "the file has no client \"dev-0\"");
    let (seen, all_seen) = crossbeam_channel::unbounded();
    let file = file
        .attach("dev-{i}", |spec| {
            spec.publish_every(Duration::from_millis(50), |client| {
                let topic = format!("up/{}", client.name());
                client.try_publish(topic, QoS::AtLeastOnce, false, "1")?;
                Ok(())
            })
        })
        .unwrap()
        .attach("plant", |spec| {
            spec.on_message("up/+", move |message, _clients| {
                seen.send(message.topic().to_owned())?;
                Ok(())
            })
        })
        .unwrap();
    let fleet = start(file.clone());
    let mut topics = std::collections::BTreeSet::new();
    while topics.len() < 3 {
        topics.insert(all_seen.recv_timeout(PATIENCE).unwrap());
    }
    assert_eq!(
        topics.into_iter().collect::<Vec<_>>(),
        ["up/dev-0", "up/dev-1", "up/dev-2"]
    );
    fleet.stop(PATIENCE);

    let names = |k| -> Vec<String> {
        let specs = file.clone().shard(k, 2).into_iter();
        specs.map(|spec| spec.name().to_owned()).collect()
    };
    assert_eq!(names(0), ["dev-0", "dev-2", "plant"]);
    assert_eq!(names(1), ["dev-1"]);
    let error = Fleet::builder()
        .clients(file.shard(2, 2))
        .start()
        .unwrap_err();
    assert!(error.to_string().contains("shard"), "{error}");
}

/// Fails if a file that can't be used is told without its name, or the two formats are mixed up.
#[test]
fn a_file_is_named_in_its_errors() {
    let directory = Directory::new("named");
    let there = directory.0.join("there.toml");
    let error = SpecFile::read(&there).unwrap_err();
    assert!(
        matches!(&error, SpecFileError::Read { path, .. } if *path == there),
        "{error}"
    );
    assert!(std::error::Error::source(&error).is_some());
    let path = directory.write("fleet.yaml", "");
    let error = SpecFile::read(path).unwrap_err();
    assert!(matches!(error, SpecFileError::Extension { .. }), "{error}");
    let text = "[[client]]\nname = 'a'\nbroker = 'mqtt://h'\nwindow = -1";
    let path = directory.write("fleet.toml", text);
    let error = mqtt_fleet::Error::from(SpecFile::read(&path).unwrap_err());
    let text = format!("{}:4:10: client[0].window: invalid value", path.display());
    assert!(error.to_string().starts_with(&text), "{error}");
    let path = directory.write("fleet.json", "{\"client\": [{\"name\": \"a\"}]}");
    let error = SpecFile::read(&path).unwrap_err().to_string();
    let text = format!("{}:1:25: client[0].broker: missing field", path.display());
    assert!(error.starts_with(&text), "{error}");
    let path = directory.write(
        "good.json",
        r#"{"client": [{"name": "a", "broker": "mqtt://h"}]}"#,
    );
    assert_eq!(SpecFile::read(path).unwrap().names().count(), 1);
}

/// Fails if a file of `tls` that has no absolute path is looked for anywhere but beside the file that names it.
#[test]
fn files_of_tls_are_beside_the_file() {
    let directory = Directory::new("beside");
    let path = directory.write(
        "fleet.toml",
        "[[client]]\nname = 'a'\nbroker = 'mqtts://h'\n\
         tls = {ca_file = 'ca.pem', client_certificate = {certificate = 'kept/c.pem', key = '/c.key'}}",
    );
    let tls = Tls::ca_file(directory.0.join("ca.pem"))
        .client_certificate(directory.0.join("kept/c.pem"), "/c.key");
    assert_eq!(
        shown(SpecFile::read(path).unwrap()),
        shown([ClientSpec::new("a", "mqtts://h").tls(tls)])
    );
}

/// Fails if the file of the example or a block of docs/SPEC_FILES.md can't be read, if the two formats there say
/// different things, or if its table of keys is not that of the code.
#[test]
fn the_documentation_is_true() {
    let file = SpecFile::from_toml(&read("examples/demo1a.toml")).unwrap();
    assert_eq!(file.into_iter().count(), 2 + 3);
    let document = read("docs/SPEC_FILES.md");
    let block = |kind: &str| {
        let (_, rest) = document.split_once(&format!("```{kind}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let toml = SpecFile::from_toml(block("toml")).unwrap();
    let json = SpecFile::from_json(block("json")).unwrap();
    assert_eq!(toml.clone().into_iter().count(), 201);
    assert_eq!(shown(toml), shown(json));
    for text in document.split("```toml\n").skip(2) {
        let file = SpecFile::from_toml(text.split_once("```").unwrap().0);
        assert_eq!(file.unwrap().names().count(), 1);
    }
    let mut lines: Vec<&str> = block("toml").lines().collect();
    let will = lines
        .iter_mut()
        .find(|line| line.starts_with("will"))
        .unwrap();
    let bad = will.replace("retain", "qos = 3, retain");
    *will = &bad;
    let error = SpecFile::from_toml(&lines.join("\n")).unwrap_err();
    assert_eq!(block("text").trim(), format!("fleet.toml:{error}"));

    let error = SpecFile::from_toml("[[client]]\nx = 1")
        .unwrap_err()
        .to_string();
    let (_, expected) = error.split_once("expected one of ").unwrap();
    let known: Vec<&str> = expected
        .split(", ")
        .map(|key| key.trim_matches('`'))
        .collect();
    let table = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: Vec<&str> = table.map(|line| line.split('`').next().unwrap()).collect();
    assert_eq!(told, known);
}

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = scratch(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn write(&self, name: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
