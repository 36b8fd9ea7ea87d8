//! The publisher threads: which pub functions each of them calls, and how it learns that a
//! client is connected for the first time.

use std::{sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::{
    client::{clients::Clients, spec::ClientSpec},
    fleet::{error::StartError, fleet::Fleet, layout::Layout, start::spawn},
    inbox::{handler::FailureSink, worker::StateCallback},
    observe::changes::Announced,
    schedule::{Publisher, Task, caller},
    spec::on_failure::OnFailure,
};

/// The tasks of each publisher thread, and for each client the numbers of its tasks there.
pub(crate) type Tasks = (Vec<Vec<Task>>, Vec<(usize, Vec<usize>)>);

pub(crate) fn tasks(
    layout: &Layout,
    specs: &[ClientSpec],
    clients: &Clients,
    on_failure: OnFailure,
    failed: &FailureSink,
) -> Tasks {
    let mut tasks: Vec<Vec<Task>> = (0..layout.publishers).map(|_| Vec::new()).collect();
    let mut numbers = Vec::with_capacity(specs.len());
    for (index, (spec, client)) in specs.iter().zip(clients.list()).enumerate() {
        let publisher = index % layout.publishers.max(1);
        let mut own = Vec::new();
        if let Some(tasks) = tasks.get_mut(publisher) {
            for periodic in spec.periodic.clone() {
                own.push(tasks.len());
                let interval = periodic.interval;
                let caller = caller::Caller {
                    index,
                    client: client.clone(),
                    function: periodic.into_function(),
                    on_failure,
                    failed: Arc::clone(failed),
                };
                tasks.push(caller.task(interval, spec.copy));
            }
        }
        numbers.push((publisher, own));
    }
    (tasks, numbers)
}

/// What each client does at its first connect, in the order of the clients.
pub(crate) type Begins = Vec<Option<Box<dyn FnOnce() + Send>>>;

pub(crate) fn start_publishers(
    fleet: &mut Fleet,
    layout: &Layout,
    (tasks, numbers): Tasks,
    mut states: Option<(Receiver<Announced>, StateCallback)>,
    (stop, closing): (&Receiver<()>, &Receiver<()>),
) -> Result<Begins, StartError> {
    let mut begin: Vec<Sender<(Instant, usize)>> = Vec::new();
    for (n, tasks) in tasks.into_iter().enumerate() {
        let (begins, begun) = unbounded();
        begin.push(begins);
        let callback = |callback: StateCallback| -> Box<dyn Fn(&Announced) + Send> {
            Box::new(move |change| callback(change))
        };
        let publisher = Publisher {
            tasks,
            lateness: fleet.ending.lateness.clone(),
            begin: begun,
            states: states
                .take()
                .map(|(changes, function)| (changes, callback(function))),
            stop: stop.clone(),
            closing: closing.clone(),
        };
        let name = match layout.publishers {
            1 => "publisher".to_owned(),
            _ => format!("publisher-{n}"),
        };
        let thread = spawn(&name, layout.worker_stack_size, move |thread| {
            publisher.run(thread)
        })?;
        fleet.ending.crew.lock().publishers.push(thread);
    }
    let begins = numbers.into_iter().map(|(publisher, own)| {
        let begin = begin.get(publisher).filter(|_| !own.is_empty())?.clone();
        let tell = move || {
            let now = Instant::now();
            for task in own {
                // Fails only when the publisher has ended, and then nothing is due any more.
                let _ = begin.send((now, task));
            }
        };
        Some(Box::new(tell) as Box<dyn FnOnce() + Send>)
    });
    Ok(begins.collect())
}
