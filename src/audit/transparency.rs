//! The transparency log of this server: answers about its tree, the heads that it signed, and the
//! check that a database is the one whose heads it signed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use be8_events::{Hash32, Position};
use moka::sync::Cache;
use rand::RngExt;

use super::key_file::{self, HeadFile, KeyFileError};
use super::notes::{BadNote, Checkpoint, NoteKey, PublicKey, Role};
use super::tree::{self, BrokenTree, Growth, Question, Reader, WIDTH};
use crate::ledger::{Lead, Log, LogError, SignedHead, TileId, Tiles, TransparencyTables};

/// How many full tiles are kept in memory, 8 KiB each.
const CACHED: u64 = 1024;
/// How many entries are read at once.
const PAGE: u32 = 1000;
/// How many tiles of entries are compared with the log of events at a start: the newest ones, and
/// as many anywhere.
const SAMPLE: u64 = 32;

/// Why the transparency log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TransparencyError {
    /// The database does not answer, or holds what cannot be.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The tree is damaged.
    #[error(transparent)]
    Tree(#[from] BrokenTree),
    /// A file of the key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A head that the log's key did not sign.
    #[error("the last signed head of the transparency log cannot be believed: {0}")]
    Head(BadNote),
    /// The key is another one.
    #[error(
        "the transparency log of this database is signed by {key}, and {file} holds another key. Put the right key \
         there, or name it by --audit-key-file"
    )]
    OtherKey {
        /// The file of the key.
        file: String,
        /// The public key that it should have.
        key: String,
    },
    /// The key is missing.
    #[error(
        "the transparency log of this database is signed by {key}, but there is no file {file}. Put it back, or name \
         it by --audit-key-file"
    )]
    NoKey {
        /// Where it should be.
        file: String,
        /// Its public half.
        key: String,
    },
    /// The database is not what was signed.
    #[error(
        "the database does not extend the log that was signed: {what} ({head}). It was put back from an older copy, \
         rewritten, or is another server's. Put the right database back; if it is lost, `be8 audit-restart` begins another \
         log, which everybody will notice (docs/audit.md)"
    )]
    NotExtended {
        /// What differs.
        what: String,
        /// Where the head is from.
        head: String,
    },
}

/// The transparency log.
#[derive(Debug)]
pub struct Transparency {
    tables: TransparencyTables,
    key: NoteKey,
    head_file: HeadFile,
    witnesses: Vec<PublicKey>,
    tiles: Cache<TileId, Arc<Vec<u8>>>,
}

impl Transparency {
    /// Opens the log of a database with the key in a file, which is made with this name if the
    /// database was never signed. `witnesses` are asked to cosign.
    ///
    /// # Errors
    /// [`TransparencyError`]: among others when the database does not extend the last head that
    /// was signed.
    pub async fn open(
        log: &Log,
        key_file: &Path,
        name: &str,
        witnesses: Vec<PublicKey>,
    ) -> Result<Self, TransparencyError> {
        let tables = TransparencyTables::of(log);
        let shown = || key_file.display().to_string();
        let current = tables.log_key().await?.map(|(_, key)| key);
        let key = match (key_file::load(key_file, Role::Log)?, &current) {
            (Some(key), None) => key,
            (Some(key), Some(current)) if key.public().to_string() == *current => key,
            (Some(_), Some(current)) => {
                return Err(TransparencyError::OtherKey { file: shown(), key: current.clone() });
            }
            (None, None) => key_file::load_or_create(key_file, Role::Log, name)?,
            (None, Some(key)) => return Err(TransparencyError::NoKey { file: shown(), key: key.clone() }),
        };
        let head_file = HeadFile::beside(key_file);
        let own = Self { tables, key, head_file, witnesses, tiles: Cache::new(CACHED) };
        if let Some(head) = own.tables.newest_head().await? {
            let checkpoint = own.opened(&head.note)?;
            if (checkpoint.size, checkpoint.root) != (head.size, head.root) {
                return Err(not_extended("the newest signed head says something else than its row", "database"));
            }
            own.check_head(log, &checkpoint, "the newest signed head of the database").await?;
        }
        if let Some(note) = own.head_file.read()? {
            let checkpoint = own.opened(&note)?;
            own.check_head(log, &checkpoint, &own.head_file.path().display().to_string()).await?;
        }
        own.check_sample(log).await?;
        if current.is_none() {
            own.tables.name_key(&own.key.public().to_string()).await?;
            // Another node may have been faster, with another key.
            if let Some((_, key)) = own.tables.log_key().await?
                && key != own.key.public().to_string()
            {
                return Err(TransparencyError::OtherKey { file: shown(), key });
            }
        }
        Ok(own)
    }

