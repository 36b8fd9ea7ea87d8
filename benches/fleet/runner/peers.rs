//! Who is measured: how each one is called and started, and which ones this machine has.

use std::{path::PathBuf, process::Command};

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

    /// The command that starts it; it takes a job's arguments.
    pub(crate) fn command(self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("subject");
        match self {
            Self::Bare => command.arg("client=bare"),
            Self::Ours(workers) => command.args(["client=ours", &format!("workers={workers}")]),
            Self::Raw => command.arg("client=raw"),
            other => return Err(format!("{} has no program", other.name()).into()),
        };
        Ok(command)
    }
}

/// The programs of the peers that are not in this one.
#[derive(Debug, Default)]
pub(crate) struct Available {
    programs: Vec<(Member, PathBuf)>,
    pub(crate) missing: Vec<String>,
}

impl Available {
    pub(crate) fn has(&self, member: Member) -> bool {
        matches!(member, Member::Bare | Member::Ours(_) | Member::Raw)
            || self.programs.iter().any(|(it, _)| *it == member)
    }
}
