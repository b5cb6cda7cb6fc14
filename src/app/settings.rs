//! What the routes do is bounded by settings.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;

use crate::push::AllowedHosts;
use crate::push::hosts::BROWSERS;

/// What the routes do is bounded by these.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// How long an account lives unless its life is extended.
    pub account_lifetime: TimeDelta,
    /// How long a message is shown.
    pub message_lifetime: TimeDelta,
    /// The most members that a group may be created for.
    pub group_members: u32,
    /// How many sessions an account may have open.
    pub sessions_per_account: usize,
    /// The most UTF-8 bytes of a message text.
    pub message_bytes: usize,
    /// The most UTF-8 bytes of a wrapped key.
    pub group_key_bytes: usize,
    /// The most devices of an account that are told of messages.
    pub devices: usize,
    /// The push services that something may be sent to.
    pub push_hosts: AllowedHosts,
    /// The pause between comment lines on a silent event stream.
    pub heartbeat: Duration,
    /// When new accounts are refused.
    pub admission: AdmissionSettings,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            account_lifetime: TimeDelta::days(30),
            message_lifetime: TimeDelta::days(30),
            group_members: 1000,
            sessions_per_account: 32,
            message_bytes: 262_144,
            group_key_bytes: 8192,
            devices: 20,
            push_hosts: BROWSERS.parse().expect("the list of the browsers' push services"),
            heartbeat: Duration::from_secs(15),
            admission: AdmissionSettings::default(),
        }
    }
}

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
