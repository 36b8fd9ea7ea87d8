//! A plain loop over rumqttc, as its documentation shows it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use mqtt_fleet::testing::TestBroker;
use rumqttc::{Client, Event, MqttOptions};

use crate::support::receiving::PATIENCE;

/// What a plain client "plant" is built with.
pub(crate) fn options(broker: &TestBroker) -> MqttOptions {
    let mut options = MqttOptions::new("plant", "127.0.0.1", broker.port());
    options.set_keep_alive(Duration::from_secs(30));
    options
}

/// Runs a script beside the loop, which ends with the broker when the script does.
pub(crate) fn beside<R>(
    broker: &TestBroker,
    options: MqttOptions,
    script: impl FnOnce(&Client, &Receiver<Event>) -> R,
) -> R {
    /// Ends the loop also when the script panics: the scope waits for it.
    struct End<'a>(&'a AtomicBool, &'a TestBroker);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
            self.1.stop();
        }
    }

    let (client, mut connection) = Client::new(options, 100);
    let (sink, events) = unbounded();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&is_over, broker);
        scope.spawn(|| {
            for event in connection.iter() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                // An error is followed by the next attempt, as in rumqttc's own examples.
                if let Ok(event) = event {
                    let _ = sink.send(event);
                }
            }
        });
        script(&client, &events)
    })
}

/// Waits for an event of the loop; passes over those before it.
pub(crate) fn wait_for_event(events: &Receiver<Event>, is_meant: impl Fn(&Event) -> bool) -> Event {
    loop {
        match events.recv_timeout(PATIENCE) {
            Ok(event) if is_meant(&event) => return event,
            Ok(_) => {}
            Err(error) => panic!("the event did not come: {error}"),
        }
    }
}
