//! What the pages of the project promise: that they point to what is there, name all there is, and know the program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

/// The variable that has the page of settings written again.
const RENEW: &str = "BE8_RENEW_SETTINGS";

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_page_of_settings_is_the_table_of_settings() {
    let own = be8::config::markdown();
    let path = root().join("docs/settings.md");
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&path, &own).expect("docs/settings.md");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == own,
        "docs/settings.md is not what the settings are declared as. Renew it with: {RENEW}=1 cargo test --test it page_of_settings"
    );
}

/// The pages of the project.
pub fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(root().join("docs")).expect("docs").flatten();
    let docs = docs.map(|entry| format!("docs/{}", entry.file_name().to_string_lossy()));
    docs.filter(|path| path.ends_with(".md")).chain(["README.md", "CHANGELOG.md"].map(str::to_owned)).collect()
}

#[test]
fn the_pages_point_to_what_is_there() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = read(&page);
        let folder = root().join(&page).parent().expect("a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !target.is_empty() && !folder.join(target).exists() {
                broken.push(format!("{page}: {link}"));
            }
        }
        // What is named as a path of the project is one.
        for word in text.split('`').skip(1).step_by(2) {
            let rooms = [
                "src/",
                "events/",
                "postgres/src/",
                "projections/",
                "scripts/",
                "docs/",
                "tests/",
                "migrations/",
                "openapi/",
            ];
            let path = word.split([' ', ':']).next().unwrap_or_default();
            if rooms.iter().any(|room| path.starts_with(room)) && !path.contains('*') && !root().join(path).exists() {
                broken.push(format!("{page}: {word}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The commands of the program that a page shows, in blocks and in the middle of a text.
fn own_commands(page: &str) -> BTreeSet<String> {
    let parts = || page.split("```").enumerate();
    let inline = parts().filter(|(nth, _)| nth % 2 == 0).flat_map(|(_, text)| text.split('`').skip(1).step_by(2));
    let lines = parts().filter(|(nth, _)| nth % 2 == 1).flat_map(|(_, block)| block.lines().map(str::trim));
    let ends = [" | ", " || ", " > ", " && ", " #"];
    let cut = |code: &str| ends.iter().filter_map(|end| code.find(end)).min().map_or(code.len(), |end| end);
    inline.chain(lines).filter(|code| code.starts_with("be8 ")).map(|code| code[..cut(code)].to_owned()).collect()
}

#[test]
fn every_command_on_the_pages_is_one_that_the_program_knows() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for page in pages() {
        for code in own_commands(&read(&page)) {
            // What may be left out or stands for many is no word to be understood.
            let words: Vec<&str> =
                code.split_whitespace().filter(|word| !word.starts_with(['[', '…', '.', '\\'])).collect();
            // `remove|sessions` is two commands.
            let most = words.iter().map(|word| word.split('|').count()).max().unwrap_or(1);
            for nth in 0..most {
                let words = words.iter().map(|word| word.split('|').nth(nth).unwrap_or(word));
                checked += 1;
                if let Err(error) = be8::cli::command().try_get_matches_from(words)
                    && matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand)
                {
                    wrong.push(format!("{page}: {code}: {error}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 40, "only {checked} found");
}

/// Shows (docs/protocol.md): Health and metrics.
#[test]
fn every_measurement_is_declared_and_explained() {
    let page = read("docs/operations.md");
    let declared: BTreeSet<&str> = be8::measurements::MEASUREMENTS.iter().map(|(_, name, _)| *name).collect();
    let (mut used, mut folders) = (BTreeSet::new(), vec![root().join("src"), root().join("projections/src")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("src/measurements.rs")
            {
                // Some are named by a constant: every text that looks like a name is one.
                let text = std::fs::read_to_string(path).expect("a source");
                let words = text.split('"').skip(1).step_by(2).map(str::to_owned);
                used.extend(words.filter(|word| declared.contains(word.as_str())));
                for kind in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
                    used.extend(text.split(kind).skip(1).filter_map(|rest| Some(rest.split('"').next()?.to_owned())));
                }
            }
        }
    }
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, declared, "src/measurements.rs is the list of all");
    let missing: Vec<_> = declared.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/operations.md does not explain {missing:?}");
}
