//! Limits on requests: named, each over a time, per address for requests without a session, per
//! account for the others, however many sessions it has.
//!
//! Each is a GCRA: a client may send all of its requests at once and gets them back evenly over
//! the time. Every answer says what is left (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use be8_events::{AccId, Hash32};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use moka::sync::Cache;
use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem::{IntoResponse as _, Response};

use crate::app::Handle;
use crate::http::document::operation::LimitClass;
use crate::http::request::address::network;
use crate::http::request::resolved::Resolved;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::settings::{parse, settings, unless_off};
use crate::support::clock::Clock;

/// How many requests over which time; all of them at once if need be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    requests: NonZeroU32,
    seconds: NonZeroU32,
}

/// No such limit.
#[derive(Debug, thiserror::Error)]
#[error("not REQUESTS/SECONDS, such as 1000/60, with at most 1000000 requests a second")]
pub struct BadLimit;

impl FromStr for Limit {
    type Err = BadLimit;

    fn from_str(text: &str) -> Result<Self, BadLimit> {
        let (requests, seconds) = text.split_once('/').ok_or(BadLimit)?;
        let (requests, seconds): (NonZeroU32, NonZeroU32) =
            (requests.parse().map_err(|_| BadLimit)?, seconds.parse().map_err(|_| BadLimit)?);
        // Beyond that the time for one request is no whole number of nanoseconds worth the name.
        (requests.get() / seconds.get() <= 1_000_000).then_some(Self { requests, seconds }).ok_or(BadLimit)
    }
}

settings! {
    /// The limits; none: there is no such limit.
    #[derive(Debug, Clone)]
    pub struct LimitSettings {
        signups: Option<Limit> = unless_off(parse), "limit-signups", "N/SECONDS|off", "1000/60", "New accounts from one address (IPv6: from one /64)";
        address: Option<Limit> = unless_off(parse), "limit-address", "N/SECONDS|off", "30000/60", "Requests from one address that show no session";
        account: Option<Limit> = unless_off(parse), "limit-account", "N/SECONDS|off", "12000/60", "Requests of one account, by all of its sessions";
        streams: Option<Limit> = unless_off(parse), "limit-streams", "N/SECONDS|off", "600/60", "Event streams that one account opens";
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Network(IpAddr),
    Account(AccId),
    /// While there are too many to tell them apart: those that share a number.
    Crowd(u16),
}

impl From<IpAddr> for Key {
    fn from(address: IpAddr) -> Self {
        Self::Network(network(address))
    }
}

/// The time that the limits run by: the machine's monotonic one, or a test's.
#[derive(Debug, Clone)]
struct Time {
    begun: Instant,
    test: Option<Arc<dyn Clock>>,
}

impl governor::clock::Clock for Time {
    type Instant = Duration;

    fn now(&self) -> Duration {
        match &self.test {
            None => self.begun.elapsed(),
            Some(clock) => clock.elapsed(),
        }
    }
}

/// How many keys a limit distinguishes; a few bytes each.
const MOST_KEYS: usize = 100_000;
/// After how many requests the keys are counted.
const COUNT_EVERY: u32 = 1024;

/// One limit with all who are under it.
struct Bucket {
    name: &'static str,
    limit: Limit,
    policy: HeaderValue,
    time: Time,
    states: RateLimiter<Key, DashMapStateStore<Key>, Time, StateInformationMiddleware>,
    most: usize,
    crowd: RandomState,
    crowded: AtomicBool,
    asked: AtomicU32,
}

/// Whether a request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It may, and so may this many more now.
    Pass(u32),
    /// Not before this time has passed.
    Wait(Duration),
}

