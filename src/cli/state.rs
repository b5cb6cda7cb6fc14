//! `be8 state`: a stream as it was at any position or time.

use be8_events::{Position, StreamName};
use clap::ArgMatches;

use super::print;
use crate::audit::Point;
use crate::config::Config;
use crate::ledger::Log;
use crate::ledger::state_at::{StateAt, state_at};
use crate::node::Database;

/// Prints the state as JSON.
///
/// # Errors
/// One line for people.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let name = matches.get_one::<String>("STREAM").map(String::as_str).unwrap_or_default();
    let stream: StreamName = name.parse().map_err(|_| {
        format!("{name:?} is no stream; streams are named like account-10001 or group-g10001 (docs/log-format.md)")
    })?;
    let at = matches.get_one::<String>("at").map(|text| text.parse::<Point>());
    let at = at.transpose().map_err(|error| format!("--at: {error}"))?;
    let database = Database::open_to_read(&config).await.map_err(|error| error.to_string())?;
    let log = Log::new(database.reader(&config));
    let then = look(&log, stream, at).await;
    database.close().await;
    let then = then?.ok_or_else(|| format!("there was no stream {stream} then"))?;
    let text = serde_json::to_string_pretty(&then).map_err(|error| error.to_string())?;
    print(&format!("{text}\n"));
    Ok(())
}

async fn look(log: &Log, stream: StreamName, at: Option<Point>) -> Result<Option<StateAt>, String> {
    let at = match at {
        None => Ok(Position(i64::MAX)),
        Some(point) => point.position(log).await,
    };
    let at = at.map_err(|error| error.to_string())?;
    state_at(log, stream, at).await.map_err(|error| error.to_string())
}
