//! Lines on stdout for the programs of the comparison: `println!` panics when nobody reads any more, or on a full disk.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::exit;

/// Prints a line. Ends the program if that is not possible: quietly if the reader has gone (`| head`).
pub(crate) fn say(line: impl Display) {
    if let Err(error) = writeln!(stdout(), "{line}") {
        if error.kind() == ErrorKind::BrokenPipe {
            exit(0);
        }
        let _ = writeln!(stderr(), "can't write to stdout: {error}");
        exit(1);
    }
}
