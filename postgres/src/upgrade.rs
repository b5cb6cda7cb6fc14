//! Brings a cluster to the newest installed major version, by PostgreSQL's own `pg_upgrade`, which copies it. The old one
//! stays as it is beside the new one until it is removed on request.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc;

use super::directory::Layout;
use super::error::PostgresError;
use super::identity::Identity;
use super::install::{Installation, MadeBy, made_by};
use super::locks::{OwnerLock, Use};
use super::supervisor::outlive_predecessor;
use super::{ClusterSettings, SUPERUSER, busy};

/// What an upgrade did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgraded {
    /// The cluster is of the newest installed version already.
    Current {
        /// The major version.
        major: u32,
    },
    /// The cluster is of another version now.
    Done {
        /// The major version that it was of.
        from: u32,
        /// The one that it is of.
        to: u32,
        /// Where the old cluster lies.
        old: PathBuf,
    },
}

/// Upgrades the cluster, which nobody may use meanwhile. It blocks. Killed anywhere, it leaves the old cluster or the new
/// one in its place, both whole, and can be run again.
///
/// # Errors
/// [`PostgresError`]: the cluster is as it was.
pub fn upgrade(settings: &ClusterSettings, old_bin: Option<&Path>) -> Result<Upgraded, PostgresError> {
    let layout = Layout::open(&settings.dir)?;
    let mut lock = OwnerLock::take(&layout)?.map_err(|holder| busy(settings, holder))?;
    lock.declare(Use::Command, &layout.dir().join("socket"))?;
    // Nobody asks for a stop: the programs end with this thread.
    let (_asks, stop) = mpsc::channel();
    let server_lock = outlive_predecessor(&layout, &stop)?;
    layout.finish_upgrade()?;
    let cluster = layout.cluster();
    let new = Installation::newest(settings.bin.as_deref())?;
    let made_by = made_by(&cluster)?.ok_or_else(|| PostgresError::NoCluster { cluster: cluster.clone() })?;
    if made_by.major == new.major {
        return Ok(Upgraded::Current { major: new.major });
    }
    if made_by.major > new.major {
        let (made_by, installed) = (made_by.text, new.major.to_string());
        return Err(PostgresError::NewerCluster { cluster, made_by, installed });
    }
    let old = old_programs(&made_by, old_bin)?;
    let identity = Identity::detect(&cluster)?;
    for program in [old.program("postgres"), new.program("postgres"), layout.dir().to_owned()] {
        identity.check_reach(&program)?;
    }
    layout.remove_unfinished()?;
    layout.write_config(&identity, settings)?;
    let steps = Steps { layout: &layout, identity: &identity, old: &old, new: &new, server_lock };
    steps.recover()?;
    let work = layout.unfinished_directory(&identity)?;
    let data = work.path().join("data");
    steps.make(&data)?;
    steps.transfer(work.path(), &data)?;
    let kept = layout.put_upgraded(&data, &made_by.text)?;
    Ok(Upgraded::Done { from: made_by.major, to: new.major, old: kept })
}

/// Removes the old clusters that upgrades left; which they were.
///
/// # Errors
/// [`PostgresError`]
pub fn remove_old_clusters(settings: &ClusterSettings) -> Result<Vec<PathBuf>, PostgresError> {
    let layout = Layout::open(&settings.dir)?;
    let old = layout.old_clusters()?;
    for cluster in &old {
        fs::remove_dir_all(cluster).map_err(PostgresError::io("remove", cluster))?;
    }
    Ok(old)
}

/// The programs of the version that made the cluster.
fn old_programs(made_by: &MadeBy, old_bin: Option<&Path>) -> Result<Installation, PostgresError> {
    let found = match old_bin {
        Some(bin) => Some(Installation::given(bin)?),
        None => Installation::of_version(made_by.major),
    };
    let right = found.filter(|found| found.major == made_by.major);
    right.ok_or_else(|| PostgresError::OldProgramsMissing { made_by: made_by.text.clone() })
}

