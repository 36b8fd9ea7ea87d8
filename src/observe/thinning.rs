//! Which of many like log lines are written. Values only: the caller says what time it is, and
//! writes.
//!
//! Two sieves in a row: of each kind a client passes on the 1st, 2nd, 4th, 8th … line
//! ([`Repeats`]), and of those the fleet writes a few a minute and counts the rest ([`Crowd`]).
//! A line of a kind that is new to the fleet is always written.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// Of each kind one client writes a line at least this often, as long as it goes on.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60 * 60);

/// A client remembers this many kinds. The texts of a broker or of a user's error may be new each
/// time: beyond this many the one that was seen longest ago makes room.
const MOST_KINDS: usize = 16;

/// The fleet remembers this many for a minute; what more there is is told apart by `what` alone.
const MOST_KINDS_OF_ALL: usize = 64;

/// So many lines of one kind are written in [`WINDOW`], whatever the number of clients.
const MOST_LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// How long the first count of what was left out waits for more.
const FIRST_COUNT: Duration = Duration::from_secs(1);

/// How far the counts of one kind are apart.
const COUNTS_APART: Duration = Duration::from_secs(10);

/// What a line is about: `what` happened at `place`, for the reason in `text`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) what: &'static str,
    pub(crate) place: &'a str,
    pub(crate) text: &'a str,
}

impl About<'_> {
    fn kind(&self) -> LineKind {
        LineKind {
            what: self.what,
            hash: hash(self.place, self.text),
        }
    }

    /// The same in words, for the line that counts others.
    fn gist(&self) -> String {
        let mut gist = self.what.to_owned();
        for (separator, part) in [(" ", self.place), (": ", self.text)] {
            if !part.is_empty() {
                gist += separator;
                gist += part;
            }
        }
        gist
    }
}

/// Lines of one kind say the same of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LineKind {
    what: &'static str,
    /// 0 stands for any place and text.
    hash: u64,
}

/// Words with a digit in them don't make another kind: they count, or are times or identifiers.
fn hash(place: &str, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    for word in text.split(|character: char| !character.is_alphanumeric()) {
        match word.bytes().any(|byte| byte.is_ascii_digit()) {
            true => hasher.write_u8(0),
            false => word.hash(&mut hasher),
        }
    }
    hasher.finish().max(1)
}

/// The lines of one client.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// The one that was seen last is last.
    kinds: Vec<LineRepeat>,
}

#[derive(Debug)]
struct LineRepeat {
    kind: LineKind,
    seen: u64,
    left_out: u64,
    written_at: Instant,
}

impl Repeats {
    /// Whether this line is passed on, and how many of its kind were left out before it.
    pub(crate) fn line(&mut self, about: &About<'_>, now: Instant) -> Option<u64> {
        let kind = about.kind();
        let known = self.kinds.iter().position(|it| it.kind == kind);
        let mut repeat = match known {
            Some(at) => self.kinds.remove(at),
            None => LineRepeat {
                kind,
                seen: 0,
                left_out: 0,
                written_at: now,
            },
        };
        repeat.seen += 1;
        let is_due = now.saturating_duration_since(repeat.written_at) >= AT_LEAST_EVERY;
        let is_written = repeat.seen.is_power_of_two() || is_due;
        let left_out = match is_written {
            true => {
                repeat.written_at = now;
                mem::take(&mut repeat.left_out)
            }
            false => {
                repeat.left_out += 1;
                0
            }
        };
        if self.kinds.len() == MOST_KINDS {
            self.kinds.remove(0);
        }
        self.kinds.push(repeat);
        is_written.then_some(left_out)
    }

    /// What these lines told of is over: the next one is a first one again.
    pub(crate) fn forget(&mut self, whats: &[&str]) {
        self.kinds.retain(|it| !whats.contains(&it.kind.what));
    }
}

/// The lines of a fleet.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    kinds: HashMap<LineKind, LineWindow>,
}

#[derive(Debug)]
struct LineWindow {
    began: Instant,
    written: u32,
    /// When what was left out is counted.
    count_at: Instant,
    rest: Option<Rest>,
}

