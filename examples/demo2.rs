//! The tutorial's demo2: a thread for each client, three connect attempts, a pub function.
//!
//! `cargo run --release --example demo2 -- --help` shows the options.
//!
//! Without `--broker` it runs on two brokers of its own. One of them goes away for good after
//! three seconds: three attempts to reach it, then that client's thread ends, the thread count
//! falls by one, and the other client runs on. The exit code is the report's: 1 here, because a
//! client gave up. `--pub` and `--forever` are the original's pub functions and `run_forever`.

mod support;

use std::{
    error::Error,
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use mqtt_fleet::{ClientSpec, ClientState, Fleet, QoS, Retry, StateChange, testing::TestBroker};

use support::{Arguments, Outcome, Unwritten, say};

const HELP: &str = "\
usage: demo2 [--broker URL]... [--seconds N] [--pub] [--forever]

  --broker URL   one client for each; may be repeated
  --seconds N    ends after N seconds (12); Ctrl-C ends it at any time
  --pub          each client has a pub function of its own, on the publisher thread;
                 else the main thread publishes for all of them in turn
  --forever      retries without end, and ends only by Ctrl-C unless --seconds is given
  --help         prints this";

/// When the second of our own brokers goes away.
const BROKER_LEAVES_AFTER: Duration = Duration::from_secs(3);

fn main() {
    support::run(HELP, demo)
}

fn demo(arguments: Arguments) -> Outcome {
    env_logger::init(); // RUST_LOG=mqtt_fleet=debug shows what the library says itself
    let options = Options::from(arguments)?;
    let mut own_brokers = Vec::new();
    let mut urls = options.brokers.clone();
    if urls.is_empty() {
        own_brokers = vec![TestBroker::start()?, TestBroker::start()?];
        urls = own_brokers.iter().map(TestBroker::url).collect();
    }

    say("Creating Connections")?;
    let mut builder = Fleet::builder();
    for (i, url) in urls.iter().enumerate() {
        builder = builder.client(client(i, url, &options));
    }
    let fleet = builder.start()?;
    fleet.stop_on_signal()?;
    say(format_args!(
        "current threads = {}",
        fleet.threads().total()
    ))?;
    let connected = fleet.wait_subscribed(Duration::from_secs(5));
    show_changes(&fleet)?;
    match connected {
        Ok(()) => say("All clients connected")?,
        Err(error) => say(format_args!("not all clients are connected: {error}"))?,
    }
    say(format_args!(
        "current threads = {}",
        fleet.threads().total()
    ))?;

    main_loop(&fleet, &options, &mut own_brokers)?;

    let report = fleet.stop(Duration::from_secs(5));
    say(format_args!("\nReport\n{report}"))?;
    Ok(report.exit_code())
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
fn main_loop(
    fleet: &Fleet,
    options: &Options,
    own_brokers: &mut Vec<TestBroker>,
) -> Result<(), Box<dyn Error>> {
    let messages = fleet.messages()?;
    let start = Instant::now();
    let mut next_publish = start;
    let mut count = 0;
    loop {
        show_changes(fleet)?;
        if options
            .seconds
            .is_some_and(|limit| start.elapsed() >= limit)
        {
            return Ok(());
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
                        say(error)?;
                    }
                }
            }
            count += 1;
            next_publish += Duration::from_secs(1);
        }
        match messages.recv_timeout(Duration::from_millis(50)) {
            Ok(message) => say(format_args!(
                "{} received {}: {}",
                message.client(),
                message.topic(),
                message.text()
            ))?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(show_changes(fleet)?);
            }
        }
    }
}

fn show_changes(fleet: &Fleet) -> Result<(), Unwritten> {
    while let Ok(change) = fleet.states().try_recv() {
        show(&change, fleet)?;
    }
    Ok(())
}

fn show(change: &StateChange, fleet: &Fleet) -> Result<(), Unwritten> {
    let (client, broker) = (change.client(), change.broker());
    match change.state() {
        ClientState::Connecting { .. } | ClientState::Starting => Ok(()),
        ClientState::Connected { .. } => match change.cause() {
            Some(cause) => say(format_args!("{client}: {cause}")),
            None => say(format_args!("{client} is connected to {broker}")),
        },
        ClientState::Lost { cause } => {
            say(format_args!("broker {broker} is disconnected: {cause}"))
        }
        ClientState::AttemptFailed { attempt, of, cause } => {
            let of = of.map_or(String::new(), |of| format!(" of {of}"));
            say(format_args!(
                "attempt {attempt}{of} to reach broker {broker}: {cause}"
            ))
        }
        ClientState::Ended { outcome } => {
            say(format_args!("the thread of {client} ended: {outcome}"))?;
            say(format_args!(
                "current threads = {}",
                fleet.threads().total()
            ))
        }
        other => say(format_args!("{client}: {other}")),
    }
}

struct Options {
    brokers: Vec<String>,
    seconds: Option<Duration>,
    pub_functions: bool,
    forever: bool,
}

impl Options {
    fn from(mut arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            brokers: Vec::new(),
            seconds: None,
            pub_functions: false,
            forever: false,
        };
        while let Some(option) = arguments.next()? {
            match option.as_str() {
                "--broker" => options.brokers.push(arguments.broker()?),
                "--seconds" => options.seconds = Some(arguments.seconds()?),
                "--pub" => options.pub_functions = true,
                "--forever" => options.forever = true,
                _ => return Ok(arguments.unknown()?),
            }
        }
        if !options.forever {
            options.seconds.get_or_insert(Duration::from_secs(12));
        }
        Ok(options)
    }
}
