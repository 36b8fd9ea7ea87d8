//! Many clients against servers that cost next to nothing: the pace of connects, and the end.
//! In full by
//! `SCALE_CLIENTS=4500 cargo test --release --all-features --test it scale -- --nocapture --test-threads=1`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mqtt_fleet::{ClientSpec, Fleet, QoS, Retry};

use crate::support::mosquitto::Mosquitto;
use crate::support::proc::alone;
use crate::support::scale::{clients, is_full, most_within};

/// Beyond n / rate.
const SLACK: Duration = Duration::from_secs(5);
const CONNACK: [u8; 4] = [0x20, 0x02, 0x00, 0x00];

/// A broker that knows CONNECT and nothing else, on one thread, so that no time of its own hides when
/// a CONNECT came.
struct Greeter {
    port: u16,
    came: Receiver<(Instant, TcpStream)>,
}

impl Greeter {
    /// Runs `body` with a greeter beside it.
    fn with(body: impl FnOnce(&Greeter)) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tx, came) = unbounded();
        std::thread::scope(|scope| {
            scope.spawn(move || greet(&listener, &tx));
            // Dropped behind the greeter, also when the body panics.
            let _last = Last(port);
            let greeter = Greeter { port, came };
            body(&greeter);
        });
    }

    /// The moments of the next `n` CONNECTs, and their connections.
    fn wait(&self, n: usize, timeout: Duration) -> (Vec<Instant>, Vec<TcpStream>) {
        let deadline = Instant::now() + timeout;
        let next = |i| {
            self.came
                .recv_deadline(deadline)
                .unwrap_or_else(|_| panic!("{i} of {n} within {timeout:?}"))
        };
        (0..n).map(next).unzip()
    }
}

/// The last connection: it finds that nobody wants to hear of it.
struct Last(u16);

impl Drop for Last {
    fn drop(&mut self) {
        if let Ok(mut last) = TcpStream::connect(("127.0.0.1", self.0)) {
            let _ = last.write_all(&CONNACK);
        }
    }
}

/// Ends when nobody wants to hear of further ones.
fn greet(listener: &TcpListener, came: &Sender<(Instant, TcpStream)>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        // Loopback brings a CONNECT in one piece, right behind the connection.
        if matches!(stream.read(&mut [0; 512]), Ok(1..)) {
            let now = Instant::now();
            let _ = stream.write_all(&CONNACK);
            if came.send((now, stream)).is_err() {
                return;
            }
        }
    }
}

/// Fails when the pace lets more go in a second than the rate, at start or after an outage, when it
/// lets far fewer go, or when the network threads connect at other moments than they were given.
#[test]
fn never_more_connects_in_a_second_than_the_rate() {
    let test = "scale_pace::never_more_connects_in_a_second_than_the_rate";
    alone(test, || Greeter::with(pace));
}

fn pace(greeter: &Greeter) {
    // The greeter's sockets are in this process too, a fifth descriptor for each client.
    let (n, rate) = (clients().min(3_500), if is_full() { 500 } else { 100 });
    let in_time = Duration::from_secs(n as u64) / rate + SLACK;
    // Nothing answers a ping.
    let spec = ClientSpec::new("paced-{i}", format!("mqtt://127.0.0.1:{}", greeter.port))
        .keep_alive(Duration::from_secs(600))
        .retry(Retry::forever());
    let fleet = Fleet::builder()
        .clients(spec.times(n))
        .connect_rate(rate)
        .start()
        .unwrap();
    let (start, connections) = greeter.wait(n, in_time);
    check("start", &start, rate);
    // All at once: a broker's end.
    drop(connections);
    let (again, connections) = greeter.wait(n, in_time);
    // Both together: the second wave begins where the first one left off.
    check("outage", &[start, again].concat(), rate);
    drop(fleet);
    drop(connections);
}

/// Fails when those whom a function for credentials has held up connect all at once when it lets them go.
#[test]
fn not_even_when_all_were_held_up_by_a_function() {
    let test = "scale_pace::not_even_when_all_were_held_up_by_a_function";
    alone(test, || {
        Greeter::with(|greeter| {
            let (n, rate) = (200, 100);
            let (hold, held) = bounded::<()>(0);
            let (asked, asking) = unbounded();
            let spec = ClientSpec::new("held-{i}", format!("mqtt://127.0.0.1:{}", greeter.port))
                .keep_alive(Duration::from_secs(600))
                .retry(Retry::forever())
                .credentials_with(move || {
                    let _ = asked.send(());
                    let _ = held.recv();
                    Ok(("user".to_owned(), "password".to_owned()))
                });
            let fleet = Fleet::builder()
                .clients(spec.times(n))
                .connect_rate(rate)
                .start()
                .unwrap();
            for _ in 0..n {
                asking.recv_timeout(4 * SLACK).unwrap();
            }
            drop(hold);
            let (times, connections) = greeter.wait(n, 4 * SLACK);
            check("held up", &times, rate);
            drop(fleet);
            drop(connections);
        });
    });
}

fn check(when: &str, times: &[Instant], rate: u32) {
    let first = times[0];
    let times: Vec<Duration> = times.iter().map(|at| *at - first).collect();
    let most = most_within(&times, Duration::from_secs(1));
    let (rate, all) = (rate as usize, times.len());
    println!("{when}: at most {most} of {all} in a second, rate {rate}");
    // What the system lets wait between the permission and the packet arrives with what is on time.
    assert!(most <= rate + rate / 20, "{when}: {most}");
    assert!(most >= rate / 2, "{when}: {most}");
}

/// Fails when an end takes longer than a second, leaves anybody behind, or takes the broker for lost.
#[test]
fn a_fleet_on_mosquitto_stops_in_a_second() {
    alone("scale_pace::a_fleet_on_mosquitto_stops_in_a_second", || {
        let Some(mosquitto) = Mosquitto::start() else {
            return;
        };
        let n = clients();
        let spec = ClientSpec::new("end-{i}", mosquitto.url())
            .retry(Retry::forever())
            .subscribe("to/{name}", QoS::AtLeastOnce);
        let fleet = Fleet::builder()
            .clients(spec.times(n))
            .connect_rate(500)
            .start()
            .unwrap();
        fleet
            .wait_subscribed(Duration::from_secs(n as u64) / 500 + 4 * SLACK)
            .unwrap();
        let begun = Instant::now();
        let report = fleet.stop(Duration::from_secs(1));
        let took = begun.elapsed();
        println!("stop of {n}: {took:?}");
        assert!(report.abandoned().is_empty(), "{report}");
        assert!(took <= Duration::from_millis(1_200), "{took:?}");
    });
}
