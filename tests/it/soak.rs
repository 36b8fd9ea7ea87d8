//! Long churn, and nothing grows. Five seconds as it stands; longer by
//! `SOAK_SECONDS=600 cargo test --release --all-features --test it soak:: -- --nocapture`

use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, PublishErrorKind, QoS, Session};

use crate::support::chaos::{Plan, faults};
use crate::support::proc::{alone, open_descriptors, resident_bytes, thread_count, wait_until};
use crate::support::receiving::tireless;

const CLIENTS: usize = 30;
const PUBLISHERS: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(60);
/// Between the most of the second quarter and the most of the last one: what is in flight comes and goes,
/// and an allocator gives back late.
const GROWTH: u64 = 8 * 1024 * 1024;

fn seconds() -> u64 {
    let text = std::env::var("SOAK_SECONDS").ok();
    text.map_or(5, |text| text.parse().expect("it is a number"))
}

fn name(n: u64) -> String {
    format!("soak-{n}")
}

fn specs(broker: &TestBroker) -> Vec<ClientSpec> {
    let spec = |i: usize| {
        let session = [Session::Clean, Session::Kept][i % 2];
        let name = name(i as u64);
        ClientSpec::new(&name, broker.url())
            .client_id(&name)
            .session(session)
            .retry(tireless())
            .window(20)
            .outbox_capacity(100)
            .subscribe("down/{name}/#", QoS::ExactlyOnce)
    };
    (0..CLIENTS).map(spec).collect()
}

/// Publishes in both directions, subscribes and unsubscribes, until the plan is over.
fn traffic(plan: &Plan, broker: &TestBroker, fleet: &Fleet, thread: u64) {
    let mut dice = plan.dice(10 + thread);
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    while plan.goes_on() {
        let name = name(dice.below(CLIENTS as u64));
        let client = fleet.client(&name).unwrap();
        let qos = qos[dice.below(3) as usize];
        let payload = vec![b'x'; dice.below(2_000) as usize];
        match dice.below(20) {
            0 => client
                .subscribe(format!("extra/{}", dice.below(4)), qos)
                .unwrap(),
            // One that was never subscribed to is an error, and most are not at any time.
            1 => drop(client.unsubscribe(format!("extra/{}", dice.below(4)))),
            2..=8 => broker
                .publish(
                    format!("down/{name}/{}", dice.below(9)),
                    qos,
                    false,
                    payload,
                )
                .unwrap(),
            _ => {
                let topic = format!("extra/{}", dice.below(4));
                if let Err(error) = client.try_publish(topic, qos, false, payload) {
                    assert_eq!(error.kind(), PublishErrorKind::Full, "{error}");
                }
            }
        }
        if dice.below(10) == 0 {
            plan.pause(&mut dice, 5);
        }
    }
}

/// The most memory in each quarter of the time. The books balance all the while.
fn watch(plan: &Plan, fleet: &Fleet, begun: Instant) -> [u64; 4] {
    let mut dice = plan.dice(3);
    let mut most = [0; 4];
    while plan.goes_on() {
        let share = begun.elapsed().as_secs_f64() / seconds() as f64;
        let quarter = ((share * 4.0) as usize).min(3);
        most[quarter] = resident_bytes().max(most[quarter]);
        let total = fleet.stats().published;
        assert!(total.balances(), "{total:?}");
        plan.pause(&mut dice, 100);
    }
    most
}

/// Fails if anything that comes and goes leaves something behind: memory, a descriptor or a thread; if a
/// message is lost from the books; or if a client does not come back.
#[test]
fn churn_leaves_nothing_behind() {
    alone("soak::churn_leaves_nothing_behind", || {
        let before = (thread_count(), open_descriptors());
        let broker = TestBroker::start().unwrap();
        // It would be what grows.
        broker.record(false);
        let fleet = Fleet::builder()
            .clients(specs(&broker))
            .workers(2)
            .on_message("down/#", |message, _clients| {
                match message.payload().len() % 50 {
                    7 => Err("now and then".into()),
                    _ => Ok(()),
                }
            })
            .start()
            .unwrap();
        fleet.wait_subscribed(PATIENCE).unwrap();
        broker.wait_connected(CLIENTS, PATIENCE).unwrap();
        let running = (thread_count(), open_descriptors());

        let begun = Instant::now();
        let (_over, over) = bounded(0);
        let plan = Plan {
            seed: 4,
            until: begun + Duration::from_secs(seconds()),
            loses_sessions: true,
            over,
        };
        let names: Vec<String> = (0..CLIENTS as u64).map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let most = std::thread::scope(|scope| {
            for thread in 0..PUBLISHERS {
                let (plan, broker, fleet) = (&plan, &broker, &fleet);
                scope.spawn(move || traffic(plan, broker, fleet, thread));
            }
            scope.spawn(|| faults(&plan, &broker, &names));
            watch(&plan, &fleet, begun)
        });

        let stats = || fleet.stats();
        wait_until("all is sent", PATIENCE, || {
            stats().published.in_progress == 0
        });
        fleet.wait_subscribed(PATIENCE).unwrap();
        wait_until("as many threads and descriptors", PATIENCE, || {
            (thread_count(), open_descriptors()) == running
        });
        let kibibytes = most.map(|bytes| bytes / 1024);
        println!(
            "{} s; most memory by quarter, KiB: {kibibytes:?}",
            seconds()
        );
        println!("threads and descriptors, as at the start: {running:?}");
        println!("{:?}", stats());
        assert!(most[3] <= most[1] + GROWTH, "{kibibytes:?}");
        let stats = stats();
        assert!(stats.losses > 0 && stats.handled > 0 && stats.handler_errors > 0);

        let report = fleet.stop(PATIENCE);
        assert!(report.abandoned().is_empty(), "{report}");
        drop(broker);
        wait_until("nothing is left", PATIENCE, || {
            (thread_count(), open_descriptors()) == before
        });
    });
}
