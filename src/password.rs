//! Passwords and lock codes as argon2id hashes (RFC 9106), computed on threads of their own by
//! few workers behind a bounded queue.

use std::sync::Arc;
use std::thread::available_parallelism;

use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use be8_events::Secret;
use rand::Rng as _;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Longest password, in UTF-16 units.
pub const MAX_UNITS: usize = 1024;
/// Longest password in UTF-8: no UTF-16 unit takes more than three bytes.
pub const MAX_BYTES: usize = 3 * MAX_UNITS;

/// How much a hash costs, and how many may be wanted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSettings {
    /// Memory of one hash in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Independent lanes of the memory; they are filled by one thread.
    pub lanes: u32,
    /// Hashes computed at once, at least one; each takes a core and its memory.
    pub workers: usize,
    /// Hashes waiting beyond those; each keeps only its password in memory.
    pub queue: usize,
}

impl Default for HashSettings {
    /// 19 MiB and 2 passes in one lane, a worker per core, 1024 waiting.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
            lanes: 1,
            workers: available_parallelism().map_or(2, usize::from),
            queue: 1024,
        }
    }
}

/// Settings that argon2 does not have (RFC 9106, section 3.1).
#[derive(Debug, thiserror::Error)]
#[error("the settings of password hashing do not fit: {0}")]
pub struct BadHashSettings(#[from] argon2::Error);

/// No hash was computed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many are waiting already; come back later.
    #[error("too many passwords are waiting to be hashed")]
    Overloaded,
    /// A stored hash is damaged, there is no memory, or the server is stopping.
    #[error("a password hash was not computed: {0}")]
    Broken(String),
}

/// Computes and compares hashes. Clones share workers and queue.
#[derive(Clone, Debug)]
pub struct PasswordHasher {
    argon2: Argon2<'static>,
    /// One permit for each hash that is computed or waits.
    places: Arc<Semaphore>,
    /// How many of those there are.
    capacity: usize,
    /// One permit for each hash that is computed.
    workers: Arc<Semaphore>,
    /// How many of those there are.
    at_once: usize,
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
        let capacity = capacity(workers, queue);
        let permits = |count: usize| Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        // Random bytes in the place of a hash: nothing hashes to them, and to find that out
        // takes a whole computation.
        let random = |bytes: &mut [u8]| {
            rand::rng().fill_bytes(bytes);
            STANDARD_NO_PAD.encode(bytes)
        };
        let salt = random(&mut [0; password_hash::phc::Salt::RECOMMENDED_LENGTH]);
        let hash = random(&mut [0; Params::DEFAULT_OUTPUT_LEN]);
        Ok(Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            places: permits(capacity),
            capacity,
            workers: permits(workers),
            at_once: workers,
            nobody: format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}").into(),
        })
    }

    /// A hasher with the same workers and a queue of its own.
    pub fn with_queue(&self, queue: usize) -> Self {
        let capacity = capacity(self.at_once, queue);
        Self { places: Arc::new(Semaphore::new(capacity)), capacity, ..self.clone() }
    }

    /// How many of the places of hashes are taken, from 0 to 1.
    pub fn fullness(&self) -> f64 {
        1.0 - self.places.available_permits() as f64 / self.capacity as f64
    }

    /// Hashes a password under a new random salt into a PHC string.
    ///
    /// # Errors
    /// [`HashError::Overloaded`] at once if the queue is full.
    pub async fn hash(&self, password: Secret<String>) -> Result<Secret<String>, HashError> {
        let password = Zeroizing::new(password.into_inner());
        let argon2 = self.argon2.clone();
        self.run(move || argon2.hash_password(password.as_bytes()))
            .await?
            .map(|hash| Secret::new(hash.to_string()))
            .map_err(broken)
    }

    /// Whether a password is the one of a PHC string. Without one the answer is no, after as
    /// much work as for a wrong password, so that time does not tell who has one.
    ///
    /// # Errors
    /// [`HashError::Overloaded`] at once if the queue is full.
    pub async fn verify(&self, password: Secret<String>, phc: Option<&Secret<String>>) -> Result<bool, HashError> {
        let mut password = Zeroizing::new(password.into_inner());
        let mut phc = phc.map_or_else(|| self.nobody.as_ref().into(), |phc| phc.expose().clone());
        if password.len() > MAX_BYTES {
            // Nobody has it, and it must not fill the memory while it waits.
            password = Zeroizing::default();
            phc = self.nobody.as_ref().into();
        }
        let phc = Zeroizing::new(phc);
        let argon2 = self.argon2.clone();
        let checked = self
            .run(move || {
                let hash = PasswordHash::new(&phc)?;
                argon2.verify_password(password.as_bytes(), &hash)
            })
            .await?;
        match checked {
            Ok(()) => Ok(true),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(broken(error)),
        }
    }

    /// Waits for a worker and computes on a blocking thread. A caller that goes away frees its
    /// place; what is computed already runs to its end, and holds its worker until then.
    async fn run<T: Send + 'static>(&self, compute: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| HashError::Overloaded)?;
        let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(broken)?;
        let computed = tokio::task::spawn_blocking(move || {
            let result = compute();
            drop((place, worker));
            result
        });
        computed.await.map_err(broken)
    }
}

