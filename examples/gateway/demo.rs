//! The demo: two brokers of our own, a sensor at the one, and an outage of the other. A copy of the
//! gateway does without this file.

use std::{error::Error, time::Duration};

use mqtt_fleet::{
    QoS,
    testing::{Sessions, TestBroker},
};

use crate::options::Options;

pub(crate) struct Demo {
    local: TestBroker,
    cloud: TestBroker,
    n: u32,
}

impl Demo {
    pub(crate) fn start(options: &mut Options) -> std::io::Result<Self> {
        let (local, cloud) = (TestBroker::start()?, TestBroker::start()?);
        options.local = Some(local.url());
        options.cloud = Some(cloud.url());
        options.seconds.get_or_insert(Duration::from_secs(8));
        Ok(Self { local, cloud, n: 0 })
    }

    /// A reading each tenth of a second; the cloud is away from second 2 to second 5.
    pub(crate) fn play(&mut self, elapsed: Duration) -> Result<(), Box<dyn Error>> {
        let is_away = (2..5).contains(&elapsed.as_secs());
        match (is_away, self.cloud.is_running()) {
            (true, true) => self.cloud.stop(),
            (false, false) => self.cloud.restart(Sessions::Kept)?,
            _ => {}
        }
        while self.n < elapsed.as_millis() as u32 / 100 {
            self.n += 1;
            let n = self.n.to_string();
            self.local
                .publish("sensors/7/temp", QoS::AtLeastOnce, false, n)?;
        }
        Ok(())
    }
}
