//! The lock by which one process of ours owns a cluster, and what its file says of the holder.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use super::directory::{Layout, SHORT_PREFIX, open_private};
use super::error::PostgresError;

/// The text of a lock is a number, a word and a path.
const LONGEST: u64 = 8192;

/// What the owner of a cluster does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It serves, but is not ready yet.
    Starting,
    /// It serves: commands may connect.
    Serving,
    /// It runs one command and then stops the cluster: others had better wait.
    Command,
}

impl Use {
    const ALL: [(Self, &str); 3] =
        [(Self::Starting, "starting"), (Self::Serving, "serving"), (Self::Command, "command")];
}

/// What `be8.lock` says of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub pid: u32,
    pub used_for: Use,
    pub socket: PathBuf,
}

impl Holder {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.splitn(3, |byte| *byte == b'\n');
        let pid = std::str::from_utf8(lines.next()?).ok()?.parse().ok()?;
        let word = lines.next()?;
        let used_for = Use::ALL.into_iter().find(|(_, name)| name.as_bytes() == word)?.0;
        let socket = PathBuf::from(std::ffi::OsStr::from_bytes(lines.next()?));
        Some(Self { pid, used_for, socket })
    }

    fn format(&self) -> Vec<u8> {
        let word = Use::ALL.into_iter().find(|(used_for, _)| *used_for == self.used_for).map_or("", |(_, name)| name);
        let mut text = format!("{}\n{word}\n", self.pid).into_bytes();
        text.extend_from_slice(self.socket.as_os_str().as_bytes());
        text
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.used_for {
            Use::Starting | Use::Serving => write!(f, "a server, process {}, runs on it", self.pid),
            Use::Command => write!(f, "a command, process {}, works on it", self.pid),
        }
    }
}

/// The right to own the cluster; the kernel takes it back when the process ends, however that happens.
#[derive(Debug)]
pub(super) struct OwnerLock {
    file: File,
    path: PathBuf,
}

impl OwnerLock {
    /// Takes the lock; says who has it otherwise, if that is known.
    pub fn take(layout: &Layout) -> Result<Result<Self, Option<Holder>>, PostgresError> {
        let path = layout.dir().join("be8.lock");
        let file = open_private(&path, File::options().truncate(false).read(true).write(true));
        let mut file = file.map_err(PostgresError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Ok(Self { file, path })),
            Err(TryLockError::WouldBlock) => {
                let mut text = Vec::new();
                (&mut file).take(LONGEST).read_to_end(&mut text).map_err(PostgresError::io("read", &path))?;
                let inode = file.metadata().map_err(PostgresError::io("read", &path))?.ino();
                let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
                // A killed process leaves its text, and somebody else may hold the lock by now.
                Ok(Err(Holder::parse(&text).filter(|holder| holds(&locks, holder.pid, inode))))
            }
            Err(TryLockError::Error(error)) => Err(PostgresError::io("lock", &path)(error)),
        }
    }

    /// Removes the short socket directory of a holder that was killed, if it belongs to one of these users. Only once its
    /// PostgreSQL is gone too.
    pub fn sweep_predecessor(&mut self, owners: [u32; 2]) {
        let mut text = Vec::new();
        let read = self.file.rewind().and_then(|()| self.file.read_to_end(&mut text));
        if read.is_ok()
            && let Some(Holder { socket, .. }) = Holder::parse(&text)
            && socket.file_name().is_some_and(|name| name.as_bytes().starts_with(SHORT_PREFIX.as_bytes()))
            && fs::symlink_metadata(&socket).is_ok_and(|it| it.is_dir() && owners.contains(&it.uid()))
        {
            // Mostly it is gone already.
            let _ = fs::remove_dir_all(socket);
        }
    }

    /// Writes the owner and its purpose for other processes.
    pub fn declare(&mut self, used_for: Use, socket: &Path) -> Result<(), PostgresError> {
        let text = Holder { pid: process::id(), used_for, socket: socket.into() }.format();
        let written = self.file.set_len(0).and_then(|()| self.file.rewind()).and_then(|()| self.file.write_all(&text));
        written.map_err(PostgresError::io("write", &self.path))
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        // By word, since closing our descriptor leaves the lock with a process that was forked just now and has not closed its
        // copy yet.
        let _ = self.file.unlock();
    }
}

