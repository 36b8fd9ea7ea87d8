//! Twenty sensors and a logger: `cargo run --example hello`
use mqtt_fleet::{ClientSpec, Fleet, QoS, testing::TestBroker};
use std::{io::Write, process::exit, time::Duration};

fn main() {
    exit(hello().unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "hello: {error}");
        1
    }))
}

fn hello() -> Result<i32, Box<dyn std::error::Error>> {
    let broker = TestBroker::start()?; // or the URL of yours: "mqtt://10.0.0.5"
    let sensors = ClientSpec::new("sensor-{i}", broker.url()).times(20); // twenty threads
    let logger = ClientSpec::new("logger", broker.url()).subscribe("temp/+", QoS::AtLeastOnce);
    let fleet = Fleet::builder().clients(sensors).client(logger).start()?;
    // What is published before the logger has subscribed is lost to it.
    fleet.wait_subscribed(Duration::from_secs(5))?;
    for sensor in fleet.clients().iter().take(20) {
        let topic = format!("temp/{}", sensor.name());
        let receipt = sensor.publish(topic, QoS::AtLeastOnce, false, "21.5")?;
        receipt.wait()?; // until the broker has acknowledged it
    }
    let mut out = std::io::stdout();
    for message in fleet.messages()?.iter().take(20) {
        writeln!(out, "{} = {}", message.topic(), message.text())?;
    } // a message that is dropped is acknowledged
    let report = fleet.stop(Duration::from_secs(1));
    write!(out, "{report}")?;
    Ok(report.exit_code())
}
