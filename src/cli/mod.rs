//! The command line: one file per sub-command.

pub mod account;
pub mod audit_check;
pub mod audit_key;
pub mod audit_restart;
pub mod check;
mod columns;
pub mod erasure;
pub mod expire;
pub mod findings;
pub mod history;
pub mod log;
pub mod logging;
pub mod migrate;
pub mod openapi;
pub mod portable;
pub mod postgres_upgrade;
mod progress;
pub mod rebuild;
pub mod registration;
pub mod serve;
pub mod state;
pub mod token;
pub mod vapid;
pub mod vault;
pub mod verify_bundle;

use std::process::ExitCode;
use std::time::Duration;

use be8_events::{AccId, GroupId};
use clap::{Arg, ArgAction, ArgMatches, Command};

use self::logging::{Level, say};
use crate::config::{Config, flags};

/// The command line of `be8`.
pub fn command() -> Command {
    Command::new("be8")
        .about("An event-sourced backend for an end-to-end-encrypted messenger")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(flags(Command::new("serve").about("Serve the HTTP interface")))
        .subcommand(flags(Command::new("migrate").about("Bring the database's schema up to this version")))
        .subcommand(
            of_group(Command::new("history").about("Print a group's history, or the group as it was at a point"))
                .arg(Arg::new("at").long("at").value_name("POSITION|TIME").help("The group as it was then")),
        )
        .subcommand(of_group(Command::new("findings").about("Check a group's history for violated rules (docs/audit.md)")))
        .subcommand(flags(
            Command::new("audit-key").about("Make the keys of the transparency log, print the public halves"),
        ))
        .subcommand(flags(Command::new("audit-check").about("Compare every event with the transparency log")))
        .subcommand(flags(
            Command::new("audit-restart").about("Start a new transparency log after a database was restored"),
        ))
        .subcommand(verify_bundle::command())
        .subcommand(rebuild::command())
        .subcommand(flags(Command::new("check").about("Check the log, and the read models against a replay")).arg(
            Arg::new("format").long("format").value_name("FORMAT").value_parser(["text", "json"]).default_value("text"),
        ))
        .subcommand(
            flags(Command::new("state").about("Print the state of a stream, now or at a point"))
                .arg(Arg::new("STREAM").required(true).help("The stream, such as account-10001"))
                .arg(Arg::new("at").long("at").value_name("POSITION|TIME").help("The state as it was then")),
        )
        .subcommand(log::command())
        .subcommand(
            flags(Command::new("export").about("Write the whole log to a file (docs/export-format.md)"))
                .arg(Arg::new("FILE").required(true).help("The file, which must not be there; - for standard output"))
                .arg(
                    Arg::new("with-vault")
                        .long("with-vault")
                        .action(clap::ArgAction::SetTrue)
                        .help("With the data keys, as they are wrapped by the master key"),
                ),
        )
        .subcommand(
            flags(Command::new("import").about("Read an exported log into an empty database"))
                .arg(Arg::new("FILE").required(true).help("The file; - for standard input")),
        )
        .subcommand(flags(Command::new("vapid").about("Print the public key of Web Push, made once if there is none")))
        .subcommand(account::command())
        .subcommand(
            of_account(Command::new("erasure-report").about("Prove what of an account is erased")).arg(
                Arg::new("format")
                    .long("format")
                    .value_name("FORMAT")
                    .value_parser(["text", "json"])
                    .default_value("text")
                    .help("For people or for programs"),
            ),
        )
        .subcommand(
            flags(Command::new("expire").about("End what has expired, once, as servers do all the time"))
                .arg(Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Only say what would be done"))
                .arg(
                    Arg::new("confirm-clock")
                        .long("confirm-clock")
                        .action(ArgAction::SetTrue)
                        .help("Confirm that this machine's clock is right although it has jumped forwards; with --dry-run, suppose so"),
                ),
        )
        .subcommand(token::command())
        .subcommand(vault::command())
        .subcommand(postgres_upgrade::command())
        .subcommand(
            flags(Command::new("registration").about("Open or close registration, or show whether it is open"))
                .arg(Arg::new("STATE").value_parser(["open", "close"]).help("What it is to be")),
        )
        .subcommand(Command::new("openapi").about("Print the OpenAPI document"))
}

/// A command about one group, printed for people or for programs.
fn of_group(command: Command) -> Command {
    let format = Arg::new("format").long("format").value_name("FORMAT").value_parser(["text", "json"]);
    flags(command)
        .arg(Arg::new("GROUP").required(true).help("The group, such as g10001"))
        .arg(format.default_value("text").help("For people or for programs"))
}

/// A command about one account.
fn of_account(command: Command) -> Command {
    flags(command).arg(Arg::new("ACCOUNT").required(true).help("The account, such as 10001"))
}

/// How long threads that cannot be interrupted, such as a look-up of a name, may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// Runs what the arguments ask for. It starts the runtime here, and not in the program, because the crate that polls a future compiles it:
/// the program would compile the whole server once more.
pub fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        // Help and the version go to standard output.
        Err(said) if !said.use_stderr() => said.exit(),
        Err(error) => {
            let _ = logging::complain(&error);
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(Level::Error, &format!("be8: no threads can be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(&matches));
    runtime.shutdown_timeout(GRACE);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(Level::Error, &format!("be8: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command. An error is one line.
async fn run(matches: &ArgMatches) -> Result<(), String> {
    logging::choose(matches);
    let config = |matches| Config::new(matches).map_err(|error| error.to_string());
    match matches.subcommand() {
        Some(("serve", matches)) => serve::run(config(matches)?).await.map_err(|error| error.to_string()),
        Some(("migrate", matches)) => migrate::run(config(matches)?).await.map_err(|error| error.to_string()),
        Some(("history", matches)) => history::run(config(matches)?, matches).await,
        Some(("findings", matches)) => findings::run(config(matches)?, matches).await,
        Some(("audit-key", matches)) => audit_key::run(&config(matches)?).map_err(|error| error.to_string()),
        Some(("audit-check", matches)) => audit_check::run(config(matches)?).await,
        Some(("audit-restart", matches)) => audit_restart::run(config(matches)?).await,
        Some(("verify-bundle", matches)) => verify_bundle::run(matches),
        Some(("rebuild", matches)) => rebuild::run(config(matches)?, matches).await,
        Some(("check", matches)) => check::run(config(matches)?, matches).await,
        Some(("state", matches)) => state::run(config(matches)?, matches).await,
        Some(("log", matches)) => log::run(config(matches)?, matches).await,
        Some(("export", matches)) => portable::run_export(config(matches)?, matches).await,
        Some(("import", matches)) => portable::run_import(config(matches)?, matches).await,
        Some(("postgres-upgrade", matches)) => postgres_upgrade::run(config(matches)?, matches).await,
        Some(("vapid", matches)) => vapid::run(&config(matches)?).map_err(|error| error.to_string()),
        Some(("account", matches)) => account::run(matches).await,
        Some(("erasure-report", matches)) => erasure::run(config(matches)?, matches).await,
        Some(("expire", matches)) => expire::run(config(matches)?, matches).await,
        Some(("token", matches)) => token::run(matches).await,
        Some(("vault", matches)) => vault::run(matches).await,
        Some(("registration", matches)) => registration::run(config(matches)?, matches).await,
        Some(("openapi", _)) => {
            openapi::run();
            Ok(())
        }
        _ => Err("no such command".to_owned()),
    }
}

/// The group that a command names, and whether it prints for programs.
fn named_group(matches: &ArgMatches) -> Result<(GroupId, bool), String> {
    let name = matches.get_one::<String>("GROUP").map(String::as_str).unwrap_or_default();
    let group = name.parse().map_err(|_| format!("{name:?} is no group; a group is named like g10001"))?;
    Ok((group, matches.get_one::<String>("format").is_some_and(|format| format == "json")))
}

/// The account that a command names.
fn named_account(matches: &ArgMatches) -> Result<AccId, String> {
    let name = matches.get_one::<String>("ACCOUNT").map(String::as_str).unwrap_or_default();
    name.parse().map_err(|_| format!("{name:?} is no account; an account is named like 10001"))
}

/// Prints a text; whether anybody still reads. A reader that went away, such as a pager, is no error.
fn print(text: &str) -> bool {
    use std::io::Write;
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}
