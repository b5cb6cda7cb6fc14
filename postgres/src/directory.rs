//! The directory of a private cluster: its lock, its owner and its files.
//!
//! ```text
//! be8.lock         locked by the process of ours that owns the cluster; says who that is and where the socket is
//! postgres.lock    locked by every living process of PostgreSQL, initdb included
//! postgresql.conf, pg_hba.conf, pg_ident.conf    written by every start
//! postgres.log, postgres.log.1                   what PostgreSQL logged, bounded
//! socket/          where clients connect
//! cluster/         PostgreSQL's own data directory
//! cluster.new-*/   one that is being made
//! ```

use std::env;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::PostgresError;
use super::identity::{self, Identity};
use super::install::Installation;
use super::pidfile::remove_stale;
use super::{ClusterSettings, PORT, SUPERUSER};
use crate::data_dir;

/// How a socket directory outside our directory begins, so that a stale one is recognised.
pub(super) const SHORT_PREFIX: &str = "be8-pg-";

/// How the temporary name of a cluster being made begins.
pub(super) const UNFINISHED_PREFIX: &str = "cluster.new-";

/// The longest path of a socket that Linux and PostgreSQL take is 107 bytes; keep away from it.
const LONGEST_SOCKET: usize = 100;

/// The name of the cluster in the directory.
pub(super) const CLUSTER: &str = "cluster";

/// The size from which on the log is turned over; at most twice this is kept.
const LONGEST_LOG: u64 = 16 << 20;

