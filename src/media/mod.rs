//! The contents of images: blobs beside the log, in a folder or in a store that speaks S3.
//!
//! Each blob is encrypted under a random key of its own (AES-256-GCM; the associated data is its
//! name) and has a random name, so that neither says anything of whose it is. The key is sealed
//! with the event: what erases the message erases the blob, wherever copies of it lie. A blob is
//! written before its event, and never changed.

mod answer;
mod health;
mod mark;
mod seal;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use be8_events::Hash32;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{Error, GetResult, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use tokio_util::sync::CancellationToken;

use answer::Answer;
use health::Health;
use mark::Mark;
pub use seal::BlobKey;
pub use settings::{MediaSettings, S3Settings};

/// How many prefixes the names are spread over: the first byte of the name.
pub const SHARDS: u16 = 256;

/// How often it is looked whether a folder is still there.
const LOOK: Duration = Duration::from_secs(2);

/// The pauses before a new object is sent again whose answer was lost.
const REPETITIONS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// Why a blob could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The store cannot be used as it is set.
    #[error("images cannot be kept in {place}: {cause}")]
    Place {
        /// Where.
        place: String,
        /// Why.
        cause: String,
    },
    /// The store did not answer, or refused.
    #[error("the store of images failed: {}", answer::brief(.0))]
    Store(#[from] object_store::Error),
    /// The store did not answer in time.
    #[error("the store of images did not answer within {0:?}")]
    Late(Duration),
    /// The folder is not the one that images were kept in.
    #[error("{} is missing: is the disk of the images mounted?", .0.display())]
    Unmounted(PathBuf),
    /// The store has other bytes than were written, or they do not open.
    #[error("the content of image {0} is damaged")]
    Damaged(Hash32),
    /// Work on another thread did not end.
    #[error("an image could not be encrypted or decrypted: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// What the log keeps of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobMark {
    /// Its random name.
    pub name: Hash32,
    /// The bytes of it as it is stored.
    pub size: u64,
    /// SHA-256 of it as it is stored.
    pub sha256: Hash32,
}

/// The store of blobs of one log.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    root: Path,
    /// How long a request may take, with all its attempts; a folder has no bound.
    total: Option<Duration>,
    health: Arc<Health>,
    /// What a folder is known by; a bucket answers for itself.
    mark: Option<Arc<Mark>>,
}

impl Blobs {
    /// Opens the store. `log` names the log, so that two of them can share a place without taking
    /// each other's blobs for orphans.
    ///
    /// # Errors
    /// [`MediaError::Place`]
    pub fn open(settings: &MediaSettings, log: &str) -> Result<Self, MediaError> {
        let (store, prefix) = settings.open()?;
        let mark = settings.s3.is_none().then(|| Arc::new(Mark::of(&settings.folder, log)));
        Ok(Self { store, root: prefix.join(log), total: settings.total(), health: Arc::default(), mark })
    }

    /// Whether the store is a folder that has not been marked as that of this log.
    pub async fn is_unmarked(&self) -> bool {
        match &self.mark {
            Some(mark) => !mark.is_there().await,
            None => false,
        }
    }

    /// Marks the folder as that of this log. `has_images`: there are images which have to be somewhere.
    ///
    /// # Errors
    /// [`MediaError::Place`] when they are not in this folder, or it cannot be written to.
    pub fn mark(&self, has_images: bool) -> Result<(), MediaError> {
        let Some(mark) = &self.mark else { return Ok(()) };
        let path = mark.path().display();
        let bad = |cause| MediaError::Place { place: self.store.to_string(), cause };
        if has_images && !mark.is_used() {
            return Err(bad(format!(
                "there is nothing of the images that the database knows of. Is the disk mounted? If they are lost for good, \
                 make the file {path}, and they are shown as not available"
            )));
        }
        mark.make().map_err(|error| bad(format!("{path}: {error}")))
    }

    /// Makes sure that a folder is the one which it was.
    ///
    /// # Errors
    /// [`MediaError::Unmounted`]
    async fn is_mounted(&self) -> Result<(), MediaError> {
        let Some(mark) = &self.mark else { return Ok(()) };
        if mark.is_there().await {
            self.health.mounted();
            return Ok(());
        }
        let error = MediaError::Unmounted(mark.path().to_owned());
        self.health.unmounted(&error);
        Err(error)
    }

