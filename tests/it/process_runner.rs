//! A process that panics or fails goes on.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use be8::ledger::{Lead, Leads, LogError};
use be8::process::{Process, ProcessError, ProcessRunner};
use be8_database::Connector;
use tokio_util::sync::CancellationToken;

use crate::cluster::fresh_database;
use crate::patience::{eventually, within};
use crate::rig::Rig;

/// Panics at its first tick.
struct Clumsy(Arc<AtomicU32>);

#[async_trait]
impl Process for Clumsy {
    fn name(&self) -> &'static str {
        "clumsy"
    }

    async fn tick(&self, _: &mut Lead) -> Result<Duration, ProcessError> {
        assert_ne!(self.0.fetch_add(1, Ordering::SeqCst), 0, "a panic of the test");
        Ok(Duration::from_millis(10))
    }
}

#[tokio::test]
async fn a_process_that_panics_has_another_turn() {
    let database = fresh_database().await;
    let _rig = Rig::on(&database.url).await;
    let (ticks, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
    let leads = Leads::new(&Connector::from(database.options.clone()));
    let task = ProcessRunner::new(leads, stop.clone()).spawn(Clumsy(ticks.clone()));
    eventually("it has a third tick", async || ticks.load(Ordering::SeqCst) > 2).await;
    stop.cancel();
    within("its end", task).await.unwrap();
}

/// Fails at each tick.
struct Unlucky(Arc<AtomicU32>);

#[async_trait]
impl Process for Unlucky {
    fn name(&self) -> &'static str {
        "unlucky"
    }

    async fn tick(&self, _: &mut Lead) -> Result<Duration, ProcessError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(LogError::Clock.into())
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_fails_at_each_turn_is_logged_once_a_minute() {
    let database = fresh_database().await;
    let _rig = Rig::on(&database.url).await;
    let lines = Lines::default();
    let shared = lines.clone();
    // The runtime of this test has one thread.
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || shared.clone()).finish();
    let _logged = tracing::subscriber::set_default(log);
    let (ticks, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
    let leads = Leads::new(&Connector::from(database.options.clone()));
    let task = ProcessRunner::new(leads, stop.clone()).spawn(Unlucky(ticks.clone()));
    eventually("it has a third tick", async || ticks.load(Ordering::SeqCst) > 2).await;
    stop.cancel();
    within("its end", task).await.unwrap();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let said: Vec<_> = text.lines().filter(|line| line.contains("gave up its turn")).collect();
    assert_eq!(said.len(), 1, "{text}");
    assert!(said[0].contains("WARN") && said[0].contains("count=1"), "{text}");
}
