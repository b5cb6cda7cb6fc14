//! What the routes do is bounded by settings.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;

use crate::push::AllowedHosts;
use crate::settings::{count, days, either, parse, seconds, settings};

settings! {
    /// What the routes do is bounded by these.
    #[derive(Debug, Clone)]
    pub struct AppSettings {
        account_lifetime: TimeDelta = days, "account-lifetime-days", "DAYS", "30", "How long an account lives unless its life is extended";
        message_lifetime: TimeDelta = days, "message-lifetime-days", "DAYS", "30", "How long a message is shown";
        message_bytes: usize = count, "message-max-bytes", "BYTES", "262144", "The longest text of a message";
        group_key_bytes: usize = count, "group-key-max-bytes", "BYTES", "8192", "The longest wrapped key of a group; those of the web client have some 400 bytes";
        group_members: u32 = count, "group-max-members", "N", "1000", "The most members that a group may be created for";
        sessions_per_account: usize = count, "sessions-per-account", "N", "32", "Sessions that an account may have open; one more ends the oldest";
        seen_pause: Duration = seconds, "session-days-seconds", "SECONDS", "60", "How long it is collected which sessions were used today, until that is written at once; each is written once a day";
        devices: usize = count, "devices-per-account", "N", "20", "Devices that an account may push to; one more displaces the oldest";
        login_queue: usize = count, "login-queue", "N", "1024", "Logins that may wait for the check of their password, a quarter of them for one address or account; one more is refused as RATELIMITED";
        heartbeat: Duration = seconds, "events-heartbeat-seconds", "SECONDS", "15", "Pause between comment lines on a silent event stream";
        refused_hold: Duration = seconds, "events-refused-seconds", "SECONDS", "3", "How long a refused event stream is held open before it ends, for clients that come back at once";
        refused_streams: usize = count, "events-refused", "N", "1000", "Refused event streams that are held open at a time; more end at once";
    }
    given {
        /// The push services that something may be sent to.
        push_hosts: AllowedHosts,
        /// When new accounts are refused.
        admission: AdmissionSettings,
    }
}

settings! {
    /// When new accounts are refused.
    #[derive(Debug, Clone)]
    pub struct AdmissionSettings {
        open: bool = either("open", "closed"), "registration", "open|closed", "open", "Whether new accounts are made; `be8 registration` can close it, too";
        free_disk: u64 = free_mebibytes, "signup-free-disk-mib", "MIB", "512", "New accounts are refused below this free space of the data directory; 0: never";
        free_memory: u64 = free_mebibytes, "signup-free-memory-mib", "MIB", "128", "New accounts are refused below this free memory; 0: never";
        queues: f64 = |text| count::<u8>(text).map(|percent| f64::from(percent) / 100.0), "signup-queue-percent", "PERCENT", "80", "New accounts are refused while the queue of commands or of password hashes is fuller than this";
    }
    given {
        /// The directory whose disk is watched.
        data_dir: PathBuf,
    }
}

/// Any number of MiB, in bytes.
fn free_mebibytes(text: Option<&str>) -> Result<u64, String> {
    parse::<u64>(text).map(|mebibytes| mebibytes.saturating_mul(1 << 20))
}
