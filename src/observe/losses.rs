//! What the losses of one client say together: whether it flapped, and whether another client seems
//! to use its client id. No clock in here: the caller says when.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::observe::cause::Cause;

/// This many losses within [`WITHIN`] are flapping.
const SEVERAL: usize = 3;

/// Losses that are further apart belong to different stories, and a connection that lasted longer
/// was not closed "soon".
const WITHIN: Duration = Duration::from_secs(60);

/// The losses of one client.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// When the last ones were, oldest first; at most [`SEVERAL`].
    recent: Vec<Instant>,
    flapped: bool,
    /// Before the connections below.
    was_id_contested: bool,
    /// Connections in a row that the broker accepted and soon closed, without a failed connect
    /// between them: a broker that restarts refuses some.
    closed_in_a_row: usize,
}

impl Losses {
    /// A live connection was lost that had begun at `since`.
    pub(crate) fn lost(&mut self, cause: &Cause, since: Option<Instant>, now: Instant) {
        let apart = |then: Instant| now.saturating_duration_since(then);
        self.recent.retain(|then| apart(*then) < WITHIN);
        self.recent.push(now);
        if self.recent.len() >= SEVERAL {
            self.recent.remove(0);
            self.flapped = true;
        }
        let soon = since.is_some_and(|since| apart(since) < WITHIN);
        match soon && is_by_broker(cause) {
            true => self.closed_in_a_row += 1,
            false => self.begin_anew(),
        }
    }

    /// A connect failed.
    pub(crate) fn connect_failed(&mut self) {
        self.begin_anew();
    }

    /// It is known why the broker has closed the last connections: the client id is not why.
    pub(crate) fn explained(&mut self) {
        self.closed_in_a_row = 0;
    }

    fn begin_anew(&mut self) {
        self.was_id_contested = self.is_id_contested();
        self.closed_in_a_row = 0;
    }

    /// Whether several connections were lost within a minute.
    pub(crate) fn flapped(&self) -> bool {
        self.flapped
    }

    /// Whether the broker, right now, accepts each connection and closes it soon.
    pub(crate) fn closes_again_and_again(&self) -> bool {
        self.closed_in_a_row >= SEVERAL
    }

    /// Whether it ever did.
    pub(crate) fn is_id_contested(&self) -> bool {
        self.was_id_contested || self.closes_again_and_again()
    }
}

/// Whether this is what a broker does to the older one of two clients with one client id
/// [MQTT-3.1.4-2].
fn is_by_broker(cause: &Cause) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    match cause {
        Cause::Closed => true,
        Cause::Broken { kind, .. } => {
            [BrokenPipe, ConnectionAborted, ConnectionReset].contains(kind)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Fails when two losses are called flapping, three within a minute are not, or three in a
    /// day are.
    #[test]
    fn three_losses_within_a_minute_are_flapping() {
        let begin = Instant::now();
        let after = |losses: &[u32]| {
            let mut known = Losses::default();
            for seconds in losses {
                known.lost(&Cause::KeepAlive, None, begin + SECOND * *seconds);
            }
            known.flapped()
        };
        assert!(!after(&[0, 1]));
        assert!(after(&[0, 1, 2]));
        assert!(after(&[0, 500, 520, 559]));
        assert!(!after(&[0, 30, 61, 100, 140]));
    }

    /// Fails when a client id that is taken again and again is not noticed, or a broker that
    /// restarts, or a loss with another cause, is taken for it.
    #[test]
    fn only_closed_connections_in_a_row_hint_at_a_contested_client_id() {
        let begin = Instant::now();
        let mut losses = Losses::default();
        let lost = |losses: &mut Losses, cause: &Cause, second: u32, lasted: u32| {
            let now = begin + SECOND * second;
            losses.lost(cause, Some(now - SECOND * lasted), now);
            losses.closes_again_and_again()
        };
        let reset = Cause::Broken {
            kind: io::ErrorKind::ConnectionReset,
            message: "reset".to_owned(),
        };
        assert!(!lost(&mut losses, &Cause::Closed, 100, 1));
        assert!(!lost(&mut losses, &reset, 103, 2));
        losses.connect_failed();
        assert!(!lost(&mut losses, &Cause::Closed, 110, 1));
        assert!(!lost(&mut losses, &Cause::Closed, 120, 1));
        assert!(!lost(&mut losses, &Cause::KeepAlive, 130, 1));
        assert!(!lost(&mut losses, &Cause::Closed, 140, 1));
        assert!(!lost(&mut losses, &Cause::Closed, 300, 90), "it had lasted");
        assert!(!losses.is_id_contested());
        assert!(!lost(&mut losses, &Cause::Closed, 310, 1));
        assert!(!lost(&mut losses, &reset, 312, 1));
        assert!(lost(&mut losses, &Cause::Closed, 314, 1));
        losses.connect_failed();
        assert!(!losses.closes_again_and_again());
        assert!(losses.is_id_contested(), "it stays in the report");
        let mut losses = Losses::default();
        for second in [100, 102, 104] {
            lost(&mut losses, &Cause::Closed, second, 1);
        }
        losses.explained();
        assert!(!losses.is_id_contested(), "the broker closed on a message");
    }
}
