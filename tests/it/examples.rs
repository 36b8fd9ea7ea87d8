//! The examples as programs: help, wrong arguments, a reader that goes away, a full disk, and what the first ones lose.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use mqtt_fleet::testing::TestBroker;

use crate::support::fleet::PATIENCE;
use crate::support::program::Program;
use crate::support::scratch::scratch;
use crate::tidy::source::read;

/// Each example that has a command line, with the file that has its options.
const EXAMPLES: [(&str, &str); 8] = [
    ("demo1", "demo1.rs"),
    ("demo1a", "demo1a.rs"),
    ("demo1b", "demo1b.rs"),
    ("demo2", "demo2.rs"),
    ("devices", "devices.rs"),
    ("gateway", "gateway/options.rs"),
    ("service", "service.rs"),
    ("shared", "shared.rs"),
];

fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(Program::path(name));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn output(name: &str, arguments: &[&str]) -> Output {
    command(name, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The options that the source of an example knows.
fn options(source: &str) -> Vec<String> {
    let source = read(&format!("examples/{source}"));
    let arms = source.lines().map(str::trim);
    arms.filter_map(|line| {
        let name = line.strip_prefix("\"--")?.split('"').next()?;
        line.contains("=>").then(|| format!("--{name}"))
    })
    .collect()
}

/// Fails when an example does not know `--help`, or its help leaves an option out.
#[test]
fn help_names_every_option() {
    for (name, source) in EXAMPLES {
        for flag in ["--help", "-h"] {
            let output = output(name, &[flag]);
            let help = text(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
            assert!(help.starts_with(&format!("usage: {name} ")), "{help}");
            for option in options(source) {
                assert!(help.contains(&format!("\n  {option} ")), "{option}: {help}");
            }
        }
    }
    let output = output("drop_in", &["--help"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).starts_with("usage: drop_in "));
}

/// Fails when a wrong argument is not named, is taken, is told with a type's name, or ends with another code than 2.
#[test]
fn a_wrong_argument_is_named() {
    let wrong: [(&str, &[&str], &str); 20] = [
        (
            "demo1",
            &["--clients", "x"],
            "--clients: \"x\" is not a whole number",
        ),
        (
            "demo1",
            &["--clients", "-3"],
            "--clients: \"-3\" is not a whole number",
        ),
        (
            "demo1",
            &["--clients=0"],
            "--clients: \"0\" is not from 1 to ",
        ),
        (
            "demo1",
            &["--seconds", "99999999999999999999"],
            "--seconds: \"99999999999999999999\" is not from ",
        ),
        ("demo1", &["--seconds"], "--seconds: its value is missing"),
        ("demo1", &["--broker", "http://h"], "--broker: "),
        ("demo1", &["--nonsense"], "--nonsense: unknown argument"),
        ("demo1", &["nonsense"], "nonsense: unknown argument"),
        (
            "demo1a",
            &["--file", "no-such.toml"],
            "--file: can't read \"no-such.toml\": No such file",
        ),
        (
            "demo1b",
            &["--seconds", ""],
            "--seconds: \"\" is not a whole number",
        ),
        ("demo2", &["--pub=3"], "--pub"),
        (
            "devices",
            &["--interval", "1"],
            "--interval: \"1\" is not an interval such as",
        ),
        (
            "devices",
            &["--interval", "0s"],
            "--interval: \"0s\" is not an interval such as",
        ),
        ("gateway", &["--up", "a/#/b"], "--up: "),
        (
            "gateway",
            &["--site", "a/b"],
            "--site: \"a/b\" is not one level of a topic",
        ),
        (
            "gateway",
            &["--local", "mqtt://127.0.0.1"],
            "--local and --cloud: give both",
        ),
        ("service", &["--nonsense"], "--nonsense: unknown argument"),
        ("service", &["a.toml", "b.toml"], "b.toml: unknown argument"),
        (
            "shared",
            &["--group", "#"],
            "--group: \"#\" is not one level of a topic",
        ),
        (
            "drop_in",
            &["readings.csv", "x"],
            "READINGS: \"x\" is not a whole number",
        ),
    ];
    for (name, arguments, said) in wrong {
        let output = output(name, arguments);
        let error = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{name} {arguments:?}: {error}"
        );
        assert!(error.starts_with(&format!("{name}: ")), "{error}");
        assert!(error.contains(said), "{name} {arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{name} {arguments:?}");
    }
}

/// Fails when an example panics or complains because nobody reads its output any more, or goes on without a reader.
#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let runs: [(&str, &[&str]); 7] = [
        ("demo1", &["--seconds", "60"]),
        ("demo1a", &["--seconds", "60"]),
        ("demo1b", &["--seconds", "60"]),
        ("demo2", &["--seconds", "60"]),
        ("devices", &["--clients", "3", "--seconds", "60"]),
        ("gateway", &["--seconds", "60"]),
        ("shared", &[]),
    ];
    let mut programs = Vec::new();
    for (name, arguments) in runs {
        let mut command = command(name, arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        reader.read_line(&mut first).unwrap();
        assert!(first.ends_with('\n'), "{name}: {first}");
        drop(reader);
        programs.push((name, child));
    }
    for (name, child) in programs {
        let output = child.wait_with_output().unwrap();
        let error = text(&output.stderr);
        assert!(!error.contains("panicked"), "{name}: {error}");
        assert_eq!((output.status.code(), &*error), (Some(0), ""), "{name}");
    }
}

/// Fails when an example panics on a full disk, says nothing of it, or says that all is well.
#[test]
fn a_full_disk_is_told() {
    for (name, _) in EXAMPLES {
        let arguments: &[&str] = match name {
            "service" => &["--help"], // It writes to stderr otherwise.
            "shared" => &["--broker", "mqtt://127.0.0.1:1", "--help"],
            _ => &[],
        };
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(name, arguments).stdout(full).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {error}");
        let told = format!("{name}: can't write to stdout: No space left on device");
        assert!(error.starts_with(&told), "{name}: {error}");
        assert!(!error.contains("panicked"), "{name}: {error}");
    }
    for stdout in ["/dev/full", "a closed pipe"] {
        let mut hello = command("hello", &[]);
        match stdout {
            "/dev/full" => hello.stdout(File::options().write(true).open(stdout).unwrap()),
            _ => hello.stdout(Stdio::piped()),
        };
        let mut child = hello.stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let error = text(&output.stderr);
        assert!(!error.contains("panicked"), "{stdout}: {error}");
        assert_ne!(output.status.code(), Some(0), "{stdout}: {error}");
        assert!(error.starts_with("hello: "), "{stdout}: {error}");
        assert!(!error.contains("Os {"), "{stdout}: {error}");
    }
}

/// Fails when a program or a bench of this repository writes by a macro that panics when its reader has gone.
#[test]
fn no_program_panics_without_a_reader() {
    let macros = ["println!(", "print!(", "eprintln!(", "eprint!("];
    let mut n_files = 0;
    for directory in ["examples", "benches/fleet", "docs/comparison"] {
        for path in crate::tidy::source::files(std::path::Path::new(directory)) {
            let path = path.display().to_string();
            if !path.ends_with(".rs") {
                continue;
            }
            n_files += 1;
            let code = crate::tidy::source::read(&path);
            let mut lines = code.lines().filter(|line| !line.trim().starts_with("//"));
            let found = lines.find(|line| macros.iter().any(|it| line.contains(it)));
            assert!(found.is_none(), "{path}: {found:?}");
        }
    }
    assert!(n_files > 20, "{n_files}");
}

/// Fails when the operator of `devices` sends a command before its device has subscribed: the first one would be lost.
#[test]
fn the_first_command_of_the_operator_is_answered() {
    let arguments = ["--clients", "1", "--seconds", "60"];
    for run in 0..3 {
        let program = Program::example("devices", &arguments);
        program.wait_for("devices/dev-0/answer: done: blink", PATIENCE);
        program.signal("TERM");
        let (status, output) = program.ended(PATIENCE);
        assert_eq!(status.code(), Some(0), "run {run}: {output}");
        let cell = |client: &str, column: usize| -> u64 {
            let row = output.lines().rfind(|line| line.starts_with(client));
            let cell = row.unwrap_or_default().split_whitespace().nth(column);
            cell.unwrap_or_default().parse().unwrap()
        };
        // What the operator has sent is what the device has received.
        assert_eq!(cell("operator", 7), cell("dev-0", 5), "run {run}: {output}");
    }
}

/// Fails when the README's program publishes something that its logger does not show: before it has subscribed, or
/// at the end.
#[test]
fn hello_loses_nothing() {
    for run in 0..20 {
        // With one message less it would wait for that, for ever.
        let (status, shown) = Program::example("hello", &[]).ended(PATIENCE);
        assert_eq!(status.code(), Some(0), "run {run}: {shown}");
        for i in 0..20 {
            let line = format!("temp/sensor-{i} = 21.5\n");
            assert_eq!(shown.matches(&line).count(), 1, "run {run}: {line}{shown}");
        }
    }
}

/// Fails when a program that has lost all its messages ends as if nothing was wrong, or does not say it.
#[test]
fn what_was_lost_is_shown() {
    let file = scratch("lost.csv");
    let path = file.to_str().unwrap();
    let mut drop_in = command("drop_in", &[path, "3"]);
    let output = drop_in.env("MQTT_URL", "mqtt://127.0.0.1:1").output();
    let output = output.unwrap();
    let report = text(&output.stderr);
    let _ = std::fs::remove_file(file);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("lost: 3 unsent"), "{report}");
}

