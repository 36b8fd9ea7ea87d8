//! Several brokers for one client: tried in turn, told apart, and begun anew after a stable connection.

use std::time::Duration;

use mqtt_fleet::testing::{ConnectReply, Packet, Sessions, TestBroker};
use mqtt_fleet::{
    Cause, ClientSpec, ClientState, Fleet, Outcome, Problem, QoS, Refusal, Retry, Session,
    StartError,
};

use crate::support::fleet::{
    PATIENCE, ended, n_from, next_state, quick, quick_retry, start, wait_connects,
};

fn brokers<const N: usize>() -> [TestBroker; N] {
    std::array::from_fn(|_| TestBroker::start().unwrap())
}

fn spec(name: &str, brokers: &[TestBroker]) -> ClientSpec {
    let spec = ClientSpec::new(name, brokers[0].url())
        .client_id(name)
        .retry(quick_retry(3));
    brokers[1..]
        .iter()
        .fold(spec, |spec, broker| spec.or_broker(broker.url()))
}

/// A connection is stable at once.
fn at_once(attempts: u32) -> Retry {
    quick(Retry::attempts(attempts)).stable_after(Duration::ZERO)
}

fn addr(broker: &TestBroker) -> String {
    broker.addr().to_string()
}

/// Fails if the attempts do not go round, if each broker has a count of its own, or if a state does not say
/// which broker it is about.
#[test]
fn the_attempts_go_round_and_are_counted_over_all() {
    let all: [TestBroker; 3] = brokers();
    for broker in &all {
        broker.stop();
    }
    let fleet = start([spec("lost", &all).retry(quick_retry(4))]);
    let changes: Vec<_> = fleet.states().iter().collect();
    let tried: Vec<_> = changes
        .iter()
        .filter_map(|change| match change.state() {
            ClientState::AttemptFailed {
                attempt,
                cause: Cause::Connect { address, .. },
                ..
            } => {
                assert_eq!(change.broker(), address);
                Some((*attempt, address.clone()))
            }
            _ => None,
        })
        .collect();
    let wanted = [&all[0], &all[1], &all[2], &all[0]].map(addr);
    assert_eq!(tried, (1..).zip(wanted).collect::<Vec<_>>());
    let outcome = ended(&fleet, "lost");
    assert!(matches!(
        outcome,
        Outcome::RetriesExhausted { attempts: 4, .. }
    ));
    assert_eq!(fleet.client("lost").unwrap().broker(), addr(&all[0]));
}

/// Fails if the second broker is not used when the first one is away, if it does not get what was published
/// and subscribed, or if the handle and the report do not name it.
#[test]
fn the_second_broker_takes_over() {
    let all: [TestBroker; 2] = brokers();
    all[0].stop();
    let fleet = start([spec("plant", &all).subscribe("in", QoS::AtLeastOnce)]);
    let plant = fleet.client("plant").unwrap();
    let early = plant.publish("out", QoS::AtLeastOnce, false, "1").unwrap();
    early.wait_timeout(PATIENCE).unwrap();
    plant.wait_subscribed(PATIENCE).unwrap();
    assert_eq!(all[1].published("out"), ["1"]);
    assert_eq!(plant.broker(), addr(&all[1]));
    assert!(format!("{plant:?}").contains(&addr(&all[1])));
    all[1].publish("in", QoS::AtLeastOnce, false, "2").unwrap();
    let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!(message.payload(), "2");
    drop(message);
    let report = fleet.stop(PATIENCE);
    assert_eq!(report.client("plant").unwrap().broker(), addr(&all[1]));
    assert!(report.to_string().contains(&addr(&all[1])), "{report}");
}

/// Fails if the loss of a stable connection does not bring the client back to the first broker, or if that of
/// an unstable one does.
#[test]
fn after_a_stable_connection_the_first_is_tried_first() {
    let all: [TestBroker; 3] = brokers();
    all[0].stop();
    let stable = spec("stable", &all).retry(at_once(3));
    let unstable = spec("unstable", &all);
    let fleet = start([stable, unstable]);
    fleet.wait_connected(PATIENCE).unwrap();
    all[0].restart(Sessions::Kept).unwrap();
    for name in ["stable", "unstable"] {
        assert_eq!(all[1].connects(name), 1);
        assert!(all[1].cut(name));
    }
    wait_connects(&all[0], "stable", 1);
    wait_connects(&all[2], "unstable", 1);
    assert_eq!(all[2].connects("stable"), 0);
    assert_eq!(all[0].connects("unstable"), 0);
}

