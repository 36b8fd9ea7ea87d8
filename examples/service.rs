//! A program that runs day and night: a file says which clients, a log what they do, a code how it ended.
//!
//! `cargo run --release --features files --example service -- [FILE]`; `--help` says more.
//!
//! The file is TOML or JSON, with the keys of docs/SPEC_FILES.md; service.toml, which is beside this
//! source, is one to begin with. Each client logs what it receives, and publishes how long it has
//! been up on `service/NAME/uptime` every second. It ends by SIGTERM, Ctrl-C or SIGHUP, or when
//! every client has given up. The unit for systemd is in docs/OPERATIONS.md.
//!
//! | exit code | when |
//! |---|---|
//! | 0 | it was stopped, and nothing had gone wrong |
//! | 1 | anything else: a client gave up or never connected, a message was lost. To be started again |
//! | 2 | the file or the command line is wrong. Not to be started again |
//!
//! Without a file it runs for three seconds with service.toml, where a broker of its own stands in
//! for `plant.example` and `cloud.example`. `RUST_LOG` sets what is logged (`info,rumqttc=off`).

mod support;

use std::time::{Duration, Instant};

use mqtt_fleet::{
    ClientState, Error, Fleet, FleetBuilder, QoS, Report, SpecFile, StartError, testing::TestBroker,
};

use support::{Arguments, Outcome};

const HELP: &str = "\
usage: service [FILE]

  FILE     the clients, TOML or JSON (docs/SPEC_FILES.md); without it the example runs for
           three seconds with service.toml and a broker of its own
  --help   prints this

RUST_LOG sets what is logged on stderr (info,rumqttc=off).";

const WRONG_FILE: i32 = 2;

fn main() {
    support::run(HELP, service)
}

fn service(mut arguments: Arguments) -> Outcome {
    let mut path = None;
    while let Some(argument) = arguments.next()? {
        if argument.starts_with('-') || path.is_some() {
            return Ok(arguments.unknown()?);
        }
        path = Some(argument);
    }
    // Also the library's lines, which go through the same log.
    let default = env_logger::Env::default().default_filter_or("info,rumqttc=off");
    env_logger::Builder::from_env(default).init();
    let result = match path {
        Some(path) => serve(&path),
        None => demo(&TestBroker::start()?),
    };
    match result {
        Ok(report) => {
            log::info!("the end\n{report}");
            Ok(report.exit_code())
        }
        Err(error) => {
            match std::error::Error::source(&error) {
                Some(source) => log::error!("{error}: {source}"),
                None => log::error!("{error}"),
            }
            Ok(exit_code(&error))
        }
    }
}

/// What a file says wrongly is found when it is read, with file, line and key, or at the start: two
/// clients of one name, or no password where it should be.
fn exit_code(error: &Error) -> i32 {
    match error {
        Error::SpecFile(_) => WRONG_FILE,
        Error::Start(StartError::Client { .. } | StartError::NoClient) => WRONG_FILE,
        // No thread, too few descriptors: that may be better next time.
        _ => 1,
    }
}

fn serve(path: &str) -> Result<Report, Error> {
    Ok(fleet(SpecFile::read(path)?).run()?)
}

/// What each client of the file does.
fn fleet(file: SpecFile) -> FleetBuilder {
    let start = Instant::now();
    let clients = file.attach_all(|spec| {
        spec.publish_every(Duration::from_secs(1), move |client| {
            let topic = format!("service/{}/uptime", client.name());
            let uptime = start.elapsed().as_secs().to_string();
            // Retained: the first one may leave before the client that watches has subscribed.
            client.try_publish(topic, QoS::AtMostOnce, true, uptime)?;
            Ok(())
        })
    });
    Fleet::builder()
        .clients(clients)
        .on_message("#", |message, _clients| {
            // Where the work of a real service is. An error or a panic here is logged and counted.
            let bytes = message.payload().len();
            log::info!("{}: {bytes} bytes on {}", message.client(), message.topic());
            Ok(())
        })
        .on_state(|change| match change.state() {
            ClientState::Connected { .. } => log::info!("{}: connected", change.client()),
            // The library has logged it; an alarm would be raised here.
            ClientState::Ended { outcome } => log::info!("{}: {outcome}", change.client()),
            _ => {}
        })
        .stop_deadline(Duration::from_secs(5))
}

/// Three seconds on a broker of its own, or less by a signal.
fn demo(broker: &TestBroker) -> Result<Report, Error> {
    let addr = broker.addr().to_string();
    let text = include_str!("service.toml")
        .replace("plant.example", &addr)
        .replace("cloud.example", &addr);
    let fleet = fleet(SpecFile::from_toml(&text)?).start()?;
    fleet.stop_on_signal().map_err(StartError::from)?;
    let _ = fleet.wait_ended(Duration::from_secs(3));
    Ok(fleet.stop(Duration::from_secs(5)))
}