/// The paths in the directory of a private cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Makes the directory if it is not there, and refuses one that belongs to somebody else.
    pub fn open(dir: &Path) -> Result<Self, PostgresError> {
        let own = rustix::process::geteuid();
        let mode = data_dir::mode();
        let absolute = std::path::absolute(dir).map_err(PostgresError::io("find", dir))?;
        data_dir::make_with(&absolute, mode).map_err(PostgresError::io("make the directory", dir))?;
        let dir = absolute.canonicalize().map_err(PostgresError::io("open", dir))?;
        let metadata = fs::metadata(&dir).map_err(PostgresError::io("open", &dir))?;
        if metadata.uid() != own.as_raw() {
            let name = |uid: u32| match identity::look_up(&uid.to_string()) {
                Ok(Some(user)) => user.name,
                _ => uid.to_string(),
            };
            return Err(PostgresError::WrongOwner { dir, owner: name(metadata.uid()), own: name(own.as_raw()) });
        }
        fs::set_permissions(&dir, Permissions::from_mode(mode))
            .map_err(PostgresError::io("set the rights of", &dir))?;
        Ok(Self { dir })
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// PostgreSQL's data directory.
    pub fn cluster(&self) -> PathBuf {
        self.dir.join(CLUSTER)
    }

    /// PostgreSQL's log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// The file that every living process of PostgreSQL has locked.
    pub fn server_lock(&self) -> PathBuf {
        self.dir.join("postgres.lock")
    }

    /// One of the files that PostgreSQL is configured by.
    pub fn config(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes the cluster if there is none: aside, then put in place in one step, so that one half made is never taken
    /// for a whole. Initdb is handed the server lock, so that it is waited for as well if we are killed.
    pub fn ensure_cluster(
        &self,
        identity: &Identity,
        installation: &Installation,
        server_lock: File,
    ) -> Result<(), PostgresError> {
        self.remove_unfinished()?;
        let cluster = self.cluster();
        if cluster.join("PG_VERSION").exists() {
            return Ok(());
        }
        tracing::info!(directory = %cluster.display(), "making a new PostgreSQL cluster");
        let unfinished = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempdir_in(&self.dir);
        let unfinished = unfinished.map_err(PostgresError::io("make a directory in", &self.dir))?;
        identity.hand_over(unfinished.path())?;
        let initdb = installation.program("initdb");
        let output = identity
            .command(&initdb)
            .arg("--pgdata")
            .arg(unfinished.path())
            .args(["--username", SUPERUSER, "--auth-local=peer", "--auth-host=reject"])
            // The locale C sorts by bytes: the same on every machine and after every update of its C library.
            .args(["--encoding=UTF8", "--locale=C", "--data-checksums"])
            .stdin(server_lock)
            .output()
            .map_err(Identity::spawn_error(&initdb))?;
        if !output.status.success() {
            let output_text = [output.stdout, output.stderr].concat();
            let output_text = String::from_utf8_lossy(&output_text).trim().to_owned();
            return Err(PostgresError::Initdb { status: output.status, output: output_text });
        }
        // This replaces nothing but an empty directory.
        fs::rename(unfinished.path(), &cluster)
            .map_err(PostgresError::io("put the new cluster in place as", &cluster))?;
        // Its old name has nothing left to remove.
        let _ = unfinished.keep();
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(PostgresError::io("make durable", &self.dir))
    }

    /// Removes clusters that a killed process left half made.
    pub fn remove_unfinished(&self) -> Result<(), PostgresError> {
        for unfinished in self.unfinished().map_err(PostgresError::io("list", &self.dir))? {
            if let Err(error) = fs::remove_dir_all(&unfinished) {
                // The last helper of a killed initdb may still be writing. It is in nobody's way; a later start removes it.
                tracing::debug!(%error, directory = %unfinished.display(), "cannot remove a cluster half made");
            }
        }
        Ok(())
    }

    /// Clusters that a killed process left half made.
    fn unfinished(&self) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.dir)?.collect::<io::Result<Vec<_>>>()?;
        let unfinished = |name: &std::ffi::OsStr| name.as_bytes().starts_with(UNFINISHED_PREFIX.as_bytes());
        Ok(entries.iter().filter(|entry| unfinished(&entry.file_name())).map(fs::DirEntry::path).collect())
    }

    /// Writes the files that PostgreSQL is configured by.
    pub fn write_config(&self, identity: &Identity, settings: &ClusterSettings) -> Result<(), PostgresError> {
        let ClusterSettings { max_connections, buffers_mib, .. } = settings;
        let settings = format!(
            "# Written by be8 at every start. To tune a setting, use ALTER SYSTEM, which wins over this file.\n\
             include 'cluster/postgresql.conf'\n\
             max_connections = {max_connections}\n\
             shared_buffers = '{buffers_mib}MB'\n\
             max_wal_size = '4GB'\n\
             jit = off\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             log_line_prefix = '%m [%p] %q%d '\n"
        );
        let access = format!(
            "# Written by be8 at every start: nobody but be8 itself gets in, known to the kernel by its user.\n\
             local all,replication {SUPERUSER} peer map=be8\n"
        );
        let mut names = format!("# Written by be8 at every start.\nbe8 \"{}\" {SUPERUSER}\n", identity.own.name);
        if identity.drops_rights() {
            names += &format!("be8 \"{}\" {SUPERUSER}\n", identity.server.name);
        }
        for (name, content) in [("postgresql.conf", settings), ("pg_hba.conf", access), ("pg_ident.conf", names)] {
            let path = self.config(name);
            self.replace(&path, &content, identity).map_err(PostgresError::io("write", &path))?;
        }
        Ok(())
    }

    /// Writes a file that PostgreSQL's user alone may read, in one step.
    fn replace(&self, path: &Path, content: &str, identity: &Identity) -> io::Result<()> {
        // A temporary file is made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(content.as_bytes())?;
        if identity.drops_rights() {
            std::os::unix::fs::fchown(file.as_file(), Some(identity.server.uid), Some(identity.server.gid))?;
        }
        file.persist(path)?;
        Ok(())
    }

    /// Opens the log for PostgreSQL to write to, and says how long it is by now.
    pub fn open_log(&self) -> Result<(File, u64), PostgresError> {
        self.bound_log();
        let turned = self.dir.join("postgres.log.1");
        if turned.exists() {
            fs::set_permissions(&turned, Permissions::from_mode(0o600))
                .map_err(PostgresError::io("set the rights of", &turned))?;
        }
        let path = self.log();
        let open = || {
            let log = open_private(&path, File::options().append(true))?;
            let length = log.metadata()?.len();
            Ok((log, length))
        };
        open().map_err(PostgresError::io("open", &path))
    }

    /// Turns the log over when it has grown long. It is emptied in place, since PostgreSQL keeps it open for appending.
    pub fn bound_log(&self) {
        let path = self.log();
        if fs::metadata(&path).map_or(0, |metadata| metadata.len()) < LONGEST_LOG {
            return;
        }
        let turned = fs::copy(&path, self.dir.join("postgres.log.1"))
            .and_then(|_| File::options().write(true).open(&path)?.set_len(0));
        if let Err(error) = turned {
            tracing::warn!(%error, log = %path.display(), "cannot turn over PostgreSQL's log");
        }
    }

    /// The end of the log, at most a few lines, from `start` on.
    pub fn log_tail(&self, start: u64) -> String {
        const LONGEST: u64 = 2000;
        let read = || {
            let mut log = File::open(self.log())?;
            let start = start.max(log.metadata()?.len().saturating_sub(LONGEST));
            log.seek(SeekFrom::Start(start))?;
            let mut tail = Vec::new();
            log.read_to_end(&mut tail)?;
            io::Result::Ok(String::from_utf8_lossy(&tail).trim().to_owned())
        };
        read().unwrap_or_else(|error| error.to_string())
    }

    /// Makes the directory for the socket. A path that is too long for a socket, or whose characters PostgreSQL's list of
    /// directories would want quoted, is replaced by a short one of random name.
    pub fn socket(&self, identity: &Identity) -> Result<SocketDir, PostgresError> {
        let beside = self.dir.join("socket");
        if fits_a_socket(&beside) {
            data_dir::make_with(&beside, 0o700).map_err(PostgresError::io("make the directory", &beside))?;
            identity.hand_over(&beside)?;
            return Ok(SocketDir::Beside(beside));
        }
        let runtime = match identity.own.uid {
            0 => Some(PathBuf::from("/run")),
            _ => env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
        };
        let temporary = PathBuf::from("/tmp");
        let make = |parent: &PathBuf| tempfile::Builder::new().prefix(SHORT_PREFIX).tempdir_in(parent).ok();
        let short = runtime.iter().chain([&temporary]).filter(|parent| parent.is_absolute()).find_map(make);
        let short = short.filter(|short| fits_a_socket(short.path())).ok_or_else(|| {
            let error = io::Error::other("no place for a short path in /run, XDG_RUNTIME_DIR or /tmp");
            PostgresError::io("make a socket directory instead of", &beside)(error)
        })?;
        identity.hand_over(short.path())?;
        Ok(SocketDir::Short(short))
    }
}

