//! Files that hold a secret: for their owner alone, and there as a whole or not at all.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use zeroize::Zeroizing;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct Refused {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// What is wrong with a file of a secret.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It cannot be opened or read.
    #[error(transparent)]
    Unreadable(io::Error),
    /// Others than its owner have rights on it: its mode.
    #[error("its mode is {0:04o}, but nobody except its owner may have rights on it: chmod 600")]
    Mode(u32),
    /// It holds what everybody may know.
    #[error("holds {0}, which is no secret")]
    Public(&'static str),
    /// It is a directory, a device or the like.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is too long for what it should be.
    #[error("it is too long to be what it should be")]
    TooLong,
    /// There is nothing in it, or only white space.
    #[error("it is empty")]
    Empty,
}

impl Refused {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(&self.reason, Reason::Unreadable(cause) if cause.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a file of at most this many bytes on which nobody but its owner has rights (`is_private`), without the byte order mark
/// that some editors put in front. It is wiped from memory when it is dropped.
///
/// # Errors
/// [`Refused`]
pub fn read(path: &Path, longest: u64) -> Result<Zeroizing<Vec<u8>>, Refused> {
    read_if(path, longest, true)
}

/// The same of a file that is no secret, so that others may have rights on it.
///
/// # Errors
/// [`Refused`]
pub fn read_public(path: &Path, longest: u64) -> Result<Zeroizing<Vec<u8>>, Refused> {
    read_if(path, longest, false)
}

fn read_if(path: &Path, longest: u64, private: bool) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let refused = |reason| Refused { path: path.to_owned(), reason };
    let unreadable = |cause| refused(Reason::Unreadable(cause));
    // Opening a pipe would wait until somebody writes to it.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(refused(Reason::NotAFile));
    }
    let file = File::open(path).map_err(unreadable)?;
    // Asked of the open file, so that it speaks of what is read.
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.mode() & 0o7777;
    let shared = private && !is_private(mode, metadata.uid(), geteuid().as_raw());
    // Enough at once, so that no half-grown copy stays in memory.
    let length = usize::try_from(metadata.len().min(longest)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 64));
    file.take(longest.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    // First: another mode would not make a key of a certificate.
    if let Some(what) = PUBLIC.into_iter().find(|what| private && *what == recognise(&bytes)) {
        return Err(refused(Reason::Public(what)));
    }
    if shared {
        return Err(refused(Reason::Mode(mode)));
    }
    if bytes.len() as u64 > longest {
        return Err(refused(Reason::TooLong));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    if bytes.trim_ascii().is_empty() {
        return Err(refused(Reason::Empty));
    }
    Ok(bytes)
}

/// Whether a file with this mode is its owner's alone. One of root may be read by its group, if this process has to read it
/// so: as Debian keeps the keys of TLS (root:ssl-cert), and systemd and Kubernetes hand secrets over. PostgreSQL has that
/// rule, too.
const fn is_private(mode: u32, owner: u32, reader: u32) -> bool {
    let others = if owner == 0 && reader != 0 { 0o037 } else { 0o077 };
    mode & others == 0
}

/// What some editors put in front of a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const CERTIFICATE: &str = "a certificate in PEM";
const REQUEST: &str = "a request for a certificate, not the certificate";
const PUBLIC_KEY: &str = "a public key";
/// What is no secret, whatever file it is in.
const PUBLIC: [&str; 3] = [CERTIFICATE, REQUEST, PUBLIC_KEY];

/// What a file holds that does not hold what it should, so far as it can be recognised; never anything of its content.
pub fn recognise(bytes: &[u8]) -> &'static str {
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let digits = |length| {
        let text = bytes.trim_ascii();
        text.len() == length && text.iter().all(u8::is_ascii_hexdigit)
    };
    let text = bytes.trim_ascii();
    match () {
        () if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") => "text in UTF-16, not in UTF-8",
        () if has("-----BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") => {
            "an encrypted private key (decrypt it with `openssl pkey`)"
        }
        () if has("-----BEGIN OPENSSH PRIVATE KEY") => "a key of OpenSSH",
        () if has("PRIVATE KEY-----") && has("-----BEGIN CERTIFICATE-----") => "a certificate and a private key in PEM",
        () if has("PRIVATE KEY-----") => "a private key in PEM",
        () if has("-----BEGIN CERTIFICATE REQUEST") || has("-----BEGIN NEW CERTIFICATE REQUEST") => REQUEST,
        () if has("-----BEGIN CERTIFICATE-----") => CERTIFICATE,
        () if has("PUBLIC KEY-----") => PUBLIC_KEY,
        () if has("-----BEGIN ") => "something else in PEM",
        () if has("PRIVATE+KEY+") => "a key that signs checkpoints (audit or witness)",
        () if digits(64) => "64 hexadecimal digits, as a master key has",
        () if text.len() == 43 && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) => {
            "32 bytes in base64url, as a key of Web Push has"
        }
        () if bytes.first() == Some(&0x30) && bytes.iter().any(|byte| !byte.is_ascii()) => {
            "binary data (DER or PKCS #12), not text"
        }
        () if std::str::from_utf8(bytes).is_err() || bytes.contains(&0) => "binary data, not text",
        () => "something else",
    }
}

