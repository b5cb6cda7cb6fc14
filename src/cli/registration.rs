//! `be8 registration`: whether new accounts may be made.

use clap::ArgMatches;

use super::print;
use crate::config::Config;
use crate::ledger::Log;
use crate::node::Database;

/// Opens or closes registration, or shows which it is.
///
/// # Errors
/// One line for people.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let reported = |error: &dyn std::fmt::Display| error.to_string();
    let database = Database::open(&config, true).await.map_err(|error| reported(&error))?;
    let set = match matches.get_one::<String>("STATE").map(String::as_str) {
        Some("open") => Some(true),
        Some("close") => Some(false),
        _ => None,
    };
    let open = async {
        database.migrate().await.map_err(|error| reported(&error))?;
        let log = Log::new(database.reader(&config));
        if let Some(open) = set {
            log.set_registration(open).await.map_err(|error| reported(&error))?;
        }
        log.registration_open().await.map_err(|error| reported(&error))
    };
    let open = open.await;
    database.close().await;
    print(if open? { "Registration is open.\n" } else { "Registration is closed.\n" });
    Ok(())
}
