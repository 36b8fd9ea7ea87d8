//! The threads of a fleet beside those of its clients: how a thread is made, and which of them are stuck or have
//! panicked.

use std::sync::Arc;

use crate::{
    client::clients::Clients, fleet::error::StartError, inbox::worker::Busy,
    supervise::thread::Thread,
};

/// The threads that serve all clients. Each client's own thread is in its record.
#[derive(Debug, Clone, Default)]
pub(super) struct Crew {
    pub(super) workers: Vec<RunningWorker>,
    pub(super) publishers: Vec<Arc<Thread>>,
}

impl Crew {
    /// Those that call functions of the user.
    pub(super) fn threads(&self) -> impl Iterator<Item = &Arc<Thread>> {
        let workers = self.workers.iter().map(|worker| &worker.thread);
        workers.chain(&self.publishers)
    }

    /// The threads that ended by a panic. A client's thread tells so by its outcome.
    pub(super) fn panicked(&self) -> impl Iterator<Item = String> {
        self.threads().filter_map(|thread| {
            let panic = thread.panic()?;
            Some(format!("{} (ended by a panic: {panic})", thread.name()))
        })
    }
}

/// A worker's thread, and what it is busy with.
#[derive(Debug, Clone)]
pub(super) struct RunningWorker {
    pub(super) thread: Arc<Thread>,
    pub(super) busy: Busy,
    pub(super) has_callback: bool,
}

impl RunningWorker {
    /// What a worker that has not ended is doing.
    pub(super) fn stuck(&self, clients: &Clients) -> String {
        let name = self.thread.name();
        let number = self.busy.client();
        let client = clients
            .list()
            .iter()
            .find(|client| number == Some(client.member().number));
        match client {
            Some(client) => format!("{name} (in a handler, with a message of {})", client.name()),
            None if self.has_callback => format!("{name} (in the state callback)"),
            // The system has not run it since: the machine is overloaded.
            None => format!("{name} (about to end)"),
        }
    }
}

/// Makes a thread of the fleet.
pub(super) fn spawn(
    name: &str,
    stack_size: usize,
    body: impl FnOnce(&Arc<Thread>) + Send + 'static,
) -> Result<Arc<Thread>, StartError> {
    Thread::spawn_knowing(name, stack_size, body).map_err(|source| StartError::Thread {
        thread: name.to_owned(),
        source,
    })
}
