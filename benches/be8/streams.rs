//! What open event streams cost, and how soon what was written is at its receivers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use be8::domain::dialog::StartConversation;
use be8::domain::message::Receiver;
use be8_events::{GroupId, ThreadId};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cpu::Clocks;
use crate::data::{Member, ciphertext, each, members, message_request};
use crate::driver::{Connection, request};
use crate::groups::found;
use crate::rebuild::median;
use crate::rows::Target;
use crate::servers::{Build, Flags, ServerProcess};
use crate::world::World;

/// Accounts, each in one conversation with the next one, and all in one group.
const ACCOUNTS: usize = 1_000;
/// Streams that are open and silent, shared out among the accounts.
const SILENT: usize = 10_000;
/// How long they are watched: several heartbeats.
const WATCHED: Duration = Duration::from_secs(45);
/// Streams of one account: as many as are allowed.
const OF_ONE: usize = 64;
/// Messages to the group.
const TO_ALL: usize = 30;
/// How long what was written may be on its way before it counts as lost.
const LOST: Duration = Duration::from_secs(10);
/// How long a pace is kept up.
const PACED: Duration = Duration::from_secs(10);
/// In an event in front of the name of its thread.
const THREAD: &[u8] = b"\"threadID\":\"";

/// What is measured of one build.
struct Figures {
    /// KiB of resident memory that a silent stream takes.
    memory: f64,
    /// The part of one processor that heartbeats take.
    heartbeats: f64,
    /// `/writemessage` alone, and from before it to the event at the receiver beside 1,000 streams: p50 and p99, in us.
    written: [f64; 2],
    received: [f64; 2],
    /// With 64 streams of the receiver: what was delivered of all, the slowest in ms, and the p99 of `/writemessage` as a multiple of that
    /// without streams.
    delivered: f64,
    slowest: f64,
    writers: f64,
    /// Until all members of a group of 1,000 have a message, as a multiple of the p50 of `/writemessage`.
    everybody: f64,
}

