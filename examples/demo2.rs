//! The tutorial's demo2: a thread for each client, three connect attempts, a pub function.
//!
//! `cargo run --release --example demo2 -- [--broker URL]... [--seconds N] [--pub] [--forever]`
//!
//! Without `--broker` it runs on two brokers of its own. One of them goes away for good after
//! three seconds: three attempts to reach it, then that client's thread ends, the thread count
//! falls by one, and the other client runs on. The exit code is the report's: 1 here, because a
//! client gave up.
//!
//! - `--broker URL`: one client for each; may be repeated
//! - `--seconds N`: ends after N seconds (12); Ctrl-C ends it at any time
//! - `--pub`: each client has a pub function of its own, on the publisher thread; else the main
//!   thread publishes for all of them in turn, as the original does
//! - `--forever`: the original's `run_forever`: retries without end, and ends only by Ctrl-C
//!   unless `--seconds` is given too

use std::{
    error::Error,
    process::exit,
    time::{Duration, Instant},
};

use crossbeam_channel::RecvTimeoutError;
use mqtt_fleet::{ClientSpec, ClientState, Fleet, QoS, Retry, StateChange, testing::TestBroker};

const USAGE: &str = "usage: demo2 [--broker URL]... [--seconds N] [--pub] [--forever]";

/// When the second of our own brokers goes away.
const BROKER_LEAVES_AFTER: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init(); // RUST_LOG=mqtt_fleet=debug shows what the library says itself
    let options = Options::from_arguments().unwrap_or_else(|wrong| {
        eprintln!("{wrong}");
        exit(2)
    });
    let mut own_brokers = Vec::new();
    let mut urls = options.brokers.clone();
    if urls.is_empty() {
        own_brokers = vec![TestBroker::start()?, TestBroker::start()?];
        urls = own_brokers.iter().map(TestBroker::url).collect();
    }

    println!("Creating Connections");
    let mut builder = Fleet::builder();
    for (i, url) in urls.iter().enumerate() {
        builder = builder.client(client(i, url, &options));
    }
    let fleet = builder.start()?;
    fleet.stop_on_signal()?;
    println!("current threads = {}", fleet.threads().total());
    let connected = fleet.wait_subscribed(Duration::from_secs(5));
    show_changes(&fleet);
    match connected {
        Ok(()) => println!("All clients connected"),
        Err(error) => println!("not all clients are connected: {error}"),
    }
    println!("current threads = {}", fleet.threads().total());

    main_loop(&fleet, &options, &mut own_brokers);

    let report = fleet.stop(Duration::from_secs(5));
    println!("\nReport\n{report}");
    exit(report.exit_code())
}

fn client(i: usize, url: &str, options: &Options) -> ClientSpec {
    let retry = match options.forever {
        true => Retry::forever(),
        false => Retry::attempts(3),
    };
    let spec = ClientSpec::new(format!("client{i}"), url)
        .subscribe(format!("house{i}/#"), QoS::AtLeastOnce)
        .retry(
            retry
                .pause(Duration::from_secs(1)..=Duration::from_secs(4))
                .stable_after(Duration::from_secs(1)),
        );
    if !options.pub_functions {
        return spec;
    }
    // A pub function of its own for each client: another interval, another message, own state.
    let mut count = 0;
    spec.publish_every(
        Duration::from_millis(1_000 + 500 * i as u64),
        move |client| {
            count += 1;
            let text = format!("pub function {i}, call {count}");
            client.try_publish(format!("house{i}/pub"), QoS::AtMostOnce, false, text)?;
            Ok(())
        },
    )
}

/// Prints what comes and publishes, until the time is over or every client has ended.
fn main_loop(fleet: &Fleet, options: &Options, own_brokers: &mut Vec<TestBroker>) {
    let messages = fleet.messages();
    let start = Instant::now();
    let mut next_publish = start;
    let mut count = 0;
    loop {
        show_changes(fleet);
        if options
            .seconds
            .is_some_and(|limit| start.elapsed() >= limit)
        {
            return;
        }
        if own_brokers.len() > 1 && start.elapsed() >= BROKER_LEAVES_AFTER {
            own_brokers.pop(); // Dropping a test broker stops it.
        }
        if !options.pub_functions && Instant::now() >= next_publish {
            for (i, client) in fleet.clients().iter().enumerate() {
                if client.is_connected() {
                    let text = format!("message {count} from {}", client.name());
                    if let Err(error) =
                        client.try_publish(format!("house{i}/bulb"), QoS::AtMostOnce, false, text)
                    {
                        println!("{error}");
                    }
                }
            }
            count += 1;
            next_publish += Duration::from_secs(1);
        }
        match messages.recv_timeout(Duration::from_millis(50)) {
            Ok(message) => println!(
                "{} received {}: {}",
                message.client(),
                message.topic(),
                message.text()
            ),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                show_changes(fleet);
                return;
            }
        }
    }
}

fn show_changes(fleet: &Fleet) {
    while let Ok(change) = fleet.states().try_recv() {
        show(&change, fleet);
    }
}

fn show(change: &StateChange, fleet: &Fleet) {
    let broker = change.broker();
    match change.state() {
        ClientState::Connecting { .. } | ClientState::Starting => {}
        ClientState::Connected { .. } => match change.cause() {
            Some(cause) => println!("{}: {cause}", change.client()),
            None => println!("{} is connected to {broker}", change.client()),
        },
        ClientState::Lost { cause } => println!("broker {broker} is disconnected: {cause}"),
        ClientState::AttemptFailed { attempt, of, cause } => match of {
            Some(of) => println!("attempt {attempt} of {of} to reach broker {broker}: {cause}"),
            None => println!("attempt {attempt} to reach broker {broker}: {cause}"),
        },
        ClientState::Ended { outcome } => {
            println!("the thread of {} ended: {outcome}", change.client());
            println!("current threads = {}", fleet.threads().total());
        }
        other => println!("{}: {other}", change.client()),
    }
}

struct Options {
    brokers: Vec<String>,
    seconds: Option<Duration>,
    pub_functions: bool,
    forever: bool,
}

impl Options {
    fn from_arguments() -> Result<Self, String> {
        let mut options = Self {
            brokers: Vec::new(),
            seconds: None,
            pub_functions: false,
            forever: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || format!("{argument} needs a value\n{USAGE}");
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--broker" => options.brokers.push(value()?),
                "--seconds" => {
                    let seconds = value()?.parse().map_err(|_| USAGE)?;
                    options.seconds = Some(Duration::from_secs(seconds));
                }
                "--pub" => options.pub_functions = true,
                "--forever" => options.forever = true,
                _ => return Err(format!("unknown argument {argument}\n{USAGE}")),
            }
        }
        if !options.forever {
            options.seconds.get_or_insert(Duration::from_secs(12));
        }
        Ok(options)
    }
}
