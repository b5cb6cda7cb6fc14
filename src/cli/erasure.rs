//! `be8 erasure-report`: the proof that an account is erased.

use be8_events::Timestamp;
use clap::ArgMatches;

use super::columns::{Cell, Tone, coloured, table};
use super::{named_account, print};
use crate::audit::{Copies, Deleted, ErasureReport, erasure_report};
use crate::config::Config;
use crate::ledger::Log;
use crate::node::Database;
use crate::process::rotation::RotationSettings;
use crate::vault::{RotationState, holds_only, rotation_state};

/// How many positions of what is readable are printed.
const SHOWN: usize = 20;

/// Prints the report.
///
/// # Errors
/// One line for people; also when something can be read that should not be.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let account = named_account(matches)?;
    let json = matches.get_one::<String>("format").is_some_and(|format| format == "json");
    let database = Database::open_to_read(&config).await.map_err(|error| error.to_string())?;
    let pool = database.reader(&config);
    let report =
        erasure_report(&Log::new(pool.clone()), &be8_projections::ReadModels::new(pool.clone()), account).await;
    let state = rotation_state(&pool).await;
    database.close().await;
    let mut report =
        report.map_err(|error| error.to_string())?.ok_or_else(|| format!("there is no account {account}"))?;
    if let Some(state) = state.map_err(|error| error.to_string())? {
        let only = holds_only(&config.rotating_key_file, state.generation).map_err(|error| error.to_string())?;
        let last = report.keys.iter().filter_map(|key| key.deleted).max_by_key(|deleted| deleted.position);
        report.copies = last.map(|last| copies(&state, only, report.created.position, last, &config.rotation));
    }
    if json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        print(&format!("{text}\n"));
    } else {
        print(&text(&report, coloured()));
    }
    if report.removed.is_none() || report.complete() { Ok(()) } else { Err("the erasure is not complete".to_owned()) }
}

/// What older copies of keys are worth that were made after position `first` and all deleted up to `last`; `only` says
/// whether the file holds no other rotating key than the newest one.
fn copies(state: &RotationState, only: bool, first: i64, last: Deleted, settings: &RotationSettings) -> Copies {
    let unknown = |why| Copies { worthless: false, until: None, why: Some(why) };
    let until = |time: Timestamp| Copies { worthless: false, until: Some(time.plus(settings.grace)), why: None };
    if state.alone_until.is_none_or(|until| first <= until) {
        return unknown("some may be of a time without a rotating key, and the master key alone opens those");
    }
    match state.wrapped_at {
        _ if state.under_way || state.position < last.position => match settings.every {
            Some(_) => until(last.time.plus(settings.after_erasure)),
            None => unknown("the rotating key is not changed by itself"),
        },
        _ if only => Copies { worthless: true, until: None, why: None },
        wrapped_at => until(wrapped_at.map_or(last.time, Timestamp::from)),
    }
}

/// The word that the log uses for a value.
fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The report for people.
fn text(report: &ErasureReport, colour: bool) -> String {
    let mut out = format!("Account {}, by the log up to position {}\n\n", report.account, report.until);
    let created = report.created;
    out += &format!("created   position {}, {}\n", created.position, created.time);
    out += &match (report.removed, report.reason) {
        (Some(removed), Some(reason)) => {
            format!("removed   position {}, {} ({})\n\n", removed.position, removed.time, word(&reason))
        }
        _ => "removed   never: what follows is what would be erased\n\n".to_owned(),
    };
    let keys: Vec<Vec<Cell>> = report
        .keys
        .iter()
        .map(|key| {
            let cells = match &key.deleted {
                Some(at) => [at.position.to_string(), at.time.to_string(), word(&at.cause)],
                None => ["-".to_owned(), "-".to_owned(), format!("kept: {}", key.kept.as_deref().unwrap_or_default())],
            };
            let tone = if key.deleted.is_some() { Tone::Good } else { Tone::Strong };
            let [position, time, cause] = cells;
            vec![
                (key.subject.clone(), Tone::Plain),
                (key.key.to_string(), Tone::Quiet),
                (position, Tone::Plain),
                (time, Tone::Quiet),
                (cause, tone),
            ]
        })
        .collect();
    out += &table(&["DATA KEY OF", "NUMBER", "DELETED AT", "TIME", "WHY"], &keys, colour);
    out += &format!(
        "\nsealed payloads   {}\nunreadable        {}, of which {} are gone with their bytes\nkept readable     {}\n",
        report.sealed,
        report.unreadable,
        report.swept,
        report.sealed - report.unreadable - report.readable.len(),
    );
    if let Some(copies) = &report.copies {
        let worth = match copies {
            Copies { worthless: true, .. } => "open nothing any more".to_owned(),
            Copies { until: Some(until), .. } => {
                format!("open nothing from {until} on, or as soon as the other keys are wrapped again")
            }
            Copies { why, .. } => format!("may open with the key files: {}", why.unwrap_or_default()),
        };
        out += &format!("copies on disk    of the deleted keys {worth}\n");
    }
    out.push_str("\nRetained, and why\n");
    for kept in &report.retained {
        out += &format!("- {} x {}: {}\n", kept.count, kept.what, kept.why);
    }
    let [conversations, groups] = report.unfinished;
    if report.removed.is_some() && report.unfinished != [0, 0] {
        out += &format!("\nStill to follow: {conversations} conversations to end, {groups} groups to leave.\n");
    }
    if report.removed.is_some() && !report.readable.is_empty() {
        let shown: Vec<String> = report.readable.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = if report.readable.len() > SHOWN { " ..." } else { "" };
        out += &format!("\nREADABLE at positions {}{more}\n", shown.join(" "));
    }
    out += match (report.removed.is_some(), report.complete()) {
        (false, _) => "\nThe account was not removed.\n",
        (true, true) => {
            "\nThe erasure is complete: nothing that was sealed for it can be read any more, but what is retained.\n"
        }
        (true, false) => "\nThe erasure is not complete.\n",
    };
    out
}

