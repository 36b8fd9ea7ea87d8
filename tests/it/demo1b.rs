//! The example demo1b: one thread serves many clients by turns, and goes on over a restart of the broker.

use crate::support::fleet::PATIENCE;
use crate::support::mosquitto::Mosquitto;
use crate::support::program::Program;

/// Fails if a client is not served before or after the broker was away, or if the outage costs or adds a thread.
#[test]
fn turns_go_on_when_the_broker_comes_back() {
    let program = Program::example("demo1b", &["--seconds", "60"]);
    program.wait_for("All clients connected", PATIENCE);
    program.wait_for("current threads = 11", PATIENCE);
    program.wait_for("the broker is away", PATIENCE);
    program.wait_for("the broker is back, current threads = 11\n", PATIENCE);
    let parts = || {
        let output = program.output();
        let (before, rest) = output.split_once("the broker is away").unwrap();
        let (away, after) = rest.split_once("the broker is back").unwrap();
        [before, away, after].map(str::to_owned)
    };
    let served = |part: &str| {
        (0..10).all(|i| part.contains(&format!("client{i} received house/client{i}/bulb: turn ")))
    };
    crate::support::proc::wait_until("all are served again", PATIENCE, || served(&parts()[2]));
    let [before, away, after] = parts();
    assert!(served(&before), "{before}");
    for i in 0..10 {
        assert!(
            away.contains(&format!("client{i} is disconnected: ")),
            "{away}"
        );
        assert!(
            after.contains(&format!("client{i} is connected")),
            "{after}"
        );
    }
    program.signal("INT");
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
}

/// Fails if the program can't be used with a broker that is there, or says another number of threads.
#[test]
fn a_broker_of_the_user() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    let url = mosquitto.url();
    let program = Program::example(
        "demo1b",
        &["--broker", &url, "--clients", "4", "--seconds", "3"],
    );
    program.wait_for("current threads = 5", PATIENCE);
    // Four clients, the main thread, and the thread of the crate ctrlc.
    assert_eq!(program.threads(), 4 + 1 + 1);
    let (status, output) = program.ended(PATIENCE);
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(!output.contains("away"), "{output}");
    assert_eq!(
        output.matches("current threads = 5\n").count(),
        2,
        "{output}"
    );
    for i in 0..4 {
        assert!(
            output.contains(&format!("client{i} received house/client{i}/bulb: turn 2")),
            "{output}"
        );
    }
}
