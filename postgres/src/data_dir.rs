//! Makes directories that the server keeps its files in, with the rights that they need whatever the umask is.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// The mode of the data directory. Root's must let the unprivileged user that PostgreSQL runs as pass through to what is
/// its own; nobody else may enter the directory of another user.
pub fn mode() -> u32 {
    if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 }
}

/// Makes the data directory and what is missing above it. The one function that does: whichever command comes first, the
/// server finds a directory that it can use. An existing one stays as it is.
///
/// # Errors
/// What the system says.
pub fn make(dir: &Path) -> io::Result<()> {
    make_with(&std::path::absolute(dir)?, mode())
}

/// Makes a directory and what is missing above it, all with the same mode.
///
/// # Errors
/// What the system says; [`io::ErrorKind::NotADirectory`] if something else has the name.
pub fn make_with(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_with(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(dir) {
        // Somebody else made it in this moment.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(io::ErrorKind::NotADirectory.into()),
        made => made.and_then(|()| fs::set_permissions(dir, Permissions::from_mode(mode))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_missing_is_made_with_the_mode_and_what_is_there_stays() {
        let home = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let before = mode(home.path());
        let dir = home.path().join("lib/be8");
        make(&dir).unwrap();
        for made in [&dir, &home.path().join("lib")] {
            assert_eq!(mode(made), super::mode());
        }
        fs::set_permissions(&dir, Permissions::from_mode(0o750)).unwrap();
        make(&dir).unwrap();
        assert_eq!((mode(&dir), mode(home.path())), (0o750, before));
        fs::write(dir.join("file"), "").unwrap();
        assert_eq!(make(&dir.join("file")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }
}
