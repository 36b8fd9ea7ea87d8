//! What a broker is made from, and where it is told that something is none.

use std::net::SocketAddr;

use mqtt_fleet::{Broker, BrokerError, ClientSpec, Fleet, Problem, StartError};

/// Fails when a broker can't be made from one of the forms that programs have it in.
#[test]
fn brokers_from_what_programs_have() {
    let url = String::from("mqtt://10.0.0.5");
    let address: SocketAddr = "10.0.0.5:1883".parse().unwrap();
    let all: [Result<Broker, BrokerError>; 7] = [
        url.parse(),
        Broker::try_from(url.as_str()),
        Broker::try_from(&url),
        Broker::try_from(url.clone()),
        Broker::try_from(("10.0.0.5", 1883)),
        Broker::try_from((String::from("10.0.0.5"), 1883)),
        Broker::try_from(address),
    ];
    for broker in all {
        assert_eq!(broker.unwrap().to_string(), "10.0.0.5:1883");
    }
}

/// Fails when a spec does not take one of them, or needs more words for it than the broker itself.
#[test]
fn specs_take_each_of_them() {
    let url = String::from("mqtt://10.0.0.5");
    let broker: Broker = url.parse().unwrap();
    let address: SocketAddr = "10.0.0.5:1883".parse().unwrap();
    let specs = [
        ClientSpec::new("a", "mqtt://10.0.0.5"),
        ClientSpec::new("a", &url),
        ClientSpec::new("a", url).or_broker(broker.clone()),
        ClientSpec::new("a", broker).or_broker("mqtt://10.0.0.6"),
        ClientSpec::new("a", ("10.0.0.5", 1883)).or_broker(("10.0.0.6", 1883)),
        ClientSpec::new("a", address).or_broker(address),
    ];
    for spec in specs {
        assert!(format!("{spec:?}").contains("10.0.0.5:1883"));
    }
}

/// Fails when what is no broker is taken, or is told under another name than that of its setter, or not the
/// first of several.
#[test]
fn the_start_tells_what_is_no_broker() {
    let typo = "localhost:1883";
    for (spec, expected) in [
        (ClientSpec::new("a", typo), "broker"),
        (
            ClientSpec::new("a", "mqtt://h").or_broker(typo),
            "or_broker",
        ),
        (ClientSpec::new("a", typo).or_broker("mqtt://"), "broker"),
        (ClientSpec::new("a", typo).or_broker("mqtt://h"), "broker"),
    ] {
        match Fleet::builder().client(spec).start() {
            Err(StartError::Client {
                field,
                problem: Problem::Broker(error),
                ..
            }) => {
                assert_eq!(field, expected);
                assert!(matches!(error, BrokerError::NoScheme { .. }), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}
