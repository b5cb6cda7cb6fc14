//! The file of a key that signs notes, and beside it the file of the last head that it signed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rand::Rng;
use zeroize::Zeroizing;

use super::notes::{BadNote, NoteKey, Role};
use crate::support::secret_file::{self, Refused};

/// A file longer than that is no key and no checkpoint.
const MOST: u64 = 100_000;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is refused as it is: others may read it, it is empty, or no file.
    #[error("key file {0}")]
    Refused(Refused),
    /// It holds something else.
    #[error("{path} does not hold a key that signs checkpoints, but {what}: {cause}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What it seems to hold.
        what: &'static str,
        /// What is wrong.
        cause: BadNote,
    },
    /// A key with another purpose.
    #[error("{path} holds the key of {what}")]
    Role {
        /// Which.
        path: PathBuf,
        /// Of what.
        what: &'static str,
    },
}

fn unusable(path: &Path) -> impl Fn(io::Error) -> KeyFileError {
    move |cause| KeyFileError::File { path: path.to_owned(), cause }
}

/// Reads a key; none if there is no file.
///
/// # Errors
/// [`KeyFileError`]
pub fn load(path: &Path, role: Role) -> Result<Option<NoteKey>, KeyFileError> {
    let bytes = match secret_file::read(path, MOST) {
        Err(refused) if refused.is_missing() => return Ok(None),
        read => read.map_err(KeyFileError::Refused)?,
    };
    let bad = |cause| KeyFileError::Content { path: path.to_owned(), what: secret_file::recognise(&bytes), cause };
    let key = NoteKey::from_text(String::from_utf8_lossy(bytes.trim_ascii()).as_ref()).map_err(bad)?;
    match key.public().role() {
        found if found == role => Ok(Some(key)),
        Role::Log => Err(KeyFileError::Role { path: path.to_owned(), what: "a log, not of a witness" }),
        Role::Witness => Err(KeyFileError::Role { path: path.to_owned(), what: "a witness, not of a log" }),
    }
}

/// Reads a key, or makes it with this name: for the owner only (mode 0600), whole and on disk or
/// not at all, and never in the place of another.
///
/// # Errors
/// [`KeyFileError`]
pub fn load_or_create(path: &Path, role: Role, name: &str) -> Result<NoteKey, KeyFileError> {
    if let Some(key) = load(path, role)? {
        return Ok(key);
    }
    let mut seed = Zeroizing::new([0; 32]);
    rand::rng().fill_bytes(seed.as_mut_slice());
    let bad = |cause| KeyFileError::Content { path: path.to_owned(), what: "a new one", cause };
    let key = NoteKey::new(name, role, &seed).map_err(bad)?;
    match secret_file::write(path, key.to_text().as_bytes(), false) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            load(path, role)?.ok_or_else(|| unusable(path)(cause))
        }
        written => written.map(|()| key).map_err(unusable(path)),
    }
}

/// Gives a file another ending, if it is there and that name is free: nothing is overwritten.
///
/// # Errors
/// [`KeyFileError`]
pub fn set_aside(path: &Path, ending: &str) -> Result<(), KeyFileError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".");
    aside.push(ending);
    match std::fs::hard_link(path, &aside) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        linked => linked.map_err(unusable(Path::new(&aside)))?,
    }
    std::fs::remove_file(path).map_err(unusable(path))
}

/// The file of the last head that was signed. It lies beside the key and not in the database, so
/// that a database that was put back or rewritten is noticed.
#[derive(Debug, Clone)]
pub struct HeadFile(PathBuf);

impl HeadFile {
    /// That of a key: `audit.key.head` beside `audit.key`.
    pub fn beside(key: &Path) -> Self {
        let mut name = key.as_os_str().to_owned();
        name.push(".head");
        Self(name.into())
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The checkpoint in it; none if there is no file.
    ///
    /// # Errors
    /// [`KeyFileError`]
    pub fn read(&self) -> Result<Option<String>, KeyFileError> {
        let file = match File::open(&self.0) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unusable(&self.0))?,
        };
        let mut text = String::new();
        file.take(MOST).read_to_string(&mut text).map_err(unusable(&self.0))?;
        Ok(Some(text))
    }

    /// Puts a checkpoint in the place of the last one, durably.
    ///
    /// # Errors
    /// [`KeyFileError`]
    pub fn write(&self, note: &str) -> Result<(), KeyFileError> {
        secret_file::write(&self.0, note.as_bytes(), true).map_err(unusable(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys/audit.key");
        assert!(load(&path, Role::Log).unwrap().is_none());
        let made = load_or_create(&path, Role::Log, "example.com/log").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let read = load_or_create(&path, Role::Log, "another.name").unwrap();
        assert_eq!(read.public(), made.public());
        assert!(matches!(load(&path, Role::Witness), Err(KeyFileError::Role { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&path, Role::Log).unwrap_err().to_string().contains("mode is 0640"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        // As an editor may leave it.
        let marked = format!("\u{feff}{}", fs::read_to_string(&path).unwrap().replace('\n', "\r\n"));
        fs::write(&path, marked).unwrap();
        assert_eq!(load(&path, Role::Log).unwrap().unwrap().public(), made.public());
        fs::write(&path, "0".repeat(64)).unwrap();
        let error = load(&path, Role::Log).unwrap_err().to_string();
        assert!(error.contains("but 64 hexadecimal digits, as a master key has"), "{error}");
        fs::write(&path, "something else").unwrap();
        assert!(matches!(load_or_create(&path, Role::Log, "x"), Err(KeyFileError::Content { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "something else", "never overwritten");
        assert!(load_or_create(&home.path().join("k"), Role::Log, "no good name").is_err());
    }

    #[test]
    fn the_last_head_replaces_the_one_before() {
        let home = tempfile::tempdir().unwrap();
        let file = HeadFile::beside(&home.path().join("audit.key"));
        assert_eq!(file.path(), home.path().join("audit.key.head"));
        assert_eq!(file.read().unwrap(), None);
        for note in ["first", "second"] {
            file.write(note).unwrap();
            assert_eq!(file.read().unwrap().as_deref(), Some(note));
        }
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing else is left behind");
    }
}
