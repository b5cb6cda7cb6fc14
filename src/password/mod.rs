//! Passwords and lock codes as argon2id hashes (RFC 9106), computed on threads of their own by few workers. Who may wait for
//! them is bounded (`places.rs`), and they are shared fairly (`turns.rs`).

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::available_parallelism;

use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use be8_events::{AccId, Secret};
use rand::Rng as _;
use zeroize::Zeroizing;

use crate::settings::{count, settings};
use places::{Places, Taking};
use turns::Turns;

mod places;
mod turns;

/// Longest password, in UTF-16 units.
pub const MAX_UNITS: usize = 1024;
/// Longest password in UTF-8: no UTF-16 unit takes more than three bytes.
pub const MAX_BYTES: usize = 3 * MAX_UNITS;

settings! {
    /// How much a hash costs, and how many may be wanted at once.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HashSettings {
        memory_kib: u32 = count, "hash-memory-kib", "KIB", "19456", "Memory of one password hash (argon2id)";
        passes: u32 = count, "hash-passes", "N", "2", "Passes of one password hash";
        workers: usize = |text| text.map_or_else(|| Ok(cores()), |_| count(text)), "hash-workers", "N", "", "Password hashes at once; as many as there are cores";
        queue: usize = count, "hash-queue", "N", "2048", "Password hashes that may wait, a quarter of them for one address or account; one more is refused as UNAVAILABLE";
    }
    fixed {
        /// Independent lanes of the memory; they are filled by one thread.
        lanes: u32 = 1,
    }
}

/// How many hashes can be computed at once: each takes a core and its memory.
fn cores() -> usize {
    available_parallelism().map_or(2, usize::from)
}

/// Settings that argon2 does not have (RFC 9106, section 3.1).
#[derive(Debug, thiserror::Error)]
#[error("the settings of password hashing do not fit: {0}")]
pub struct BadHashSettings(#[from] argon2::Error);

/// No hash was computed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many are waiting already, of all or of this network or account; come back later.
    #[error("too many passwords are waiting to be hashed")]
    Overloaded,
    /// A stored hash is damaged, there is no memory, or the server is stopping.
    #[error("a password hash was not computed: {0}")]
    Broken(String),
}

/// For whom a hash is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The address of the client, or its network where clients have more than one address.
    pub network: IpAddr,
    /// The account whose password or codes these are; none if there is none yet.
    pub account: Option<AccId>,
}

/// Computes and compares hashes. Clones share workers and places.
#[derive(Clone, Debug)]
pub struct PasswordHasher {
    argon2: Argon2<'static>,
    /// What is computed or waits.
    places: Places,
    /// What is computed.
    turns: Arc<Turns>,
    /// How many at once.
    workers: usize,
    /// A hash that no password has, for comparing when there is none to compare with.
    nobody: Arc<str>,
}

impl PasswordHasher {
    /// A hasher with these settings.
    ///
    /// # Errors
    /// argon2 has no such settings.
    pub fn new(settings: HashSettings) -> Result<Self, BadHashSettings> {
        let HashSettings { memory_kib, passes, lanes, workers, queue } = settings;
        let params = Params::new(memory_kib, passes, lanes, Some(Params::DEFAULT_OUTPUT_LEN))?;
        // Random bytes in the place of a hash: nothing hashes to them, and to find that out
        // takes a whole computation.
        let random = |bytes: &mut [u8]| {
            rand::rng().fill_bytes(bytes);
            STANDARD_NO_PAD.encode(bytes)
        };
        let salt = random(&mut [0; password_hash::phc::Salt::RECOMMENDED_LENGTH]);
        let hash = random(&mut [0; Params::DEFAULT_OUTPUT_LEN]);
        let workers = workers.max(1);
        Ok(Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            places: Places::new(workers.saturating_add(queue)),
            turns: Arc::new(Turns::new(workers)),
            workers,
            nobody: format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}").into(),
        })
    }

    /// A hasher with the same workers and a queue of its own.
    pub fn with_queue(&self, queue: usize) -> Self {
        Self { places: Places::new(self.workers.saturating_add(queue)), ..self.clone() }
    }

    /// How many of the places of hashes are taken, from 0 to 1.
    pub fn fullness(&self) -> f64 {
        self.places.fullness()
    }

    /// Takes a permit: a place among those for whom hashes are computed. A quarter of them are there for each network and for each
    /// account.
    ///
    /// # Errors
    /// [`HashError::Overloaded`] if there is none.
    pub fn enter(&self, requester: Requester) -> Result<HashPermit, HashError> {
        let taking = self.places.take(requester).ok_or(HashError::Overloaded)?;
        let (argon2, turns, nobody) = (self.argon2.clone(), Arc::clone(&self.turns), Arc::clone(&self.nobody));
        Ok(HashPermit { argon2, turns, nobody, requester, taking: Arc::new(taking) })
    }
}