/// Whether the kernel's list of locks names this process as the holder of a lock on this file. Where the file is not
/// listed, since some file systems count their files in two ways, a lock of the process on any file has to do.
fn holds(locks: &str, pid: u32, inode: u64) -> bool {
    // "1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF"
    let lock = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, holder) = (fields.next()?, fields.nth(2)?.parse::<u32>().ok()?);
        let inode = fields.next()?.rsplit(':').next()?.parse::<u64>().ok()?;
        (kind == "FLOCK").then_some((holder, inode))
    };
    let all: Vec<(u32, u64)> = locks.lines().filter_map(lock).collect();
    let listed = all.iter().any(|(_, locked)| *locked == inode);
    all.iter().any(|(holder, locked)| *holder == pid && (!listed || *locked == inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_lock_says_is_read_as_it_was_written() {
        for (used_for, _) in Use::ALL {
            let holder = Holder { pid: 4711, used_for, socket: "/a\nb/socket".into() };
            assert_eq!(Holder::parse(&holder.format()), Some(holder));
        }
        assert_eq!(Holder::parse(b""), None);
        assert_eq!(Holder::parse(b"4711\nserv"), None);
    }

    #[test]
    fn the_second_to_lock_learns_who_was_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::open(dir.path()).expect("a directory of ours");
        let mut lock = OwnerLock::take(&layout).expect("the lock opens").expect("the lock is free");
        lock.declare(Use::Serving, Path::new("/socket")).expect("the lock is written");
        let holder =
            OwnerLock::take(&layout).expect("the lock opens").expect_err("the lock is taken").expect("an owner");
        assert_eq!(holder, Holder { pid: process::id(), used_for: Use::Serving, socket: "/socket".into() });
        drop(lock);
        OwnerLock::take(&layout).expect("the lock opens").expect("the lock is free again");
    }

    #[test]
    fn a_lock_that_was_given_back_is_free_even_while_a_fork_holds_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::open(dir.path()).expect("a directory of ours");
        let lock = OwnerLock::take(&layout).expect("the lock opens").expect("the lock is free");
        // As a child has it between fork and exec.
        let copy = lock.file.try_clone().expect("a copy");
        drop(lock);
        drop(OwnerLock::take(&layout).expect("the lock opens").expect("the lock is free again"));
        drop(copy);
    }

    #[test]
    fn a_text_that_a_dead_process_left_is_not_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::open(dir.path()).expect("a directory of ours");
        let mut lock = OwnerLock::take(&layout).expect("the lock opens").expect("the lock is free");
        for pid in [1, u32::MAX] {
            let text = Holder { pid, used_for: Use::Serving, socket: "/socket".into() }.format();
            lock.file.set_len(0).and_then(|()| lock.file.rewind()).and_then(|()| lock.file.write_all(&text)).unwrap();
            assert_eq!(OwnerLock::take(&layout).expect("the lock opens").expect_err("the lock is taken"), None);
        }
    }

    #[test]
    fn the_holder_is_who_the_kernel_names() {
        let locks = "1: FLOCK  ADVISORY  WRITE 12 08:01:99 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 7 08:01:99 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 13 08:01:98 0 EOF\n3: FLOCK  ADVISORY  WRITE 14 00:2e:97 0 EOF\n";
        assert!(holds(locks, 12, 99));
        assert!(!holds(locks, 14, 99), "it locks another file");
        assert!(!holds(locks, 13, 98), "a lock of another kind");
        assert!(holds(locks, 14, 5), "the file is counted otherwise");
        assert!(!holds(locks, 15, 5) && !holds("", 12, 99));
    }

    #[test]
    fn lock_files_are_their_owners_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::open(dir.path()).expect("a directory of ours");
        let path = dir.path().join("be8.lock");
        fs::write(&path, "").expect("a file");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("rights");
        drop(OwnerLock::take(&layout).expect("the lock opens").expect("the lock is free"));
        assert_eq!(fs::metadata(&path).expect("the file").mode() & 0o7777, 0o600);
    }
}
