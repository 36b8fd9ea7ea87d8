//! Who is measured: how each one is called and started, and which ones this machine has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member {
    /// rumqttc's `for event in connection.iter()`: what ratios refer to.
    Bare,
    /// With this many workers; with none, the caller takes the messages.
    Ours(usize),
    Raw,
    Mosquitto,
    PahoC,
    Python,
    Symqtt,
    SymqttQueue,
    Next,
    NextQueue,
}

impl Member {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "rumqttc, bare loop",
            Self::Ours(0) => "mqtt-fleet, pull",
            Self::Ours(1) => "mqtt-fleet",
            Self::Ours(_) => "mqtt-fleet, 2 workers",
            Self::Raw => "raw sockets",
            Self::Mosquitto => "libmosquitto",
            Self::PahoC => "Paho C",
            Self::Python => "paho-mqtt Python",
            Self::Symqtt => "symqtt",
            Self::SymqttQueue => "symqtt, queue",
            Self::Next => "rumqttc-v4-next",
            Self::NextQueue => "rumqttc-v4-next, queue",
        }
    }

    /// What it is called in `--peers`; none for those that are always measured.
    pub(crate) fn peer(self) -> Option<&'static str> {
        match self {
            Self::Bare | Self::Ours(_) => None,
            Self::Raw => Some("raw"),
            Self::Mosquitto => Some("mosquitto"),
            Self::PahoC => Some("paho-c"),
            Self::Python => Some("python"),
            Self::Symqtt | Self::SymqttQueue => Some("symqtt"),
            Self::Next | Self::NextQueue => Some("next"),
        }
    }

    /// Beyond it the peer fails (`select`) or takes longer than anybody would wait.
    pub(crate) fn most_clients(self) -> usize {
        match self {
            Self::Mosquitto | Self::Python | Self::PahoC => 300,
            _ => usize::MAX,
        }
    }

    /// Whether it connects again by itself, soon.
    pub(crate) fn reconnects(self) -> bool {
        matches!(self, Self::Bare | Self::Ours(_))
    }

    /// Whether it drops QoS 0 messages that come faster than they are handled, so that the source
    /// has to be told how far it is. The others stop reading.
    pub(crate) fn needs_credit(self) -> bool {
        matches!(self, Self::Ours(_))
    }

    /// Which of its program's clients it is.
    fn variant(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Ours(_) => "ours",
            Self::Raw => "raw",
            Self::Symqtt => "symqtt",
            Self::SymqttQueue => "symqtt-queue",
            Self::Next => "next",
            Self::NextQueue => "next-queue",
            Self::Mosquitto | Self::PahoC | Self::Python => "only",
        }
    }

    /// Whether it has to work: a peer's failure is no regression of ours.
    pub(crate) fn is_guarded(self) -> bool {
        matches!(self, Self::Bare | Self::Ours(_))
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::Bare | Self::Ours(_) | Self::Raw)
    }
}

/// The peers, and who belongs to each.
const PEERS: [(&str, &[Member]); 5] = [
    ("mosquitto", &[Member::Mosquitto]),
    ("paho-c", &[Member::PahoC]),
    ("python", &[Member::Python]),
    ("symqtt", &[Member::Symqtt, Member::SymqttQueue]),
    ("next", &[Member::Next, Member::NextQueue]),
];

/// The programs of the peers that are not in this one.
#[derive(Debug, Default)]
pub(crate) struct Available {
    programs: Vec<(Member, Vec<PathBuf>)>,
    /// Those that are not measured, and why.
    pub(crate) missing: Vec<String>,
}

impl Available {
    /// Builds what is wanted and can be built here.
    pub(crate) fn find(wants: impl Fn(&str) -> bool) -> Self {
        let mut found = Self::default();
        for (peer, members) in PEERS {
            if !wants(peer) {
                found.missing.push(format!("{peer}: not asked for"));
                continue;
            }
            let program = match peer {
                "mosquitto" => compiled("mosquitto", "mosquitto"),
                "paho-c" => compiled("paho", "paho-mqtt3c"),
                "python" => interpreted(),
                _ => crate_of_peers(),
            };
            match program {
                Ok(program) => {
                    let programs = members.iter().map(|member| (*member, program.clone()));
                    found.programs.extend(programs);
                }
                Err(error) => found.missing.push(format!("{peer}: {error}")),
            }
        }
        if !wants("raw") {
            found.missing.push("raw: not asked for".to_owned());
        }
        found
    }

    pub(crate) fn has(&self, member: Member) -> bool {
        member.is_ours() || self.programs.iter().any(|(it, _)| *it == member)
    }

    /// The command that starts a member; it takes a job's arguments.
    pub(crate) fn command(&self, member: Member) -> Result<Command> {
        let own = (member, vec![std::env::current_exe()?, "subject".into()]);
        let found = self.programs.iter().find(|(it, _)| *it == member);
        let (_, program) = found.unwrap_or(&own);
        let (first, rest) = program.split_first().ok_or("a member without a program")?;
        let mut command = Command::new(first);
        command.args(rest);
        command.arg(format!("client={}", member.variant()));
        if let Member::Ours(workers) = member {
            command.arg(format!("workers={workers}"));
        }
        Ok(command)
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

/// Where the peers' programs are built: beside this one's directory.
fn programs() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this.parent().and_then(Path::parent);
    let programs = target.ok_or("no place to build in")?.join("bench-peers");
    fs::create_dir_all(&programs)?;
    Ok(programs)
}

/// A program in C over an installed library.
fn compiled(name: &str, library: &str) -> Result<Vec<PathBuf>> {
    let program = programs()?.join(name);
    let mut command = Command::new("cc");
    command.args(["-O2", "-o"]).arg(&program);
    command.arg(sources().join(name).with_extension("c"));
    command.arg(format!("-l{library}")).arg("-lpthread");
    succeeded(&mut command)?;
    Ok(vec![program])
}

/// Python with paho-mqtt: the one that is found first, or the system's.
fn interpreted() -> Result<Vec<PathBuf>> {
    let script = sources().join("python/demo2.py");
    let mut last = Err("no python3".into());
    for python in ["python3", "/usr/bin/python3"] {
        last = succeeded(Command::new(python).args(["-c", "import paho.mqtt.client"]));
        if last.is_ok() {
            return Ok(vec![python.into(), script]);
        }
    }
    last.map(|()| Vec::new())
}

/// The crate of the Rust peers, which has a lock file of its own.
fn crate_of_peers() -> Result<Vec<PathBuf>> {
    let target = programs()?.join("rust");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--release", "--manifest-path"]);
    command.arg(sources().join("rust/Cargo.toml"));
    command.arg("--target-dir").arg(&target);
    succeeded(&mut command)?;
    Ok(vec![target.join("release/peers")])
}

/// Runs a command; the error is what it said last.
fn succeeded(command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        format!("{program}: {error}")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| line.contains("rror"));
    Err(last.unwrap_or("failed").trim().to_owned().into())
}
