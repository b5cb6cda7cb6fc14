//! Random commands, and after each step the same reads at two nodes with views and at one without: byte for byte equal.
//!
//! `BE8_LONG_VIEWS=N` makes the test N times as long, with other seeds.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use be8_events::{AccId, Event, GroupId, Position, ReadsEvent, ThreadId};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng};
use serde_json::{Value, json};

use super::{NORMAL, SMALL, TINY};
use crate::client::Client;
use crate::clock::turn;
use crate::cluster::fresh_database;
use crate::rig::{Rig, secret};
use crate::server::{Server, Setup};
use crate::storm::Storm;

/// Two nodes with views and one without, and those who write beside them.
struct Trio {
    rig: Rig,
    storm: Storm,
    /// The last one has no views.
    servers: [Server; 3],
    clients: [Client; 3],
    random: SmallRng,
    clock: std::path::PathBuf,
    /// How far the clock of the servers is ahead.
    ahead: i64,
    compared: u32,
}

impl Trio {
    async fn new(size: &str, seed: u64) -> Self {
        let database = fresh_database().await;
        let rig = Rig::on(&database.url).await;
        let storm = Storm::new(&rig, seed).await;
        let setup = Setup::on(&database).with("vault-rotation-hours", "off").with_file("test-clock-file", "0");
        let setup = setup.with("limit-address", "off").with("limit-account", "off");
        std::fs::copy(rig.master_key(), setup.master_key()).unwrap();
        let clock = setup.file("test-clock-file");
        let viewing = setup.clone().with("test-views", size);
        let one = viewing.clone().start().await;
        let two = viewing.second().start().await;
        let without = setup.named("c").with("views", "off").start().await;
        let servers = [one, two, without];
        let clients = [0, 1, 2].map(|nth| servers[nth].client());
        let random = SmallRng::seed_from_u64(seed);
        Self { rig, storm, servers, clients, random, clock, ahead: 0, compared: 0 }
    }

    /// The client of a session at a node.
    fn client(&self, node: usize, session: u64) -> Client {
        self.clients[node].with_cookie(&format!("be8={}", URL_SAFE_NO_PAD.encode(secret(session))))
    }

