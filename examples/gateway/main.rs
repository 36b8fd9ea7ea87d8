//! A gateway: a bridge between the broker of a site and the cloud that loses nothing at QoS 1.
//!
//! `cargo run --release --features tls --example gateway -- --help` shows the options.
//!
//! | way | from | to |
//! |---|---|---|
//! | up | `sensors/7/temp` at the local broker | `site-7/sensors/7/temp` in the cloud |
//! | down | `site-7/commands/lamp` in the cloud | `commands/lamp` at the local broker |
//!
//! **Nothing is lost.** A message is acknowledged to the broker that it came from when the other
//! broker has acknowledged it, and not before: it is kept with the receipt of its copy until then.
//! At most `--in-hand` of them each way, in the order in which they came; when that many wait, no
//! further one is taken, and its broker keeps it. Both sessions are kept: what a cut, a crash or a kill
//! leaves unacknowledged comes again. So at QoS 1 a message may arrive twice and does not get lost,
//! as long as the broker that it waits in keeps it; at QoS 0 it may get lost.
//!
//! **No loop.** What goes up gets the site as its first level, and no topic with that level goes
//! up: so a message goes up once at most, through however many other bridges it comes back. What
//! goes down loses that level, and what is meant to go down (`--down`) never goes up: so what is
//! forwarded down does not return either. What was stopped by this rule is counted as `looped`.
//!
//! It ends on Ctrl-C, SIGTERM and after `--seconds`: it takes nothing more, gives what it has in hand
//! five seconds to arrive, and stops. The exit code is 0 if all of it has arrived and the report is
//! clean, else 1. What is still in hand is not acknowledged: its broker keeps it for the next run.
//!
//! Without `--local` and `--cloud` it runs on two brokers of its own, with a sensor, and the cloud is
//! away from second 2 to second 5.

mod demo;
mod options;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::VecDeque,
    error::Error,
    process::exit,
    time::{Duration, Instant},
};

use crossbeam_channel::bounded;
use mqtt_fleet::{Client, ClientState, Fleet, Message, Messages, PublishErrorKind, QoS, Receipt};

use crate::{
    demo::Demo,
    options::Options,
    support::{Arguments, Outcome, Unwritten, say},
};

/// How long one look at the queue or at a receipt lasts.
const LOOK: Duration = Duration::from_millis(20);

/// How long what is in hand may take to arrive when the gateway is told to stop.
const FAREWELL: Duration = Duration::from_secs(5);

fn main() {
    support::run(options::HELP, gateway)
}

fn gateway(arguments: Arguments) -> Outcome {
    env_logger::init();
    let mut options = Options::from(arguments)?;
    // Not `stop_on_signal`, which stops the clients: here what is in hand goes first.
    let (signal, signalled) = bounded(1);
    ctrlc::set_handler(move || {
        if signal.try_send(()).is_err() {
            exit(130); // the second one
        }
    })?;
    let mut demo = match (&options.local, &options.cloud) {
        (None, None) => Some(Demo::start(&mut options)?),
        _ => None,
    };
    let mut gateway = Gateway::start(&options)?;
    let start = Instant::now();
    let mut next_line = start;
    while signalled.is_empty()
        && options.seconds.is_none_or(|limit| start.elapsed() < limit)
        && gateway.is_whole()
    {
        gateway.forward(&options)?;
        gateway.show_changes()?;
        if let Some(demo) = &mut demo {
            demo.play(start.elapsed())?;
        }
        if Instant::now() >= next_line {
            say(gateway.line())?;
            next_line += Duration::from_secs(1);
        }
    }
    say(format_args!("stopping: {}", gateway.line()))?;
    gateway.settle(Instant::now() + FAREWELL);
    say(format_args!("stopped: {}", gateway.line()))?;
    let report = gateway.fleet.stop(Duration::from_secs(5));
    say(format_args!("\nReport\n{report}"))?;
    let in_hand = gateway.in_hand();
    if in_hand > 0 {
        say(format_args!(
            "{in_hand} in hand have not arrived; they were not acknowledged, and their broker keeps them"
        ))?;
    }
    Ok(report.exit_code().max((in_hand > 0).into()))
}

/// Fields are dropped in this order, also by an early `?` or a panic: first the fleet, and with it
/// the connections, so that what is in hand is not acknowledged by being dropped.
struct Gateway {
    fleet: Fleet,
    local: Client,
    cloud: Client,
    messages: Messages,
    most_in_hand: usize,
    /// By the way that they go, in the order of receipt.
    up: VecDeque<Held>,
    down: VecDeque<Held>,
    /// Those whose way has ended for good.
    stranded: Vec<Message>,
    arrived: u64,
    looped: u64,
    refused: u64,
}

