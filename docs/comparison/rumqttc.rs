//! rumqttc, with a thread that iterates each connection, as its documentation shows it. See compare.py.

#![expect(
    clippy::disallowed_methods,
    reason = "what a program without this crate does"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a first program does"
)]

mod say;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use rumqttc::{Client, Event, Incoming, MqttOptions, QoS};

use say::say;

static CONNECTED: AtomicUsize = AtomicUsize::new(0);
static SUBSCRIBED: AtomicUsize = AtomicUsize::new(0);
static ERRORS: AtomicUsize = AtomicUsize::new(0);

fn main() {
    let mut arguments = env::args().skip(1);
    let scene = arguments.next().unwrap();
    let port: u16 = arguments.next().unwrap().parse().unwrap();
    let nothing = || |_: &str| {};
    let second = Duration::from_secs(1);
    match scene.as_str() {
        "clients" => {
            let clients: Vec<Client> = (0..1000)
                .map(|i| started(&format!("c{i}"), None, port, 600, nothing()))
                .collect();
            thread::sleep(10 * second);
            let connected = CONNECTED.load(SeqCst);
            let threads = fs::read_dir("/proc/self/task").unwrap().count();
            say(format_args!(
                "1000 asked for, {} without an error, {connected} with a CONNACK, {threads} threads",
                clients.len()
            ));
        }
        "away" => {
            let _client = started("a", None, port, 5, nothing());
            wait_for(&CONNECTED, 1);
            say("ready");
            thread::sleep(20 * second);
            say(format_args!(
                "after 20 s: {} errors, and no end",
                ERRORS.load(SeqCst)
            ));
        }
        "queue" => {
            let client = started("a", None, port, 5, nothing());
            wait_for(&CONNECTED, 1);
            say("ready");
            io::stdin().read_line(&mut String::new()).unwrap();
            for n in 0..5 {
                let result =
                    client.publish(format!("queued/{n}"), QoS::AtLeastOnce, true, n.to_string());
                say(format_args!("publish returned {result:?}"));
            }
            thread::sleep(12 * second);
        }
        "slow" => {
            let (sender, began) = crossbeam_channel::bounded(1);
            let on_a = move |_: &str| {
                sender.send(Instant::now()).unwrap();
                thread::sleep(12 * second);
            };
            let _a = started("a", Some("a"), port, 5, on_a);
            let on_b = move |_: &str| {
                let late = began.recv().unwrap().elapsed().as_secs_f64();
                say(format_args!(
                    "the other client's message came {late:.1} s after the slow one began"
                ));
            };
            let _b = started("b", Some("b"), port, 5, on_b);
            wait_for(&SUBSCRIBED, 2);
            say("ready");
            let end = Instant::now() + 16 * second;
            while ERRORS.load(SeqCst) == 0 && Instant::now() < end {
                thread::sleep(second / 10);
            }
            let is_lost = ERRORS.load(SeqCst) > 0;
            say(format_args!(
                "the slow client lost its connection: {is_lost}"
            ));
        }
        "stop" => {
            let (sender, handling) = crossbeam_channel::bounded(1);
            let on_a = move |_: &str| {
                let _ = sender.try_send(());
                thread::sleep(8 * second);
            };
            let (client, loop_) = started_with_thread("a", Some("a"), port, 60, on_a);
            wait_for(&SUBSCRIBED, 1);
            say("ready");
            handling.recv().unwrap();
            let begin = Instant::now();
            client.disconnect().unwrap();
            drop(client);
            // There is nothing else to call: the loop's end is waited for.
            while !loop_.is_finished() && begin.elapsed() < 15 * second {
                thread::sleep(second / 10);
            }
            say(format_args!(
                "{:.1} s after disconnect(), of a handler busy for 8 s, the loop has ended: {}; {} connects",
                begin.elapsed().as_secs_f64(),
                loop_.is_finished(),
                CONNECTED.load(SeqCst)
            ));
        }
        "failing" => {
            let on_a = |text: &str| {
                say(format_args!("message {text}"));
                assert_ne!(text, "1", "bad payload");
            };
            let (_client, loop_) = started_with_thread("a", Some("a"), port, 5, on_a);
            wait_for(&SUBSCRIBED, 1);
            say("ready");
            thread::sleep(3 * second);
            say(format_args!("the loop has ended: {}", loop_.is_finished()));
        }
        _ => panic!("no such scene"),
    }
}

fn wait_for(count: &AtomicUsize, n: usize) {
    while count.load(SeqCst) < n {
        thread::sleep(Duration::from_millis(1));
    }
}

fn started(
    id: &str,
    topic: Option<&'static str>,
    port: u16,
    keep_alive: u64,
    on_message: impl FnMut(&str) + Send + 'static,
) -> Client {
    started_with_thread(id, topic, port, keep_alive, on_message).0
}

fn started_with_thread(
    id: &str,
    topic: Option<&'static str>,
    port: u16,
    keep_alive: u64,
    mut on_message: impl FnMut(&str) + Send + 'static,
) -> (Client, thread::JoinHandle<()>) {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(keep_alive));
    let (client, mut connection) = Client::new(options, 10);
    let subscriber = client.clone();
    let loop_ = thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                    CONNECTED.fetch_add(1, SeqCst);
                    if let Some(topic) = topic {
                        subscriber.try_subscribe(topic, QoS::AtLeastOnce).unwrap();
                    }
                }
                Ok(Event::Incoming(Incoming::SubAck(_))) => {
                    SUBSCRIBED.fetch_add(1, SeqCst);
                }
                Ok(Event::Incoming(Incoming::Publish(publish))) => {
                    on_message(&String::from_utf8_lossy(&publish.payload));
                }
                Ok(_) => {}
                Err(error) => {
                    if ERRORS.fetch_add(1, SeqCst) == 0 {
                        say(format_args!("first error: {error}"));
                    }
                }
            }
        }
    });
    (client, loop_)
}
