//! A template over several machines: each copy on one of them, and what was spread stays spread.

use std::time::{Duration, Instant};

use mqtt_fleet::testing::{Direction, Packet, TestBroker};
use mqtt_fleet::{ClientSpec, Fleet, QoS, StartError};

use crate::support::fleet::{PATIENCE, start};

fn template() -> ClientSpec {
    ClientSpec::new("dev-{i}", "mqtt://127.0.0.1:1").client_id("id-{i}")
}

fn names(specs: impl IntoIterator<Item = ClientSpec>) -> Vec<String> {
    let names = specs.into_iter().map(|spec| spec.name().to_owned());
    names.collect()
}

/// Fails if a copy runs on no machine or on two, if `{i}` begins anew on each machine, or if one machine has
/// much more than another.
#[test]
fn every_copy_is_on_one_machine() {
    for n in [0, 1, 2, 7, 20] {
        for of in 1..=8 {
            let mut all = Vec::new();
            for k in 0..of {
                let copies = template().times(n).shard(k, of);
                let len = copies.len();
                assert_eq!(copies.is_empty(), len == 0);
                assert!([n / of, n.div_ceil(of)].contains(&len), "{len} of {n}");
                let part = names(copies);
                assert_eq!(part.len(), len);
                all.extend(part);
            }
            all.sort();
            let mut expected = names(template().times(n));
            assert_eq!(expected.len(), n);
            expected.sort();
            assert_eq!(all, expected, "{n} over {of}");
        }
    }
}

/// Fails if a machine that there is not is let in with somebody else's clients, or ends in a panic.
#[test]
fn a_machine_that_there_is_not_is_refused_at_the_start() {
    for (k, of) in [(2, 2), (0, 0), (usize::MAX, 1)] {
        let copies = template().times(3).shard(k, of);
        let error = Fleet::builder().clients(copies).start().unwrap_err();
        let named = matches!(&error, StartError::Client { client, field: "shard", .. } if client == "dev-0");
        assert!(named, "{error}");
        let text = format!("client \"dev-0\", shard: {k} of {of} is out of range");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
}

/// Fails if the machines each have one stretch of the interval, so that each of them works in bursts.
#[test]
fn pub_functions_are_spread_on_each_machine() {
    let broker = TestBroker::start().unwrap();
    let interval = Duration::from_secs(1);
    let copies = |k| {
        ClientSpec::new("dev-{i}", broker.url())
            .publish_every(interval, |client| {
                client.try_publish("tick", QoS::AtMostOnce, false, client.name().to_owned())?;
                Ok(())
            })
            .times(20)
            .shard(k, 2)
    };
    for k in 0..2 {
        let fleet = start(copies(k));
        let firsts = || -> Vec<(String, Instant)> {
            let mut firsts: Vec<(String, Instant)> = Vec::new();
            for seen in broker.seen() {
                let Packet::Publish { payload, .. } = &seen.packet else {
                    continue;
                };
                let name = String::from_utf8_lossy(payload).into_owned();
                let ours = fleet.clients().get(&name).is_ok();
                if ours && seen.direction == Direction::In && firsts.iter().all(|it| it.0 != name) {
                    firsts.push((name, seen.at));
                }
            }
            firsts
        };
        broker.wait_for(|_| firsts().len() == 10, PATIENCE).unwrap();
        fleet.stop(PATIENCE);
        let firsts = firsts();
        let span = firsts[9].1 - firsts[0].1;
        assert!(span > interval / 2, "machine {k}: {span:?}");
    }
}
