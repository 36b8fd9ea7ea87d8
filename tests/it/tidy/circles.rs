//! No two files of `src` import from each other, directly or through others: each can be read after those that it
//! imports from, and understood with them alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::{code_of, is_word, read, sources};

/// The names of a module from the root of the crate on: those of `src/fleet/stop.rs` are `fleet` and `stop`.
type Names = Vec<String>;

#[test]
fn no_circle_of_files() {
    let paths = sources()
        .into_iter()
        .map(|path| path.to_string_lossy().into_owned());
    let files: Vec<_> = paths.map(|path| (path.clone(), read(&path))).collect();
    let circles = circles(&files);
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn circles_of_files_are_caught() {
    let caught = |files: &[(&str, &str)]| {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        circles(&files.collect::<Vec<_>>())
    };
    // Of two, and of three in a group, in the body of a function and by `super`.
    assert_eq!(
        caught(&[
            ("src/lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;"),
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "use crate::a::A;"),
        ]),
        ["src/a.rs -> src/b.rs -> src/a.rs"]
    );
    assert_eq!(
        caught(&[
            ("src/room/mod.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
            (
                "src/room/a.rs",
                "use crate::{\n    room::{b::{B, Other}, d},\n};"
            ),
            ("src/room/b.rs", "fn f() { super::c::f() }"),
            ("src/room/c.rs", "pub(super) fn f(a: crate::room::a::A) {}"),
        ]),
        ["src/room/a.rs -> src/room/b.rs -> src/room/c.rs -> src/room/a.rs"]
    );
    // A room's front door that imports from what imports from it.
    assert_eq!(
        caught(&[
            ("src/room/mod.rs", "mod a;\nuse a::A;\npub struct Room;"),
            ("src/room/a.rs", "use crate::room::Room;"),
        ]),
        ["src/room/a.rs -> src/room/mod.rs -> src/room/a.rs"]
    );
    // A re-export stands for the file that defines the name, under an alias too.
    let re_export = "mod a;\nmod b;\npub(crate) use b::{B as Other, C};";
    assert_eq!(
        caught(&[
            ("src/room/mod.rs", re_export),
            ("src/room/a.rs", "use crate::room::Other;"),
            ("src/room/b.rs", "use crate::room::a::A;"),
        ]),
        ["src/room/a.rs -> src/room/b.rs -> src/room/a.rs"]
    );
    assert_eq!(
        caught(&[
            ("src/room/mod.rs", re_export),
            ("src/room/a.rs", "use crate::room::C;"),
            ("src/room/b.rs", "use std::mem;"),
        ]),
        [""; 0]
    );
    // The names of modules, for what is in them, and what only tests import.
    assert_eq!(
        caught(&[
            (
                "src/room/mod.rs",
                "pub mod a;\nmod b;\n#[cfg(test)]\nmod tests;\npub use b::B;"
            ),
            (
                "src/room/a.rs",
                "use crate::room::{b};\n//! crate::room::tests\nfn f() { b::f() }"
            ),
            (
                "src/room/b.rs",
                "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::room::a::A;\n}\n\
                 #[cfg(test)]\nuse crate::room::a;\n#[cfg(all(test, unix))]\nfn g() -> a::A { super::a::A }",
            ),
            ("src/room/tests.rs", "use crate::room::{a, b};"),
        ]),
        [""; 0]
    );
}

/// The shortest circle through each file that is in one, each circle once.
fn circles(files: &[(String, String)]) -> Vec<String> {
    let imports = imports(files);
    let mut told = BTreeSet::new();
    let mut circles = Vec::new();
    for file in imports.keys() {
        let Some(circle) = circle_through(file, &imports) else {
            continue;
        };
        let mut members = circle.clone();
        members.sort_unstable();
        if told.insert(members) {
            let circle: Vec<_> = circle.into_iter().chain([file.as_str()]).collect();
            circles.push(circle.join(" -> "));
        }
    }
    circles
}

fn circle_through<'a>(
    file: &'a str,
    imports: &'a BTreeMap<String, BTreeSet<String>>,
) -> Option<Vec<&'a str>> {
    let mut ways = VecDeque::from([vec![file]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in imports.get(*way.last()?).into_iter().flatten() {
            if next == file {
                return Some(way);
            }
            if seen.insert(next) {
                ways.push_back(way.iter().copied().chain([next.as_str()]).collect());
            }
        }
    }
    None
}