    /// Ends the log of a database, and begins another under a new key and another name: for a
    /// database that was put back from an older copy, and so cannot extend what was signed. The key
    /// and the head of the old log are kept beside the new ones. Nothing may sign meanwhile, which
    /// `lead` sees to.
    ///
    /// # Errors
    /// [`TransparencyError`]
    pub async fn restart(
        log: &Log,
        lead: &mut Lead,
        key_file: &Path,
        name: &str,
    ) -> Result<PublicKey, TransparencyError> {
        let last = TransparencyTables::of(log).log_key().await?.map_or(0, |(number, _)| number);
        for file in [key_file, HeadFile::beside(key_file).path()] {
            key_file::set_aside(file, &format!("log-{last}"))?;
        }
        let key = key_file::load_or_create(key_file, Role::Log, &format!("{name}/{}", last + 1))?;
        lead.begin_log(&key.public().to_string()).await?;
        Ok(key.public().clone())
    }

    /// A head that this log must have signed.
    fn opened(&self, note: &str) -> Result<Checkpoint, TransparencyError> {
        Checkpoint::open(note, self.key.public()).map_err(TransparencyError::Head)
    }

    /// The key that signs.
    pub const fn key(&self) -> &NoteKey {
        &self.key
    }

    /// The file of the last head.
    pub const fn head_file(&self) -> &HeadFile {
        &self.head_file
    }

    /// The witnesses that are asked to cosign.
    pub fn witnesses(&self) -> &[PublicKey] {
        &self.witnesses
    }

    /// The tables.
    pub const fn tables(&self) -> &TransparencyTables {
        &self.tables
    }

    /// A tile that is at least so wide; none if there is none.
    ///
    /// # Errors
    /// [`TransparencyError`]
    pub async fn tile(&self, id: TileId, width: usize) -> Result<Option<Vec<u8>>, TransparencyError> {
        let bytes = self.read(BTreeSet::from([id])).await?.remove(&id);
        let bytes = bytes.filter(|bytes| bytes.len() >= width * tree::HASH);
        Ok(bytes.map(|mut bytes| {
            bytes.truncate(width * tree::HASH);
            bytes
        }))
    }

    /// The answers to some questions.
    ///
    /// # Errors
    /// [`TransparencyError`]
    pub async fn answers(&self, questions: &[Question]) -> Result<Vec<Vec<Hash32>>, TransparencyError> {
        let mut needed = BTreeSet::new();
        for question in questions {
            needed.extend(question.tiles()?);
        }
        let tiles = self.read(needed).await?;
        let reader = Reader::new(&tiles);
        Ok(questions.iter().map(|question| question.answer_with(&reader)).collect::<Result<_, _>>()?)
    }

    /// The answer to a question.
    ///
    /// # Errors
    /// [`TransparencyError`]
    pub async fn answer(&self, question: Question) -> Result<Vec<Hash32>, TransparencyError> {
        Ok(self.answers(&[question]).await?.pop().unwrap_or_default())
    }

    /// The root of the first `size` entries.
    ///
    /// # Errors
    /// [`TransparencyError`]
    pub async fn root(&self, size: u64) -> Result<Hash32, TransparencyError> {
        let root = self.answer(Question::Root { size }).await?;
        Ok(root.first().copied().ok_or_else(|| BrokenTree("no root".to_owned()))?)
    }

    /// Tiles, full ones from memory if they are there.
    async fn read(&self, needed: BTreeSet<TileId>) -> Result<Tiles, TransparencyError> {
        let mut found = Tiles::new();
        let mut missing = Vec::new();
        for id in needed {
            match self.tiles.get(&id) {
                Some(bytes) => {
                    found.insert(id, bytes.to_vec());
                }
                None => missing.push(id),
            }
        }
        let read = self.tables.tiles(missing).await?;
        for (id, bytes) in &read {
            // Only those above the entries are asked for again and again.
            if bytes.len() == WIDTH * tree::HASH && id.0 > 0 {
                self.tiles.insert(*id, Arc::new(bytes.clone()));
            }
        }
        found.extend(read);
        Ok(found)
    }

    /// The tree as it is stored, ready to grow.
    ///
    /// # Errors
    /// [`TransparencyError`]
    pub async fn growth(&self) -> Result<Growth, TransparencyError> {
        let size = self.tables.size().await?;
        Ok(Growth::new(size, self.tables.tiles(tree::edge(size)).await?)?)
    }

