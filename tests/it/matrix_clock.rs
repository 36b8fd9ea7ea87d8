//! The fault matrix, at the clock: while a fleet runs, the time of day is set back by an hour, then forward
//! by two, and nothing that waits or is due takes note. `matrix_sides.rs` looks for what would.

use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

use mqtt_fleet::testing::{Packet, PingReply, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, ClientState, Outcome, QoS, Retry};

use crate::support::fleet::{MARGIN, PATIENCE, n_from, next_state, quick_retry, spec};
use crate::support::proc::wait_until;
use crate::support::world::clock;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: i64 = 3_600;
const INTERVAL: Duration = Duration::from_millis(50);

/// Fails if keep alives, pub functions, pauses between attempts, the connect rate, the age of messages or any
/// wait go by the time of day: set back, they would be late by an hour, and set forward, all due at once.
#[test]
fn the_clock_is_set_back_and_forward() {
    let test = "matrix_clock::the_clock_is_set_back_and_forward";
    clock(test, |clock| {
        let broker = TestBroker::start().unwrap();
        let ticking =
            spec("ticking", &broker)
                .keep_alive(SECOND)
                .publish_every(INTERVAL, |client| {
                    client.try_publish("ticks", QoS::AtMostOnce, false, "tick")?;
                    Ok(())
                });
        let silenced = spec("silenced", &broker)
            .keep_alive(SECOND)
            .retry(quick_retry(3));
        // Bound and not listening: nobody else gets the port.
        let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("mqtt://{}", nobody.local_addr().unwrap());
        drop(nobody);
        let pause = 2 * INTERVAL;
        let trying = ClientSpec::new("trying", url)
            .max_age(SECOND)
            .retry(Retry::forever().pause(pause..=pause));
        let fleet = mqtt_fleet::Fleet::builder()
            .clients([ticking, silenced, trying])
            .connect_rate(20)
            .start()
            .unwrap();
        let [ticking, silenced, trying] =
            ["ticking", "silenced", "trying"].map(|name| fleet.client(name).unwrap());
        let states = fleet.states();
        ticking.wait_connected(PATIENCE).unwrap();
        silenced.wait_connected(PATIENCE).unwrap();
        let pings = || n_from(&broker, "ticking", |packet| *packet == Packet::Pingreq);

        for shift in [-HOUR, HOUR] {
            let (true_time, begin) = (SystemTime::now(), Instant::now());
            clock.set(shift);
            let moved = match SystemTime::now().duration_since(true_time) {
                Ok(forward) => forward.as_secs_f64(),
                Err(back) => -back.duration().as_secs_f64(),
            };
            println!("set by {moved:.0} s in {:?}", begin.elapsed());

            let since = Instant::now();
            let before = (
                pings(),
                ticking.stats().ticks,
                trying.stats().failed_attempts,
            );
            wait_until("pings are sent", PATIENCE, || pings() >= before.0 + 2);
            let took = since.elapsed();
            assert!(took < 2 * SECOND + 2 * MARGIN, "{shift}: {took:?}");
            let ticks = ticking.stats().ticks - before.1;
            let due = (took.as_millis() / INTERVAL.as_millis()) as u64;
            assert!(
                (due / 4..=due + 2).contains(&ticks),
                "{shift}: {ticks} of {due}"
            );
            let failed = trying.stats().failed_attempts - before.2;
            // On average one in half a pause; the connect rate bounds them.
            let at_most = took.as_secs() * 20 + 20;
            assert!((3..=at_most).contains(&failed), "{shift}: {failed}");

            let since = Instant::now();
            trying.wait_connected(4 * INTERVAL).unwrap_err();
            let took = since.elapsed();
            assert!(took >= 4 * INTERVAL && took < MARGIN, "{shift}: {took:?}");
            let receipt = trying.try_publish("t", QoS::AtLeastOnce, false, "too old");
            let receipt = receipt.unwrap();
            let since = Instant::now();
            receipt.wait_timeout(PATIENCE).unwrap_err();
            let took = since.elapsed();
            assert!(
                took >= SECOND && took < SECOND + 2 * MARGIN,
                "{shift}: {took:?}"
            );
        }

        // Silent from here on, and the clock goes back while the ping is on its way.
        broker.on_ping_of("silenced", PingReply::Never);
        let before = n_from(&broker, "silenced", |packet| *packet == Packet::Pingreq);
        wait_until("a ping is on its way", PATIENCE, || {
            n_from(&broker, "silenced", |packet| *packet == Packet::Pingreq) > before
        });
        let since = Instant::now();
        clock.set(-HOUR);
        let lost = next_state(&states, "silenced", |state| {
            matches!(state, ClientState::Lost { .. })
        });
        let took = since.elapsed();
        assert_eq!(lost.cause(), Some(&Cause::KeepAlive));
        assert!(took < SECOND + MARGIN, "{took:?}");
        broker.clear_faults();
        silenced.wait_connected(PATIENCE).unwrap();
        assert_eq!(ticking.stats().losses, 0);

        let since = Instant::now();
        let report = fleet.stop(SECOND);
        let took = since.elapsed();
        assert!(took < SECOND + MARGIN, "{took:?}: {report}");
        for client in report.clients() {
            assert_eq!(*client.outcome(), Outcome::Stopped, "{report}");
        }
    });
}
