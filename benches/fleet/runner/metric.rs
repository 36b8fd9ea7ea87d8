//! What can be measured, and how it is shown.

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Rate,
    Cpu,
    P50,
    P99,
    Connect,
    ConnectCpu,
    Resident,
    Threads,
    Descriptors,
    IdleCpu,
    Reconnect,
    ReconnectCpu,
    Stop,
}

impl Metric {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Rate => "messages/s",
            Self::Cpu => "CPU us/message",
            Self::P50 => "p50 us",
            Self::P99 => "p99 us",
            Self::Connect => "connect ms",
            Self::ConnectCpu => "CPU us/connect",
            Self::Resident => "RSS KiB/client",
            Self::Threads => "threads/client",
            Self::Descriptors => "descriptors/client",
            Self::IdleCpu => "idle CPU %",
            Self::Reconnect => "reconnect ms",
            Self::ReconnectCpu => "CPU us/reconnect",
            Self::Stop => "stop ms",
        }
    }

    /// The name in JSON and in the list of targets.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Cpu => "cpu",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Connect => "connect",
            Self::ConnectCpu => "connect_cpu",
            Self::Resident => "resident",
            Self::Threads => "threads",
            Self::Descriptors => "descriptors",
            Self::IdleCpu => "idle_cpu",
            Self::Reconnect => "reconnect",
            Self::ReconnectCpu => "reconnect_cpu",
            Self::Stop => "stop",
        }
    }

    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Rate if value >= 1e6 => format!("{:.2} M", value / 1e6),
            Self::Rate => format!("{:.0} k", value / 1e3),
            Self::Cpu | Self::IdleCpu | Self::Threads | Self::Descriptors => format!("{value:.2}"),
            _ if value < 10.0 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }
}
