//! The file of rotating keys: the second key, beside the master key, under which data keys are wrapped.
//!
//! A line is a generation and a key: `7 64 hexadecimal digits`. There is one, two around a rotation. A backup may have
//! more, also twice, since it is the file as it was before a dump and after it, one after the other.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::Rng;
use zeroize::Zeroizing;

use super::VaultError;
use super::key::KeyBytes;
use super::master::{from_hex, put_hex};
use crate::support::secret_file;

/// No file is longer: some hundred keys.
const LONGEST: u64 = 64 * 1024;

/// How often a file is read that is replaced meanwhile.
const READS: usize = 4;

/// What is appended to the name of the file: the one that will replace it, the one that it replaced, and one of these that is
/// being overwritten.
const NEW: &str = ".new";
const OLD: &str = ".old";
const GONE: &str = ".gone";

/// One key of the file.
#[derive(Clone)]
pub(super) struct Epoch {
    pub generation: i32,
    pub key: KeyBytes,
}

impl Epoch {
    /// A new random key.
    pub fn random(generation: i32) -> Self {
        let mut key = KeyBytes::default();
        rand::rng().fill_bytes(key.as_mut_slice());
        Self { generation, key }
    }
}

/// The file; there may be none yet.
#[derive(Debug, Clone)]
pub(super) struct EpochFile(pub PathBuf);

impl EpochFile {
    /// The keys in it, by generation; none if there is no file.
    pub fn read(&self) -> Result<Option<Vec<Epoch>>, VaultError> {
        let mut read = self.read_once();
        for _ in 1..READS {
            // One that was replaced after it was opened is overwritten. By then its name is that of the next one.
            if !matches!(read, Err(VaultError::RotatingFileContent { .. })) {
                break;
            }
            read = self.read_once();
        }
        read
    }

    fn read_once(&self) -> Result<Option<Vec<Epoch>>, VaultError> {
        let text = match secret_file::read(&self.0, LONGEST) {
            Ok(text) => text,
            Err(refused) if refused.is_missing() => return Ok(None),
            Err(refused) => return Err(VaultError::File(refused)),
        };
        let bad = |line: usize| VaultError::RotatingFileContent { path: self.0.clone(), line: line + 1 };
        let mut epochs: Vec<Epoch> = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let epoch = parse(line).ok_or_else(|| bad(number))?;
            if !epochs.iter().any(|known| known.generation == epoch.generation && known.key == epoch.key) {
                epochs.push(epoch);
            }
        }
        if epochs.is_empty() {
            return Err(bad(0));
        }
        epochs.sort_by_key(|epoch| epoch.generation);
        Ok(Some(epochs))
    }

    /// Makes the file with its first key, unless somebody else has just made it. It gets the owner of `like`: a command of
    /// root makes it for the server.
    pub fn create(&self, generation: i32, like: &Path) -> Result<(), VaultError> {
        match secret_file::write(&self.0, &format(&[Epoch::random(generation)]), false) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.and_then(|()| hand_over(&File::open(&self.0)?, like)).map_err(|cause| self.unusable(cause)),
        }
    }

    /// Replaces the file as a whole, and overwrites what the old one held. Only for one who holds the lock of the
    /// rotation. Killed anywhere, it leaves the old file or the new one, and what else is left goes with the next call.
    pub fn replace(&self, epochs: &[Epoch]) -> Result<(), VaultError> {
        self.try_replace(epochs).map_err(|cause| self.unusable(cause))
    }

    fn try_replace(&self, epochs: &[Epoch]) -> io::Result<()> {
        // The file itself, not a link to it.
        let path = fs::canonicalize(&self.0)?;
        let directory = File::open(path.parent().unwrap_or(Path::new("/")))?;
        overwrite_left(&path)?;
        let (new, old) = (beside(&path, NEW), beside(&path, OLD));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        hand_over(&file, &path)?;
        file.write_all(&format(epochs))?;
        file.sync_all()?;
        // By this name a killed process finds what is to be overwritten; a file system without links has only the open file.
        let _ = fs::hard_link(&path, &old);
        let mut replaced = File::options().write(true).open(&path)?;
        fs::rename(&new, &path)?;
        directory.sync_all()?;
        overwrite(&mut replaced)?;
        if old.exists() {
            fs::remove_file(&old)?;
        }
        directory.sync_all()
    }

    /// Whether a killed process left something that may hold a key.
    pub fn has_left(&self) -> bool {
        fs::canonicalize(&self.0).is_ok_and(|path| [NEW, OLD, GONE].iter().any(|ending| beside(&path, ending).exists()))
    }

    /// Overwrites and removes what a killed process left. Only for one who holds the lock of the rotation.
    pub fn overwrite_left(&self) -> Result<(), VaultError> {
        match fs::canonicalize(&self.0) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            path => path.and_then(|path| overwrite_left(&path)).map_err(|cause| self.unusable(cause)),
        }
    }

    fn unusable(&self, cause: io::Error) -> VaultError {
        VaultError::MasterFile { path: self.0.clone(), cause }
    }
}

