//! `be8 erasure-report`: the proof that an account is erased.

use clap::ArgMatches;

use super::columns::{Cell, Tone, coloured, table};
use super::{named_account, print};
use crate::audit::{ErasureReport, erasure_report};
use crate::config::Config;
use crate::ledger::Log;
use crate::node::{Database, reading_pool};

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
    let pool = reading_pool(&database.connect, 2, config.database_read);
    let report = erasure_report(&Log::new(pool.clone()), &be8_projections::ReadModels::new(pool), account).await;
    database.close().await;
    let report = report.map_err(|error| error.to_string())?.ok_or_else(|| format!("there is no account {account}"))?;
    if json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        print(&format!("{text}\n"));
    } else {
        print(&text(&report, coloured()));
    }
    if report.removed.is_none() || report.complete() { Ok(()) } else { Err("the erasure is not complete".to_owned()) }
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
    use crate::audit::{Deleted, KeyFate, Moment, Retained};

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
            unfinished: [0, 0],
        }
    }

    #[test]
    fn a_report_is_told() {
        insta::assert_snapshot!(text(&sample(), false));
        insta::assert_snapshot!("a_report_for_programs", serde_json::to_string_pretty(&sample()).unwrap());
    }

    #[test]
    fn what_is_wrong_is_told() {
        let mut report = sample();
        report.readable = vec![17, 18];
        report.unfinished = [3, 1];
        assert!(!report.complete());
        insta::assert_snapshot!(text(&report, false));
        let alive = ErasureReport { removed: None, reason: None, unfinished: [3, 1], ..sample() };
        assert!(text(&alive, false).ends_with("\nThe account was not removed.\n"));
    }
}
