//! The end of accounts: removed by their owners, by the operator or at their time, with all that hangs on them.

mod attempts;
mod erased;
mod expiry;
mod guard;
mod keyholders;
mod load;
mod operator;
pub mod races;
mod route;

use std::path::PathBuf;

use chrono::TimeDelta;
use tempfile::TempDir;

use crate::client::{Answer, Person};
use crate::cluster::fresh_database;
use crate::server::{Server, Setup};

impl Person {
    /// Removes the account.
    pub async fn destroys_account(&self) -> Answer {
        self.client.get("/destroyacc").await
    }

    /// Removes the account, which must work.
    pub async fn vanishes(&self) {
        let answer = self.destroys_account().await;
        assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"valid":true}"#));
    }
}

/// The clock of servers, in a file.
struct Hands {
    directory: TempDir,
}

impl Hands {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }

    /// Moves the clock of the servers this far ahead of the time.
    fn ahead(&self, by: TimeDelta) {
        crate::clock::turn(&self.file(), by.num_seconds());
    }

    /// A server with this clock, and an operator.
    async fn server(&self) -> Server {
        let setup = Setup::on(&fresh_database().await).with("test-clock-file", self.file().display());
        setup.start().await
    }
}