/// The file with this ending after its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Gives a file the owner of another one: of a file that root replaces the server stays the owner.
fn hand_over(file: &File, like: &Path) -> io::Result<()> {
    let (made, like) = (file.metadata()?, fs::metadata(like)?);
    if made.uid() == like.uid() {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(like.uid()), Some(like.gid()))
}

/// Overwrites and removes what a killed process left beside a file.
fn overwrite_left(path: &Path) -> io::Result<()> {
    let gone = beside(path, GONE);
    overwrite_gone(&gone, path)?;
    for ending in [NEW, OLD] {
        // By its name first: one that lost the lock and does not know it yet can then no longer put it in place.
        match fs::rename(beside(path, ending), &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.and_then(|()| overwrite_gone(&gone, path))?,
        }
    }
    Ok(())
}

/// Overwrites and removes a file, unless it is another name of the one that counts: then only the name goes.
fn overwrite_gone(gone: &Path, path: &Path) -> io::Result<()> {
    let mut file = match File::options().write(true).open(gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let (one, other) = (file.metadata()?, fs::metadata(path)?);
    if (one.dev(), one.ino()) != (other.dev(), other.ino()) {
        overwrite(&mut file)?;
    }
    fs::remove_file(gone)
}

/// Writes zeros over a file, in place, and waits until they are on disk.
fn overwrite(file: &mut File) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len().min(LONGEST)).unwrap_or_default();
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

fn parse(line: &[u8]) -> Option<Epoch> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let generation = std::str::from_utf8(&line[..space]).ok()?.parse().ok().filter(|number| *number > 0)?;
    Some(Epoch { generation, key: *from_hex(line[space..].trim_ascii())? })
}

