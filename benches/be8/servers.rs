//! The processes that answer: the real server, and one that answers the same bytes from memory.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Endpoint, Request, Response, Server};

/// The variable that makes this program a server that answers from memory; its value is the
/// directory with the answers.
pub const MEMORY_SERVER: &str = "BE8_BENCH_MEMORY";

/// What a process says before its address.
const LISTENING: &str = "listening";

/// Flags with their values.
pub type Flags = Vec<(&'static str, String)>;

/// A build of be8: its program, and what that says of its settings.
pub struct Build {
    program: PathBuf,
    help: String,
}

impl Build {
    /// This one.
    pub fn this() -> Self {
        Self::at(env!("CARGO_BIN_EXE_be8").into())
    }

    /// Another one.
    pub fn at(program: PathBuf) -> Self {
        let out = Command::new(&program).args(["serve", "--help"]).output();
        let out = out.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        assert!(out.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&out.stderr));
        Self { program, help: String::from_utf8(out.stdout).expect("a text") }
    }

    /// A server; settings that this build does not know are left out.
    pub fn serve(&self, flags: &Flags) -> ServerProcess {
        ServerProcess::start(self.command(&["serve"], flags))
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str], flags: &Flags) {
        let status = self.command(words, flags).status().expect("a process");
        assert!(status.success(), "{} {words:?}: {status}", self.program.display());
    }

    fn command(&self, words: &[&str], flags: &Flags) -> Command {
        let known = flags.iter().filter(|(flag, _)| self.help.contains(&format!("{flag} ")));
        let mut command = Command::new(&self.program);
        command.args(words).args(known.flat_map(|(flag, value)| [*flag, value]));
        command
    }
}

/// A process that answers; it ends with this value.
pub struct ServerProcess {
    child: Child,
    /// Where it answers.
    pub address: SocketAddr,
}

impl ServerProcess {
    /// The server that answers with the files of a directory.
    pub fn memory(directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
        command.env(MEMORY_SERVER, directory);
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let out = child.stdout.take().expect("its output");
        let mut lines = BufReader::new(out).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let address = line.trim().strip_prefix(LISTENING)?.trim();
            address.strip_prefix("http://")?.parse().ok()
        });
        // The pipe stays open, so that the process may say more.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("the process says where it listens") }
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in MiB, proc_pid_status(5).
    pub fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the state of a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers every path with the file of its name, read once, until the process is ended.
pub fn serve_from_memory(directory: &Path) {
    let answers = std::fs::read_dir(directory).expect("the answers").flatten().map(|file| {
        let path = format!("/{}", file.file_name().to_string_lossy());
        (path, std::fs::read(file.path()).expect("an answer"))
    });
    let routes = FromMemory { answers: answers.collect() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a port");
        let address = *acceptor.local_addr()[0].as_socket_addr().expect("an address");
        println!("{LISTENING} http://{address}");
        Server::new_with_acceptor(acceptor).run(routes).await.expect("the listener goes on");
    });
}

struct FromMemory {
    answers: std::collections::HashMap<String, Vec<u8>>,
}

impl Endpoint for FromMemory {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let answer = self.answers.get(request.uri().path()).cloned().unwrap_or_default();
        Ok(Response::builder().content_type("application/json; charset=utf-8").body(answer))
    }
}
