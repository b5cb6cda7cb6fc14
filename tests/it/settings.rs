//! The settings: which of two words counts, and that each is tried somewhere.

use std::fs;

use be8::config::settings;
use tokio::process::Command;

use crate::pages::root;
use crate::patience::within;

/// The settings that no test here gives, and why.
const NOT_GIVEN: &[(&str, &str)] = &[
    ("database-connections", "how many are enough is a matter of the machine"),
    ("connection-dead-seconds", "it takes a network that swallows packets; the system does the rest"),
    ("postgres-buffers-mib", "the cluster is given it, in tests/it/postgres.rs"),
    ("media-orphan-hours", "the default is waited for, by a clock that is turned"),
    ("view-memory-mib", "what is kept within it is counted in src/views/tests.rs; the tests of reads give bytes"),
    ("signup-queue-percent", "fullness is judged in the tests of src/app/admission.rs"),
    ("account-lifetime-days", "the default is waited for, by a clock that is turned"),
    ("message-lifetime-days", "the default is waited for, by a clock that is turned"),
    ("message-max-bytes", "the default is what the contract says"),
    ("ledger-batch-commands", "how much is good is a matter of the machine"),
    ("ledger-batch-bytes", "how much is good is a matter of the machine"),
    ("ledger-cached-streams", "the library is given it, in tests/it/states.rs"),
];

/// The name of the log whose key a command makes, the name being set in these ways.
async fn name_of(flag: Option<&str>, variable: Option<&str>, file: Option<&str>) -> String {
    let here = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
    command.env_clear().args(["audit-key", "--public-url", "https://default.example", "--data-dir"]).arg(here.path());
    command.args(flag.iter().flat_map(|name| ["--audit-name", name]));
    command.envs(variable.map(|name| ("BE8_AUDIT_NAME", name)));
    if let Some(name) = file {
        let path = here.path().join("be8.toml");
        fs::write(&path, format!("audit-name = \"{name}\"\n")).expect("a file of settings");
        command.arg("--config").arg(path);
    }
    let output = within("the end of a command", command.output()).await.expect("its output");
    let said = String::from_utf8_lossy(&output.stdout);
    said.split('+').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_flag_beats_the_variable_which_beats_the_file() {
    let (flag, variable, file) = (Some("flag"), Some("variable"), Some("file"));
    assert_eq!(name_of(flag, variable, file).await, "flag");
    assert_eq!(name_of(None, variable, file).await, "variable");
    assert_eq!(name_of(None, None, file).await, "file");
    assert_eq!(name_of(flag, None, file).await, "flag");
    assert_eq!(name_of(None, None, None).await, "default.example/audit/log");
}

/// All sources of the tests but this one.
fn tests() -> String {
    let (mut text, mut folders) = (String::new(), vec![root().join("tests/it")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of tests").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path != root().join(file!()) {
                text.push_str(&fs::read_to_string(path).unwrap_or_default());
            }
        }
    }
    text
}

#[test]
fn every_setting_is_given_in_a_test_or_not_for_a_reason() {
    let tests = tests();
    for setting in settings() {
        let variable = format!("BE8_{}", setting.name.to_ascii_uppercase().replace('-', "_"));
        let given = tests.contains(&format!("\"{}\"", setting.name))
            || tests.contains(&format!("--{}", setting.name))
            || tests.contains(&variable);
        let excused = NOT_GIVEN.iter().any(|(name, _)| *name == setting.name);
        assert!(given != excused, "{}: given in a test: {given}, excused: {excused}", setting.name);
    }
    for (name, _) in NOT_GIVEN {
        assert!(settings().any(|setting| setting.name == *name), "there is no {name} any more");
    }
}
