//! The thread that starts PostgreSQL, restarts it when it dies, and stops it.
//!
//! The kernel signals PostgreSQL to stop when the *thread* that started it ends (`PR_SET_PDEATHSIG`). So one thread
//! starts it, waits for it, and lives as long as it: until it is asked to stop, or the whole process dies.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{oneshot, watch};

use super::directory::{Layout, SocketDir, open_private};
use super::error::PostgresError;
use super::identity::Identity;
use super::install::Installation;
use super::locks::{OwnerLock, Use};
use super::pidfile::{self, Postmaster};
use super::{ClusterSettings, PORT};

/// How often the thread looks while something is about to happen, and while nothing is.
const BRISK: Duration = Duration::from_millis(10);
const CALM: Duration = Duration::from_millis(100);

/// How often the length of the log is looked at.
const LOG_CHECK: Duration = Duration::from_secs(10);

/// The pauses before restarts: doubled from the first to the last, and reset by a life of the last length.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// How long a fast shutdown, which writes a checkpoint, may take before an immediate one, which leaves the work to the next
/// start's recovery.
const FAST: Duration = Duration::from_secs(60);

/// How long an immediate shutdown may take.
const IMMEDIATE: Duration = Duration::from_secs(15);

/// What the thread is asked to do; the other end's disappearance asks for the same.
#[derive(Debug)]
pub(super) struct Stop;

/// What the thread says about PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It does not answer: it is being started or has died.
    Down,
    /// It answers, as this process.
    Ready(Pid),
    /// It was stopped, and everything is released.
    Ended,
}

/// Where the answer goes, once: that PostgreSQL is ready and where its socket is, or why it never was.
type Started = oneshot::Sender<Result<PathBuf, PostgresError>>;

/// Everything the thread needs.
#[derive(Debug)]
pub(super) struct Supervisor {
    layout: Layout,
    identity: Identity,
    installation: Installation,
    lock: OwnerLock,
    used_for: Use,
    socket: SocketDir,
    stop: Receiver<Stop>,
    frozen: Arc<AtomicBool>,
    phase: watch::Sender<Phase>,
}

/// How the thread is started, and how it answers.
#[derive(Debug)]
pub(super) struct Task {
    pub settings: ClusterSettings,
    pub layout: Layout,
    pub lock: OwnerLock,
    pub used_for: Use,
    pub stop: Receiver<Stop>,
    pub frozen: Arc<AtomicBool>,
    pub phase: watch::Sender<Phase>,
    pub started: Started,
}

impl Task {
    /// The thread's whole life.
    pub fn run(self) {
        let Self { settings, layout, mut lock, used_for, stop, frozen, phase, started } = self;
        let prepared = prepare(&settings, &layout, &mut lock, used_for, &stop);
        match prepared {
            Ok((identity, installation, socket)) => {
                Supervisor { layout, identity, installation, lock, used_for, socket, stop, frozen, phase }.run(started);
            }
            Err(error) => {
                drop(lock);
                // Nobody listens any more when the start was given up.
                let _ = started.send(Err(error));
            }
        }
    }
}

/// Does what precedes the first launch.
fn prepare(
    settings: &ClusterSettings,
    layout: &Layout,
    lock: &mut OwnerLock,
    used_for: Use,
    stop: &Receiver<Stop>,
) -> Result<(Identity, Installation, SocketDir), PostgresError> {
    let server_lock = outlive_predecessor(layout, stop)?;
    layout.finish_upgrade()?;
    let cluster = layout.cluster();
    let identity = Identity::detect(&cluster)?;
    identity.announce();
    let installation = Installation::find(settings.bin.as_deref(), &cluster)?;
    identity.check_reach(&installation.program("postgres"))?;
    identity.check_reach(layout.dir())?;
    lock.sweep_predecessor([identity.own.uid, identity.server.uid]);
    layout.ensure_cluster(&identity, &installation, server_lock)?;
    layout.write_config(&identity, settings)?;
    let socket = layout.socket(&identity)?;
    lock.declare(used_for, socket.path())?;
    Ok((identity, installation, socket))
}

