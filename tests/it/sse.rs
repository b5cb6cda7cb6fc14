//! Server-sent events as a browser reads them (HTML standard, section 9.2), and what else is on the wire.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::Value;

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

/// An open stream.
pub struct EventStream {
    /// The status of the answer.
    pub status: u16,
    /// The headers of the answer.
    pub headers: HeaderMap,
    pieces: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl EventStream {
    /// Opens a stream; returns as soon as the headers are there.
    pub async fn open(request: RequestBuilder) -> Self {
        let response = within("the head of a stream", request.send()).await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let pieces = response.bytes_stream().map(|piece| piece.map(|bytes| bytes.to_vec())).boxed();
        Self { status, headers, pieces, buffer: Vec::new() }
    }

    /// The next block as text, without the empty line at its end; none when the stream is over.
    async fn next_text(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8(block[..end].to_vec()).expect("a stream of UTF-8"));
            }
            match within("the next piece of a stream", self.pieces.next()).await {
                Some(Ok(piece)) => self.buffer.extend(piece),
                // A server that was killed tears the stream.
                None | Some(Err(_)) => return None,
            }
        }
    }

    /// The next block; none when the stream is over.
    pub async fn next_block(&mut self) -> Option<Block> {
        let text = self.next_text().await?;
        let lines: Vec<&str> = text.lines().collect();
        Some(match lines[..] {
            [comment] if comment.starts_with(':') => Block::Comment,
            [retry] if retry.starts_with("retry: ") => Block::Retry(retry[7..].parse().expect("milliseconds")),
            [id, data] if id.starts_with("id: ") && data.starts_with("data: ") => {
                let data = serde_json::from_str(&data[6..]).expect("a line of JSON");
                Block::Event(Event { id: id[4..].to_owned(), data })
            }
            _ => panic!("neither event nor retry nor comment: {text:?}"),
        })
    }

    /// The next event; none when the stream is over.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Block::Event(event) = self.next_block().await? {
                return Some(event);
            }
        }
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

    /// All that comes until the stream is over.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}