/// Fails when the gateway is stopped with messages in hand and says that all is well.
#[test]
fn the_gateway_shows_what_is_in_hand() {
    let (local, cloud) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let (local_url, cloud_url) = (local.url(), cloud.url());
    cloud.stop();
    let program = Program::example("gateway", &["--local", &local_url, "--cloud", &cloud_url]);
    program.wait_for("local connected, cloud away", PATIENCE);
    for n in 0..2 {
        // Retained, so that it does not matter when it subscribes.
        let topic = format!("sensors/{n}");
        local
            .publish(topic, mqtt_fleet::QoS::AtLeastOnce, true, "21.5")
            .unwrap();
    }
    program.wait_for("0 arrived, 2 in hand", PATIENCE);
    program.signal("INT");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("2 in hand have not arrived"), "{output}");
}

/// Fails when SIGTERM ends the service without its report because it was given no file.
#[test]
fn the_service_without_a_file_ends_in_order() {
    let program = Program::example("service", &[]);
    // Its birth message is acknowledged by then.
    program.wait_for("bytes on service/cloud/uptime", PATIENCE);
    program.signal("TERM");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("the end\n"), "{output}");
}

/// Fails when the service whose broker was never there says that all is well.
#[test]
fn a_service_that_never_connected_is_code_1() {
    let file = scratch("service.toml");
    let text = "[[client]]\nname = 'plant'\nbroker = 'mqtt://127.0.0.1:1'\nretry = 'forever'\n";
    std::fs::write(&file, text).unwrap();
    let arguments = [file.to_str().unwrap()];
    let log = ("RUST_LOG", "info,rumqttc=off");
    let program = Program::example_with("service", &arguments, &[log]);
    program.wait_for("attempt 1", PATIENCE);
    program.signal("TERM");
    let (status, output) = program.ended(PATIENCE);
    let _ = std::fs::remove_file(file);
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("the end\n"), "{output}");
}
