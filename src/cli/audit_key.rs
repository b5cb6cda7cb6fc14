//! `be8 audit-key`: makes the keys of the transparency log and of the witness, and prints their
//! public halves.

use super::print;
use crate::audit::key_file;
use crate::audit::notes::Role;
use crate::config::Config;
use crate::node::{NodeError, make_data_dir};

/// Makes what is missing, and prints.
///
/// # Errors
/// [`NodeError`]
pub fn run(config: &Config) -> Result<(), NodeError> {
    make_data_dir(config)?;
    let audit = &config.audit;
    let key = key_file::load_or_create(audit.key_file(), Role::Log, &audit.log_name())?;
    print(&format!("{}\n", key.public()));
    if let Some(path) = &audit.witness_key {
        let key = key_file::load_or_create(path, Role::Witness, &audit.witness_name())?;
        print(&format!("{}\n", key.public()));
    }
    Ok(())
}