/// Which files each file imports from. `lib.rs`, which re-exports from all, is left out.
fn imports(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut modules = BTreeMap::new();
    let mut tests = Vec::new();
    for (path, text) in files {
        let (code, only_in_tests) = without_tests(&code_of(text));
        let names = names_of(path);
        tests.extend(only_in_tests.into_iter().map(|name| child(&names, &name)));
        modules.insert(names, (path.as_str(), code));
    }
    modules.retain(|names, _| !tests.iter().any(|test| names.starts_with(test)));

    let mut named = BTreeMap::new();
    let mut re_exports = BTreeMap::new();
    for (names, (_, code)) in &modules {
        let is_child = |name: &str| modules.contains_key(&child(names, name));
        for (at, path) in paths(code, is_child) {
            let Some((path, alias)) = absolute(names, path) else {
                continue;
            };
            if is_re_export(&code[..at]) {
                re_exports.insert(child(names, &alias), path.clone());
            }
            named.entry(names).or_insert_with(Vec::new).push(path);
        }
    }

    let file_of = |path: &[String]| -> Option<&str> {
        let mut path = path.to_vec();
        // A re-export of a re-export, and no further than a circle of them.
        for _ in 0..8 {
            let module = (0..=path.len())
                .rev()
                .find(|n| modules.contains_key(&path[..*n]))?;
            let exported = path.get(..=module).and_then(|name| re_exports.get(name));
            let Some(exported) = exported else {
                return modules.get(&path[..module]).map(|(file, _)| *file);
            };
            path = exported
                .iter()
                .chain(&path[module + 1..])
                .cloned()
                .collect();
        }
        None
    };
    let mut imports = BTreeMap::new();
    for (names, (file, _)) in &modules {
        if names.is_empty() {
            continue;
        }
        let targets = named.get(names).into_iter().flatten();
        let targets = targets.filter_map(|path| file_of(path));
        let targets = targets.filter(|target| target != file && *target != "src/lib.rs");
        imports.insert((*file).to_owned(), targets.map(str::to_owned).collect());
    }
    imports
}

fn names_of(path: &str) -> Names {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" => Names::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

fn child(names: &[String], name: &str) -> Names {
    names.iter().cloned().chain([name.to_owned()]).collect()
}

/// The code without what is only compiled in tests, and the names of the modules of that kind that have files of
/// their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut modules) = (String::new(), Vec::new());
    let mut rest = code;
    while let Some(at) = ["#[cfg(test)]", "#[cfg(all(test"]
        .iter()
        .filter_map(|it| rest.find(it))
        .min()
    {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        // The end of the attribute, then that of the item: a body, or a semicolon before any.
        let begin = item.find(")]").map_or(item.len(), |end| end + 2);
        let mut depth = 0;
        let end = item[begin..].char_indices().find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0 && ['}', ';'].contains(c)
        });
        let end = end.map_or(item.len(), |(at, _)| begin + at + 1);
        let text = item[begin..end].trim();
        if let Some(module) = text.strip_suffix(';').and_then(|it| it.split_once("mod ")) {
            modules.push(module.1.trim().to_owned());
        }
        rest = &item[end..];
    }
    kept.push_str(rest);
    (kept, modules)
}

/// The paths in the code that begin at a module of this crate, each with where it stands. Their last name may have
/// an alias behind it: `a::B as C` ends in `B as C`.
fn paths(code: &str, is_child: impl Fn(&str) -> bool) -> Vec<(usize, Names)> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("::") {
        let name = code[..at]
            .rsplit(|c| !is_word(c))
            .next()
            .unwrap_or_default();
        let begin = at - name.len();
        let is_first = !code[..begin].ends_with("::");
        if is_first && (["crate", "super", "self"].contains(&name) || is_child(name)) {
            let mut tails = Vec::new();
            tree(&code[begin..], &[], &mut tails);
            paths.extend(tails.into_iter().map(|path| (begin, path)));
        }
    }
    paths
}

/// Reads a path, or a tree of them with groups in braces. Gives back what follows it.
fn tree<'a>(code: &'a str, before: &[String], paths: &mut Vec<Names>) -> &'a str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = tree(rest, before, paths).trim_start();
            rest = match rest.strip_prefix(',') {
                Some(rest) if !rest.trim_start().starts_with('}') => rest,
                Some(rest) => rest.trim_start(),
                None => return rest.strip_prefix('}').unwrap_or(rest),
            };
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
        }
    }
    let end = code.find(|c| !is_word(c)).unwrap_or(code.len());
    let (name, rest) = code.split_at(end);
    let path = child(before, name);
    if let Some(rest) = rest.strip_prefix("::") {
        return tree(rest, &path, paths);
    }
    let Some(alias) = rest.strip_prefix(" as ") else {
        paths.push(path);
        return rest;
    };
    let end = alias.find(|c| !is_word(c)).unwrap_or(alias.len());
    paths.push(child(before, &format!("{name} as {}", &alias[..end])));
    &alias[end..]
}

/// The path from the root of the crate, and the name that it has where it was imported.
fn absolute(names: &[String], path: Names) -> Option<(Names, String)> {
    let (mut base, mut rest) = (names.to_vec(), path.as_slice());
    match rest.first()?.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
        }
        _ => base.push(rest[0].clone()),
    }
    rest = &rest[1..];
    while rest.first().is_some_and(|name| name == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend(
        rest.iter()
            .filter(|name| !["self", ""].contains(&name.as_str()))
            .cloned(),
    );
    let last = base.pop()?;
    let (name, alias) = last.split_once(" as ").unwrap_or((&last, &last));
    base.push(name.to_owned());
    Some((base, alias.to_owned()))
}

/// Whether what stands before a path makes it a `pub use`, of whatever visibility.
fn is_re_export(before: &str) -> bool {
    let statement = before.rsplit([';', '}']).next().unwrap_or_default();
    let statement = statement.rsplit(']').next().unwrap_or_default().trim();
    statement.starts_with("pub") && statement.ends_with("use")
}
