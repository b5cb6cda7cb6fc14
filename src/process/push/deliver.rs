//! From a message to its deliveries, from a delivery to its attempt, from its outcome to what follows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use be8_events::account::{AccountSecret, NicknameSecret};
use be8_events::device::{DeviceSecret, DeviceSubscribed, Dropped};
use be8_events::{
    AccId, AccountEvent, DeviceEvent, Event, Hash32, MessageHeader, Position, Recorded, Secret, SecretPayload, Subject,
    ThreadId,
};
use be8_projections::StoredSealed;
use chrono::TimeDelta;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::work::{Flight, Refusal, Work, key_refused};
use super::{MOST_TRIES, Message, ProcessError, Pusher, count, pause};
use crate::domain::device::{DeviceName, DropDevice};
use crate::ledger::push_endpoints::fingerprint;
use crate::ledger::{Again, Attempt, Delivery, Lead};
use crate::push::{Outcome, Push};
use crate::vault::{DataKey, Found, Opener};

/// After this many events without a message, the checkpoint is moved anyway.
const SAVE_EVERY: i64 = 1000;
/// The bytes of a topic: 32 characters of base64url.
const TOPIC: usize = 24;

/// The content of a push.
#[derive(Serialize)]
struct Payload<'a> {
    action: &'static str,
    nickname: &'a str,
    sender: String,
}

/// A device that lives, by account and endpoint.
type Devices = HashMap<(AccId, Hash32), (DeviceSubscribed, Secret<DeviceSecret>)>;

/// A message, if that is what an event is.
fn message_of(recorded: &Recorded) -> Option<Message> {
    let Event::Message(event) = &recorded.event else { return None };
    let MessageHeader { thread, sender, nickname, .. } = event.header();
    Some(Message { thread, position: recorded.position, sender, nickname, written: recorded.time })
}

impl Pusher {
    /// Makes deliveries of a batch of the log, and stores how far the log was read.
    pub(super) async fn enqueue(
        &self,
        work: &mut Work,
        lead: &mut Lead,
        batch: &[Recorded],
    ) -> Result<(), ProcessError> {
        let Some(reached) = batch.last().map(|event| event.position) else { return Ok(()) };
        let now = self.clock.now();
        work.rosters.load(self.ledger.log(), batch).await?;
        // An account is notified only of the newest message in each thread.
        let mut newest: HashMap<(AccId, ThreadId), Message> = HashMap::new();
        for recorded in batch {
            if let Some(message) = message_of(recorded).filter(|message| now < self.worth_until(message.written)) {
                let to: Vec<AccId> = match message.thread {
                    ThreadId::Group(group) => work.rosters.members(group).collect(),
                    thread => thread.partner_of(message.sender).into_iter().collect(),
                };
                let others = to.into_iter().filter(|account| *account != message.sender);
                newest.extend(others.map(|account| ((account, message.thread), message)));
            }
            work.rosters.apply(recorded);
        }
        let accounts: BTreeSet<AccId> = newest.keys().map(|(account, _)| *account).collect();
        let devices = if accounts.is_empty() { Devices::new() } else { self.devices(accounts).await? };
        if devices.is_empty() {
            if reached.0 - work.saved.0 >= SAVE_EVERY {
                lead.save_position(reached).await?;
                work.saved = reached;
            }
            return Ok(());
        }
        let mut of: HashMap<AccId, Vec<(Hash32, &str)>> = HashMap::new();
        for ((account, device), (_, secret)) in &devices {
            match self.sender.service(&secret.expose().endpoint) {
                Some(service) => of.entry(*account).or_default().push((*device, service)),
                // It subscribed at a place where nothing may be sent.
                None => count("forbidden", 1),
            }
        }
        let mut deliveries = Vec::new();
        let mut coming: HashMap<&str, usize> = HashMap::new();
        for ((account, _), message) in &newest {
            for &(device, service) in of.get(account).into_iter().flatten() {
                let coming = coming.entry(service).or_default();
                if work.backlog(service) + *coming >= self.queue {
                    count("overflow", 1);
                    if work.alarms(service, "overflow") {
                        tracing::warn!(service, "too many pushes wait for a service: some are left out");
                    }
                    continue;
                }
                *coming += 1;
                deliveries.push(Delivery {
                    account: *account,
                    device,
                    service: service.to_owned(),
                    thread: message.thread.key(),
                    message: message.position,
                    sender: message.sender,
                    nickname: message.nickname,
                    written: message.written,
                });
            }
        }
        for (service, by) in lead.enqueue(&deliveries, now, reached).await? {
            work.grew(service, by);
        }
        work.saved = reached;
        Ok(())
    }

