//! The runner's command line.

use std::{path::PathBuf, time::Duration};

use super::{
    peers::{Available, Member},
    scenario::{Cell, Scenario},
};
use crate::Result;

pub(crate) const HELP: &str = "\
cargo bench [--] [options]

  --quick            the small set: fewer clients, rounds and peers, under two minutes
  --scenario NAME    receive, publish, echo, paced or connect_storm; may be repeated
  --clients N        only cells of N clients; may be repeated
  --qos N            only cells of this quality of service
  --peers LIST       of raw,mosquitto,paho-c,python,symqtt,next; or all, or none
                     (all; --quick: raw,mosquitto)
  --rounds N         how often each pair is measured (7; --quick: 3)
  --seconds S        how long each measurement lasts after its warm-up (1; --quick: 0.25)
  --json FILE        writes every measurement
  --markdown FILE    writes the tables between the markers of this file
  --svg DIRECTORY    writes the plots
  --floors           fails if a ratio is below half of its target
  --help";

pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) floors: bool,
    pub(crate) help: bool,
    peers: Vec<String>,
    pub(crate) available: Available,
    scenarios: Vec<String>,
    clients: Vec<usize>,
    qos: Option<u8>,
}

impl Options {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        // Cargo says `--bench` to every benchmark.
        let arguments: Vec<String> = arguments.filter(|it| it != "--bench").collect();
        let has = |name: &str| arguments.iter().any(|it| it == name);
        let quick = has("--quick");
        let mut options = Self {
            quick,
            rounds: if quick { 3 } else { 7 },
            warm_up: Duration::from_millis(if quick { 100 } else { 400 }),
            duration: Duration::from_millis(if quick { 250 } else { 1_000 }),
            json: None,
            markdown: None,
            svg: None,
            floors: has("--floors"),
            help: has("--help"),
            peers: Vec::new(),
            available: Available::default(),
            scenarios: Vec::new(),
            clients: Vec::new(),
            qos: None,
        };
        let mut peers = if quick { "raw,mosquitto" } else { "all" }.to_owned();
        let mut rest = arguments.into_iter();
        while let Some(name) = rest.next() {
            if matches!(name.as_str(), "--quick" | "--floors" | "--help") {
                continue;
            }
            let missing = || format!("{name} needs a value; --help");
            let mut value = || rest.next().ok_or_else(missing);
            match name.as_str() {
                "--scenario" => options.scenarios.push(value()?),
                "--clients" => options.clients.push(value()?.parse()?),
                "--qos" => options.qos = Some(value()?.parse()?),
                "--peers" => peers = value()?,
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.duration = Duration::try_from_secs_f64(value()?.parse()?)?,
                "--json" => options.json = Some(value()?.into()),
                "--markdown" => options.markdown = Some(value()?.into()),
                "--svg" => options.svg = Some(value()?.into()),
                _ => return Err(format!("unknown option {name}\n{HELP}").into()),
            }
        }
        for name in &options.scenarios {
            if !Scenario::ALL.iter().any(|it| it.name() == name) {
                return Err(format!("unknown scenario {name}\n{HELP}").into());
            }
        }
        options.rounds = options.rounds.max(1);
        options.peers = peers.split(',').map(str::to_owned).collect();
        options.available = Available::find(|peer| options.wants(peer));
        Ok(options)
    }

    /// Whether a peer was asked for.
    fn wants(&self, peer: &str) -> bool {
        self.peers.iter().any(|it| it == peer || it == "all")
    }

    pub(crate) fn has_member(&self, member: Member, clients: usize) -> bool {
        let wanted = member.peer().is_none_or(|peer| self.wants(peer));
        // With two workers, one client's single topic is still handled by one.
        let useful = match member {
            Member::Ours(2) => clients > 1 && !(self.quick && clients < 100),
            Member::Mosquitto => !self.quick || clients == 1,
            _ => true,
        };
        wanted && useful && clients <= member.most_clients() && self.available.has(member)
    }

    pub(crate) fn has_cell(&self, cell: &Cell) -> bool {
        let scenario = cell.scenario.name();
        (self.scenarios.is_empty() || self.scenarios.iter().any(|it| it == scenario))
            && (self.clients.is_empty() || self.clients.contains(&cell.clients))
            && self.qos.is_none_or(|qos| qos == cell.qos)
    }
}
