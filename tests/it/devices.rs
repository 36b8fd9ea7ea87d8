//! The example `devices`: what is published keeps to the schedule, an outage is no burst, commands are answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mqtt_fleet::testing::{Direction, Packet, Sessions, TestBroker};
use mqtt_fleet::{ClientSpec, QoS};

use crate::support::fleet::{PATIENCE, start};
use crate::support::proc::wait_until;
use crate::support::program::{Program, figure};
use crate::support::receiving::number;

/// The readings of each device, with their moments and numbers.
type Readings = BTreeMap<String, Vec<(Instant, usize)>>;

fn readings(broker: &TestBroker) -> Readings {
    let mut readings = Readings::new();
    for seen in broker.seen() {
        if let (Direction::In, Packet::Publish { topic, payload, .. }) =
            (seen.direction, &seen.packet)
        {
            if topic.ends_with("/reading") {
                let of_it = readings.entry(seen.client).or_default();
                of_it.push((seen.at, number(payload)));
            }
        }
    }
    readings
}

/// When the schedule of a device began: no reading is early, and the least late one shows it.
fn begin(readings: &[(Instant, usize)], interval: Duration) -> Instant {
    let on_grid = readings
        .iter()
        .map(|(at, n)| *at - interval * (*n as u32 - 1));
    on_grid.min().expect("it has readings")
}

/// How many readings were due until `end` by the schedules that these began.
fn due(readings: &Readings, interval: Duration, end: Instant) -> u64 {
    let passed = |all: &Vec<(Instant, usize)>| (end - begin(all, interval)).as_nanos();
    let of_one = |all: &Vec<(Instant, usize)>| passed(all) / interval.as_nanos() + 1;
    readings.values().map(of_one).sum::<u128>() as u64
}

fn assert_within_one_percent(count: u64, due: u64) {
    assert!(count.abs_diff(due) * 100 <= due, "{count} of {due}");
}

/// Fails when readings are left out, doubled or drift, when the devices publish all at one moment, or when
/// the report counts something else than what the broker got.
#[test]
fn two_hundred_devices_keep_to_their_schedule() {
    let interval = Duration::from_millis(500);
    let broker = TestBroker::start().unwrap();
    let url = broker.url();
    let program = Program::example(
        "devices",
        &[
            "--clients",
            "200",
            "--interval",
            "500ms",
            "--seconds",
            "5",
            "--broker",
            &url,
        ],
    );
    let (status, output) = program.ended(Duration::from_secs(60));
    assert_eq!(status.code(), Some(0), "{output}");
    let readings = readings(&broker);
    assert_eq!(readings.len(), 200);
    let all = || readings.values().flatten().map(|(at, _)| *at);
    let (first, last) = (all().min().unwrap(), all().max().unwrap());
    assert!(last - first > Duration::from_secs(4), "{:?}", last - first);
    let sent = all().count() as u64;
    assert_within_one_percent(sent, due(&readings, interval, last));
    assert_eq!(figure(&output, " called"), sent, "{output}");

    // Device I of 200 begins I / 200 of the interval after it is connected.
    for seen in broker.seen() {
        if let Packet::Connect { .. } = seen.packet {
            let i: u32 = seen.client["dev-".len()..].parse().unwrap();
            let begin = begin(&readings[&seen.client], interval) - seen.at;
            assert!(begin >= interval * i / 200, "{}: {begin:?}", seen.client);
        }
    }

    let lines: Vec<&str> = output.lines().filter(|it| it.contains(" out/s")).collect();
    assert_eq!(lines.len(), 5, "a line a second: {output}");
    assert!(lines[4].contains(": 200 connected, "), "{output}");
    for part in [" (p50) ", " (p99) ", " (max), ", " missed, ", " queued"] {
        assert!(lines[4].contains(part), "{part} in {output}");
    }
}

/// Fails when the readings of an outage are sent after it, or are not counted as missed; when a command is
/// not answered; when a device that is lost is not announced, or not once more when it is back.
#[test]
fn an_outage_is_missed_and_never_made_up_for() {
    const N: usize = 50;
    let interval = Duration::from_millis(250);
    let broker = TestBroker::start().unwrap();
    let (url, n) = (broker.url(), N.to_string());
    let program = Program::example(
        "devices",
        &[
            "--clients",
            &n,
            "--interval",
            "250ms",
            "--seconds",
            "60",
            "--broker",
            &url,
        ],
    );
    let each_has = |n: usize| {
        let has = broker.wait_for(
            |_| {
                let readings = readings(&broker);
                readings.len() == N && readings.values().all(|it| it.len() >= n)
            },
            PATIENCE,
        );
        has.unwrap();
    };
    each_has(3);

    broker
        .publish("devices/dev-7/command", QoS::AtLeastOnce, false, "blink")
        .unwrap();
    let answer = |_: &[_]| broker.published("devices/dev-7/answer") == ["done: blink"];
    broker.wait_for(answer, PATIENCE).unwrap();
    let watcher =
        start(
            [ClientSpec::new("watcher", &url).subscribe("devices/dev-7/state", QoS::AtLeastOnce)],
        );
    let state = || {
        watcher
            .messages()
            .unwrap()
            .recv_timeout(PATIENCE)
            .unwrap()
            .text()
            .into_owned()
    };
    assert_eq!(state(), "online");
    assert!(broker.cut("dev-7"));
    assert_eq!([state(), state()], ["offline", "online"]);
    watcher.stop(PATIENCE);

    broker.stop();
    let before = readings(&broker);
    let missed = figure(&program.output(), " missed, ");
    // Two seconds of them.
    wait_until("readings are missed", PATIENCE, || {
        figure(&program.output(), " missed, ") >= missed + 8 * N as u64
    });
    broker.restart(Sessions::Lost).unwrap();
    broker.wait_connected(N, PATIENCE).unwrap();
    each_has(before.values().map(Vec::len).max().unwrap() + 3);
    program.signal("INT");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");

    let after = readings(&broker);
    for (device, all) in &after {
        let (old, new) = all.split_at(before[device].len());
        // A late one may be close to the next one.
        let burst = new.windows(4).find(|it| it[3].0 - it[0].0 < interval);
        assert_eq!(burst, None, "{device}");
        // One may have been called and lost with the connection.
        let (last, first) = (old[old.len() - 1].1, new[0].1);
        assert!(
            (last + 1..=last + 2).contains(&first),
            "{device}: {last}, {first}"
        );
    }
    // Called or missed: by the report it is all that was due.
    let end = after.values().flatten().map(|(at, _)| *at).max().unwrap();
    let counted = figure(&output, " called") + figure(&output, " missed");
    assert_within_one_percent(counted, due(&before, interval, end));
}
