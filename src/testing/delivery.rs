//! How packets are put on the wire to one client: in which pieces, and how often.

use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packet::Packet;
use crate::spec::qos::QoS;

/// What a writer has to know of the faults.
#[derive(Debug, Clone, Default)]
pub(super) struct Delivery {
    pub(super) pieces: Pieces,
    pub(super) twice: Option<Pick>,
    /// Whether bytes are counted towards a cut.
    pub(super) is_counted: bool,
}

/// The sizes of writes, in turn; none for writing all at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces {
    sizes: Arc<[NonZero<usize>]>,
    /// Between two of them.
    pause: Duration,
}

/// A function of the user that says which packets are sent twice.
#[derive(Clone)]
pub(super) struct Pick(Arc<dyn Fn(&Packet) -> bool + Send + Sync>);

impl Delivery {
    /// What is to be sent right after a packet: the same once more, as the standard repeats it.
    pub(super) fn repeated(&self, packet: &Packet) -> Option<Packet> {
        let pick = self.twice.as_ref()?;
        if !(pick.0)(packet) {
            return None;
        }
        let mut again = packet.clone();
        if let Packet::Publish { dup, qos, .. } = &mut again {
            *dup = *qos != QoS::AtMostOnce;
        }
        Some(again)
    }
}

impl Pieces {
    /// A size of 0 is as 1. Without sizes there is no pause.
    pub(super) fn new(sizes: &[usize], pause: Duration) -> Self {
        let sizes = sizes
            .iter()
            .map(|size| NonZero::new(*size).unwrap_or(NonZero::<usize>::MIN));
        Self {
            sizes: sizes.collect(),
            pause,
        }
    }

    /// How long to wait for the next piece, by when the last one was written.
    pub(super) fn pause_after(&self, last: Option<Instant>) -> Duration {
        match last {
            Some(last) if !self.sizes.is_empty() => self.pause.saturating_sub(last.elapsed()),
            _ => Duration::ZERO,
        }
    }

    /// Whether these are the same setting.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.sizes, &other.sizes)
    }

    /// The size of a piece, by its number; `n_bytes` is what there is.
    pub(super) fn size(&self, number: usize, n_bytes: usize) -> usize {
        match self.sizes.len() {
            0 => n_bytes,
            n_sizes => self.sizes[number % n_sizes].get().min(n_bytes),
        }
    }
}

impl Pick {
    pub(super) fn new(pick: impl Fn(&Packet) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(pick))
    }
}

impl std::fmt::Debug for Pick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pick")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_turn_and_are_never_zero() {
        let sizes = |pieces: &Pieces| [0, 1, 2, 3].map(|number| pieces.size(number, 10));
        let pause = Duration::ZERO;
        assert_eq!(sizes(&Pieces::new(&[], pause)), [10; 4]);
        assert_eq!(sizes(&Pieces::new(&[1], pause)), [1; 4]);
        assert_eq!(sizes(&Pieces::new(&[0, 7, 20], pause)), [1, 7, 10, 1]);
    }

    #[test]
    fn only_what_is_picked_is_repeated_and_dup_follows_the_standard() {
        let publish = |qos, dup| Packet::Publish {
            topic: "t".into(),
            qos,
            retain: false,
            dup,
            packet_id: 1,
            payload: "x".into(),
        };
        let delivery = Delivery {
            twice: Some(Pick::new(|packet| *packet != Packet::Pingresp)),
            ..Delivery::default()
        };
        let repeated = |packet| delivery.repeated(&packet);
        assert_eq!(repeated(Packet::Pingresp), None);
        for (qos, dup) in [(QoS::AtMostOnce, false), (QoS::ExactlyOnce, true)] {
            assert_eq!(repeated(publish(qos, false)), Some(publish(qos, dup)));
        }
        let pubrel = Packet::Pubrel { packet_id: 1 };
        assert_eq!(repeated(pubrel.clone()), Some(pubrel.clone()));
        assert_eq!(Delivery::default().repeated(&pubrel), None);
    }
}
