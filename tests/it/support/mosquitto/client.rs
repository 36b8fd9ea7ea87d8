//! The other end of a test's messages: `mosquitto_pub` and `mosquitto_sub` as processes of their own.

use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{Mosquitto, PATIENCE, find};
use crate::support::proc::wait_until;
use crate::support::scratch::scratch;

/// One message as `mosquitto_sub` saw it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// A running `mosquitto_sub`. Dropped, it is killed and reaped.
#[derive(Debug)]
pub(crate) struct Subscriber {
    child: Child,
    stdout: ChildStdout,
    count: usize,
}

impl Mosquitto {
    /// Publishes with `mosquitto_pub`; with QoS 1 and 2 it returns after the broker's acknowledgement.
    pub(crate) fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, qos: u8, retain: bool) {
        let payload = payload.as_ref();
        let mut command = self.client("mosquitto_pub");
        command.args(["-t", topic, "-q", &qos.to_string()]);
        if retain {
            command.arg("-r");
        }
        // `-s` sends all of standard input as one message, but nothing when it is empty.
        command.arg(if payload.is_empty() { "-n" } else { "-s" });
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub can be run");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        // When it has ended early, the pipe is broken; its exit status says why.
        let _ = stdin.write_all(payload);
        drop(stdin);
        let output = child
            .wait_with_output()
            .expect("mosquitto_pub can be waited for");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "mosquitto_pub {topic}: {}\n{stderr}",
            output.status
        );
    }

    /// Subscribes with `mosquitto_sub` for the first `count` messages; returns once the broker knows it.
    pub(crate) fn subscribe(&self, filter: &str, qos: u8, count: usize) -> Subscriber {
        let id = scratch("sub");
        let id = id
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut command = self.client("mosquitto_sub");
        command.args(["-t", filter, "-q", &qos.to_string(), "-i", &id]);
        // It ends by itself: after `count` messages, or with an error when they do not come.
        command.args([
            "-C",
            &count.to_string(),
            "-W",
            &PATIENCE.as_secs().to_string(),
        ]);
        // The payload in hexadecimal keeps a message on its line; the topic is last, for its blanks.
        command.args(["-F", "%q %r <%x> %t"]);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub can be run");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let subscriber = Subscriber {
            child,
            stdout,
            count,
        };
        let entry = format!("{id} {qos} {filter}");
        wait_until("mosquitto_sub is subscribed", PATIENCE, || {
            self.log().contains(&entry)
        });
        subscriber
    }

    fn client(&self, name: &str) -> Command {
        let program =
            find(name).unwrap_or_else(|| panic!("{name} is installed with mosquitto's clients"));
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command
    }
}

impl Subscriber {
    /// Waits for all its messages, in the order of receipt; panics when they do not come.
    pub(crate) fn messages(mut self) -> Vec<Seen> {
        let mut text = String::new();
        self.stdout
            .read_to_string(&mut text)
            .expect("mosquitto_sub prints topics in UTF-8");
        let seen: Vec<Seen> = text.lines().map(Seen::parse).collect();
        assert_eq!(
            seen.len(),
            self.count,
            "mosquitto_sub waited for {} messages: {seen:?}",
            self.count
        );
        seen
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // It has ended by itself when its messages were taken.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    fn parse(line: &str) -> Seen {
        let parts: Vec<&str> = line.splitn(4, ' ').collect();
        let [qos, retain, payload, topic] = parts[..] else {
            panic!("not a line of mosquitto_sub: {line:?}");
        };
        let digits = payload.trim_matches(['<', '>']).as_bytes();
        let payload = digits
            .chunks(2)
            .map(|pair| {
                std::str::from_utf8(pair)
                    .ok()
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            })
            .collect::<Option<Vec<u8>>>()
            .expect("the payload is hexadecimal");
        let qos = qos.parse().expect("the quality of service is a number");
        Seen {
            topic: topic.to_owned(),
            payload,
            qos,
            retain: retain == "1",
        }
    }
}
