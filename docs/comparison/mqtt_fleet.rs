//! This crate, with its defaults but where a line says otherwise. See compare.py.

#![expect(
    clippy::disallowed_methods,
    reason = "handlers that are slow, and scenes that last"
)]

mod say;

use std::error::Error;
use std::time::{Duration, Instant};
use std::{env, io, thread};

use mqtt_fleet::{ClientSpec, Fleet, FleetBuilder, QoS, Retry};

use say::say;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let scene = arguments.next().unwrap_or_default();
    let url = format!("mqtt://127.0.0.1:{}", arguments.next().unwrap_or_default());
    let second = Duration::from_secs(1);
    let spec = |name: &str| ClientSpec::new(name, &*url).keep_alive(5 * second);
    let on = |name: &str| spec(name).subscribe(name, QoS::AtLeastOnce);
    match scene.as_str() {
        "clients" => {
            let clients = spec("c{i}").keep_alive(600 * second).times(1000);
            let fleet = Fleet::builder().clients(clients).start()?;
            let waited = fleet.wait_connected(10 * second);
            let connected = fleet.clients().iter().filter(|it| it.is_connected());
            say(format_args!(
                "1000 asked for, {} connected ({waited:?}), {} threads",
                connected.count(),
                fleet.threads().total()
            ));
        }
        "away" => {
            let fleet = ready(Fleet::builder().client(spec("a")))?;
            let begin = Instant::now();
            let ended = fleet.wait_ended(20 * second).is_ok();
            say(format_args!(
                "after {:.1} s: ended is {ended}, outcome {:?}",
                begin.elapsed().as_secs_f64(),
                fleet.client("a")?.outcome()
            ));
        }
        "queue" => {
            let fleet = ready(Fleet::builder().client(spec("a").retry(Retry::forever())))?;
            io::stdin().read_line(&mut String::new())?;
            let client = fleet.client("a")?;
            let receipts = (0..5)
                .map(|n| {
                    client.publish(format!("queued/{n}"), QoS::AtLeastOnce, true, n.to_string())
                })
                .collect::<Result<Vec<_>, _>>()?;
            for receipt in receipts {
                say(format_args!("{:?}", receipt.wait_timeout(15 * second)));
            }
            thread::sleep(5 * second);
        }
        "slow" => {
            let (sender, began) = crossbeam_channel::bounded(1);
            let a = on("a").on_message("a", move |_message, _clients| {
                sender.try_send(Instant::now())?;
                thread::sleep(12 * second);
                Ok(())
            });
            let b = on("b").on_message("b", move |_message, _clients| {
                let late = began.recv()?.elapsed().as_secs_f64();
                say(format_args!(
                    "the other client's message came {late:.1} s after the slow one began"
                ));
                Ok(())
            });
            let builder = Fleet::builder().client(a).client(b);
            let fleet = match env::var_os("UNORDERED") {
                Some(_) => ready(builder.unordered())?,
                None => ready(builder)?,
            };
            say(format_args!("{} workers", fleet.threads().workers()));
            let lost = fleet.client("a")?.wait_disconnected(16 * second);
            say(format_args!(
                "the slow client lost its connection: {}",
                lost.is_ok()
            ));
        }
        "stop" => {
            let (sender, handling) = crossbeam_channel::bounded(1);
            let a = on("a")
                .keep_alive(60 * second)
                .on_message("a", move |_message, _clients| {
                    sender.try_send(())?;
                    thread::sleep(8 * second);
                    Ok(())
                });
            let fleet = ready(Fleet::builder().client(a))?;
            handling.recv()?;
            let begin = Instant::now();
            let report = fleet.stop(second);
            say(format_args!(
                "stop(1 s) returned after {:.1} s, of a handler busy for 8 s; abandoned: {:?}",
                begin.elapsed().as_secs_f64(),
                report.abandoned()
            ));
        }
        "failing" => {
            let a = on("a").on_message("a", |message, _clients| {
                say(format_args!("message {}", message.text()));
                assert_ne!(message.text(), "1", "bad payload");
                Ok(())
            });
            let fleet = ready(Fleet::builder().client(a))?;
            thread::sleep(3 * second);
            let client = fleet.client("a")?;
            say(format_args!(
                "is_connected() is {}; {:?}",
                client.is_connected(),
                client.first_failure()
            ));
        }
        _ => return Err("no such scene".into()),
    }
    Ok(())
}

fn ready(builder: FleetBuilder) -> Result<Fleet, Box<dyn Error>> {
    let fleet = builder.start()?;
    fleet.wait_subscribed(Duration::from_secs(5))?;
    // `wait_subscribed` has nothing to wait for without a subscription.
    fleet.wait_connected(Duration::from_secs(5))?;
    say("ready");
    Ok(fleet)
}
