//! `be8 postgres-upgrade`: brings the private PostgreSQL to the newest installed major version.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::print;
use crate::config::{Config, flags};
use crate::node::{Database, cluster_settings};
use crate::postgres::{Upgraded, remove_old_clusters, upgrade};

/// The command.
pub fn command() -> Command {
    flags(Command::new("postgres-upgrade").about("Bring the private PostgreSQL to the newest installed major version"))
        .arg(
            Arg::new("old-bin")
                .long("old-bin")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Where the programs of the version are that made the cluster; found by itself if possible"),
        )
        .arg(
            Arg::new("confirm")
                .long("confirm")
                .action(ArgAction::SetTrue)
                .help("Remove the old cluster of an upgrade that went well"),
        )
}

/// Upgrades, or removes what an upgrade left.
///
/// # Errors
/// One line for people.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    if config.database_url.is_some() {
        return Err("database-url is set: this is about the private PostgreSQL".to_owned());
    }
    let settings = cluster_settings(&config);
    if matches.get_flag("confirm") {
        // It must be one that runs.
        open_once(&config).await?;
        for old in remove_old_clusters(&settings).map_err(|error| error.to_string())? {
            print(&format!("removed {}\n", old.display()));
        }
        return Ok(());
    }
    let old_bin = matches.get_one::<PathBuf>("old-bin").cloned();
    let done = tokio::task::spawn_blocking(move || upgrade(&settings, old_bin.as_deref().map(Path::new)));
    let done = done.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let text = match done {
        Upgraded::Current { major } => format!("The cluster is of PostgreSQL {major} already.\n"),
        Upgraded::Done { from, to, old } => {
            open_once(&config).await?;
            format!(
                "The cluster is of PostgreSQL {to} now; it was of {from}.\n\
                 The old one is kept in {0}. Once `be8 check` is content, remove it by `be8 postgres-upgrade --confirm`.\n\
                 What ALTER SYSTEM set stands in {0}/postgresql.auto.conf and was not carried over.\n",
                old.display()
            )
        }
    };
    print(&text);
    Ok(())
}

/// Starts the cluster once, with what its planner goes by.
async fn open_once(config: &Config) -> Result<(), String> {
    let database = Database::open(config, true).await.map_err(|error| error.to_string())?;
    let analyzed = database.analyze().await;
    database.close().await;
    analyzed.map_err(|error| error.to_string())
}