/// Waits until no process of an earlier PostgreSQL lives on the cluster, helping it to its end, and returns the lock that
/// proves it. Every process of PostgreSQL inherits that lock, so the kernel knows, across containers too. Otherwise we
/// would have to go by process numbers, and two servers on one cluster destroy it.
pub(super) fn outlive_predecessor(layout: &Layout, stop: &Receiver<Stop>) -> Result<File, PostgresError> {
    let (cluster, path) = (layout.cluster(), layout.server_lock());
    let lock = open_private(&path, File::options().truncate(false).read(true).write(true));
    let lock = lock.map_err(PostgresError::io("open", &path))?;
    let began = Instant::now();
    let mut last_signal = None;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(PostgresError::io("lock", &path)(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let signal = if began.elapsed() < FAST { Signal::INT } else { Signal::QUIT };
        let living = if last_signal == Some(signal) { Vec::new() } else { pidfile::living(&cluster) };
        for pid in living {
            tracing::info!(%pid, ?signal, "stopping the PostgreSQL of an earlier run");
            // It may have ended by itself in this moment.
            let _ = kill_process(pid, signal);
            last_signal = Some(signal);
        }
        if began.elapsed() > FAST + IMMEDIATE {
            return Err(still_running(cluster.clone(), &pidfile::living(&cluster)));
        }
        if asked(stop, BRISK) {
            return Err(PostgresError::Stopped);
        }
    }
    end_upgrade_servers(layout, stop)?;
    let living = pidfile::living(&cluster);
    if !living.is_empty() {
        // Somebody started it by hand, so it does not have our lock.
        return Err(still_running(cluster, &living));
    }
    // PostgreSQL goes by the number in it alone and would not start if another process has it now, nor if there is none in
    // it; and if the next one of ours gets the number, as happens in containers, the file would show too early that that
    // one is ready. A server that cannot be seen from here still holds its shared memory, which PostgreSQL looks for.
    let stale = pidfile::path(&cluster);
    pidfile::remove_stale(&stale).map_err(PostgresError::io("remove", &stale))?;
    Ok(lock)
}

/// Ends the servers that a killed upgrade left.
fn end_upgrade_servers(layout: &Layout, stop: &Receiver<Stop>) -> Result<(), PostgresError> {
    let began = Instant::now();
    loop {
        let left = pidfile::of_upgrades(layout.dir());
        if left.is_empty() {
            return Ok(());
        }
        if began.elapsed() > FAST {
            return Err(still_running(layout.cluster(), &left));
        }
        for pid in left {
            // It may have ended by itself in this moment.
            let _ = kill_process(pid, Signal::INT);
        }
        if asked(stop, CALM) {
            return Err(PostgresError::Stopped);
        }
    }
}

fn still_running(cluster: PathBuf, living: &[Pid]) -> PostgresError {
    let pids: Vec<String> = living.iter().map(Pid::to_string).collect();
    let pid = if pids.is_empty() { "(unknown)".to_owned() } else { pids.join(", ") };
    PostgresError::StillRunning { cluster, pid }
}

/// Waits, and says whether to stop.
fn asked(stop: &Receiver<Stop>, wait: Duration) -> bool {
    !matches!(stop.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
}

impl Supervisor {
    fn run(mut self, started: Started) {
        let mut started = Some(started);
        let mut pause = FIRST_PAUSE;
        let mut failure = None;
        loop {
            let began = Instant::now();
            let error = match self.live_once(&mut started) {
                Ok(()) | Err(PostgresError::Stopped) => break,
                Err(error) => error,
            };
            self.phase.send_replace(Phase::Down);
            if started.is_some() {
                failure = Some(error);
                break;
            }
            if began.elapsed() > LAST_PAUSE {
                pause = FIRST_PAUSE;
            }
            tracing::error!(%error, pause_ms = pause.as_millis() as u64, "PostgreSQL is down; starting it again");
            if asked(&self.stop, pause) {
                break;
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
        // A receiver of the end may start again at once.
        let Self { lock, socket, phase, .. } = self;
        drop((socket, lock));
        phase.send_replace(Phase::Ended);
        if let Some(started) = started {
            // Nobody listens any more when the start was given up.
            let _ = started.send(Err(failure.unwrap_or(PostgresError::Stopped)));
        }
    }

    /// Starts PostgreSQL and stays with it: until it was stopped as asked, or died by itself, which is an error.
    fn live_once(&mut self, started: &mut Option<Started>) -> Result<(), PostgresError> {
        let server_lock = outlive_predecessor(&self.layout, &self.stop)?;
        self.socket.sweep();
        let (log, log_start) = self.layout.open_log()?;
        let mut child = self.command(server_lock, log).spawn().map_err(Identity::spawn_error("postgres".as_ref()))?;
        let attended = self.attend(&mut child, log_start, started);
        if !matches!(attended, Err(PostgresError::Died { .. })) {
            end(&mut child, &self.frozen);
        }
        attended
    }

    /// Stays with PostgreSQL until it is to be stopped.
    fn attend(
        &mut self,
        child: &mut Child,
        log_start: u64,
        started: &mut Option<Started>,
    ) -> Result<(), PostgresError> {
        let pid = Pid::from_child(child);
        let mut ready = false;
        let mut log_checked = Instant::now();
        while !asked(&self.stop, if ready { CALM } else { BRISK }) {
            if let Some(status) = child.try_wait().map_err(PostgresError::io("wait for", "postgres".as_ref()))? {
                let (log, tail) = (self.layout.log(), self.layout.log_tail(log_start));
                return Err(PostgresError::Died { status, log, tail });
            }
            if !ready && Postmaster::of(&self.layout.cluster()) == Some(Postmaster { pid, ready: true }) {
                ready = true;
                self.announce(pid, started)?;
            }
            if log_checked.elapsed() > LOG_CHECK {
                self.layout.bound_log();
                log_checked = Instant::now();
            }
        }
        Ok(())
    }

    /// Notifies all waiters that PostgreSQL is ready.
    fn announce(&mut self, pid: Pid, started: &mut Option<Started>) -> Result<(), PostgresError> {
        if self.used_for == Use::Starting {
            self.used_for = Use::Serving;
            self.lock.declare(Use::Serving, self.socket.path())?;
        }
        tracing::info!(%pid, version = self.installation.major, socket = %self.socket.path().display(), "PostgreSQL is ready");
        self.phase.send_replace(Phase::Ready(pid));
        if let Some(started) = started.take() {
            // Nobody listens any more when the start was given up; the request to stop follows.
            let _ = started.send(Ok(self.socket.path().into()));
        }
        Ok(())
    }

    /// The command line. What is on it cannot be changed by a configuration file or ALTER SYSTEM: durability above all.
    fn command(&self, server_lock: File, log: File) -> Command {
        let mut command = self.identity.command(&self.installation.program("postgres"));
        command.arg("-D").arg(self.layout.cluster());
        let mut set = |name: &str, value: &std::ffi::OsStr| {
            let mut setting = std::ffi::OsString::from(format!("{name}="));
            setting.push(value);
            command.arg("-c").arg(setting);
        };
        set("config_file", self.layout.config("postgresql.conf").as_os_str());
        set("hba_file", self.layout.config("pg_hba.conf").as_os_str());
        set("ident_file", self.layout.config("pg_ident.conf").as_os_str());
        set("unix_socket_directories", self.socket.path().as_os_str());
        set("port", PORT.to_string().as_ref());
        for (name, value) in [
            ("listen_addresses", ""),
            ("unix_socket_permissions", "0700"),
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("logging_collector", "off"),
            ("log_destination", "stderr"),
        ] {
            set(name, value.as_ref());
        }
        // PostgreSQL reads nothing from its standard input; its processes just keep that file open, and so the lock.
        command.stdin(server_lock).stdout(Stdio::null()).stderr(log);
        command
    }
}

/// Ends PostgreSQL: fast, then by force; by force at once if it is frozen.
fn end(child: &mut Child, frozen: &AtomicBool) {
    let pid = Pid::from_child(child);
    let steps: &[(Signal, Duration)] = if frozen.load(Ordering::SeqCst) {
        &[(Signal::KILL, IMMEDIATE)]
    } else {
        &[(Signal::INT, FAST), (Signal::QUIT, IMMEDIATE), (Signal::KILL, IMMEDIATE)]
    };
    for &(signal, patience) in steps {
        // It fails if the process has ended, which the wait shows.
        let _ = kill_process(pid, signal);
        let began = Instant::now();
        while began.elapsed() < patience {
            match child.try_wait() {
                Ok(None) => std::thread::sleep(BRISK),
                Ok(Some(status)) => return tracing::info!(%pid, %status, "PostgreSQL has stopped"),
                Err(error) => return tracing::error!(%pid, %error, "cannot wait for PostgreSQL"),
            }
        }
        tracing::warn!(%pid, ?signal, "PostgreSQL does not stop");
    }
}
