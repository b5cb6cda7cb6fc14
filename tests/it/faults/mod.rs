//! Load and faults: many at once, several nodes, and everything that can die in the middle of an append.

mod clocks;
mod concurrency;
mod database;
mod erasure;
mod forks;
mod guards;
mod kills;
mod nodes;
mod outcome;
mod overload;
pub mod proxy;

use be8::ledger::Log;
use be8_events::{Event, MessageEvent, Position, Recorded};
use sqlx::PgPool;

use crate::client::Person;
use crate::server::Server;

/// The whole log, after checking what holds for every log: positions without gap, versions without gap in each stream,
/// times that never fall.
pub async fn sound_log(pool: &PgPool) -> Vec<Recorded> {
    let events = Log::new(pool.clone()).read_all(Position::START, u32::MAX).await.expect("the log");
    let mut versions = std::collections::HashMap::new();
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.position.0, index as i64 + 1);
        let version = versions.entry(event.stream).or_insert(0);
        *version += 1;
        assert_eq!(event.version, *version, "{} at {}", event.stream, event.position);
        assert!(index == 0 || events[index - 1].time <= event.time, "times fall at {}", event.position);
    }
    events
}

/// The numbers of the messages of a log's threads, in its order, by thread.
fn numbers(log: &[Recorded], thread: &str) -> Vec<u32> {
    let written = log.iter().filter_map(|recorded| match &recorded.event {
        Event::Message(MessageEvent::MessageWritten(e)) if e.thread.to_string() == thread => Some(e.id),
        _ => None,
    });
    written.collect()
}

/// Two people and their conversation.
#[derive(Clone)]
struct Pair {
    from: Person,
    to: Person,
    thread: String,
}

impl Pair {
    /// This many pairs.
    async fn many(server: &Server, count: usize) -> Vec<Self> {
        let pairs = (0..count).map(async |_| {
            let (from, to, thread) = crate::client::two_people(server).await;
            Self { from, to, thread }
        });
        futures_util::future::join_all(pairs).await
    }

    /// The texts of the conversation as the receiver is shown them at this server.
    async fn texts(&self, server: &Server) -> Vec<String> {
        let messages = self.to.at(server).messages(&self.thread).await;
        let texts = messages.iter().filter(|message| message["messageType"] == "text");
        texts.map(|message| message["text"].as_str().expect("text").to_owned()).collect()
    }
}
