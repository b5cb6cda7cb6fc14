//! `be8 rebuild`: builds the read models again from the log while the server serves, and goes back.

use be8_projections::Generation;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::columns::{Cell, Tone, coloured, table};
use super::print;
use super::progress::Progress as Bar;
use crate::config::{Config, flags};
use crate::ledger::rebuild::{EVENTS_AT_ONCE, Rebuild, RebuildError, RebuildSession, Rebuilt, abort, status};
use crate::ledger::rebuild::{Phase, Progress, Status};
use crate::ledger::{RebuiltMap, rebuild_map};
use crate::node::{BUILD, Database};

/// The sub-command.
pub(super) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    flags(Command::new("rebuild").about("Build the read models again from the log while servers serve"))
        .arg(
            Arg::new("PROJECTION")
                .num_args(0..)
                .help("Only these read models, with those that they need; the others are taken over"),
        )
        .arg(flag("status", "Print the generations and the progress of a rebuild"))
        .arg(flag("abort", "Stop the rebuild and remove what it has made"))
        .arg(flag("rollback", "Make the generation live again that was live before"))
        .arg(flag("drop-old", "Remove the generation that is kept for a rollback"))
        .arg(flag("force", "Switch even if live and rebuilt tables differ"))
        .arg(
            Arg::new("events-at-once")
                .long("events-at-once")
                .value_name("N")
                .value_parser(value_parser!(i64).range(1..=10_000_000))
                .help(format!("How many events are written at once (default: {EVENTS_AT_ONCE})")),
        )
        .group(clap::ArgGroup::new("other").args(["status", "abort", "rollback", "drop-old"]))
}

/// Runs it.
///
/// # Errors
/// One line for people.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let database = Database::open(&config, true).await.map_err(|error| error.to_string())?;
    let done = database.connect.watched(act(&database, matches)).await;
    database.close().await;
    done.map_err(|error| error.to_string())
}

async fn act(database: &Database, matches: &ArgMatches) -> Result<(), RebuildError> {
    let connect = &database.connect;
    if matches.get_flag("status") {
        print(&status_text(&status(connect).await?, coloured()));
        return Ok(());
    }
    if matches.get_flag("abort") {
        let aborted = abort(connect).await?;
        print(&aborted.map_or_else(
            || "There is no rebuild to abort.\n".to_owned(),
            |generation| format!("Aborted: {generation} is removed.\n"),
        ));
        return Ok(());
    }
    let bar = Bar::new("replay");
    let progress = |progress: Progress| match progress {
        Progress::Begun { generation, resumed: false } => bar.say(format!("{generation}")),
        Progress::Begun { generation, resumed: true } => bar.say(format!("resuming {generation}")),
        Progress::Replayed { reached, target } => bar.at(reached, target),
        Progress::Indexing(left) => bar.say(format!("indexes: {left}")),
        Progress::Comparing(_) => bar.say("comparing"),
    };
    let session = RebuildSession::open(connect, false).await?;
    let done = if matches.get_flag("rollback") {
        session
            .roll_back(&progress)
            .await
            .map(|(live, instead)| format!("{live} is live again, instead of {instead}.\n"))
    } else if matches.get_flag("drop-old") {
        session.drop_old().await.map(|dropped| dropped_text(&dropped))
    } else {
        let what = Rebuild {
            models: matches.get_many::<String>("PROJECTION").into_iter().flatten().cloned().collect(),
            force: matches.get_flag("force"),
            events_at_once: matches.get_one("events-at-once").copied().unwrap_or(EVENTS_AT_ONCE),
        };
        session.rebuild(&what, BUILD, &progress).await.map(|rebuilt| rebuilt_text(&rebuilt))
    };
    session.close().await;
    let done = match done {
        Ok(mut done) if is_whole(matches) => {
            bar.say("map of histories");
            let rebuilt = rebuild_map(connect, &|reached, target| bar.at(reached, target)).await?;
            done.push_str(&map_text(&rebuilt));
            Ok(done)
        }
        done => done,
    };
    bar.end();
    print(&done?);
    Ok(())
}

