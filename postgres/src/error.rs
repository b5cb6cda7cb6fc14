//! What can go wrong with the private PostgreSQL, said so that an operator knows the next step.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Why the private PostgreSQL could not be found, made, started or reached.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No usable PostgreSQL is installed.
    #[error(
        "no PostgreSQL {minimum} or newer found in /usr/lib/postgresql/*/bin or on PATH: install one (Debian: \
         `apt-get install postgresql`), name its bin directory in PG_BIN, or set DATABASE_URL to a server of yours"
    )]
    NotInstalled {
        /// The oldest major version that is good enough.
        minimum: u32,
    },
    /// The directory given as `PG_BIN` holds no usable PostgreSQL.
    #[error("PG_BIN names {}, but {reason}", bin.display())]
    UnusableBin {
        /// The directory that was given.
        bin: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A program of the operating system that is needed is missing.
    #[error("the program `{program}` is missing (Debian: package {package})")]
    MissingTool {
        /// The program.
        program: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
    },
    /// The cluster was made by an older major version than those that are installed.
    #[error(
        "the cluster in {} was made by PostgreSQL {made_by}, and only PostgreSQL {installed} was found: bring it to that \
         version with `be8 postgres-upgrade`, which needs the programs of both (Debian: package postgresql-{made_by}), or \
         go on with version {made_by} by naming its bin directory in PG_BIN",
        cluster.display()
    )]
    OlderCluster {
        /// The cluster's directory.
        cluster: PathBuf,
        /// What its `PG_VERSION` says.
        made_by: String,
        /// The major versions found, newest first.
        installed: String,
    },
    /// The cluster was made by a newer major version than those that are installed.
    #[error(
        "the cluster in {} was made by PostgreSQL {made_by}, which is newer than what was found (PostgreSQL {installed}), \
         and a cluster cannot go back to an older version: install version {made_by} (Debian: package \
         postgresql-{made_by}), or name its bin directory in PG_BIN",
        cluster.display()
    )]
    NewerCluster {
        /// The cluster's directory.
        cluster: PathBuf,
        /// What its `PG_VERSION` says.
        made_by: String,
        /// The major versions found, newest first.
        installed: String,
    },
    /// The directory of the cluster is not one that PostgreSQL can have left.
    #[error("the cluster in {} is damaged: {what}; put it back from a backup, or move it away to begin with an empty one", cluster.display())]
    DamagedCluster {
        /// The cluster's directory.
        cluster: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// There is no cluster that could be upgraded.
    #[error("there is no cluster in {}", cluster.display())]
    NoCluster {
        /// Where one would be.
        cluster: PathBuf,
    },
    /// The programs of the version that made the cluster are needed and not there.
    #[error(
        "the upgrade needs the programs of PostgreSQL {made_by}, which made the cluster: install them (Debian: package \
         postgresql-{made_by}) or name their directory with --old-bin"
    )]
    OldProgramsMissing {
        /// The major version.
        made_by: String,
    },
    /// A program of PostgreSQL failed during an upgrade. The cluster is as it was.
    #[error("{program} failed ({status}), and the cluster is as it was: {output}")]
    Upgrade {
        /// Which.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// Another process of this program uses the directory.
    #[error("{} is in use: {holder}", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
        /// Who uses it and for what.
        holder: String,
    },
    /// The directory belongs to somebody else.
    #[error(
        "{} belongs to user {owner}, but this process runs as {own}: run it as {owner}, or choose another data directory",
        dir.display()
    )]
    WrongOwner {
        /// The directory.
        dir: PathBuf,
        /// Who owns it.
        owner: String,
        /// Who we are.
        own: String,
    },
    /// The user id of this process has no name, and PostgreSQL's peer authentication goes by names.
    #[error("the user id {uid} has no entry in the user database (/etc/passwd), which PostgreSQL needs: add one")]
    NamelessUser {
        /// The user id.
        uid: u32,
    },
    /// We are root and there is no unprivileged user to run PostgreSQL as.
    #[error("PostgreSQL refuses to run as root, and there is no user `be8`, `postgres` or `nobody` to run it as")]
    NoUnprivilegedUser,
    /// The unprivileged user cannot get to a directory or program.
    #[error(
        "user {user}, which PostgreSQL runs as because this process is root, cannot enter {}, so it cannot reach {}: open \
         that directory with `chmod o+x`, or choose a data directory elsewhere (for example /var/lib/be8)",
        blocked.display(), path.display()
    )]
    OutOfReach {
        /// The unprivileged user.
        user: String,
        /// What it must reach.
        path: PathBuf,
        /// The first part of the way that stops it.
        blocked: PathBuf,
    },
    /// `initdb` failed.
    #[error("initdb failed ({status}): {output}")]
    Initdb {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        output: String,
    },
    /// The `postgres` process ended although nobody asked it to.
    #[error("PostgreSQL ended by itself ({status}); its log is {}: {tail}", log.display())]
    Died {
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of this run in the log.
        tail: String,
    },
    /// A `postgres` process that is not ours has the cluster open.
    #[error("PostgreSQL process {pid} still has the cluster in {} open: stop it first", cluster.display())]
    StillRunning {
        /// The cluster's directory.
        cluster: PathBuf,
        /// The process.
        pid: String,
    },
    /// The cluster was stopped while somebody waited for it.
    #[error("the private PostgreSQL was stopped")]
    Stopped,
    /// A file, directory or process could not be worked with.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// The cause.
        source: io::Error,
    },
    /// The running cluster refused a connection or a statement.
    #[error("the private PostgreSQL: {}", be8_database::reason(.0))]
    Sql(#[from] sqlx::Error),
}

impl PostgresError {
    /// Whether the running cluster did not answer in time.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut)
    }

    /// An [`PostgresError::Io`] maker for `map_err`, which names the deed and the path.
    pub(super) fn io(deed: &str, path: &Path) -> impl FnOnce(io::Error) -> PostgresError {
        let action = format!("{deed} {}", path.display());
        move |source| PostgresError::Io { action, source }
    }
}