impl Bucket {
    fn new(name: &'static str, limit: Limit, time: Time, most: usize) -> Self {
        let each = Duration::from_secs(limit.seconds.get().into()) / limit.requests.get();
        let quota = Quota::with_period(each).unwrap_or(Quota::per_second(limit.requests)).allow_burst(limit.requests);
        let policy = format!("\"{name}\";q={};w={}", limit.requests, limit.seconds);
        Self {
            name,
            limit,
            policy: HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("")),
            states: RateLimiter::new(quota, DashMapStateStore::default(), time.clone()),
            time,
            most,
            crowd: RandomState::new(),
            crowded: AtomicBool::new(false),
            asked: AtomicU32::new(0),
        }
    }

    fn ask(&self, key: Key) -> Verdict {
        if self.asked.fetch_add(1, Ordering::Relaxed) % COUNT_EVERY == COUNT_EVERY - 1 {
            self.count();
        }
        let key = if self.crowded.load(Ordering::Relaxed) {
            Key::Crowd((self.crowd.hash_one(key) & 0xffff) as u16)
        } else {
            key
        };
        match self.states.check_key(&key) {
            Ok(state) => Verdict::Pass(state.remaining_burst_capacity()),
            Err(until) => Verdict::Wait(until.wait_time_from(governor::clock::Clock::now(&self.time))),
        }
    }

    /// Keeps the memory bounded: forgets who has all of its requests again; if there are too many
    /// others, they are no longer distinguished.
    fn count(&self) {
        if self.states.len() >= self.most {
            self.tidy();
        }
    }

    fn tidy(&self) {
        self.states.retain_recent();
        self.states.shrink_to_fit();
        let keys = self.states.len();
        let crowded = keys >= self.most;
        if crowded && !self.crowded.swap(crowded, Ordering::Relaxed) {
            tracing::warn!(limit = self.name, keys, "too many to tell apart: they share their limits for a while");
        }
        self.crowded.store(crowded, Ordering::Relaxed);
        metrics::gauge!("be8_limit_keys", "limit" => self.name).set(keys as f64);
    }

    /// Puts in an answer what is left, and in how many seconds all of it is there again; of a
    /// refusal, in how many it can be tried again.
    fn tell(&self, verdict: Verdict, answer: &mut Response) {
        let (left, seconds) = match verdict {
            Verdict::Pass(left) => {
                let (requests, window) = (u64::from(self.limit.requests.get()), u64::from(self.limit.seconds.get()));
                let spent = requests.saturating_sub(left.into());
                (left, (spent * window).div_ceil(requests))
            }
            Verdict::Wait(time) => (0, whole_seconds(time)),
        };
        let text = format!("\"{}\";r={left};t={seconds}", self.name);
        let headers = answer.headers_mut();
        headers.insert(HeaderName::from_static("ratelimit-policy"), self.policy.clone());
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static("ratelimit"), value);
        }
    }
}

fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// How many sessions are remembered as such.
const SESSIONS: u64 = 200_000;
/// How long, unless they are used.
const SESSION_IDLE: Duration = Duration::from_secs(3600);

/// All limits of a server.
pub struct Limiter {
    signups: Option<Bucket>,
    address: Option<Bucket>,
    account: Option<Bucket>,
    streams: Option<Bucket>,
    /// Whose sessions these are, of those that proved valid: an invalid one belongs to nobody.
    sessions: Cache<Hash32, AccId>,
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}

impl Limiter {
    /// Limits that run by the machine's monotonic clock; by `test` if there is one.
    pub fn new(settings: LimitSettings, test: Option<Arc<dyn Clock>>) -> Arc<Self> {
        let time = Time { begun: Instant::now(), test };
        let bucket = |name, limit: Option<Limit>| limit.map(|limit| Bucket::new(name, limit, time.clone(), MOST_KEYS));
        Arc::new(Self {
            signups: bucket("signups", settings.signups),
            address: bucket("address", settings.address),
            account: bucket("account", settings.account),
            streams: bucket("streams", settings.streams),
            sessions: Cache::builder().max_capacity(SESSIONS).time_to_idle(SESSION_IDLE).build(),
        })
    }

