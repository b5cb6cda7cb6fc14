//! The program `be8` as a command: what it prints and how it ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::patience::within;

/// The command line on one database.
#[derive(Debug, Clone)]
pub struct Program {
    url: String,
    master_key: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// What it printed; it must have gone well.
    pub fn fine(self) -> String {
        assert!(self.ok, "{}{}", self.out, self.err);
        self.out
    }

    /// What it complained of; it must have failed.
    pub fn complaint(self) -> String {
        assert!(!self.ok, "{}", self.out);
        self.err
    }
}

impl Program {
    pub fn on(url: &str, master_key: &Path) -> Self {
        Self { url: url.to_owned(), master_key: master_key.to_owned() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
        command.env_clear().args(arguments).args(["--database-url", &self.url]).arg("--data-dir");
        command.arg(self.master_key.parent().expect("a directory")).arg("--master-key-file").arg(&self.master_key);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Begins to run it.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program")
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        Self::ended(self.spawn(arguments)).await
    }

    /// Runs it with this text as its input.
    pub async fn fed(&self, arguments: &[&str], input: &[u8]) -> Ran {
        use tokio::io::AsyncWriteExt as _;
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("the program");
        let mut pipe = child.stdin.take().expect("its input");
        // It may end before it has read all.
        let feed = async move { _ = pipe.write_all(input).await };
        tokio::join!(feed, Self::ended(child)).1
    }

    /// Waits for its end.
    pub async fn ended(child: Child) -> Ran {
        let output = within("the end of a command", child.wait_with_output()).await.expect("its output");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ran { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }
}
