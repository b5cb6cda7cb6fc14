//! Files that hold a secret: for their owner alone, and there as a whole or not at all.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// Why a file is not read.
#[derive(Debug)]
pub enum Refused {
    /// It cannot be opened.
    Unreadable(io::Error),
    /// Others than its owner have rights on it: its mode.
    Mode(u32),
}

/// Opens a file on which nobody but its owner has rights.
///
/// # Errors
/// [`Refused`]
pub fn open(path: &Path) -> Result<File, Refused> {
    let file = File::open(path).map_err(Refused::Unreadable)?;
    // Asked of the open file, so that it speaks of what is read.
    match file.metadata().map_err(Refused::Unreadable)?.mode() & 0o7777 {
        mode if mode & 0o077 != 0 => Err(Refused::Mode(mode)),
        _ => Ok(file),
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
        // Nothing else is left behind.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_use_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(matches!(open(&path), Err(Refused::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound));
        write(&path, b"one", false).unwrap();
        for (mode, read) in [(0o600, true), (0o400, true), (0o640, false), (0o602, false), (0o601, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(open(&path).is_ok(), read, "{mode:o}");
        }
    }
}
