//! Bounded retry: as many attempts for each outage as the policy says, and no more.

use std::io;
use std::time::Duration;

use mqtt_fleet::testing::{ConnectReply, Sessions, TestBroker};
use mqtt_fleet::{Cause, ClientSpec, ClientState, Outcome, QoS, Retry};

use crate::support::fleet::{
    PATIENCE, ended, outcome_of, quick, quick_retry, spec, start, wait_connects,
};
use crate::support::proc;

/// Fails if an attempt is made too many or too few, counted wrongly, announced out of order or without
/// its cause, or if a pause exceeds its ceiling.
#[test]
fn a_refused_port_is_tried_three_times_and_each_attempt_is_announced() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let (shortest, longest) = (Duration::from_millis(40), Duration::from_millis(60));
    let retry = Retry::attempts(3).pause(shortest..=longest);
    let fleet = start([spec("unreached", &broker).retry(retry)]);

    let changes: Vec<_> = fleet.states().iter().collect();
    let refused = |cause: &Cause| {
        let kind = io::ErrorKind::ConnectionRefused;
        matches!(cause, Cause::Connect { address, kind: is, .. }
            if *address == broker.addr().to_string() && *is == kind)
    };
    let told: Vec<_> = changes
        .iter()
        .map(|change| match change.state() {
            ClientState::Connecting { attempt, of } => format!("connecting {attempt} of {of:?}"),
            ClientState::AttemptFailed { attempt, of, cause } if refused(cause) => {
                format!("failed {attempt} of {of:?}")
            }
            ClientState::Ended {
                outcome:
                    Outcome::RetriesExhausted {
                        attempts,
                        last_error,
                    },
            } if refused(last_error) => format!("gave up after {attempts}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "connecting 1 of Some(3)",
            "failed 1 of Some(3)",
            "connecting 2 of Some(3)",
            "failed 2 of Some(3)",
            "connecting 3 of Some(3)",
            "failed 3 of Some(3)",
            "gave up after 3",
        ]
    );
    assert!(changes[1..].iter().all(|change| change.cause().is_some()
        || matches!(change.state(), ClientState::Connecting { .. })));

    // Twice the shortest pause is above the longest.
    let took = changes[6].at() - changes[0].at();
    let margin = Duration::from_secs(1);
    assert!(took <= longest * 2 + margin, "{took:?}");
    assert!(took >= shortest * 2, "{took:?}");
    let stats = fleet.stats();
    assert_eq!((stats.connects, stats.failed_attempts), (0, 3));
}

/// Fails if a pause may be shorter than the shortest one: with pauses from zero on, 91 of 200 clients gave
/// up while their broker was away for 2 s.
#[test]
fn with_the_default_retry_no_client_ends_for_a_restart_of_three_seconds() {
    let broker = TestBroker::start().unwrap();
    let client = |i: usize| {
        let name = format!("default-{i}");
        let spec = ClientSpec::new(&name, broker.url()).client_id(&name);
        match i % 2 {
            // The loss is the first of its three attempts.
            0 => spec,
            // The loss is that of a stable connection.
            _ => spec.retry(Retry::default().stable_after(Duration::ZERO)),
        }
    };
    let fleet = start((0..200).map(client));
    fleet.wait_connected(PATIENCE).unwrap();
    broker.stop();
    fleet.wait_ended(Duration::from_secs(3)).unwrap_err();
    broker.restart(Sessions::Lost).unwrap();
    fleet.wait_connected(PATIENCE).unwrap();
    assert_eq!(fleet.threads().clients(), 200);
    assert_eq!(fleet.stats().losses, 200);
    fleet.stop(PATIENCE);
}

/// Fails if a pause is shorter than the shortest one or than half of its upper bound: after a refused
/// connect, and after the loss of a stable connection.
#[test]
fn no_pause_is_shorter_than_the_shortest_one() {
    let broker = TestBroker::start().unwrap();
    let shortest = Duration::from_millis(60);
    let retry = Retry::attempts(4).pause(shortest..=shortest * 3);
    let specs = (0..10).map(|i| {
        spec(&format!("pausing-{i}"), &broker).retry(retry.clone().stable_after(Duration::ZERO))
    });
    let fleet = start(specs);
    fleet.wait_connected(PATIENCE).unwrap();
    broker.stop();
    let changes: Vec<_> = fleet.states().iter().collect();
    for i in 0..10 {
        let own: Vec<_> = changes
            .iter()
            .filter(|change| change.client() == format!("pausing-{i}"))
            .collect();
        let pauses: Vec<_> = own
            .windows(2)
            .filter(|pair| matches!(pair[1].state(), ClientState::Connecting { .. }))
            .map(|pair| pair[1].at() - pair[0].at())
            .collect();
        // Their upper bounds are 120, then again 120, and then 180 ms.
        let least = [shortest, shortest, shortest * 3 / 2, shortest * 3 / 2];
        assert_eq!(pauses.len(), least.len(), "{own:?}");
        for (pause, least) in pauses.iter().zip(least) {
            assert!(*pause >= least, "{pause:?} < {least:?}");
        }
    }
}

