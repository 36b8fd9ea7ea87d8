//! Many quiet clients that exchange numbered messages while another client is attacked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use mqtt_fleet::testing::{Packet, TestBroker};
use mqtt_fleet::{Client, ClientSpec, Delivery, Fleet, FleetBuilder, QoS};

use super::receiving::{PATIENCE, number};

/// With the one that is attacked, fifty.
const N_CALM: usize = 49;

const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A round begins at most so often.
const PACE: Duration = Duration::from_millis(5);

/// The quiet clients, and what came back to them.
pub(crate) struct Crowd {
    clients: Vec<Client>,
    arrived: Receiver<Arrival>,
    /// The number of the next message that each of them is to get.
    expected: HashMap<String, usize>,
    /// The number of the next round.
    next: usize,
    begin: Instant,
}

#[derive(Debug)]
struct Arrival {
    client: String,
    number: usize,
    at: Instant,
}

/// Until when a round trip is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trip {
    /// The handler has the message.
    Handled,
    /// The publish is acknowledged: the network threads alone.
    Acknowledged,
}

/// The round trips of a time, sorted.
#[derive(Debug)]
pub(crate) struct Trips(Vec<Duration>);

impl Trips {
    pub(crate) fn quantile(&self, per_cent: usize) -> Duration {
        self.0[(self.0.len() - 1) * per_cent / 100]
    }

    pub(crate) fn print(&self, name: &str) {
        println!(
            "{name:32} {:6} round trips, median {:?}, p99 {:?}",
            self.0.len(),
            self.quantile(50),
            self.quantile(99)
        );
    }

    /// Whether the slowest of a hundred is not far slower than in an undisturbed run.
    pub(crate) fn is_as_in(&self, undisturbed: &Trips) -> bool {
        let bound = undisturbed.quantile(99) * 20 + Duration::from_millis(200);
        self.quantile(99) <= bound
    }
}

/// Where the handler of the quiet clients tells what it got.
#[derive(Debug)]
pub(crate) struct Arrivals(Receiver<Arrival>);

/// Adds the quiet clients and their handler. Each lives on a single attempt: a loss would end it.
pub(crate) fn with_crowd(builder: FleetBuilder, broker: &TestBroker) -> (FleetBuilder, Arrivals) {
    let (arrive, arrived) = unbounded();
    let spec = ClientSpec::new("calm-{i}", broker.url())
        .client_id("{name}")
        .keep_alive(KEEP_ALIVE)
        // All of them connect at once, before anything is measured.
        .connect_timeout(PATIENCE)
        .subscribe("calm/{name}", QoS::AtLeastOnce)
        .retry(super::fleet::quick_retry(1));
    let builder =
        builder
            .clients(spec.times(N_CALM))
            .on_message("calm/+", move |message, _clients| {
                arrive.send(Arrival {
                    client: message.client().to_owned(),
                    number: number(message.payload()),
                    at: Instant::now(),
                })?;
                Ok(())
            });
    (builder, Arrivals(arrived))
}

impl Crowd {
    pub(crate) fn new(fleet: &Fleet, arrivals: Arrivals) -> Crowd {
        let calm = fleet
            .clients()
            .iter()
            .filter(|it| it.name().starts_with("calm-"));
        let clients: Vec<Client> = calm.collect();
        for client in &clients {
            client.wait_subscribed(PATIENCE).expect("it is subscribed");
        }
        Crowd {
            expected: clients.iter().map(|it| (it.name().to_owned(), 0)).collect(),
            clients,
            arrived: arrivals.0,
            next: 0,
            begin: Instant::now(),
        }
    }

    /// Exchanges messages for so long, in rounds, of which there are at least ten.
    pub(crate) fn exchange(&mut self, time: Duration, trip: Trip, over: &Receiver<()>) -> Trips {
        let begin = Instant::now();
        let mut trips = Vec::new();
        let mut n_rounds = 0;
        while n_rounds < 10 || begin.elapsed() < time {
            self.round(trip, &mut trips);
            n_rounds += 1;
            // Nothing is ever sent: it is the pace that is set.
            let _ = over.recv_timeout(PACE);
        }
        trips.sort_unstable();
        Trips(trips)
    }

    fn round(&mut self, trip: Trip, trips: &mut Vec<Duration>) {
        let mut sent = HashMap::new();
        let mut receipts = Vec::new();
        for client in &self.clients {
            let (topic, payload) = (format!("calm/{}", client.name()), self.next.to_string());
            let at = Instant::now();
            let receipt = client.publish(topic, QoS::AtLeastOnce, false, payload);
            receipts.push((at, receipt.expect("it is taken")));
            sent.insert(client.name().to_owned(), at);
        }
        self.next += 1;
        for (client, (at, receipt)) in self.clients.iter().zip(receipts) {
            let delivery = receipt.wait_timeout(PATIENCE);
            let outcome = client.outcome();
            assert_eq!(delivery, Ok(Delivery::Acknowledged), "{outcome:?}");
            if trip == Trip::Acknowledged {
                trips.push(at.elapsed());
            }
        }
        if trip == Trip::Handled {
            for _ in 0..self.clients.len() {
                let arrival = self.arrival();
                trips.push(arrival.at - sent[&arrival.client]);
            }
        }
    }

    fn arrival(&mut self) -> Arrival {
        let arrival = self.arrived.recv_timeout(PATIENCE).expect("one comes back");
        let expected = self.expected.get_mut(&arrival.client).expect("it is ours");
        assert_eq!(arrival.number, *expected, "{}", arrival.client);
        *expected += 1;
        arrival
    }

    /// Waits until everything has come back.
    pub(crate) fn catch_up(&mut self) {
        while self.expected.values().any(|it| *it < self.next) {
            self.arrival();
        }
    }

    /// Fails if one of them ever lost its connection, or was not asked for its keep alive.
    pub(crate) fn assert_undisturbed(&self, broker: &TestBroker) {
        // Half of those that are due: a machine that is busy is late with each.
        let at_least = self.begin.elapsed().as_secs() / KEEP_ALIVE.as_secs() / 2;
        let mut pings: HashMap<String, u64> = HashMap::new();
        for seen in broker.seen() {
            if seen.packet == Packet::Pingreq {
                *pings.entry(seen.client).or_default() += 1;
            }
        }
        for client in &self.clients {
            let (name, stats) = (client.name(), client.stats());
            assert_eq!(broker.connects(name), 1, "{name}");
            assert!(client.is_connected(), "{name}: {:?}", client.outcome());
            assert_eq!((stats.connects, stats.losses), (1, 0), "{name}");
            let n_pings = pings.get(name).copied().unwrap_or_default();
            assert!(n_pings >= at_least, "{name}: {n_pings} of {at_least} pings");
        }
    }
}
