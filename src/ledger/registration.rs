//! Whether new accounts may be made: the operator's word, beside the setting and outside of the log.

use sqlx::Row as _;

use super::{Log, LogError};

impl Log {
    /// Whether the operator lets new accounts be made. All nodes read the one row.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn registration_open(&self) -> Result<bool, LogError> {
        let row = sqlx::query("select open from registration").fetch_one(self.pool()).await?;
        Ok(row.try_get("open")?)
    }

    /// Opens or closes registration, on all nodes from now on.
    ///
    /// # Errors
    /// [`LogError::Database`]
    pub async fn set_registration(&self, open: bool) -> Result<(), LogError> {
        sqlx::query("update registration set open = $1, changed = clock_timestamp() where open <> $1")
            .bind(open)
            .execute(self.pool())
            .await?;
        Ok(())
    }
}