    /// Whether the stored tree, and the events after it, extend a signed head.
    ///
    /// # Errors
    /// [`TransparencyError::NotExtended`] if not.
    pub async fn check_head(&self, log: &Log, head: &Checkpoint, from: &str) -> Result<(), TransparencyError> {
        let newest = log.newest().await?.0.unsigned_abs();
        if head.size > newest {
            let what = format!("{} events were signed, and it has {newest}", head.size);
            return Err(not_extended(&what, from));
        }
        let stored = self.tables.size().await?;
        let root = if head.size <= stored {
            self.root(head.size).await.map_err(|error| {
                let TransparencyError::Tree(broken) = error else { return error };
                not_extended(&broken.to_string(), from)
            })?
        } else {
            // The events are there and the tiles are not: an imported log, for instance.
            let mut tree = self.growth().await?;
            while tree.size() < head.size {
                let left = (head.size - tree.size()).min(u64::from(PAGE));
                let page = log.read_all(position(tree.size()), u32::try_from(left).unwrap_or(PAGE)).await?;
                if page.is_empty() {
                    return Err(not_extended("events are missing", from));
                }
                page.iter().for_each(|recorded| tree.push(recorded.hash()));
            }
            tree.root()?
        };
        if root == head.root {
            return Ok(());
        }
        let what = format!("the first {} events have the root {root}, and {} was signed", head.size, head.root);
        Err(not_extended(&what, from))
    }

    /// Compares the events of the newest tiles, and of some others, with the tree.
    async fn check_sample(&self, log: &Log) -> Result<(), TransparencyError> {
        let all = self.tables.size().await?.div_ceil(WIDTH as u64);
        let newest = all.saturating_sub(SAMPLE)..all;
        let mut chosen: BTreeSet<u64> = newest.collect();
        if all > 2 * SAMPLE {
            chosen.extend((0..SAMPLE).map(|_| rand::rng().random_range(0..all)));
        } else {
            chosen.extend(0..all);
        }
        for number in chosen {
            self.check_tile(log, number).await?;
        }
        Ok(())
    }

    /// Compares all events with the tree, reporting how many were compared.
    ///
    /// # Errors
    /// [`TransparencyError::NotExtended`] names the first that differs.
    pub async fn check_all(&self, log: &Log) -> Result<u64, TransparencyError> {
        let size = self.tables.size().await?;
        for number in 0..size.div_ceil(WIDTH as u64) {
            self.check_tile(log, number).await?;
        }
        Ok(size)
    }

    /// Compares the events of one tile of entries with it, and the tile with the one above.
    async fn check_tile(&self, log: &Log, number: u64) -> Result<(), TransparencyError> {
        let tiles = self.tables.tiles([(0, number), (1, number / WIDTH as u64)]).await?;
        let hashes = tiles.get(&(0, number)).map(Vec::as_slice).unwrap_or_default();
        let first = number * WIDTH as u64;
        let page = log.read_all(position(first), WIDTH as u32).await?;
        let differs = |at: u64, what: &str| not_extended(&format!("{what} at position {at}"), "hashes of the database");
        let count = hashes.len() / tree::HASH;
        if page.len() < count {
            return Err(differs(first + page.len() as u64 + 1, "an event is missing"));
        }
        let mut tree = Growth::new(0, Tiles::new())?;
        for (recorded, hash) in page.iter().zip(hashes.chunks(tree::HASH)) {
            if tree::leaf(recorded.hash()).0[..] != *hash {
                return Err(differs(recorded.position.0.unsigned_abs(), "another event stands"));
            }
            tree.push(recorded.hash());
        }
        let above = tiles.get(&(1, number / WIDTH as u64)).map(Vec::as_slice).unwrap_or_default();
        let above = above.chunks(tree::HASH).nth((number % WIDTH as u64) as usize);
        if count == WIDTH && above != Some(&tree.root()?.0[..]) {
            return Err(differs(first + 1, "hashes do not belong together"));
        }
        Ok(())
    }

    /// Signs the head of the stored tree, if it extends all that was signed before: in the
    /// database and in the file, which gets the new one before anybody else does. The last entry commits to the map of histories
    /// up to `histories`.
    ///
    /// # Errors
    /// [`TransparencyError`]
    pub async fn sign(
        &self,
        log: &Log,
        (size, root): (u64, Hash32),
        histories: u64,
    ) -> Result<SignedHead, TransparencyError> {
        if let Some(note) = self.head_file.read()? {
            let last = self.opened(&note)?;
            self.check_head(log, &last, &self.head_file.path().display().to_string()).await?;
        }
        if let Some(last) = self.tables.newest_head().await?
            && (last.size > size || self.root(last.size).await? != last.root)
        {
            return Err(not_extended("it contradicts the newest signed head", "database"));
        }
        let checkpoint = Checkpoint { origin: self.key.public().name().to_owned(), size, root };
        let note = self.key.note(&checkpoint.text());
        self.head_file.write(&note)?;
        Ok(SignedHead { size, root, note, cosignatures: String::new(), histories: Some(histories) })
    }
}

fn not_extended(what: &str, head: &str) -> TransparencyError {
    TransparencyError::NotExtended { what: what.to_owned(), head: format!("compared with: {head}") }
}

fn position(size: u64) -> Position {
    Position(i64::try_from(size).unwrap_or(i64::MAX))
}
