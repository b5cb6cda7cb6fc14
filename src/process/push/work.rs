//! What the process has in hand: where it reads, what waits, what is under way.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use be8_events::{Hash32, Position};
use tokio::task::{Id, JoinError, JoinSet};

use crate::domain::device::DeviceName;
use crate::feed::Rosters;
use crate::ledger::{Again, Attempt, Subscription};
use crate::push::Outcome;

/// For how long after it accepted a push a service is known to accept our key.
const KEY_ACCEPTED: Duration = Duration::from_secs(60 * 60);
/// How many refusals by a service that has accepted no push since this process began to lead make the key suspect.
const SUSPICIOUS: u32 = 3;

/// A push that a service refused, for a reason that applies to the next one to the device, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    pub(super) device: DeviceName,
    pub(super) subscription: Hash32,
}

/// What a service said of pushes lately.
#[derive(Debug, Default)]
struct Standing {
    accepted: Option<Instant>,
    /// How many it refused since.
    refused: u32,
    /// To which devices: two are enough to know.
    devices: BTreeSet<DeviceName>,
}

/// The shortest time between two log lines about the same trouble with a service.
const ALARM: Duration = Duration::from_secs(60);

/// An attempt that is under way, with the subscription that it is sent to.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) attempt: Attempt,
    pub(super) subscription: Hash32,
}

/// The state of the process between two ticks. What the table of attempts holds is the truth; this
/// is what the table does not know.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) subscription: Option<Subscription>,
    pub(super) rosters: Rosters,
    /// Where the checkpoint stands.
    pub(super) saved: Position,
    /// How many deliveries are not over, by service.
    backlog: HashMap<String, i64>,
    pub(super) flights: JoinSet<Outcome>,
    flying: HashMap<Id, Flight>,
    /// Recorded as sent, and not yet on their way.
    pub(super) taken: Vec<Attempt>,
    /// Ended, with what became of them; not yet judged.
    pub(super) ended: Vec<(Flight, Outcome)>,
    /// Judged, not yet written: over, and to be tried again.
    pub(super) over: Vec<(i64, String)>,
    pub(super) again: Vec<(Again, String)>,
    /// Devices that took a push, and those that are refused to, not yet counted.
    pub(super) accepted: Vec<DeviceName>,
    pub(super) refused: Vec<Refusal>,
    /// What each service said of pushes lately.
    services: HashMap<String, Standing>,
    alarmed: HashMap<(String, &'static str), Instant>,
}

impl Work {
    /// All attempts whose fate is in hand here.
    pub(super) fn known(&self) -> Vec<i64> {
        let flying = self.flying.values().map(|flight| flight.attempt.id);
        let taken = self.taken.iter().map(|attempt| attempt.id);
        let ended = self.ended.iter().map(|(flight, _)| flight.attempt.id);
        let over = self.over.iter().map(|(id, _)| *id);
        let again = self.again.iter().map(|(again, _)| again.id);
        flying.chain(taken).chain(ended).chain(over).chain(again).collect()
    }

    /// Begins to read after the position of `subscription`.
    pub(super) fn begin(&mut self, subscription: Subscription, backlog: HashMap<String, i64>) {
        self.saved = subscription.position();
        self.subscription = Some(subscription);
        // Which groups have whom is known for another position.
        self.rosters = Rosters::default();
        self.backlog = backlog;
    }

    /// How many deliveries are neither over nor under way.
    pub(super) fn waiting(&self) -> i64 {
        (self.backlog.values().sum::<i64>() - self.flying.len() as i64).max(0)
    }

    /// How many deliveries of a service are not over.
    pub(super) fn backlog(&self, service: &str) -> usize {
        self.backlog.get(service).map_or(0, |count| usize::try_from(*count).unwrap_or(0))
    }

    pub(super) fn grew(&mut self, service: String, by: i64) {
        *self.backlog.entry(service).or_default() += by;
    }

    pub(super) fn shrank(&mut self, service: &str) {
        if let Some(count) = self.backlog.get_mut(service) {
            *count -= 1;
            if *count <= 0 {
                self.backlog.remove(service);
            }
        }
    }

    /// How many more may be under way to each service that something waits for.
    pub(super) fn free(&self, at_once: usize) -> Vec<(String, i64)> {
        let mut busy: HashMap<&str, usize> = HashMap::new();
        for flight in self.flying.values() {
            *busy.entry(&flight.attempt.delivery.service).or_default() += 1;
        }
        let free = |service: &String| at_once.saturating_sub(busy.get(&**service).copied().unwrap_or(0));
        let free = self.backlog.keys().map(|service| (service.clone(), i64::try_from(free(service)).unwrap_or(0)));
        free.filter(|(_, free)| *free > 0).collect()
    }

    /// Puts an attempt on its way.
    pub(super) fn launch(&mut self, flight: Flight, sending: impl Future<Output = Outcome> + Send + 'static) {
        let id = self.flights.spawn(sending).id();
        self.flying.insert(id, flight);
    }

    /// Takes in an attempt that ended. One whose task broke off may have been sent.
    pub(super) fn landed(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => {
                tracing::error!(%error, "the task of a push broke off");
                (error.id(), Outcome::Lost)
            }
        };
        self.ended.extend(self.flying.remove(&id).map(|flight| (flight, outcome)));
    }

    /// A service accepted a push, and so our key.
    pub(super) fn service_accepts(&mut self, service: &str) {
        self.services.insert(service.to_owned(), Standing { accepted: Some(Instant::now()), ..Standing::default() });
        key_refused(service, false);
    }

    /// A service refused a push to a device. Answers whether it accepts no push at all, so that the key may be what it
    /// refuses: one that accepted some before does so when it refuses those to several devices and has not accepted any
    /// for a while.
    pub(super) fn service_refuses(&mut self, service: &str, device: DeviceName) -> bool {
        let accepts = self.accepts_key(service);
        let standing = self.services.entry(service.to_owned()).or_default();
        standing.refused = standing.refused.saturating_add(1);
        if standing.devices.len() < 2 {
            standing.devices.insert(device);
        }
        match standing.accepted {
            None => standing.refused >= SUSPICIOUS,
            Some(_) => !accepts && standing.devices.len() >= 2,
        }
    }

    /// Whether a service accepted a push, and so our key, not long ago.
    pub(super) fn accepts_key(&self, service: &str) -> bool {
        let accepted = self.services.get(service).and_then(|standing| standing.accepted);
        accepted.is_some_and(|at| at.elapsed() < KEY_ACCEPTED)
    }

    /// Whether it is time to log this trouble with a service.
    pub(super) fn alarms(&mut self, service: &str, trouble: &'static str) -> bool {
        let key = (service.to_owned(), trouble);
        if self.alarmed.get(&key).is_some_and(|at| at.elapsed() < ALARM) {
            return false;
        }
        self.alarmed.insert(key, Instant::now());
        true
    }
}

/// Shows whether a service seems to refuse our key.
pub(super) fn key_refused(service: &str, refused: bool) {
    metrics::gauge!("be8_push_key_refused", "service" => service.to_owned()).set(f64::from(u8::from(refused)));
}
