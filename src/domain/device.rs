//! Devices: where an account is notified of messages by Web Push.

#[cfg(test)]
mod tests;

use be8_events::device::{DeviceDropped, DeviceSecret, DeviceSubscribed, Dropped};
use be8_events::{AccId, DeviceEvent, Hash32, NewEvent, Sealing, Secret, SecretPayload, StreamName, Subject};
use serde::{Deserialize, Serialize};

use super::{Command, Decision, Rejection, Stop, View};

/// A device: its account, and the fingerprint of its endpoint under that account's key.
pub type DeviceName = (AccId, Hash32);

/// The state of a `devices-N` stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Devices {
    /// The longest known first.
    subscribed: Vec<Device>,
}

/// A device, by its fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its endpoint.
    pub endpoint: Hash32,
    /// Its whole subscription.
    pub subscription: Hash32,
    /// The session that subscribed it; none where that was not recorded.
    pub session: Option<Hash32>,
}

impl Devices {
    /// The devices, the longest known first.
    pub fn subscribed(&self) -> &[Device] {
        &self.subscribed
    }

    pub(super) fn evolve(&mut self, event: &DeviceEvent) {
        match event {
            DeviceEvent::DeviceSubscribed(e) => {
                let device = Device { endpoint: e.endpoint, subscription: e.subscription, session: e.session };
                match self.subscribed.iter_mut().find(|known| known.endpoint == e.endpoint) {
                    Some(known) => *known = device,
                    None => self.subscribed.push(device),
                }
            }
            DeviceEvent::DeviceDropped(e) => self.subscribed.retain(|device| device.endpoint != e.endpoint),
        }
    }
}

/// The ends of the devices of a session that ends. What version 1 recorded belongs to no session in
/// particular, and ends with any.
pub(super) fn dropped_with(view: &View<'_>, account: AccId, sessions: &[Hash32]) -> Result<Vec<NewEvent>, Stop> {
    let ends = |device: &&Device| device.session.is_none_or(|session| sessions.contains(&session));
    let devices = view.devices(account)?.subscribed().iter().filter(ends);
    Ok(devices.map(|device| dropped(account, None, device.endpoint, Dropped::SessionEnded)).collect())
}

/// A device is dropped.
fn dropped(account: AccId, actor: Option<AccId>, endpoint: Hash32, why: Dropped) -> NewEvent {
    let event = DeviceDropped { endpoint, why }.into();
    NewEvent { stream: StreamName::Devices(account), actor, event, secret: None }
}

/// Subscribes a device for the session of its account, or renews its subscription. The subscription
/// was checked before.
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
    /// The fingerprint of the endpoint that is the same for all accounts.
    pub place: Hash32,
    /// The device that has the endpoint, as far as that is known: it loses it.
    pub holder: Option<DeviceName>,
}

impl Subscribe {
    const fn device(&self) -> DeviceName {
        (self.account, self.endpoint)
    }

    /// The device of another account that has the endpoint.
    fn former(&self) -> Option<DeviceName> {
        self.holder.filter(|(account, _)| *account != self.account)
    }
}

impl Command for Subscribe {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        let session = self.session.into_iter().map(StreamName::Session);
        let own = [StreamName::Account(self.account), StreamName::Devices(self.account)];
        let former = self.former().map(|(account, _)| StreamName::Devices(account));
        session.chain(own).chain(former).collect()
    }

    fn endpoint(&self) -> Option<(Hash32, DeviceName)> {
        Some((self.place, self.device()))
    }

    fn size(&self) -> usize {
        self.secret.expose().endpoint.len()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let me = view.authenticate(self.session)?;
        if me != self.account {
            return Err(Rejection::NotAuthenticated.into());
        }
        let mut events = Vec::new();
        if let Some((account, endpoint)) = self.former()
            && view.devices(account)?.subscribed().iter().any(|device| device.endpoint == endpoint)
        {
            // Without an actor: the former account's log does not name the next one.
            events.push(dropped(account, None, endpoint, Dropped::Taken));
        }
        let known = view.devices(me)?.subscribed();
        let (endpoint, subscription, session) = (self.endpoint, self.subscription, self.session);
        // Without an event nothing would be written of who has the endpoint now.
        if known.contains(&Device { endpoint, subscription, session }) && self.holder == Some(self.device()) {
            return Ok(Decision::nothing(())); // docs/protocol.md, "Unchanged values"
        }
        let renewed = known.iter().any(|device| device.endpoint == endpoint);
        let places = if renewed { known.len() } else { self.most.max(1) - 1 };
        let displaced = known.iter().take(known.len().saturating_sub(places));
        events.extend(displaced.map(|device| dropped(me, Some(me), device.endpoint, Dropped::Displaced)));
        let secret = SecretPayload::new(Sealing::Lasting(Subject::Account(me)), &self.secret);
        let event = DeviceSubscribed { endpoint, subscription, session }.into();
        events.push(NewEvent { stream: StreamName::Devices(me), actor: Some(me), event, secret: Some(secret) });
        Ok(Decision::events(events, ()))
    }
}

/// Drops devices of the account of the request.
#[derive(Debug, Clone, Copy)]
pub struct Unsubscribe {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// Which device, by the fingerprint of its endpoint; none: those of the session.
    pub endpoint: Option<Hash32>,
}

impl Command for Unsubscribe {
    /// Whether there is such a device.
    type Reply = bool;

    fn streams(&self) -> Vec<StreamName> {
        self.session.into_iter().map(StreamName::Session).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<bool>, Stop> {
        let me = view.authenticate(self.session)?;
        let meant = |device: &&Device| match self.endpoint {
            Some(endpoint) => device.endpoint == endpoint,
            None => device.session == self.session,
        };
        let devices = view.devices(me)?.subscribed().iter().filter(meant);
        let events: Vec<_> =
            devices.map(|device| dropped(me, Some(me), device.endpoint, Dropped::Unsubscribed)).collect();
        let found = !events.is_empty();
        Ok(Decision::events(events, found))
    }
}

/// Drops a device that pushes do not reach, unless it subscribed again since.
#[derive(Debug, Clone)]
pub struct DropDevice {
    /// Whose.
    pub account: AccId,
    /// Which.
    pub endpoint: Hash32,
    /// The subscription that pushes were sent to.
    pub subscription: Hash32,
    /// Why.
    pub why: Dropped,
}

impl Command for DropDevice {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Devices(self.account), StreamName::Account(self.account)]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let known = view.devices(self.account)?.subscribed();
        // A removed account has nothing left to drop.
        let same = |device: &Device| device.endpoint == self.endpoint && device.subscription == self.subscription;
        if !view.lives(self.account)? || !known.iter().any(same) {
            return Ok(Decision::nothing(()));
        }
        Ok(Decision::events(vec![dropped(self.account, None, self.endpoint, self.why)], ()))
    }
}
