//! The processes that answer: the real server, and one that answers the same bytes from memory.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Endpoint, Request, Response, Server};

/// The variable that makes this program a server that answers from memory; its value is the
/// directory with the answers.
pub const MEMORY_SERVER: &str = "BE8_BENCH_MEMORY";

/// What a process says before its address.
const LISTENING: &str = "listening";

/// A process that answers; it ends with this value.
pub struct ServerProcess {
    child: Child,
    /// Where it answers.
    pub address: SocketAddr,
}

impl ServerProcess {
    /// The real server on a database of its own.
    pub fn be8(arguments: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_be8"));
        command.arg("serve").args(arguments);
        Self::start(command)
    }

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
