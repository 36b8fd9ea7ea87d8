//! docs/TUTORIAL.md answers all of R1 to R57 with what exists, and the Rust of all documents is compiled.

use std::path::Path;
use std::time::Duration;

use mqtt_fleet::testing::TestBroker;
use mqtt_fleet::{ClientSpec, ClientState, Fleet, Outcome, PublishErrorKind, QoS};

use crate::support::fleet::{PATIENCE, spec, start};
use crate::support::mosquitto::Mosquitto;
use crate::support::proc;
use crate::tidy::source::{files, read, root};

const STOP: Duration = Duration::from_secs(10);

/// The rows of the tutorial's table, each with its cells.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let (_, table) = document.split_once("\n## The table\n").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| R"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether `name` is an example's path or a test's: `file::test`.
fn exists(name: &str) -> bool {
    let Some((file, test)) = name.split_once("::") else {
        return root().join(name).is_file();
    };
    let path = format!("tests/it/{file}.rs");
    root().join(&path).is_file() && read(&path).contains(&format!("#[test]\nfn {test}()"))
}

/// Fails if one of R1 to R57 has no row, or two, or if its row says neither `yes`, `partly` nor `later`, or names
/// no example and no test, or one that does not exist.
#[test]
fn every_requirement_has_an_answer() {
    let document = read("docs/TUTORIAL.md");
    let rows = rows(&document);
    let numbers: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let wanted: Vec<String> = (1..=57).map(|n| format!("R{n}")).collect();
    assert_eq!(numbers, wanted);
    for row in &rows {
        assert_eq!(row.len(), 4, "{row:?}");
        let answer = ["yes", "partly", "later"];
        assert!(answer.iter().any(|it| row[2].starts_with(it)), "{row:?}");
        let shown: Vec<&str> = quoted(row[3]).collect();
        assert!(!shown.is_empty(), "{row:?} is shown by nothing");
        for name in shown {
            assert!(exists(name), "{name} of {} does not exist", row[0]);
        }
    }
}

/// Fails if the text of a document names a test or an example that does not exist, or leaves out one of R1 to R57.
#[test]
fn the_text_names_what_exists() {
    let document = read("docs/TUTORIAL.md");
    let (text, _) = document.split_once("\n## The table\n").unwrap();
    for n in 1..=57 {
        let ends = [format!("R{n})"), format!("R{n},")];
        assert!(
            ends.iter().any(|it| text.contains(it.as_str())),
            "R{n} is not in the text"
        );
    }
    for path in documents() {
        for name in quoted(&read(&path)) {
            let is_example = name.starts_with("examples/") && name.ends_with(".rs");
            let is_test = path.ends_with("TUTORIAL.md") && is_test(name);
            if is_example || is_test {
                assert!(exists(name), "{path}: {name} does not exist");
            }
        }
    }
}

/// A name such as `stop::an_idle_client_disconnects`, and not `OnFailure::Log`.
fn is_test(name: &str) -> bool {
    let is_lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let parts: Vec<&str> = name.split("::").collect();
    parts.len() == 2
        && parts
            .iter()
            .all(|it| it.contains('_') || *it == parts[0] && !it.is_empty())
        && parts.concat().chars().all(is_lower)
}

/// README.md and all of docs/.
fn documents() -> Vec<String> {
    let docs = files(Path::new("docs"));
    let docs = docs.iter().map(|path| path.display().to_string());
    docs.filter(|path| path.ends_with(".md"))
        .chain(["README.md".to_owned()])
        .collect()
}

/// The fences of a document with what follows each up to the next.
fn blocks(document: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(fence) = lines
        .by_ref()
        .find_map(|line| line.trim_start().strip_prefix("```"))
    {
        let body = lines.by_ref().take_while(|line| line.trim() != "```");
        blocks.push((fence, body.map(str::trim).collect()));
    }
    blocks
}

/// Fails if a block of Rust in a document is not compiled: it is a doc test by `src/lib.rs`, or it stands word for
/// word in a test, or, marked `compile_fail`, it must not compile.
#[test]
fn the_rust_of_all_documents_is_compiled() {
    let library = read("src/lib.rs");
    let tests: Vec<String> = files(Path::new("tests/it"))
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| {
            let text = read(&path.display().to_string());
            text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
        })
        .collect();
    let mut n_blocks = 0;
    for path in documents() {
        let document = read(&path);
        let is_doc_test = library.contains(&format!("include_str!(\"../{path}\")"));
        for (fence, body) in blocks(&document) {
            // A fence without a language is Rust to rustdoc.
            assert!(!fence.is_empty() || !is_doc_test, "{path}: say what it is");
            if fence.split(',').next() != Some("rust") {
                continue;
            }
            n_blocks += 1;
            if fence.contains("ignore") {
                let body = body.join("\n");
                assert!(
                    tests.iter().any(|test| test.contains(&body)),
                    "{path}: nobody compiles this:\n{body}"
                );
            } else {
                assert!(is_doc_test, "{path} is not in src/lib.rs");
            }
        }
    }
    assert!(n_blocks > 10, "{n_blocks}");
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}

