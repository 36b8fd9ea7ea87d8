//! Twenty sensors and a logger, for two seconds: `cargo run --example hello`
use mqtt_fleet::{ClientSpec, Fleet, QoS, testing::TestBroker};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = TestBroker::start()?; // or the URL of yours: "mqtt://10.0.0.5"
    let sensors = ClientSpec::new("sensor-{i}", broker.url())
        .publish_every(Duration::from_secs(1), |sensor| {
            let topic = format!("temp/{}", sensor.name());
            sensor.try_publish(topic, QoS::AtLeastOnce, false, "21.5")?;
            Ok(())
        })
        .times(20); // twenty threads, spread over the second
    let fleet = Fleet::builder()
        .client(ClientSpec::new("logger", broker.url()).subscribe("temp/+", QoS::AtLeastOnce))
        .clients(sensors)
        .on_message("temp/+", |message, _clients| {
            println!("{} = {}", message.topic(), message.text());
            Ok(()) // only now the broker gets its acknowledgement
        })
        .start()?;
    let _running = fleet.wait_ended(Duration::from_secs(2));
    print!("{}", fleet.stop(Duration::from_secs(1)));
    Ok(())
}
