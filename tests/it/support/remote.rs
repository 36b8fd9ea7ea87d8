//! A test broker in a process of its own: its threads, memory and processor time are not counted.
//!
//! It is told what to do over a TCP connection, a line for each thing, and ends with that connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use mqtt_fleet::QoS;
use mqtt_fleet::testing::{Direction, Packet, Sessions, TestBroker};

use super::program::Program;

/// The other process, as the test sees it.
#[derive(Debug)]
pub(crate) struct RemoteBroker {
    port: u16,
    lines: BufReader<TcpStream>,
    /// Dropped, and killed, last.
    _program: Program,
}

impl RemoteBroker {
    /// `test` is the full name of the calling test, which the other process runs up to this call.
    pub(crate) fn start(test: &str) -> RemoteBroker {
        let program = Program::role(test, serve);
        program.wait_for("control=", Duration::from_secs(60));
        let output = program.output();
        let port = |key: &str| -> u16 {
            let (_, rest) = output.split_once(key).expect("it is printed");
            let number = rest.split_whitespace().next().expect("a number follows");
            number.parse().expect("it is a port")
        };
        let stream = TcpStream::connect(("127.0.0.1", port("control="))).expect("it listens");
        RemoteBroker {
            port: port("broker="),
            lines: BufReader::new(stream),
            _program: program,
        }
    }

    /// Its URL, by address or by name.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("mqtt://{host}:{}", self.port)
    }

    /// When each CONNECT came, in order, counted from the start of the broker.
    pub(crate) fn connects(&mut self) -> Vec<Duration> {
        let times = self.ask("connects");
        let micros = times.split_whitespace().map(|time| time.parse());
        micros
            .map(|time| Duration::from_micros(time.expect("it is a number")))
            .collect()
    }

    /// Publishes a message with QoS 1 to `to/NAME-i` for each of `n` clients.
    pub(crate) fn publish_to_each(&mut self, name: &str, n: usize) {
        self.ask(&format!("publish {name} {n}"));
    }

    /// Ends all connections and listens again, without sessions.
    pub(crate) fn restart(&mut self) {
        self.ask("restart");
    }

    fn ask(&mut self, question: &str) -> String {
        let stream = self.lines.get_mut();
        writeln!(stream, "{question}").expect("the broker's process listens");
        let mut answer = String::new();
        self.lines
            .read_line(&mut answer)
            .expect("the broker's process answers");
        assert!(answer.ends_with('\n'), "the broker's process has ended");
        answer
    }
}

/// The other process: a broker, until the test goes away.
fn serve() -> i32 {
    let start = Instant::now();
    // It has a descriptor for each client, and systems begin with few.
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit can be raised");
    let broker = TestBroker::start().expect("a broker starts");
    let control = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = control.local_addr().expect("it is bound").port();
    println!("broker={} control={port} ", broker.port());
    let (mut stream, _) = control.accept().expect("the test connects");
    let reading = stream.try_clone().expect("a socket can be shared");
    for line in BufReader::new(reading).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["connects"] => connects(&broker, start),
            ["publish", name, n] => publish_to_each(&broker, name, n),
            ["restart"] => {
                broker.stop();
                broker.restart(Sessions::Lost).expect("its port is kept");
                "done".to_owned()
            }
            _ => panic!("unknown: {line}"),
        };
        writeln!(stream, "{answer}").expect("the test listens");
    }
    0
}

fn connects(broker: &TestBroker, start: Instant) -> String {
    let seen = broker.seen();
    let connects = seen.iter().filter(|seen| {
        seen.direction == Direction::In && matches!(seen.packet, Packet::Connect { .. })
    });
    let times: Vec<String> = connects
        .map(|seen| seen.at.duration_since(start).as_micros().to_string())
        .collect();
    times.join(" ")
}

fn publish_to_each(broker: &TestBroker, name: &str, n: &str) -> String {
    let n: usize = n.parse().expect("it is a number");
    for i in 0..n {
        broker
            .publish(format!("to/{name}-{i}"), QoS::AtLeastOnce, false, "hello")
            .expect("it is a topic");
    }
    "done".to_owned()
}
