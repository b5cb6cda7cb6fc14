//! The real server: the program `be8 serve` in a process of its own, started, watched, killed and started again.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::PgConnection;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::client::{Answer, Client};
use crate::cluster::{Database, fresh_database, passable_directory};
use crate::library::take_lead;
use crate::patience::{eventually, within};

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Setup {
    database_url: Option<String>,
    files: Arc<TempDir>,
    address: SocketAddr,
    flags: Vec<String>,
    variables: Vec<(&'static str, String)>,
    name: &'static str,
    /// Whether hours strike while it runs, and not only at its start.
    hours: bool,
}

/// A running server. It ends with this value, and with this process however that ends.
#[derive(Debug)]
pub struct Server {
    setup: Setup,
    process: Child,
    // A reader that closes the pipe makes the server's next print fail.
    _printed: Lines<BufReader<ChildStdout>>,
    guard: Child,
    /// The lead of the hours, which its node would have.
    _hours: Option<PgConnection>,
}

impl Setup {
    /// A server on this database, with files of its own.
    pub fn on(database: &Database) -> Self {
        Self { database_url: Some(database.url.clone()), ..Self::without_database() }
    }

    /// A server that runs a PostgreSQL of its own.
    pub fn without_database() -> Self {
        Self {
            database_url: None,
            files: Arc::new(passable_directory()),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            flags: Vec::new(),
            variables: Vec::new(),
            name: "a",
            hours: false,
        }
    }

    /// With hours that strike while it runs. Otherwise one strikes at its start alone, so that what a test counts does not
    /// hang on what time it is.
    #[must_use]
    pub const fn with_hours(mut self) -> Self {
        self.hours = true;
        self
    }

    /// With a flag more.
    #[must_use]
    pub fn with(mut self, flag: &str, value: impl ToString) -> Self {
        self.flags.extend([format!("--{flag}"), value.to_string()]);
        self
    }

    /// With a variable in its environment.
    #[must_use]
    pub fn with_variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// With a flag more that names a file of this content.
    #[must_use]
    pub fn with_file(self, flag: &str, content: &str) -> Self {
        let path = self.file(flag);
        fs::write(&path, content).expect("a file for a flag");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
        self.with(flag, path.display())
    }

    /// Where the file of such a flag lies.
    pub fn file(&self, flag: &str) -> PathBuf {
        self.files.path().join(flag)
    }

    /// Runs a sub-command beside the server; answers whether it succeeded, and what it printed on both ways.
    pub async fn command(&self, arguments: &[&str], input: &str) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
        command.env_clear().args(arguments).args(["--data-dir"]).arg(self.files.path());
        command.args(["--database-url", self.database_url()]).arg("--master-key-file").arg(self.master_key());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("a process");
        let mut stdin = process.stdin.take().expect("its input");
        // One that reads nothing may be gone already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = within("the end of a command", process.wait_with_output()).await.expect("its output");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// Through another address of the same database.
    #[must_use]
    pub fn through(mut self, database_url: String) -> Self {
        self.database_url = Some(database_url);
        // What goes through there is that of the server.
        self.hours = true;
        self
    }

    /// A second node on the same database: same master key, another log.
    #[must_use]
    pub fn second(&self) -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), name: "b", ..self.clone() }
    }

    /// With this name, which distinguishes its log and its files from those of others.
    #[must_use]
    pub const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// At this address.
    #[must_use]
    pub fn listening_on(mut self, address: &str) -> Self {
        self.address = address.parse().expect("an address");
        self
    }

    /// At an address that is free and known before the start.
    #[must_use]
    pub fn at_a_known_address(mut self) -> Self {
        let listener = TcpListener::bind(self.address).expect("a free port");
        self.address = listener.local_addr().expect("its address");
        self
    }

    /// Where it will listen, or does.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The database.
    pub fn database_url(&self) -> &str {
        self.database_url.as_deref().expect("a database that it was given")
    }

    /// The file of the key that opens the vault.
    pub fn master_key(&self) -> PathBuf {
        self.files.path().join("master.key")
    }

    /// Where it keeps its files.
    pub fn data_dir(&self) -> PathBuf {
        self.files.path().join(self.name)
    }

    /// The file of the key that signs the transparency log.
    pub fn audit_key(&self) -> PathBuf {
        self.files.path().join("audit.key")
    }

    fn log_file(&self) -> PathBuf {
        self.files.path().join(format!("{}.log", self.name))
    }

    /// All that servers with this setup have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Brings the schema of the database up to date without serving.
    pub async fn migrate(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
        command
            .env_clear()
            .args(["migrate", "--database-url", self.database_url(), "--data-dir"])
            .arg(self.files.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let status = within("the migration", command.status()).await.expect("its status");
        assert!(status.success(), "the migration failed: {status}");
    }

    /// Starts the process without waiting until it serves.
    pub fn launch(&self) -> (Child, Lines<BufReader<ChildStdout>>) {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("the server's log");
        self.launch_logging(log.into())
    }

    /// Starts the process, with another place for its log.
    pub fn launch_logging(&self, log: Stdio) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
        // Nothing of the developer's environment has a say.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.variables.iter().cloned());
        command.args(["serve", "--listen", &self.address.to_string()]);
        command.args(self.database_url.iter().flat_map(|url| ["--database-url", url]));
        command.arg("--data-dir").arg(self.data_dir());
        command.arg("--master-key-file").arg(self.master_key());
        // Password hashing is not what is tested: as cheap as it can be.
        command.args(["--test-mode", "true", "--hash-memory-kib", "64"]);
        if !self.flags.iter().any(|flag| flag == "--hash-passes") {
            command.args(["--hash-passes", "1"]);
        }
        command.args(&self.flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut process = command.spawn().expect("the server's process");
        let printed = BufReader::new(process.stdout.take().expect("its output")).lines();
        (process, printed)
    }

    /// Starts a server and waits until it is ready.
    pub async fn start(self) -> Server {
        let server = self.start_unready().await;
        eventually("the server is ready", async || server.get("/readyz").await.status == 200).await;
        // A new log gets its first commitment to the map of histories, an event that nobody asked for: what is counted is
        // counted after it. Where no checkpoint can be signed, as in some tests of faults, nobody waits for longer.
        let first = async {
            while server.get("/audit/log/checkpoint").await.status == 503 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(8), first).await;
        server
    }

    /// Starts a server and waits until it serves; it may speak https.
    pub async fn start_unready(mut self) -> Server {
        let hours = match &self.database_url {
            Some(url) if !self.hours => take_lead(url, "hours").await,
            _ => None,
        };
        let (process, mut printed) = self.launch();
        let guard = guard(&process);
        let address = within("the start of the server", async {
            while let Some(line) = printed.next_line().await.expect("text of the server") {
                if let Some((_, url)) = line.split_once("listening     ") {
                    return url.split_once("://").map(|(_, address)| address.to_owned());
                }
            }
            None
        })
        .await;
        let Some(address) = address else { panic!("the server did not start:\n{}", self.log()) };
        self.address = address.parse().expect("the address that it listens on");
        Server { setup: self, process, _printed: printed, guard, _hours: hours }
    }
}