#[cfg(test)]
mod tests {
    use be8_events::account::Removal;
    use be8_events::erasure::Cause;

    use super::*;
    use crate::audit::{KeyFate, Moment, Retained};

    fn sample() -> ErasureReport {
        let time = "2026-11-23T12:00:00.000000Z".parse().unwrap();
        let deleted = |position, cause| Some(Deleted { position, time, cause });
        let key = |subject: &str, key, deleted| KeyFate { subject: subject.to_owned(), key, deleted, kept: None };
        ErasureReport {
            account: "10001".parse().unwrap(),
            created: Moment { position: 3, time },
            removed: Some(Moment { position: 99, time }),
            reason: Some(Removal::Panic),
            until: 120,
            keys: vec![
                key("account/10001", 1, deleted(100, Cause::AccountRemoved)),
                KeyFate { kept: Some("needed in g10001".to_owned()), ..key("public-key/10001", 2, None) },
                key("stay/10001:10002/10001/1", 5, deleted(103, Cause::ConversationEnded)),
            ],
            sealed: 12,
            unreadable: 10,
            swept: 7,
            retained: vec![
                Retained { what: "numbers and times".to_owned(), count: 40, why: "the log is append-only".to_owned() },
                Retained { what: "its public key".to_owned(), count: 1, why: "g10001 needs it".to_owned() },
            ],
            readable: vec![],
            copies: Some(Copies { worthless: false, until: Some(time), why: None }),
            unfinished: [0, 0],
        }
    }

    #[test]
    fn a_report_is_printed() {
        insta::assert_snapshot!(text(&sample(), false));
        insta::assert_snapshot!("a_report_for_programs", serde_json::to_string_pretty(&sample()).unwrap());
    }

    #[test]
    fn what_copies_are_worth_follows_from_the_newest_rotation() {
        let minutes = chrono::TimeDelta::minutes;
        let settings = RotationSettings { every: Some(minutes(1440)), after_erasure: minutes(60), grace: minutes(30) };
        let time: Timestamp = "2026-11-23T12:00:00.000000Z".parse().unwrap();
        let last = Deleted { position: 100, time, cause: Cause::AccountRemoved };
        let wrapped_at = Some(time.plus(minutes(10)).to_utc());
        let after = RotationState {
            generation: 2,
            position: 100,
            alone_until: Some(0),
            made_at: time.to_utc(),
            wrapped_at,
            under_way: false,
            oldest_made_at: time.to_utc(),
            oldest_position: 100,
        };
        let worth = |state, only, settings| copies(&state, only, 10, last, settings);
        let until = |minutes_on| Copies { worthless: false, until: Some(time.plus(minutes(minutes_on))), why: None };
        assert_eq!(worth(after, true, &settings), Copies { worthless: true, until: None, why: None });
        assert_eq!(worth(after, false, &settings), until(40));
        assert_eq!(worth(RotationState { under_way: true, ..after }, false, &settings), until(90));
        let before = RotationState { position: 99, ..after };
        assert_eq!(worth(before, true, &settings), until(90));
        let never = RotationSettings { every: None, ..settings };
        let said = |copies: Copies| (copies.worthless, copies.until, copies.why.unwrap_or_default());
        assert_eq!(said(worth(before, true, &never)), (false, None, "the rotating key is not changed by itself"));
        // One that was changed by the command is destroyed all the same.
        assert_eq!(worth(after, false, &never), until(40));
        // Keys of a time without a rotating key.
        for alone_until in [None, Some(10), Some(200)] {
            let (worthless, until, why) = said(worth(RotationState { alone_until, ..after }, true, &settings));
            assert!(
                !worthless && until.is_none() && why.contains("the master key alone opens those"),
                "{alone_until:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_reported() {
        let mut report = sample();
        report.readable = vec![17, 18];
        report.unfinished = [3, 1];
        assert!(!report.complete());
        insta::assert_snapshot!(text(&report, false));
        let alive = ErasureReport { removed: None, reason: None, unfinished: [3, 1], ..sample() };
        assert!(text(&alive, false).ends_with("\nThe account was not removed.\n"));
    }
}
