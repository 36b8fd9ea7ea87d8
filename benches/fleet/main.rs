//! Ratios against bare rumqttc and other clients, side by side in one run: `cargo bench`.
//!
//! The program starts itself anew for every measurement: once as the instrument, which is source
//! and sink, and once as the subject, so that what is read about the subject's process is its own.
//! `cargo bench -- --help` says what it can be told; docs/PERFORMANCE.md how it measures.

mod arguments;
mod clock;
mod instrument;
mod runner;
mod subject;
mod wire;

use std::{
    env,
    error::Error,
    fmt::Display,
    io::{ErrorKind, Write, stderr, stdout},
    process::{ExitCode, exit},
};

use arguments::Arguments;
use subject::job::Job;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let role = arguments.next().unwrap_or_default();
    let result = match role.as_str() {
        "instrument" => child(|| instrument::run(&Arguments::new(arguments))),
        "subject" => child(|| subject(&Arguments::new(arguments))),
        _ => runner::run(env::args().skip(1)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            tell(format_args!("fleet bench, {role}: {error}\n"));
            ExitCode::from(2)
        }
    }
}

/// Prints a line. Ends the program if that is not possible: quietly if the reader has gone (`| head`).
/// `println!` would panic.
fn say(line: impl Display) {
    if let Err(error) = writeln!(stdout(), "{line}") {
        if error.kind() == ErrorKind::BrokenPipe {
            exit(0);
        }
        tell(format_args!(
            "fleet bench: can't write to stdout: {error}\n"
        ));
        exit(2);
    }
}

/// Shows how far it has got, where there is somebody to see it.
fn tell(text: impl Display) {
    let _ = write!(stderr(), "{text}");
}

fn child(run: impl FnOnce() -> Result<()>) -> Result<ExitCode> {
    // A thousand clients of four descriptors each; the soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX)?;
    run().map(|()| ExitCode::SUCCESS)
}

fn subject(arguments: &Arguments) -> Result<()> {
    let job = Job::new(arguments)?;
    match arguments.text("client") {
        Some("ours") => subject::ours::run(&job),
        Some("bare") => subject::bare::run(&job),
        Some("raw") => subject::raw::run(&job),
        other => Err(format!("unknown client {other:?}").into()),
    }
}
