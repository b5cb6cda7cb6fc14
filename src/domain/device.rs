//! Devices: where an account is told of messages by Web Push.

use be8_events::device::{DeviceDropped, DeviceSecret, DeviceSubscribed, Dropped};
use be8_events::{AccId, Event, Hash32, NewEvent, Sealing, Secret, SecretPayload, StreamName, Subject};
use serde::{Deserialize, Serialize};

use super::{Command, Decision, Occurred, Rejection, Stop, View};

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

/// Subscribes a device of the session's account, or renews its subscription. The subscription was
/// checked before.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// The account under whose key the fingerprints were made.
    pub account: AccId,
    /// The fingerprint of the endpoint: the device.
    pub endpoint: Hash32,
    /// The fingerprint of the whole subscription.
    pub subscription: Hash32,
    /// The subscription.
    pub secret: Secret<DeviceSecret>,
    /// The most devices of an account: the oldest gives way to one more.
    pub most: usize,
}

impl Command for Subscribe {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        let session = self.session.into_iter().map(StreamName::Session);
        session.chain([StreamName::Account(self.account), StreamName::Devices(self.account)]).collect()
    }

    fn size(&self) -> usize {
        self.secret.expose().endpoint.len()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let me = view.authenticate(self.session)?;
        if me != self.account {
            return Err(Rejection::NotAuthenticated.into());
        }
        let known = view.devices(me)?.subscribed();
        if known.contains(&(self.endpoint, self.subscription)) {
            return Ok(Decision::nothing(())); // D17
        }
        let new = |event: Event, secret| NewEvent { stream: StreamName::Devices(me), actor: Some(me), event, secret };
        let renewed = known.iter().any(|(endpoint, _)| *endpoint == self.endpoint);
        let room = if renewed { known.len() } else { self.most.max(1) - 1 };
        let displaced = known.iter().take(known.len().saturating_sub(room));
        let mut events: Vec<NewEvent> = displaced
            .map(|&(endpoint, _)| new(DeviceDropped { endpoint, why: Dropped::Displaced }.into(), None))
            .collect();
        let event = DeviceSubscribed { endpoint: self.endpoint, subscription: self.subscription };
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(me)), &self.secret);
        events.push(new(event.into(), Some(secret)));
        Ok(Decision::events(events, ()))
    }
}

/// Drops a device whose push service says that it is gone, unless it subscribed anew since.
#[derive(Debug, Clone)]
pub struct DropGone {
    /// Whose.
    pub account: AccId,
    /// Which.
    pub endpoint: Hash32,
    /// The subscription that is gone.
    pub subscription: Hash32,
}

impl Command for DropGone {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Devices(self.account), StreamName::Account(self.account)]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let known = view.devices(self.account)?.subscribed();
        // Of an account that is gone nothing is left to drop.
        if !view.lives(self.account)? || !known.contains(&(self.endpoint, self.subscription)) {
            return Ok(Decision::nothing(()));
        }
        let event = NewEvent {
            stream: StreamName::Devices(self.account),
            actor: None,
            event: DeviceDropped { endpoint: self.endpoint, why: Dropped::Gone }.into(),
            secret: None,
        };
        Ok(Decision::events(vec![event], ()))
    }
}
