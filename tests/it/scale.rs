//! What a client costs, and how many of them behave together. Small as it stands; in full by
//! `SCALE_CLIENTS=4500 cargo test --release --all-features --test it scale:: -- --nocapture --test-threads=1`

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use mqtt_fleet::{ClientSpec, ClientState, Fleet, FleetBuilder, QoS, Retry, StateChanges};

use crate::support::proc::{
    alone, cpu_time, holds_within, open_descriptors, resident_bytes, thread_count,
};
use crate::support::remote::RemoteBroker;
use crate::support::scale::{clients, is_full, most_within};

const DESCRIPTORS: usize = 4;
const WORKERS: usize = 2;
/// Clients of a first fleet.
const WARM: usize = 4;
/// Beyond n / rate.
const SLACK: Duration = Duration::from_secs(5);

/// `promised` in the full form, and much more in the small one.
fn bound(promised: Duration) -> Duration {
    match is_full() {
        true => promised,
        false => promised + Duration::from_secs(20),
    }
}

/// Memory of a client, and what a look-up of its name or a second connection may have touched beyond
/// it. What it is made of is in docs/OPERATIONS.md: with TLS or WebSocket built in, rumqttc's connect
/// takes more of the stack, whatever the transport.
fn memory_bound(more: Touched) -> u64 {
    let heavy = cfg!(any(feature = "tls", feature = "websocket"));
    let bound = match (cfg!(debug_assertions), heavy) {
        (true, true) => 288,
        (true, false) => 160,
        (false, true) => 160,
        // In a small fleet the pages of the program itself, touched for the first time, weigh more.
        (false, false) if !is_full() => 80,
        (false, false) => 64,
    };
    let more = match more {
        Touched::Connection => 0,
        Touched::NameOrReconnect => 8,
    };
    (bound + more) * 1024
}

/// What a client has done.
#[derive(Debug, Clone, Copy)]
enum Touched {
    Connection,
    NameOrReconnect,
}

/// The window of each client: rumqttc has two slots of 64 bytes for each message in it.
fn window() -> u16 {
    let text = std::env::var("SCALE_WINDOW").ok();
    text.map_or(100, |text| text.parse().expect("it is a number"))
}

/// What this process has.
#[derive(Debug, Clone, Copy)]
struct Costs {
    threads: usize,
    descriptors: usize,
    bytes: u64,
}

fn costs() -> Costs {
    Costs {
        threads: thread_count(),
        descriptors: open_descriptors(),
        bytes: resident_bytes(),
    }
}

/// A running fleet of `n` clients, and what it was before.
struct Scale {
    n: usize,
    before: Costs,
    broker: RemoteBroker,
    fleet: Fleet,
    states: StateChanges,
    handled: Receiver<String>,
}

impl Scale {
    /// Starts the fleet.
    fn new(test: &str, host: &str, set: impl FnOnce(FleetBuilder) -> FleetBuilder) -> Scale {
        let n = clients();
        let broker = RemoteBroker::start(test);
        // Code that was never run is not in memory, and it is no client that costs it.
        let warm = Fleet::builder()
            .clients(ClientSpec::new("warm-{i}", broker.url(host)).times(WARM))
            .start()
            .unwrap();
        warm.wait_connected(SLACK).unwrap();
        drop(warm);
        let before = costs();
        let (tx, handled) = unbounded();
        // The pauses are the defaults; attempts without end, because a broker with thousands of
        // connections takes its time to go down and come up.
        let spec = ClientSpec::new("scale-{i}", broker.url(host))
            .retry(Retry::forever())
            .window(window())
            .subscribe("to/{name}", QoS::AtLeastOnce);
        let builder = Fleet::builder()
            .clients(spec.times(n))
            .workers(WORKERS)
            .on_message("to/+", move |message, _clients| {
                tx.send(message.topic().to_owned())?;
                Ok(())
            });
        let fleet = set(builder).start().unwrap();
        let states = fleet.states();
        Scale {
            n,
            before,
            broker,
            fleet,
            states,
            handled,
        }
    }

    /// Waits until so many clients in all have announced that they are connected.
    fn wait_connects(&self, n: usize, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut connected = 0;
        while connected < n {
            let left = deadline.saturating_duration_since(Instant::now());
            let change = self.states.recv_timeout(left);
            let change = change.unwrap_or_else(|_| panic!("{connected} of {n} within {timeout:?}"));
            connected += usize::from(matches!(change.state(), ClientState::Connected { .. }));
        }
    }

    /// Threads, descriptors and memory of each client are what is promised.
    fn check_costs(&self, when: &str, touched: Touched) {
        let count = self.fleet.threads();
        assert_eq!(count.total(), self.n + WORKERS + 1, "{count:?}");
        let now = costs();
        // The caller is in the count, and was there before.
        let threads = now.threads - self.before.threads + 1;
        assert_eq!(threads, count.total(), "{when}: the system's list");
        let descriptors = now.descriptors - self.before.descriptors;
        assert!(descriptors <= DESCRIPTORS * self.n, "{when}: {descriptors}");
        let bytes = now.bytes.saturating_sub(self.before.bytes) / self.n as u64;
        println!(
            "{when}: {} clients, {threads} threads, {descriptors} descriptors, {:.1} KiB a client",
            self.n,
            bytes as f64 / 1024.0
        );
        assert!(
            bytes <= memory_bound(touched),
            "{when}: {bytes} bytes a client"
        );
    }

