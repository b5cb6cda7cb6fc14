//! What `postmaster.pid` says, the file by which PostgreSQL shows that it runs, and which servers really do.
//!
//! The file is not trusted: a crash leaves it there, empty or half written, and the process number in it may be
//! another program's by now. Whether a server works on a cluster is asked of the kernel.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// No file of PostgreSQL's is longer.
const LONGEST: u64 = 4096;

/// A `postgres` process that wrote `postmaster.pid`; it may be long dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub pid: Pid,
    pub ready: bool,
}

impl Postmaster {
    /// Reads the file of a cluster. None if it does not name a process.
    pub fn of(cluster: &Path) -> Option<Self> {
        let path = path(cluster);
        // Opening a pipe would wait for a writer.
        fs::symlink_metadata(&path).ok().filter(Metadata::is_file)?;
        let mut text = Vec::new();
        File::open(path).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// The first line is the process, the eighth the status.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = pid(lines.next()?.trim())?;
        let ready = lines.nth(6).is_some_and(|status| status.trim() == "ready");
        Some(Self { pid, ready })
    }
}

/// Where the file is.
pub(super) fn path(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

/// The number of a process. A negative one, which a single-user PostgreSQL writes, is not waited for as a server.
fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse::<u32>().ok()?.try_into().ok()?)
}

/// The main processes of PostgreSQL that work on a cluster now, whatever its file says: servers, and what a dead server
/// left. A server works in its data directory; other programs may, too, and a program of the same name may elsewhere, so
/// both are looked at. Containers have processes of their own, which cannot be seen from here.
pub(super) fn living(cluster: &Path) -> Vec<Pid> {
    let Ok(cluster) = fs::metadata(cluster) else { return Vec::new() };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| Some((pid(entry.file_name().to_str()?)?, entry.path())));
    let found: Vec<(Pid, PathBuf)> = processes.filter(|(_, proc)| works_on(proc, &cluster)).collect();
    // Those that another one of them started end with it.
    let child = |proc: &Path| parent(proc).is_some_and(|parent| found.iter().any(|(pid, _)| *pid == parent));
    found.iter().filter(|(_, proc)| !child(proc)).map(|(pid, _)| *pid).collect()
}

/// Whether a process is a PostgreSQL on this directory.
fn works_on(proc: &Path, cluster: &Metadata) -> bool {
    let same = |path: &Path| fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (cluster.dev(), cluster.ino()));
    match fs::read_link(proc.join("exe")) {
        Ok(program) => is_server(program.as_os_str()) && same(&proc.join("cwd")),
        // Another user's: what it was called with can be read by all, unless it has changed that.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let called = fs::read(proc.join("cmdline")).unwrap_or_default();
            let mut words = called.split(|byte| *byte == 0).map(OsStr::from_bytes);
            words.next().is_some_and(is_server) && data_directory(words).is_some_and(|dir| same(&dir))
        }
        // It has ended.
        Err(_) => false,
    }
}

/// Whether this is the path of PostgreSQL's server program; one that was replaced by an upgrade is marked by the kernel.
fn is_server(program: &OsStr) -> bool {
    let program = program.as_bytes().strip_suffix(b" (deleted)").unwrap_or(program.as_bytes());
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or(program);
    name == b"postgres" || name == b"postmaster"
}

/// The directory that follows `-D`.
fn data_directory<'a>(mut words: impl Iterator<Item = &'a OsStr>) -> Option<PathBuf> {
    while let Some(word) = words.next() {
        match word.as_bytes().strip_prefix(b"-D") {
            Some(b"") => return words.next().map(PathBuf::from),
            Some(attached) => return Some(PathBuf::from(OsStr::from_bytes(attached))),
            None => {}
        }
    }
    None
}

/// The servers that pg_upgrade started when an upgrade of ours ran it, on the old cluster or the new one: in binary mode,
/// with its data in this directory. They outlive it when it is killed, and hold no lock of ours.
pub(super) fn of_upgrades(dir: &Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| Some((pid(entry.file_name().to_str()?)?, entry.path())));
    let ours = |proc: &Path| {
        let called = fs::read(proc.join("cmdline")).unwrap_or_default();
        let words: Vec<&OsStr> = called.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
        words.first().is_some_and(|program| is_server(program))
            && words.contains(&OsStr::new("-b"))
            && data_directory(words.into_iter()).is_some_and(|data| data.starts_with(dir))
    };
    processes.filter(|(_, proc)| ours(proc)).map(|(pid, _)| pid).collect()
}

