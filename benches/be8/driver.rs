//! The driver: keep-alive HTTP/1.1 connections that each send one prepared request after the
//! other, on one thread, doing as little as possible: it shares the processors with the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::closed_loop::{Laps, Window};

/// How what is compressed with gzip begins (RFC 1952, section 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];
/// Connections that send at a pace.
const PACED: u32 = 32;

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

/// The same, from a client that takes compressed answers, as browsers do.
pub fn packed(request: &[u8]) -> Box<[u8]> {
    let (line, rest) = request.split_at(request.iter().position(|byte| *byte == b'\n').expect("a line") + 1);
    [line, b"accept-encoding: gzip, deflate, br\r\n", rest].concat().into()
}

/// Sends the requests over so many connections for the time of the window.
pub async fn drive(address: SocketAddr, connections: usize, requests: Requests, window: Window) -> Laps {
    on_a_thread(async move {
        let mut workers = JoinSet::new();
        for nth in 0..connections {
            let from = nth * requests.len() / connections;
            workers.spawn(walk(address, requests.clone(), from, window));
        }
        Laps::of_all(workers).await
    })
    .await
}

/// Sends so many requests a second for the time of the window, late ones as soon as there is a connection for them. Answers how
/// many a second were answered in it.
pub async fn pace(address: SocketAddr, per_second: u32, requests: Requests, window: Window) -> f64 {
    on_a_thread(async move {
        let begin = tokio::time::Instant::now();
        let mut workers = JoinSet::new();
        for nth in 0..PACED {
            let requests = requests.clone();
            let from = nth as usize * requests.len() / PACED as usize;
            workers.spawn(async move {
                let mut connection = Connection::open(address).await;
                let period = Duration::from_secs(1) * PACED / per_second;
                let mut ticks = tokio::time::interval_at(begin + period * nth / PACED, period);
                let mut answered = 0;
                for request in requests.iter().cycle().skip(from) {
                    ticks.tick().await;
                    connection.exchange(request).await;
                    let at = begin.elapsed();
                    if at >= window.warm_up + window.measured {
                        break;
                    }
                    answered += u32::from(at >= window.warm_up);
                }
                answered
            });
        }
        f64::from(workers.join_all().await.into_iter().sum::<u32>()) / window.measured.as_secs_f64()
    })
    .await
}

/// Sends each request once, over so many connections, and times it; answers how long all took.
pub async fn first(address: SocketAddr, connections: usize, requests: Requests) -> (Laps, Duration) {
    on_a_thread(async move {
        let begin = Instant::now();
        let mut workers = JoinSet::new();
        for nth in 0..connections {
            let requests = requests.clone();
            workers.spawn(async move {
                let mut connection = Connection::open(address).await;
                let mut laps = Laps::default();
                for request in requests.iter().skip(nth).step_by(connections) {
                    let before = Instant::now();
                    connection.exchange(request).await;
                    laps.push(before.elapsed());
                }
                laps
            });
        }
        (Laps::of_all(workers).await, begin.elapsed())
    })
    .await
}

/// Drives on a thread of its own.
async fn on_a_thread<T: Send + 'static>(driving: impl Future<Output = T> + Send + 'static) -> T {
    let (done, driven) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Nobody waits only if the benchmark is failing anyway.
        let _ = done.send(runtime.block_on(driving));
    });
    driven.await.expect("the driver")
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

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server takes connections");
        stream.set_nodelay(true).expect("a socket without delay");
        Self { stream, buffer: Vec::with_capacity(1 << 17) }
    }

    /// Sends a request and reads the answer, which must say yes.
    pub async fn exchange(&mut self, request: &[u8]) {
        let (head, length) = self.receive(request).await;
        let (ok, body) = (self.buffer.starts_with(b"HTTP/1.1 200 "), &self.buffer[head..head + length]);
        let yes = body.starts_with(br#"{"valid":true"#) || body.starts_with(GZIP);
        assert!(ok && yes, "{}", String::from_utf8_lossy(&self.buffer));
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
