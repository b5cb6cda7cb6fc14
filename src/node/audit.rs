//! What a node wires of the transparency log.

use crate::audit::key_file::{self, KeyFileError};
use crate::audit::notes::{NoteKey, Role};
use crate::audit::{AuditSettings, Transparency, TransparencyError};
use crate::ledger::Log;

/// The transparency log over this log.
///
/// # Errors
/// [`TransparencyError`]
pub(super) async fn transparency(log: &Log, settings: &AuditSettings) -> Result<Transparency, TransparencyError> {
    let witnesses = settings.witnesses.iter().map(|witness| witness.key.clone()).collect();
    Transparency::open(log, settings.key_file(), &settings.log_name(), witnesses).await
}

/// The key that cosigns foreign logs, if this server does.
///
/// # Errors
/// [`KeyFileError`]
pub(super) fn witness_key(settings: &AuditSettings) -> Result<Option<NoteKey>, KeyFileError> {
    let path = settings.witness_key.as_deref();
    path.map(|path| key_file::load_or_create(path, Role::Witness, &settings.witness_name())).transpose()
}
