//! A program of the old kind that gains MQTT: the lines that end in `// MQTT` are all that is new.
//!
//! `cargo run --release --example drop_in -- [FILE] [READINGS]`
//!
//! It reads a sensor five times a second and writes a file (`readings.csv`, 10 readings). It did so
//! before, and with the marked lines taken out it compiles without this crate and does so still.
//! With them, each reading also goes to the broker that the variable `MQTT_URL` names
//! (`mqtt://localhost`), on `sensor/temp`.
//!
//! What the new lines can't do is harm: `try_publish` never waits, a broker that is away costs no
//! reading in the file, and its messages wait (up to 1,000) for it to come back. When the file is
//! finished, what still waits has two seconds to be sent. What is lost all the same is in the report
//! on stderr, and the exit code is 1 then.

use mqtt_fleet::{ClientSpec, Fleet, QoS, Retry}; // MQTT
use std::{env, error::Error, fs::File, io::Write, process::exit, thread, time::Duration};

const HELP: &str = "\
usage: drop_in [FILE] [READINGS]

  FILE       where the readings go (readings.csv)
  READINGS   how many (10)
  --help     prints this";

fn main() {
    let mut arguments = env::args_os().skip(1).map(|it| it.to_string_lossy().into());
    let path: String = arguments.next().unwrap_or("readings.csv".into());
    let readings: String = arguments.next().unwrap_or("10".into());
    let code = match (path.as_str(), readings.parse()) {
        ("--help" | "-h", _) => match writeln!(std::io::stdout(), "{HELP}") {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                complain(&format!("can't write to stdout: {error}"), 1)
            }
            _ => 0,
        },
        (path, _) if path.starts_with('-') => complain(&format!("{path}: unknown argument"), 2),
        (_, Err(_)) => complain(&format!("READINGS: {readings:?} is not a whole number"), 2),
        (path, Ok(readings)) => match log_readings(path, readings) {
            Ok(code) => code,
            Err(error) => complain(&format!("{path}: {error}"), 1),
        },
    };
    exit(code)
}

fn complain(problem: &str, code: i32) -> i32 {
    let _ = writeln!(std::io::stderr(), "drop_in: {problem}");
    code
}

fn log_readings(path: &str, readings: u32) -> Result<i32, Box<dyn Error>> {
    let code = 0;
    let mut file = File::create(path)?;
    let url = env::var("MQTT_URL").unwrap_or("mqtt://localhost".into()); // MQTT
    let logger = ClientSpec::new("logger", url).retry(Retry::forever()); // MQTT
    let fleet = Fleet::builder().client(logger).start()?; // MQTT
    let mqtt = fleet.client("logger")?; // MQTT

    for n in 1..=readings {
        let line = format!("{n};{:.1}", sensor(n));
        writeln!(file, "{line}")?;
        let _ = mqtt.try_publish("sensor/temp", QoS::AtLeastOnce, false, line); // MQTT
        pause();
    }

    let report = fleet.stop_draining(Duration::from_secs(2)); // MQTT
    let _ = write!(std::io::stderr(), "{report}"); // MQTT
    let code = code.max(report.exit_code()); // MQTT
    Ok(code)
}

/// What a sensor shows.
fn sensor(n: u32) -> f64 {
    21.5 + 3.0 * (f64::from(n) / 10.0).sin()
}

#[expect(clippy::disallowed_methods, reason = "it did so before it knew MQTT")]
fn pause() {
    thread::sleep(Duration::from_millis(200));
}
