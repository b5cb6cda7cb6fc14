//! Who tried to log in, from where and how often.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use be8_events::{AccId, Timestamp};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};

use crate::domain::throttle::{self, Attempts};
use crate::password::Requester;

/// How many pairs of account and network are remembered, of those that have to wait and of the others each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Who tried to log in from where: a growing delay for each account and network. It is kept in
/// memory, for it costs a stranger at most the delays of one network more to find another node.
#[derive(Debug)]
pub struct LoginAttempts(Mutex<Kept>);

/// Pairs that have to wait are not evicted by those that do not: attempts on nonexistent accounts cost one each, and making
/// each of 65,536 accounts wait takes more wrong passwords than evicting one delay is worth.
#[derive(Debug)]
struct Kept {
    waiting: LruCache<(Option<AccId>, IpAddr), Attempts>,
    others: LruCache<(Option<AccId>, IpAddr), Attempts>,
}

/// An attempt that was counted when it began.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    account: Option<AccId>,
    network: IpAddr,
    before: Attempts,
    after: Attempts,
}

impl Default for LoginAttempts {
    fn default() -> Self {
        Self(Mutex::new(Kept { waiting: LruCache::new(REMEMBERED), others: LruCache::new(REMEMBERED) }))
    }
}

impl LoginAttempts {
    /// Counts an attempt as it begins, so that many at once get no further than one after the other.
    ///
    /// # Errors
    /// How much too early it is.
    pub fn admit(&self, from: Requester, now: Timestamp) -> Result<Counted, Duration> {
        let Requester { account, network } = from;
        let mut kept = self.kept();
        let before = kept.get(account, network);
        let after = before.admit(now).map_err(|early| early.to_std().unwrap_or(Duration::from_secs(1)))?;
        kept.put(account, network, after);
        Ok(Counted { account, network, before, after })
    }

    /// The password was right.
    pub fn forget(&self, Counted { account, network, .. }: Counted) {
        self.kept().put(account, network, Attempts::NONE);
    }

    /// The password was not judged: the attempt does not count.
    pub fn withdraw(&self, Counted { account, network, before, after }: Counted) {
        let mut kept = self.kept();
        let now = kept.get(account, network);
        let less = Attempts { count: now.count.saturating_sub(1), ..now };
        kept.put(account, network, if now == after { before } else { less });
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock()
    }
}

impl Kept {
    fn get(&self, account: Option<AccId>, network: IpAddr) -> Attempts {
        let key = (account, network);
        self.waiting.peek(&key).or_else(|| self.others.peek(&key)).copied().unwrap_or(Attempts::NONE)
    }

    fn put(&mut self, account: Option<AccId>, network: IpAddr, attempts: Attempts) {
        let key = (account, network);
        self.waiting.pop(&key);
        self.others.pop(&key);
        if attempts.count >= throttle::FREE {
            self.waiting.put(key, attempts);
        } else if attempts.count > 0 {
            self.others.put(key, attempts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(account: Option<AccId>, network: IpAddr) -> Requester {
        Requester { network, account }
    }

    #[test]
    fn an_account_is_guessed_at_from_each_network_apart() {
        let attempts = LoginAttempts::default();
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let zoe = AccId::new(10_001);
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        while attempts.admit(from(zoe, at("2001:db8::")), now).is_ok() {}
        let early = attempts.admit(from(zoe, at("2001:db8::")), now).unwrap_err();
        assert_eq!(early, Duration::from_secs(1));
        // Another network, another account, and nobody at all are not concerned.
        assert!(attempts.admit(from(zoe, at("2001:db8:0:1::")), now).is_ok());
        assert!(attempts.admit(from(AccId::new(10_002), at("2001:db8::")), now).is_ok());
        assert!(attempts.admit(from(None, at("2001:db8::")), now).is_ok());
        attempts.forget(Counted {
            account: zoe,
            network: at("2001:db8::"),
            before: Attempts::NONE,
            after: Attempts::NONE,
        });
        assert!(attempts.admit(from(zoe, at("2001:db8::")), now).is_ok());
    }

    #[test]
    fn an_attempt_that_was_not_judged_does_not_count() {
        let attempts = LoginAttempts::default();
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let (zoe, home) = (AccId::new(10_001), "192.0.2.1".parse().unwrap());
        // One after the other, as many as one likes,
        for _ in 0..3 * throttle::FREE {
            attempts.withdraw(attempts.admit(from(zoe, home), now).unwrap());
        }
        // and several at once, which end in another order, leave all free attempts but the one that was judged.
        let mut many: Vec<Counted> =
            (0..throttle::FREE).map(|_| attempts.admit(from(zoe, home), now).unwrap()).collect();
        many.remove(2);
        many.into_iter().for_each(|counted| attempts.withdraw(counted));
        for _ in 1..throttle::FREE {
            assert!(attempts.admit(from(zoe, home), now).is_ok());
        }
        assert!(attempts.admit(from(zoe, home), now).is_err());
    }

    #[test]
    fn made_up_accounts_push_out_no_delay() {
        let attempts = LoginAttempts::default();
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let (zoe, home) = (AccId::new(10_001), "192.0.2.1".parse().unwrap());
        while attempts.admit(from(zoe, home), now).is_ok() {}
        for made_up in (0_i64..).take(2 * REMEMBERED.get()) {
            attempts.admit(from(AccId::new(20_000 + made_up), home), now).unwrap();
        }
        assert!(attempts.admit(from(zoe, home), now).is_err());
        let kept = attempts.kept();
        assert_eq!((kept.waiting.len(), kept.others.len()), (1, REMEMBERED.get()), "memory is bounded");
    }
}