    /// Forgets those who have all of their requests again. To be called now and then.
    pub fn tidy(&self) {
        for bucket in [&self.signups, &self.address, &self.account, &self.streams].into_iter().flatten() {
            bucket.tidy();
        }
    }
}

/// The limits in front of the edge.
pub(super) struct Limits {
    /// The limits.
    pub(super) limiter: Arc<Limiter>,
    /// Knows whose a session is.
    pub(super) app: Handle,
}

/// A request that was counted.
pub(super) struct Counted<'a> {
    limits: &'a Limits,
    resolved: &'a Resolved,
    /// The session that it shows, where the path accepts one; whether it was known.
    session: Option<(Hash32, bool)>,
    verdict: Option<(&'a Bucket, Verdict)>,
}

impl Limits {
    /// Counts a request under its limit.
    pub(super) fn count<'a>(&'a self, resolved: &'a Resolved) -> Counted<'a> {
        let limiter = &*self.limiter;
        let session = resolved.session.filter(|_| resolved.rule.is_some_and(|rule| rule.session));
        let known = session.and_then(|session| limiter.sessions.get(&session));
        let address = || Key::from(resolved.caller.address);
        let (bucket, key) = match (resolved.limit(), known) {
            (LimitClass::None, _) => return Counted { limits: self, resolved, session: None, verdict: None },
            (LimitClass::Streams, Some(account)) => (&limiter.streams, Key::Account(account)),
            (LimitClass::Usual | LimitClass::SignUps, Some(account)) => (&limiter.account, Key::Account(account)),
            (LimitClass::SignUps, None) => (&limiter.signups, address()),
            (LimitClass::Usual | LimitClass::Streams, None) => (&limiter.address, address()),
        };
        Counted {
            limits: self,
            resolved,
            session: session.map(|session| (session, known.is_some())),
            verdict: bucket.as_ref().map(|bucket| (bucket, bucket.ask(key))),
        }
    }

    /// Remembers whose a session is that was answered yes.
    async fn learn(&self, session: Hash32) {
        let Ok(app) = self.app.get() else { return };
        // An account that cannot be looked up now is looked up with its next request.
        if let Ok(Some(account)) = app.read.account(session, app.now()).await {
            self.limiter.sessions.insert(session, account.id);
            app.seen.note(session, app.now());
        }
    }

    /// Notes that a session of which that is known was used today.
    fn seen(&self, session: Hash32) {
        if let Ok(app) = self.app.get() {
            app.seen.note(session, app.now());
        }
    }
}

impl Counted<'_> {
    /// The answer to a request beyond its limit.
    pub(super) fn refusal(&self) -> Option<Response> {
        let Some((bucket, Verdict::Wait(time))) = self.verdict else { return None };
        metrics::counter!("be8_limited_total", "limit" => bucket.name).increment(1);
        let streams = self.resolved.common.as_ref().filter(|_| self.resolved.limit() == LimitClass::Streams);
        Some(match streams {
            Some(common) => common.refused.come_back(time),
            None => self.resolved.errors().apply(WireError::retry(Code::RateLimited, time).into_response()),
        })
    }

    /// Notes what an answer says about the session of the request.
    pub(super) async fn note(&self, status: StatusCode) {
        match (self.session, status) {
            // Once for each session: so its future is not part of all others.
            (Some((session, false)), StatusCode::OK) => Box::pin(self.limits.learn(session)).await,
            (Some((session, true)), StatusCode::OK) => self.limits.seen(session),
            (Some((session, true)), StatusCode::UNAUTHORIZED) => self.limits.limiter.sessions.invalidate(&session),
            _ => {}
        }
    }

    /// Tells an answer what is left of the limit.
    pub(super) fn tell(&self, answer: &mut Response) {
        if let Some((bucket, verdict)) = self.verdict {
            bucket.tell(verdict, answer);
        }
    }
}

#[cfg(test)]
mod tests;
