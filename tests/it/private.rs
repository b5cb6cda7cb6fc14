//! The private PostgreSQL after crashes and beside other users: what lies in its directory is not believed, and is its
//! owner's alone.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use be8::postgres::{ClusterSettings, PostgresError, PrivateCluster};
use rustix::process::geteuid;
use sqlx::ConnectOptions as _;
use tempfile::TempDir;

use crate::cluster::{fresh_database, passable_directory};
use crate::patience::{eventually, within};
use crate::server::Setup;

/// A cluster that was used and stopped, with the directory that goes with it.
async fn used() -> (TempDir, ClusterSettings) {
    let directory = passable_directory();
    let settings = ClusterSettings::new(directory.path().join("postgres"));
    let cluster = PrivateCluster::start(&settings).await.expect("a cluster");
    let mut connection = cluster.connect_options("postgres").connect().await.expect("a connection");
    sqlx::raw_sql("create table t (n int); insert into t values (1)").execute(&mut connection).await.expect("a row");
    drop(connection);
    cluster.stop().await;
    (directory, settings)
}

async fn rows(cluster: &PrivateCluster) -> i64 {
    let mut connection = cluster.connect_options("postgres").connect().await.expect("a connection");
    sqlx::query_scalar("select count(*) from t").fetch_one(&mut connection).await.expect("a count")
}