/// Fails if a document links to a file or a heading of this repository that is not there.
#[test]
fn links_lead_somewhere() {
    let mut n_links = 0;
    for path in documents() {
        let document = read(&path);
        let links = document.split("](").skip(1);
        for link in links.filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            n_links += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let directory = Path::new(&path).parent().unwrap();
            let target = match file {
                "" => path.clone(),
                file => directory.join(file).display().to_string(),
            };
            assert!(root().join(&target).exists(), "{path} links to {link}");
            if !heading.is_empty() {
                let text = read(&target);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line) == heading),
                    "{path} links to {link}"
                );
            }
        }
    }
    assert!(n_links > 30, "{n_links}");
}

/// Fails if a stopped client can't come back under its name and its client id in the same process.
#[test]
fn a_client_that_was_stopped_starts_again_in_a_new_fleet() {
    let broker = TestBroker::start().unwrap();
    let spec = spec("again", &broker);
    for n in 1..=3 {
        let fleet = start([spec.clone()]);
        fleet.wait_connected(PATIENCE).unwrap();
        let client = fleet.client("again").unwrap();
        client.stop();
        client.wait_ended(PATIENCE).unwrap();
        assert_eq!(client.outcome(), Some(Outcome::Stopped));
        let refused = client.publish("t", QoS::AtMostOnce, false, "").unwrap_err();
        assert_eq!(refused.kind(), PublishErrorKind::Ended);
        assert_eq!(broker.connects("again"), n);
    }
}

/// Fails if a program can't stop a fleet over the first loss of one client, as the tutorial shows it.
#[test]
fn a_loss_can_end_everything() {
    let broker = TestBroker::start().unwrap();
    let fleet = start([spec("one", &broker), spec("two", &broker)]);
    fleet.wait_connected(PATIENCE).unwrap();
    broker.cut("one");
    let is_loss = |state: &ClientState| matches!(state, ClientState::Lost { .. });
    loop {
        let change = fleet.states().recv_timeout(PATIENCE).unwrap();
        if is_loss(change.state()) {
            assert_eq!(change.client(), "one");
            break;
        }
    }
    let report = fleet.stop(STOP);
    for name in ["one", "two"] {
        let outcome = report.client(name).unwrap().outcome();
        assert_eq!(*outcome, Outcome::Stopped);
    }
    assert_eq!(broker.connects("two"), 1);
}

/// Fails if what docs/TESTING.md shows of a test against mosquitto does not work.
#[test]
fn a_retained_message_arrives() {
    let Some(mosquitto) = Mosquitto::start() else {
        return;
    };
    mosquitto.publish("state", "on", 1, true);
    let spec = ClientSpec::new("plant", mosquitto.url()).subscribe("state", QoS::AtLeastOnce);
    let fleet = start([spec]);
    let message = fleet.messages().unwrap().recv_timeout(PATIENCE).unwrap();
    assert_eq!((&*message.text(), message.retain()), ("on", true));
}

/// Fails if a fleet has threads that docs/THREADS.md does not name, or calls a function of the user on another
/// thread than it says.
#[test]
fn the_threads_are_those_of_the_page() {
    let test = "tutorial::the_threads_are_those_of_the_page";
    proc::alone(test, || {
        let before = proc::thread_names();
        let broker = TestBroker::start().unwrap();
        let of_broker = proc::thread_count() - before.len();
        let (calls, called) = crossbeam_channel::unbounded();
        let on = move |what: &'static str, calls: &crossbeam_channel::Sender<_>| {
            let thread = std::thread::current();
            let _ = calls.send((what, thread.name().unwrap_or_default().to_owned()));
        };
        let [login, tick, handler, state] = [(); 4].map(|()| calls.clone());
        let plant = ClientSpec::new("plant", broker.url())
            .credentials_with(move || {
                on("credentials", &login);
                Ok(("user".into(), "secret".into()))
            })
            .subscribe("t", QoS::AtLeastOnce)
            .publish_every(Duration::from_millis(50), move |client| {
                on("pub function", &tick);
                client.try_publish("t", QoS::AtLeastOnce, false, "")?;
                Ok(())
            });
        let fleet = Fleet::builder()
            .client(plant)
            .workers(1)
            .on_message("t", move |_message, _clients| {
                on("handler", &handler);
                Ok(())
            })
            .on_state(move |_change| on("state callback", &state))
            .start()
            .unwrap();
        let page = read("docs/THREADS.md");
        let mut left = vec![
            ("credentials", "plant", "the client's name"),
            ("pub function", "publisher", "`publisher`"),
            ("handler", "worker-0", "`worker-0`"),
            ("state callback", "worker-0", "`worker-0`"),
        ];
        while !left.is_empty() {
            let (what, on) = called.recv_timeout(PATIENCE).unwrap();
            let Some(at) = left.iter().position(|(it, ..)| *it == what) else {
                continue;
            };
            let (_, thread, on_the_page) = left.remove(at);
            assert_eq!(on, thread, "{what}");
            assert!(page.contains(on_the_page), "{on_the_page}");
        }
        let count = fleet.threads();
        assert_eq!(count.total(), 1 + 1 + 1 + 1);
        // The broker has two threads for the connection, and one that accepts.
        let ours = proc::thread_count() - before.len() - of_broker - 2;
        assert_eq!(ours, count.total() - 1, "{:?}", proc::thread_names());
        fleet.stop(STOP);
    });
}
