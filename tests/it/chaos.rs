//! Nothing is lost silently, whatever happens: all faults at random, all ways to publish, and the books
//! looked at all the while. `CHAOS_SEEDS` and `CHAOS_SECONDS` make it longer.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};
use mqtt_fleet::testing::{Direction, TestBroker};
use mqtt_fleet::{ClientSpec, Delivery, Fleet, QoS, Replay, Retry, Session};

use crate::support::chaos::{Plan, Sent, auditor, by_receipts, check_end, faults, publisher};
use crate::support::proc::holds_within;
use crate::support::receiving::{Publish, publishes, tireless};

const PATIENCE: Duration = Duration::from_secs(20);

/// Name, session, replay, window, and the quality of service of its birth message.
const DEVICES: [(&str, Session, Replay, u16, QoS); 4] = [
    ("clean", Session::Clean, Replay::Always, 30, QoS::AtMostOnce),
    (
        "clean-once",
        Session::Clean,
        Replay::OnlyWithSession,
        100,
        QoS::AtLeastOnce,
    ),
    ("kept", Session::Kept, Replay::Always, 7, QoS::ExactlyOnce),
    (
        "kept-once",
        Session::Kept,
        Replay::OnlyWithSession,
        40,
        QoS::AtLeastOnce,
    ),
];
const THREADS: u64 = 2;
const RECEIVER: &str = "receiver";

/// All of one run, when it is over.
struct Run {
    broker: TestBroker,
    sent: Vec<Sent>,
    /// How often each payload came to a subscriber whose own connection only restarts of the broker disturbed.
    watched: HashMap<String, usize>,
    /// What came to the receiver, and how much was sent to it at each quality of service.
    received: Receiver<String>,
    n_down: usize,
}

fn number_from(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().expect("it is a number"))
}

fn seeds() -> u64 {
    number_from("CHAOS_SEEDS", 3)
}

fn kept(name: &str, broker: &TestBroker, filter: &str) -> ClientSpec {
    ClientSpec::new(name, broker.url())
        .client_id(name)
        .session(Session::Kept)
        .retry(tireless())
        .subscribe(filter, QoS::ExactlyOnce)
}

fn devices(broker: &TestBroker) -> impl Iterator<Item = ClientSpec> {
    let url = broker.url();
    DEVICES
        .into_iter()
        .map(move |(name, session, replay, window, birth)| {
            ClientSpec::new(name, url.clone())
                .client_id(name)
                .session(session)
                .replay(replay)
                .window(window)
                // Chaos closes on a message as often as it likes.
                .max_closes(0)
                .outbox_capacity(50)
                .birth("births/{name}", birth, false, "online")
                .retry(Retry::forever().pause(Duration::from_millis(1)..=Duration::from_millis(20)))
        })
}

fn run(seed: u64, loses_sessions: bool) -> Run {
    let broker = TestBroker::start().unwrap();
    let (watch_tx, watched) = unbounded();
    let watch = Fleet::builder()
        .client(kept("watch", &broker, "up/#"))
        .on_message("up/#", move |message, _clients| {
            watch_tx.send(message.text().into_owned())?;
            Ok(())
        })
        .start()
        .unwrap();
    let (receive_tx, received) = unbounded();
    let fleet = Fleet::builder()
        .client(kept(RECEIVER, &broker, "down/#"))
        .clients(devices(&broker))
        .workers(2)
        .on_message("down/#", move |message, _clients| {
            receive_tx.send(message.text().into_owned())?;
            Ok(())
        })
        .start()
        .unwrap();
    for fleet in [&watch, &fleet] {
        fleet.wait_subscribed(PATIENCE).unwrap();
    }
    let (_over_tx, over) = bounded(0);
    let seconds = number_from("CHAOS_SECONDS", 1);
    let plan = Plan {
        seed,
        until: Instant::now() + Duration::from_secs(seconds),
        loses_sessions,
        over,
    };
    let (sent, n_down) = std::thread::scope(|scope| {
        let (plan, fleet, broker) = (&plan, &fleet, &broker);
        let mut publishers = Vec::new();
        for (name, ..) in DEVICES {
            let client = fleet.client(name).unwrap();
            for thread in 0..THREADS {
                let client = client.clone();
                publishers.push(scope.spawn(move || publisher(plan, &client, thread)));
            }
        }
        let down = scope.spawn(move || send_down(plan, broker));
        let audit = scope.spawn(move || auditor(plan, fleet));
        let names = DEVICES.map(|(name, ..)| name);
        faults(plan, broker, &[&names[..], &[RECEIVER]].concat());
        assert!(audit.join().unwrap() > 0);
        let sent = publishers.into_iter().flat_map(|it| it.join().unwrap());
        (sent.collect::<Vec<_>>(), down.join().unwrap())
    });
    // What is missing is named by the test.
    holds_within(PATIENCE, || loses_sessions || received.len() >= n_down);
    let report = fleet.stop_draining(PATIENCE);
    assert_eq!(report.abandoned(), [""; 0], "seed {seed}");
    for (name, ..) in DEVICES {
        let ledger = report.client(name).unwrap().stats().published;
        assert!(
            ledger.balances() && ledger.in_progress == 0,
            "seed {seed}: {ledger:?}"
        );
        let expected = by_receipts(sent.iter().filter(|it| it.client == name));
        assert_eq!(ledger, expected, "seed {seed}, {name}");
    }
    println!("seed {seed}: {:?}", report.total());
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut all_came = || {
        for payload in watched.try_iter() {
            *counts.entry(payload).or_default() += 1;
        }
        let mut sure = sent.iter().filter(|it| acknowledged(it));
        loses_sessions || sure.all(|it| counts.contains_key(&it.payload))
    };
    // Before it is told to stop: what was routed may still be on its way. The test names what is missing.
    holds_within(PATIENCE, &mut all_came);
    watch.stop_draining(PATIENCE);
    all_came();
    Run {
        broker,
        sent,
        watched: counts,
        received,
        n_down,
    }
}

