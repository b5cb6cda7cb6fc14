//! `be8 vault`: changes the rotating key of the vault now, and shows where it stands.

use std::time::{Duration, Instant};

use be8_events::Position;
use chrono::{SecondsFormat, TimeDelta};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::print;
use crate::config::{Config, flags};
use crate::ledger::Log;
use crate::node::{Database, test_clock};
use crate::support::clock::SystemClock;
use crate::vault::{Begin, RotationLock, RotationState, RotationStep, Vault, holds_only};

/// How long the command waits for another rotation, and for servers that have not read the new key.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks again.
const PAUSE: Duration = Duration::from_millis(200);

/// The command with its sub-commands.
pub fn command() -> Command {
    let destroy = Arg::new("destroy-old")
        .long("destroy-old")
        .action(ArgAction::SetTrue)
        .help("Destroy the older keys at once, without --vault-grace-minutes");
    Command::new("vault")
        .about("Change the rotating key of the vault, or show where it stands")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            flags(Command::new("rotate").about("Wrap all data keys under a new rotating key, now")).arg(destroy),
        )
        .subcommand(flags(
            Command::new("status").about("Show the generation of the rotating key, and whether older ones are kept"),
        ))
}

/// Runs what was asked for.
///
/// # Errors
/// One line for people.
pub async fn run(matches: &ArgMatches) -> Result<(), String> {
    let (name, matches) = matches.subcommand().ok_or("no such command")?;
    let config = Config::new(matches).map_err(|error| error.to_string())?;
    let rotating = name == "rotate";
    let database = if rotating { Database::open(&config, true).await } else { Database::open_to_read(&config).await };
    let database = database.map_err(|error| error.to_string())?;
    let done = on(&database, &config, rotating, matches).await;
    database.close().await;
    done
}

async fn on(database: &Database, config: &Config, rotating: bool, matches: &ArgMatches) -> Result<(), String> {
    let vault = database.vault(config).await.map_err(|error| error.to_string())?;
    let vault = vault.ok_or("there is no vault yet: a server makes it at its first start")?;
    if rotating {
        let first = vault.is_without_rotating_key();
        let log = Log::new(database.reader(config));
        let position = log.newest().await.map_err(|error| error.to_string())?;
        let grace = if matches.get_flag("destroy-old") { TimeDelta::zero() } else { config.rotation.grace };
        rotate(&vault, config, position, grace).await?;
        if first {
            print(&format!("{} is part of every backup from now on\n", config.rotating_key_file.display()));
        }
    }
    status(&vault, config).await
}

async fn rotate(vault: &Vault, config: &Config, position: Position, grace: TimeDelta) -> Result<(), String> {
    let began = Instant::now();
    let mut lock = loop {
        match vault.take_rotation_lock().await.map_err(|error| error.to_string())? {
            Some(lock) => break lock,
            None if began.elapsed() > PATIENCE => return Err("another process rotates the key: try again".to_owned()),
            None => tokio::time::sleep(PAUSE).await,
        }
    };
    let done = turn(vault, config, &mut lock, position, grace).await;
    lock.release().await;
    done
}

/// One whole rotation, after the one that may be under way.
async fn turn(
    vault: &Vault,
    config: &Config,
    lock: &mut RotationLock,
    position: Position,
    grace: TimeDelta,
) -> Result<(), String> {
    let before = state(vault).await?;
    let mut waited = None;
    let clock = test_clock(config).unwrap_or_else(|| std::sync::Arc::new(SystemClock));
    loop {
        let now = clock.now();
        let at = state(vault).await?;
        // One that was begun before may not cover what was erased since.
        let covered = at.generation > before.generation && at.position >= position.0;
        // A request for it now goes by the clock that is there.
        let begin = Begin { position: position.0, now, trusted: now, wanted: !covered, grace, serving: false };
        match vault.rotation_step(lock, begin).await.map_err(|error| error.to_string())? {
            RotationStep::Idle => return Ok(()),
            RotationStep::Waiting { servers, ready } => {
                if waited.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    return Err(format!(
                        "{ready} of {servers} servers have read the new key: --rotating-key-file must name one file for all \
                         of them; the key is changed once they have"
                    ));
                }
                tokio::time::sleep(PAUSE).await;
            }
            RotationStep::Working | RotationStep::Wrapped(_) | RotationStep::Destroyed => {}
        }
    }
}

async fn state(vault: &Vault) -> Result<RotationState, String> {
    vault.rotation_state().await.map_err(|error| error.to_string())?.ok_or_else(|| "there is no vault".to_owned())
}

async fn status(vault: &Vault, config: &Config) -> Result<(), String> {
    let state = state(vault).await?;
    let time = state.made_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut out = format!("generation    {}, made {time}\n", state.generation);
    if vault.is_without_rotating_key() {
        print(&(out + "rotating key  none: the master key alone opens the vault\n"));
        return Ok(());
    }
    let kept = !holds_only(&config.rotating_key_file, state.generation).map_err(|error| error.to_string())?;
    out += &format!("rotating key  {}\n", config.rotating_key_file.display());
    out += &format!("covers        what was erased up to position {}\n", state.position);
    if let Some(until @ 1..) = state.alone_until {
        out += &format!(
            "but           older copies of keys from before position {until} open with the master key alone\n"
        );
    }
    out += match (state.under_way, kept) {
        (true, _) => "older keys    in use: a rotation is under way\n",
        (false, true) => "older keys    kept for --vault-grace-minutes\n",
        (false, false) => "older keys    destroyed\n",
    };
    print(&out);
    Ok(())
}
