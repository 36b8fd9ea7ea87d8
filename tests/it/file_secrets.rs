//! A secret in every place of a file of specs, also where none belongs: no error and no log line shows a part of it.

use std::error::Error;
use std::fs;

use mqtt_fleet::SpecFile;

use crate::support::leaks::assert_hidden;
use crate::support::program::Program;
use crate::support::scratch::scratch;

/// Unlike any word or number of an error.
const SECRET: &str = "Zq7Xw9Kv2Jf5";
const NUMBER: &str = "730918264551";

/// The keys of a client, with values that are right.
const KEYS: [(&str, &str); 22] = [
    ("name", "\"plant\""),
    ("broker", "\"mqtt://h\""),
    ("times", "2"),
    ("tls", "{\"ca_file\": \"a\"}"),
    ("client_id", "\"a\""),
    ("keep_alive", "\"30s\""),
    ("session", "\"clean\""),
    ("credentials", "{\"username\": \"u\", \"password\": \"p\"}"),
    ("will", "{\"topic\": \"a\", \"payload\": \"b\"}"),
    ("birth", "{\"topic\": \"a\", \"payload\": \"b\"}"),
    ("subscribe", "[\"a\"]"),
    ("retry", "3"),
    ("connect_timeout", "\"5s\""),
    ("max_packet_size", "1000"),
    ("outbox_capacity", "5"),
    ("outbox_overflow", "\"refuse\""),
    ("window", "5"),
    ("offline", "\"queue\""),
    ("max_age", "\"5s\""),
    ("replay", "\"always\""),
    ("refused_subscription", "\"continue\""),
    ("lowered_subscription", "\"continue\""),
];

/// The keys of the tables in it.
const INNER: [(&str, &[&str]); 6] = [
    (
        "tls",
        &["ca_file", "client_certificate", "alpn", "server_name"],
    ),
    (
        "credentials",
        &["username", "password", "password_env", "password_file"],
    ),
    ("will", &["topic", "payload", "qos", "retain"]),
    ("birth", &["topic", "payload", "qos", "retain"]),
    (
        "retry",
        &["attempts", "pause", "stable_after", "refusals_too"],
    ),
    ("subscribe", &["filter", "qos"]),
];

/// Values that hold a secret, in JSON.
fn values() -> Vec<String> {
    let mut values = vec![
        NUMBER.to_owned(),
        format!("-{NUMBER}"),
        format!("{NUMBER}.5"),
        format!("{NUMBER}{NUMBER}{NUMBER}"),
        format!("[{NUMBER}]"),
        format!("{{\"a\": {NUMBER}}}"),
    ];
    for text in [
        SECRET.to_owned(),
        format!("{SECRET}, expected `{SECRET}`"),
        format!("`{SECRET}`"),
        format!("{SECRET}/#/{SECRET}"),
        format!("mqtt://user:{SECRET}@h:port"),
        format!("mqtt://user:{SECRET}@h/path"),
        format!("mqtt://us:er:{SECRET}@@h"),
        format!("mqtt://{SECRET}:{SECRET}@"),
        format!("mqtt:/user:{SECRET}@h"),
        format!("mqtt//user:{SECRET}@h"),
        format!("user:{SECRET}@h"),
        format!("http://user:{SECRET}@h"),
        format!("wss://h/{SECRET} x?token={SECRET}"),
        format!("mqtt://user:{SECRET}%zz@h"),
        format!("{SECRET}\u{0}"),
    ] {
        let text = text.replace('\0', "\\u0000");
        values.push(format!("\"{text}\""));
        values.push(format!("[\"{text}\", \"{text}\"]"));
        values.push(format!("[[\"{text}\"]]"));
        values.push(format!("{{\"a\": \"{text}\"}}"));
        values.push(format!("{{\"{text}\": 1}}"));
    }
    values
}

fn shown(error: &dyn Error) -> String {
    let mut shown = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        shown.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    shown
}