/// Fails if the client pauses although nothing follows the pause.
#[test]
fn no_pause_follows_the_last_attempt() {
    let broker = TestBroker::start().unwrap();
    broker.stop();
    let hours = Duration::from_secs(360_000);
    let outcome =
        outcome_of(spec("single", &broker).retry(Retry::attempts(1).pause(hours..=hours)));
    let Outcome::RetriesExhausted { attempts: 1, .. } = outcome else {
        panic!("{outcome:?}");
    };
}

/// Fails if a client without a broker spins: between two attempts, or inside one.
#[test]
fn retrying_for_ever_costs_next_to_no_processor_time() {
    proc::alone(
        "retry::retrying_for_ever_costs_next_to_no_processor_time",
        || {
            let broker = TestBroker::start().unwrap();
            broker.stop();
            let pauses = (Duration::from_millis(50), Duration::from_millis(100));
            let retry = Retry::forever().pause(pauses.0..=pauses.1);
            let specs = (0..20).map(|i| spec(&format!("patient-{i}"), &broker));
            let fleet = start(specs.map(|spec| spec.retry(retry.clone())));

            let before = proc::cpu_time();
            fleet.wait_ended(Duration::from_secs(2)).unwrap_err();
            let used = proc::cpu_time() - before;
            let attempts = fleet.stats().failed_attempts;
            assert!(attempts >= 20, "{attempts} attempts of 20 clients");
            // Without pauses there would be tens of thousands, and a single thread that spins
            // within an attempt would use two seconds. What an attempt costs is the machine's.
            assert!(attempts < 5_000, "{attempts} attempts of 20 clients");
            assert!(
                used < Duration::from_secs(1),
                "{used:?} for {attempts} attempts"
            );
            assert_eq!(fleet.threads().clients(), 20);
        },
    );
}

/// Fails if CONNACK alone gives the attempts back: the client would knock at the broker for ever.
#[test]
fn a_broker_that_kicks_after_each_connack_gets_three_connects() {
    let broker = TestBroker::start().unwrap();
    broker.on_connect(ConnectReply::AcceptThenKick);
    let fleet = start([spec("kicked", &broker)]);
    let outcome = ended(&fleet, "kicked");
    let exhausted = Outcome::RetriesExhausted {
        attempts: 3,
        last_error: Cause::Closed,
    };
    assert_eq!(outcome, exhausted);
    let stats = fleet.stats();
    assert_eq!(
        (stats.connects, stats.failed_attempts, stats.losses),
        (3, 3, 3)
    );
    // Its thread has ended with the fleet: what was not seen by now will not come.
    fleet.stop(PATIENCE);
    assert_eq!(broker.connects("kicked"), 3);
}

/// Fails if a lost connection that was stable counts as a failed attempt, or if the failed attempts of one
/// outage still count in the next one.
#[test]
fn a_stable_connection_gives_the_attempts_back() {
    let broker = TestBroker::start().unwrap();
    let retry = quick(Retry::attempts(2)).stable_after(Duration::ZERO);
    let stable = spec("stable", &broker)
        .subscribe("any", QoS::AtLeastOnce)
        .retry(retry);
    let fleet = start([stable]);
    let client = fleet.client("stable").unwrap();
    for n_outages in 0..5 {
        // Two CONNECTs for each outage: the first of them is cut, which is a failed attempt.
        wait_connects(&broker, "stable", 1 + 2 * n_outages);
        client.wait_subscribed(PATIENCE).unwrap();
        broker.cut_after("stable", 1);
        assert!(broker.kick("stable"));
    }
    wait_connects(&broker, "stable", 11);
    client.wait_connected(PATIENCE).unwrap();
    let stats = client.stats();
    assert_eq!((stats.losses, stats.failed_attempts), (5, 5));
}

/// Fails if `stable_after` is not looked at.
#[test]
fn an_unstable_connection_does_not() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("shaky", &broker).retry(quick_retry(2))]);
    kick_twice(&broker, "shaky");
    let Outcome::RetriesExhausted { attempts: 2, .. } = ended(&fleet, "shaky") else {
        panic!("{:?}", fleet.client("shaky"));
    };
    assert_eq!(broker.connects("shaky"), 2);
}

/// Fails if a connection counts as stable before the broker has answered every SUBSCRIBE.
#[test]
fn nor_does_one_whose_subscriptions_were_never_answered() {
    let broker = TestBroker::start().unwrap();
    broker.never_suback(true);
    let retry = quick(Retry::attempts(2)).stable_after(Duration::ZERO);
    let unheard = spec("unheard", &broker)
        .subscribe("any", QoS::AtMostOnce)
        .retry(retry);
    let fleet = start([unheard]);
    kick_twice(&broker, "unheard");
    let Outcome::RetriesExhausted { attempts: 2, .. } = ended(&fleet, "unheard") else {
        panic!("{:?}", fleet.client("unheard"));
    };
    assert_eq!(broker.connects("unheard"), 2);
}

fn kick_twice(broker: &TestBroker, client: &str) {
    for n in 1..=2 {
        wait_connects(broker, client, n);
        // CONNECT is in the record a moment before the connection can be kicked.
        broker.wait_connected(1, PATIENCE).unwrap();
        assert!(broker.kick(client));
    }
}