/// The process that started one: the second field after the name, which is in parentheses and may hold anything.
fn parent(proc: &Path) -> Option<Pid> {
    let stat = fs::read(proc.join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    pid(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?)
}

/// Removes what a dead process left under this name, whatever it is. A directory with something in it was made by
/// somebody, so it is put aside.
pub(super) fn remove_stale(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.is_dir() {
        return fs::remove_file(path);
    }
    if fs::remove_dir(path).is_ok() {
        return Ok(());
    }
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".aside-");
    let parent = path.parent().unwrap_or(Path::new("/"));
    let aside = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)?;
    // This replaces nothing but the empty directory.
    fs::rename(path, aside.path())?;
    tracing::warn!(path = %path.display(), aside = %aside.path().display(), "a directory in the place of a file of PostgreSQL's was put aside");
    let _ = aside.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn process_and_status_are_read() {
        let text = "12\n/data\n1790000000\n5432\n/socket\n\n  1234  5\nready   \n";
        let postmaster = Postmaster::parse(text).expect("a postmaster");
        assert_eq!((postmaster.pid.as_raw_pid(), postmaster.ready), (12, true));
        let starting = Postmaster::parse("12\n/data\n1790000000\n5432\n").expect("a postmaster");
        assert!(!starting.ready);
        for none in ["", "\n", "0\n", "-12\n/data\n", "99999999999\n", "x\n", "\0\0\0\0"] {
            assert_eq!(Postmaster::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_file_that_names_no_process_is_not_waited_for() {
        let cluster = tempfile::tempdir().unwrap();
        assert_eq!(Postmaster::of(cluster.path()), None);
        fs::create_dir(path(cluster.path())).unwrap();
        assert_eq!(Postmaster::of(cluster.path()), None);
        fs::remove_dir(path(cluster.path())).unwrap();
        assert!(Command::new("mkfifo").arg(path(cluster.path())).status().unwrap().success());
        assert_eq!(Postmaster::of(cluster.path()), None);
    }

    #[test]
    fn only_a_program_of_postgresql_counts() {
        let cluster = tempfile::tempdir().unwrap();
        let start = |program: &Path| Command::new(program).arg("60").current_dir(cluster.path()).spawn().unwrap();
        let mut foreign = start(Path::new("/bin/sleep"));
        let program = cluster.path().join("postgres");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut server = loop {
            match Command::new(&program).arg("60").current_dir(cluster.path()).spawn() {
                // A child that another test has just forked still has the copy open for writing.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                started => break started.unwrap(),
            }
        };
        // A moment passes between the fork and the program.
        while living(cluster.path()).is_empty() && server.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(living(cluster.path()), [Pid::from_child(&server)]);
        assert!(living(tempfile::tempdir().unwrap().path()).is_empty());
        for process in [&mut foreign, &mut server] {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        assert!(living(cluster.path()).is_empty());
    }

    #[test]
    fn the_server_is_known_by_what_it_was_called_with() {
        assert!(is_server(OsStr::new("/usr/lib/postgresql/15/bin/postgres (deleted)")));
        assert!(!is_server(OsStr::new("/usr/bin/postgresql")) && !is_server(OsStr::new("sleep")));
        let words = |line: &'static str| data_directory(line.split(' ').map(OsStr::new));
        assert_eq!(words("-D /data -c x=y"), Some("/data".into()));
        assert_eq!(words("-c x=y -D/data"), Some("/data".into()));
        assert_eq!(words("-c x=y"), None);
    }

    #[test]
    fn whatever_a_crash_left_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("postmaster.pid");
        remove_stale(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        remove_stale(&path).unwrap();
        std::os::unix::fs::symlink("/nonexistent", &path).unwrap();
        remove_stale(&path).unwrap();
        fs::create_dir(&path).unwrap();
        remove_stale(&path).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "").unwrap();
        remove_stale(&path).unwrap();
        let aside = fs::read_dir(home.path()).unwrap().next().unwrap().unwrap().path();
        assert!(aside.join("file").exists() && !path.exists());
    }
}
