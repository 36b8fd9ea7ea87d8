//! The source and sink of every measurement: a process of its own, one thread, event-driven.
//!
//! It takes connections, subscriptions and publishes as a broker would, sends what its plan says,
//! counts everything, and checks sequence numbers and acknowledgements. A second port takes
//! commands, a third one credit: how far the client has handled its QoS 0 messages, which MQTT
//! itself does not tell.

mod connection;
mod control;

use std::{
    collections::VecDeque,
    io::{self, Write},
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use mio::{Events, Interest, Poll, Registry, Token, net::TcpListener};
use socket2::{Domain, Socket, Type};

use crate::{
    Result,
    arguments::Arguments,
    clock::{nanoseconds, pause},
};
use connection::{Connection, Counts, Schedule, Scratch};
use control::{Command, Commands, Credit};

const MQTT: Token = Token(0);
const CONTROL: Token = Token(1);
const CREDIT: Token = Token(2);
const COMMANDS: Token = Token(3);
const CREDITS: Token = Token(4);
/// The tokens of connections follow.
const FIRST: usize = 5;

/// So many connects at once: beyond it the kernel makes a client wait for a second.
const BACKLOG: i32 = 4_096;

/// What the instrument is to do; the same for all connections.
pub(crate) struct Plan {
    pub(crate) qos: u8,
    /// At QoS 1, how many messages may be unacknowledged on a connection.
    pub(crate) window: u64,
    /// At QoS 0, how many messages may be unhandled on a connection; 0 is no limit but TCP's.
    pub(crate) share: u64,
    pub(crate) payload: usize,
    /// The bytes of a write.
    pub(crate) chunk: usize,
    /// Messages a second on all connections together; 0 is no limit.
    pub(crate) rate: u64,
    /// Sends each message back instead of checking it.
    pub(crate) echo: bool,
}

/// Runs until the control connection is closed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let plan = Plan {
        qos: arguments.number("qos", 0)?,
        window: arguments.number("window", 100)?,
        share: arguments.number("share", 0)?,
        payload: arguments.number("payload", 64)?,
        chunk: arguments.number("chunk", 64 * 1024)?,
        rate: arguments.number("rate", 0)?,
        echo: arguments.number::<u8>("echo", 0)? > 0,
    };
    let mut poll = Poll::new()?;
    let listen = |token| -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(socket.into());
        poll.registry()
            .register(&mut listener, token, Interest::READABLE)?;
        Ok(listener)
    };
    let (mqtt, control, credit) = (listen(MQTT)?, listen(CONTROL)?, listen(CREDIT)?);
    writeln!(
        io::stdout(),
        "{} {} {}",
        mqtt.local_addr()?.port(),
        control.local_addr()?.port(),
        credit.local_addr()?.port()
    )?;
    io::stdout().flush()?;
    let registry = poll.registry().try_clone()?;
    let mut instrument = Instrument {
        plan,
        registry,
        connections: Vec::new(),
        ready: VecDeque::new(),
        scratch: Scratch::new(),
        going: None,
        next_burst: 0,
        ended: Counts::default(),
    };
    let mut events = Events::with_capacity(1_024);
    let mut commands: Option<Commands> = None;
    let mut credits: Option<Credit> = None;
    loop {
        poll.poll(&mut events, instrument.patience())?;
        for event in &events {
            match event.token() {
                MQTT => instrument.accept(&mqtt)?,
                CONTROL => commands = Some(Commands::accept(&control, &poll, COMMANDS)?),
                CREDIT => credits = Some(Credit::accept(&credit, &poll, CREDITS)?),
                COMMANDS => {
                    let Some(commands) = &mut commands else {
                        continue;
                    };
                    let Some(received) = commands.read()? else {
                        return Ok(());
                    };
                    for command in received {
                        let answer = instrument.obey(command);
                        commands.answer(&answer)?;
                    }
                }
                CREDITS => {
                    if let Some(credits) = &mut credits {
                        instrument.credit(credits.read()?);
                    }
                }
                Token(token) => {
                    instrument.wake(token - FIRST, event.is_readable(), event.is_writable());
                }
            }
        }
        instrument.pace();
        instrument.turns();
    }
}