fn format(epochs: &[Epoch]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(80 * epochs.len()));
    for epoch in epochs {
        text.extend_from_slice(epoch.generation.to_string().as_bytes());
        text.push(b' ');
        put_hex(&mut text, &epoch.key);
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn generations(file: &EpochFile) -> Vec<i32> {
        file.read().unwrap().unwrap().iter().map(|epoch| epoch.generation).collect()
    }

    #[test]
    fn the_file_is_replaced_whole_and_the_old_one_is_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let file = EpochFile(home.path().join("rotating.key"));
        assert!(file.read().unwrap().is_none());
        file.create(1, home.path()).unwrap();
        let first = fs::read(&file.0).unwrap();
        file.create(1, home.path()).unwrap();
        assert_eq!(fs::read(&file.0).unwrap(), first, "never replaced by accident");
        // Another name of the first file, to look at it once it is gone.
        let witness = home.path().join("witness");
        fs::hard_link(&file.0, &witness).unwrap();
        file.replace(&[Epoch::random(1), Epoch::random(2)]).unwrap();
        assert_eq!(generations(&file), [1, 2]);
        assert_eq!(fs::read(&witness).unwrap(), vec![0; first.len()]);
        assert_eq!(fs::metadata(&file.0).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing else is left behind");
    }

    #[test]
    fn what_a_killed_process_left_is_overwritten_but_never_the_file_itself() {
        let home = tempfile::tempdir().unwrap();
        let file = EpochFile(home.path().join("rotating.key"));
        file.create(1, home.path()).unwrap();
        let [new, old, gone, witness] =
            ["rotating.key.new", "rotating.key.old", "rotating.key.gone", "witness"].map(|name| home.path().join(name));
        // Killed before the new file got its name: the old name is one of the file itself.
        fs::write(&new, "2 secret").unwrap();
        fs::hard_link(&file.0, &old).unwrap();
        fs::hard_link(&new, &witness).unwrap();
        let epochs = file.read().unwrap().unwrap();
        file.replace(&epochs).unwrap();
        assert_eq!(generations(&file), [1]);
        assert_eq!(fs::read(&witness).unwrap(), [0; 8]);
        // Killed before the replaced file was overwritten.
        fs::remove_file(&witness).unwrap();
        fs::write(&old, "1 secret").unwrap();
        fs::hard_link(&old, &witness).unwrap();
        file.replace(&epochs).unwrap();
        assert_eq!(fs::read(&witness).unwrap(), [0; 8]);
        assert!(!old.exists() && !new.exists());
        // Killed while one of them was overwritten, and while nothing is to be replaced.
        assert!(!file.has_left());
        fs::remove_file(&witness).unwrap();
        fs::write(&gone, "1 secret").unwrap();
        fs::hard_link(&gone, &witness).unwrap();
        assert!(file.has_left());
        file.overwrite_left().unwrap();
        assert_eq!(fs::read(&witness).unwrap(), [0; 8]);
        assert!(!file.has_left());
        assert_eq!(generations(&file), [1]);
    }

    #[test]
    fn a_file_can_be_read_at_any_moment_of_its_replacement() {
        let home = tempfile::tempdir().unwrap();
        let file = EpochFile(home.path().join("rotating.key"));
        file.create(1, home.path()).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reads = scope.spawn(|| {
                let mut seen = BTreeSet::new();
                while !done.load(Ordering::Relaxed) {
                    seen.extend(generations(&file));
                }
                seen
            });
            for generation in 2..60 {
                file.replace(&[Epoch::random(generation)]).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            assert!(reads.join().unwrap().len() > 1);
        });
    }

    #[test]
    fn the_owner_of_the_file_stays_its_owner() {
        let home = tempfile::tempdir().unwrap();
        let file = EpochFile(home.path().join("rotating.key"));
        let master = home.path().join("master.key");
        fs::write(&master, "").unwrap();
        // Only root can give a file away.
        if fs::metadata(&master).unwrap().uid() == 0 {
            std::os::unix::fs::chown(&master, Some(12_345), Some(54_321)).unwrap();
        }
        let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
        file.create(1, &master).unwrap();
        assert_eq!(owner(&file.0), owner(&master));
        file.replace(&[Epoch::random(2)]).unwrap();
        assert_eq!(owner(&file.0), owner(&master));
        assert_eq!(generations(&file), [2]);
    }

    #[test]
    fn a_file_of_a_backup_is_read_and_anything_else_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = EpochFile(home.path().join("rotating.key"));
        let write = |text: &[u8]| {
            fs::write(&file.0, text).unwrap();
            fs::set_permissions(&file.0, fs::Permissions::from_mode(0o600)).unwrap();
        };
        let (one, two) = (format(&[Epoch::random(7)]), format(&[Epoch::random(8), Epoch::random(9)]));
        write(&[&b"\xef\xbb\xbf"[..], &one, &two, b"\r\n", &one].concat());
        assert_eq!(generations(&file), [7, 8, 9]);
        for text in [&b""[..], b"\n", b"7", b"7 abc", b"-1 ", &one[1..], &[b"0", &one[1..]].concat()] {
            write(text);
            assert!(
                matches!(file.read(), Err(VaultError::RotatingFileContent { .. } | VaultError::File(_))),
                "{text:?}"
            );
        }
        write(&one);
        fs::set_permissions(&file.0, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(file.read(), Err(VaultError::File(_))));
    }
}
