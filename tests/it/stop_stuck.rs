//! `stop(1 s)` while a function of the user hangs: it returns in time and names the function's thread, and
//! that one is gone as soon as the function returns.

use std::time::Duration;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientState, Fleet, PublishErrorKind, QoS};

use crate::support::fleet::PATIENCE;
use crate::support::proc;
use crate::support::stopping::{Left, NAME, Scene, client, started, stop_each, subscribed, trap};

fn handler(broker: &TestBroker) -> Scene {
    let (trap, is_sprung, release) = trap();
    let spec = client(broker).subscribe("in", QoS::AtLeastOnce);
    let builder = Fleet::builder().client(spec).workers(1);
    let fleet = subscribed(builder.on_message("in", move |_, _| {
        trap.hang();
        Ok(())
    }));
    broker.publish("in", QoS::AtLeastOnce, false, "").unwrap();
    is_sprung.recv_timeout(PATIENCE).unwrap();
    let mut scene = Scene::new(fleet, Left::Surely("worker-0 (in a handler"));
    scene.held.push(Box::new(release));
    scene
}

fn slow_handler(broker: &TestBroker) -> Scene {
    let (trap, is_sprung, release) = trap();
    let spec = client(broker).subscribe("in", QoS::AtMostOnce);
    let builder = Fleet::builder().client(spec).workers(1);
    let fleet = subscribed(builder.on_message("in", move |_, _| {
        trap.hang_for(Duration::from_millis(20));
        Ok(())
    }));
    for _ in 0..1_000 {
        broker.publish("in", QoS::AtMostOnce, false, "").unwrap();
    }
    is_sprung.recv_timeout(PATIENCE).unwrap();
    let mut scene = Scene::new(fleet, Left::Nothing);
    scene.is_ready = |fleet| fleet.stats().received == 1_000;
    scene.held.push(Box::new(release));
    scene
}

/// Its handler waits for room that only the broker could make.
fn publishing_handler(broker: &TestBroker) -> Scene {
    broker.hold_acks(true);
    let (trap, is_sprung, release) = trap();
    let spec = client(broker)
        .window(1)
        .outbox_capacity(1)
        .subscribe("in", QoS::AtLeastOnce);
    let builder = Fleet::builder().client(spec).workers(1);
    let fleet = subscribed(builder.on_message("in", move |_, clients| {
        let client = clients.get(NAME)?;
        loop {
            let full = client.try_publish("out", QoS::AtLeastOnce, false, "");
            if full.is_err_and(|error| error.kind() == PublishErrorKind::Full) {
                trap.hang_for(Duration::ZERO);
                client.publish("out", QoS::AtLeastOnce, false, "")?;
            }
        }
    }));
    broker.publish("in", QoS::AtLeastOnce, false, "").unwrap();
    is_sprung.recv_timeout(PATIENCE).unwrap();
    let mut scene = Scene::new(fleet, Left::Nothing);
    scene.held.push(Box::new(release));
    scene
}

fn pub_function(broker: &TestBroker) -> Scene {
    let (trap, is_sprung, release) = trap();
    let spec = client(broker).publish_every(Duration::from_millis(5), move |_| {
        trap.hang();
        Ok(())
    });
    let fleet = subscribed(Fleet::builder().client(spec));
    is_sprung.recv_timeout(PATIENCE).unwrap();
    let mut scene = Scene::new(fleet, Left::Surely("publisher"));
    scene.held.push(Box::new(release));
    scene
}

fn credentials(broker: &TestBroker) -> Scene {
    let (trap, is_sprung, release) = trap();
    let spec = client(broker).credentials_with(move || {
        trap.hang();
        Ok(("user".to_owned(), "secret".to_owned()))
    });
    let fleet = started(Fleet::builder().client(spec));
    is_sprung.recv_timeout(PATIENCE).unwrap();
    let mut scene = Scene::new(fleet, Left::Surely(NAME));
    scene.held.push(Box::new(release));
    scene
}

fn state_callback(broker: &TestBroker) -> Scene {
    let (trap, is_sprung, release) = trap();
    let builder = Fleet::builder()
        .client(client(broker))
        .on_message("in", |_, _| Ok(()));
    let fleet = subscribed(builder.workers(1).on_state(move |change| {
        if matches!(change.state(), ClientState::Connected { .. }) {
            trap.hang();
        }
    }));
    is_sprung.recv_timeout(PATIENCE).unwrap();
    let mut scene = Scene::new(fleet, Left::Surely("worker-0 (in the state callback)"));
    scene.held.push(Box::new(release));
    scene
}

/// Fails if a function of the user holds the stop up or is not named, if its thread outlives it, or if a
/// client connects after the stop because its credentials came at last.
#[test]
fn in_whatever_function_of_the_user() {
    proc::alone("stop_stuck::in_whatever_function_of_the_user", || {
        stop_each(&[
            ("handler", handler),
            ("slow handler", slow_handler),
            ("publishing handler", publishing_handler),
            ("pub function", pub_function),
            ("credentials", credentials),
            ("state callback", state_callback),
        ]);
    });
}