/// A permit to have hashes computed: a place among those for whom they are, until it is dropped.
#[derive(Debug)]
pub struct HashPermit {
    argon2: Argon2<'static>,
    turns: Arc<Turns>,
    nobody: Arc<str>,
    requester: Requester,
    taking: Arc<Taking>,
}

impl HashPermit {
    /// Hashes a password under a new random salt into a PHC string.
    ///
    /// # Errors
    /// [`HashError::Broken`]
    pub async fn hash(&self, password: Secret<String>) -> Result<Secret<String>, HashError> {
        let password = Zeroizing::new(password.into_inner());
        let argon2 = self.argon2.clone();
        self.run(move || argon2.hash_password(password.as_bytes()))
            .await?
            .map(|hash| Secret::new(hash.to_string()))
            .map_err(broken)
    }

    /// Whether a password is the one of each of these PHC strings, all found out in one turn. Without one the answer is no,
    /// after as much work as for a wrong password, so that the time does not show which accounts have one.
    ///
    /// # Errors
    /// [`HashError::Broken`]
    pub async fn verify<const N: usize>(
        &self,
        password: Secret<String>,
        phc: [Option<Secret<String>>; N],
    ) -> Result<[bool; N], HashError> {
        let mut password = Zeroizing::new(password.into_inner());
        // Nobody has a longer one, and it must not fill the memory while it waits.
        let fits = password.len() <= MAX_BYTES;
        if !fits {
            password = Zeroizing::default();
        }
        let phc = phc.map(|phc| {
            Zeroizing::new(phc.filter(|_| fits).map_or_else(|| self.nobody.as_ref().into(), Secret::into_inner))
        });
        let argon2 = self.argon2.clone();
        let compare = move |phc: &str| match argon2.verify_password(password.as_bytes(), &PasswordHash::new(phc)?) {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(error),
        };
        let compared = self.run(move || phc.map(|phc| compare(&phc))).await?;
        let mut right = [false; N];
        for (right, compared) in right.iter_mut().zip(compared) {
            *right = compared.map_err(broken)?;
        }
        Ok(right)
    }

    /// Waits for a turn and computes on a blocking thread. A caller that goes away gives up its turn; what is computed
    /// already runs to its end, and holds its turn and its place until then.
    async fn run<T: Send + 'static>(&self, compute: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let turn = self.turns.wait(self.requester).await;
        let taking = Arc::clone(&self.taking);
        let computed = tokio::task::spawn_blocking(move || {
            let result = compute();
            drop((turn, taking));
            result
        });
        computed.await.map_err(broken)
    }
}

