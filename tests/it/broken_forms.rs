//! URLs, hosts, numbers and times in every broken form: each is refused before any thread runs, and the text says
//! what is wrong and what to write, without a part of what may be a secret.

use std::time::Duration;

use mqtt_fleet::{
    Broker, BrokerError, ClientSpec, Fleet, FleetBuilder, Problem, Retry, StartError,
};

fn told(builder: FleetBuilder) -> String {
    builder.start().unwrap_err().to_string()
}

fn told_of(broker: impl TryInto<Broker, Error = BrokerError>) -> String {
    match broker.try_into() {
        Err(error) => error.to_string(),
        Ok(_) => String::new(),
    }
}

/// Fails when a URL or a host in one of these forms is taken, or is told something else than what is wrong with it.
#[test]
fn broken_urls_are_told_what_is_wrong() {
    for (url, wanted) in [
        ("\"mqtt://h\"", "quote"),
        ("'mqtt://h'", "quote"),
        ("`mqtt://h`", "quote"),
        ("<mqtt://h>", "bracket"),
        ("\u{201c}mqtt://h\u{201d}", "quote"),
        ("mqtt://h\"", "quote"),
        ("\"localhost:1883\"", "quote"),
        ("\u{feff}mqtt://h", "can't be seen"),
        ("mqtt://h\u{200b}", "can't be seen"),
        ("mqtt://h\0", "can't be seen"),
        ("mqtt://h\r\n", "line end"),
        ("mqtt://h\tx", "can't be seen"),
        ("mqtt://h{i}", "placeholder"),
        ("mqtt://{name}.example", "placeholder"),
        ("mqtt://${HOST}", "placeholder"),
        ("mqtt://$HOST:1883", "placeholder"),
        ("mqtt://%HOST%", "placeholder"),
        ("mqtt://<host>", "placeholder"),
        ("mqtt://-h", "'-'"),
        ("mqtt://h.-example", "'-'"),
        ("mqtt://-", "'-'"),
        ("mqtt://h,mqtt://i", "one URL names one broker"),
        ("mqtt://h;i", "or_broker"),
        ("mqtt://mqtt://h", "two schemes"),
        ("mqtt://tcp://h:1883", "two schemes"),
        ("mqtt://fe80::1%eth0", "zone"),
        ("mqtt://::1]:1883", "brackets"),
        ("mqtt:h", "write mqtt://host:port"),
        ("mqtt:/h", "write mqtt://host:port"),
        ("mqtt+ws://h", "use ws://"),
    ] {
        let told = told_of(url);
        assert!(told.contains(wanted), "{url:?}: {told}");
    }
    for (host, wanted) in [
        ("-h", "'-'"),
        ("\"h\"", "quote"),
        ("h{i}", "placeholder"),
        ("\u{feff}h", "can't be seen"),
        ("[h]", "no host name"),
    ] {
        let told = told_of((host, 1883));
        assert!(told.contains(wanted), "{host:?}: {told}");
    }
    for right in [
        "mqtt://h-1",
        "mqtt://h-.example",
        "mqtt://_x",
        "mqtt://u:%22@h",
    ] {
        assert_eq!(told_of(right), "", "{right}");
    }
}

/// Fails when a socket's path is said to be relative or too long where a character has to be encoded.
#[cfg(unix)]
#[test]
fn broken_socket_paths_are_told_what_is_wrong() {
    for (url, wanted) in [
        ("unix:///tmp/a b", "%20"),
        ("unix:///tmp/\u{e4}", "percent-encoded"),
        ("unix:///tmp/a?b", "%3F"),
        ("unix:///tmp/a#b", "%23"),
        ("unix:///", "that of a file"),
        ("unix:///tmp/", "that of a file"),
        ("unix:/tmp/a", "three slashes"),
    ] {
        let told = told_of(url);
        assert!(told.contains(wanted), "{url:?}: {told}");
    }
}

/// Fails when a secret that stands where a URL should be is repeated: with `://` in it, or like a host with a port.
#[test]
fn a_secret_for_a_url_is_not_repeated() {
    for secret in ["Zq7Xw9Kv2", "eyJhbGci0.eyJzdWIi1.SflKxwRJ2"] {
        for url in [
            secret.to_owned(),
            format!("{secret}://h"),
            format!("{secret}:1883"),
            format!("\"{secret}\""),
            format!("{secret}.example"),
            format!("mqtt://{secret}://h"),
            format!("mqtt+{secret}://h"),
            format!("mqtt://\"u\":{secret}@h"),
            format!("\"mqtt://u:{secret}@h\""),
            format!("mqtt:u:{secret}@h"),
            format!("mqtt://u:{secret}@h{{i}}"),
            format!("mqtt://u:{secret}@-h"),
            format!("mqtt://u:{secret}@h,i"),
        ] {
            let error = Broker::try_from(url.as_str()).unwrap_err();
            let spec = ClientSpec::new("c", &url).or_broker(url);
            let told = format!("{spec:?} {spec:#?} {error} {error:?} {error:#?}");
            crate::support::leaks::assert_hidden(secret, &told);
        }
    }
}

