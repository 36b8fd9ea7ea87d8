//! The command line of an example, by lexopt: options by name, and errors that name the argument.

use std::{fs::File, ops::RangeInclusive, process::exit, time::Duration};

use lexopt::{Arg, Parser};
use mqtt_fleet::Broker;

use super::{say, tell};

/// An argument that is unknown, lacks its value, or has a wrong one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongArgument(String);

/// The arguments that are left. `--help` is answered here.
pub(crate) struct Arguments {
    parser: Parser,
    help: &'static str,
    /// The one that was taken last, as messages name it: `--clients`, `FILE`.
    last: String,
}

impl Arguments {
    pub(crate) fn from_command_line(help: &'static str) -> Self {
        Self {
            parser: Parser::from_env(),
            help,
            last: String::new(),
        }
    }

    /// The program's name, from the first line of its help.
    pub(crate) fn name(&self) -> &'static str {
        self.help.split(' ').nth(1).unwrap_or_default()
    }

    /// The next option, such as `--clients`, or an argument without a name.
    pub(crate) fn next(&mut self) -> Result<Option<String>, WrongArgument> {
        let argument = self.parser.next().map_err(wrong)?;
        let text = match argument {
            None => return Ok(None),
            Some(Arg::Long("help") | Arg::Short('h')) => self.show_help(),
            Some(Arg::Long(name)) => format!("--{name}"),
            Some(Arg::Short(name)) => format!("-{name}"),
            Some(Arg::Value(value)) => value
                .into_string()
                .map_err(|value| not("the argument", &value.to_string_lossy(), "UTF-8"))?,
        };
        self.last.clone_from(&text);
        Ok(Some(text))
    }

    /// What to return for an argument that the program does not know.
    pub(crate) fn unknown<T>(&self) -> Result<T, WrongArgument> {
        Err(WrongArgument(format!("{}: unknown argument", self.last)))
    }

    /// The value of the last option.
    pub(crate) fn text(&mut self) -> Result<String, WrongArgument> {
        let missing = |_| WrongArgument(format!("{}: its value is missing", self.last));
        let value = self.parser.value().map_err(missing)?;
        value
            .into_string()
            .map_err(|value| not(&self.last, &value.to_string_lossy(), "UTF-8"))
    }

    /// A whole number within a range.
    pub(crate) fn number(&mut self, range: RangeInclusive<u64>) -> Result<u64, WrongArgument> {
        let text = self.text()?;
        let is_number = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        if !is_number {
            return Err(not(&self.last, &text, "a whole number"));
        }
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (least, most) = range.into_inner();
            not(&self.last, &text, &format!("from {least} to {most}"))
        })
    }

    /// How many clients or messages: each takes memory.
    pub(crate) fn count(&mut self) -> Result<usize, WrongArgument> {
        Ok(self.number(1..=1_000_000)? as usize)
    }

    /// A whole number of seconds: up to some 136 years, which every clock can add.
    pub(crate) fn seconds(&mut self) -> Result<Duration, WrongArgument> {
        Ok(Duration::from_secs(self.number(0..=u32::MAX.into())?))
    }

    /// A whole number above zero and `ms`, `s` or `m`.
    pub(crate) fn interval(&mut self) -> Result<Duration, WrongArgument> {
        let text = self.text()?;
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match &text[digits.len()..] {
            "ms" => Some(Duration::from_millis(1)),
            "s" => Some(Duration::from_secs(1)),
            "m" => Some(Duration::from_secs(60)),
            _ => None,
        };
        let interval = unit.and_then(|unit| unit.checked_mul(digits.parse().ok()?));
        interval
            .filter(|interval| !interval.is_zero() && interval.as_secs() <= u32::MAX.into())
            .ok_or_else(|| not(&self.last, &text, "an interval such as 250ms, 1s or 2m"))
    }

    /// The URL of a broker.
    pub(crate) fn broker(&mut self) -> Result<String, WrongArgument> {
        let text = self.text()?;
        match Broker::try_from(text.as_str()) {
            Ok(_) => Ok(text),
            Err(error) => Err(self.because(error)),
        }
    }

    /// The path of a file that can be read.
    pub(crate) fn file(&mut self) -> Result<String, WrongArgument> {
        let text = self.text()?;
        match File::open(&text) {
            Ok(_) => Ok(text),
            Err(error) => Err(self.because(format!("can't read {text:?}: {error}"))),
        }
    }

    /// One level of a topic.
    pub(crate) fn level(&mut self) -> Result<String, WrongArgument> {
        let text = self.text()?;
        match text.is_empty() || text.contains(['/', '+', '#']) {
            true => Err(not(&self.last, &text, "one level of a topic")),
            false => Ok(text),
        }
    }

    /// What is wrong with the last argument, in the words of another error.
    pub(crate) fn because(&self, error: impl ToString) -> WrongArgument {
        WrongArgument(format!("{}: {}", self.last, error.to_string()))
    }

    /// What is wrong with all of them together.
    pub(crate) fn conflict(text: &str) -> WrongArgument {
        WrongArgument(text.to_owned())
    }

    fn show_help(&self) -> ! {
        exit(match say(self.help) {
            Ok(()) => 0,
            Err(error) => tell(self.name(), &error),
        })
    }
}

fn not(argument: &str, value: &str, what: &str) -> WrongArgument {
    WrongArgument(format!("{argument}: {value:?} is not {what}"))
}

/// lexopt's own text: an option that takes no value has got one.
fn wrong(error: lexopt::Error) -> WrongArgument {
    WrongArgument(error.to_string())
}
