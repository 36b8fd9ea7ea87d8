//! What the examples share: the frame of a program, and lines that survive a closed pipe or a full disk.
#![allow(dead_code, reason = "each example uses a part of it")]

mod arguments;

use std::{
    error::Error,
    fmt::Display,
    io::{self, ErrorKind, Write},
    process::exit,
};

pub(crate) use arguments::Arguments;
use arguments::WrongArgument;

/// What a program returns: its exit code, or why it ended early.
pub(crate) type Outcome = Result<i32, Box<dyn Error>>;

/// A program: reads the command line, runs, and exits.
///
/// `help` is what `--help` prints; its first line is `usage: NAME …`. The exit code is the one that
/// `program` returns; 2 if an argument is wrong, and 1 after any other error. Both are told on stderr. A
/// reader of stdout that has gone (`| head`) is no error: then the program ends quietly, with code 0.
pub(crate) fn run(help: &'static str, program: impl FnOnce(Arguments) -> Outcome) -> ! {
    let arguments = Arguments::from_command_line(help);
    let name = arguments.name();
    // Whatever the program holds has been dropped when it returns: a fleet has sent its DISCONNECTs.
    match program(arguments) {
        Ok(code) => exit(code),
        Err(error) => exit(tell(name, &*error)),
    }
}

/// Tells why a program ended early, and gives its exit code.
fn tell(name: &str, error: &(dyn Error + 'static)) -> i32 {
    if let Some(Unwritten(cause)) = error.downcast_ref() {
        if cause.kind() == ErrorKind::BrokenPipe {
            return 0;
        }
    }
    let mut text = format!("{name}: {error}\n");
    if let Some(source) = error.source() {
        let source = source.to_string();
        if !text.contains(&source) {
            text = format!("{name}: {error}: {source}\n");
        }
    }
    let code = match error.is::<WrongArgument>() {
        true => {
            text += &format!("`{name} --help` shows the options\n");
            2
        }
        false => 1,
    };
    // Where stderr is closed too, the code has to do.
    let _ = io::stderr().write_all(text.as_bytes());
    code
}

/// Writes a line to stdout. `println!` would panic when the reader has gone or the disk is full.
///
/// # Errors
///
/// The line could not be written. `run` knows what that means for the program.
pub(crate) fn say(line: impl Display) -> Result<(), Unwritten> {
    writeln!(io::stdout(), "{line}").map_err(Unwritten)
}

/// A line that could not be written to stdout.
#[derive(Debug, thiserror::Error)]
#[error("can't write to stdout: {0}")]
pub(crate) struct Unwritten(io::Error);
