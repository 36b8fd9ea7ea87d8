//! Handles are owned: they outlive what they were asked from, and a program keeps them where it likes.

use std::time::Duration;

use mqtt_fleet::{Client, ClientSpec, Clients, Fleet, UnknownClient};

const STOP: Duration = Duration::from_secs(5);

/// Fails when a client, or a list of them, borrows from the fleet: a program could not keep it beside the
/// fleet, or ask for it in one thread and use it in another.
#[test]
fn clients_are_kept_beside_their_fleet() {
    struct Program {
        plant: Client,
        all: Vec<Client>,
        fleet: Fleet,
    }
    let nowhere = |name| ClientSpec::new(name, "mqtt://127.0.0.1:1");
    let fleet = Fleet::builder()
        .client(nowhere("plant"))
        .client(nowhere("cloud"))
        .start()
        .unwrap();
    let listed = |clients: Clients| clients.iter();
    let program = Program {
        plant: fleet.client("plant").unwrap(),
        all: listed(fleet.clients().clone()).collect(),
        fleet,
    };
    let from_another_thread = std::thread::scope(|scope| {
        let clients = program.fleet.clients();
        scope
            .spawn(|| clients.get("cloud").unwrap())
            .join()
            .unwrap()
    });
    program.fleet.stop_now(STOP);
    drop(program.fleet);
    assert_eq!(program.plant.name(), "plant");
    assert_eq!(from_another_thread.name(), "cloud");
    let names: Vec<_> = program.all.iter().map(Client::name).collect();
    assert_eq!(names, ["plant", "cloud"]);
}

#[test]
fn a_client_that_is_not_there_is_named() {
    let spec = ClientSpec::new("plant", "mqtt://127.0.0.1:1");
    let fleet = Fleet::builder().client(spec).start().unwrap();
    let unknown = UnknownClient("clowd".to_owned());
    assert_eq!(fleet.client("clowd").unwrap_err(), unknown);
    assert_eq!(fleet.clients().get("clowd").unwrap_err(), unknown);
    fleet.stop_now(STOP);
}