    /// A message to each client is handled.
    fn check_messages(&mut self) {
        self.broker.publish_to_each("scale", self.n);
        let mut topics: Vec<String> = (0..self.n)
            .map(|_| self.handled.recv_timeout(bound(Duration::from_secs(10))))
            .collect::<Result<_, _>>()
            .expect("each message is handled");
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), self.n, "one to each");
    }

    /// All end within a second, and nothing is left.
    fn stop(self) {
        let begun = Instant::now();
        // Later than promised, so that a late stop is seen as that and not as abandoned threads.
        let report = self.fleet.stop(Duration::from_secs(20));
        let took = begun.elapsed();
        println!("stop: {took:?}");
        assert!(report.abandoned().is_empty(), "{report}");
        // One second is promised where the broker does not use up the processors at the same moment,
        // as this one does with its threads: see scale_pace.rs.
        assert!(took <= bound(Duration::from_secs(3)), "{took:?}");
        // A joined thread may still be in the system's list for a moment.
        let gone = holds_within(Duration::from_secs(10), || {
            let now = costs();
            now.threads == self.before.threads && now.descriptors == self.before.descriptors
        });
        assert!(gone, "{:?} became {:?}", self.before, costs());
    }
}

/// Not many more CONNECTs in a second than the rate allows, as a broker sees them whose threads run late
/// themselves: what it reads late, it reads together with what is on time. Without a rate there would be several
/// times as many. That never more are let go is shown in scale_pace.rs.
fn check_rate(times: &[Duration], rate: usize, when: &str) {
    let most = most_within(times, Duration::from_secs(1));
    println!("{when}: at most {most} CONNECTs in a second, rate {rate}");
    let late = rate / 2;
    assert!(most <= rate + late, "{when}: {most}");
}

/// Fails if a client costs more threads, descriptors or memory than is promised, if any of them is not
/// served, if they are busy while nothing happens, if they connect faster than `connect_rate`, at start or
/// after an outage, or slower than it allows, or if they do not stop in a second.
#[test]
fn many_clients_cost_what_is_promised_and_keep_to_the_rate() {
    let test = "scale::many_clients_cost_what_is_promised_and_keep_to_the_rate";
    alone(test, || {
        let rate = if is_full() { 500 } else { 150 };
        let mut scale = Scale::new(test, "127.0.0.1", |it| it.connect_rate(rate));
        let in_time = Duration::from_secs(clients() as u64) / rate + SLACK;
        let begun = Instant::now();
        scale.fleet.wait_subscribed(bound(in_time)).unwrap();
        println!("start: all subscribed after {:?}", begun.elapsed());
        let rate = rate as usize;
        let first = scale.broker.connects().split_off(WARM);
        assert_eq!(first.len(), scale.n);
        check_rate(&first, rate, "start");
        scale.check_costs("connected", Touched::Connection);
        scale.check_messages();
        if is_full() {
            idle();
        }

        scale.wait_connects(scale.n, SLACK);
        let begun = Instant::now();
        scale.broker.restart();
        let listening = Instant::now();
        scale.wait_connects(scale.n, bound(in_time));
        println!(
            "restart: {:?}, all back after {:?} more",
            listening - begun,
            listening.elapsed()
        );
        scale.fleet.wait_subscribed(bound(SLACK)).unwrap();
        let all = scale.broker.connects();
        check_rate(&all[WARM + first.len()..], rate, "restart");
        scale.check_messages();
        scale.check_costs("after the restart", Touched::NameOrReconnect);
        scale.stop();
    });
}

/// Ten seconds in which nothing happens but keep alives.
fn idle() {
    const IDLE: Duration = Duration::from_secs(10);
    let before = cpu_time();
    let (_never, nothing) = crossbeam_channel::bounded::<()>(0);
    let _ = nothing.recv_timeout(IDLE);
    let share = (cpu_time() - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    println!("idle: {share:.1} % of one processor");
    assert!(share <= 5.0, "{share} %");
}

/// Fails if all clients of a fleet without a rate come back in one wave after a broker's restart, if any
/// does not come back, or if a name costs more than an address.
#[test]
fn without_a_rate_the_jitter_spreads_them_and_a_name_costs_the_same() {
    let test = "scale::without_a_rate_the_jitter_spreads_them_and_a_name_costs_the_same";
    alone(test, || {
        let mut scale = Scale::new(test, "localhost", |it| it);
        let patience = Duration::from_secs(60);
        scale.fleet.wait_subscribed(patience).unwrap();
        scale.check_costs("by name", Touched::NameOrReconnect);
        scale.check_messages();
        scale.wait_connects(scale.n, SLACK);
        let first = scale.broker.connects().len();
        scale.broker.restart();
        let begun = Instant::now();
        scale.wait_connects(scale.n, patience);
        println!("no rate: all back after {:?}", begun.elapsed());
        scale.fleet.wait_subscribed(patience).unwrap();
        let all = scale.broker.connects();
        let most = most_within(&all[first..], Duration::from_millis(100));
        let share = most as f64 / scale.n as f64 * 100.0;
        println!("no rate: at most {share:.0} % of the CONNECTs in 100 ms");
        assert!(share <= 70.0, "{share} %");
        scale.check_messages();
        scale.check_costs("by name, after the restart", Touched::NameOrReconnect);
        scale.stop();
    });
}
