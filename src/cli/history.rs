//! `be8 history`: a group's history, or the group as it was at a point.

use be8_events::{GroupId, Position};
use clap::ArgMatches;

use super::columns::{Cell, Tone, coloured, table};
use super::{named_group, print};
use crate::audit::{Act, Entry, PageRequest, Point, StateThen, Visibility, history, state_at};
use crate::config::Config;
use crate::json::history::{GroupThen, HistoryEntry};
use crate::ledger::Log;
use crate::node::Database;

/// How many entries are read at once.
const PAGE: u32 = 1000;

/// Prints the history, or with `--at` the state, of the named group.
///
/// # Errors
/// One line for people.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let (group, json) = named_group(matches)?;
    let at = matches.get_one::<String>("at").map(|text| text.parse::<Point>());
    let at = at.transpose().map_err(|error| format!("--at: {error}"))?;
    let database = Database::open_to_read(&config).await.map_err(|error| error.to_string())?;
    let log = Log::new(database.reader(&config));
    let printed = match at {
        Some(point) => print_state(&log, group, point, json).await,
        None => print_history(&log, group, json).await,
    };
    database.close().await;
    printed
}

async fn print_state(log: &Log, group: GroupId, point: Point, json: bool) -> Result<(), String> {
    let state = state_at(log, group, point).await.map_err(|error| error.to_string())?;
    let state = state.ok_or_else(|| format!("there was no group {group} then"))?;
    if json {
        let text = serde_json::to_string_pretty(&GroupThen::from(&state)).map_err(|error| error.to_string())?;
        print(&format!("{text}\n"));
    } else {
        print(&state_text(group, &state, coloured()));
    }
    Ok(())
}

/// Page by page, so that a long history needs no memory. JSON comes a line each, for `jq`.
async fn print_history(log: &Log, group: GroupId, json: bool) -> Result<(), String> {
    let mut after = Position::START;
    let mut any = false;
    loop {
        let page = history(log, group, &Visibility::Everything, PageRequest::After(after), PAGE).await;
        let page = page.map_err(|error| error.to_string())?;
        let Some(last) = page.entries.last() else { break };
        after = last.position;
        any = true;
        if json {
            for entry in &page.entries {
                let line = serde_json::to_string(&HistoryEntry::from(entry)).map_err(|error| error.to_string())?;
                print(&format!("{line}\n"));
            }
        } else {
            print(&history_text(&page.entries, coloured()));
        }
        if !page.more {
            break;
        }
    }
    if any { Ok(()) } else { Err(format!("there is no group {group}")) }
}

/// Entries as a table.
pub(super) fn history_text(entries: &[Entry], colour: bool) -> String {
    let rows: Vec<Vec<Cell>> = entries
        .iter()
        .map(|entry| {
            let (what, details, tone) = describe(&entry.act);
            vec![
                (entry.position.to_string(), Tone::Plain),
                (entry.time.to_string(), Tone::Quiet),
                (entry.actor.map_or_else(|| "-".to_owned(), |actor| actor.to_string()), Tone::Strong),
                (what.to_owned(), tone),
                (details, Tone::Plain),
            ]
        })
        .collect();
    table(&["POSITION", "TIME", "ACTOR", "WHAT", "DETAILS"], &rows, colour)
}

fn describe(act: &Act) -> (&'static str, String, Tone) {
    match act {
        Act::Created { access, capacity } => {
            ("created", format!("{}, at most {capacity} members", access.name()), Tone::Good)
        }
        Act::Joined { account, stay } => ("joined", format!("{account}, stay {stay}"), Tone::Good),
        Act::Added { account, stay } => ("added", format!("{account}, stay {stay}"), Tone::Good),
        Act::Left { account, stay } => ("left", format!("{account}, stay {stay}"), Tone::Bad),
        Act::Kicked { account, stay } => ("kicked", format!("{account}, stay {stay}"), Tone::Bad),
        Act::VersionAllocated { version } => ("version", format!("version {version}"), Tone::Strong),
        Act::KeyStored { version, account, keyholder, fingerprint, replaces } => {
            let replaced = replaces.map_or_else(String::new, |position| format!(", replaces {position}"));
            ("key", format!("version {version} for {account} by {keyholder}, {fingerprint}{replaced}"), Tone::Plain)
        }
        Act::Destroyed { members } => ("destroyed", format!("{} members", members.len()), Tone::Bad),
        Act::Message { id, version } => {
            let version = version.map_or_else(String::new, |version| format!(", version {version}"));
            ("message", format!("number {id}{version}"), Tone::Quiet)
        }
    }
}

/// A group at a point: what it was, its members, and who held which key.
fn state_text(group: GroupId, state: &StateThen, colour: bool) -> String {
    let time = state.time.map(|time| time.to_string()).unwrap_or_default();
    let version = state.version.map_or_else(|| "none".to_owned(), |(version, ..)| version.to_string());
    let access = state.access.map_or("", be8_events::group::Access::name);
    let life = if state.destroyed { ", destroyed" } else { "" };
    let mut out = format!("{group} at position {} ({time}): {access}, key version {version}{life}\n\n", state.position);
    let rows: Vec<Vec<Cell>> = state
        .members
        .iter()
        .map(|(account, member)| {
            let held = state.keys.iter().filter(|(_, keys)| keys.contains_key(account));
            let held: Vec<String> = held.map(|(version, _)| version.to_string()).collect();
            let admin = if state.admin == Some(*account) { "admin" } else { "" };
            vec![
                (account.to_string(), Tone::Strong),
                (member.stay.to_string(), Tone::Plain),
                (member.since.to_string(), Tone::Plain),
                (admin.to_owned(), Tone::Good),
                (held.join(" "), Tone::Plain),
            ]
        })
        .collect();
    out.push_str(&table(&["MEMBER", "STAY", "SINCE", "", "HOLDS VERSIONS"], &rows, colour));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::sample_history;

    #[test]
    fn a_history_is_a_table() {
        insta::assert_snapshot!(history_text(&sample_history(), false));
    }

    #[test]
    fn a_history_has_colours_on_a_terminal() {
        insta::assert_snapshot!(history_text(&sample_history()[..4], true));
    }

    #[test]
    fn a_state_is_a_table() {
        let mut state = StateThen::default();
        sample_history().iter().for_each(|entry| state.apply(entry));
        insta::assert_snapshot!(state_text("g10001".parse().unwrap(), &state, false));
    }
}
