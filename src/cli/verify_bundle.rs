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
        .arg(Arg::new("known").long("known").value_name("FILE").help(
            "Another bundle of the group, such as an older one or another member's: what both cannot say without a lie is refused",
        ))
}

/// Checks and prints.
///
/// # Errors
/// One line that says what is wrong.
pub fn run(matches: &ArgMatches) -> Result<(), String> {
    let file = matches.get_one::<String>("FILE").map(String::as_str).unwrap_or_default();
    let key = matches.get_one::<String>("key").map(|key| key.parse::<PublicKey>());
    let key = key.transpose().map_err(|error| format!("--key: {error}"))?;
    let bundle = verified(file, key.as_ref())?;
    let known = matches.get_one::<String>("known");
    if let Some(known) = known {
        let known = verified(known, key.as_ref())?;
        bundle.agrees_with(&known).map_err(|error| format!("{file} is refused: {error}"))?;
    }
    let text = summary(&bundle, key.is_some());
    print(&text);
    print(&format!("\n{}", history::history_text(&bundle.entries(), coloured())));
    print(&format!("\n{}", findings::text(&bundle.findings(SystemClock.now()), coloured())));
    Ok(())
}

/// The bundle of a file.
fn verified(file: &str, key: Option<&PublicKey>) -> Result<VerifiedBundle, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let refused = |what: &dyn std::fmt::Display| format!("{file} is refused: {what}");
    let text = String::from_utf8(bytes).map_err(|_| refused(&"it is not text"))?;
    verify_bundle(&text, key).map_err(|error| refused(&error))
}

/// What was checked, a line each.
fn summary(bundle: &VerifiedBundle, compared: bool) -> String {
    let VerifiedBundle { key, witnesses, group, reader, checkpoint, until, events, messages } = bundle;
    let life = events.iter().filter(|event| event.stream == be8_events::StreamName::Group(*group)).count();
    let mut out = if events.is_empty() {
        format!("There is no group {group}: that is proved to {reader}.\n")
    } else {
        format!("The bundle of {group} for {reader} is whole and in the log.\n")
    };
    let compared = if compared { "the key that you named" } else { "compare it with the one that you know" };
    let _ = writeln!(out, "  signed by   {key} ({compared})");
    for (witness, time) in witnesses {
        let _ = writeln!(out, "  witnessed   {time} by {witness}");
    }
    if witnesses.is_empty() {
        out.push_str("  witnessed   by nobody: whether others are shown the same log is not known\n");
    }
    let _ = writeln!(out, "  checkpoint  {} events of the server, root {}", checkpoint.size, checkpoint.root);
    let complete = match until {
        Some(until) => format!("no others up to position {until}, by the map of histories in the checkpoint"),
        None => "and no others, as the server says: a bundle of this form does not prove it".to_owned(),
    };
    let _ = writeln!(out, "  history     all {life} events of the group, {complete}");
    let _ = writeln!(out, "  messages    {} of {messages}", events.len() - life);
    out
}