struct Instrument {
    plan: Plan,
    registry: Registry,
    connections: Vec<Option<Connection>>,
    /// Those that have something to do, each once.
    ready: VecDeque<usize>,
    scratch: Scratch,
    /// Since when it sends.
    going: Option<Instant>,
    /// Of a paced plan, the number of the burst that is to be sent next.
    next_burst: u64,
    /// The counts of connections that have ended.
    ended: Counts,
}

impl Instrument {
    /// How long to wait for events.
    fn patience(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let start = self.going.filter(|_| self.plan.rate > 0)?;
        // The poll's own timeout counts in whole milliseconds, which is as long as a burst.
        let next = start + Duration::from_millis(self.next_burst);
        pause(next.saturating_duration_since(Instant::now()));
        Some(Duration::ZERO)
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let token = Token(FIRST + self.connections.len());
            self.registry.register(
                &mut stream,
                token,
                Interest::READABLE.add(Interest::WRITABLE),
            )?;
            self.connections.push(Some(Connection::new(stream)));
        }
    }

    fn wake(&mut self, index: usize, readable: bool, writable: bool) {
        let Some(Some(connection)) = self.connections.get_mut(index) else {
            return;
        };
        connection.readable |= readable;
        connection.writable |= writable;
        list(&mut self.ready, index, connection);
    }

    /// Each connection that has something to do gets one turn.
    fn turns(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(index) = self.ready.pop_front() else {
                return;
            };
            let Some(Some(connection)) = self.connections.get_mut(index) else {
                continue;
            };
            connection.listed = false;
            if connection.turn(&self.plan, self.going.is_some(), &mut self.scratch) {
                list(&mut self.ready, index, connection);
            } else if connection.closed {
                self.end(index);
            }
        }
    }

    fn end(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::take) else {
            return;
        };
        self.ended.add(connection.counts);
    }

    /// What is due by now of a paced plan.
    fn pace(&mut self) {
        let Some(start) = self.going.filter(|_| self.plan.rate > 0) else {
            return;
        };
        // A burst each millisecond.
        let now = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now < self.next_burst {
            return;
        }
        self.next_burst = now + 1;
        for (index, connection) in self.connections.iter_mut().enumerate() {
            let Some(connection) = connection else {
                continue;
            };
            if let Some(schedule) = &mut connection.schedule {
                schedule.advance(now);
                list(&mut self.ready, index, connection);
            }
        }
    }

    fn credit(&mut self, handled: Option<&[u64]>) {
        let Some(handled) = handled else {
            return;
        };
        for (index, connection) in self.connections.iter_mut().enumerate() {
            let Some(connection) = connection else {
                continue;
            };
            let Some(handled) = connection.client.and_then(|client| handled.get(client)) else {
                continue;
            };
            let limit = handled + self.plan.share;
            if limit > connection.limit {
                connection.limit = limit;
                list(&mut self.ready, index, connection);
            }
        }
    }

    fn obey(&mut self, command: Command) -> String {
        match command {
            Command::Go => {
                self.going = Some(Instant::now());
                self.next_burst = 0;
                let start = nanoseconds(SystemTime::now());
                let open = self.connections.iter_mut().enumerate();
                let mut open: Vec<_> = open
                    .filter_map(|(index, it)| Some((index, it.as_mut()?)))
                    .collect();
                let connections = open.len() as u64;
                for (position, (index, connection)) in (0..).zip(&mut open) {
                    connection.schedule = (self.plan.rate > 0).then_some(Schedule {
                        start,
                        rate: self.plan.rate,
                        connections,
                        position,
                        base: connection.counts.sent,
                        due: connection.counts.sent,
                    });
                    list(&mut self.ready, *index, connection);
                }
                "ok".to_owned()
            }
            Command::Halt => {
                self.going = None;
                "ok".to_owned()
            }
            Command::Kick => {
                for index in 0..self.connections.len() {
                    self.end(index);
                }
                "ok".to_owned()
            }
            Command::Counts => {
                let mut total = self.ended;
                let mut open = 0;
                for connection in self.connections.iter().flatten() {
                    open += 1;
                    total.add(connection.counts);
                }
                format!(
                    "{open} {} {} {} {} {} {}",
                    total.connects,
                    total.subscribed,
                    total.sent,
                    total.acknowledged,
                    total.received,
                    total.errors
                )
            }
        }
    }
}

fn list(ready: &mut VecDeque<usize>, index: usize, connection: &mut Connection) {
    if !connection.listed {
        connection.listed = true;
        ready.push_back(index);
    }
}