/// Reads a text; an error of that must not show the secret.
fn check(json: bool, text: &str) {
    let read = match json {
        true => SpecFile::from_json(text),
        false => SpecFile::from_toml(text),
    };
    // What can be read may be shown, but for passwords: see `secrets.rs`.
    let Err(error) = read else { return };
    let told = shown(&error);
    for secret in [SECRET, NUMBER] {
        assert_hidden(secret, &told);
    }
    assert!(told.contains(": "), "it says where, and what: {told}");
}

/// JSON of one client as TOML: its inline tables take `=`.
fn toml_of(pairs: &[(String, String)]) -> String {
    let lines = pairs.iter().map(|(key, value)| {
        let value = value.replace("\": ", "\" = ");
        format!("{key} = {value}\n")
    });
    format!("[[client]]\n{}", lines.collect::<String>())
}

fn json_of(pairs: &[(String, String)]) -> String {
    let fields: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    format!("{{\"client\": [{{{}}}]}}", fields.join(",\n"))
}

fn quoted(key: &str) -> String {
    format!("\"{key}\"")
}

fn print_all() -> i32 {
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Trace)
        .init();
    let base = || -> Vec<(String, String)> {
        let two = KEYS.iter().take(2);
        two.map(|(key, value)| (quoted(key), (*value).to_owned()))
            .collect()
    };
    let mut n = 0;
    let mut both = |pairs: &[(String, String)]| {
        check(true, &json_of(pairs));
        check(false, &toml_of(pairs));
        n += 2;
    };
    for value in values() {
        for (key, _) in KEYS {
            // As the value of each key.
            let mut pairs = base();
            pairs.retain(|(name, _)| *name != quoted(key));
            pairs.push((quoted(key), value.clone()));
            both(&pairs);
        }
        for (table, keys) in INNER {
            for key in keys {
                let inner = format!("{{\"{key}\": {value}}}");
                let inner = match table {
                    "subscribe" => format!("[{inner}]"),
                    "credentials" if *key != "username" => {
                        format!("{{\"username\": \"u\", \"{key}\": {value}}}")
                    }
                    "will" | "birth" if *key == "topic" => {
                        format!("{{\"payload\": \"b\", \"{key}\": {value}}}")
                    }
                    "will" | "birth" if *key == "payload" => {
                        format!("{{\"topic\": \"b\", \"{key}\": {value}}}")
                    }
                    "will" | "birth" => {
                        format!("{{\"topic\": \"b\", \"payload\": \"\", \"{key}\": {value}}}")
                    }
                    _ => inner,
                };
                let mut pairs = base();
                pairs.push((quoted(table), inner));
                both(&pairs);
            }
        }
    }
    // As a key, twice, and as a table.
    for key in [SECRET, NUMBER, "a\\\"Zq7Xw9Kv2Jf5", "Zq7Xw9Kv2Jf5` x"] {
        let mut pairs = base();
        pairs.push((quoted(key), "1".to_owned()));
        both(&pairs);
        pairs.push((quoted(key), "1".to_owned()));
        both(&pairs);
        for (table, _) in INNER {
            let mut pairs = base();
            pairs.push((quoted(table), format!("{{\"{key}\": 1}}")));
            both(&pairs);
        }
    }
    // Broken syntax of TOML around it, and cut anywhere.
    let whole = format!(
        "[[client]]\nname = 'a'\nbroker = 'mqtt://h'\ncredentials = {{ username = 'u', password = \"{SECRET}\" }}\n"
    );
    let json = format!(
        "{{\"client\": [{{\"name\": \"a\", \"broker\": \"mqtt://h\", \"credentials\": {{\"username\": \"u\", \
         \"password\": \"{SECRET}\"}}}}]}}"
    );
    for cut in 0..whole.len() {
        check(false, &whole[..cut]);
        check(false, &whole[cut..]);
    }
    for cut in 0..json.len() {
        check(true, &json[..cut]);
        check(true, &json[cut..]);
    }
    for line in [
        format!("password = {SECRET}"),
        format!("password = '{SECRET}"),
        format!("password = \"{SECRET}\\q\""),
        format!("password = \"{SECRET}\\u{SECRET}\""),
        format!("password = \"\"\"\n{SECRET}\n{SECRET}\"\""),
        format!("password = '''{SECRET}\n"),
        format!("password : {SECRET}"),
        SECRET.to_owned(),
        format!("{SECRET} = "),
        format!("[{SECRET}"),
        format!("[[{SECRET}]]\na = 1"),
        format!("[{SECRET}]\n[{SECRET}]"),
        format!("{SECRET} = 1\n{SECRET} = 2"),
        format!("{SECRET}.a = 1\n{SECRET} = 2"),
        format!("client_id = 2024-01-01T{SECRET}"),
        format!("client_id = 2024-11-30T07:30:18.{NUMBER}"),
        format!("will = 2024-11-30T07:30:18.{NUMBER}"),
        format!("client_id = {NUMBER}x"),
        format!("client_id = 0x{SECRET}"),
        format!("client_id = {NUMBER}_"),
        format!("client_id = \"{SECRET}\" {SECRET}"),
        format!("subscribe = [\"{SECRET}/#/\", {SECRET}]"),
    ] {
        check(
            false,
            &format!("[[client]]\nname = 'a'\nbroker = 'mqtt://h'\n{line}\n"),
        );
        check(true, &format!("{{\"client\": [{{\"name\": {line}}}]}}"));
    }
    // Files that are no text.
    let utf16: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin1 = [whole.as_bytes(), b"# \xe9 "].concat();
    let missing = scratch("missing.toml");
    for ending in ["toml", "json", "txt"] {
        for bytes in [
            utf16.as_slice(),
            &latin1,
            whole.replace('=', ":").as_bytes(),
        ] {
            let file = scratch(&format!("secret.{ending}"));
            fs::write(&file, bytes).unwrap();
            let error = SpecFile::read(&file).unwrap_err();
            assert_hidden(SECRET, &shown(&error));
            assert!(
                error.to_string().contains(&*file.to_string_lossy()),
                "{error}"
            );
            fs::remove_file(&file).unwrap();
        }
    }
    println!("{:?}", SpecFile::read(missing).unwrap_err());
    println!("{n} texts are read");
    0
}

