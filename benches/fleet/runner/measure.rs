//! One measurement: one member at one cell's work, in processes of its own.

use std::time::{Duration, Instant};

use super::{
    metric::Metric::{self, *},
    options::Options,
    peers::Member,
    process::{Counts, Instrument, Process, numbers},
    scenario::{Cell, Scenario},
};
use crate::{Result, clock::pause};

/// How long the last messages may take, without any progress, before they count as lost.
const DRAIN: Duration = Duration::from_secs(5);

/// How many QoS 0 messages the source may be ahead of a subject that has to give credit, of all clients
/// together. It stands still when it is so many ahead, until it hears of what was handled: with fewer
/// this was the limit of what was measured, and not the subject.
const QUEUE: u64 = 200_000;
/// Of many clients, of each at least so many: fewer would make the source send in driblets.
const SHARE: u64 = 5_000;
/// But not more in all.
const MOST: u64 = 500_000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) values: Vec<(Metric, f64)>,
    /// The CPU time of the instrument and of the subject, by the time that has passed.
    pub(crate) instrument: f64,
    pub(crate) subject: f64,
}

impl Figures {
    pub(crate) fn value(&self, metric: Metric) -> Option<f64> {
        let found = self.values.iter().find(|(it, _)| *it == metric);
        found.map(|(_, value)| *value)
    }

    /// The instrument was busy while the subject was not: the figure is the instrument's.
    pub(crate) fn instrument_bound(&self) -> bool {
        self.instrument > 0.75 && self.subject < 0.75
    }
}

pub(crate) struct Bench<'a> {
    cell: &'a Cell,
    member: Member,
    options: &'a Options,
    instrument: Instrument,
    subject: Process,
}

/// The state of things at a moment.
struct Moment {
    at: Instant,
    count: u64,
    subject: Duration,
    instrument: Duration,
}

/// Measures, and fails if the measurement is not valid. `rate` is that of a paced source.
pub(crate) fn measure(
    cell: &Cell,
    member: Member,
    options: &Options,
    rate: u64,
) -> Result<Figures> {
    let share = match cell.qos == 0 && member.needs_credit() {
        true => {
            let clients = cell.clients as u64;
            (QUEUE / clients).max(SHARE.min(MOST / clients))
        }
        false => 0,
    };
    let echo = u8::from(cell.scenario == Scenario::Echo);
    let instrument = Instrument::start(&[
        format!("qos={}", cell.qos),
        format!("window={}", cell.window),
        format!("share={share}"),
        format!("rate={rate}"),
        format!("echo={echo}"),
    ])?;
    let kind = match cell.scenario {
        Scenario::Publish => "publish",
        Scenario::Echo => "echo",
        Scenario::Receive | Scenario::Paced | Scenario::ConnectStorm => "receive",
    };
    let mut command = options.available.command(member)?;
    command.args([
        format!("kind={kind}"),
        format!("port={}", instrument.port),
        format!("credit={}", instrument.credit),
        format!("clients={}", cell.clients),
        format!("qos={}", cell.qos),
        format!("window={}", cell.window),
        format!("paced={}", u8::from(rate > 0)),
        format!("share={share}"),
    ]);
    let mut subject = Process::start(member.name(), &mut command)?;
    expect(subject.line()?, "started")?;
    let mut bench = Bench {
        cell,
        member,
        options,
        instrument,
        subject,
    };
    match cell.scenario {
        Scenario::Receive => bench.receive(),
        Scenario::Publish => bench.publish(),
        Scenario::Echo => bench.echo(),
        Scenario::Paced => bench.paced(),
        Scenario::ConnectStorm => bench.connect_storm(),
    }
}

