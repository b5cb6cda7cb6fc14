//! The command line: one file per sub-command.

pub mod migrate;
pub mod openapi;
pub mod serve;

use clap::{ArgMatches, Command};

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
        .subcommand(Command::new("openapi").about("Print the OpenAPI document"))
}

/// Runs what was asked for. What went wrong is told in one line.
///
/// # Errors
/// That line.
pub async fn run(matches: &ArgMatches) -> Result<(), String> {
    let config = |matches| Config::new(matches).map_err(|error| error.to_string());
    match matches.subcommand() {
        Some(("serve", matches)) => serve::run(config(matches)?).await.map_err(|error| error.to_string()),
        Some(("migrate", matches)) => migrate::run(config(matches)?).await.map_err(|error| error.to_string()),
        Some(("openapi", _)) => {
            openapi::run();
            Ok(())
        }
        _ => Err("no such command".to_owned()),
    }
}
