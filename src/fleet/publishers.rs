//! The publisher threads: which pub functions each of them calls, and how it learns that a client is connected for
//! the first time.

use std::{collections::HashMap, mem, sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::{
    fleet::{crew::spawn, error::StartError, layout::Layout, members::NewMember},
    inbox::worker::StateCallback,
    observe::{changes::Announced, lateness::LatenessMeter},
    schedule::{Publisher, Task, caller::Caller},
    spec::on_failure::OnFailure,
    supervise::thread::Thread,
};

/// What one publisher thread has to do.
pub(super) struct Tasks {
    /// By the number of the client.
    waiting: HashMap<u64, Vec<Task>>,
    begin: Receiver<(Instant, u64)>,
}

/// Divides the pub functions of all clients among the publisher threads. Each client with such functions gets what
/// its network thread calls at its first connect.
pub(super) fn tasks(
    layout: &Layout,
    members: &mut [NewMember],
    on_failure: OnFailure,
) -> Vec<Tasks> {
    let (mut senders, mut all) = (Vec::new(), Vec::new());
    for _ in 0..layout.publishers {
        let (sender, begin) = unbounded();
        senders.push(sender);
        all.push(Tasks {
            waiting: HashMap::new(),
            begin,
        });
    }
    // One after the other in turn: the functions of one client share a thread.
    let turns = (0..layout.publishers).cycle();
    for (member, publisher) in members.iter_mut().zip(turns) {
        let periodic = mem::take(&mut member.spec.periodic);
        let publisher = all.get_mut(publisher).zip(senders.get(publisher));
        let Some((tasks, sender)) = publisher.filter(|_| !periodic.is_empty()) else {
            continue;
        };
        let number = member.client.member().number;
        let own = periodic.into_iter().map(|periodic| {
            let interval = periodic.interval;
            let caller = Caller {
                client: member.client.clone(),
                function: periodic.into_function(),
                on_failure,
                failed: Arc::clone(&member.failed),
            };
            caller.task(interval, member.spec.copy)
        });
        tasks.waiting.insert(number, own.collect());
        member.on_first_connect = Some(tell_begin(sender.clone(), number));
    }
    all
}

fn tell_begin(begin: Sender<(Instant, u64)>, client: u64) -> Box<dyn FnOnce() + Send> {
    Box::new(move || {
        // Fails only when the publisher has ended, and then nothing is due any more.
        let _ = begin.send((Instant::now(), client));
    })
}

/// Starts publisher thread `n`.
pub(super) fn start_publisher(
    n: usize,
    tasks: Tasks,
    layout: &Layout,
    lateness: LatenessMeter,
    states: Option<(Receiver<Announced>, StateCallback)>,
    (stop, closing): (&Receiver<()>, &Receiver<()>),
) -> Result<Arc<Thread>, StartError> {
    let callback = |callback: StateCallback| -> Box<dyn Fn(&Announced) + Send> {
        Box::new(move |change| callback(change))
    };
    let publisher = Publisher {
        waiting: tasks.waiting,
        begun: Vec::new(),
        lateness,
        begin: tasks.begin,
        states: states.map(|(changes, function)| (changes, callback(function))),
        stop: stop.clone(),
        closing: closing.clone(),
    };
    let name = match layout.publishers {
        1 => "publisher".to_owned(),
        _ => format!("publisher-{n}"),
    };
    spawn(&name, layout.worker_stack_size, move |thread| {
        publisher.run(thread)
    })
}
