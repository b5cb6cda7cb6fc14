//! What is asked over HTTP, and for floor 3 the parameters of the same.

use std::sync::Arc;

use be8_events::{Hash32, ThreadId};
use serde_json::json;

use crate::community::Communities;
use crate::data::{Data, Member};
use crate::driver::{Requests, packed, request};
use crate::groups::Group;

/// Threads that are read for the first time.
const FIRST: usize = 10_000;

/// Requests, by what they ask for.
pub struct Questions {
    /// Messages into many conversations.
    pub write_many: Requests,
    /// Messages into one.
    pub write_one: Requests,
    /// `/getthreads` of accounts with 20 threads.
    pub threads: Requests,
    /// The same, compressed.
    pub threads_packed: Requests,
    /// `/getmessages` of threads with 100 messages.
    pub messages: Requests,
    /// The same, compressed.
    pub messages_packed: Requests,
    /// `/groupgetmembers` of groups of 20.
    pub members: Requests,
    /// `/groupgetcurrentversion` of the same groups.
    pub version: Requests,
    /// `/me`.
    pub me: Requests,
    /// `/getkey`.
    pub key: Requests,
    /// `/insights`.
    pub insights: Requests,
    /// All that web clients send while their users talk.
    pub mix: Requests,
    /// The reads among them.
    pub mix_reads: Requests,
    /// The messages among them.
    pub mix_writes: Requests,
    /// `/getmessages` of threads into which nothing is written, each once.
    pub first_reads: Requests,
    /// Sessions, for the statement of `/getthreads`.
    pub threads_sql: Arc<[(Hash32, Option<i64>)]>,
    /// Sessions and threads, for the statement of `/getmessages`.
    pub messages_sql: Arc<[(Hash32, Option<i64>)]>,
}

impl Questions {
    /// About this data.
    pub fn new(data: &Data, groups: &[Group], communities: &Communities) -> Self {
        let written = data.written();
        let one = [0, 1].map(|by| data.message_request(&written[0], by));
        let threads: Requests =
            data.reading().map(|(reader, _)| request("GET", "/getthreads", &reader.cookie, "")).collect();
        let messages: Requests = data.reading().map(|(reader, thread)| messages_of(reader, thread)).collect();
        let first = data.unwritten().map(|it| messages_of(&data.members[it.members[0]], it.thread));
        let of_groups = |path| {
            let seats = groups.iter().flat_map(|group| group.members.iter().map(|member| (group.id, member)));
            seats.map(move |(id, member)| post(path, member, &json!({ "groupID": id.to_string() }))).collect()
        };
        let neighbours = data.members.iter().zip(data.members.iter().cycle().skip(1));
        Self {
            write_many: written.iter().enumerate().map(|(nth, it)| data.message_request(it, nth % 2)).collect(),
            // Each connection starts at a place of its own: half of them write for each side.
            write_one: one.into_iter().collect(),
            threads_packed: threads.iter().map(|request| packed(request)).collect(),
            threads,
            messages_packed: messages.iter().map(|request| packed(request)).collect(),
            messages,
            members: of_groups("/groupgetmembers"),
            version: of_groups("/groupgetcurrentversion"),
            me: data.members.iter().map(|member| request("GET", "/me", &member.cookie, "")).collect(),
            key: neighbours
                .map(|(member, next)| post("/getkey", member, &json!({ "accID": next.account.to_string() })))
                .collect(),
            insights: data.members.iter().map(|member| request("GET", "/insights", &member.cookie, "")).collect(),
            mix: communities.mix(),
            mix_reads: communities.reads(),
            mix_writes: communities.writes(),
            first_reads: first.take(FIRST).collect(),
            threads_sql: data.reading().map(|(reader, _)| (reader.session, None)).collect(),
            messages_sql: data.reading().map(|(reader, thread)| (reader.session, Some(thread.key()))).collect(),
        }
    }

    /// One question for each answer that is also given from memory, under the name of its path.
    pub fn recorded(&self) -> [(&'static str, &[u8]); 7] {
        [
            ("getthreads", &self.threads[0]),
            ("getmessages", &self.messages[0]),
            ("groupgetmembers", &self.members[0]),
            ("groupgetcurrentversion", &self.version[0]),
            ("me", &self.me[0]),
            ("getkey", &self.key[0]),
            ("insights", &self.insights[0]),
        ]
    }
}

fn messages_of(reader: &Member, thread: ThreadId) -> Box<[u8]> {
    post("/getmessages", reader, &json!({ "threadID": thread.to_string() }))
}

fn post(path: &str, member: &Member, body: &serde_json::Value) -> Box<[u8]> {
    request("POST", path, &member.cookie, &body.to_string())
}
