//! `be8 audit-check`: compares every event with the transparency log, and that with what was signed.

use super::print;
use crate::audit::Transparency;
use crate::config::Config;
use crate::ledger::Log;
use crate::node::Database;

/// Compares, and prints one line if nothing differs.
///
/// # Errors
/// What is not.
pub async fn run(config: Config) -> Result<(), String> {
    let database = Database::open_to_read(&config).await.map_err(|error| error.to_string())?;
    let log = Log::new(database.reader(&config));
    let audit = &config.audit;
    let checked = async {
        let transparency = Transparency::open(&log, audit.key_file(), &audit.log_name(), Vec::new()).await?;
        let checked = transparency.check_all(&log).await?;
        let head = transparency.tables().newest_head().await?;
        Ok::<_, crate::audit::TransparencyError>((checked, head.map_or(0, |head| head.size)))
    };
    let checked = checked.await;
    database.close().await;
    let (entries, signed) = checked.map_err(|error| error.to_string())?;
    print(&format!("{entries} events are as the transparency log has them; {signed} of them are signed.\n"));
    Ok(())
}
