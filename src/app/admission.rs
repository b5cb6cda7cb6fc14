//! Whether a new account may be made now: registration is open, and the server has room. Those who
//! have an account already are served longer than that.

use std::path::Path;
use std::time::Duration;

use super::App;
use crate::ledger::LogError;
use crate::support::memory;

/// Why a new account is refused.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// Registration is closed.
    #[error("registration is closed")]
    Closed,
    /// The server lacks room.
    #[error("the server lacks room for a new account")]
    NoRoom {
        /// When it may be tried again.
        back_after: Duration,
    },
    /// Whether registration is open cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// How long to stay away from a server that lacks room.
const LACK: Duration = Duration::from_secs(300);
/// How long to stay away from one that is busy.
const BUSY: Duration = Duration::from_secs(1);

impl App {
    /// Whether an account may be made now.
    ///
    /// # Errors
    /// [`NotAdmitted`]
    pub async fn admit(&self) -> Result<(), NotAdmitted> {
        let settings = &self.settings.admission;
        if !(settings.open && self.ledger.log().registration_open().await?) {
            return refused("closed", NotAdmitted::Closed);
        }
        if self.ledger.fullness() >= settings.queues {
            return refused("commands", NotAdmitted::NoRoom { back_after: BUSY });
        }
        if self.passwords.fullness() >= settings.queues {
            return refused("hashes", NotAdmitted::NoRoom { back_after: BUSY });
        }
        // What cannot be found out refuses nobody.
        if settings.free_disk > 0 && free_disk(&settings.data_dir).is_some_and(|free| free < settings.free_disk) {
            return refused("disk", NotAdmitted::NoRoom { back_after: LACK });
        }
        if settings.free_memory > 0 && memory::available().is_some_and(|free| free < settings.free_memory) {
            return refused("memory", NotAdmitted::NoRoom { back_after: LACK });
        }
        Ok(())
    }
}

fn refused(why: &'static str, refusal: NotAdmitted) -> Result<(), NotAdmitted> {
    metrics::counter!("be8_signups_refused_total", "why" => why).increment(1);
    tracing::debug!(why, "a new account was refused");
    Err(refusal)
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