/// What is printed: its title, its target, and how it follows from the figures.
type Line = (&'static str, Target, fn(&Figures) -> f64);

const LINES: &[Line] = &[
    ("memory of one of 10,000 silent streams, KiB", Target::AtMost(12.0), |it| it.memory),
    ("heartbeats of 10,000 streams, % of a processor", Target::AtMost(3.0), |it| it.heartbeats * 100.0),
    ("write to event beside 1,000 streams, p50 / p50 of /writemessage", Target::AtMost(1.0), |it| {
        it.received[0] / it.written[0]
    }),
    ("write to event beside 1,000 streams, p99 / p50 of /writemessage", Target::AtMost(4.0), |it| {
        it.received[1] / it.written[0]
    }),
    ("64 streams of one account: part of all that was delivered", Target::AtLeast(1.0), |it| it.delivered),
    ("64 streams of one account: the slowest event, ms", Target::AtMost(100.0), |it| it.slowest),
    ("64 streams of one account: p99 of /writemessage / without streams", Target::AtMost(2.0), |it| it.writers),
    ("1,000 members: all have a message / p50 of /writemessage", Target::AtMost(30.0), |it| it.everybody),
];

/// Measures this build and an older one, in turn.
pub async fn measure(rounds: usize, baseline: Option<&Path>) -> String {
    let world = World::start().await;
    let scene = Scene::fill(&world, "streams").await;
    let mut builds = vec![("this build", Build::this(), world.flags("streams"), Vec::new())];
    if let Some(program) = baseline {
        let file = world.path("streams.export").display().to_string();
        Build::this().run(&["export", "--with-vault", &file], &world.flags("streams"));
        let build = Build::at(program.to_owned());
        world.create("older").await;
        build.run(&["import", &file], &world.flags("older"));
        builds.push(("the older build", build, world.flags("older"), Vec::new()));
    }
    for round in 0..rounds {
        for (name, build, flags, all) in &mut builds {
            let figures = scene.measure(build, flags).await;
            for (title, _, value) in LINES {
                eprintln!("round {} of {rounds}, {name}: {title}: {:.2}", round + 1, value(&figures));
            }
            eprintln!(
                "p50 and p99 in us: /writemessage {:.0?}, to the event {:.0?}",
                figures.written, figures.received
            );
            all.push(figures);
        }
    }
    world.end().await;

    let mut out = format!(
        "Medians of {rounds}:\n\n| what | target | {} |\n",
        builds.iter().map(|it| it.0).collect::<Vec<_>>().join(" | ")
    );
    let _ = writeln!(out, "|---|---|{}", "---|".repeat(builds.len()));
    for (title, target, value) in LINES {
        let medians: Vec<f64> = builds.iter().map(|it| median(&it.3.iter().map(value).collect::<Vec<_>>())).collect();
        let verdict = if target.met(medians[0]) { "" } else { " NOT MET" };
        let values: Vec<String> = medians.iter().map(|value| format!("{value:.2}")).collect();
        let _ = writeln!(out, "| {title} | {target}{verdict} | {} |", values.join(" | "));
    }
    out
}

/// Who listens and who writes.
struct Scene {
    members: Vec<Member>,
    /// Of each member with the next one.
    threads: Vec<ThreadId>,
    group: GroupId,
}

impl Scene {
    async fn fill(world: &World, database: &str) -> Self {
        world.create(database).await;
        let (node, stop) = world.node(database).await;
        let app = &node.app;
        let members = members(app, "listener", ACCOUNTS).await;
        let pairs = (0..ACCOUNTS).map(|nth| (&members[nth], &members[(nth + 1) % ACCOUNTS]));
        let threads = each(app, pairs, |(from, to)| {
            (StartConversation { session: Some(from.session), receiver: Some(to.account) }, |thread| thread)
        })
        .await;
        let group = found(app, vec![members.clone()]).await.remove(0).id;
        stop.cancel();
        node.stop().await.expect("the end of a node");
        world.execute(database, "vacuum analyze").await;
        Self { members, threads, group }
    }

    async fn measure(&self, build: &Build, flags: &Flags) -> Figures {
        let more = [("--connections", "30000"), ("--connections-per-address", "30000"), ("--limit-streams", "off")];
        let flags: Flags = flags.iter().cloned().chain(more.map(|(flag, value)| (flag, value.to_owned()))).collect();
        let server = build.serve(&flags);
        let address = server.address;
        // Everything that a stream or a message needs is in memory, whatever is measured first.
        self.write_at(address, 100, Duration::from_secs(3), |nth| (nth * 7) % ACCOUNTS, &Arrivals::default()).await;

        let (memory, heartbeats) = self.silent(&server).await;
        let one = |_| 1;
        let (mut alone, _) = self.write_at(address, 100, PACED, |nth| nth % ACCOUNTS, &Arrivals::default()).await;
        let (mut fast, _) = self.write_at(address, 200, PACED, one, &Arrivals::default()).await;

        let arrivals = Arrivals::default();
        let open = Streams::open(address, self.members.iter(), &arrivals).await;
        let (_, sent) = self.write_at(address, 100, PACED, |nth| nth % ACCOUNTS, &arrivals).await;
        let receiver = |arrived: &Arrived| self.threads[(arrived.stream + ACCOUNTS - 1) % ACCOUNTS] == arrived.thread;
        let mut received = arrivals.wait(sent, receiver).await;
        let everybody = self.to_all(address, &arrivals).await;
        drop(open);

        let arrivals = Arrivals::default();
        let open = Streams::open(address, std::iter::repeat_n(&self.members[2], OF_ONE), &arrivals).await;
        let (mut with, sent) = self.write_at(address, 200, PACED, one, &arrivals).await;
        let to_one = arrivals.wait(sent * OF_ONE, |_| true).await;
        drop(open);

        let written = quantiles(&mut alone);
        Figures {
            memory,
            heartbeats,
            written,
            received: quantiles(&mut received),
            delivered: to_one.len() as f64 / (sent * OF_ONE) as f64,
            slowest: to_one.iter().copied().fold(0.0, f64::max) / 1000.0,
            writers: quantiles(&mut with)[1] / quantiles(&mut fast)[1],
            everybody: median(&everybody) / written[0],
        }
    }

    /// KiB that a silent stream takes, and the part of a processor that all of them take.
    async fn silent(&self, server: &ServerProcess) -> (f64, f64) {
        let idle = server.resident();
        let listeners = self.members.iter().cycle().take(SILENT);
        let open = Streams::open(server.address, listeners, &Arrivals::default()).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let memory = (server.resident() - idle) * 1024.0 / SILENT as f64;
        let clocks = Clocks::read(Some(server.id()), 0);
        tokio::time::sleep(WATCHED).await;
        let busy = clocks.used().server / 1e6 / WATCHED.as_secs_f64();
        drop(open);
        tokio::time::sleep(Duration::from_secs(2)).await;
        (memory, busy)
    }

    /// Writes so many messages a second, the `n`th by the member `by(n)` to the next one; answers how long each took in us, and how many
    /// there were.
    async fn write_at(
        &self,
        address: SocketAddr,
        per_second: u32,
        time: Duration,
        by: impl Fn(usize) -> usize,
        arrivals: &Arrivals,
    ) -> (Vec<f64>, usize) {
        let count = (time.as_secs_f64() * f64::from(per_second)) as usize;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut idle: Vec<Connection> = Vec::new();
        let mut writers: JoinSet<(Connection, f64)> = JoinSet::new();
        let mut took = Vec::with_capacity(count);
        for nth in 0..count {
            ticks.tick().await;
            while let Some(done) = writers.try_join_next() {
                let (connection, microseconds) = done.expect("a writer");
                idle.push(connection);
                took.push(microseconds);
            }
            let mut connection = match idle.pop() {
                Some(connection) => connection,
                None => Connection::open(address).await,
            };
            let by = by(nth);
            let from = &self.members[by];
            let to = Receiver::Account(self.members[(by + 1) % ACCOUNTS].account);
            let message = message_request(from, to, self.threads[by], &ciphertext());
            let begun = arrivals.sends(self.threads[by]);
            writers.spawn(async move {
                connection.exchange(&message).await;
                (connection, begun.elapsed().as_secs_f64() * 1e6)
            });
        }
        while let Some(done) = writers.join_next().await {
            took.push(done.expect("a writer").1);
        }
        (took, count)
    }

    /// Microseconds until all members of the group have a message, once for each of some messages, one after the other.
    async fn to_all(&self, address: SocketAddr, arrivals: &Arrivals) -> Vec<f64> {
        let mut connection = Connection::open(address).await;
        let mut all = Vec::new();
        for nth in 0..TO_ALL {
            let (from, to) = (&self.members[nth % 10], Receiver::Group(self.group));
            let message = message_request(from, to, ThreadId::Group(self.group), &ciphertext());
            arrivals.sends(ThreadId::Group(self.group));
            connection.exchange(&message).await;
            let latencies = arrivals.wait((nth + 1) * ACCOUNTS, |it| it.thread == ThreadId::Group(self.group)).await;
            assert_eq!(latencies.len(), (nth + 1) * ACCOUNTS, "a member has no event of a message to the group");
            all.push(latencies[nth * ACCOUNTS..].iter().copied().fold(0.0, f64::max));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        all
    }
}

/// p50 and p99.
fn quantiles(values: &mut [f64]) -> [f64; 2] {
    values.sort_unstable_by(f64::total_cmp);
    [0.5, 0.99].map(|part| values[((values.len() - 1) as f64 * part) as usize])
}

/// What was sent, and what arrived of it.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// When each message of a thread was sent.
    sent: HashMap<String, Vec<Instant>>,
    arrived: Vec<Arrived>,
}

/// An event of a message.
struct Arrived {
    thread: ThreadId,
    stream: usize,
    /// How many us after the message was sent.
    took: f64,
}

impl Arrivals {
    /// Notes that a message is sent to a thread now.
    fn sends(&self, thread: ThreadId) -> Instant {
        let now = Instant::now();
        self.0.lock().sent.entry(thread.to_string()).or_default().push(now);
        now
    }

    /// Notes that the event of the `nth` message of a thread arrives now.
    fn arrives(&self, thread: &str, nth: usize, stream: usize) {
        let mut seen = self.0.lock();
        if let Some(sent) = seen.sent.get(thread).and_then(|sent| sent.get(nth)) {
            let took = sent.elapsed().as_secs_f64() * 1e6;
            let thread = thread.parse().expect("the name of a thread");
            seen.arrived.push(Arrived { thread, stream, took });
        }
    }

    /// Waits until so many of those that count have arrived, or nothing more comes; how many us each took.
    async fn wait(&self, count: usize, counts: impl Fn(&Arrived) -> bool) -> Vec<f64> {
        let end = Instant::now() + LOST;
        loop {
            let took: Vec<f64> =
                self.0.lock().arrived.iter().filter(|arrived| counts(arrived)).map(|arrived| arrived.took).collect();
            if took.len() >= count || Instant::now() >= end {
                return took;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Open streams; they are closed with this value.
struct Streams(#[expect(dead_code, reason = "kept until it is dropped")] JoinSet<()>);

impl Streams {
    async fn open<'a>(address: SocketAddr, of: impl Iterator<Item = &'a Member>, arrivals: &Arrivals) -> Self {
        let mut readers = JoinSet::new();
        for (nth, member) in of.enumerate() {
            let mut stream = TcpStream::connect(address).await.expect("the server takes connections");
            let asked = request("GET", "/events", &member.cookie, "");
            stream.write_all(&asked).await.expect("the server reads");
            let mut buffer = Vec::new();
            while !buffer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                assert!(stream.read_buf(&mut buffer).await.expect("an answer") > 0, "the server closed a stream");
            }
            assert!(buffer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&buffer));
            readers.spawn(read(stream, nth, arrivals.clone()));
        }
        Self(readers)
    }
}

/// Reads a stream and notes what arrives, until it is closed. Messages of a thread arrive in their order.
async fn read(mut stream: TcpStream, nth: usize, arrivals: Arrivals) {
    let mut buffer = Vec::new();
    let mut counts: HashMap<String, usize> = HashMap::new();
    while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        // An event is written in one piece; what is no whole line yet is looked at with the rest of it.
        let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') else { continue };
        let mut lines = &buffer[..end];
        while let Some(at) = lines.windows(THREAD.len()).position(|bytes| bytes == THREAD) {
            lines = &lines[at + THREAD.len()..];
            let name = lines.split(|byte| *byte == b'"').next().expect("a part");
            let thread = String::from_utf8(name.to_vec()).expect("the name of a thread");
            let count = counts.entry(thread.clone()).or_default();
            arrivals.arrives(&thread, *count, nth);
            *count += 1;
        }
        buffer.drain(..=end);
    }
}