/// How many hashes are computed or wait.
fn capacity(workers: usize, queue: usize) -> usize {
    workers.max(1).saturating_add(queue).clamp(1, Semaphore::MAX_PERMITS)
}

/// Keeps the text of an error; none of these holds a password.
fn broken(error: impl std::fmt::Display) -> HashError {
    HashError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    /// Cheap hashes, so that tests are quick.
    fn hasher(workers: usize, queue: usize) -> PasswordHasher {
        let settings = HashSettings { memory_kib: 8, passes: 1, lanes: 1, workers, queue };
        PasswordHasher::new(settings).unwrap()
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_fits() {
        let hasher = hasher(2, 2);
        let hash = hasher.hash(secret("päss")).await.unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        assert_ne!(hash, hasher.hash(secret("päss")).await.unwrap());
        assert!(hasher.verify(secret("päss"), Some(&hash)).await.unwrap());
        for wrong in ["", "pass", "päss ", &"a".repeat(MAX_BYTES + 1)] {
            assert!(!hasher.verify(secret(wrong), Some(&hash)).await.unwrap());
            assert!(!hasher.verify(secret(wrong), None).await.unwrap());
        }
        let damaged = secret("$argon2id$v=19$m=8,t=1,p=1$x");
        assert!(matches!(hasher.verify(secret("a"), Some(&damaged)).await, Err(HashError::Broken(_))));
    }

    #[tokio::test]
    async fn older_settings_are_still_verified() {
        let hash = hasher(1, 1).hash(secret("a")).await.unwrap();
        let now = HashSettings { memory_kib: 64, passes: 2, ..HashSettings::default() };
        let now = PasswordHasher::new(now).unwrap();
        assert!(now.verify(secret("a"), Some(&hash)).await.unwrap());
    }

    /// Somebody without a password costs as much as a wrong password: the hash to compare with is
    /// computed with the very same parameters.
    #[tokio::test]
    async fn nobody_costs_as_much_as_somebody() {
        let settings = HashSettings { memory_kib: 4096, passes: 3, workers: 1, ..HashSettings::default() };
        let hasher = PasswordHasher::new(settings).unwrap();
        let hash = hasher.hash(secret("a")).await.unwrap();
        let somebody = PasswordHash::new(hash.expose()).unwrap();
        let nobody = PasswordHash::new(&hasher.nobody).unwrap();
        assert_eq!((nobody.algorithm, nobody.version), (somebody.algorithm, somebody.version));
        assert_eq!(nobody.params, somebody.params);
        assert_eq!(nobody.salt.map(|s| s.len()), somebody.salt.map(|s| s.len()));
        assert_eq!(nobody.hash.map(|h| h.len()), somebody.hash.map(|h| h.len()));
        assert!(!hasher.verify(secret("b"), None).await.unwrap());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_caller_that_leaves_frees_its_place() {
        let hasher = hasher(1, 2);
        let (open, gate) = mpsc::channel::<()>();
        let busy = hasher.clone();
        let busy = tokio::spawn(async move { busy.run(move || gate.recv().is_ok()).await });
        while hasher.workers.available_permits() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let waiting = |text: &'static str| {
            let hasher = hasher.clone();
            tokio::spawn(async move { hasher.hash(secret(text)).await })
        };
        let (first, second) = (waiting("a"), waiting("b"));
        while hasher.places.available_permits() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!((hasher.fullness() - 1.0).abs() < f64::EPSILON);
        assert!(matches!(hasher.hash(secret("c")).await, Err(HashError::Overloaded)));
        assert!(matches!(hasher.verify(secret("c"), None).await, Err(HashError::Overloaded)));

        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let third = waiting("c");
        assert!(
            timeout(Duration::from_millis(20), async {
                while !third.is_finished() {
                    sleep(Duration::from_millis(1)).await;
                }
            })
            .await
            .is_err(),
            "it waits"
        );
        open.send(()).unwrap();
        assert!(busy.await.unwrap().unwrap());
        assert!(second.await.unwrap().is_ok());
        assert!(third.await.unwrap().is_ok());
        assert_eq!(hasher.places.available_permits(), 3);
        assert!(hasher.fullness().abs() < f64::EPSILON);
    }

    /// A worker whose caller has left still counts: no third thread starts beside two.
    #[tokio::test]
    async fn an_abandoned_computation_keeps_its_worker() {
        let hasher = hasher(1, 1);
        let (open, gate) = mpsc::channel::<()>();
        let gone = timeout(Duration::from_millis(10), hasher.run(move || gate.recv().is_ok())).await;
        assert!(gone.is_err());
        assert_eq!((hasher.workers.available_permits(), hasher.places.available_permits()), (0, 1));
        open.send(()).unwrap();
        assert!(hasher.hash(secret("a")).await.is_ok());
    }

    #[test]
    fn settings_are_checked() {
        for (memory_kib, passes, lanes) in [(7, 1, 1), (8, 0, 1), (8, 1, 0), (8, 1, 2)] {
            let settings = HashSettings { memory_kib, passes, lanes, workers: 1, queue: 0 };
            assert!(PasswordHasher::new(settings).is_err());
        }
    }
}