/// Asks a process to stop.
pub fn terminate(process: &Child) {
    let pid = Pid::from_raw(process.id().expect("it runs").cast_signed()).expect("a process id");
    kill_process(pid, Signal::TERM).expect("a signal");
}

/// Starts a process that kills the server when this process is gone.
fn guard(server: &Child) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", r#"read -r _; kill -9 "$1""#, "guard"]).arg(server.id().expect("it runs").to_string());
    // Ctrl-C in a terminal is not for it.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("a shell")
}

impl Server {
    /// A server on a new, empty database.
    pub async fn start() -> Self {
        Setup::on(&fresh_database().await).start().await
    }

    /// How it was started, with the address that it listens on.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Its address.
    pub fn url(&self) -> String {
        self.setup.url()
    }

    /// A client without a session.
    pub fn client(&self) -> Client {
        Client::new(&self.url())
    }

    /// What it answers to a stranger.
    pub async fn get(&self, path: &str) -> Answer {
        self.client().get(path).await
    }

    /// What it answers to a stranger.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.client().post(path, body).await
    }

    /// One of its measurements, the sum over all labels; 0 while it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(name)).then(|| value.parse::<f64>().expect("a number"))
        });
        values.sum()
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().expect("it runs").cast_signed()).expect("a process id")
    }

    /// Kills it without a word, and waits until it is gone.
    pub async fn kill(mut self) -> Setup {
        self.guard.kill().await.expect("the guard ends");
        self.process.kill().await.expect("the server dies");
        self.setup.clone()
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).expect("a signal");
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> (Setup, ExitStatus) {
        self.guard.kill().await.expect("the guard ends");
        let status = within("the end of the server", self.process.wait()).await.expect("its status");
        (self.setup.clone(), status)
    }
}

/// Two nodes on one new, empty database.
pub async fn two_nodes() -> (Server, Server) {
    let first = Server::start().await;
    let second = first.setup().second().start().await;
    (first, second)
}

/// What another command of the program said.
#[derive(Debug)]
pub struct Said {
    /// It succeeded.
    pub success: bool,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Setup {
    /// Runs a command of the program with the settings of this server, beside it.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        within("the end of a command", self.run_for_long(arguments)).await
    }

    /// The same for a command that may take long.
    pub async fn run_for_long(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
        command.env_clear().args(arguments);
        command.args(self.database_url.iter().flat_map(|url| ["--database-url", url]));
        command.arg("--data-dir").arg(self.files.path().join(self.name));
        command.arg("--master-key-file").arg(self.master_key());
        command.args(["--test-mode", "true"]).args(&self.flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = command.output().await.expect("its output");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { success: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}