/// A message, and the receipt of its copy. Dropping the message acknowledges it.
struct Held {
    message: Message,
    receipt: Receipt,
}

impl Gateway {
    fn start(options: &Options) -> Result<Self, Box<dyn Error>> {
        let fleet = Fleet::builder()
            .client(options.side("local")?)
            .client(options.side("cloud")?)
            .start()?;
        Ok(Self {
            local: fleet.client("local")?,
            cloud: fleet.client("cloud")?,
            messages: fleet.messages()?,
            fleet,
            most_in_hand: options.in_hand,
            up: VecDeque::new(),
            down: VecDeque::new(),
            stranded: Vec::new(),
            arrived: 0,
            looped: 0,
            refused: 0,
        })
    }

    /// With one side only it is no bridge any more.
    fn is_whole(&self) -> bool {
        let mut clients = self.fleet.clients().iter();
        clients.all(|client| client.outcome().is_none())
    }

    /// Takes a message if there is room in hand, and lets go of those that have arrived.
    fn forward(&mut self, options: &Options) -> Result<(), Unwritten> {
        let full = [&self.up, &self.down]
            .into_iter()
            .find(|held| held.len() >= self.most_in_hand);
        match full.and_then(VecDeque::front) {
            Some(oldest) => drop(oldest.receipt.wait_timeout(LOOK)),
            // An error is that there is none, or that both clients have ended.
            None => {
                if let Ok(message) = self.messages.recv_timeout(LOOK) {
                    self.take(message, options)?;
                }
            }
        }
        self.let_go();
        Ok(())
    }

    fn take(&mut self, message: Message, options: &Options) -> Result<(), Unwritten> {
        let (to, topic, held) = match message.client() {
            "local" => (&self.cloud, options.going_up(message.topic()), &mut self.up),
            _ => (
                &self.local,
                options.going_down(message.topic()),
                &mut self.down,
            ),
        };
        let Some(topic) = topic else {
            self.looped += 1;
            return Ok(()); // Acknowledged: it is dealt with.
        };
        match to.try_publish(topic, message.qos(), message.retain(), message.payload()) {
            Ok(receipt) => held.push_back(Held { message, receipt }),
            Err(error) if error.kind() == PublishErrorKind::Ended => self.stranded.push(message),
            // The outbox has room for all that may be in hand. So it is the message, with the site
            // before its topic, that can't be sent. Kept, it would block the rest for ever.
            Err(error) => {
                self.refused += 1;
                say(format_args!("can't be forwarded: {error}"))?;
            }
        }
        Ok(())
    }

    /// Acknowledges what has arrived. From the front only: acknowledgements leave in order.
    fn let_go(&mut self) {
        for held in [&mut self.up, &mut self.down] {
            while let Some(oldest) = held.front() {
                match oldest.receipt.try_result() {
                    Some(Ok(_)) => self.arrived += 1,
                    // QoS 0 is not repeated: nobody waits for it.
                    Some(Err(_)) if oldest.message.qos() == QoS::AtMostOnce => self.refused += 1,
                    // Not yet; or never, because the client has ended.
                    _ => break,
                }
                held.pop_front();
            }
        }
    }

    /// Takes nothing more, and waits until what is in hand has arrived, or until `end`.
    fn settle(&mut self, end: Instant) {
        loop {
            self.let_go();
            let left = end.saturating_duration_since(Instant::now());
            let Some(oldest) = self.up.front().or(self.down.front()) else {
                return;
            };
            if left.is_zero() || !self.is_whole() {
                return;
            }
            let _ = oldest.receipt.wait_timeout(left.min(LOOK));
        }
    }

    fn show_changes(&self) -> Result<(), Unwritten> {
        while let Ok(change) = self.fleet.states().try_recv() {
            if !matches!(change.state(), ClientState::Connecting { .. }) {
                say(format_args!("{}: {}", change.client(), change.state()))?;
            }
        }
        Ok(())
    }

    /// How many messages have not arrived and are not acknowledged.
    fn in_hand(&self) -> usize {
        self.up.len() + self.down.len() + self.stranded.len()
    }

    fn line(&self) -> String {
        let state = |client: &Client| match client.is_connected() {
            true => "connected",
            false => "away",
        };
        format!(
            "local {}, cloud {}: {} arrived, {} in hand, {} looped, {} refused",
            state(&self.local),
            state(&self.cloud),
            self.arrived,
            self.in_hand(),
            self.looped,
            self.refused,
        )
    }
}