/// Whether a socket of PostgreSQL can lie in this directory.
fn fits_a_socket(dir: &Path) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let path = dir.as_os_str().as_bytes();
    path.iter().all(plain) && path.len() + format!("/.s.PGSQL.{PORT}").len() <= LONGEST_SOCKET
}

/// The directory of the socket; a short one goes with its owner.
#[derive(Debug)]
pub(super) enum SocketDir {
    /// In our own directory.
    Beside(PathBuf),
    /// Elsewhere, because our own directory's path is unfit.
    Short(TempDir),
}

impl SocketDir {
    pub fn path(&self) -> &Path {
        match self {
            Self::Beside(path) => path,
            Self::Short(dir) => dir.path(),
        }
    }

    /// Removes what a killed PostgreSQL left: its next start would take the process number in it for a living server's
    /// when some other process has that number by now. Only for one who holds the server lock.
    pub fn sweep(&self) {
        for name in [format!(".s.PGSQL.{PORT}"), format!(".s.PGSQL.{PORT}.lock")] {
            let path = self.path().join(name);
            if let Err(error) = remove_stale(&path) {
                // PostgreSQL will say what is wrong with one that stays.
                tracing::warn!(%error, path = %path.display(), "cannot remove what a killed PostgreSQL left");
            }
        }
    }
}

/// Opens a file of the cluster for its owner alone, also one that an earlier version made with wider rights: a process that can
/// open a lock file can hold the lock, and the log shows what statements failed on.
pub(super) fn open_private(path: &Path, options: &mut fs::OpenOptions) -> io::Result<File> {
    let file = options.create(true).mode(0o600).open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_and_plain_paths_take_a_socket() {
        assert!(fits_a_socket(Path::new("/var/lib/be8/postgres/socket")));
        assert!(!fits_a_socket(Path::new("/home/a b/socket")));
        assert!(!fits_a_socket(Path::new("/home/a,b/socket")));
        assert!(fits_a_socket(Path::new(&format!("/{}", "x".repeat(85)))));
        assert!(!fits_a_socket(Path::new(&format!("/{}", "x".repeat(86)))));
    }

    #[test]
    fn a_long_log_is_turned_over_in_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::open(dir.path()).expect("a directory of ours");
        let (mut log, length) = layout.open_log().expect("a log");
        assert_eq!(length, 0);
        log.set_len(LONGEST_LOG).expect("a long log");
        layout.bound_log();
        log.write_all(b"next\n").expect("an append");
        assert_eq!(fs::read(layout.log()).expect("a log"), b"next\n");
        assert_eq!(fs::metadata(dir.path().join("postgres.log.1")).expect("the old log").len(), LONGEST_LOG);
    }
}