    /// The devices of those of some accounts that live, with their subscriptions.
    async fn devices(&self, of: BTreeSet<AccId>) -> Result<Devices, ProcessError> {
        let found = self.read.devices(&of.into_iter().collect::<Vec<_>>(), self.clock.now()).await?;
        let opener = self.vault.opener(&found.live).await?;
        let devices = found.found.iter().filter_map(|(account, event)| {
            let Event::Device(DeviceEvent::DeviceSubscribed(subscribed)) = &event.stored.event else { return None };
            let secret = open::<DeviceSecret>(&opener, event)?;
            Some(((*account, subscribed.endpoint), (subscribed.clone(), secret)))
        });
        Ok(devices.collect())
    }

    /// Takes what is due, as far as there is room, and puts it on its way.
    pub(super) async fn launch(&self, work: &mut Work, lead: &mut Lead) -> Result<(), ProcessError> {
        let now = self.clock.now();
        let free = work.free(self.at_once);
        if work.taken.is_empty() && !free.is_empty() {
            work.taken = lead.take(&free, now, now.plus(self.lifetime)).await?;
        }
        if work.taken.is_empty() {
            return Ok(());
        }
        // All that can fail comes before the first of them leaves the list.
        let accounts: BTreeSet<AccId> = work.taken.iter().map(|attempt| attempt.delivery.account).collect();
        let subjects = accounts.iter().map(|account| Subject::Account(*account)).chain([Subject::Server]);
        let keys = self.vault.find(&subjects.collect::<Vec<_>>()).await?;
        let devices = self.devices(accounts).await?;
        let taken = match keys.get(&Subject::Server) {
            Some(Found::Live(server)) => self.taken_by_others(server, work, &devices).await?,
            // Nobody ever subscribed where the key is not there.
            _ => BTreeSet::new(),
        };
        let mut names: HashMap<Position, Option<Secret<String>>> = HashMap::new();
        for attempt in &work.taken {
            let position = attempt.delivery.nickname;
            if let std::collections::hash_map::Entry::Vacant(entry) = names.entry(position) {
                entry.insert(self.nickname(position).await?);
            }
        }
        for attempt in std::mem::take(&mut work.taken) {
            let delivery = &attempt.delivery;
            let ttl = self.worth_until(delivery.written).micros() - now.micros();
            let device = (delivery.account, delivery.device);
            let device = devices.get(&device).filter(|_| !taken.contains(&device));
            let key = match keys.get(&Subject::Account(delivery.account)) {
                Some(Found::Live(key)) => Some(key),
                _ => None,
            };
            let name = names.get(&delivery.nickname).and_then(Option::as_ref);
            let (Some((subscribed, secret)), Some(key), Some(name)) = (device, key, name) else {
                // The account, the device, its session or the sender has been removed in the meantime.
                count("moot", 1);
                work.over.push((attempt.id, delivery.service.clone()));
                continue;
            };
            if ttl <= 0 {
                count("expired", 1);
                work.over.push((attempt.id, delivery.service.clone()));
                continue;
            }
            let payload =
                Payload { action: "newMessage", nickname: name.expose(), sender: delivery.sender.to_string() };
            let payload = serde_json::to_vec(&payload).unwrap_or_default();
            let push = Push {
                subscription: secret.clone(),
                payload: Secret::new(payload),
                topic: topic(key, delivery),
                ttl: u32::try_from(ttl / 1_000_000).unwrap_or(u32::MAX),
            };
            let (sender, at) = (Arc::clone(&self.sender), now.to_utc());
            let flight = Flight { subscription: subscribed.subscription, attempt };
            work.launch(flight, async move {
                let begun = std::time::Instant::now();
                let outcome = sender.send(&push, at).await;
                metrics::histogram!("be8_push_seconds").record(begun.elapsed().as_secs_f64());
                outcome
            });
        }
        Ok(())
    }