/// Keeps the text of an error; none of these holds a password.
fn broken(error: impl std::fmt::Display) -> HashError {
    HashError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    /// Cheap hashes, so that tests are quick.
    fn hasher(workers: usize, queue: usize) -> PasswordHasher {
        let settings = HashSettings { memory_kib: 8, passes: 1, lanes: 1, workers, queue };
        PasswordHasher::new(settings).unwrap()
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    async fn hashed(hasher: &PasswordHasher, password: &str) -> Result<Secret<String>, HashError> {
        hasher.enter(somebody())?.hash(secret(password)).await
    }

    async fn verify(hasher: &PasswordHasher, password: &str, phc: Option<&Secret<String>>) -> Result<bool, HashError> {
        let [right] = hasher.enter(somebody())?.verify(secret(password), [phc.cloned()]).await?;
        Ok(right)
    }

    #[tokio::test]
    async fn only_the_right_password_fits() {
        let hasher = hasher(2, 2);
        let hash = hashed(&hasher, "päss").await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        assert_ne!(hash, hashed(&hasher, "päss").await.unwrap());
        assert!(verify(&hasher, "päss", Some(&hash)).await.unwrap());
        for wrong in ["", "pass", "päss ", &"a".repeat(MAX_BYTES + 1)] {
            assert!(!verify(&hasher, wrong, Some(&hash)).await.unwrap());
            assert!(!verify(&hasher, wrong, None).await.unwrap());
        }
        let damaged = secret("$argon2id$v=19$m=8,t=1,p=1$x");
        assert!(matches!(verify(&hasher, "a", Some(&damaged)).await, Err(HashError::Broken(_))));
    }

    #[tokio::test]
    async fn older_settings_are_still_verified() {
        let hash = hashed(&hasher(1, 1), "a").await.unwrap();
        let now = HashSettings { memory_kib: 64, passes: 2, ..HashSettings::default() };
        let now = PasswordHasher::new(now).unwrap();
        assert!(verify(&now, "a", Some(&hash)).await.unwrap());
    }

    /// Somebody without a password costs as much as a wrong password: the hash to compare with is
    /// computed with the very same parameters.
    #[tokio::test]
    async fn nobody_costs_as_much_as_somebody() {
        let settings = HashSettings { memory_kib: 4096, passes: 3, workers: 1, ..HashSettings::default() };
        let hasher = PasswordHasher::new(settings).unwrap();
        let hash = hashed(&hasher, "a").await.unwrap();
        let somebody = PasswordHash::new(hash.expose()).unwrap();
        let nobody = PasswordHash::new(&hasher.nobody).unwrap();
        assert_eq!((nobody.algorithm, nobody.version), (somebody.algorithm, somebody.version));
        assert_eq!(nobody.params, somebody.params);
        assert_eq!(nobody.salt.map(|s| s.len()), somebody.salt.map(|s| s.len()));
        assert_eq!(nobody.hash.map(|h| h.len()), somebody.hash.map(|h| h.len()));
        assert!(!verify(&hasher, "b", None).await.unwrap());
    }

    /// Somebody at another address each time.
    fn somebody() -> Requester {
        static HOSTS: AtomicU32 = AtomicU32::new(1);
        Requester { network: Ipv4Addr::from_bits(HOSTS.fetch_add(1, Ordering::Relaxed)).into(), account: None }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_caller_that_leaves_frees_its_place() {
        let hasher = hasher(1, 2);
        let (open, gate) = mpsc::channel::<()>();
        let permit = hasher.enter(somebody()).unwrap();
        let busy = tokio::spawn(async move { permit.run(move || gate.recv().is_ok()).await });
        while hasher.turns.free() > 0 {
            yield_now().await;
        }
        let waiting = |text: &'static str| {
            let permit = hasher.enter(somebody()).unwrap();
            tokio::spawn(async move { permit.hash(secret(text)).await })
        };
        let (first, second) = (waiting("a"), waiting("b"));
        assert!((hasher.fullness() - 1.0).abs() < f64::EPSILON);
        assert!(matches!(hasher.enter(somebody()), Err(HashError::Overloaded)));

        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let third = waiting("c");
        assert!(!second.is_finished() && !third.is_finished(), "they wait");
        open.send(()).unwrap();
        assert!(busy.await.unwrap().unwrap());
        assert!(second.await.unwrap().is_ok());
        assert!(third.await.unwrap().is_ok());
        assert!(hasher.fullness().abs() < f64::EPSILON);
        assert_eq!(hasher.turns.free(), 1);
    }

    /// A worker whose caller has left still counts: no third thread starts beside two.
    #[tokio::test]
    async fn an_abandoned_computation_keeps_its_worker() {
        let hasher = hasher(1, 1);
        let (open, gate) = mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let permit = hasher.enter(somebody()).unwrap();
        let run =
            tokio::spawn(async move { permit.run(move || (begun.send(()), gate.recv().is_ok())).await.map(drop) });
        begins.await.unwrap();
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        assert_eq!(hasher.turns.free(), 0);
        assert!((hasher.fullness() - 0.5).abs() < f64::EPSILON);
        open.send(()).unwrap();
        assert!(hashed(&hasher, "a").await.is_ok());
    }

    #[test]
    fn settings_are_checked() {
        for (memory_kib, passes, lanes) in [(7, 1, 1), (8, 0, 1), (8, 1, 0), (8, 1, 2)] {
            let settings = HashSettings { memory_kib, passes, lanes, workers: 1, queue: 0 };
            assert!(PasswordHasher::new(settings).is_err());
        }
    }
}
