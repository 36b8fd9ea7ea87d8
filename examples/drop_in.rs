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
//! finished, what still waits has two seconds to be sent.

use mqtt_fleet::{ClientSpec, Fleet, QoS, Retry}; // MQTT
use std::{env, error::Error, fs::File, io::Write, thread, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let path = arguments.next().unwrap_or("readings.csv".into());
    if path.starts_with('-') {
        return Err("usage: drop_in [FILE] [READINGS]".into());
    }
    let readings = arguments.next().unwrap_or("10".into()).parse()?;
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

    fleet.stop_draining(Duration::from_secs(2)); // MQTT
    Ok(())
}

/// What a sensor shows.
fn sensor(n: u32) -> f64 {
    21.5 + 3.0 * (f64::from(n) / 10.0).sin()
}

#[expect(clippy::disallowed_methods, reason = "it did so before it knew MQTT")]
fn pause() {
    thread::sleep(Duration::from_millis(200));
}