/// The programs that run, one after another.
struct Steps<'a> {
    layout: &'a Layout,
    identity: &'a Identity,
    old: &'a Installation,
    new: &'a Installation,
    server_lock: File,
}

impl Steps<'_> {
    /// A program that holds the server lock as its standard input, which is empty.
    fn command(&self, program: &Path) -> Result<Command, PostgresError> {
        let lock = self.server_lock.try_clone().map_err(PostgresError::io("open", &self.layout.server_lock()))?;
        let mut command = self.identity.command(program);
        command.stdin(lock);
        Ok(command)
    }

    /// Brings the old cluster to an orderly end, as pg_upgrade demands: a server for a single user recovers what a crash
    /// left, reads no statement, and ends.
    fn recover(&self) -> Result<(), PostgresError> {
        let program = self.old.program("postgres");
        let mut command = self.command(&program)?;
        command.arg("--single").arg("-D").arg(self.layout.cluster()).arg("template1");
        run("postgres --single", command, &program).map(drop)
    }

    /// Makes the new cluster with what cannot be changed later as it was in the old one.
    fn make(&self, data: &Path) -> Result<(), PostgresError> {
        let program = self.old.program("pg_controldata");
        let mut command = self.command(&program)?;
        command.arg("-D").arg(self.layout.cluster());
        let said = run("pg_controldata", command, &program)?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let checksums = said.lines().find_map(|line| line.strip_prefix("Data page checksum version:"));
        let checksums = match checksums.map(str::trim) {
            Some("0") if self.new.major >= 18 => Some("--no-data-checksums"),
            Some("0") => None,
            _ => Some("--data-checksums"),
        };
        let program = self.new.program("initdb");
        let mut command = self.command(&program)?;
        command.arg("--pgdata").arg(data).args(["--username", SUPERUSER, "--auth-local=peer", "--auth-host=reject"]);
        command.args(["--encoding=UTF8", "--locale=C"]).args(checksums);
        run("initdb", command, &program).map(drop)
    }

    /// Has pg_upgrade copy everything into the new cluster.
    fn transfer(&self, work: &Path, data: &Path) -> Result<(), PostgresError> {
        let program = self.new.program("pg_upgrade");
        let socket = self.layout.socket(self.identity)?;
        socket.sweep();
        let file = |name: &str| self.layout.config(name).display().to_string().replace('\'', "''");
        let access = format!("-c hba_file='{}' -c ident_file='{}'", file("pg_hba.conf"), file("pg_ident.conf"));
        let mut command = self.command(&program)?;
        command.current_dir(work).arg("--old-datadir").arg(self.layout.cluster()).arg("--new-datadir").arg(data);
        for (flag, installation) in [("--old-bindir", self.old), ("--new-bindir", self.new)] {
            command.arg(flag).arg(installation.bin());
        }
        command.args(["--username", SUPERUSER, "--old-options", &access, "--new-options", &access]);
        command.arg("--socketdir").arg(socket.path());
        run("pg_upgrade", command, &program).map(drop)
    }
}

/// Runs a program to its end.
fn run(program: &'static str, mut command: Command, path: &Path) -> Result<Output, PostgresError> {
    if !path.is_file() {
        let error = std::io::Error::new(std::io::ErrorKind::NotFound, "the installation does not have it");
        return Err(PostgresError::io("run", path)(error));
    }
    let output = command.output().map_err(Identity::spawn_error(path))?;
    if output.status.success() {
        return Ok(output);
    }
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    // What went wrong stands at the end.
    let lines: Vec<&str> = text.trim().lines().filter(|line| !line.trim().is_empty()).collect();
    let text = lines[lines.len().saturating_sub(20)..].join("\n");
    Err(PostgresError::Upgrade { program, status: output.status, output: text })
}
