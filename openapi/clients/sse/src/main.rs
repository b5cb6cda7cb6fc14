//! Each library of crates.io, as its documentation says, with what it needs to be set for this server.
//!
//! `be8-sse-clients LIBRARY` reads /events of `BE8_URL` with the cookie `BE8_COOKIE`, and prints each message as one line of
//! JSON: data and id.

use std::env;
use std::time::Duration;

use eventsource_client::{Client as _, ClientBuilder, SSE};
use futures_util::StreamExt as _;
use launchdarkly_sdk_transport::HyperTransport;
use reqwest_eventsource::{Event, EventSource};
use serde_json::json;
use sse_stream::SseStream;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn print(data: &str, id: Option<&str>) {
    println!("{}", json!({ "data": data, "id": id }));
}

/// Comes back by itself, at the end of the stream, too, as long as the stream of events is asked for more after an error.
async fn reqwest_eventsource(url: &str, cookie: &str) -> Result<()> {
    let mut source = EventSource::new(reqwest::Client::new().get(url).header("cookie", cookie))?;
    while let Some(event) = source.next().await {
        match event {
            Ok(Event::Open) => {}
            Ok(Event::Message(message)) => print(&message.data, Some(&message.id)),
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(())
}

/// The same.
async fn eventsource_client(url: &str, cookie: &str) -> Result<()> {
    let client = ClientBuilder::for_url(url)?.header("cookie", cookie)?;
    let client = client.build_with_transport(HyperTransport::builder().build_http()?);
    let mut stream = client.stream();
    while let Some(event) = stream.next().await {
        match event {
            Ok(SSE::Event(event)) => print(&event.data, event.id.as_deref()),
            Ok(_) => {}
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(())
}

/// Reads a body: coming back is one's own loop.
async fn sse_stream(url: &str, cookie: &str) -> Result<()> {
    let mut last = None::<String>;
    loop {
        let mut asked = reqwest::Client::new().get(url).header("cookie", cookie);
        if let Some(last) = &last {
            asked = asked.header("last-event-id", last);
        }
        if let Ok(answer) = asked.send().await {
            let mut events = SseStream::from_bytes_stream(answer.bytes_stream());
            while let Some(Ok(event)) = events.next().await {
                if let Some(data) = &event.data {
                    print(data, event.id.as_deref());
                }
                last = event.id.or(last);
            }
        }
        tokio::time::sleep(Duration::from_millis(2500)).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = format!("{}/events", env::var("BE8_URL")?);
    let cookie = env::var("BE8_COOKIE")?;
    match env::args().nth(1).as_deref() {
        Some("reqwest-eventsource") => reqwest_eventsource(&url, &cookie).await,
        Some("eventsource-client (Rust)") => eventsource_client(&url, &cookie).await,
        Some("sse-stream") => sse_stream(&url, &cookie).await,
        other => Err(format!("no library {other:?}").into()),
    }
}