/// The lines of one kind that the fleet left out, for the one line that counts them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) level: log::Level,
    /// What all of them say.
    pub(crate) gist: String,
    /// When the first of them was left out.
    pub(crate) since: Instant,
    pub(crate) lines: u64,
    pub(crate) clients: HashSet<Arc<str>>,
}

impl Crowd {
    /// Whether this line of a client is written. If not, it is counted.
    pub(crate) fn line(
        &mut self,
        about: &About<'_>,
        client: &Arc<str>,
        level: log::Level,
        now: Instant,
    ) -> bool {
        let mut kind = about.kind();
        if self.kinds.len() >= MOST_KINDS_OF_ALL && !self.kinds.contains_key(&kind) {
            // Texts that are new each time: told apart no longer.
            kind.hash = 0;
        }
        let window = self.kinds.entry(kind).or_insert_with(|| LineWindow {
            began: now,
            written: 0,
            count_at: now,
            rest: None,
        });
        if window.is_over(now) {
            window.began = now;
            window.written = 0;
        }
        if window.written < MOST_LINES {
            window.written += 1;
            window.count_at = window.count_at.max(now + FIRST_COUNT);
            return true;
        }
        let rest = window.rest.get_or_insert_with(|| Rest {
            level,
            gist: about.gist(),
            since: now,
            lines: 0,
            clients: HashSet::new(),
        });
        rest.lines += 1;
        rest.clients.insert(Arc::clone(client));
        false
    }

    /// The counts that are to be written now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Rest> {
        let mut due = Vec::new();
        for window in self.kinds.values_mut() {
            if now >= window.count_at {
                if let Some(rest) = window.rest.take() {
                    due.push(rest);
                    window.count_at = now + COUNTS_APART;
                }
            }
        }
        // What has been quiet for a while is forgotten, so that no number of kinds adds up.
        self.kinds
            .retain(|_, window| window.rest.is_some() || !window.is_over(now));
        in_order(due)
    }

    /// All counts, at the end.
    pub(crate) fn all(&mut self) -> Vec<Rest> {
        let windows = self.kinds.drain().map(|(_, window)| window);
        in_order(windows.filter_map(|window| window.rest).collect())
    }

    /// When a count is to be written next.
    pub(crate) fn next_count(&self) -> Option<Instant> {
        let waiting = self.kinds.values().filter(|window| window.rest.is_some());
        waiting.map(|window| window.count_at).min()
    }
}

fn in_order(mut rest: Vec<Rest>) -> Vec<Rest> {
    rest.sort_by_key(|it| it.since);
    rest
}

