//! `docs/conformance.md` is written from the tests: each names, after `Shows
//! (docs/protocol.md):`, the headings of the page of the
//! protocol that it shows. Here the page is made and compared, and references to headings and tests are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::pages::{pages, read, root};

const PAGE: &str = "docs/conformance.md";
const PROTOCOL: &str = "docs/protocol.md";

/// What stands before the headings that a test shows.
const MARK: &str = "Shows (docs/protocol.md): ";

/// The variable that makes the test write the page.
const RENEW: &str = "BE8_RENEW_CONFORMANCE";

/// Where tests are, and how their names begin.
const SOURCES: [(&str, &str); 7] = [
    ("tests/it", "it"),
    ("tests/rooms", "rooms"),
    ("src", "be8"),
    ("events/src", "be8_events"),
    ("events/tests", "be8_events"),
    ("projections/src", "be8_projections"),
    ("database/src", "be8_database"),
];

/// A test that runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    /// The path of its module, as `cargo test` takes it.
    module: String,
    name: String,
    /// The file that it is in.
    file: String,
    /// The headings of the protocol that it shows.
    shows: Vec<String>,
}

impl Test {
    fn path(&self) -> String {
        format!("{}::{}", self.module, self.name)
    }
}

/// A rule of the protocol: a heading of the third level with its text.
#[derive(Debug)]
struct Rule {
    chapter: String,
    heading: String,
    text: String,
}

/// Each source file of the project with the module that it is.
fn sources() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (folder, crate_name) in SOURCES {
        collect(folder, crate_name, &mut found);
    }
    found
}

fn collect(folder: &str, module: &str, found: &mut Vec<(String, String, String)>) {
    for entry in std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")).flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = format!("{folder}/{name}");
        if entry.path().is_dir() {
            collect(&file, &format!("{module}::{name}"), found);
        } else if let Some(stem) = name.strip_suffix(".rs") {
            let module = match stem {
                "mod" | "lib" | "main" => module.to_owned(),
                stem => format!("{module}::{stem}"),
            };
            found.push((read(&file), module, file));
        }
    }
}

/// The tests of a source file that run, also those of a module inside it.
fn tests_in(text: &str, module: &str, file: &str) -> Vec<Test> {
    let (mut inner, mut runs, mut doc, mut found) = (String::new(), false, String::new(), Vec::new());
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            inner = format!("::{name}");
        } else if line == "}" {
            inner.clear();
        }
        if let Some(words) = trimmed.strip_prefix("///") {
            doc.push_str(words);
        } else if trimmed.starts_with("#[test]") || trimmed.starts_with("#[tokio::test") {
            runs = true;
        } else if trimmed.starts_with("#[ignore") {
            runs = false;
        } else if !trimmed.starts_with("#[") {
            let signature = trimmed.trim_start_matches("pub ").trim_start_matches("async ").strip_prefix("fn ");
            if let Some(name) = signature.and_then(|rest| rest.split(['(', '<']).next()).filter(|_| runs) {
                let headings = doc.split_once(MARK).map_or("", |(_, rest)| rest).trim_end_matches('.');
                found.push(Test {
                    module: format!("{module}{inner}"),
                    name: name.to_owned(),
                    file: file.to_owned(),
                    shows: headings.split("; ").filter(|one| !one.is_empty()).map(str::to_owned).collect(),
                });
            }
            (runs, doc) = (false, String::new());
        }
    }
    found
}

fn tests() -> Vec<Test> {
    let mut found: Vec<_> = sources().iter().flat_map(|(text, module, file)| tests_in(text, module, file)).collect();
    found.sort();
    found
}

/// The rules of a page, in its order.
fn rules(page: &str) -> Vec<Rule> {
    let (mut chapter, mut found) = (String::new(), Vec::<Rule>::new());
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            found.push(Rule { chapter: chapter.clone(), heading: heading.to_owned(), text: String::new() });
        } else if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut chapter);
        } else if let Some(rule) = found.last_mut() {
            rule.text.push_str(line);
            rule.text.push(' ');
        }
    }
    found
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept =
        heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-').collect::<String>();
    kept.replace(' ', "-")
}

/// Every operation of the document.
fn operations() -> Vec<String> {
    let document = be8::http::openapi();
    let paths = document["paths"].as_object().expect("paths").iter();
    paths
        .flat_map(|(path, operations)| {
            let methods = operations.as_object().expect("operations").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
        })
        .collect()
}

/// What is wrong: rules that no test shows, marks that name no rule, operations that no rule is about.
fn gaps(rules: &[Rule], tests: &[Test], operations: &[String]) -> Vec<String> {
    let headings: BTreeSet<&str> = rules.iter().map(|rule| rule.heading.as_str()).collect();
    let shown: BTreeSet<&str> = tests.iter().flat_map(|test| test.shows.iter().map(String::as_str)).collect();
    let mut wrong: Vec<String> =
        headings.difference(&shown).map(|heading| format!("{PROTOCOL}, {heading}: no test shows it")).collect();
    for test in tests {
        let unknown = test.shows.iter().filter(|heading| !headings.contains(heading.as_str()));
        wrong.extend(unknown.map(|heading| format!("{} shows what is no heading: {heading}", test.path())));
    }
    let unnamed = operations.iter().filter(|one| !rules.iter().any(|rule| rule.text.contains(&format!("`{one}`"))));
    wrong.extend(unnamed.map(|one| format!("{PROTOCOL}: no rule names {one}")));
    wrong
}