/// Fails if a broker that refused for good is tried again in the same outage, if it ends a client that has
/// another one, or if the client does not end when all of them refused.
#[test]
fn who_refuses_for_good_is_left_out() {
    let all: [TestBroker; 2] = brokers();
    let refused = ConnectReply::Code(Refusal::NotAuthorized.code());
    all[0].on_connect(refused);
    all[1].on_connect_of("away", ConnectReply::Close);
    all[1].on_connect_of("refused", refused);
    let fleet = start([
        spec("away", &all).retry(quick_retry(4)),
        spec("refused", &all).retry(quick_retry(4)),
        spec("served", &all),
    ]);
    let outcome = ended(&fleet, "away");
    assert!(
        matches!(outcome, Outcome::RetriesExhausted { attempts: 4, .. }),
        "{outcome}"
    );
    assert_eq!((all[0].connects("away"), all[1].connects("away")), (1, 3));
    let code = Refusal::NotAuthorized;
    assert_eq!(ended(&fleet, "refused"), Outcome::Refused { code });
    assert_eq!(all[1].connects("refused"), 1);
    let served = fleet.client("served").unwrap();
    served.wait_connected(PATIENCE).unwrap();
    assert_eq!(served.broker(), addr(&all[1]));
}

/// Fails if the credentials of one URL reach another broker, or if those of the spec do not go before.
#[test]
fn each_url_has_its_own_credentials() {
    let login = |user: &str| {
        let builder = TestBroker::builder().login(user, "word");
        builder.start().unwrap()
    };
    let (first, second) = (login("one"), login("two"));
    let at = |user: &str, broker: &TestBroker| format!("mqtt://{user}:word@{}", broker.addr());
    first.on_connect(ConnectReply::Close);
    let own = ClientSpec::new("own", at("one", &first))
        .client_id("own")
        .or_broker(at("two", &second))
        .retry(quick_retry(2));
    let given = ClientSpec::new("given", at("one", &first))
        .client_id("given")
        .or_broker(at("one", &second))
        .credentials("two", "word")
        .retry(quick_retry(2));
    let fleet = start([own, given]);
    fleet.wait_connected(PATIENCE).unwrap();
    assert_eq!(second.connected(), ["given", "own"]);
}

/// Fails if a message that the first broker did not acknowledge is sent to the second one as a repetition of
/// what that one never saw: it may know the identifier from an older session and take it for old.
#[test]
fn what_was_under_way_is_new_to_another_broker() {
    let all: [TestBroker; 2] = brokers();
    let kept = || {
        spec("plant", &all)
            .session(Session::Kept)
            .retry(quick_retry(9))
    };
    // Both have a session of that client.
    for broker in &all {
        let earlier = ClientSpec::new("plant", broker.url())
            .client_id("plant")
            .session(Session::Kept);
        let fleet = start([earlier]);
        fleet.wait_connected(PATIENCE).unwrap();
        fleet.stop(PATIENCE);
    }
    all[0].hold_acks(true);
    let fleet = start([kept()]);
    let plant = fleet.client("plant").unwrap();
    let receipt = plant.publish("out", QoS::ExactlyOnce, false, "1").unwrap();
    let taken = |_: &[_]| n_from(&all[0], "plant", is_publish) == 1;
    all[0].wait_for(taken, PATIENCE).unwrap();
    let states = fleet.states();
    all[0].stop();
    let connected = |state: &ClientState| matches!(state, ClientState::Connected { .. });
    next_state(&states, "plant", connected);
    let again = next_state(&states, "plant", connected);
    let kept_there = ClientState::Connected {
        session_present: true,
    };
    assert_eq!(
        (again.state(), again.broker()),
        (&kept_there, &*addr(&all[1]))
    );
    receipt.wait_timeout(PATIENCE).unwrap();
    assert_eq!(all[1].published("out"), ["1"]);
    let repeated = |packet: &Packet| matches!(packet, Packet::Publish { dup: true, .. });
    assert_eq!(n_from(&all[1], "plant", repeated), 0);
}

fn is_publish(packet: &Packet) -> bool {
    matches!(packet, Packet::Publish { .. })
}

/// Fails if two clients may share an identifier on a broker that is the second one of either, or if a wrong
/// URL among the further ones is not found at the start.
#[test]
fn every_broker_is_checked() {
    let same = |name: &str, broker: &str| ClientSpec::new(name, broker).client_id("same");
    let refused = |specs: [ClientSpec; 2]| {
        let started = Fleet::builder().clients(specs).start();
        match started.unwrap_err() {
            StartError::Client { field, problem, .. } => (field, problem),
            other => panic!("{other}"),
        }
    };
    let shared = refused([
        same("a", "mqtt://one.invalid").or_broker("mqtt://Two.invalid"),
        same("b", "mqtt://three.invalid").or_broker("tcp://two.invalid:1883"),
    ]);
    let duplicate = Problem::Duplicate {
        value: "same".to_owned(),
        other: "a".to_owned(),
    };
    assert_eq!(shared, ("client_id", duplicate));
    let (field, _) = refused([
        same("a", "mqtt://one.invalid"),
        ClientSpec::new("b", "mqtt://two.invalid").or_broker("http://three.invalid"),
    ]);
    assert_eq!(field, "or_broker");
}