/// Whether everything is built again that follows from the log.
fn is_whole(matches: &ArgMatches) -> bool {
    let other = matches.get_flag("rollback") || matches.get_flag("drop-old");
    !other && matches.get_many::<String>("PROJECTION").is_none_or(|named| named.len() == 0)
}

fn map_text(rebuilt: &RebuiltMap) -> String {
    let how = if rebuilt.same { "equal to the one before" } else { "and differed before" };
    format!("The map of histories goes up to position {}, {how}.\n", rebuilt.map.until)
}

fn dropped_text(dropped: &[Generation]) -> String {
    match dropped {
        [] => "No earlier generation is kept.\n".to_owned(),
        dropped => dropped.iter().map(|generation| format!("{generation} is removed.\n")).collect(),
    }
}

fn rebuilt_text(rebuilt: &Rebuilt) -> String {
    let rows: i64 = rebuilt.tables.iter().map(|table| table.rows).sum();
    let mut out = format!(
        "{} is live, instead of {}, at position {}.\n",
        rebuilt.generation, rebuilt.instead_of, rebuilt.position
    );
    if rebuilt.differences.is_empty() {
        out.push_str(&format!("{} tables, {rows} rows, equal to the ones before.\n", rebuilt.tables.len()));
    }
    for difference in &rebuilt.differences {
        out.push_str(&format!(
            "{} differed: {} rows before, {} now.\n",
            difference.live.table, difference.live.rows, difference.rebuilt.rows
        ));
    }
    out
}

fn status_text(status: &Status, colour: bool) -> String {
    let Status { generations, head, running } = status;
    let rows: Vec<Vec<Cell>> = generations
        .iter()
        .map(|entry| {
            let reached = if entry.phase == Phase::Live { *head } else { entry.reached };
            let tone = match entry.phase {
                Phase::Live => Tone::Good,
                Phase::Old => Tone::Quiet,
                _ => Tone::Strong,
            };
            let phase = match (entry.phase, running) {
                (phase, false) if phase.is_being_built() => format!("{}, stopped", phase.name()),
                (phase, _) => phase.name().to_owned(),
            };
            let models = if entry.rebuilt.len() == entry.models.len() || entry.rebuilt.is_empty() {
                "all".to_owned()
            } else {
                entry.rebuilt.join(" ")
            };
            vec![
                (entry.generation.to_string(), Tone::Strong),
                (phase, tone),
                (format!("{reached}/{head}"), Tone::Plain),
                (models, Tone::Plain),
                (entry.begun.to_string(), Tone::Quiet),
                (entry.build.clone(), Tone::Quiet),
            ]
        })
        .collect();
    table(&["GENERATION", "PHASE", "POSITION", "REBUILT", "BEGUN", "BY"], &rows, colour)
}

#[cfg(test)]
mod tests {
    use be8_events::Position;

    use super::*;
    use crate::ledger::rebuild::Registered;

    fn entry(number: i32, phase: Phase, reached: i64, rebuilt: &[&str]) -> Registered {
        Registered {
            generation: Generation(number),
            models: vec!["accounts@1:0".to_owned(), "threads@1:0".to_owned()],
            build: "0.1.0".to_owned(),
            phase,
            rebuilt: rebuilt.iter().map(|name| (*name).to_owned()).collect(),
            taken_at: None,
            reached: Position(reached),
            indexes: Vec::new(),
            aborted: false,
            begun: "2026-11-23T12:00:00Z".parse().unwrap(),
            ended: None,
        }
    }

    #[test]
    fn the_status_is_a_table() {
        let generations = vec![
            entry(1, Phase::Old, 900, &[]),
            entry(2, Phase::Live, 900, &["accounts", "threads"]),
            entry(3, Phase::Replay, 400, &["accounts"]),
        ];
        let stopped = Status { generations: generations[2..].to_vec(), head: Position(1000), running: false };
        insta::assert_snapshot!(status_text(&Status { generations, head: Position(1000), running: true }, false));
        insta::assert_snapshot!("a_stopped_rebuild", status_text(&stopped, false));
    }
}
