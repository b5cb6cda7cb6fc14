//! Web Push (RFC 8030): telling the devices of an account of a message through the push services
//! of their browsers.
//!
//! The endpoint of a device is an address that a client names, so nothing is sent to where it must
//! not go: [`AllowedHosts`] looks at the address, [`guard`] at what it resolves to, at the moment of
//! connecting. What is sent is encrypted for the device and signed by our key pair ([`Vapid`]).
//! Whom to tell, and when again, is the business of the process (`crate::process::push`).

pub mod connect;
mod contact;
pub mod guard;
pub mod hosts;
pub mod sender;
pub mod subscription;
pub mod vapid;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;

pub use hosts::AllowedHosts;
pub use sender::{Outcome, Push, Sender};
pub use vapid::{BadVapid, Vapid};

/// What the sender is told by the settings.
#[derive(Debug, Clone)]
pub struct PushSettings {
    /// The file of the key pair, where one is named.
    pub key_file: Option<PathBuf>,
    /// Where the key pair lies if none is named.
    pub default_key_file: PathBuf,
    /// The contact that push services are told: a `mailto:` or `https:` URL.
    pub subject: Option<String>,
    /// Where pushes may be sent.
    pub hosts: AllowedHosts,
    /// How long connecting may take, and how long the answer.
    pub timeout: Duration,
    /// How many pushes may be under way to one service.
    pub at_once: usize,
    /// How many pushes may wait for one service.
    pub queue: usize,
    /// After so many refused pushes in a row a device is dropped.
    pub refusals: u32,
    /// For how long a message is worth a push.
    pub lifetime: TimeDelta,
    /// Where all pushes go instead, in tests.
    pub test_peer: Option<SocketAddr>,
}
