//! The master key and the file that holds it.

use std::fmt;
use std::io;
use std::path::Path;

use rand::Rng;
use zeroize::Zeroizing;

use super::VaultError;
use super::key::KeyBytes;
use crate::support::secret_file;

/// A longer file holds something else.
const LONGEST: u64 = 64 * 1024;

/// The key that wraps all data keys; it never enters the database. Wiped when dropped, and boxed so
/// that a move leaves no copy behind.
pub struct MasterKey(Box<KeyBytes>);

impl MasterKey {
    /// Reads the key from its file, or makes both: 64 hexadecimal digits and a line end, for the
    /// owner only (mode 0600), in a directory that is made (mode 0700) where it is missing. A new
    /// file appears whole and on disk, or not at all, and never replaces another; of two
    /// processes that start at once both get the key of the one that was first.
    ///
    /// # Errors
    /// A file that cannot be read or made, that others than its owner have rights on, or that
    /// holds something else.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, VaultError> {
        let path = path.as_ref();
        match secret_file::read(path, LONGEST) {
            Ok(text) => {
                let what =
                    || VaultError::MasterFileContent { path: path.to_owned(), what: secret_file::recognise(&text) };
                from_hex(text.trim_ascii()).map(Self).ok_or_else(what)
            }
            Err(refused) if refused.is_missing() => Self::create(path),
            Err(refused) => Err(VaultError::File(refused)),
        }
    }

    fn create(path: &Path) -> Result<Self, VaultError> {
        let mut bytes = Box::<KeyBytes>::default();
        rand::rng().fill_bytes(bytes.as_mut_slice());
        let key = Self(bytes);
        match secret_file::write(path, &key.to_hex(), false) {
            Ok(()) => Ok(key),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Self::load_or_create(path),
            Err(cause) => Err(unreadable(path, cause)),
        }
    }

    fn to_hex(&self) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(65));
        put_hex(&mut text, &self.0);
        text.push(b'\n');
        text
    }

    /// The key itself.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A known key.
    #[cfg(test)]
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Box::new(KeyBytes::new(bytes)))
    }
}

/// Appends the hexadecimal digits of a key.
pub(super) fn put_hex(text: &mut Vec<u8>, key: &KeyBytes) {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    for byte in key.iter() {
        text.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// The key of 64 hexadecimal digits.
pub(super) fn from_hex(digits: &[u8]) -> Option<Box<KeyBytes>> {
    let mut bytes = Box::<KeyBytes>::default();
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for &digit in pair {
            *byte = *byte << 4 | u8::try_from(char::from(digit).to_digit(16)?).ok()?;
        }
    }
    Some(bytes)
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

fn unreadable(path: &Path, cause: io::Error) -> VaultError {
    VaultError::MasterFile { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::thread;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn write(path: &Path, text: impl AsRef<[u8]>) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn the_first_start_makes_the_file_and_the_next_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/master.key");
        let made = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(fs::read(&path).unwrap(), *made.to_hex());
        assert_eq!(fs::read(&path).unwrap().len(), 65);
        let read = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(read.bytes(), made.bytes());
        // Nothing else is left behind.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let other = MasterKey::load_or_create(home.path().join("other.key")).unwrap();
        assert_ne!(other.bytes(), made.bytes());
        assert_eq!(format!("{made:?}"), "MasterKey(***)");
    }

    #[test]
    fn a_file_that_others_have_rights_on_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("master.key");
        MasterKey::load_or_create(&path).unwrap();
        for open in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let error = MasterKey::load_or_create(&path).unwrap_err();
            assert!(error.to_string().contains(&format!("mode is {open:04o}")), "{error}");
        }
        for private in [0o600, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(private)).unwrap();
            MasterKey::load_or_create(&path).unwrap();
        }
    }

    #[test]
    fn only_the_text_of_a_key_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("master.key");
        let good = "0123456789abcdefABCDEF".repeat(3)[..64].to_owned();
        for text in [good.clone(), format!("{good}\n"), format!("\u{feff}{good}\r\n")] {
            write(&path, text);
            assert_eq!(MasterKey::load_or_create(&path).unwrap().bytes()[..3], [1, 0x23, 0x45]);
        }
        let bad = [
            ("", "is empty"),
            ("\n", "is empty"),
            (&good[1..], "something else"),
            (&format!("{good}0"), "something else"),
            (&good.replace('0', "g"), "something else"),
            ("PRIVATE+KEY+example.com/log+0+x", "a key that signs checkpoints"),
            ("-----BEGIN PRIVATE KEY-----\n", "a private key in PEM"),
        ];
        for (text, what) in bad {
            write(&path, text);
            let error = MasterKey::load_or_create(&path).unwrap_err();
            assert!(error.to_string().contains(what), "{text:?}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "never overwritten");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(MasterKey::load_or_create(&path), Err(VaultError::File(_))));
    }

    #[test]
    fn starting_at_once_gives_one_key() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("vault/master.key");
        let keys: Vec<MasterKey> = thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| MasterKey::load_or_create(&path).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key.bytes() == keys[0].bytes()));
    }
}
