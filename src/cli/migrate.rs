//! `be8 migrate`: brings the schema of the database up to this version.

use crate::config::Config;
use crate::node::{Database, NodeError};

/// Brings the schema up to this version and says which database it was.
///
/// # Errors
/// [`NodeError`]
pub async fn run(config: Config) -> Result<(), NodeError> {
    let database = Database::open(&config, true).await?;
    database.migrate().await?;
    super::print(&format!("The schema of {} is current.\n", database.describe()));
    database.close().await;
    Ok(())
}
