//! The rules of this repository that no lint knows.
//!
//! Each rule is a function from a text to its offenses, so that a made-up text can show that it
//! catches them. Not here, because clippy has lints for them (`unwrap_used`, `expect_used`, `panic`,
//! `todo`, `unimplemented`, set in Cargo.toml and made errors by `.ci/run`): what may panic.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::{code_of, files, is_word, named_after, read, root, rust_blocks, sources};

mod circles;
pub(crate) mod source;

/// The rooms of the house, from the top down. One may import from those on lower floors, and not from its
/// neighbors; `lib.rs` re-exports from all of them.
const FLOORS: [&[&str]; 8] = [
    &["fleet"],
    &["schedule"],
    &["client"],
    &["engine"],
    &["transport", "outbox", "inbox"],
    &["observe"],
    &["session", "supervise"],
    &["spec"],
];

/// `testing` stands beside the house, and may import from these floors and below.
const BELOW_TESTING: usize = 6;

/// Where the configuration of property tests is. All tests may import it.
const PROPERTIES: &str = "properties";

/// The files that may spawn threads.
const SPAWNERS: [&str; 2] = ["src/supervise/thread.rs", "src/testing/thread.rs"];

/// First components of absolute paths that exist on one machine and not on the next.
const PLACES: [&str; 8] = [
    "home",
    "root",
    "Users",
    "tmp",
    "work",
    "workspace",
    "builds",
    "mnt",
];

/// A line that breaks a rule.
struct Offense {
    line: usize,
    what: String,
}

#[test]
fn imports_point_down() {
    assert_clean(sources(), imports);
}

#[test]
fn imports_that_point_up_are_caught() {
    let caught = |path, text| found(imports(path, text));
    assert_eq!(
        caught(
            "src/outbox/queue.rs",
            "use crate::spec::QoS;\nuse crate::outbox::Receipt;"
        ),
        [""; 0]
    );
    assert_eq!(
        caught("src/outbox/queue.rs", "\nuse crate::inbox::Message;"),
        ["2: outbox imports from inbox"]
    );
    assert_eq!(
        caught("src/inbox/mod.rs", "fn f() { crate::outbox::f() }"),
        ["1: inbox imports from outbox"]
    );
    // In a group, over several lines; `client` inside the braces of `spec` is no room.
    let group = "use crate::{\n    spec::{Will, client::X},\n    fleet::Fleet,\n    client,\n};";
    assert_eq!(
        caught("src/supervise/stop.rs", group),
        [
            "3: supervise imports from fleet",
            "4: supervise imports from client"
        ]
    );
    assert_eq!(
        caught("src/fleet.rs", "use crate::testing::TestBroker;"),
        ["1: fleet imports from testing"]
    );
    assert_eq!(
        caught("src/fleet/builder.rs", "use crate::client::Client;"),
        [""; 0]
    );
    assert_eq!(
        caught("src/testing/wire.rs", "use crate::client::Client;"),
        ["1: testing imports from client"]
    );
    // Ways around the rooms.
    assert_eq!(
        caught("src/spec/mod.rs", "use crate::QoS;\nuse crate::*;"),
        [
            "1: `crate::QoS` names no room",
            "2: `crate::` without a room"
        ]
    );
    assert_eq!(
        caught("src/spec/mod.rs", "use super::client::Client;"),
        ["1: spec imports from client"]
    );
    assert_eq!(
        caught("src/spec/retry.rs", "use super::super::client::Client;"),
        ["1: `super::super::` leaves the module unseen: begin with `crate::`"]
    );
    assert_eq!(
        caught("src/stray.rs", "use crate::spec::QoS;"),
        ["1: src/stray.rs is in no room"]
    );
    // No imports, or free to import.
    let prose = "//! See crate::fleet.\n/* crate::fleet */ const A: &str = \"crate::fleet\"; // crate::fleet";
    assert_eq!(caught("src/spec/mod.rs", prose), [""; 0]);
    assert_eq!(
        caught(
            "src/session/filter.rs",
            "mod tests { use super::*; use super::client::X; }"
        ),
        [""; 0]
    );
    assert_eq!(
        caught(
            "src/lib.rs",
            "pub use crate::fleet::Fleet;\npub use crate::{spec::QoS, Other};"
        ),
        [""; 0]
    );
}

#[test]
fn rumqttc_has_one_door() {
    assert_clean(sources(), rumqttc_doors);
}