    /// Those of the devices of what is about to be sent whose endpoint another account has subscribed since. They were
    /// dropped with that, unless both subscribed at the same moment, or the log came from elsewhere; then here.
    async fn taken_by_others(
        &self,
        server: &DataKey,
        work: &Work,
        devices: &Devices,
    ) -> Result<BTreeSet<DeviceName>, ProcessError> {
        let mut endpoints = HashMap::new();
        for attempt in &work.taken {
            let name = (attempt.delivery.account, attempt.delivery.device);
            if let Some((subscribed, secret)) = devices.get(&name) {
                let endpoint = fingerprint(server, &secret.expose().endpoint);
                endpoints.insert(name, (endpoint, subscribed.subscription));
            }
        }
        let asked: Vec<Hash32> = endpoints.values().map(|(endpoint, _)| *endpoint).collect();
        let holders = self.ledger.push_endpoints().holders(&asked).await?;
        let mut taken = BTreeSet::new();
        for (device, (endpoint, subscription)) in endpoints {
            if holders.get(&endpoint).is_some_and(|holder| *holder != device) {
                taken.insert(device);
                self.drop_device(device, subscription, Dropped::Taken).await;
            }
        }
        Ok(taken)
    }

    /// Drops a device, unless it subscribed again since.
    async fn drop_device(&self, (account, endpoint): DeviceName, subscription: Hash32, why: Dropped) {
        if let Err(error) = self.ledger.execute(DropDevice { account, endpoint, subscription, why }).await {
            // The next message finds out again.
            tracing::warn!(%error, ?why, "a device was not dropped");
        }
    }

    /// The nickname that an event set; none once its key is gone.
    async fn nickname(&self, position: Position) -> Result<Option<Secret<String>>, ProcessError> {
        let (event, live) = self.read.sealed_event(position).await?;
        let opener = self.vault.opener(&live).await?;
        let Some(event) = event else { return Ok(None) };
        Ok(match &event.stored.event {
            Event::Account(AccountEvent::NicknameChanged(_)) => {
                open::<NicknameSecret>(&opener, &event).map(|secret| Secret::new(secret.into_inner().nickname))
            }
            Event::Account(AccountEvent::AccountCreated(_)) => {
                open::<AccountSecret>(&opener, &event).map(|secret| Secret::new(secret.into_inner().nickname))
            }
            _ => None,
        })
    }

    /// Judges what ended, and writes it down.
    pub(super) async fn settle(&self, work: &mut Work, lead: &mut Lead) -> Result<(), ProcessError> {
        while let Some(ended) = work.flights.try_join_next_with_id() {
            work.landed(ended);
        }
        while let Some((flight, outcome)) = work.ended.pop() {
            self.judge(work, flight, outcome).await;
        }
        if !(work.over.is_empty() && work.again.is_empty()) {
            Self::write_down(work, lead).await?;
        }
        // After the accepted pushes, which reset the count.
        while let Some(Refusal { device, subscription }) = work.refused.last().copied() {
            let count = lead.count_refusal(device).await?;
            work.refused.pop();
            if count >= self.refusals {
                self.drop_device(device, subscription, Dropped::Refused).await;
            }
        }
        Ok(())
    }

    /// Writes down what is judged.
    async fn write_down(work: &mut Work, lead: &mut Lead) -> Result<(), ProcessError> {
        let over: Vec<i64> = work.over.iter().map(|(id, _)| *id).collect();
        let again: Vec<Again> = work.again.iter().map(|(again, _)| *again).collect();
        let gave_way = lead.finish_attempts(&over, &again, &work.accepted).await?;
        work.accepted.clear();
        for (_, service) in std::mem::take(&mut work.over) {
            work.shrank(&service);
        }
        for (again, service) in std::mem::take(&mut work.again) {
            if gave_way.contains(&again.id) {
                work.shrank(&service);
            }
        }
        Ok(())
    }

