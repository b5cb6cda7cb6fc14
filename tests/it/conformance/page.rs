//! The page itself: that every row names the tests that prove it, that these tests exist, and that no row is missing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/conformance.md";

/// How a row begins that cannot be proved by a test of this project.
const NOT_HERE: &str = "not here: ";

/// Where tests are, and how their names begin.
const SOURCES: [(&str, &str); 6] = [
    ("tests/it", "it"),
    ("tests/rooms", "rooms"),
    ("src", "be8"),
    ("events/src", "be8_events"),
    ("events/tests", "be8_events"),
    ("projections/src", "be8_projections"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// All tests of the project by their full names.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (folder, crate_name) in SOURCES {
        collect(&root().join(folder), crate_name, &mut found);
    }
    found
}

fn collect(folder: &Path, module: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
        let path = entry.path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, &format!("{module}::{name}"), found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = match name.as_str() {
                "mod" | "lib" | "main" => module.to_owned(),
                name => format!("{module}::{name}"),
            };
            let text = std::fs::read_to_string(&path).expect("a source");
            found.extend(named(&text).map(|name| format!("{module}::{name}")));
        }
    }
}

/// The tests in a source that run: with their module, if it stands in the same file.
fn named(text: &str) -> impl Iterator<Item = String> {
    let (mut inner, mut marked) = (String::new(), false);
    text.lines().filter_map(move |line| {
        let trimmed = line.trim_start();
        if let Some(module) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            inner = format!("{module}::");
        } else if line == "}" {
            inner.clear();
        }
        if trimmed.starts_with("#[test]") || trimmed.starts_with("#[tokio::test") {
            marked = true;
        } else if trimmed.starts_with("#[ignore") {
            marked = false;
        }
        let signature = trimmed.trim_start_matches("pub ").trim_start_matches("async ").strip_prefix("fn ")?;
        let name = signature.split(['(', '<']).next()?;
        std::mem::take(&mut marked).then(|| format!("{inner}{name}"))
    })
}

/// The rows of all tables of the page: their cells.
fn rows(page: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = page.lines().collect();
    let is_row = |line: &str| line.starts_with('|');
    let is_rule = |line: &str| is_row(line) && line.chars().all(|c| "|-: ".contains(c));
    let head = |n: usize| lines.get(n + 1).is_some_and(|next| is_rule(next));
    let rows = lines.iter().enumerate().filter(|(n, line)| is_row(line) && !is_rule(line) && !head(*n));
    rows.map(|(_, line)| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What is wrong with a page, given which tests there are and what its rows must begin with.
fn findings(page: &str, tests: &BTreeSet<String>, wanted: &BTreeSet<String>) -> Vec<String> {
    let rows = rows(page);
    let mut wrong = Vec::new();
    for row in &rows {
        let Some(proof) = row.last().filter(|_| row.len() > 1) else {
            wrong.push(format!("no cells: {row:?}"));
            continue;
        };
        let named: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        let excused = proof.strip_prefix(NOT_HERE).is_some_and(|why| !why.trim().is_empty());
        if named.is_empty() && !excused {
            wrong.push(format!("{}: neither a test nor \"{NOT_HERE}\" with the reason", row[0]));
        }
        for name in named.into_iter().filter(|name| !tests.contains(*name)) {
            wrong.push(format!("{}: there is no test {name}", row[0]));
        }
    }
    let begun: BTreeSet<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    wrong.extend(wanted.iter().filter(|name| !begun.contains(name.as_str())).map(|name| format!("no row: {name}")));
    wrong
}

/// The rows that the page must have: the contract's holes and decisions, and every operation of the document.
fn wanted() -> BTreeSet<String> {
    let mut wanted: BTreeSet<String> =
        (1..=32).map(|n| format!("H{n}")).chain((1..=28).map(|n| format!("D{n}"))).collect();
    for (path, operations) in be8::http::openapi()["paths"].as_object().expect("paths") {
        let methods = operations.as_object().expect("operations").keys();
        wanted.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    wanted
}

#[test]
fn every_row_is_proved_by_tests_that_exist() {
    let page = std::fs::read_to_string(root().join(PAGE)).expect(PAGE);
    assert!(rows(&page).len() > 200, "{} rows", rows(&page).len());
    let wrong = findings(&page, &tests(), &wanted());
    assert!(wrong.is_empty(), "{PAGE}:\n{}", wrong.join("\n"));
}

#[test]
fn a_page_that_promises_too_much_is_seen() {
    let source = "#[test]\nfn one() {}\n#[tokio::test]\n#[ignore = \"slow\"]\nasync fn asleep() {}\nmod tests {\n    \
        #[tokio::test(flavor = \"x\")]\n    async fn two() {}\n    fn helper() {}\n}\nfn helper() {}\n";
    let tests: BTreeSet<String> = named(source).collect();
    assert_eq!(tests.iter().collect::<Vec<_>>(), ["one", "tests::two"]);
    let page = |rows: &str| format!("# Title\n\n| what | proved by |\n|---|---|\n{rows}\n\nText | more\n");
    let judge = |rows: &str, wanted: &str| findings(&page(rows), &tests, &BTreeSet::from([wanted.to_owned()]));
    assert_eq!(judge("| H1 | a hole | `one`, `tests::two` |\n| x | not here: it is the browser's |", "H1"), [""; 0]);
    for (rows, wanted, finding) in [
        ("| H1 | words alone |", "H1", "H1: neither a test nor"),
        ("| H1 | not here: |", "H1", "H1: neither a test nor"),
        ("| H1 | `one`, `three` |", "H1", "H1: there is no test three"),
        ("| H1 | `asleep` |", "H1", "H1: there is no test asleep"),
        ("| H1 | `one` |", "H2", "no row: H2"),
        ("| H1", "H1", "no cells"),
    ] {
        let found = judge(rows, wanted);
        assert!(found.iter().any(|found| found.starts_with(finding)), "{rows}: {found:?}");
    }
    // And all tests of this very file are found, so the page is judged by what is there.
    assert!(super::page::tests().contains("it::conformance::page::a_page_that_promises_too_much_is_seen"));
}
