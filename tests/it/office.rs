//! A process that panics goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use be8::ledger::{Lead, Leads};
use be8::process::{Office, Process, ProcessError};
use be8_database::Connector;
use tokio_util::sync::CancellationToken;

use crate::cluster::fresh_database;
use crate::patience::{eventually, within};
use crate::rig::Rig;

/// Panics at its first turn.
struct Clumsy(Arc<AtomicU32>);

#[async_trait]
impl Process for Clumsy {
    fn name(&self) -> &'static str {
        "clumsy"
    }

    async fn turn(&self, _: &mut Lead) -> Result<Duration, ProcessError> {
        assert_ne!(self.0.fetch_add(1, Ordering::SeqCst), 0, "a panic of the test");
        Ok(Duration::from_millis(10))
    }
}

#[tokio::test]
async fn a_process_that_panics_has_another_turn() {
    let database = fresh_database().await;
    let _rig = Rig::on(&database.url).await;
    let (turns, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
    let leads = Leads::new(&Connector::from(database.options.clone()));
    let task = Office::new(leads, stop.clone()).appoint(Clumsy(turns.clone()));
    eventually("it has a third turn", async || turns.load(Ordering::SeqCst) > 2).await;
    stop.cancel();
    within("its end", task).await.unwrap();
}
