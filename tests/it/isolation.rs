//! Isolation: while one client of fifty is attacked in every way, the other forty-nine lose nothing, stay
//! connected, and are as quick as before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientReport, ClientSpec, Fleet, Outcome, QoS, Retry};

use crate::support::attacks::{ATTACKS, Hook, Panics, VICTIM, Victim};
use crate::support::crowd::{Crowd, Trip, with_crowd};
use crate::support::fleet::{PATIENCE, quick};
use crate::support::proc::wait_until;

/// How long each attack lasts, and each undisturbed run.
const TIME: Duration = Duration::from_millis(500);

/// What else runs on the machine may come in the middle of a run. What an attack does, it does each time.
const TRIES: usize = 3;

/// Fails if what is done to one client delays another one's messages or keep alives, costs it a message or
/// its connection, or holds up a pub function of the other publisher thread.
#[test]
fn one_of_fifty_is_attacked() {
    let (calm_broker, broker) = (TestBroker::start().unwrap(), TestBroker::start().unwrap());
    let (handler, handler_hangs, handler_trap) = Hook::new();
    let (pub_function, pub_hangs, pub_trap) = Hook::new();
    let panics = Panics::default();
    let (handler_panics, pub_panics) = (
        Arc::clone(&panics.handler),
        Arc::clone(&panics.pub_function),
    );
    let victim = ClientSpec::new(VICTIM, broker.url())
        .client_id(VICTIM)
        .keep_alive(Duration::from_secs(1))
        .connect_timeout(Duration::from_secs(1))
        .outbox_capacity(20)
        .retry(quick(Retry::forever()))
        .subscribe("victim/#", QoS::AtLeastOnce)
        .on_message("victim/#", move |_, _| {
            if handler_hangs.load(Ordering::SeqCst) {
                handler_trap.hang();
            }
            Panics::maybe(&handler_panics);
            Ok(())
        })
        .publish_every(Duration::from_millis(5), move |_| {
            if pub_hangs.load(Ordering::SeqCst) {
                pub_trap.hang();
            }
            Panics::maybe(&pub_panics);
            Ok(())
        });
    // Next to the victim: on the other publisher thread.
    let ticking = ClientSpec::new("ticking", calm_broker.url())
        .publish_every(Duration::from_millis(5), |_| Ok(()));
    // A share of four QoS 0 messages for each.
    let builder = Fleet::builder()
        .clients([victim, ticking])
        .queue_capacity(200)
        .workers(2)
        .publishers(2);
    let (builder, arrivals) = with_crowd(builder, &calm_broker);
    let fleet = builder.start().unwrap();
    let mut crowd = Crowd::new(&fleet, arrivals);
    let victim = Victim {
        broker,
        client: fleet.client(VICTIM).unwrap(),
        handler,
        pub_function,
        panics,
    };
    let ticking = fleet.client("ticking").unwrap();
    victim.recover();
    let (_over, over) = bounded(0);
    let mut undisturbed = crowd.exchange(TIME, Trip::Handled, &over);
    undisturbed.print("undisturbed");
    let mut attacks = ATTACKS.iter().map(|attack| (attack, 1)).collect::<Vec<_>>();
    attacks.reverse();
    while let Some((attack, tries)) = attacks.pop() {
        let (counts, ticks) = (victim.client.stats(), ticking.stats().ticks);
        (attack.begin)(&victim);
        let (end, ended) = bounded::<()>(0);
        let trips = thread::scope(|scope| {
            let victim = &victim;
            scope.spawn(move || {
                let pause = Duration::from_millis(2);
                while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    (attack.again)(victim);
                }
            });
            // Moved here: an assertion that fails ends the attack too.
            let _end = end;
            let trips = crowd.exchange(TIME, attack.trip, &over);
            // While the attack lasts, however late a busy machine is.
            wait_until(attack.name, PATIENCE, || ticking.stats().ticks > ticks + 10);
            trips
        });
        trips.print(attack.name);
        (attack.end)(&victim, &counts);
        crowd.catch_up();
        victim.recover();
        if !trips.is_as_in(&undisturbed) {
            assert!(tries < TRIES, "{}: {:?}", attack.name, trips.quantile(99));
            // As busy as the machine is now.
            undisturbed = crowd.exchange(TIME, Trip::Handled, &over);
            undisturbed.print("undisturbed");
            attacks.push((attack, tries + 1));
        }
    }
    crowd.assert_undisturbed(&calm_broker);
    let report = fleet.stop(PATIENCE);
    assert!(report.abandoned().is_empty(), "{report}");
    // The victim, too: it was attacked, and never gave up.
    let all = report.clients().iter();
    assert!(
        all.map(ClientReport::outcome)
            .all(|it| *it == Outcome::Stopped)
    );
}

/// Fails if a name that does not resolve, looked up again and again, delays another client.
#[test]
fn the_name_of_one_of_fifty_does_not_resolve() {
    assert!((0..TRIES).any(|_| are_quick_beside_a_name_that_does_not_resolve()));
}

fn are_quick_beside_a_name_that_does_not_resolve() -> bool {
    let broker = TestBroker::start().unwrap();
    let nowhere =
        ClientSpec::new("nowhere", "mqtt://no-such-host.invalid").retry(quick(Retry::forever()));
    let builder = Fleet::builder().client(nowhere).workers(2);
    let (builder, arrivals) = with_crowd(builder, &broker);
    let fleet = builder.start().unwrap();
    let mut crowd = Crowd::new(&fleet, arrivals);
    let (_over, over) = bounded(0);
    let trips = crowd.exchange(TIME, Trip::Handled, &over);
    trips.print("its name does not resolve");
    let nowhere = fleet.client("nowhere").unwrap();
    assert_eq!((nowhere.stats().connects, nowhere.outcome()), (0, None));
    nowhere.stop();
    // A look-up under way ends when the name service gives up.
    nowhere.wait_ended(Duration::from_secs(60)).unwrap();
    let after = crowd.exchange(TIME, Trip::Handled, &over);
    after.print("undisturbed");
    crowd.assert_undisturbed(&broker);
    trips.is_as_in(&after)
}
