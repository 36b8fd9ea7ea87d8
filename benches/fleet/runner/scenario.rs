//! The scenarios: which cells there are, and who is measured in each.

use super::{
    metric::Metric::{self, *},
    options::Options,
    peers::Member::{self, *},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    Receive,
    Publish,
    Echo,
    Paced,
    ConnectStorm,
}

impl Scenario {
    pub(crate) const ALL: [Self; 5] = [
        Self::Receive,
        Self::Publish,
        Self::Echo,
        Self::Paced,
        Self::ConnectStorm,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Publish => "publish",
            Self::Echo => "echo",
            Self::Paced => "paced",
            Self::ConnectStorm => "connect_storm",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Receive => "Receive",
            Self::Publish => "Publish",
            Self::Echo => "Request and reply, one in flight",
            Self::Paced => "Receive at half load, from the intended time",
            Self::ConnectStorm => "Connect, idle, reconnect, stop",
        }
    }

    pub(crate) fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Receive | Self::Publish => &[Rate, Cpu],
            Self::Echo | Self::Paced => &[P50, P99, Cpu],
            Self::ConnectStorm => &[
                Connect,
                ConnectCpu,
                Resident,
                Threads,
                Descriptors,
                IdleCpu,
                Reconnect,
                ReconnectCpu,
                Stop,
            ],
        }
    }
}

/// One comparison: the same work for all its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) scenario: Scenario,
    pub(crate) qos: u8,
    pub(crate) clients: usize,
    pub(crate) window: u16,
    pub(crate) members: Vec<Member>,
}

impl Cell {
    pub(crate) fn title(&self) -> String {
        let clients = format!("N = {}", self.clients);
        match self.scenario {
            Scenario::Echo | Scenario::ConnectStorm => clients,
            _ if self.qos == 1 && self.window != WINDOW => {
                format!("QoS 1, {clients}, window {}", self.window)
            }
            _ => format!("QoS {}, {clients}", self.qos),
        }
    }
}

/// The usual window of unacknowledged messages.
pub(crate) const WINDOW: u16 = 100;
/// mosquitto's default.
const SMALL_WINDOW: u16 = 20;

pub(crate) fn cells(options: &Options) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut add = |scenario, qos, clients, window, members: &[Member]| {
        let members = members
            .iter()
            .copied()
            .filter(|it| options.has_member(*it, clients))
            .collect();
        cells.push(Cell {
            scenario,
            qos,
            clients,
            window,
            members,
        });
    };
    let counts: &[usize] = if options.quick {
        &[1, 10, 100]
    } else {
        &[1, 10, 100, 1_000]
    };
    let receive = [
        Bare,
        Ours(1),
        Ours(2),
        Raw,
        Mosquitto,
        PahoC,
        Python,
        Symqtt,
        SymqttQueue,
        Next,
        NextQueue,
    ];
    let publish = [Bare, Ours(1), Raw, Mosquitto, PahoC, Python, Symqtt, Next];
    for qos in [0, 1] {
        for &clients in counts {
            add(Scenario::Receive, qos, clients, WINDOW, &receive);
        }
    }
    add(Scenario::Receive, 1, 1, SMALL_WINDOW, &receive);
    for qos in [0, 1] {
        for &clients in counts {
            add(Scenario::Publish, qos, clients, WINDOW, &publish);
        }
    }
    let echo = [Bare, Ours(0), Raw, Mosquitto, PahoC, Python, Symqtt, Next];
    add(Scenario::Echo, 0, 1, WINDOW, &echo);
    add(
        Scenario::Paced,
        1,
        100,
        WINDOW,
        &[Bare, Ours(1), Ours(2), Raw],
    );
    // Without workers: clients and the caller are all its threads.
    let connect_storm = [Bare, Ours(0), Raw, Mosquitto, PahoC, Python];
    add(
        Scenario::ConnectStorm,
        1,
        if options.quick { 200 } else { 1_000 },
        WINDOW,
        &connect_storm,
    );
    cells.retain(|cell| options.has_cell(cell));
    cells
}
