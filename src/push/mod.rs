//! Web Push (RFC 8030): notifying the devices of an account of a message through the push services
//! of their browsers.
//!
//! The endpoint of a device is an address that a client names, so nothing is sent to where it must
//! not go: [`AllowedHosts`] looks at the address, the guard of the client (`crate::client`) at what it resolves to, at the moment of
//! connecting. What is sent is encrypted for the device and signed by our key pair ([`Vapid`]).
//! Whom to notify, and when again, is the business of the process (`crate::process::push`).

mod contact;
pub mod hosts;
pub mod sender;
pub mod subscription;
pub mod vapid;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;

use crate::settings::{count, optional, parse, path, seconds, settings, text};
use hosts::BROWSERS;

pub use hosts::AllowedHosts;
pub use sender::{Outcome, Push, Sender};
pub use vapid::{BadVapid, Vapid};

settings! {
    /// The settings of the sender.
    #[derive(Debug, Clone)]
    pub struct PushSettings {
        key_file: Option<PathBuf> = optional(path), "vapid-key-file", "FILE", "", "The key pair that signs pushes (`be8 vapid` makes it); vapid.key in the data directory if it is there; without one nothing is pushed";
        subject: Option<String> = optional(text), "vapid-subject", "URL", "", "The contact that push services get (mailto: or https:); needed with a key pair";
        hosts: AllowedHosts = parse, "push-hosts", "HOST,...", BROWSERS, "Where pushes may be sent; *.NAME means all hosts below it";
        timeout: Duration = seconds, "push-timeout-seconds", "SECONDS", "10", "How long connecting to a push service may take, and then its answer";
        at_once: usize = count, "push-at-once", "N", "16", "Pushes under way to one push service at a time";
        queue: usize = count, "push-queue", "N", "10000", "Pushes that may wait for one push service; more are dropped";
        refusals: u32 = count, "push-refusals", "N", "10", "A device is dropped when its push service has refused this many pushes to it in a row and accepted none";
        lifetime: TimeDelta = |text| seconds(text).map(|span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX)), "push-lifetime-seconds", "SECONDS", "86400", "For how long after it was written a message is pushed";
    }
    given {
        /// Where the key pair lies if none is named.
        default_key_file: PathBuf,
        /// Where all pushes go instead, in tests.
        test_peer: Option<SocketAddr>,
    }
}
