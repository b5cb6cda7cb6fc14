//! The data directory of a node, and the private cluster in it.

use super::NodeError;
use crate::config::Config;
use crate::postgres::{ClusterSettings, data_dir};

/// What the private cluster is like.
pub fn cluster_settings(config: &Config) -> ClusterSettings {
    let mut settings = ClusterSettings::new(config.data_dir.join("postgres"));
    settings.buffers_mib = config.postgres_buffers_mib;
    settings.bin.clone_from(&config.pg_bin);
    // Beside the readers: the ledger, the leads, commands of the operator, and room for a person who looks.
    let wanted = config.server.database_connections.saturating_add(40);
    settings.max_connections = settings.max_connections.max(u16::try_from(wanted).unwrap_or(u16::MAX));
    settings
}

/// Makes the data directory, before anything is put into it.
///
/// # Errors
/// [`NodeError::DataDir`]
pub fn make_data_dir(config: &Config) -> Result<(), NodeError> {
    data_dir::make(&config.data_dir)
        .map_err(|cause| NodeError::DataDir { dir: config.data_dir.display().to_string(), cause })
}
