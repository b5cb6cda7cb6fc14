//! Devices: where an account is told of messages by Web Push.

use be8_events::{Event, Hash32};
use serde::{Deserialize, Serialize};

use super::Occurred;

/// The state of a `devices-N` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Devices {
    /// Endpoint and subscription of each, by their fingerprints, the longest known first.
    subscribed: Vec<(Hash32, Hash32)>,
}

impl Devices {
    /// Endpoint and subscription of each device, by their fingerprints, the longest known first.
    pub fn subscribed(&self) -> &[(Hash32, Hash32)] {
        &self.subscribed
    }

    pub(super) fn evolve(&mut self, occurred: Occurred<'_>) {
        match occurred.event {
            Event::DeviceSubscribed(e) => {
                let known = self.subscribed.iter_mut().find(|(endpoint, _)| *endpoint == e.endpoint);
                match known {
                    Some(device) => device.1 = e.subscription,
                    None => self.subscribed.push((e.endpoint, e.subscription)),
                }
            }
            Event::DeviceDropped(e) => self.subscribed.retain(|(endpoint, _)| *endpoint != e.endpoint),
            _ => {} // no other kind is in this stream
        }
    }
}