    async fn judge(&self, work: &mut Work, flight: Flight, outcome: Outcome) {
        let Flight { attempt: Attempt { id, tries, delivery }, subscription } = flight;
        let service = &*delivery.service;
        let device = (delivery.account, delivery.device);
        let word = match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Lost => "lost",
            Outcome::Unreachable => "unreachable",
            Outcome::NotNow(..) => "not-now",
            Outcome::Gone => "gone",
            Outcome::Unauthorized(_) => "unauthorized",
            Outcome::Refused(413) => "too-large",
            Outcome::Refused(_) => "refused",
            Outcome::Forbidden => "forbidden",
            Outcome::Unusable => "unusable",
        };
        count(word, 1);
        match outcome {
            Outcome::Accepted => {
                work.service_accepts(service);
                work.accepted.push(device);
            }
            Outcome::Unauthorized(status) | Outcome::Refused(status) => {
                let of_key = matches!(outcome, Outcome::Unauthorized(_));
                if work.service_refuses(service, device) {
                    key_refused(service, true);
                    if work.alarms(service, "key") {
                        tracing::error!(
                            service,
                            status,
                            "a push service refuses every push: it may not accept our VAPID key pair or contact, or \
                             the devices were subscribed with another key"
                        );
                    }
                } else if work.alarms(service, word) {
                    tracing::warn!(service, status, "a push service refuses pushes to a device");
                }
                // A key that nobody's pushes are accepted with says nothing of the device.
                if !of_key || work.accepts_key(service) {
                    work.refused.push(Refusal { device, subscription });
                }
            }
            Outcome::Gone => self.drop_device(device, subscription, Dropped::Gone).await,
            Outcome::NotNow(..) | Outcome::Unreachable => {
                let wanted = match outcome {
                    Outcome::NotNow(_, wanted) => wanted,
                    _ => None,
                };
                if work.alarms(service, word) {
                    tracing::warn!(service, ?outcome, "a push service does not take pushes now");
                }
                let pause = TimeDelta::from_std(pause(tries, wanted)).unwrap_or(TimeDelta::MAX);
                // A pause beyond all time is beyond the life of the message, too.
                let due = self.clock.now().plus(pause.min(self.lifetime));
                if tries < MOST_TRIES && due < self.worth_until(delivery.written) {
                    work.again.push((Again { id, due }, delivery.service));
                    return;
                }
                count("given-up", 1);
            }
            Outcome::Lost | Outcome::Forbidden | Outcome::Unusable => {
                if work.alarms(service, word) {
                    tracing::warn!(service, ?outcome, "a push did not arrive, or may not have");
                }
            }
        }
        work.over.push((id, delivery.service));
    }
}

/// The topic of a thread, which only the account's key connects with it.
fn topic(key: &DataKey, delivery: &Delivery) -> String {
    let mac = key.mac("push-topic", &delivery.thread.to_be_bytes());
    URL_SAFE_NO_PAD.encode(&mac.0[..TOPIC])
}

/// The secret part of an event; none once its key is gone, or if it cannot be read.
fn open<T: DeserializeOwned>(opener: &Opener, event: &StoredSealed) -> Option<Secret<T>> {
    let plain = match opener.open(event.sealed.as_ref()?, event.stored.context()) {
        Ok(plain) => plain?,
        Err(error) => {
            tracing::error!(position = %event.stored.position, %error, "a secret payload does not open");
            return None;
        }
    };
    let secret = SecretPayload::read(plain.expose());
    if let Err(error) = &secret {
        // The error of serde_json may quote what it read: only its class is logged.
        tracing::error!(position = %event.stored.position, class = ?error.classify(), "a secret payload has no known shape");
    }
    secret.ok()
}
