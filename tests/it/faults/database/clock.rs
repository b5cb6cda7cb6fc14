//! PostgreSQL's clock is wrong and the server's is not: the server's is what counts.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use sqlx::PgPool;
use tempfile::TempDir;

use crate::client::{Person, two_people};
use crate::cluster::passable_directory;
use crate::faults::clocks::LIBFAKETIME;
use crate::faults::sound_log;
use crate::patience::eventually;
use crate::server::{Server, Setup};

/// Where Debian has PostgreSQL.
const INSTALLED: &str = "/usr/lib/postgresql";

/// Programs of PostgreSQL whose server has a clock that can be set.
struct Programs(TempDir);

impl Programs {
    /// None without libfaketime or Debian's PostgreSQL.
    fn new() -> Option<Self> {
        let installed = fs::read_dir(INSTALLED).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
        let newest = installed.filter(|bin| bin.join("postgres").exists()).max();
        let Some(real) = newest.filter(|_| Path::new(LIBFAKETIME).exists()) else {
            eprintln!("not tried: libfaketime or Debian's PostgreSQL is not installed");
            return None;
        };
        let programs = Self(passable_directory());
        programs.set("+0");
        for entry in fs::read_dir(&real).unwrap().flatten().filter(|entry| entry.file_name() != "postgres") {
            symlink(entry.path(), programs.0.path().join(entry.file_name())).unwrap();
        }
        // The server gives its PostgreSQL an environment of its own.
        let (script, dial) = (programs.0.path().join("postgres"), programs.dial());
        let text = format!(
            "#!/bin/sh\nexport LD_PRELOAD={LIBFAKETIME} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 \
             DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1\nexec {}/postgres \"$@\"\n",
            dial.display(),
            real.display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        Some(programs)
    }

    fn dial(&self) -> PathBuf {
        self.0.path().join("dial")
    }

    /// Sets PostgreSQL's clock so far ahead of the right time, or behind it.
    fn set(&self, offset: &str) {
        let new = self.dial().with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o644)).unwrap();
        fs::rename(&new, self.dial()).unwrap();
    }
}

async fn connect(server: &Server) -> PgPool {
    let socket = server.setup().data_dir().join("postgres/socket");
    PgPool::connect(&format!("postgres:///be8?host={}&port=5432&user=be8", socket.display())).await.unwrap()
}

/// By how many seconds PostgreSQL's clock is ahead of the right time.
async fn ahead(pool: &PgPool) -> i64 {
    let shows: i64 =
        sqlx::query_scalar("select extract(epoch from clock_timestamp())::bigint").fetch_one(pool).await.unwrap();
    shows - chrono::Utc::now().timestamp()
}

/// Waits until the server has nothing to say of clocks.
async fn all_well(server: &Server) {
    eventually("the clocks agree", async || server.get("/readyz").await.text == r#"{"status":"ok"}"#).await;
}

#[tokio::test]
async fn a_wrong_clock_of_postgresql_alone_stops_no_write_and_ends_nothing() {
    let Some(programs) = Programs::new() else { return };
    let mut server = Setup::without_database().with("pg-bin", programs.0.path().display()).start().await;
    let (mut alice, mut bob, thread) = two_people(&server).await;
    let mut written = 1;
    for wrong in [20, -20, 7200, -7200, 40 * 86_400, -40 * 86_400] {
        let pool = connect(&server).await;
        programs.set(&format!("{wrong:+}"));
        eventually("it is wrong", async || (ahead(&pool).await - wrong).abs() < 5).await;
        pool.close().await;
        if wrong < 0 {
            let said = async || server.get("/readyz").await;
            eventually("it is noticed", async || said().await.text.contains("PostgreSQL's clock was set back")).await;
            assert_eq!(said().await.status, 200);
        }
        for _ in 0..2 {
            written += 1;
            assert_eq!(alice.write(&thread, &bob, "while it is wrong").await, written, "{wrong}");
            Person::sign_up(&server, "Carol").await;
            for person in [&alice, &bob] {
                assert_eq!(person.client.get("/me").await.status, 200);
            }
            // And after a restart, at which nobody has seen the clock move.
            server = server.kill().await.start().await;
            (alice, bob) = (alice.at(&server), bob.at(&server));
        }
        programs.set("+0");
        all_well(&server).await;
        written += 1;
        assert_eq!(alice.write(&thread, &bob, "right again").await, written, "{wrong}");
        assert_eq!(server.metric("be8_accounts_removed_total").await, 0.0);
    }
    assert_eq!(bob.messages(&thread).await.len(), written as usize);
    // Events have the time of the server's clock, the right one.
    let log = sound_log(&connect(&server).await).await;
    let newest = log.last().unwrap().time.to_utc();
    assert!((chrono::Utc::now() - newest).num_seconds().abs() < 60, "{newest}");
    let checked = server.setup().run(&["check"]).await;
    assert!(checked.success, "{}{}", checked.out, checked.err);
}
