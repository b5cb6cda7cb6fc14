//! `be8 check`: whether the log is sound, and whether the read models are what follows from it.

use clap::ArgMatches;
use serde_json::json;

use super::print;
use super::progress::Progress;
use crate::config::Config;
use crate::ledger::check::{Report, check};
use crate::node::Database;

/// Prints a report.
///
/// # Errors
/// One line for people: what kept it from looking, or that something is wrong.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let json = matches.get_one::<String>("format").is_some_and(|format| format == "json");
    let database = Database::open_to_read(&config).await.map_err(|error| error.to_string())?;
    let report = look(&config, &database).await;
    database.close().await;
    let report = report?;
    print(&if json { json_text(&report) } else { text(&report) });
    if report.is_sound() { Ok(()) } else { Err("something is wrong: see the report".to_owned()) }
}

async fn look(config: &Config, database: &Database) -> Result<Report, String> {
    let vault = database.vault(config).await.map_err(|error| error.to_string())?;
    let progress = Progress::new("check");
    let report = check(&database.connect, vault, &|reached, target| progress.at(reached, target)).await;
    progress.end();
    report.map_err(|error| error.to_string())
}

fn text(report: &Report) -> String {
    let sealed = report.sealed;
    let mut out = format!(
        "log            {} events in {} streams\ndigest         {}\nsealed         {} readable, {} erased, {} swept\n\
         read models    {} tables replayed and compared row by row\n",
        report.position, report.streams, report.digest, sealed.readable, sealed.erased, sealed.swept, report.tables,
    );
    for note in &report.notes {
        out.push_str(&format!("note           {note}\n"));
    }
    if report.is_sound() {
        out.push_str("sound\n");
        return out;
    }
    out.push('\n');
    for problem in &report.problems.listed {
        let place = problem.position.map_or_else(|| "head".to_owned(), |position| format!("position {position}"));
        out.push_str(&format!("{place}: {}\n", problem.what));
    }
    let omitted = report.problems.count - report.problems.listed.len() as u64;
    if omitted > 0 {
        out.push_str(&format!("and {omitted} more\n"));
    }
    for difference in &report.differences {
        out.push_str(&format!(
            "table {}: {} rows only live, {} only replayed\n",
            difference.table, difference.only_live, difference.only_replayed
        ));
        for (whose, row) in [("live", &difference.first_live), ("replayed", &difference.first_replayed)] {
            if let Some(row) = row {
                out.push_str(&format!("  first {whose}: {row}\n"));
            }
        }
    }
    out
}

fn json_text(report: &Report) -> String {
    let row = |row: &Option<String>| row.as_deref().map(serde_json::from_str::<serde_json::Value>).and_then(Result::ok);
    let problem = |p: &crate::ledger::check::Problem| json!({ "position": p.position, "what": p.what });
    let difference = |d: &be8_projections::compare::Difference| {
        json!({
            "table": d.table, "onlyLive": d.only_live, "onlyReplayed": d.only_replayed,
            "firstLive": row(&d.first_live), "firstReplayed": row(&d.first_replayed),
        })
    };
    let printed = json!({
        "sound": report.is_sound(), "position": report.position, "streams": report.streams,
        "digest": report.digest.to_string(), "readable": report.sealed.readable, "erased": report.sealed.erased,
        "swept": report.sealed.swept, "tables": report.tables, "problemCount": report.problems.count,
        "problems": report.problems.listed.iter().map(problem).collect::<Vec<_>>(),
        "differences": report.differences.iter().map(difference).collect::<Vec<_>>(), "notes": report.notes,
    });
    format!("{printed}\n")
}

#[cfg(test)]
mod tests {
    use be8_events::{Hash32, Position};
    use be8_projections::compare::Difference;

    use super::*;
    use crate::ledger::check::{Problem, Problems, SealedCount};

    fn report() -> Report {
        Report {
            position: Position(1200),
            streams: 40,
            digest: Hash32([0xab; 32]),
            sealed: SealedCount { readable: 900, erased: 20, swept: 3 },
            tables: 9,
            problems: Problems::default(),
            differences: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_sound_log_is_reported_in_a_few_lines() {
        insta::assert_snapshot!(text(&report()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut report = report();
        report.notes.push("there is no vault".to_owned());
        report.problems.count = 3;
        report.problems.listed = vec![
            Problem { position: Some(Position(7)), what: "there is no event".to_owned() },
            Problem { position: None, what: "the head row counts accounts up to 1, but there is 2".to_owned() },
        ];
        report.differences.push(Difference {
            table: "account",
            only_live: 1,
            only_replayed: 1,
            first_live: Some(r#"{"id":10001,"nickname":1}"#.to_owned()),
            first_replayed: Some(r#"{"id":10001,"nickname":2}"#.to_owned()),
        });
        insta::assert_snapshot!(text(&report));
        insta::assert_snapshot!("as_json", json_text(&report));
    }
}
