//! A real mosquitto under the control of one test: its own port, configuration and directory.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

pub(crate) use client::Seen;

use super::proc::holds_within;
use super::scratch::scratch;

mod client;

/// How long a broker may take to listen or to end, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running mosquitto. Dropped, it is killed, reaped, and its directory removed.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    program: PathBuf,
    directory: PathBuf,
    port: u16,
    /// Of `Builder::listener`, in order.
    more_ports: Vec<u16>,
    /// `None` after `kill` or `stop`.
    child: Option<Child>,
}

/// What a mosquitto is started with; `start` ends it.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    settings: String,
    persistence: bool,
    /// The settings of each further listener.
    listeners: Vec<String>,
}

impl Mosquitto {
    /// Starts one with the defaults of `builder`; `None` when it is not installed.
    pub(crate) fn start() -> Option<Mosquitto> {
        Mosquitto::builder().start()
    }

    /// A mosquitto without persistence and with the limits it ships with.
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The port of the further listener number `n`, from zero.
    pub(crate) fn port_of(&self, n: usize) -> u16 {
        self.more_ports[n]
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// The process, while there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where its configuration, its log and, with `persistence`, its state are. Removed with it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it has logged since it was first started, for the text of a failure.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Kills it at once (SIGKILL), as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error says that it has ended by itself, which is what was asked for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it in order (SIGTERM), so that with `persistence` it saves what it holds.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // std can only send SIGKILL; `kill` is built into every shell.
        let status = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", child.id())])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "SIGTERM was sent to mosquitto"
        );
        let ended = holds_within(PATIENCE, || matches!(child.try_wait(), Ok(Some(_))));
        if !ended {
            let _ = child.kill();
            let _ = child.wait();
        }
        assert!(ended, "mosquitto ends on SIGTERM:\n{}", self.log());
    }

    /// Starts it again on the same port, killing it first if it still runs.
    pub(crate) fn restart(&mut self) {
        self.kill();
        // Meanwhile the system may have given the port to a connection of another test, for a moment.
        let mut why = String::new();
        let started = holds_within(PATIENCE, || match self.launch() {
            Ok(()) => true,
            Err(error) => {
                why = error;
                false
            }
        });
        assert!(started, "{why}");
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("mosquitto.log")
    }

    /// Starts the process and waits until it listens. An error says why it did not.
    fn launch(&mut self) -> Result<(), String> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.expect("the directory of the test can be written to");
        let before = self.log().len();
        let mut child = Command::new(&self.program)
            .arg("-c")
            .arg(self.directory.join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        // A connection alone would prove little: another program may have taken the port.
        let mut ended = false;
        let ready = holds_within(PATIENCE, || {
            ended = !matches!(child.try_wait(), Ok(None));
            let runs = self.log()[before..].contains(" running");
            ended || (runs && TcpStream::connect(("127.0.0.1", self.port)).is_ok())
        });
        if ready && !ended {
            self.child = Some(child);
            return Ok(());
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(format!(
            "mosquitto did not start:\n{}",
            &self.log()[before..]
        ))
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
        // A directory that stays behind is no reason to fail a test that may be panicking already.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Builder {
    /// Whether sessions and retained messages outlive the process. Saved at every change, so that little
    /// is lost by `kill`; `stop` loses nothing. Defaults to no.
    pub(crate) fn persistence(mut self, persistence: bool) -> Builder {
        self.persistence = persistence;
        self
    }

    /// How many QoS 1 and 2 messages may be under way to one client; 0 means any number. Defaults to 20.
    pub(crate) fn max_inflight_messages(self, limit: u32) -> Builder {
        self.setting("max_inflight_messages", &limit.to_string())
    }

    /// How many QoS 1 and 2 messages may wait for one client; 0 means any number. Defaults to 1,000.
    pub(crate) fn max_queued_messages(self, limit: u32) -> Builder {
        self.setting("max_queued_messages", &limit.to_string())
    }

    /// Any other line of mosquitto.conf.
    pub(crate) fn setting(mut self, name: &str, value: &str) -> Builder {
        writeln!(self.settings, "{name} {value}")
            .expect("a string takes all that is written to it");
        self
    }

    /// One more listener, on a port of its own, with these lines of mosquitto.conf.
    pub(crate) fn listener(mut self, settings: &str) -> Builder {
        self.listeners.push(settings.to_owned());
        self
    }

    /// Starts it; `None` when it is not installed, which fails instead when `REQUIRE_MOSQUITTO=1`.
    pub(crate) fn start(self) -> Option<Mosquitto> {
        let required = std::env::var_os("REQUIRE_MOSQUITTO");
        let Some(program) = found_or_skipped(find("mosquitto"), required.as_deref()) else {
            // Written past the test harness, which hides what a passing test prints.
            let test = thread::current().name().unwrap_or("a test").to_owned();
            let _ = writeln!(io::stderr(), "{test}: skipped, mosquitto is not installed");
            return None;
        };
        let directory = scratch("mosquitto");
        fs::create_dir(&directory).expect("a directory for mosquitto can be made");
        let mut broker = Mosquitto {
            program,
            directory,
            port: 0,
            more_ports: Vec::new(),
            child: None,
        };
        let mut why = String::new();
        // The port is free when it is picked and may be taken when mosquitto asks for it.
        for _ in 0..5 {
            broker.port = free_port();
            broker.more_ports = self.listeners.iter().map(|_| free_port()).collect();
            let mut config = self.config(&broker.directory, broker.port);
            for (port, settings) in broker.more_ports.iter().zip(&self.listeners) {
                let _ = write!(config, "listener {port} 127.0.0.1\n{settings}\n");
            }
            fs::write(broker.directory.join("mosquitto.conf"), config)
                .expect("the configuration is written");
            match broker.launch() {
                Ok(()) => return Some(broker),
                Err(error) => why = error,
            }
        }
        panic!("{why}");
    }

    /// The text of its mosquitto.conf.
    pub(crate) fn config(&self, directory: &Path, port: u16) -> String {
        let mut config = format!(
            "listener {port} 127.0.0.1\n\
             allow_anonymous true\n\
             log_dest stderr\n\
             log_type error\n\
             log_type warning\n\
             log_type notice\n\
             log_type information\n\
             log_type subscribe\n"
        );
        // Started by root it would become another user, who may not write to the directory.
        config.push_str("user root\n");
        if self.persistence {
            let location = directory.display();
            let _ = write!(
                config,
                "persistence true\n\
                 persistence_location {location}/\n\
                 autosave_on_changes true\n\
                 autosave_interval 1\n"
            );
        }
        config + &self.settings
    }
}

/// Fails when the program is missing although `REQUIRE_MOSQUITTO`, given as `required`, is 1.
pub(crate) fn found_or_skipped(
    program: Option<PathBuf>,
    required: Option<&OsStr>,
) -> Option<PathBuf> {
    assert!(
        program.is_some() || required.is_none_or(|required| required != "1"),
        "REQUIRE_MOSQUITTO=1, and mosquitto is not installed"
    );
    program
}

/// Where a program is. Debian keeps daemons in a directory that the PATH of a user may lack.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the system has a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}
