//! A fleet in some state, stopped, and what is left of it.

use std::any::Any;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, ClientState, Fleet, FleetBuilder, Retry};

use super::fleet::{MARGIN, PATIENCE, next_state, quick};
use super::proc;

const DEADLINE: Duration = Duration::from_secs(1);

/// Of each client: an abandoned connect has to be over by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The name of every client begins with it.
pub(crate) const NAME: &str = "matrix";

/// What a stop may leave behind and has to name then.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Left {
    Nothing,
    /// If it is slower than the deadline, which is about as long as the connect timeout.
    Perhaps(&'static str),
    /// It waits for the test.
    Surely(&'static str),
}

/// What goes on during the stop; the sender tells that it has begun.
pub(crate) type Meanwhile = fn(&Fleet, &TestBroker, Sender<()>);

/// A fleet in the state that it is stopped in.
pub(crate) struct Scene {
    pub(crate) fleet: Fleet,
    pub(crate) left: Left,
    pub(crate) meanwhile: Option<Meanwhile>,
    /// The last that has to hold before the stop.
    pub(crate) is_ready: fn(&Fleet) -> bool,
    /// What the fleet needs, or what stuck functions wait for the end of.
    pub(crate) held: Vec<Box<dyn Any>>,
    /// A peer that goes on as it is until the threads have ended of their own accord.
    pub(crate) peer: Option<Box<dyn Any>>,
}

impl Scene {
    pub(crate) fn new(fleet: Fleet, left: Left) -> Scene {
        Scene {
            fleet,
            left,
            meanwhile: None,
            is_ready: |_| true,
            held: Vec::new(),
            peer: None,
        }
    }
}

/// A client at this broker.
pub(crate) fn client(broker: &TestBroker) -> ClientSpec {
    ClientSpec::new(NAME, broker.url())
        .client_id(NAME)
        .connect_timeout(CONNECT_TIMEOUT)
        .keep_alive(Duration::from_secs(30))
        .retry(quick(Retry::forever()))
}

pub(crate) fn started(builder: FleetBuilder) -> Fleet {
    builder.start().expect("the fleet starts")
}

/// A fleet of one client, which is connected and has its subscriptions.
pub(crate) fn subscribed(builder: FleetBuilder) -> Fleet {
    let fleet = started(builder);
    fleet.wait_subscribed(PATIENCE).expect("it is connected");
    fleet
}

/// Waits until the client has been in a state.
pub(crate) fn wait_state(fleet: &Fleet, is_wanted: fn(&ClientState) -> bool) {
    next_state(&fleet.states(), NAME, is_wanted);
}

/// For a function that is to hang: it tells that it was called, and hangs until the other is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Trap {
    sprung: Sender<()>,
    until: Receiver<()>,
}

/// A trap, how to wait until something is in it, and how to let it go.
pub(crate) fn trap() -> (Trap, Receiver<()>, Sender<()>) {
    let (sprung, is_sprung) = bounded(1_000);
    let (release, until) = bounded(0);
    (Trap { sprung, until }, is_sprung, release)
}

impl Trap {
    pub(crate) fn hang(&self) {
        // Neither fails as long as the test looks on; then it does not matter.
        let _ = self.sprung.try_send(());
        let _ = self.until.recv();
    }

    /// Hangs for so long only.
    pub(crate) fn hang_for(&self, time: Duration) {
        let _ = self.sprung.try_send(());
        let _ = self.until.recv_timeout(time);
    }
}

/// The name of a state, and how a fleet comes into it.
pub(crate) type State = (&'static str, fn(&TestBroker) -> Scene);

/// Stops each fleet of a table and looks for what is left.
pub(crate) fn stop_each(table: &[State]) {
    for (name, build) in table {
        stop(name, *build);
    }
}

fn n_threads() -> usize {
    let names = [NAME, "worker-", "publisher"];
    names.map(proc::threads_named).iter().sum()
}

fn stop(name: &str, build: fn(&TestBroker) -> Scene) {
    let broker = TestBroker::start().expect("the broker starts");
    assert_eq!(n_threads(), 0, "{name}: nobody else has these names");
    let descriptors = proc::open_descriptors();
    let mut scene = build(&broker);
    let (fleet, meanwhile) = (&scene.fleet, scene.meanwhile);
    let begin = thread::scope(|scope| {
        if let Some(meanwhile) = meanwhile {
            let (begun, has_begun) = bounded(1);
            let broker = &broker;
            scope.spawn(move || meanwhile(fleet, broker, begun));
            has_begun.recv_timeout(PATIENCE).expect("it begins");
        }
        proc::wait_until(name, PATIENCE, || (scene.is_ready)(fleet));
        let begin = Instant::now();
        let report = fleet.stop(DEADLINE);
        let took = begin.elapsed();
        println!("{name}: {took:?}, abandoned: {:?}", report.abandoned());
        assert!(took < DEADLINE + MARGIN, "{name}: {took:?}: {report}");
        match (scene.left, report.abandoned()) {
            (Left::Nothing | Left::Perhaps(_), []) => {}
            (Left::Perhaps(named) | Left::Surely(named), [it]) if it.contains(named) => {}
            (left, abandoned) => panic!("{name}: {left:?}: {abandoned:?}\n{report}"),
        }
        if report.abandoned().is_empty() {
            proc::wait_until(name, MARGIN, || n_threads() == 0);
        }
        begin
    });
    // The scope has waited for what went on meanwhile: the stop has ended that too.
    let took = begin.elapsed();
    assert!(took < DEADLINE + MARGIN * 2, "{name}: {took:?}");
    let connects = broker.connects_total();
    broker.clear_faults();
    scene.held.clear();
    let gone = CONNECT_TIMEOUT + MARGIN;
    proc::wait_until(&format!("{name}: no thread"), gone, || n_threads() == 0);
    scene.peer = None;
    // A silent one, and one that is not read, would keep the broker's end.
    broker.kick_all();
    proc::wait_until(&format!("{name}: no descriptor"), gone, || {
        proc::open_descriptors() <= descriptors
    });
    assert_eq!(broker.connects_total(), connects, "{name}: CONNECTs");
    for client in scene.fleet.clients().iter() {
        let ledger = client.ledger();
        assert!(ledger.balances(), "{name}: {ledger:?}");
        assert_eq!(ledger.in_progress, 0, "{name}: {ledger:?}");
    }
}
