//! `be8 account`: what the operator does to an account from the machine itself.

use be8_events::{AccId, StreamName};
use clap::{Arg, ArgMatches, Command};

use super::columns::{Cell, Tone, coloured, table};
use super::{named_account, of_account, print};
use crate::config::Config;
use crate::domain::Rejection;
use crate::domain::operator::EndSessions;
use crate::domain::removal::RemoveAccount;
use crate::json::sessions::SessionEntry;
use crate::ledger::{Direction, LedgerError};
use crate::node::Attached;
use crate::process::removal::{finish, remove};

/// The command line.
pub fn command() -> Command {
    Command::new("account")
        .about("Remove an account, or see to its sessions")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(of_account(Command::new("remove").about("Remove an account, with all that hangs on it")))
        .subcommand(
            of_account(Command::new("sessions").about("List the open sessions of an account")).arg(
                Arg::new("format")
                    .long("format")
                    .value_name("FORMAT")
                    .value_parser(["text", "json"])
                    .default_value("text")
                    .help("For people or for programs"),
            ),
        )
        .subcommand(of_account(Command::new("end-sessions").about("End all sessions of an account")))
}

/// Does what was asked for.
///
/// # Errors
/// One line for people.
pub async fn run(matches: &ArgMatches) -> Result<(), String> {
    let Some((what, matches)) = matches.subcommand() else { return Err("no such command".to_owned()) };
    let account = named_account(matches)?;
    let config = Config::new(matches).map_err(|error| error.to_string())?;
    let attached = Attached::open(&config).await.map_err(|error| error.to_string())?;
    let done = match what {
        "remove" => remove_account(&attached, account).await,
        "sessions" => {
            let json = matches.get_one::<String>("format").is_some_and(|format| format == "json");
            list(&attached, account, json).await
        }
        _ => end_sessions(&attached, account).await,
    };
    attached.close().await;
    print(&done?);
    Ok(())
}

async fn remove_account(attached: &Attached, account: AccId) -> Result<String, String> {
    let Attached { ledger, read, .. } = attached;
    match remove(ledger, read, RemoveAccount::Operator { account }).await {
        Ok(_) => {}
        Err(LedgerError::Rejected(Rejection::AccountNotExisting)) => {
            return Err(format!("there is no account {account}"));
        }
        Err(error) => return Err(error.to_string()),
    }
    finish(ledger, read, account).await.map_err(|error| error.to_string())?;
    Ok(format!("Account {account} is removed.\n"))
}

async fn end_sessions(attached: &Attached, account: AccId) -> Result<String, String> {
    exists(attached, account).await?;
    let sessions = attached.read.sessions(account).await.map_err(|error| error.to_string())?;
    let ended = attached.ledger.execute(EndSessions { account, sessions }).await.map_err(|error| error.to_string())?;
    let s = if ended == 1 { "" } else { "s" };
    Ok(format!("{ended} session{s} of account {account} ended.\n"))
}

async fn list(attached: &Attached, account: AccId, json: bool) -> Result<String, String> {
    exists(attached, account).await?;
    let sessions = attached.read.open_sessions(account).await;
    let sessions: Vec<SessionEntry> =
        sessions.map_err(|error| error.to_string())?.found.iter().map(SessionEntry::from).collect();
    if json {
        let lines: Result<Vec<String>, _> = sessions.iter().map(serde_json::to_string).collect();
        return Ok(lines.map_err(|error| error.to_string())?.iter().map(|line| format!("{line}\n")).collect());
    }
    Ok(text(&sessions, coloured()))
}

async fn exists(attached: &Attached, account: AccId) -> Result<(), String> {
    let first = attached.ledger.log().read_stream(StreamName::Account(account), 1, Direction::Forwards, 1).await;
    let first = first.map_err(|error| error.to_string())?;
    if first.is_empty() { Err(format!("there is no account {account}")) } else { Ok(()) }
}

/// Sessions as a table.
fn text(sessions: &[SessionEntry], colour: bool) -> String {
    if sessions.is_empty() {
        return "No open sessions.\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = sessions
        .iter()
        .map(|session| {
            vec![
                (session.session.clone(), Tone::Strong),
                (session.opened.clone(), Tone::Plain),
                (session.position.to_string(), Tone::Quiet),
            ]
        })
        .collect();
    table(&["SESSION (SHA-256 OF ITS TOKEN)", "OPENED", "POSITION"], &rows, colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_a_table() {
        let session = |n: u8, position| SessionEntry {
            session: be8_events::Hash32([n; 32]).to_string(),
            opened: "2026-11-23T12:00:00.000000Z".to_owned(),
            position,
        };
        insta::assert_snapshot!(text(&[session(1, 2), session(2, 77)], false));
        assert_eq!(text(&[], false), "No open sessions.\n");
    }
}
