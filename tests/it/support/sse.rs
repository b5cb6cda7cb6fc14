//! Server-sent events as a browser reads them (HTML standard, section 9.2), and what else is on the wire.

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::header::{HOST, HeaderMap};
use hyper_util::rt::TokioIo;
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio_util::task::AbortOnDropHandle;

use crate::patience::within;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// What it says.
    pub data: Value,
}

/// What a stream holds: one block of lines, up to an empty one.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// An event.
    Event(Event),
    /// How long to wait before coming back, in milliseconds.
    Retry(u64),
    /// A comment: the server lives.
    Comment,
}

/// An open stream, over a connection of its own, which is closed with it.
pub struct EventStream {
    /// The status of the answer.
    pub status: u16,
    /// The headers of the answer.
    pub headers: HeaderMap,
    body: Incoming,
    buffer: Vec<u8>,
    _connection: AbortOnDropHandle<()>,
}

impl EventStream {
    /// Opens a stream; returns as soon as the headers are there.
    pub async fn open(request: RequestBuilder) -> Self {
        Self::over(request, TcpSocket::new_v4().expect("a socket")).await
    }

    /// Opens a stream of which the least fits into our end's buffer: what is not read soon waits at the server.
    pub async fn open_narrow(request: RequestBuilder) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(1).expect("the smallest buffer that there is");
        Self::over(request, socket).await
    }

    async fn over(request: RequestBuilder, socket: TcpSocket) -> Self {
        let asked = request.build().expect("a request");
        let address = asked.url().socket_addrs(|| None).expect("an address")[0];
        let stream = socket.connect(address).await.expect("a connection");
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("a connection");
        let connection = AbortOnDropHandle::new(tokio::spawn(async {
            // A server that was killed tears it: the reader notices that.
            let _ = connection.await;
        }));
        let url = asked.url();
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let mut request = Request::get(path).header(HOST, address.to_string());
        request.headers_mut().expect("a sound request").extend(asked.headers().clone());
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let response = within("the head of a stream", sender.send_request(request)).await.expect("an answer");
        let (head, body) = response.into_parts();
        Self { status: head.status.as_u16(), headers: head.headers, body, buffer: Vec::new(), _connection: connection }
    }

    /// The next block as text, without its end; none when the stream has ended.
    pub async fn next_text(&mut self) -> Option<String> {
        loop {
            // `retry:` and comments are single lines, and only events end with an empty one.
            let line = self.buffer.iter().position(|byte| *byte == b'\n');
            if let Some(end) = line.filter(|_| self.buffer.starts_with(b"retry:") || self.buffer.starts_with(b":")) {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8(line[..end].to_vec()).expect("a stream of UTF-8"));
            }
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8(block[..end].to_vec()).expect("a stream of UTF-8"));
            }
            match within("the next piece of a stream", self.body.frame()).await {
                Some(Ok(piece)) => self.buffer.extend(piece.into_data().expect("no trailers")),
                // A server that was killed tears the stream.
                None | Some(Err(_)) => return None,
            }
        }
    }

    /// The next block; none when the stream has ended.
    pub async fn next_block(&mut self) -> Option<Block> {
        let text = self.next_text().await?;
        let lines: Vec<&str> = text.lines().collect();
        Some(match lines[..] {
            [comment] if comment.starts_with(':') => Block::Comment,
            [retry] if retry.starts_with("retry: ") => Block::Retry(retry[7..].parse().expect("milliseconds")),
            [data, id] if id.starts_with("id: ") && data.starts_with("data: ") => {
                let data = serde_json::from_str(&data[6..]).expect("a line of JSON");
                Block::Event(Event { id: id[4..].to_owned(), data })
            }
            _ => panic!("neither event nor retry nor comment: {text:?}"),
        })
    }

    /// The next event; none when the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        // Comments may come without end.
        let event = async {
            loop {
                if let Block::Event(event) = self.next_block().await? {
                    return Some(event);
                }
            }
        };
        within("an event", event).await
    }

    /// The next event.
    pub async fn event(&mut self) -> Event {
        self.next().await.expect("an event, not the end of the stream")
    }

    /// The next events.
    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }

    /// The ids of the next events.
    pub async fn ids(&mut self, count: usize) -> Vec<String> {
        self.events(count).await.into_iter().map(|event| event.id).collect()
    }

    /// All that comes until the stream ends.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}