/// The broker sends to the receiver, at QoS 2.
fn send_down(plan: &Plan, broker: &TestBroker) -> usize {
    let mut dice = plan.dice(3);
    let mut n = 0;
    while plan.goes_on() {
        let topic = format!("down/{}", dice.below(3));
        broker
            .publish(topic, QoS::ExactlyOnce, false, n.to_string())
            .unwrap();
        n += 1;
        plan.pause(&mut dice, 4);
    }
    n
}

fn acknowledged(sent: &Sent) -> bool {
    sent.receipt.try_result() == Some(Ok(Delivery::Acknowledged))
}

/// What holds whether or not sessions are lost.
fn check_out(run: &Run, seed: u64, loses_sessions: bool) {
    let seen = run.broker.seen();
    for (name, session, replay, ..) in DEVICES {
        let record = publishes(&seen, name, Direction::In);
        let firsts = first_places(&record);
        let of_it: Vec<_> = run.sent.iter().filter(|it| it.client == name).collect();
        let session_dies = session == Session::Clean || loses_sessions;
        for sent in &of_it {
            check_end(sent, session_dies && replay == Replay::OnlyWithSession);
            let was_seen = firsts.contains_key(sent.payload.as_bytes());
            assert!(was_seen || !acknowledged(sent), "seed {seed}: {sent:?}");
        }
        for thread in 0..THREADS {
            let of_thread = of_it.iter().filter(|it| it.thread == thread);
            let places: Vec<_> = of_thread
                .filter_map(|it| firsts.get(it.payload.as_bytes()))
                .collect();
            assert!(places.is_sorted(), "seed {seed}: {name}, thread {thread}");
        }
    }
}

/// Where in the record each payload comes first.
fn first_places(record: &[Publish]) -> HashMap<&[u8], usize> {
    let mut firsts = HashMap::new();
    for (place, publish) in record.iter().enumerate() {
        firsts.entry(&publish.payload[..]).or_insert(place);
    }
    firsts
}

/// Fails when a message that was acknowledged never reached the broker or its subscriber, when a first
/// delivery overtakes another, when the ledger and the receipts differ, when a QoS 2 message comes twice
/// or not at all, either way, or when a message that a kept session protects ends otherwise than
/// acknowledged.
#[test]
fn nothing_is_lost_where_the_broker_keeps_its_sessions() {
    for seed in 1..=seeds() {
        let run = run(seed, false);
        check_out(&run, seed, false);
        for sent in run.sent.iter().filter(|it| acknowledged(it)) {
            let count = run.watched.get(&sent.payload).copied().unwrap_or_default();
            let is_once = sent.qos == QoS::ExactlyOnce && sent.client.starts_with("kept");
            let is_right = if is_once { count == 1 } else { count >= 1 };
            assert!(is_right, "seed {seed}: {count} times {sent:?}");
        }
        let received: Vec<_> = run.received.try_iter().collect();
        let different: HashSet<_> = received.iter().collect();
        assert_eq!(
            (received.len(), different.len()),
            (run.n_down, run.n_down),
            "seed {seed}: QoS 2, received"
        );
    }
}

/// Fails when an acknowledged message never reached the broker, when a first delivery overtakes another,
/// when the ledger and the receipts differ, or when a message that is to be sent again without a session
/// ends otherwise than acknowledged.
#[test]
fn nothing_is_lost_where_the_broker_loses_its_sessions() {
    for seed in 1..=seeds() {
        let run = run(1_000 + seed, true);
        check_out(&run, seed, true);
    }
}
