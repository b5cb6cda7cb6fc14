//! `be8 log`: the events of the log, for people and for `jq`. What is sealed stays sealed.

use std::time::Duration;

use be8_events::{Event, Position, Recorded, StreamName};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde::Serialize;
use serde_json::value::RawValue;

use super::columns::{Tone, coloured, styled};
use super::print;
use crate::config::{Config, flags};
use crate::ledger::{Log, LogError};
use crate::node::Database;

/// How many events are read at once.
const PAGE: u32 = 1000;
/// How often a follower looks for more.
const LOOK: Duration = Duration::from_millis(200);

/// The sub-command.
pub(super) fn command() -> Command {
    let format = Arg::new("format").long("format").value_name("FORMAT").value_parser(["text", "json"]);
    flags(Command::new("log").about("Print the events of the log; what is sealed stays sealed"))
        .arg(Arg::new("stream").long("stream").value_name("STREAM").help("Only of this stream, such as account-10001"))
        .arg(Arg::new("kind").long("kind").value_name("KIND").help("Only of this kind, such as MessageWritten"))
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("POSITION")
                .default_value("1")
                .value_parser(value_parser!(i64).range(1..))
                .help("From this position on"),
        )
        .arg(Arg::new("follow").long("follow").action(ArgAction::SetTrue).help("Go on with what comes"))
        .arg(format.default_value("text").help("For people, or a JSON object a line"))
}

/// What is wanted.
struct Wanted {
    stream: Option<StreamName>,
    kind: Option<String>,
    after: Position,
    follow: bool,
    json: bool,
}

impl Wanted {
    fn new(matches: &ArgMatches) -> Result<Self, String> {
        let stream = matches.get_one::<String>("stream").map(|name| name.parse::<StreamName>());
        let kind = matches.get_one::<String>("kind").cloned();
        if let Some(kind) = kind.as_deref().filter(|kind| Event::KINDS.iter().all(|(known, _)| known != kind)) {
            let kinds: Vec<&str> = Event::KINDS.iter().map(|(kind, _)| *kind).collect();
            return Err(format!("{kind:?} is no kind of event; there are {}", kinds.join(", ")));
        }
        Ok(Self {
            stream: stream.transpose().map_err(|error| error.to_string())?,
            kind,
            after: Position(matches.get_one::<i64>("from").copied().unwrap_or(1) - 1),
            follow: matches.get_flag("follow"),
            json: matches.get_one::<String>("format").is_some_and(|format| format == "json"),
        })
    }
}

/// Prints the events.
///
/// # Errors
/// One line for people.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let wanted = Wanted::new(matches)?;
    let database = Database::open_to_read(&config).await.map_err(|error| error.to_string())?;
    let log = Log::new(database.reader(&config));
    let printed = tokio::select! {
        printed = print_events(&log, wanted) => printed,
        // Ctrl-C ends following.
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    database.close().await;
    printed.map_err(|error| error.to_string())
}

async fn print_events(log: &Log, wanted: Wanted) -> Result<(), LogError> {
    let mut after = wanted.after;
    loop {
        let newest = log.newest().await?;
        while after < newest {
            let page = match wanted.stream {
                Some(stream) => log.read_streams(&[stream], after, newest, PAGE).await?,
                None => log.read_range(after, newest, wanted.kind.as_deref(), PAGE).await?,
            };
            after = match page.last() {
                Some(last) if page.len() == PAGE as usize => last.position,
                _ => newest,
            };
            let of_kind =
                page.iter().filter(|event| wanted.kind.as_deref().is_none_or(|kind| event.event.kind() == kind));
            let lines: String = of_kind.map(|event| line(event, wanted.json, coloured())).collect();
            if !print(&lines) {
                return Ok(());
            }
        }
        if !wanted.follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An event for programs. The payload is the exact text that is hashed.
#[derive(Serialize)]
struct JsonLine<'a> {
    position: Position,
    stream: String,
    version: i64,
    kind: &'a str,
    schema: u16,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<i64>,
    payload: &'a RawValue,
    salt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    hash: String,
}

fn line(event: &Recorded, json: bool, colour: bool) -> String {
    let payload = String::from_utf8_lossy(&event.payload);
    if json {
        let line = serde_json::from_str(&payload).and_then(|payload| {
            serde_json::to_string(&JsonLine {
                position: event.position,
                stream: event.stream.to_string(),
                version: event.version,
                kind: event.event.kind(),
                schema: event.schema,
                time: event.time.to_string(),
                actor: event.actor.map(be8_events::AccId::number),
                payload,
                salt: event.salt.to_string(),
                sealed: event.sealed.map(|hash| hash.to_string()),
                hash: event.hash().to_string(),
            })
        });
        // It was decoded: the payload is JSON.
        return line.map(|line| line + "\n").unwrap_or_default();
    }
    let actor = event.actor.map_or_else(|| "-".to_owned(), |actor| actor.to_string());
    let sealed = if event.sealed.is_some() { "  + sealed" } else { "" };
    let cells = [
        (format!("{:>8}", event.position.0), Tone::Plain),
        (event.time.to_string(), Tone::Quiet),
        (format!("{actor:>6}"), Tone::Strong),
        (format!("{} {}", event.stream, event.version), Tone::Quiet),
        (event.event.kind().to_owned(), Tone::Good),
        (format!("{payload}{sealed}"), Tone::Plain),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| styled(cell, colour)).collect();
    cells.join("  ") + "\n"
}

#[cfg(test)]
mod tests {
    use be8_events::message::MessageWritten;
    use be8_events::{AccId, Hash32, ThreadId};

    use super::*;

    fn sample() -> Recorded {
        let [sender, receiver] = [10_001, 10_002].map(|number| AccId::new(number).unwrap());
        let thread = ThreadId::Dialog { initiator: sender, receiver };
        let event: Event =
            MessageWritten { thread, id: 2, sender, nickname: Position(1), stay: 1, version: None }.into();
        Recorded {
            position: Position(7),
            stream: StreamName::dialog(sender, receiver),
            version: 2,
            time: "2026-11-23T10:00:00Z".parse().unwrap(),
            actor: Some(sender),
            salt: Hash32([1; 32]),
            schema: 1,
            payload: event.payload(),
            sealed: Some(Hash32([2; 32])),
            event,
        }
    }

    #[test]
    fn an_event_is_a_line() {
        let event = sample();
        let lines = [line(&event, false, false), line(&event, false, true), line(&event, true, false)];
        insta::assert_snapshot!(lines.concat());
    }
}