impl LineWindow {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= WINDOW
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, gist, .. } = self;
        match (self.clients.len(), self.clients.iter().next()) {
            (1, Some(client)) => write!(f, "client {client}, {lines} more lines: {gist}"),
            (n, _) if *lines == n as u64 => write!(f, "{n} more clients: {gist}"),
            (n, _) => write!(f, "{n} more clients, {lines} lines: {gist}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn about<'a>(place: &'a str, text: &'a str) -> About<'a> {
        About {
            what: "disconnected from",
            place,
            text,
        }
    }

    /// The numbers of the lines that are passed on, of `n` that come `apart`.
    fn passed(repeats: &mut Repeats, n: u32, apart: Duration) -> Vec<(u32, u64)> {
        let begin = Instant::now();
        let line = |n| {
            repeats
                .line(&about("h:1", "closed"), begin + apart * n)
                .map(|it| (n, it))
        };
        (1..=n).filter_map(line).collect()
    }

    /// Fails when repeated lines don't become rarer, when one is lost without being counted, or when
    /// an outage that lasts is not spoken of for hours.
    #[test]
    fn of_like_lines_rarer_and_rarer_ones_are_written() {
        let mut repeats = Repeats::default();
        let lines = passed(&mut repeats, 100, SECOND);
        assert_eq!(
            lines,
            [(1, 0), (2, 0), (4, 1), (8, 3), (16, 7), (32, 15), (64, 31)]
        );
        repeats.forget(&["something else"]);
        assert_eq!(repeats.line(&about("h:1", "closed"), Instant::now()), None);
        repeats.forget(&["disconnected from"]);
        assert_eq!(
            repeats.line(&about("h:1", "closed"), Instant::now()),
            Some(0)
        );
        let mut repeats = Repeats::default();
        let lines = passed(&mut repeats, 1_000, 60 * SECOND);
        let gaps = lines.windows(2).map(|pair| pair[1].0 - pair[0].0);
        assert_eq!(gaps.max(), Some(60), "each hour at least: {lines:?}");
        assert!(lines.len() <= 10 + 17, "{lines:?}");
    }

    /// Fails when a line of a new kind is hidden behind those of another one, or when numbers make a
    /// new kind each time.
    #[test]
    fn a_line_of_a_new_kind_is_never_hidden() {
        let now = Instant::now();
        let mut repeats = Repeats::default();
        passed(&mut repeats, 100, SECOND);
        let mut line = |place, text| repeats.line(&about(place, text), now).is_some();
        assert!(!line("h:1", "closed"));
        assert!(line("h:1", "reset"), "another reason");
        assert!(line("h:2", "closed"), "another broker");
        assert!(line("h:1", "expired at 12:03:55"));
        assert!(line("h:1", "expired at 12:03:56"), "the second one");
        assert!(!line("h:1", "expired at 12:04:57"), "the third one");
        assert!(!line("h:1", "closed"), "it is remembered all the time");
    }

    /// Fails when the lines of many clients are not bounded, the rest is not counted, or is counted
    /// twice.
    #[test]
    fn of_many_clients_a_few_lines_are_written_and_the_rest_is_counted() {
        let begin = Instant::now();
        let mut crowd = Crowd::default();
        let line = |crowd: &mut Crowd, n: u32, at: Instant| {
            let client = format!("dev-{n}").into();
            crowd.line(&about("h:1", "closed"), &client, log::Level::Warn, at)
        };
        let written = (0..500).filter(|n| line(&mut crowd, *n, begin)).count();
        assert_eq!(written as u32, MOST_LINES);
        assert!(crowd.due(begin).is_empty(), "more may come");
        assert_eq!(crowd.next_count(), Some(begin + FIRST_COUNT));
        let due = crowd.due(begin + FIRST_COUNT);
        assert_eq!(due.len(), 1);
        assert_eq!(
            due[0].to_string(),
            "495 more clients: disconnected from h:1: closed"
        );
        assert_eq!((due[0].level, crowd.next_count()), (log::Level::Warn, None));
        // The same ones again, within the minute.
        for n in 0..20 {
            assert!(!line(&mut crowd, n % 10, begin + 5 * SECOND));
        }
        assert!(crowd.due(begin + 10 * SECOND).is_empty());
        let due = crowd.due(begin + FIRST_COUNT + COUNTS_APART);
        assert_eq!(
            due[0].to_string(),
            "10 more clients, 20 lines: disconnected from h:1: closed"
        );
        assert!(line(&mut crowd, 1, begin + WINDOW), "a new minute");
        assert!(crowd.all().is_empty());
    }

    /// Fails when a line of a new kind is hidden behind a crowd, or when texts that are new each time
    /// are not bounded.
    #[test]
    fn kinds_are_told_apart_and_are_bounded() {
        let now = Instant::now();
        let mut crowd = Crowd::default();
        let client: Arc<str> = "dev".into();
        let mut line = |text: &str| crowd.line(&about("h:1", text), &client, log::Level::Warn, now);
        for _ in 0..100 {
            line("closed");
        }
        assert!(line("reset"));
        let word = |n: u32| {
            let letters = [n / 26, n % 26].map(|n| char::from(b'a' + n as u8));
            letters.iter().collect::<String>()
        };
        let written = (0..600).filter(|n| line(&word(*n))).count();
        assert!(
            written <= MOST_KINDS_OF_ALL + MOST_LINES as usize,
            "{written}"
        );
        let rest: u64 = crowd.all().iter().map(|rest| rest.lines).sum();
        assert_eq!(rest, 95 + 600 - written as u64);
    }
}
