//! `be8 export` and `be8 import`: the log as a portable file (`docs/export-format.md`).

use std::fs::OpenOptions;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

use clap::ArgMatches;

use super::logging::{Level, say};
use super::progress::Progress;
use crate::config::Config;
use crate::ledger::portable::{PortableError, Summary, export, import};
use crate::node::Database;

/// How much is buffered.
const BUFFER: usize = 1 << 18;

/// Writes the file.
///
/// # Errors
/// One line for people.
pub async fn run_export(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let name = matches.get_one::<String>("FILE").map(String::as_str).unwrap_or_default();
    let mut options = OpenOptions::new();
    // It may hold the vault. A file that is there is somebody's backup.
    options.write(true).create_new(true).mode(0o600);
    let to: Box<dyn Write + Send> = match name {
        "-" => Box::new(std::io::stdout()),
        name => Box::new(options.open(name).map_err(|error| format!("{name}: {error}"))?),
    };
    let database = Database::open_to_read(&config).await.map_err(|error| error.to_string())?;
    let progress = Progress::new("export");
    let mut to = BufWriter::with_capacity(BUFFER, to);
    let progressed = |reached, target| progress.at(reached, target);
    let done = export(&database.connect, &mut to, matches.get_flag("with-vault"), &progressed);
    let done = database.connect.watched(done).await;
    progress.end();
    database.close().await;
    if done.is_err() && name != "-" {
        // What is there is no export. That it cannot be removed is the lesser evil.
        let _ = std::fs::remove_file(name);
    }
    print_summary("Exported", done)
}

/// Reads the file.
///
/// # Errors
/// One line for people.
pub async fn run_import(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let name = matches.get_one::<String>("FILE").map(String::as_str).unwrap_or_default();
    let from: Box<dyn Read + Send> = match name {
        "-" => Box::new(std::io::stdin()),
        name => Box::new(std::fs::File::open(name).map_err(|error| format!("{name}: {error}"))?),
    };
    let database = Database::open(&config, true).await.map_err(|error| error.to_string())?;
    let progress = Progress::new("import");
    let done = match database.migrate().await {
        Ok(()) => {
            let progressed = |reached, target| progress.at(reached, target);
            let mut from = BufReader::with_capacity(BUFFER, from);
            database.connect.watched(import(&database.connect, &mut from, &progressed)).await
        }
        Err(error) => {
            database.close().await;
            return Err(error.to_string());
        }
    };
    progress.end();
    database.close().await;
    print_summary("Imported", done)
}

/// On standard error: standard output may be the file.
fn print_summary(what: &str, done: Result<Summary, PortableError>) -> Result<(), String> {
    let Summary { events, digest, vault } = done.map_err(|error| error.to_string())?;
    let with = if vault { "with" } else { "without" };
    say(Level::Info, &format!("{what} {events} events {with} the vault.\ndigest {digest}"));
    Ok(())
}