/// Writes a file with mode 0600, in a directory that is made (mode 0700) where it is missing. The
/// file appears whole and on disk, or not at all; another one is replaced only with `replace`.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AlreadyExists`] for one that is not to be replaced.
pub fn write(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let missing = directory.ancestors().take_while(|above| !above.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // A temporary file is made with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".be8-").tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let kept = if replace { file.persist(path) } else { file.persist_noclobber(path) };
    kept.map_err(|error| error.error)?;
    // A name is durable when its directory is: of the file and of each new directory.
    for directory in directory.ancestors().take(missing + 1) {
        let directory = if directory == Path::new("") { Path::new(".") } else { directory };
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_its_owners_and_not_replaced_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/and/newer/secret");
        write(&path, b"one", false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(write(&path, b"two", false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // No other file is left.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_use_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(read(&path, 100).unwrap_err().is_missing());
        write(&path, b"one", false).unwrap();
        for (mode, readable) in [(0o600, true), (0o400, true), (0o640, false), (0o602, false), (0o601, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path, 100).is_ok(), readable, "{mode:o}");
            assert!(read_public(&path, 100).is_ok());
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_by_name_whatever_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (text, what) in [
            ("-----BEGIN CERTIFICATE-----\n", "holds a certificate in PEM"),
            ("-----BEGIN PUBLIC KEY-----\n", "holds a public key"),
            ("-----BEGIN CERTIFICATE REQUEST-----\n", "holds a request for a certificate"),
        ] {
            write(&path, text.as_bytes(), true).unwrap();
            for mode in [0o600, 0o644, 0o666] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let said = read(&path, 100).unwrap_err().reason.to_string();
                assert!(said.starts_with(what), "{mode:o}: {said}");
                assert!(read_public(&path, 100).is_ok());
            }
        }
        // A certificate with its key is a secret.
        write(&path, b"-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n", true).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&path, 100).unwrap_err().reason, Reason::Mode(0o644)));
    }

    #[test]
    fn only_a_file_of_root_may_be_read_by_a_group_and_by_root_not_even_that() {
        for (mode, owner, reader, private) in [
            (0o600, 0, 0, true),
            (0o640, 0, 0, false),
            (0o640, 0, 1000, true),
            (0o440, 0, 1000, true),
            (0o660, 0, 1000, false),
            (0o650, 0, 1000, false),
            (0o644, 0, 1000, false),
            (0o640, 1000, 1000, false),
            (0o640, 1000, 0, false),
            (0o640, 1001, 1000, false),
        ] {
            assert_eq!(is_private(mode, owner, reader), private, "{mode:o} of {owner} for {reader}");
        }
    }

    #[test]
    fn what_is_no_text_of_a_secret_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write(&path, b"\xef\xbb\xbfone\n", false).unwrap();
        assert_eq!(*read(&path, 100).unwrap(), b"one\n");
        assert!(matches!(read(&path, 6).unwrap_err().reason, Reason::TooLong));
        for empty in [&b""[..], b"\xef\xbb\xbf", b" \r\n"] {
            write(&path, empty, true).unwrap();
            assert!(matches!(read(&path, 100).unwrap_err().reason, Reason::Empty));
        }
        assert!(matches!(read(folder.path(), 100).unwrap_err().reason, Reason::NotAFile));
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(matches!(read(&pipe, 100).unwrap_err().reason, Reason::NotAFile));
    }

    #[test]
    fn the_usual_mistakes_are_recognised() {
        for (bytes, what) in [
            (&b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"[..], "an encrypted private key"),
            (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "an encrypted private key"),
            (b"-----BEGIN CERTIFICATE-----\n", "a certificate in PEM"),
            (b"-----BEGIN PUBLIC KEY-----\n", "a public key"),
            (b"\xff\xfe-\0-\0", "text in UTF-16"),
            (b"\x30\x82\x01\xff", "binary data (DER or PKCS #12)"),
            (b"PRIVATE+KEY+name+1+2", "a key that signs checkpoints"),
            ("0".repeat(64).as_bytes(), "64 hexadecimal digits"),
            ("a".repeat(43).as_bytes(), "32 bytes in base64url"),
            (b"hello", "something else"),
        ] {
            assert!(recognise(bytes).starts_with(what), "{what}: {}", recognise(bytes));
        }
    }
}
