//! `be8 verify-bundle`: checks a bundle offline, and prints the history and the findings in it.

use std::fmt::Write as _;

use clap::{Arg, ArgMatches, Command};

use super::columns::coloured;
use super::{findings, history, print};
use crate::audit::notes::PublicKey;
use crate::audit::verify::{VerifiedBundle, verify_bundle};
use crate::support::clock::{Clock, SystemClock};

/// The command.
pub fn command() -> Command {
    Command::new("verify-bundle")
        .about("Check a bundle of a group's history without a server (docs/audit.md)")
        .arg(Arg::new("FILE").required(true).help("The bundle, from GET /audit/groups/{groupID}/bundle"))
        .arg(Arg::new("key").long("key").value_name("KEY").help("The public key that must have signed it"))
}

/// Checks and prints.
///
/// # Errors
/// One line that says what is wrong.
pub fn run(matches: &ArgMatches) -> Result<(), String> {
    let file = matches.get_one::<String>("FILE").map(String::as_str).unwrap_or_default();
    let key = matches.get_one::<String>("key").map(|key| key.parse::<PublicKey>());
    let key = key.transpose().map_err(|error| format!("--key: {error}"))?;
    let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let refused = |what: &dyn std::fmt::Display| format!("{file} is refused: {what}");
    let text = String::from_utf8(bytes).map_err(|_| refused(&"it is not text"))?;
    let bundle = verify_bundle(&text, key.as_ref()).map_err(|error| refused(&error))?;
    let text = summary(&bundle, key.is_some());
    print(&text);
    print(&format!("\n{}", history::history_text(&bundle.entries(), coloured())));
    print(&format!("\n{}", findings::text(&bundle.findings(SystemClock.now()), coloured())));
    Ok(())
}

/// What was checked, a line each.
fn summary(bundle: &VerifiedBundle, compared: bool) -> String {
    let VerifiedBundle { key, witnesses, group, reader, checkpoint, events, messages } = bundle;
    let life = events.iter().filter(|event| event.stream == be8_events::StreamName::Group(*group)).count();
    let mut out = format!("The bundle of {group} for {reader} is whole and in the log.\n");
    let compared = if compared { "the key that you named" } else { "compare it with the one that you know" };
    let _ = writeln!(out, "  signed by   {key} ({compared})");
    for (witness, time) in witnesses {
        let _ = writeln!(out, "  witnessed   {time} by {witness}");
    }
    if witnesses.is_empty() {
        out.push_str("  witnessed   by nobody: whether others are shown the same log is not known\n");
    }
    let _ = writeln!(out, "  checkpoint  {} events of the server, root {}", checkpoint.size, checkpoint.root);
    let _ = writeln!(out, "  history     all {life} events of the group up to then");
    let _ = writeln!(out, "  messages    {} of {messages}", events.len() - life);
    out
}