#[test]
fn rumqttc_elsewhere_is_caught() {
    let text = "//! Over rumqttc.\nuse rumqttc::Client; // rumqttc\nlet not_rumqttc = \"rumqttc\";";
    let offense = ["2: names rumqttc; its doors are src/engine/iter* and src/testing/wire.rs"];
    for path in [
        "src/client/connection.rs",
        "src/testing/broker.rs",
        "src/lib.rs",
    ] {
        assert_eq!(found(rumqttc_doors(path, text)), offense, "{path}");
    }
    for path in [
        "src/engine/iter.rs",
        "src/engine/iter/event.rs",
        "src/engine/iter_v5.rs",
        "src/testing/wire.rs",
    ] {
        assert_eq!(found(rumqttc_doors(path, text)), [""; 0], "{path}");
    }
}

#[test]
fn the_session_has_no_clock_thread_lock_or_socket() {
    let session: Vec<_> = sources();
    let session = session
        .into_iter()
        .filter(|it| it.starts_with("src/session"));
    assert_clean(session.collect(), worldly);
}

#[test]
fn a_clock_in_the_session_is_caught() {
    let text = "use std::{net::TcpStream, time::Instant};\nuse parking_lot::Mutex;\n\
                // Instant::now()\nlet now = Instant::now();\nstd::thread::yield_now();\n\
                use crossbeam_channel::Sender;\nfn f(now: Instant) {}\nuse crate::observe::report::Report;\n\
                use std::sync::{Arc, Mutex};\n\
                #[cfg(test)]\nmod tests { use std::thread; }";
    assert_eq!(
        found(worldly("src/session/inflight.rs", text)),
        [
            "1: the session knows no `std::net`",
            "2: the session knows no `parking_lot`",
            "4: the session knows no `Instant::now`",
            "5: the session knows no `std::thread`",
            "6: the session knows no `crossbeam`",
            "9: the session knows no `std::sync`",
        ]
    );
    assert_eq!(
        found(worldly("src/session/subscriptions/tests.rs", text)),
        [""; 0]
    );
}

#[test]
fn property_tests_have_a_fixed_seed() {
    assert_clean(sources(), random_properties);
    assert_clean(files(Path::new("tests")), random_properties);
}

#[test]
fn a_property_test_with_a_random_seed_is_caught() {
    let text = "proptest! {\n    #[test]\n}\nproptest! {\n    #![proptest_config(Config { ..fixed_seed() })]\n}";
    let offense = ["1: a property test without fixed_seed()"];
    assert_eq!(found(random_properties("src/spec/retry.rs", text)), offense);
}

#[test]
fn a_logger_that_panics_is_kept_apart() {
    assert_clean(sources(), unguarded_logs);
}

#[test]
fn an_unguarded_log_line_is_caught() {
    let text = "use log::warn;\nfn f() {\n    log::info!(\"\");\n}";
    let offenses = ["1: logs past supervise::log", "3: logs past supervise::log"];
    assert_eq!(found(unguarded_logs("src/spec/retry.rs", text)), offenses);
    let guarded = "use crate::supervise::{\n    cause::Cause,\n    log,\n};\nlog::info!(\"\");";
    assert_eq!(found(unguarded_logs("src/a.rs", guarded)), [""; 0]);
    let guarded = "use crate::supervise::log;\nlog::info!(\"\");";
    assert_eq!(found(unguarded_logs("src/a.rs", guarded)), [""; 0]);
}

#[test]
fn threads_are_spawned_in_one_place() {
    assert_clean(sources(), spawns);
}

#[test]
fn threads_spawned_elsewhere_are_caught() {
    let text = "// thread::spawn\nuse std::thread::{self, Builder};\nthread::spawn(f);\n\
                std::thread::scope(|s| 0);\nthread::current();\nlet b = thread::Builder::new();";
    let offenses = [
        "2: thread::Builder",
        "3: thread::spawn",
        "4: thread::scope",
        "6: thread::Builder",
    ];
    assert_eq!(found(spawns("src/client/connection.rs", text)), offenses);
    assert_eq!(found(spawns("src/thread.rs", text)), offenses);
    for path in SPAWNERS {
        assert_eq!(found(spawns(path, text)), [""; 0], "{path}");
    }
}

#[test]
fn errors_are_printed_as_texts() {
    assert_clean(sources(), derived_debug_of_errors);
}

#[test]
fn errors_that_are_printed_as_structures_are_caught() {
    let text = "#[derive(Debug, Clone, thiserror::Error)]\n#[derive(Clone, thiserror::Error)]\n\
                #[derive(\n    Clone,\n    Debug,\n    thiserror::Error,\n)]\n#[derive(Debug)]\nstruct A;";
    assert_eq!(
        found(derived_debug_of_errors("src/spec/a.rs", text)),
        [
            "1: Debug of an error is derived",
            "3: Debug of an error is derived"
        ]
    );
}

