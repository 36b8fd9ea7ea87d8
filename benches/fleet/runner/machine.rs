//! What was measured on: absolute figures mean nothing without it.

use std::{fs, process::Command, thread};

/// Name and value of each.
pub(crate) fn facts() -> Vec<(&'static str, String)> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(unknown, |(_, name)| name.to_owned());
    let cores = thread::available_parallelism().map_or_else(|_| unknown(), |it| it.to_string());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
    let kernel = kernel.map_or_else(|_| unknown(), |it| it.trim().to_owned());
    let huge = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge = huge.unwrap_or_default();
    let huge = huge
        .split(['[', ']'])
        .nth(1)
        .unwrap_or("unknown")
        .to_owned();
    vec![
        ("processor", cpu),
        ("cores", cores),
        ("kernel", kernel),
        ("transparent huge pages", huge),
        ("compiler", said(Command::new("rustc").arg("--version"))),
        ("mqtt-fleet", env!("CARGO_PKG_VERSION").to_owned()),
        (
            "commit",
            said(Command::new("git").args(["describe", "--always", "--dirty"])),
        ),
    ]
}

fn said(command: &mut Command) -> String {
    let output = command.output().ok().filter(|it| it.status.success());
    output.map_or_else(unknown, |it| {
        String::from_utf8_lossy(&it.stdout).trim().to_owned()
    })
}

fn unknown() -> String {
    "unknown".to_owned()
}