/// Fails when an error of a file of specs, or a log line of any crate while it is read, holds more than three bytes
/// of a secret, wherever in the file that is: as a value of any key, as a key, in a URL, in broken syntax.
#[test]
fn no_reader_of_specs_shows_a_secret() {
    let test = "file_secrets::no_reader_of_specs_shows_a_secret";
    let (status, output) =
        Program::role(test, print_all).ended(3 * crate::support::fleet::PATIENCE);
    assert!(status.success(), "{status}\n{output}");
    assert!(output.contains("texts are read"), "{output}");
    let lines: String = output
        .lines()
        .filter(|line| !line.contains("texts are read"))
        .collect();
    assert_hidden(SECRET, &lines);
}

/// Fails when a byte order mark keeps a file from being read.
#[test]
fn a_byte_order_mark_is_passed_over() {
    for (ending, text) in [
        (
            "toml",
            "\u{feff}[[client]]\nname = 'a'\nbroker = 'mqtt://h'",
        ),
        (
            "json",
            "\u{feff}{\"client\": [{\"name\": \"a\", \"broker\": \"mqtt://h\"}]}",
        ),
    ] {
        let file = scratch(&format!("mark.{ending}"));
        fs::write(&file, text).unwrap();
        assert_eq!(
            SpecFile::read(&file).unwrap().names().collect::<Vec<_>>(),
            ["a"]
        );
        fs::remove_file(&file).unwrap();
    }
}