#[test]
fn the_readme_shows_the_hello_example() {
    let readme = read("README.md");
    let example = read("examples/hello.rs");
    let difference = readme_difference(&readme, &example);
    assert!(difference.is_none(), "{}", difference.unwrap_or_default());
}

#[test]
fn a_readme_that_shows_something_else_is_caught() {
    let readme = "# Title\n```rust\nlet a = 1;\n```\n\n```rust\nuse a::B;\n\nfn main() {}\n```\n```rust\nfn main() { 2 }\n```\n";
    let example = "//! Says hello.\n//!\n//! cargo run --example hello\n\n// More.\nuse a::B;\n\nfn main() {}\n";
    assert_eq!(readme_difference(readme, example), None);
    assert_eq!(
        readme_difference(&readme.replace("```rust", "```rust,no_run"), example),
        None
    );
    let other = example.replace("{}", "{ 3 }");
    let difference = readme_difference(readme, &other).unwrap();
    assert!(
        difference.contains("fn main() {}") && difference.contains("fn main() { 3 }"),
        "{difference}"
    );
    let longer = format!("{example}fn more() {{}}\n");
    assert!(
        readme_difference(readme, &longer)
            .unwrap()
            .contains("fn more() {}")
    );
    let none = readme.replace("```rust", "```text");
    assert!(
        readme_difference(&none, example)
            .unwrap()
            .contains("no ```rust block")
    );
}

#[test]
fn every_source_says_what_it_is() {
    assert_clean(sources(), undocumented);
}

#[test]
fn a_source_that_does_not_say_what_it_is_is_caught() {
    let offense = ["1: does not begin with a `//!` doc"];
    assert_eq!(
        found(undocumented("src/a.rs", "//! What it is.\n\nuse b;")),
        [""; 0]
    );
    assert_eq!(
        found(undocumented("src/a.rs", "use b;\n//! Late.")),
        offense
    );
    assert_eq!(found(undocumented("src/a.rs", "//!\n")), offense);
    assert_eq!(found(undocumented("src/a.rs", "")), offense);
}