/// A command that runs as the owner of the cluster.
fn as_owner(cluster: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    if geteuid().is_root() {
        let owner = fs::metadata(cluster).expect("a cluster");
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A process that is killed with this value.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn whatever_a_crash_left_as_postmaster_pid_the_cluster_starts() {
    let (_directory, settings) = used().await;
    let cluster = settings.dir.join("cluster");
    let pidfile = cluster.join("postmaster.pid");
    let elsewhere = Guarded(as_owner(&cluster, "sleep").arg("600").spawn().expect("a process"));
    let inside = Guarded(as_owner(&cluster, "sleep").arg("600").current_dir(&cluster).spawn().expect("a process"));
    let naming = |pid: u32| {
        format!("{pid}\n{}\n1790000000\n5432\n/socket\n\n  5432001         1\nready   \n", cluster.display())
    };
    let texts = [
        ("empty", String::new()),
        ("zeros", "\0".repeat(64)),
        ("garbage", "garbage\nxx\n".to_owned()),
        ("half a number", "12".to_owned()),
        ("no number of a process", "99999999999999\n".to_owned()),
        ("a single-user server", naming(7).replacen('7', "-7", 1)),
        ("process 1", naming(1)),
        ("this process", naming(std::process::id())),
        ("a process of the same user", naming(elsewhere.0.id())),
        ("one that works in the directory", naming(inside.0.id())),
    ];
    for (what, text) in &texts {
        fs::write(&pidfile, text).expect("a file");
        let started = PrivateCluster::start(&settings).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(rows(&started).await, 1, "{what}");
        started.stop().await;
    }
    let others: [(&str, &dyn Fn()); 5] = [
        ("a file that nobody may read", &|| {
            fs::write(&pidfile, naming(1)).expect("a file");
            fs::set_permissions(&pidfile, Permissions::from_mode(0o000)).expect("rights");
        }),
        ("a file of another user", &|| {
            fs::write(&pidfile, naming(1)).expect("a file");
            if geteuid().is_root() {
                chown(&pidfile, Some(12_345), Some(12_345)).expect("another owner");
            }
        }),
        ("a directory", &|| fs::create_dir(&pidfile).expect("a directory")),
        ("a directory with a file", &|| {
            fs::create_dir(&pidfile).expect("a directory");
            fs::write(pidfile.join("file"), "").expect("a file");
        }),
        ("a pipe", &|| assert!(Command::new("mkfifo").arg(&pidfile).status().expect("mkfifo").success())),
    ];
    for (what, make) in others {
        make();
        let started = PrivateCluster::start(&settings).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(rows(&started).await, 1, "{what}");
        started.stop().await;
    }
    // The same for the lock of the socket, in which PostgreSQL believes, too.
    let lock = settings.dir.join("socket/.s.PGSQL.5432.lock");
    for make in [&|| fs::write(&lock, "1\n").expect("a file"), &|| fs::create_dir(&lock).expect("a directory")]
        as [&dyn Fn(); 2]
    {
        make();
        let started = PrivateCluster::start(&settings).await.expect("the cluster");
        assert_eq!(rows(&started).await, 1);
        started.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_lives_is_never_joined_by_a_second_one_whatever_its_file_says() {
    let (directory, settings) = used().await;
    let cluster = settings.dir.join("cluster");
    // By hand, so it holds none of our locks.
    let socket = directory.path().join("by-hand");
    fs::create_dir(&socket).expect("a directory");
    fs::set_permissions(&socket, Permissions::from_mode(0o777)).expect("rights");
    let program = installed().join("postgres");
    let mut command = as_owner(&cluster, program);
    command.arg("-D").arg(&cluster).args(["-c", "listen_addresses=", "-k"]).arg(&socket);
    let by_hand = Guarded(command.spawn().expect("a server"));
    let pidfile = cluster.join("postmaster.pid");
    eventually("the server by hand is ready", async || {
        fs::read_to_string(&pidfile)
            .is_ok_and(|text| text.lines().nth(7).is_some_and(|status| status.trim() == "ready"))
    })
    .await;
    let whole = fs::read_to_string(&pidfile).expect("its file");
    // PostgreSQL looks at its file once a minute, and ends when it is another one: it is stopped, and lives.
    let stopped = Command::new("kill").arg("-STOP").arg(by_hand.0.id().to_string()).status().expect("kill");
    assert!(stopped.success());
    for text in [whole.as_str(), "", "garbage\n", "1\n"] {
        fs::write(&pidfile, text).expect("a file");
        let error = PrivateCluster::start(&settings).await.expect_err("it lives");
        let pid = by_hand.0.id().to_string();
        assert!(
            matches!(&error, PostgresError::StillRunning { pid: living, .. } if *living == pid),
            "{text:?}: {error}"
        );
        assert_eq!(fs::read_to_string(&pidfile).expect("its file"), text, "the file of a living server is left alone");
    }
    drop(by_hand);
    // Its processes end a moment after it.
    eventually("the start after it", async || match PrivateCluster::start(&settings).await {
        Ok(started) => {
            assert_eq!(rows(&started).await, 1);
            started.stop().await;
            true
        }
        Err(PostgresError::StillRunning { .. } | PostgresError::Died { .. }) => false,
        Err(error) => panic!("{error}"),
    })
    .await;
}

/// The programs of the newest installed PostgreSQL.
pub fn installed() -> PathBuf {
    let mut versions: Vec<PathBuf> =
        fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL").map(|entry| entry.expect("an entry").path()).collect();
    versions.sort();
    versions.pop().expect("a version").join("bin")
}

#[tokio::test]
async fn the_files_of_the_cluster_are_their_owners_alone() {
    let (_directory, settings) = used().await;
    let owner = fs::metadata(settings.dir.join("cluster")).expect("a cluster").uid();
    // As an earlier version left them.
    for name in ["be8.lock", "postgres.lock", "postgres.log", "pg_hba.conf"] {
        fs::set_permissions(settings.dir.join(name), Permissions::from_mode(0o644)).expect("rights");
    }
    fs::write(settings.dir.join("postgres.log.1"), "old").expect("a file");
    fs::set_permissions(settings.dir.join("postgres.log.1"), Permissions::from_mode(0o644)).expect("rights");
    let cluster = PrivateCluster::start(&settings).await.expect("the cluster");
    let mut seen = Vec::new();
    for entry in fs::read_dir(&settings.dir).expect("the directory") {
        let entry = entry.expect("an entry");
        let (name, metadata) = (entry.file_name().into_string().expect("a name"), entry.metadata().expect("metadata"));
        assert_eq!(metadata.mode() & 0o077, 0, "{name}");
        let of_server = metadata.is_dir() || name.ends_with(".conf");
        assert_eq!(metadata.uid(), if of_server { owner } else { geteuid().as_raw() }, "{name}");
        seen.push(name);
    }
    for name in [
        "be8.lock",
        "postgres.lock",
        "postgres.log",
        "postgres.log.1",
        "postgresql.conf",
        "pg_hba.conf",
        "pg_ident.conf",
    ] {
        assert!(seen.iter().any(|seen| seen == name), "{name} among {seen:?}");
    }
    assert_eq!(rows(&cluster).await, 1);
}

#[tokio::test]
async fn another_user_cannot_hold_the_locks() {
    if !geteuid().is_root() {
        return;
    }
    let (_directory, settings) = used().await;
    for lock in ["be8.lock", "postgres.lock"] {
        let mut flock = Command::new("flock");
        flock.args(["--nonblock"]).arg(settings.dir.join(lock)).arg("true").uid(65534).gid(65534);
        assert!(!flock.stderr(Stdio::null()).status().expect("flock").success(), "{lock}");
    }
}

#[tokio::test]
async fn the_text_of_a_dead_server_s_lock_is_not_believed() {
    let (_directory, settings) = used().await;
    let path = settings.dir.join("be8.lock");
    // A living process that is not ours is named, and something else holds the lock.
    fs::write(&path, "1\nserving\n/nonexistent").expect("a text");
    let mut flock = Command::new("flock");
    flock.arg(&path).args(["sh", "-c", "echo held; exec sleep 600"]).stdout(Stdio::piped());
    let mut flock = Guarded(flock.spawn().expect("flock"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(flock.0.stdout.take().expect("its output")), &mut line)
        .expect("a line");
    assert_eq!(line, "held\n");
    let error = PrivateCluster::start(&settings).await.expect_err("it is held").to_string();
    assert!(error.contains("has not named itself") && !error.contains("process 1"), "{error}");
}

/// Which commands may come before the first start; each makes keys in the data directory.
/// Otherwise a command in the wrong directory would make a cluster there, and blame a table that is missing.
#[tokio::test]
async fn a_command_that_reads_makes_nothing_and_says_where_there_is_no_log() {
    let home = passable_directory();
    let data = home.path().join("elsewhere");
    let database = fresh_database().await;
    for command in ["check", "audit-check", "log"] {
        let run = |arguments: [&str; 2]| {
            let mut program = Command::new(env!("CARGO_BIN_EXE_be8"));
            let output = program.env_clear().arg(command).args(arguments).arg("--data-dir").arg(&data).output();
            let output = output.expect("the command");
            assert!(!output.status.success(), "{command}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let error = run(["--test-mode", "true"]);
        assert!(error.contains("no log of be8 in ") && error.contains("elsewhere"), "{command}: {error}");
        let error = run(["--database-url", &database.url]);
        assert!(error.contains("no log of be8 in "), "{command}: {error}");
        assert!(!data.exists(), "{command}");
    }
}

#[tokio::test]
async fn the_server_takes_the_data_directory_that_any_command_made() {
    let first: [&[&str]; 5] = [
        &["vapid"],
        &["audit-key"],
        &["audit-key", "--witness-key", "DATA/keys/witness.key"],
        &["migrate"],
        &["token", "add", "endless"],
    ];
    for arguments in first {
        let home = passable_directory();
        let data = home.path().join("lib/be8");
        let named = |argument: &&str| argument.replace("DATA", data.to_str().expect("text"));
        // Whatever the umask of the shell is.
        let mut command = Command::new("sh");
        command.args(["-c", r#"umask 077; exec "$@""#, "sh", env!("CARGO_BIN_EXE_be8")]);
        command.args(arguments.iter().map(named)).arg("--data-dir").arg(&data);
        let output = command.output().expect("the command");
        let mode = fs::metadata(&data).expect("the data directory").mode() & 0o7777;
        assert_eq!(mode, if geteuid().is_root() { 0o711 } else { 0o700 }, "{arguments:?}: {output:?}");
        let settings = ClusterSettings::new(data.join("postgres"));
        let cluster = PrivateCluster::start(&settings).await.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        cluster.stop().await;
    }
    // And so does a server that makes the key of its witness.
    let home = passable_directory();
    let data = home.path().join("lib/be8");
    let mut server = tokio::process::Command::new(env!("CARGO_BIN_EXE_be8"));
    server.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
    server.arg("--witness-key").arg(data.join("keys/witness.key"));
    server.stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut server = server.spawn().expect("the server");
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(server.stdout.take().expect("its output")));
    let line = within("the start of the server", lines.next_line()).await.expect("text");
    assert!(line.is_some_and(|line| line.contains("serves on")));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(server.id().expect("it runs").cast_signed()).expect("a process"),
        rustix::process::Signal::TERM,
    )
    .expect("it lives");
    assert!(within("the end of the server", server.wait()).await.expect("its status").success());
}

#[tokio::test]
async fn the_memory_of_a_process_with_keys_is_dumped_nowhere() {
    let server = Setup::on(&crate::cluster::fresh_database().await).start().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("its limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the limit of core files");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    if !geteuid().is_root() {
        assert_eq!(fs::metadata(format!("/proc/{}/mem", server.pid())).expect("its memory").uid(), 0);
        return;
    }
    // Another process of the same user cannot look into it, either. A copy, since the path may be closed to others.
    let home = passable_directory();
    let program = home.path().join("be8");
    crate::postgres::copy_program(Path::new(env!("CARGO_BIN_EXE_be8")), &program);
    // It waits in the opening of the pipe until somebody opens it for writing.
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").args(["-m", "666"]).arg(&pipe).status().expect("mkfifo").success());
    let started = |program: &Path, arguments: &[&OsStr]| loop {
        let mut command = Command::new(program);
        command.args(arguments).uid(65534).gid(65534).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            // A child that another test has just forked still has the copy open for writing.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            started => break Guarded(started.expect("the program")),
        }
    };
    let readable = |process: &Guarded| {
        let mut cat = Command::new("cat");
        cat.arg(format!("/proc/{}/environ", process.0.id())).uid(65534).gid(65534);
        cat.stdout(Stdio::null()).stderr(Stdio::null());
        cat.status().expect("cat").success()
    };
    let any = started(Path::new("sleep"), &[OsStr::new("600")]);
    assert!(readable(&any), "a process that does not close itself can be read");
    let mut waiting = started(&program, &[OsStr::new("verify-bundle"), pipe.as_os_str()]);
    eventually("the process closes itself", async || !readable(&waiting)).await;
    assert!(waiting.0.try_wait().expect("its status").is_none(), "it was closed because it had ended");
    // Not blocking, so it succeeds only while the process waits for this.
    let mut writer = OpenOptions::new();
    writer.write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    eventually("the process opens the pipe", async || writer.open(&pipe).is_ok()).await;
    eventually("the process ends", async || waiting.0.try_wait().expect("its status").is_some()).await;
    let status = waiting.0.wait().expect("its status");
    assert!(status.code().is_some_and(|code| code != 0), "nothing is no bundle: {status}");
}
