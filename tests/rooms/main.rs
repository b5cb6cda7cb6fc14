//! The rooms of the house (docs/architecture.md): which crate and folder may use which.

mod circles;
mod source;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use circles::{Crate, circles};
use source::{Source, Use};
use table::{CLOCK, Crates, FILES, IO, ROOMS, Room, SOURCES};

/// No file is longer: it would be about more than one thing.
const MOST_LINES: usize = 500;

/// The crates that are at hand, by the names that code uses.
struct Libraries {
    /// Whatever code may depend on.
    all: BTreeSet<String>,
    /// Those that only tests can use.
    of_tests: BTreeSet<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A manifest, and the names in one of its tables of dependencies.
fn dependencies(manifest: &str, table: &str) -> BTreeSet<String> {
    let manifest: toml::Table = read(manifest).parse().unwrap();
    let names = manifest.get(table).and_then(|table| table.as_table());
    names.into_iter().flatten().map(|(name, _)| name.replace('-', "_")).collect()
}

fn libraries() -> Libraries {
    let manifests =
        ["Cargo.toml", "database/Cargo.toml", "events/Cargo.toml", "postgres/Cargo.toml", "projections/Cargo.toml"];
    let of = |table| manifests.iter().flat_map(move |manifest| dependencies(manifest, table)).collect();
    let needed: BTreeSet<String> = of("dependencies");
    let of_tests: BTreeSet<String> = of("dev-dependencies");
    let all = needed.union(&of_tests).cloned().collect();
    Libraries { all, of_tests: of_tests.difference(&needed).cloned().collect() }
}

/// All Rust files of the project, by their path from its root.
fn files() -> Vec<String> {
    fn walk(directory: &Path, out: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                if entry.file_name() != "target" {
                    walk(&path, out);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut out = Vec::new();
    for part in ["database", "events", "postgres", "projections", "src", "tests", "benches"] {
        walk(&root().join(part), &mut out);
    }
    out.sort();
    out
}

/// The room that a file is in; the longest folder wins.
fn room_of(file: &str) -> Option<&'static Room> {
    ROOMS.iter().filter(|room| file.starts_with(room.path)).max_by_key(|room| room.path.len())
}

/// What a file of a room does that it must not do, each with its line.
fn violations(room: &Room, libraries: &Libraries, text: &str) -> Vec<(usize, String)> {
    let source = Source::new(text);
    let mut found = Vec::new();
    let mut complain = |line, what: String| found.push((line, what));
    if !text.starts_with("//! ") {
        complain(1, "does not open with a `//!` sentence that says what it is about".to_owned());
    }
    if source.lines() > MOST_LINES {
        complain(MOST_LINES + 1, format!("is longer than {MOST_LINES} lines"));
    }
    for (line, used) in source.uses(&libraries.all) {
        match used {
            Use::Unsafe => complain(line, "unsafe code".to_owned()),
            Use::Crate(name) if libraries.of_tests.contains(&name) => {}
            Use::Crate(name) if !room.crates.allow(&name) => complain(line, format!("uses the crate {name}")),
            Use::Module(name) if ROOMS.iter().chain(FILES).any(|other| other.is_module(&name)) => {
                if room.rooms.is_some_and(|rooms| name != room.name() && !rooms.contains(&name.as_str())) {
                    complain(line, format!("uses the room {name}"));
                }
            }
            Use::Path(path) if room.pure && IO.iter().chain(CLOCK).any(|io| path.contains(io)) => {
                complain(line, format!("is not pure: {path}"));
            }
            Use::Path(path) if !room.clock && CLOCK.iter().any(|clock| path.contains(clock)) => {
                complain(line, format!("asks for the time instead of being given it: {path}"));
            }
            Use::Crate(_) | Use::Module(_) | Use::Path(_) => {}
        }
    }
    found
}

#[test]
fn no_file_leaves_its_room() {
    let libraries = libraries();
    let mut wrong = Vec::new();
    let files = files();
    assert!(files.len() > 80, "only {} files found", files.len());
    for file in &files {
        let room = FILES.iter().find(|room| room.path == file).or_else(|| room_of(file));
        let Some(room) = room else {
            wrong.push(format!("{file}:1: is in no room of tests/rooms/table.rs"));
            continue;
        };
        wrong.extend(
            violations(room, &libraries, &read(file)).into_iter().map(|(line, what)| format!("{file}:{line}: {what}")),
        );
    }
    assert!(wrong.is_empty(), "the rooms table is broken:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_of_the_table_has_something_to_say() {
    let libraries = libraries();
    for room in ROOMS.iter().chain(FILES) {
        let Crates::Only(names) = room.crates else { continue };
        for name in names {
            assert!(libraries.all.contains(*name), "{}: nothing depends on {name} any more", room.path);
        }
    }
    for folder in fs::read_dir(root().join("src")).unwrap().map(Result::unwrap) {
        let name = folder.file_name().into_string().unwrap();
        let known = ROOMS
            .iter()
            .chain(FILES)
            .any(|room| room.path == format!("src/{name}") || room.path == format!("src/{name}/"));
        assert!(known, "src/{name} is in no room of tests/rooms/table.rs");
    }
}

#[test]
fn the_page_of_the_house_names_every_room_and_each_is_there() {
    let page = read("docs/architecture.md");
    let table: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    for room in ROOMS.iter().chain(FILES) {
        assert!(root().join(room.path).exists(), "there is no {}", room.path);
        let named = format!("`{}`", room.path);
        assert!(table.iter().any(|row| row.contains(&named)), "docs/architecture.md does not name {}", room.path);
    }
}

#[test]
fn no_files_of_a_crate_use_each_other_in_a_circle() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let crates = manifest["workspace"]["members"].as_array().unwrap();
    let crates = crates.iter().map(|member| format!("{}/src/", member.as_str().unwrap()));
    let crates: Vec<String> = crates.chain(["src/".to_owned()]).collect();
    assert_eq!(crates, SOURCES, "every crate is looked at");
    let files: Vec<(String, String)> = files().into_iter().map(|file| (file.clone(), read(&file))).collect();
    let mut wrong = Vec::new();
    for root in SOURCES {
        let edges = Crate::new(root, &files).edges();
        assert!(edges.len() > 5, "only {} files found in {root}", edges.len());
        wrong.extend(circles(&edges));
    }
    assert!(wrong.is_empty(), "circles:\n{}", wrong.join("\n\n"));
}

#[test]
fn the_checker_sees_circles() {
    let of = |files: &[(&str, &str)]| {
        let files: Vec<(String, String)> =
            files.iter().map(|(file, text)| (format!("src/{file}.rs"), (*text).to_owned())).collect();
        circles(&Crate::new("src/", &files).edges())
    };
    let circle = ["  src/a.rs:1 uses src/b/c.rs\n  src/b/c.rs:2 uses src/a.rs"];
    let to_c = "use crate::b::c::{D, E as F};";
    // Back by a path, by `super`, through a re-export, as a member of a group, and beside a test.
    for back in [
        "\nfn f() -> crate::a::A {}",
        "\nuse super::super::a::A;",
        "\nuse super::A;",
        "\nuse crate::{b::c, a::{self, A}};",
        "#[cfg(test)] mod tests { fn f() {} }\nuse crate::a;",
    ] {
        assert_eq!(of(&[("a", to_c), ("b/mod", "mod c; pub use crate::a::A;"), ("b/c", back)]), circle, "{back}");
    }
    for (a, c) in [
        (to_c, "use crate::other::A;"),
        (to_c, "use super::B;"),
        (to_c, "#[cfg(test)]\nmod tests { use crate::a::A; }"),
        (to_c, "// use crate::a::A;"),
        ("pub use crate::b::c::D;", "use crate::a::D;"),
        ("", "use crate::a::A;"),
    ] {
        assert_eq!(of(&[("a", a), ("b/mod", "mod c; use c::D; pub struct B;"), ("b/c", c)]), [""; 0], "{a} {c}");
    }
}

#[test]
fn the_crates_below_know_nothing_of_those_above() {
    let events: BTreeSet<_> = dependencies("events/Cargo.toml", "dependencies");
    let allowed = ["chrono", "serde", "serde_json", "sha2", "thiserror"].map(str::to_owned).into();
    assert!(events.is_subset(&allowed), "be8-events depends on {:?}", events.difference(&allowed));
    let database = dependencies("database/Cargo.toml", "dependencies");
    assert!(!database.iter().any(|name| name.starts_with("be8")), "be8-database depends on {database:?}");
    let postgres = dependencies("postgres/Cargo.toml", "dependencies");
    assert!(!postgres.iter().any(|name| name.starts_with("be8") && name != "be8_database"), "{postgres:?}");
    let projections = dependencies("projections/Cargo.toml", "dependencies");
    let allowed =
        ["be8_database", "be8_events", "chrono", "futures_util", "parking_lot", "rangemap", "sqlx", "thiserror"]
            .map(str::to_owned)
            .into();
    assert!(projections.is_subset(&allowed), "be8-projections depends on {:?}", projections.difference(&allowed));
}

#[test]
fn no_crate_allows_unsafe_code() {
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
    for manifest in
        ["Cargo.toml", "database/Cargo.toml", "events/Cargo.toml", "postgres/Cargo.toml", "projections/Cargo.toml"]
    {
        let table: toml::Table = read(manifest).parse().unwrap();
        assert_eq!(table["lints"]["workspace"].as_bool(), Some(true), "{manifest}");
    }
}

/// What the checker says of a text in the room at `path`.
fn said(path: &str, text: &str) -> Vec<(usize, String)> {
    let room = FILES.iter().find(|room| room.path == path).or_else(|| room_of(path)).unwrap();
    violations(room, &libraries(), text)
}

#[test]
fn the_checker_sees_what_is_not_allowed() {
    let cases = [
        ("src/domain/x.rs", "use sqlx::PgPool;", "uses the crate sqlx"),
        ("src/domain/x.rs", "fn f() -> poem::Response { todo!() }", "uses the crate poem"),
        ("src/domain/x.rs", "use crate::ledger::Ledger;", "uses the room ledger"),
        ("src/domain/x.rs", "use super::ledger::Ledger;", "uses the room ledger"),
        (
            "src/domain/x.rs",
            "use crate::{\n    domain::State,\n    vault::{Vault, VaultError},\n};",
            "uses the room vault",
        ),
        ("src/domain/x.rs", "let now = chrono::Utc::now();", "is not pure: chrono::Utc::now"),
        ("src/domain/x.rs", "let file = std::fs::read(\"x\");", "is not pure: std::fs::read"),
        ("src/domain/x.rs", "use std::{fmt, net::TcpStream};", "is not pure: std::net::TcpStream"),
        ("src/http/x.rs", "let rows = sqlx::query(\"select 1\");", "uses the crate sqlx"),
        ("src/http/x.rs", "let now = Utc::now();", "asks for the time instead of being given it: Utc::now"),
        ("src/feed/x.rs", "use sqlx as database;", "uses the crate sqlx"),
        ("src/feed/x.rs", "use crate::http::Server;", "uses the room http"),
        ("src/vault/x.rs", "use crate::ledger::Log;", "uses the room ledger"),
        ("src/vault/x.rs", "#[handler(poem::handler)]", "uses the crate poem"),
        ("src/ledger/x.rs", "use poem_openapi::Object;", "uses the crate poem_openapi"),
        ("postgres/src/x.rs", "use be8_events::Event;", "uses the crate be8_events"),
        ("src/support/secret_file.rs", "use crate::{http, config::Config};", "uses the room http"),
        ("src/support/secret_file.rs", "use super::clock::Clock;", "uses the room clock"),
        ("src/vault/x.rs", "use crate::support::{clock, secret_file};", "uses the room clock"),
        ("events/src/x.rs", "let now = SystemTime::now();", "is not pure: SystemTime::now"),
        ("events/src/x.rs", "use rand::random;", "uses the crate rand"),
        ("events/src/x.rs", "use tokio;", "uses the crate tokio"),
        ("projections/src/x.rs", "use poem::Route;", "uses the crate poem"),
        ("src/cli/x.rs", "unsafe { f() }", "unsafe code"),
        ("tests/it/x.rs", "unsafe fn f() {}", "unsafe code"),
    ];
    for (path, line, expected) in cases {
        let text = format!("//! A sample.\n\n// use sqlx::not_this;\n{line}\n");
        let said = said(path, &text);
        assert!(said.iter().any(|(at, what)| *at >= 4 && what == expected), "{path}: {line}: {said:?}");
        assert_eq!(said.iter().filter(|(at, _)| *at < 4).count(), 0, "{path}: {said:?}");
    }
    assert_eq!(said("src/cli/x.rs", "use std::fmt;\n").len(), 1, "the opening sentence is missing");
    assert_eq!(said("src/cli/x.rs", &format!("//! Long.\n{}", "\n".repeat(MOST_LINES))).len(), 1, "too long");
    assert!(room_of("src/cellar/x.rs").is_none());
}

#[test]
fn the_checker_leaves_alone_what_is_allowed() {
    let text = r##"//! A sample that names sqlx::PgPool and poem in words only.

use std::collections::BTreeMap;
use be8_events::{AccId, Event};
use super::{Command, Decision};
use crate::domain::State;

/* use sqlx::PgPool; /* nested */ unsafe */
/// Unlike `crate::ledger::Ledger` this is pure: see [`crate::http`].
const TEXT: &str = "use sqlx::query; unsafe \" std::fs::read";
const RAW: &str = r#"poem::"Route" unsafe"#;
const QUOTE: char = '"'; // unsafe
fn f<'a>(sqlx: &'a str) -> &'a str { sqlx }
fn g(x: X) -> bool { x.poem::<u8>() && unsafely() }
"##;
    assert_eq!(said("src/domain/x.rs", text), []);
}