/// The page.
fn written(rules: &[Rule], tests: &[Test], operations: &[String]) -> String {
    let mut page = format!(
        "# Conformance\n\n\
        The rules of the [wire protocol](protocol.md), each with the tests that show it. The page is generated from the tests: a \
        test names\nthe headings that it shows in its doc comment, after `{}`. A test fails while the page\ndiffers from them, or a \
        rule or an operation of the OpenAPI document has no test; `{RENEW}=1 cargo test --workspace\n--test it page_of_conformance` \
        writes it.\n\n\
        To run a test, give its name, with `_` for each space, to `cargo test --workspace`. `tests/it/conformance/bodies.rs` and\n\
        `tests/it/authorisation/` take their operations from the OpenAPI document, so that they cover later ones by themselves.\n",
        MARK.trim_end()
    );
    let mut chapter = "";
    for rule in rules {
        if rule.chapter != chapter {
            chapter = &rule.chapter;
            let _ = write!(page, "\n## {chapter}\n");
        }
        let _ = write!(page, "\n### [{}](protocol.md#{})\n\n", rule.heading, anchor(&rule.heading));
        for test in tests.iter().filter(|test| test.shows.contains(&rule.heading)) {
            let _ = writeln!(page, "- {} ([`{}`](../{}))", test.name.replace('_', " "), test.module, test.file);
        }
    }
    page.push_str("\n## Operations\n\nThe rules that name an operation; those of requests, sessions and refusals hold for all.\n\n");
    page.push_str("| operation | rules |\n|---|---|\n");
    for operation in operations {
        let about = rules.iter().filter(|rule| rule.text.contains(&format!("`{operation}`")));
        let links: Vec<_> =
            about.map(|rule| format!("[{}](protocol.md#{})", rule.heading, anchor(&rule.heading))).collect();
        let _ = writeln!(page, "| `{operation}` | {} |", links.join(", "));
    }
    page
}

#[test]
fn the_page_of_conformance_is_what_the_tests_show() {
    let (rules, tests, operations) = (rules(&read(PROTOCOL)), tests(), operations());
    let wrong = gaps(&rules, &tests, &operations);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let own = written(&rules, &tests, &operations);
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(root().join(PAGE), &own).expect(PAGE);
    }
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    assert!(
        page == own,
        "{PAGE} is not what the tests show. Renew it with: {RENEW}=1 cargo test --workspace --test it page_of_conformance"
    );
}

/// `docs/protocol.md, "Heading"` in a source names a heading, and a test that a page names is there.
#[test]
fn references_to_the_protocol_and_to_tests_lead_somewhere() {
    let headings: BTreeSet<String> = rules(&read(PROTOCOL)).into_iter().map(|rule| rule.heading).collect();
    let mut wrong = Vec::new();
    let mut references = 0;
    for (text, _, file) in
        sources().into_iter().filter(|(_, _, file)| !Path::new(file).ends_with("conformance/page.rs"))
    {
        let flat = text.replace("\n///", "").replace("\n    ///", "").replace("\n//!", "").replace("\n    //", "");
        for reference in flat.split("docs/protocol.md, \"").skip(1) {
            references += 1;
            let heading = reference.split('"').next().unwrap_or_default();
            if !headings.contains(heading) {
                wrong.push(format!("{file}: {heading}"));
            }
        }
    }
    assert!(references > 20, "{references} references");
    let tests: BTreeSet<String> = tests().iter().map(Test::path).collect();
    for page in pages() {
        let text = read(&page);
        let names = text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.starts_with("it::") && name.matches("::").count() > 1);
        let known =
            |name: &str| tests.contains(name) || tests.iter().any(|test| test.starts_with(&format!("{name}::")));
        wrong.extend(names.filter(|name| !known(name)).map(|name| format!("{page}: {name}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_rule_that_nothing_shows_is_reported() {
    let source = "/// Something else.\n///\n/// Shows (docs/protocol.md): One rule;\n/// Another rule.\n#[test]\nfn one_is_shown() {}\n\
        /// Shows
        /// (docs/protocol.md): Asleep.\n#[tokio::test]\n#[ignore = \"slow\"]\nasync fn asleep() {}\nmod tests {\n    \
        /// Shows
        /// (docs/protocol.md): No rule.\n    #[tokio::test(flavor = \"x\")]\n    async fn two() {}\n    fn helper() {}\n}\n";
    let tests = tests_in(source, "it::here", "tests/it/here.rs");
    let found: BTreeMap<_, _> = tests.iter().map(|test| (test.path(), test.shows.join("|"))).collect();
    let expected = [("it::here::one_is_shown", "One rule|Another rule"), ("it::here::tests::two", "No rule")];
    assert_eq!(found, expected.map(|(path, shows)| (path.to_owned(), shows.to_owned())).into());

    let page = "# Page\n\n## Chapter\n\n### One rule\n\n`GET /one` is\nhere.\n\n### Another rule\n\n### Asleep\n";
    let rules = rules(page);
    let wrong = gaps(&rules, &tests, &["GET /one".to_owned(), "GET /two".to_owned()]);
    assert_eq!(
        wrong,
        [
            "docs/protocol.md, Asleep: no test shows it",
            "it::here::tests::two shows what is no heading: No rule",
            "docs/protocol.md: no rule names GET /two",
        ]
    );
    let written = written(&rules, &tests, &["GET /one".to_owned()]);
    let shown = "### [Another rule](protocol.md#another-rule)\n\n- one is shown ([`it::here`](../tests/it/here.rs))\n";
    assert!(
        written.contains(shown) && written.contains("| `GET /one` | [One rule](protocol.md#one-rule) |"),
        "{written}"
    );
}
