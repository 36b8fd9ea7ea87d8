//! The instrument's other two ports: commands of the runner, and credit of the client under test.

use std::io::{self, ErrorKind, Read, Write};

use mio::{
    Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

/// What the runner can ask for.
pub(super) enum Command {
    /// Send.
    Go,
    /// Send no more.
    Halt,
    /// Close all connections.
    Kick,
    Counts,
}

/// The connection of the runner: a command in a line, an answer in a line.
pub(super) struct Commands {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Commands {
    pub(super) fn accept(listener: &TcpListener, poll: &Poll, token: Token) -> io::Result<Self> {
        Ok(Self {
            stream: accept(listener, poll, token)?,
            pending: Vec::new(),
        })
    }

    /// The commands that have come; `None` if the runner is gone.
    pub(super) fn read(&mut self) -> io::Result<Option<Vec<Command>>> {
        let open = fill(&mut self.stream, &mut self.pending)?;
        let mut commands = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            commands.push(match line.trim_ascii() {
                b"go" => Command::Go,
                b"halt" => Command::Halt,
                b"kick" => Command::Kick,
                b"counts" => Command::Counts,
                _ => return Err(ErrorKind::InvalidInput.into()),
            });
        }
        Ok((open || !commands.is_empty()).then_some(commands))
    }

    pub(super) fn answer(&mut self, line: &str) -> io::Result<()> {
        // An answer is short and the runner waits for it: there is always room.
        self.stream.write_all(format!("{line}\n").as_bytes())
    }
}

/// The connection on which a client says how many messages each of its clients has handled.
pub(super) struct Credit {
    stream: TcpStream,
    pending: Vec<u8>,
    handled: Vec<u64>,
}

impl Credit {
    pub(super) fn accept(listener: &TcpListener, poll: &Poll, token: Token) -> io::Result<Self> {
        Ok(Self {
            stream: accept(listener, poll, token)?,
            pending: Vec::new(),
            handled: Vec::new(),
        })
    }

    /// The newest counts, if some have come. A frame is their number, then that many, 8 bytes each.
    pub(super) fn read(&mut self) -> io::Result<Option<&[u64]>> {
        fill(&mut self.stream, &mut self.pending)?;
        let number = |at: usize, bytes: &[u8]| {
            let bytes = bytes.get(at * 8..at * 8 + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let mut fresh = false;
        while let Some(count) = number(0, &self.pending) {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let length = count.saturating_add(1).saturating_mul(8);
            if self.pending.len() < length {
                break;
            }
            self.handled = (1..=count)
                .filter_map(|at| number(at, &self.pending))
                .collect();
            self.pending.drain(..length);
            fresh = true;
        }
        Ok(fresh.then_some(&self.handled))
    }
}

fn accept(listener: &TcpListener, poll: &Poll, token: Token) -> io::Result<TcpStream> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    poll.registry()
        .register(&mut stream, token, Interest::READABLE)?;
    Ok(stream)
}

/// Reads all there is. Returns whether the peer is still there.
fn fill(stream: &mut TcpStream, pending: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => pending.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