#[test]
fn the_changelog_knows_this_version() {
    assert!(
        names_version(&read("CHANGELOG.md"), env!("CARGO_PKG_VERSION")),
        "CHANGELOG.md has neither a section [{}] nor [Unreleased]",
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn a_changelog_without_this_version_is_caught() {
    assert!(names_version("# Changelog\n\n## [Unreleased]\n", "0.2.0"));
    assert!(names_version("## [0.2.0] - 2024-01-01\n", "0.2.0"));
    assert!(!names_version(
        "## [0.1.0] - 2024-01-01\n\n0.2.0 is Unreleased.\n",
        "0.2.0"
    ));
    assert!(!names_version("", "0.2.0"));
}

#[test]
fn no_text_names_a_path_of_one_machine() {
    assert_clean(files(Path::new("")), machine_paths);
}

#[test]
fn a_path_of_one_machine_is_caught() {
    let place = PLACES[0];
    let caught = |text: &str| found(machine_paths("a.md", text));
    let offense = [format!("1: /{place}")];
    for text in [
        "/P/me/project",
        "see `/P/me`",
        "dir=/P",
        "(\"/P/me\")",
        "under /P, there",
    ] {
        assert_eq!(caught(&text.replace('P', place)), offense, "{text}");
    }
    for text in [
        "docs/P/x",
        "mqtt://broker/P/x",
        "P/x",
        "/Pless/x",
        "../P/x",
        "~/P",
    ] {
        assert_eq!(caught(&text.replace('P', place)), [""; 0], "{text}");
    }
    assert_eq!(caught(env!("CARGO_MANIFEST_DIR")).len(), 1);
}

/// (a) What a file may import from.
fn imports(path: &str, text: &str) -> Vec<Offense> {
    if path == "src/lib.rs" {
        return Vec::new();
    }
    let code = code_of(text);
    let inside = path.trim_start_matches("src/");
    let room = inside.split(['/', '.']).next().unwrap_or_default();
    if !is_room(room) {
        return vec![Offense {
            line: 1,
            what: format!("{path} is in no room"),
        }];
    }
    let first_allowed = match room {
        "testing" => BELOW_TESTING,
        room => floor_of(room).map_or(FLOORS.len(), |floor| floor + 1),
    };
    let up = |target: &str| {
        let is_allowed = floor_of(target).is_some_and(|floor| floor >= first_allowed);
        is_room(target) && target != room && target != PROPERTIES && !is_allowed
    };
    let mut offenses = Vec::new();
    for (line, name) in named_after(&code, "crate::") {
        if up(&name) {
            offenses.push(Offense {
                line,
                what: format!("{room} imports from {name}"),
            });
        } else if name.is_empty() {
            offenses.push(Offense {
                line,
                what: "`crate::` without a room".to_owned(),
            });
        } else if !is_room(&name) {
            // A re-export of lib.rs: through it, every room would reach every other.
            offenses.push(Offense {
                line,
                what: format!("`crate::{name}` names no room"),
            });
        }
    }
    // From a file that is a room's front door, `super` is the crate.
    let is_door = inside.ends_with("/mod.rs") || !inside.contains('/');
    for (line, name) in named_after(&code, "super::") {
        if name == "super" {
            let what = "`super::super::` leaves the module unseen: begin with `crate::`".to_owned();
            offenses.push(Offense { line, what });
        } else if is_door && up(&name) {
            offenses.push(Offense {
                line,
                what: format!("{room} imports from {name}"),
            });
        }
    }
    offenses
}

/// (b) Who may name rumqttc, so that a replacement of it costs one file.
fn rumqttc_doors(path: &str, text: &str) -> Vec<Offense> {
    if path.starts_with("src/engine/iter") || path == "src/testing/wire.rs" {
        return Vec::new();
    }
    let what = "names rumqttc; its doors are src/engine/iter* and src/testing/wire.rs";
    let names_it = |line: &str| line.split(|c| !is_word(c)).any(|word| word == "rumqttc");
    let code = code_of(text);
    let lines = code.lines().enumerate().filter(|(_, line)| names_it(line));
    lines
        .map(|(index, _)| Offense {
            line: index + 1,
            what: what.to_owned(),
        })
        .collect()
}

/// What the session's logic must not name: it is tested as values, with the time passed in. Its unit tests may.
fn worldly(path: &str, text: &str) -> Vec<Offense> {
    if path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let code = code_of(text);
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let mut names = named_after(code, "std::");
    names.retain(|(_, name)| ["net", "sync", "thread"].contains(&name.as_str()));
    let mut names: Vec<_> = names
        .into_iter()
        .map(|(line, name)| (line, format!("std::{name}")))
        .collect();
    for (index, line) in code.lines().enumerate() {
        for name in ["Instant::now", "SystemTime", "parking_lot", "crossbeam"] {
            if line.contains(name) {
                names.push((index + 1, name.to_owned()));
            }
        }
    }
    names.sort();
    names
        .into_iter()
        .map(|(line, name)| Offense {
            line,
            what: format!("the session knows no `{name}`"),
        })
        .collect()
}

/// (c) Who may spawn threads, so that every thread is named, counted and joined. The unit tests of a
/// room with a folder of tests may: a scope joins what it spawns.
fn spawns(path: &str, text: &str) -> Vec<Offense> {
    if SPAWNERS.contains(&path) || path.contains("/tests/") {
        return Vec::new();
    }
    named_after(&code_of(text), "thread::")
        .into_iter()
        .filter(|(_, name)| ["Builder", "spawn", "scope"].contains(&name.as_str()))
        .map(|(line, name)| Offense {
            line,
            what: format!("thread::{name}"),
        })
        .collect()
}

/// `Debug` of an error is its text (`spec/readable.rs`): `unwrap`, and `?` in `main`, print it.
fn derived_debug_of_errors(_path: &str, text: &str) -> Vec<Offense> {
    let code = code_of(text);
    let derives = code.match_indices("#[derive(").filter_map(|(at, _)| {
        let list = code[at..].split(")]").next()?;
        (list.contains("thiserror::Error") && list.contains("Debug")).then_some(at)
    });
    derives
        .map(|at| Offense {
            line: code[..at].matches('\n').count() + 1,
            what: "Debug of an error is derived".to_owned(),
        })
        .collect()
}

/// (d) Where the program in the README and the example part.
fn readme_difference(readme: &str, example: &str) -> Option<String> {
    let Some(shown) = rust_blocks(readme)
        .into_iter()
        .find(|block| block.contains("fn main"))
    else {
        return Some("README.md has no ```rust block with `fn main`".to_owned());
    };
    let is_header = |line: &&str| line.is_empty() || line.starts_with("//");
    let code = example
        .lines()
        .map(str::trim_end)
        .skip_while(is_header)
        .collect::<Vec<_>>()
        .join("\n");
    let (shown, code) = (shown.trim_end(), code.trim_end());
    if shown == code {
        return None;
    }
    let mut lines = shown.lines().zip(code.lines()).enumerate();
    let (line, (left, right)) = lines
        .find(|(_, (left, right))| left != right)
        .unwrap_or_else(|| {
            let common = shown.lines().count().min(code.lines().count());
            let next = |text| str::lines(text).nth(common).unwrap_or("(the end)");
            (common, (next(shown), next(code)))
        });
    Some(format!(
        "the program in README.md is not examples/hello.rs; line {} of it:\nREADME.md: {left}\nhello.rs:  {right}",
        line + 1
    ))
}

/// (e) A file that does not say what it is.
fn undocumented(_path: &str, text: &str) -> Vec<Offense> {
    let first = text.lines().next().unwrap_or_default();
    if first
        .strip_prefix("//! ")
        .is_some_and(|doc| !doc.trim().is_empty())
    {
        return Vec::new();
    }
    vec![Offense {
        line: 1,
        what: "does not begin with a `//!` doc".to_owned(),
    }]
}

/// (f) Whether a changelog has a section for `version` or for what is to come.
fn names_version(changelog: &str, version: &str) -> bool {
    let headings = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## ["));
    headings
        .filter_map(|heading| heading.split(']').next())
        .any(|name| name == version || name == "Unreleased")
}

/// (h) Absolute paths that only the machine of the writer has.
fn machine_paths(_path: &str, text: &str) -> Vec<Offense> {
    let mut offenses = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut offend = |what: String| {
            offenses.push(Offense {
                line: index + 1,
                what,
            })
        };
        if line.contains(env!("CARGO_MANIFEST_DIR")) {
            offend(env!("CARGO_MANIFEST_DIR").to_owned());
            continue;
        }
        for place in PLACES.map(|place| format!("/{place}")) {
            let is_whole = |at: usize| {
                // What stands before an absolute path can be no part of a path or of a URL.
                let before = line[..at].chars().next_back();
                let after = line[at + place.len()..].chars().next();
                let begins = before.is_none_or(|c| !is_word(c) && !"/.-~:}*+#$".contains(c));
                begins && after.is_none_or(|c| !is_word(c) && c != '-')
            };
            if line.match_indices(&place).any(|(at, _)| is_whole(at)) {
                offend(place);
            }
        }
    }
    offenses
}

/// Applies a rule to files; the failure lists every offense, as compilers do.
fn assert_clean(paths: Vec<PathBuf>, rule: impl Fn(&str, &str) -> Vec<Offense>) {
    assert!(!paths.is_empty(), "a rule without files finds nothing");
    let mut report = String::new();
    for path in paths {
        // What is not UTF-8 is no text.
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        let path = path.to_string_lossy().replace('\\', "/");
        for offense in rule(&path, &text) {
            report += &format!("{path}:{offense}\n");
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn found(offenses: Vec<Offense>) -> Vec<String> {
    offenses.iter().map(Offense::to_string).collect()
}

impl fmt::Display for Offense {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.line, self.what)
    }
}

/// A logger is the user's code: `supervise/log.rs` has the macros that keep its panics apart, under the name
/// of the crate.
fn unguarded_logs(path: &str, text: &str) -> Vec<Offense> {
    if path == "src/supervise/log.rs" {
        return Vec::new();
    }
    let code = code_of(text);
    let imports: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let is_guarded = imports.contains("crate::supervise::log;")
        || imports.split("supervise::{").skip(1).any(|group| {
            let group = group.split(';').next().unwrap_or_default();
            group.split(['{', ',', '}']).any(|name| name == "log")
        })
        || imports.contains("supervise::log,");
    code.lines()
        .enumerate()
        .filter(|(_, line)| {
            let logs = ["error", "warn", "info", "debug", "trace"]
                .iter()
                .any(|level| line.contains(&format!("log::{level}!")));
            line.contains("use log::") || (logs && !is_guarded)
        })
        .map(|(at, _)| Offense {
            line: at + 1,
            what: "logs past supervise::log".to_owned(),
        })
        .collect()
}

fn random_properties(_: &str, text: &str) -> Vec<Offense> {
    let lines: Vec<_> = text.lines().collect();
    let begin = |line: &str| line.trim_start().trim_start_matches("proptest::") == "proptest! {";
    lines
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| begin(pair[0]) && !pair[1].contains("fixed_seed()"))
        .map(|(at, _)| Offense {
            line: at + 1,
            what: "a property test without fixed_seed()".to_owned(),
        })
        .collect()
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

fn is_room(name: &str) -> bool {
    floor_of(name).is_some() || ["testing", PROPERTIES].contains(&name)
}
