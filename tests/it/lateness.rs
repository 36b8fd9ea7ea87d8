//! How late pub functions are called is measured from the moments of the schedule, and nothing is left out.

use std::time::Duration;

use crossbeam_channel::never;
use mqtt_fleet::testing::{Sessions, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, Lateness};

use crate::support::proc::wait_until;
use crate::support::receiving::{PATIENCE, subscribed, tireless};

const INTERVAL: Duration = Duration::from_millis(50);

/// What the slow function takes at each call.
const WORK: Duration = Duration::from_millis(20);

/// Fails when lateness is counted from when the thread was free, and not from when the call was due: then a
/// slow pub function costs its neighbours time that no figure shows. Fails too when the figures of the
/// fleet, the counts of its clients and the report differ.
#[test]
fn what_a_slow_pub_function_costs_the_next_one_is_seen() {
    let broker = TestBroker::start().unwrap();
    let mut n = 0;
    let spec = ClientSpec::new("plant", broker.url())
        .publish_every(INTERVAL, move |_client| {
            n += 1;
            // The fifth call takes so long that calls of both are left out.
            let _ = never::<()>().recv_timeout(if n == 5 { 8 * INTERVAL } else { WORK });
            Ok(())
        })
        .publish_every(INTERVAL, |_client| Ok(()));
    let fleet = subscribed(Fleet::builder().client(spec));
    wait_until("forty calls", PATIENCE, || fleet.lateness().called() >= 40);
    let report = fleet.stop(PATIENCE);
    let (lateness, stats) = (report.lateness(), report.total());
    // The functions are called in turns: every other call has the slow one before it.
    assert!(lateness.quantile(0.75) >= WORK, "{lateness}");
    assert!(lateness.max() >= 7 * INTERVAL, "{lateness}");
    assert!(lateness.missed() >= 6 + 6, "{lateness}");
    assert_eq!(lateness.called(), stats.ticks);
    assert_eq!(lateness.missed(), stats.missed_ticks);
    let line = format!("pub functions: {lateness}\n");
    assert!(report.to_string().contains(&line), "{report}");
}

/// Fails when calls that are left out for want of a connection have no count of their own, or count as late.
#[test]
fn what_an_outage_leaves_out_is_missed_and_not_late() {
    let broker = TestBroker::start().unwrap();
    let spec = ClientSpec::new("plant", broker.url())
        .retry(tireless())
        .publish_every(Duration::from_millis(10), |_client| Ok(()));
    let fleet = subscribed(Fleet::builder().client(spec));
    assert!(format!("{}", Lateness::default()).starts_with("0 called, 0 missed"));
    wait_until("a call", PATIENCE, || fleet.lateness().called() > 0);
    broker.stop();
    let client = fleet.client("plant").unwrap();
    client.wait_disconnected(PATIENCE).unwrap();
    let before = fleet.lateness();
    wait_until("twenty are missed", PATIENCE, || {
        fleet.lateness().since(&before).missed() >= 20
    });
    // One may have been under way.
    assert!(fleet.lateness().since(&before).called() <= 1);
    broker.restart(Sessions::Lost).unwrap();
    wait_until("they are called again", PATIENCE, || {
        fleet.lateness().since(&before).called() >= 3
    });
}