    /// Looks now and then, until `stop`, whether a folder is the one which it was, so that it is known before an image is
    /// asked for.
    pub async fn watch(self, stop: CancellationToken) {
        while self.mark.is_some() {
            // In the log and the measurements by now.
            let _ = self.is_mounted().await;
            tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(LOOK) => {} }
        }
    }

    /// Asks the store whether it lets us in, before anything is served. One that does not answer may
    /// answer later; one that says no, or has no such bucket, will not.
    ///
    /// # Errors
    /// [`MediaError::Place`] for what only an operator can mend.
    pub async fn probe(&self) -> Result<(), MediaError> {
        match self.works().await {
            Err(MediaError::Store(error)) if answer::is_final(&error) => {
                Err(MediaError::Place { place: self.store.to_string(), cause: answer::brief(&error) })
            }
            // In the log by now.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Asks the store for something that depends on no object.
    ///
    /// # Errors
    /// [`MediaError::Store`], [`MediaError::Late`], [`MediaError::Unmounted`]
    pub async fn works(&self) -> Result<(), MediaError> {
        self.is_mounted().await?;
        let prefix = self.root.clone().join("00");
        let mut all = self.store.list(Some(&prefix));
        self.bounded(async { all.next().await.transpose() }).await.map(|_| ())
    }

    /// What is to be said of the store, if the newest request to it failed.
    pub fn trouble(&self) -> Option<&'static str> {
        self.health.trouble()
    }

    /// A request to the store, in its time.
    async fn bounded<T>(&self, request: impl Future<Output = Result<T, object_store::Error>>) -> Result<T, MediaError> {
        let Some(total) = self.total else {
            let answer = request.await;
            self.note(&answer);
            return Ok(answer?);
        };
        match tokio::time::timeout(total, request).await {
            Ok(answer) => {
                self.note(&answer);
                Ok(answer?)
            }
            Err(_) => {
                let late = MediaError::Late(total);
                self.health.failed(&late);
                Err(late)
            }
        }
    }

    /// Notes what a request says of the store.
    fn note<T>(&self, answer: &Result<T, object_store::Error>) {
        match answer {
            Err(error) if Answer::of(error) == Answer::Failure => self.health.failed(&answer::brief(error)),
            _ => self.health.answers(),
        }
    }

    /// Whether this error means that an object is not there.
    ///
    /// # Errors
    /// What it means otherwise.
    async fn is_missing(&self, error: Error) -> Result<(), MediaError> {
        match Answer::of(&error) {
            // Of a folder that is not mounted, too.
            Answer::NoObject => self.is_mounted().await,
            // What stands in front of the store may have said so, or a store that lost its bucket.
            Answer::NothingThere => self.works().await,
            Answer::Exists | Answer::Failure => Err(error.into()),
        }
    }

    fn path(&self, name: Hash32) -> Path {
        let name = name.to_string();
        self.root.clone().join(&name[..2]).join(name)
    }

    /// Encrypts and stores a content. When this returns, the blob is durable.
    ///
    /// # Errors
    /// [`MediaError`]
    pub async fn put(&self, content: String) -> Result<(BlobMark, BlobKey), MediaError> {
        let name = Hash32(rand::random());
        let key = BlobKey::random();
        // Megabytes of cryptography would hold up the other requests of this thread.
        let (sealed, key) =
            tokio::task::spawn_blocking(move || (seal::seal(&key, name, content.into_bytes()), key)).await?;
        let mark = BlobMark { name, size: sealed.bytes.len() as u64, sha256: sealed.sha256 };
        let (path, bytes) = (self.path(name), PutPayload::from(sealed.bytes));
        self.is_mounted().await?;
        match self.bounded(self.create(&path, bytes)).await {
            Ok(()) => Ok((mark, key)),
            // An attempt whose answer was lost may have stored it already.
            Err(MediaError::Store(error)) if Answer::of(&error) == Answer::Exists => {
                let stored = self.bounded(async { self.store.get(&path).await?.bytes().await }).await?;
                if Hash32::sha256(&stored) == mark.sha256 { Ok((mark, key)) } else { Err(error.into()) }
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a new object. No name comes twice; were it so, the older one would stay.
    async fn create(&self, path: &Path, bytes: PutPayload) -> Result<(), Error> {
        for pause in REPETITIONS {
            let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store.put_opts(path, bytes.clone(), create).await {
                // The library repeats what was answered by an error of the store. What was not answered at all it does
                // not, since it cannot know whether this is the right of somebody else who was faster.
                Err(error) if answer::is_lost(&error) => tokio::time::sleep(pause).await,
                other => return other.map(|_| ()),
            }
        }
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(path, bytes, create).await.map(|_| ())
    }

    /// The content of a blob; none if the store has it no more.
    ///
    /// # Errors
    /// [`MediaError::Damaged`] if it is not the one that was stored; [`MediaError::Store`].
    pub async fn get(&self, mark: BlobMark, key: BlobKey) -> Result<Option<String>, MediaError> {
        let path = self.path(mark.name);
        let fetched = async {
            let found: GetResult = self.store.get(&path).await?;
            // Before any of it is in memory: it may be anything by now.
            if found.meta.size == mark.size { found.bytes().await.map(Some) } else { Ok(None) }
        };
        let bytes = match self.bounded(fetched).await {
            Ok(bytes) => bytes.ok_or(MediaError::Damaged(mark.name))?,
            Err(MediaError::Store(error)) => return self.is_missing(error).await.map(|()| None),
            Err(error) => return Err(error),
        };
        let open = move || seal::open(&key, mark.name, mark.sha256, bytes.into());
        let plain = tokio::task::spawn_blocking(open).await?;
        plain.and_then(|plain| String::from_utf8(plain).ok()).map(Some).ok_or(MediaError::Damaged(mark.name))
    }

    /// The blobs of one of the [`SHARDS`], each with the time at which it was stored.
    ///
    /// # Errors
    /// [`MediaError::Store`]
    pub async fn list(&self, shard: u16) -> Result<Vec<(Hash32, DateTime<Utc>)>, MediaError> {
        let prefix = self.root.clone().join(format!("{:02x}", shard % SHARDS));
        self.is_mounted().await?;
        let mut all = self.store.list(Some(&prefix));
        let mut found = Vec::new();
        // There may be many pages: each has its time.
        while let Some(meta) = self.bounded(async { all.next().await.transpose() }).await? {
            // What is named otherwise is not ours.
            if let Some(name) = meta.location.filename().and_then(|name| name.parse().ok()) {
                found.push((name, meta.last_modified));
            }
        }
        Ok(found)
    }

    /// Removes a blob; one that is not there is removed already.
    ///
    /// # Errors
    /// [`MediaError::Store`]
    pub async fn remove(&self, name: Hash32) -> Result<(), MediaError> {
        match self.bounded(self.store.delete(&self.path(name))).await {
            Err(MediaError::Store(error)) => self.is_missing(error).await,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmarked(folder: &std::path::Path) -> Blobs {
        let settings = MediaSettings { folder: folder.to_owned(), s3: None };
        Blobs::open(&settings, "a-log").unwrap()
    }

    fn blobs(folder: &std::path::Path) -> Blobs {
        let blobs = unmarked(folder);
        blobs.mark(false).unwrap();
        blobs
    }

    #[tokio::test]
    async fn a_folder_that_is_not_the_one_which_it_was_has_lost_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (place, away) = (folder.path().join("media"), folder.path().join("away"));
        let blobs = blobs(&place);
        let (mark, key) = blobs.put("a content".to_owned()).await.unwrap();
        // As when the disk is not mounted any more: an empty folder.
        std::fs::rename(&place, &away).unwrap();
        std::fs::create_dir(&place).unwrap();
        let unmounted = |error| assert!(matches!(error, MediaError::Unmounted(_)), "{error}");
        unmounted(blobs.get(mark, key.clone()).await.unwrap_err());
        unmounted(blobs.put("another".to_owned()).await.unwrap_err());
        unmounted(blobs.list(u16::from(mark.name.0[0])).await.unwrap_err());
        unmounted(blobs.remove(mark.name).await.unwrap_err());
        assert!(blobs.trouble().unwrap().contains("mounted"));
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "something was written beneath the disk");
        // A start is refused where there are images, unless they are there, or an operator says that they are lost.
        let said = unmarked(&place).mark(true).unwrap_err().to_string();
        assert!(said.contains("Is the disk mounted?") && said.contains("a-log/be8-images"), "{said}");
        std::fs::remove_dir(&place).unwrap();
        std::fs::rename(&away, &place).unwrap();
        assert_eq!(blobs.get(mark, key).await.unwrap().as_deref(), Some("a content"));
        blobs.is_mounted().await.unwrap();
        assert_eq!(blobs.trouble(), None);
        // An older version marked nothing.
        std::fs::remove_file(place.join("a-log/be8-images")).unwrap();
        assert!(blobs.is_unmarked().await);
        unmarked(&place).mark(true).unwrap();
        assert!(!blobs.is_unmarked().await);
        unmarked(&place).mark(true).unwrap();
    }

    #[tokio::test]
    async fn what_was_stored_comes_back_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs(folder.path());
        let (mark, key) = blobs.put("ciphertext of a client".to_owned()).await.unwrap();
        assert_eq!(blobs.get(mark, key.clone()).await.unwrap().as_deref(), Some("ciphertext of a client"));
        let shard = u16::from(mark.name.0[0]);
        assert_eq!(blobs.list(shard).await.unwrap().len(), 1);
        assert!(blobs.list(shard + 1).await.unwrap().is_empty());
        for _ in 0..2 {
            blobs.remove(mark.name).await.unwrap();
            assert_eq!(blobs.get(mark, key.clone()).await.unwrap(), None);
        }
        assert!(blobs.list(shard).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn another_key_name_or_byte_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = blobs(folder.path());
        let (mark, key) = blobs.put("one".to_owned()).await.unwrap();
        let (other, other_key) = blobs.put("two".to_owned()).await.unwrap();
        assert!(matches!(blobs.get(mark, other_key).await, Err(MediaError::Damaged(_))));
        let file = |mark: BlobMark| folder.path().join(blobs.path(mark.name).to_string());
        // The bytes of one under the name of the other, with the hash made to fit.
        std::fs::copy(file(mark), file(other)).unwrap();
        let moved = BlobMark { name: other.name, ..mark };
        assert!(matches!(blobs.get(moved, key.clone()).await, Err(MediaError::Damaged(_))));
        let mut bytes = std::fs::read(file(mark)).unwrap();
        assert!(!bytes.windows(3).any(|window| window == b"one"));
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(file(mark), &bytes).unwrap();
        assert!(matches!(blobs.get(mark, key.clone()).await, Err(MediaError::Damaged(_))));
        bytes.push(0);
        std::fs::write(file(mark), &bytes).unwrap();
        assert!(matches!(blobs.get(mark, key).await, Err(MediaError::Damaged(_))));
    }
}