impl Bench<'_> {
    fn receive(&mut self) -> Result<Figures> {
        self.connect()?;
        self.instrument.ask("go")?;
        pause(self.options.warm_up);
        let begin = self.moment()?;
        pause(self.options.duration);
        let end = self.moment()?;
        self.drained()?;
        self.subject.ask("quit")?;
        Ok(throughput(&begin, &end))
    }

    fn publish(&mut self) -> Result<Figures> {
        self.connect()?;
        self.subject.ask("go")?;
        pause(self.options.warm_up);
        let begin = self.moment()?;
        pause(self.options.duration);
        let end = self.moment()?;
        let published: u64 = self.subject.ask("halt")?.parse()?;
        let seen = self.settled(|bench| Ok(bench.instrument.counts()?.received), published)?;
        valid("published", published, "arrived", seen)?;
        self.no_errors()?;
        self.subject.ask("quit")?;
        Ok(throughput(&begin, &end))
    }

    fn echo(&mut self) -> Result<Figures> {
        self.connect()?;
        let echo = |duration: Duration| format!("echo {}", duration.as_millis());
        self.subject.ask(&echo(self.options.warm_up))?;
        let begin = self.moment()?;
        let answer = self.subject.ask(&echo(self.options.duration))?;
        let end = self.moment()?;
        self.subject.ask("quit")?;
        let mut figures = throughput(&begin, &end);
        quantiles(&mut figures, &answer)?;
        Ok(figures)
    }

    fn paced(&mut self) -> Result<Figures> {
        self.connect()?;
        self.instrument.ask("go")?;
        pause(self.options.warm_up);
        let begin = self.moment()?;
        self.subject.ask("clear")?;
        pause(self.options.duration);
        let answer = self.subject.ask("latency")?;
        let end = self.moment()?;
        self.drained()?;
        self.subject.ask("quit")?;
        let mut figures = throughput(&begin, &end);
        quantiles(&mut figures, &answer)?;
        Ok(figures)
    }

    /// Connects, is idle, loses all connections and gets them back, stops.
    fn connect_storm(&mut self) -> Result<Figures> {
        let clients = self.cell.clients as f64;
        let mut figures = Figures::default();
        let mut set = |metric, value| figures.values.push((metric, value));
        let (resident, threads, descriptors) = self.size()?;
        let (start, cpu) = (Instant::now(), self.subject.cpu()?);
        self.connect()?;
        set(Connect, milliseconds(start.elapsed()));
        let used = self.subject.cpu()?.saturating_sub(cpu);
        set(ConnectCpu, microseconds(used) / clients);

        // What the connects have left to do is not idling.
        pause(Duration::from_millis(300));
        let (start, cpu) = (Instant::now(), self.subject.cpu()?);
        pause(self.options.duration * 2);
        let used = self.subject.cpu()?.saturating_sub(cpu);
        set(
            IdleCpu,
            100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64(),
        );
        let (more_resident, more_threads, more_descriptors) = self.size()?;
        set(Resident, (more_resident - resident) / clients);
        set(Threads, (more_threads - threads) / clients);
        set(Descriptors, (more_descriptors - descriptors) / clients);

        if self.member.reconnects() {
            let goal = self.instrument.counts()?.subscribed + self.cell.clients as u64;
            let (start, cpu) = (Instant::now(), self.subject.cpu()?);
            self.instrument.ask("kick")?;
            let back = |counts: Counts| {
                counts.subscribed >= goal && counts.open >= self.cell.clients as u64
            };
            while !back(self.instrument.counts()?) {
                if start.elapsed() > Duration::from_secs(30) {
                    return Err("not all clients came back".into());
                }
                pause(Duration::from_millis(1));
            }
            set(Reconnect, milliseconds(start.elapsed()));
            let used = self.subject.cpu()?.saturating_sub(cpu);
            set(ReconnectCpu, microseconds(used) / clients);
            pause(Duration::from_millis(300));
        }
        let stopped: u64 = self.subject.ask("quit")?.parse()?;
        set(Stop, stopped as f64 / 1e3);
        Ok(figures)
    }

    fn connect(&mut self) -> Result<()> {
        let answer = self.subject.ask("connect")?;
        expect(answer, "ready")
    }

    fn size(&self) -> Result<(f64, f64, f64)> {
        let subject = &self.subject;
        Ok((
            subject.resident_kib()?,
            subject.threads()?,
            subject.descriptors()?,
        ))
    }

    fn moment(&mut self) -> Result<Moment> {
        // Publishes are counted where they arrive.
        let count = match self.cell.scenario {
            Scenario::Publish | Scenario::Echo => self.instrument.counts()?.received,
            _ => self.received()?.0,
        };
        Ok(Moment {
            at: Instant::now(),
            count,
            subject: self.subject.cpu()?,
            instrument: self.instrument.process.cpu()?,
        })
    }

    fn received(&mut self) -> Result<(u64, u64)> {
        let answer = self.subject.ask("counts")?;
        match numbers(&answer)?[..] {
            [count, errors] => Ok((count, errors)),
            _ => Err("the subject has other counts than expected".into()),
        }
    }

    /// Everything that was sent has come, once, in order, and was acknowledged.
    fn drained(&mut self) -> Result<()> {
        self.instrument.ask("halt")?;
        let sent = self.instrument.counts()?.sent;
        let seen = self.settled(|bench| Ok(bench.received()?.0), sent)?;
        valid("sent", sent, "handled", seen)?;
        let errors = self.received()?.1;
        none(errors, "messages out of order")?;
        if self.cell.qos > 0 {
            let acknowledged =
                self.settled(|bench| Ok(bench.instrument.counts()?.acknowledged), sent)?;
            valid("sent", sent, "acknowledged", acknowledged)?;
        }
        self.no_errors()
    }

    fn no_errors(&mut self) -> Result<()> {
        let errors = self.instrument.counts()?.errors;
        none(errors, "packets out of order")
    }

    /// Reads a count until it is what it should become, or does not change any more.
    fn settled(&mut self, count: impl Fn(&mut Self) -> Result<u64>, goal: u64) -> Result<u64> {
        let (mut last, mut since) = (count(self)?, Instant::now());
        while last < goal && since.elapsed() < DRAIN {
            pause(Duration::from_millis(2));
            let now = count(self)?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(last)
    }
}

