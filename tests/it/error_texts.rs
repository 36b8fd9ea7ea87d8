//! Every error can be read as it is printed by `unwrap`, and by `?` from `main`.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{
    Broker, BrokerError, Cause, ClientSpec, Error, FailedCause, Fleet, Offline, Problem,
    PublishErrorKind, QoS, ReceiptError, Refusal, Resource, SignalError, StartError,
    SubscribeErrorKind, TlsError, TopicError, UnknownClient, check_filter, check_topic,
};

use crate::support::fleet::{PATIENCE, start};

const SECRET: &str = "hunter2";

/// What `fn main() -> Result<(), E>` prints behind `Error: `.
fn printed(error: &dyn StdError) -> String {
    let text = format!("{error:?}");
    assert_eq!(
        format!("{error:#?}"),
        text,
        "so is what is printed in the long form"
    );
    assert!(text.starts_with(&error.to_string()), "{text}: {error}");
    let is_structure = text.contains(" { ") || text.ends_with(" }");
    assert!(!is_structure, "{text}");
    // A name of a type or a variant, as derived code writes it: `Io(`, `Some(`, `BadScheme("x")`.
    let is_call = text.split_whitespace().any(|word| {
        let name: String = word
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let is_type = name.starts_with(|first: char| first.is_ascii_uppercase());
        is_type && word[name.len()..].starts_with('(')
    });
    assert!(!is_call, "{text}");
    assert!(!text.contains(SECRET), "{text}");
    text
}

/// Fails when the first mistake that a newcomer makes is printed by `main` as a structure.
#[test]
fn a_first_mistake_is_a_sentence() {
    let begin = || -> Result<(), Error> {
        Fleet::builder()
            .client(ClientSpec::new("client0", "localhost"))
            .start()?;
        Ok(())
    };
    let text = printed(&begin().unwrap_err());
    assert!(text.starts_with("client \"client0\", broker: "), "{text}");
    assert!(text.contains("mqtt://localhost"), "{text}");
}

/// Fails when an error of the crate prints its structure, leaves a source out, or shows a message that it
/// gives back.
#[test]
fn every_error_is_printed_as_its_text() {
    let system = || io::Error::new(io::ErrorKind::NotFound, "no such file");
    let file = || PathBuf::from("fleet.pem");
    let word = || "a word".to_owned();
    let address = || "10.0.0.5:1883".to_owned();
    let tls = [
        TlsError::NotUsed,
        TlsError::NoCertificate { file: file() },
        TlsError::NoKey { file: file() },
        TlsError::ServerName { name: word() },
        TlsError::Alpn,
    ];
    let mut all: Vec<Box<dyn StdError>> = vec![
        Box::new(StartError::NoClient),
        Box::new(StartError::Limits {
            resource: Resource::Descriptors,
            needed: 4_000,
            available: 1_024,
        }),
        Box::new(StartError::Thread {
            thread: "plant".to_owned(),
            source: system(),
        }),
        Box::new(StartError::Setup {
            client: "plant".to_owned(),
            message: word(),
        }),
        Box::new(StartError::Signal(SignalError::AlreadyHandled)),
        Box::new(Error::Signal(SignalError::System(system()))),
        Box::new(Error::UnknownClient(UnknownClient(word()))),
        Box::new(Error::Receipt(ReceiptError::Failed(
            FailedCause::SessionLost,
        ))),
        Box::new(Error::Disconnected),
        Box::new(Error::ReceiveTimeout),
        Box::new(Problem::Text("words")),
        Box::new(Problem::Password(word())),
        Box::new(Problem::Duplicate {
            value: word(),
            other: word(),
        }),
        Box::new(Problem::OutOfRange {
            given: word(),
            allowed: "at least 1",
        }),
        Box::new(PublishErrorKind::TooLarge { size: 9, limit: 8 }),
        Box::new(PublishErrorKind::Topic(TopicError::Empty)),
        Box::new(SubscribeErrorKind::Ended),
        Box::new(Cause::Resolve {
            host: word(),
            message: word(),
        }),
        Box::new(Cause::Connect {
            address: address(),
            kind: io::ErrorKind::ConnectionRefused,
            message: "Connection refused (os error 111)".to_owned(),
        }),
        Box::new(Cause::ConnectTimeout {
            address: address(),
            timeout: Duration::from_secs(5),
        }),
        Box::new(Cause::Refused(Refusal::BadUserNameOrPassword)),
        Box::new(Cause::TooLarge { size: 9, limit: 8 }),
        Box::new(Cause::KeepAlive),
        Box::new(QoS::try_from(3).unwrap_err()),
        Box::new(check_topic("a/+").unwrap_err()),
        Box::new(check_filter("#/a").unwrap_err()),
    ];
    all.extend(tls.map(|error| Box::new(Problem::Tls(error)) as Box<dyn StdError>));
    for url in [
        "",
        "h",
        "x://h",
        "mqtt://",
        "mqtt://h:x",
        "mqtt://h/p",
        "mqtt://u:hunter2%@h",
        " mqtt://h",
    ] {
        let error: BrokerError = Broker::try_from(url).unwrap_err();
        all.push(Box::new(Problem::Broker(error)));
    }
    for error in &all {
        printed(error.as_ref());
    }
    let thread = printed(all[2].as_ref());
    assert!(thread.ends_with(": no such file"), "{thread}");
    let given = printed(&QoS::try_from(3).unwrap_err());
    assert!(given.contains('3'), "{given}");
}

