//! Whether a new account may be made now: registration is open, and the server has room. Those who
//! have an account already are served longer than that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::app::App;
use super::error::{Code, WireError};

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
        if settings.free_memory > 0 && free_memory().is_some_and(|free| free < settings.free_memory) {
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

/// The memory that can be had without hurting anybody: of the machine, or of the group that the
/// process is confined to, whichever is less.
fn free_memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine =
        read("/proc/meminfo").and_then(|text| field(&text, "MemAvailable:")).and_then(|kib| kib.checked_mul(1024));
    let group = |name: &str| read(&format!("/sys/fs/cgroup/memory.{name}"));
    let confined = || group_room(&group("max")?, &group("current")?, &group("stat")?);
    [machine, confined()].into_iter().flatten().min()
}

/// What a control group (version 2) may still take. What it keeps of files goes when it is needed.
fn group_room(max: &str, current: &str, stat: &str) -> Option<u64> {
    let (max, current): (u64, u64) = (max.trim().parse().ok()?, current.trim().parse().ok()?);
    let files = field(stat, "inactive_file").unwrap_or(0) + field(stat, "active_file").unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(files)))
}

/// The number behind a name that begins a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(char::is_whitespace))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_can_be_had() {
        let text = "MemTotal:       24682548 kB\nMemFree:         1000 kB\nMemAvailable:   23173000 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(23_173_000));
        assert_eq!(field(text, "MemAvail"), None);
        let stat = "anon 700\nfile 300\ninactive_file 100\nactive_file 150\n";
        assert_eq!(group_room("2000\n", "1000\n", stat), Some(1250));
        assert_eq!(group_room("500\n", "1000\n", stat), Some(0));
        assert_eq!(group_room("max\n", "1000\n", stat), None);
    }

    #[test]
    fn this_machine_has_a_disk_and_memory() {
        assert!(free_disk(Path::new(env!("CARGO_MANIFEST_DIR"))).is_some_and(|bytes| bytes > 0));
        assert!(free_memory().is_some_and(|bytes| bytes > 0));
        assert_eq!(free_disk(Path::new("/nowhere/at/all")), None);
    }
}
