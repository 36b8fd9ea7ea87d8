//! What the operating system allows is counted before the first socket.

use std::time::Duration;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, Fleet, Resource, StartError};

use crate::support::fleet::{PATIENCE, start};
use crate::support::proc;
use crate::support::world::tasks;

/// Descriptors that each client needs at most.
const PER_CLIENT: u64 = 4;

/// Fails if a fleet that does not fit connects some of its clients, panics, or says the wrong numbers.
#[test]
fn a_fleet_that_exceeds_the_hard_limit_does_not_start() {
    proc::alone(
        "start_limits::a_fleet_that_exceeds_the_hard_limit_does_not_start",
        || {
            let broker = TestBroker::start().unwrap();
            let hard = 512;
            rlimit::Resource::NOFILE.set(hard, hard).unwrap();
            let (threads, descriptors) = (proc::thread_count(), proc::open_descriptors());
            let clients = hard / PER_CLIENT + 1;
            let specs = ClientSpec::new("many-{i}", broker.url()).times(clients as usize);
            let error = Fleet::builder().clients(specs).start().unwrap_err();
            let StartError::Limits {
                resource: Resource::Descriptors,
                needed,
                available,
            } = error
            else {
                panic!("{error}");
            };
            assert_eq!(needed, clients * PER_CLIENT);
            assert!(available < hard, "some are in use: {available}");
            assert!(available > hard / 2, "most are not: {available}");
            let text = error.to_string();
            assert!(text.contains(&needed.to_string()), "{text}");
            assert!(text.contains("file descriptors"), "{text}");
            assert_eq!(broker.accepted(), 0);
            assert_eq!(proc::thread_count(), threads);
            assert_eq!(proc::open_descriptors(), descriptors);
        },
    );
}

/// Fails if the soft limit, which is low on most systems, is taken for the last word.
#[test]
fn the_soft_limit_is_raised() {
    proc::alone("start_limits::the_soft_limit_is_raised", || {
        let broker = TestBroker::start().unwrap();
        let (soft, hard) = (64, 1_024);
        rlimit::Resource::NOFILE.set(soft, hard).unwrap();
        let clients = ClientSpec::new("raised-{i}", broker.url()).times(50);
        let fleet = start(clients);
        fleet.wait_connected(PATIENCE).unwrap();
        assert_eq!(rlimit::Resource::NOFILE.get().unwrap(), (hard, hard));
    });
}

/// Fails if a client needs more descriptors than are counted for it: the limit would be met at run time.
#[test]
fn a_client_needs_no_more_descriptors_than_are_counted() {
    proc::alone(
        "start_limits::a_client_needs_no_more_descriptors_than_are_counted",
        || {
            let broker = TestBroker::start().unwrap();
            let before = proc::open_descriptors() as u64;
            let clients = 20;
            let fleet = start(ClientSpec::new("open-{i}", broker.url()).times(clients));
            fleet.wait_connected(PATIENCE).unwrap();
            broker.wait_connected(clients, PATIENCE).unwrap();
            // The broker is in this process too, with a socket for each connection.
            let sockets_of_the_broker = clients as u64;
            let opened = proc::open_descriptors() as u64 - before - sockets_of_the_broker;
            assert!(opened <= PER_CLIENT * clients as u64, "{opened}");
            assert!(fleet.stop(Duration::from_secs(5)).abandoned().is_empty());
            drop(broker);
        },
    );
}

/// Fails if the tasks of the control group, which containers and systemd's `TasksMax` bound, are met at
/// run time and not at the start; or if the same is refused where there is room.
#[test]
fn the_tasks_of_the_control_group_are_counted() {
    let test = "start_limits::the_tasks_of_the_control_group_are_counted";
    tasks(test, 40, || {
        let broker = TestBroker::start().unwrap();
        let threads = proc::thread_count();
        let clients =
            |n| Fleet::builder().clients(ClientSpec::new("task-{i}", broker.url()).times(n));
        let error = clients(41).start().unwrap_err();
        let StartError::Limits {
            resource: Resource::Threads,
            needed: 41,
            available,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(available, 40 - threads as u64);
        assert_eq!((broker.accepted(), proc::thread_count()), (0, threads));
        // Each connection has two threads of the broker, in the same control group.
        let fleet = clients(5).start().unwrap();
        fleet.wait_connected(PATIENCE).unwrap();
    });
}
