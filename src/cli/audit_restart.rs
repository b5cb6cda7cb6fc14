//! `be8 audit-restart`: begins another transparency log, for a database that was put back from an
//! older copy.

use super::print;
use crate::audit::{Transparency, TransparencyError};
use crate::config::Config;
use crate::ledger::{Leads, Log};
use crate::node::Database;
use crate::process::checkpoints;

/// Begins another log, and prints its key.
///
/// # Errors
/// One line for people.
pub async fn run(config: Config) -> Result<(), String> {
    let database = Database::open(&config, true).await.map_err(|error| error.to_string())?;
    let log = Log::new(database.reader(&config));
    let audit = &config.audit;
    let restarted = async {
        let Some(mut lead) = Leads::new(&database.connect).take(checkpoints::NAME).await? else { return Ok(None) };
        let key = Transparency::restart(&log, &mut lead, audit.key_file(), &audit.log_name()).await?;
        lead.resign().await;
        Ok::<_, TransparencyError>(Some(key))
    };
    let restarted = restarted.await;
    database.close().await;
    match restarted.map_err(|error| error.to_string())? {
        Some(key) => {
            print(&format!("{key}\n"));
            Ok(())
        }
        None => Err("a server signs this database's log: stop it first".to_owned()),
    }
}