    /// Something that is written through one of the servers, so that it follows its own log, too.
    async fn write(&mut self) {
        let sessions = self.storm.sessions();
        for _ in 0..3 {
            let node = self.random.random_range(0..3);
            let session = self.random.random_range(1..=sessions);
            let me = 10_000 + session;
            let client = self.client(node, session);
            let threads = client.get("/getthreads").await;
            if threads.status != 200 {
                continue;
            }
            let threads = threads.json()["threads"].as_array().cloned().unwrap_or_default();
            let thread = threads.choose(&mut self.random).map_or(Value::Null, |thread| thread["threadID"].clone());
            let partner =
                threads.iter().find(|other| other["threadID"] == thread).map(|other| other["partner"].clone());
            let group = json!({ "groupID": thread });
            let (path, body) = match self.random.random_range(0..12) {
                0..7 => {
                    let text = format!("text {} \"<&>\u{1f9a2}\u{7}", self.random.random::<u16>());
                    let body = json!({ "receiver": partner, "sender": me.to_string(), "threadID": thread,
                        "messageType": "text", "text": text, "iv": "an iv", "type": "user", "endless": false });
                    ("/writemessage", body)
                }
                7 => ("/changenickname", json!({ "newNickname": format!("<Nick> {}", self.random.random::<u8>()) })),
                8 => ("/userstatusset", json!({ "userStatus": format!("status {}", self.random.random::<u8>()) })),
                9 => ("/groupleavemember", group),
                10 => ("/groupincreaseversion", group),
                _ => ("/groupjoinmember", group),
            };
            let answer = client.post(path, &body).await;
            assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.text);
        }
    }

    /// What somebody may read.
    fn reads(&mut self, session: u64) -> Vec<(&'static str, Option<Value>)> {
        let me = 10_000 + session as i64;
        let sessions = self.storm.sessions() as i64;
        let account = |random: &mut SmallRng| (10_000 + random.random_range(0..sessions + 2)).to_string();
        let random = &mut self.random;
        let mut reads = vec![("/me", None), ("/getthreads", None), ("/codehas", None), ("/insights", None)];
        let keys: Vec<String> = (0..random.random_range(1..4)).map(|_| account(random)).collect();
        reads.push(("/getkey", Some(json!({ "accID": account(random) }))));
        reads.push(("/getkeys", Some(json!({ "accIDs": keys }))));
        let mut groups: Vec<GroupId> = self.storm.groups().collect();
        groups.extend(GroupId::new(99_999));
        for _ in 0..3 {
            let Some(group) = groups.choose(random).copied() else { continue };
            let named = json!({ "groupID": group.to_string() });
            reads.push(("/groupgetmembers", Some(named.clone())));
            reads.push(("/groupgetcurrentversion", Some(named)));
            let of = if random.random_bool(0.5) { me.to_string() } else { account(random) };
            reads.push(("/groupgetkeys", Some(json!({ "groupID": group.to_string(), "accID": of }))));
            let own = if random.random_bool(0.3) { format!("{me}:{group}") } else { group.to_string() };
            reads.push(("/getmessages", Some(json!({ "threadID": own }))));
        }
        let mut threads: Vec<ThreadId> = self.storm.threads.clone();
        threads.extend(AccId::new(me).map(ThreadId::System));
        let own = threads.iter().filter(|thread| AccId::new(me).and_then(|me| thread.partner_of(me)).is_some());
        let mut named: Vec<String> = own.map(ToString::to_string).collect();
        named.push(format!("{me}:s1"));
        named.extend(threads.choose(random).map(ToString::to_string));
        for thread in named.iter().take(6) {
            reads.push(("/getmessages", Some(json!({ "threadID": thread }))));
        }
        if let Some((one, two)) = named.first().and_then(|thread| thread.split_once(':')) {
            reads.push(("/getmessages", Some(json!({ "threadID": format!("{two}:{one}") }))));
        }
        reads
    }

    /// Whether anything but read marks was appended after a position.
    async fn moved(&self, since: Position) -> bool {
        let events = self.rig.log().read_all(since, 10_000).await.unwrap();
        events.iter().any(|recorded| !matches!(recorded.event, Event::Reads(ReadsEvent::MessagesRead(_))))
    }

    /// Reads the same at all three, whichever comes first.
    async fn compare(&mut self, session: u64, path: &str, body: Option<&Value>) {
        let first = self.random.random_range(0..3);
        loop {
            let before = self.rig.log().newest().await.unwrap();
            let mut answers = Vec::new();
            for node in [first, (first + 1) % 3, (first + 2) % 3] {
                let client = self.client(node, session);
                let answer = match body {
                    None => client.get(path).await,
                    Some(body) => client.post(path, body).await,
                };
                assert!(answer.status < 500, "{path} at {node}: {} {}", answer.status, answer.text);
                answers.push((node, answer.status, answer.text));
            }
            let same = answers.windows(2).all(|two| (two[0].1, &two[0].2) == (two[1].1, &two[1].2));
            self.compared += 1;
            if same {
                return;
            }
            // What ends by itself ended in between, or else this is a stale read.
            assert!(self.moved(before).await, "{path} {body:?} of session {session}, {before}: {answers:#?}");
        }
    }

    async fn step(&mut self) {
        self.storm.blow().await;
        self.write().await;
        if self.random.random_bool(0.05) {
            self.ahead += self.random.random_range(3_600..12 * 86_400);
            turn(&self.clock, self.ahead);
        }
        for _ in 0..2 {
            let session = self.random.random_range(1..self.storm.sessions() + 2);
            for (path, body) in self.reads(session) {
                self.compare(session, path, body.as_ref()).await;
            }
        }
    }
}

async fn differ(size: &str, seed: u64, steps: u32) {
    let long: u64 = std::env::var("BE8_LONG_VIEWS").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    for nth in 0..long {
        let mut trio = Trio::new(size, seed + 1000 * nth).await;
        for _ in 0..steps {
            trio.step().await;
        }
        let hits = trio.servers[0].metric("be8_view_hits_total").await;
        let misses = trio.servers[0].metric("be8_view_misses_total").await;
        let unserved = trio.servers[0].metric("be8_view_unserved_total").await;
        eprintln!("views of {size}: {} compared, {hits} hits, {misses} misses, {unserved} unserved", trio.compared);
        assert!(trio.compared > steps && misses > 0.0);
        assert!(size == TINY || hits > 100.0, "{hits} hits");
        for server in trio.servers {
            let log = server.kill().await.log();
            assert!(!log.contains("ERROR"), "{log}");
        }
        for node in trio.storm.nodes {
            node.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_from_memory_are_those_from_postgresql() {
    differ(NORMAL, 1, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_from_little_memory_are_those_from_postgresql() {
    differ(SMALL, 2, 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_from_almost_no_memory_are_those_from_postgresql() {
    differ(TINY, 3, 15).await;
}