/// Fails when what a running fleet answers is printed as a structure, or with the payload that is given back.
#[test]
fn so_is_what_a_running_fleet_answers() {
    let nobody = "mqtt://127.0.0.1:1";
    let broker = TestBroker::start().unwrap();
    let fleet = start([
        ClientSpec::new("away", nobody).offline(Offline::Reject),
        ClientSpec::new("here", broker.url()),
    ]);
    let away = fleet.client("away").unwrap();
    let refused = away
        .publish("t", QoS::AtLeastOnce, false, SECRET)
        .unwrap_err();
    assert_eq!(
        printed(&refused),
        r#"client away did not take a message to "t": it is not connected"#
    );
    assert_eq!(refused.into_message().1, SECRET);
    printed(&Error::from(
        away.wait_connected(Duration::ZERO).unwrap_err(),
    ));
    printed(&Error::from(
        away.subscribe("#/a", QoS::AtMostOnce).unwrap_err(),
    ));
    printed(&Error::from(fleet.client("nowhere").unwrap_err()));
    fleet
        .client("here")
        .unwrap()
        .wait_connected(PATIENCE)
        .unwrap();
    let wanted = broker.wait_for(|_| false, Duration::ZERO).unwrap_err();
    assert_eq!(format!("{wanted:?}"), wanted.to_string());
    fleet.stop(PATIENCE);
    let here = fleet.client("here").unwrap();
    printed(&Error::from(here.wait_connected(PATIENCE).unwrap_err()));
    printed(
        &here
            .try_publish("t", QoS::AtMostOnce, false, SECRET)
            .unwrap_err(),
    );
}

/// Fails when a mistake in a file of specs, or a file that is not there, is printed as a structure.
#[cfg(feature = "files")]
#[test]
fn so_is_a_mistake_in_a_file() {
    use mqtt_fleet::SpecFile;

    let gone = Error::from(SpecFile::read("no-such-file.toml").unwrap_err());
    let text = printed(&gone);
    assert!(
        text.starts_with("no-such-file.toml can't be read: "),
        "{text}"
    );
    let other = SpecFile::read("fleet.yaml").unwrap_err();
    printed(&Error::from(other));
    let url = format!("[[client]]\nname = 'a'\nbroker = 'mqtt://u:{SECRET}%@h'");
    let wrong = SpecFile::from_toml(&url).unwrap_err();
    let text = printed(&Error::from(wrong));
    assert!(
        text.contains("client[0].broker: its user name or password has a character"),
        "{text}"
    );
}
