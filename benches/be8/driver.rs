//! The driver: keep-alive HTTP/1.1 connections that each send one prepared request after the
//! other, on one thread, doing as little as possible: it shares the processors with the server.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::closed_loop::{Laps, Window};

/// Prepared requests: connections walk through them, each from a place of its own.
pub type Requests = Arc<[Box<[u8]>]>;

/// A request as it goes over the wire.
pub fn request(method: &str, path: &str, cookie: &str, body: &str) -> Box<[u8]> {
    let body = match body {
        "" => String::new(),
        json => format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len()),
    };
    let end = if body.is_empty() { "\r\n" } else { "" };
    format!("{method} {path} HTTP/1.1\r\nhost: be8\r\ncookie: {cookie}\r\n{body}{end}").into_bytes().into()
}

/// Sends the requests over so many connections for the time of the window.
pub async fn drive(address: SocketAddr, connections: usize, requests: Requests, window: Window) -> Laps {
    let (done, laps) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let laps = runtime.block_on(async {
            let mut workers = JoinSet::new();
            for nth in 0..connections {
                let from = nth * requests.len() / connections;
                workers.spawn(walk(address, requests.clone(), from, window));
            }
            Laps::of_all(workers).await
        });
        // Nobody waits only if the benchmark is failing anyway.
        let _ = done.send(laps);
    });
    laps.await.expect("the driver")
}

/// One answer, without measuring it.
pub async fn ask(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut connection = Connection::open(address).await;
    connection.exchange(request).await;
    let (head, length) = head(&connection.buffer).expect("a whole answer");
    connection.buffer[head..head + length].to_vec()
}

/// Sends each request once, over so many connections.
pub async fn send_all(address: SocketAddr, connections: usize, requests: &Requests) {
    let mut workers = JoinSet::new();
    for nth in 0..connections {
        let requests = requests.clone();
        workers.spawn(async move {
            let mut connection = Connection::open(address).await;
            for request in requests.iter().skip(nth).step_by(connections) {
                connection.exchange(request).await;
            }
        });
    }
    workers.join_all().await;
}

/// Whether the server answers yes already.
pub async fn says_yes(address: SocketAddr, request: &[u8]) -> bool {
    let mut connection = Connection::open(address).await;
    connection.receive(request).await;
    connection.buffer.starts_with(b"HTTP/1.1 200 ")
}

async fn walk(address: SocketAddr, requests: Requests, from: usize, window: Window) -> Laps {
    let connection = tokio::sync::Mutex::new((Connection::open(address).await, from));
    Laps::walk(window, || async {
        // Never waited for: a worker does one thing at a time.
        let (connection, at) = &mut *connection.lock().await;
        connection.exchange(&requests[*at % requests.len()]).await;
        *at += 1;
    })
    .await
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server takes connections");
        stream.set_nodelay(true).expect("a socket without delay");
        Self { stream, buffer: Vec::with_capacity(1 << 17) }
    }

    /// Sends a request and reads the answer, which must say yes.
    async fn exchange(&mut self, request: &[u8]) {
        let (head, length) = self.receive(request).await;
        let (ok, body) = (self.buffer.starts_with(b"HTTP/1.1 200 "), &self.buffer[head..head + length]);
        assert!(ok && body.starts_with(br#"{"valid":true"#), "{}", String::from_utf8_lossy(&self.buffer));
    }

    /// Sends a request and reads the answer; answers where its body begins and how long it is.
    async fn receive(&mut self, request: &[u8]) -> (usize, usize) {
        self.stream.write_all(request).await.expect("the server reads");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            if let Some((head, length)) = head(&self.buffer)
                && self.buffer.len() >= head + length
            {
                return (head, length);
            }
        }
    }
}

/// Where the body begins and how long it is, once all headers are there.
fn head(answer: &[u8]) -> Option<(usize, usize)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let mut lines = answer[..end].split(|byte| *byte == b'\n');
    let length = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        let digits = name.eq_ignore_ascii_case(b"content-length:").then_some(value)?;
        std::str::from_utf8(digits).ok()?.trim().parse().ok()
    });
    Some((end + 4, length.expect("answers say how long they are")))
}