/// Fails when a time that is out of range is told in a row of digits, or a keep alive as not whole where it is far
/// too long.
#[test]
fn times_are_told_in_units_that_people_read() {
    let max = Duration::MAX;
    let spec = || ClientSpec::new("c", "mqtt://h");
    let retry = |pause| spec().retry(Retry::attempts(1).pause(pause));
    for (field, spec) in [
        ("keep_alive", spec().keep_alive(max)),
        ("connect_timeout", spec().connect_timeout(max)),
        ("max_age", spec().max_age(max)),
        ("retry", retry(max..=max)),
        ("retry", retry(Duration::ZERO..=max)),
        ("publish_every", spec().publish_every(max, |_| Ok(()))),
    ] {
        let told = told(Fleet::builder().client(spec));
        let wanted = format!("{field}: 213503982334601 days is out of range: ");
        assert!(told.contains(&wanted), "{told}");
    }
    for (keep_alive, wanted) in [
        (
            Duration::from_millis(999),
            "999 ms is out of range: 1 s to 65,535 s",
        ),
        (Duration::from_millis(1_500), "whole seconds"),
        (Duration::new(1, 1), "whole seconds"),
    ] {
        let told = told(Fleet::builder().client(spec().keep_alive(keep_alive)));
        assert!(told.contains(wanted), "{told}");
    }
}

/// Fails when a number of copies that no machine holds ends the process, or starts; or when a part of it that one
/// machine can hold is refused.
#[test]
fn too_many_copies_are_refused() {
    for n in [1_000_001, usize::MAX] {
        let copies = || ClientSpec::new("c-{i}", "mqtt://h").times(n);
        assert_eq!(copies().len(), n);
        let error = Fleet::builder().clients(copies()).start().unwrap_err();
        let StartError::Client { field, problem, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*field, "times", "{error}");
        assert!(matches!(problem, Problem::OutOfRange { .. }), "{error}");
        let part = copies().shard(1, n).into_iter();
        assert_eq!(part.len(), 1);
    }
    let told = told(Fleet::builder().clients(ClientSpec::new("c", "mqtt://h").times(2)));
    assert!(told.contains("{i}"), "{told}");
}

/// Fails when a file can ask for so many copies that the process ends.
#[cfg(feature = "files")]
#[test]
fn too_many_copies_of_a_file_are_refused() {
    let text = "[[client]]\nname = 'c-{i}'\nbroker = 'mqtt://h'\ntimes = 4000000000000";
    let file = mqtt_fleet::SpecFile::from_toml(text).unwrap();
    let told = told(Fleet::builder().clients(file));
    assert!(
        told.contains("times: 4000000000000 is out of range"),
        "{told}"
    );
}

#[cfg(feature = "files")]
fn told_of_toml(text: &str) -> String {
    mqtt_fleet::SpecFile::from_toml(text)
        .unwrap_err()
        .to_string()
}

/// Fails when a mistake in a file is told in words of a library that lead nowhere, or without its key.
#[cfg(feature = "files")]
#[test]
fn mistakes_of_a_file_are_told_in_words() {
    let client = "[[client]]\nname = 'c'\nbroker = 'mqtt://h'\n";
    for (line, wanted) in [
        ("window = 1\nwindow = 2", "5:1: duplicate key `window`"),
        ("Zq7Xw9 = 1\nZq7Xw9 = 2", "5:1: duplicate key"),
        (
            "will = { topic = 'a', topic = 'b' }",
            "duplicate key `topic`",
        ),
        (
            "session = {}",
            "client[0].session: expected a word in quotes",
        ),
        ("window = null", "expected a value: a text in quotes"),
        ("will = no", "expected a value: a text in quotes"),
        ("tls = 1979-05-27", "a date"),
        (
            "credentials = { username = 'u', password = '' }",
            "password: a password is not empty",
        ),
    ] {
        let told = told_of_toml(&format!("{client}{line}\n"));
        assert!(told.contains(wanted), "{line}: {told}");
        assert!(!told.contains("Zq7X") && !told.contains("$__"), "{told}");
    }
    for text in ["", "{\"client\": [", "{\"client\": [{\"name\": \"Zq7X"] {
        let told = mqtt_fleet::SpecFile::from_json(text)
            .unwrap_err()
            .to_string();
        assert!(told.contains("ends too early"), "{text}: {told}");
        assert!(!told.contains("Zq7X"), "{told}");
    }
}

/// Fails when the file of an editor of Windows is told something else than its encoding, or its upper-case name is
/// not known.
#[cfg(feature = "files")]
#[test]
fn files_of_other_systems() {
    let directory = crate::support::scratch::scratch("other_systems");
    std::fs::create_dir(&directory).unwrap();
    let text = "[[client]]\r\nname = 'Zq7Xw9'\r\nbroker = 'mqtt://h'\r\n";
    let utf16 = |mark: &str| -> Vec<u8> {
        let units = mark.encode_utf16().chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    };
    for (name, bytes) in [("mark.toml", utf16("\u{feff}")), ("plain.toml", utf16(""))] {
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = mqtt_fleet::SpecFile::read(&path).unwrap_err();
        let told = format!("{error:?}");
        assert!(told.contains("UTF-16") && told.contains(name), "{told}");
        assert!(!told.contains("Zq7X"), "{told}");
    }
    let path = directory.join("FLEET.TOML");
    std::fs::write(&path, text).unwrap();
    assert_eq!(
        mqtt_fleet::SpecFile::read(&path).unwrap().names().count(),
        1
    );
    std::fs::remove_dir_all(&directory).unwrap();
}
