//! Whether a new account may be made now: registration is open, and the server has room. Those who
//! have an account already are served longer than that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::app::App;
use super::error::{Code, WireError};
use crate::memory;

/// When new accounts are refused.
#[derive(Debug, Clone)]
pub struct AdmissionSettings {
    /// Whether they may be made at all.
    pub open: bool,
    /// The directory whose disk is watched.
    pub data_dir: PathBuf,
    /// The fewest free bytes of that disk; 0: any.
    pub free_disk: u64,
    /// The fewest free bytes of memory; 0: any.
    pub free_memory: u64,
    /// How full the queues of commands and of hashes may be, from 0 to 1.
    pub queues: f64,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self { open: true, data_dir: PathBuf::from("."), free_disk: 0, free_memory: 0, queues: 1.0 }
    }
}

/// How long to stay away from a server that lacks room.
const LACK: Duration = Duration::from_secs(300);
/// How long to stay away from one that is busy.
const BUSY: Duration = Duration::from_secs(1);

impl App {
    /// Whether an account may be made now.
    ///
    /// # Errors
    /// [`Code::RegistrationClosed`]; [`Code::Unavailable`] when the server lacks room.
    pub async fn admit(&self) -> Result<(), WireError> {
        let settings = &self.settings.admission;
        if !(settings.open && self.ledger.log().registration_open().await?) {
            return refused("closed", Code::RegistrationClosed.into());
        }
        if self.ledger.fullness() >= settings.queues {
            return refused("commands", WireError::retry(Code::Unavailable, BUSY));
        }
        if self.passwords.fullness() >= settings.queues {
            return refused("hashes", WireError::retry(Code::Unavailable, BUSY));
        }
        // What cannot be found out refuses nobody.
        if settings.free_disk > 0 && free_disk(&settings.data_dir).is_some_and(|free| free < settings.free_disk) {
            return refused("disk", WireError::retry(Code::Unavailable, LACK));
        }
        if settings.free_memory > 0 && memory::available().is_some_and(|free| free < settings.free_memory) {
            return refused("memory", WireError::retry(Code::Unavailable, LACK));
        }
        Ok(())
    }
}

fn refused(why: &'static str, error: WireError) -> Result<(), WireError> {
    metrics::counter!("be8_signups_refused_total", "why" => why).increment(1);
    tracing::debug!(why, "a new account was refused");
    Err(error)
}

/// The bytes of a disk that the server may still write.
fn free_disk(directory: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_disk() {
        assert!(free_disk(Path::new(env!("CARGO_MANIFEST_DIR"))).is_some_and(|bytes| bytes > 0));
        assert_eq!(free_disk(Path::new("/nowhere/at/all")), None);
    }
}