fn throughput(begin: &Moment, end: &Moment) -> Figures {
    let wall = end.at.duration_since(begin.at).as_secs_f64();
    let count = end.count.saturating_sub(begin.count) as f64;
    let subject = end.subject.saturating_sub(begin.subject);
    let instrument = end.instrument.saturating_sub(begin.instrument);
    Figures {
        values: vec![
            (Rate, count / wall),
            (Cpu, microseconds(subject) / count.max(1.0)),
        ],
        instrument: instrument.as_secs_f64() / wall,
        subject: subject.as_secs_f64() / wall,
    }
}

fn quantiles(figures: &mut Figures, answer: &str) -> Result<()> {
    let [count, p50, p99, _] = numbers(answer)?[..] else {
        return Err(format!("no quantiles: {answer}").into());
    };
    if count == 0 {
        return Err("nothing came".into());
    }
    figures.values.push((P50, p50 as f64 / 1e3));
    figures.values.push((P99, p99 as f64 / 1e3));
    Ok(())
}

fn valid(one: &str, expected: u64, other: &str, seen: u64) -> Result<()> {
    match expected == seen {
        true => Ok(()),
        false => Err(format!("not valid: {expected} {one}, {seen} {other}").into()),
    }
}

fn none(count: u64, what: &str) -> Result<()> {
    match count {
        0 => Ok(()),
        _ => Err(format!("not valid: {count} {what}").into()),
    }
}

fn expect(answer: String, expected: &str) -> Result<()> {
    match answer == expected {
        true => Ok(()),
        false => Err(format!("expected {expected}, not {answer}").into()),
    }
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
