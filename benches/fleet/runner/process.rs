//! A child process: lines to it, lines from it, and what the kernel says about it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, unbounded};

use crate::Result;

/// A child that says nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// It is killed when it is dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name} can't be started: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a child without pipes".into());
        };
        let (tx, lines) = unbounded();
        let read = move || {
            for line in BufReader::new(output).lines().map_while(|it| it.ok()) {
                if tx.send(line).is_err() {
                    return;
                }
            }
        };
        spawn(read)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            input,
            lines,
        })
    }

    /// A line from the child.
    pub(crate) fn line(&mut self) -> Result<String> {
        let line = self.lines.recv_timeout(PATIENCE);
        line.map_err(|error| format!("{} says nothing: {error}", self.name).into())
    }

    pub(crate) fn ask(&mut self, command: &str) -> Result<String> {
        self.input.write_all(format!("{command}\n").as_bytes())?;
        self.input.flush()?;
        self.line()
    }

    /// The CPU time of its threads so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(self.proc("task"))? {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let nanoseconds: u64 = text.split(' ').next().unwrap_or("0").parse()?;
            total += nanoseconds;
        }
        Ok(Duration::from_nanos(total))
    }

    pub(crate) fn resident_kib(&self) -> Result<f64> {
        self.status("VmRSS:")
    }

    pub(crate) fn threads(&self) -> Result<f64> {
        self.status("Threads:")
    }

    pub(crate) fn descriptors(&self) -> Result<f64> {
        Ok(fs::read_dir(self.proc("fd"))?.count() as f64)
    }

    fn status(&self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or("a status without the field")?;
        Ok(value.parse()?)
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "it ends with the child's output")]
fn spawn(read: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().spawn(read)?;
    Ok(())
}

/// The instrument, running.
pub(crate) struct Instrument {
    pub(crate) process: Process,
    pub(crate) port: u16,
    pub(crate) credit: u16,
    control: BufReader<TcpStream>,
}

/// What the instrument has counted so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) open: u64,
    pub(crate) subscribed: u64,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) received: u64,
    pub(crate) errors: u64,
}

impl Instrument {
    pub(crate) fn start(arguments: &[String]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("instrument").args(arguments);
        let mut process = Process::start("the instrument", &mut command)?;
        let ports: Vec<u16> = process
            .line()?
            .split(' ')
            .map(str::parse)
            .collect::<std::result::Result<_, _>>()?;
        let [port, control, credit] = ports[..] else {
            return Err("the instrument has other ports than expected".into());
        };
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, control))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            process,
            port,
            credit,
            control: BufReader::new(stream),
        })
    }

    pub(crate) fn ask(&mut self, command: &str) -> Result<String> {
        let line = format!("{command}\n");
        self.control.get_mut().write_all(line.as_bytes())?;
        let mut answer = String::new();
        self.control.read_line(&mut answer)?;
        match answer.is_empty() {
            true => Err("the instrument is gone".into()),
            false => Ok(answer.trim_end().to_owned()),
        }
    }

    pub(crate) fn counts(&mut self) -> Result<Counts> {
        let answer = self.ask("counts")?;
        let numbers: Vec<u64> = numbers(&answer)?;
        let [open, _, subscribed, sent, acknowledged, received, errors] = numbers[..] else {
            return Err("the instrument has other counts than expected".into());
        };
        Ok(Counts {
            open,
            subscribed,
            sent,
            acknowledged,
            received,
            errors,
        })
    }
}

/// The numbers of an answer.
pub(crate) fn numbers(answer: &str) -> Result<Vec<u64>> {
    answer
        .split_whitespace()
        .map(|it| {
            it.parse()
                .map_err(|_| format!("no numbers: {answer}").into())
        })
        .collect()
}
