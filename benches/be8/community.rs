//! Communities: accounts that all talk to each other, in conversations of two and in groups. What a web client asks while
//! they do so is the row `mix`.

use std::sync::Arc;

use be8::app::App;
use be8::domain::dialog::StartConversation;
use be8::domain::message::Receiver;
use be8::domain::read_marks::MarkRead;
use be8_events::{MessageNo, ThreadId};
use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use crate::data::{Member, ciphertext, each, members, message, message_request};
use crate::driver::{Requests, request};
use crate::groups::{Group, found};

/// Accounts of a community.
const ACCOUNTS: usize = 100;
/// An account talks to so many neighbours on each side: 8 conversations.
const NEIGHBOURS: usize = 4;
/// Members of a group.
const MEMBERS: usize = 8;
/// How the groups of a community are drawn: each step walks twice around the accounts and founds 25 groups, and each account gets
/// two seats: five steps make ten groups an account. A step has no divisor in common with 100, so that no account has two seats of one group.
const STEPS: [usize; 5] = [1, 3, 7, 9, 11];
/// Messages that are written into a thread: an answer has the newest 100.
const MESSAGES: usize = 100;

/// How often a web client asks what, for [`WRITES`] messages that are written.
const READS: [(Kind, usize); 4] =
    [(Kind::Messages, 120), (Kind::Threads, 80), (Kind::Version, 75), (Kind::Members, 70)];
/// The messages of that many reads.
const WRITES: usize = 27;
/// How many times [`WRITES`] messages a row walks through for each community.
const LAPS: usize = 20;

/// What is asked.
#[derive(Clone, Copy)]
enum Kind {
    Messages,
    Threads,
    Version,
    Members,
}

/// A thread and who talks in it.
struct Talk {
    thread: ThreadId,
    members: Vec<Member>,
}

impl Talk {
    /// To whom a message of one of them goes.
    fn receiver(&self, by: usize) -> Receiver {
        match self.thread {
            ThreadId::Group(group) => Receiver::Group(group),
            ThreadId::Dialog { .. } | ThreadId::System(_) => Receiver::Account(self.members[1 - by].account),
        }
    }
}

/// Communities, all in one.
pub struct Communities {
    count: usize,
    dialogs: Vec<Talk>,
    groups: Vec<Talk>,
}

impl Communities {
    /// So many of them.
    pub async fn fill(app: &Arc<App>, count: usize) -> Self {
        let everybody = members(app, "talker", count * ACCOUNTS).await;
        let pairs = everybody.chunks(ACCOUNTS).flat_map(|members| {
            let of = move |nth: usize| members[nth % ACCOUNTS].clone();
            (0..ACCOUNTS).flat_map(move |nth| (1..=NEIGHBOURS).map(move |far| vec![of(nth), of(nth + far)]))
        });
        let dialogs = each(app, pairs, |members| {
            let [from, to] = [0, 1].map(|nth| members[nth].clone());
            let command = StartConversation { session: Some(from.session), receiver: Some(to.account) };
            (command, move |thread| Talk { thread, members })
        })
        .await;
        let seats = everybody.chunks(ACCOUNTS).flat_map(seats).collect();
        let groups = found(app, seats).await.into_iter();
        let groups = groups.map(|Group { id, members }| Talk { thread: ThreadId::Group(id), members }).collect();
        let communities = Self { count, dialogs, groups };

        let threads = || communities.dialogs.iter().chain(&communities.groups);
        let mut shown: Vec<Vec<_>> = threads().map(|_| Vec::new()).collect();
        for round in 0..MESSAGES {
            let written = each(app, threads(), |talk| {
                let by = round % talk.members.len();
                let (member, receiver) = (&talk.members[by], talk.receiver(by));
                let sender = member.account;
                (message(member, receiver, talk.thread), move |(_, id): (ThreadId, MessageNo)| (id, Some(sender)))
            })
            .await;
            shown.iter_mut().zip(written).for_each(|(shown, written)| shown.push(written));
        }
        let marks = threads().zip(&shown).flat_map(|(talk, shown)| {
            // What the system said before is read, too.
            let system = (1..shown[0].0).map(|id| (id, None));
            let shown: Vec<_> = system.chain(shown.iter().copied()).collect();
            talk.members.iter().map(move |member| (member.session, talk.thread, shown.clone()))
        });
        each(app, marks, |(session, thread, shown)| (MarkRead { session, thread, shown }, |()| ())).await;
        communities
    }

    /// All that a web client sends while its users talk: after each message that is written, the others of the thread ask.
    pub fn mix(&self) -> Requests {
        self.scenes(|scene| scene)
    }

    /// The reads among them alone.
    pub fn reads(&self) -> Requests {
        self.scenes(|mut scene| {
            scene.remove(0);
            scene
        })
    }

    /// The messages among them alone.
    pub fn writes(&self) -> Requests {
        self.scenes(|mut scene| {
            scene.truncate(1);
            scene
        })
    }

    /// One message after the other, half of them to groups, each with the reads that follow it.
    fn scenes(&self, part: impl Fn(Vec<Box<[u8]>>) -> Vec<Box<[u8]>>) -> Requests {
        (0..self.count * LAPS * WRITES).flat_map(|nth| part(self.scene(nth))).collect()
    }

    /// A message, then reads in any order.
    fn scene(&self, nth: usize) -> Vec<Box<[u8]>> {
        let random = &mut rand::rng();
        let talks = if nth.is_multiple_of(2) { &self.dialogs } else { &self.groups };
        let talk = talks.choose(random).expect("there are some");
        let by = random.random_range(0..talk.members.len());
        let mut reads = Vec::new();
        for (kind, weight) in READS {
            let part = nth % WRITES;
            for _ in part * weight / WRITES..(part + 1) * weight / WRITES {
                let reader = (by + random.random_range(1..talk.members.len())) % talk.members.len();
                // A conversation of two has neither version nor members: those of some group are asked for.
                let group = self.groups.choose(random).expect("there are some");
                reads.push(match (kind, talk.thread) {
                    (Kind::Messages | Kind::Threads, _) | (_, ThreadId::Group(_)) => read(kind, talk, reader),
                    (Kind::Version | Kind::Members, _) => read(kind, group, random.random_range(0..MEMBERS)),
                });
            }
        }
        reads.shuffle(random);
        let member = &talk.members[by];
        let written = message_request(member, talk.receiver(by), talk.thread, &ciphertext());
        [written].into_iter().chain(reads).collect()
    }
}

/// What one of those who talk asks.
fn read(kind: Kind, talk: &Talk, reader: usize) -> Box<[u8]> {
    let cookie = &talk.members[reader].cookie;
    let thread = talk.thread.to_string();
    match kind {
        Kind::Threads => request("GET", "/getthreads", cookie, ""),
        Kind::Messages => {
            request("POST", "/getmessages", cookie, &serde_json::json!({ "threadID": thread }).to_string())
        }
        Kind::Version => {
            request("POST", "/groupgetcurrentversion", cookie, &serde_json::json!({ "groupID": thread }).to_string())
        }
        Kind::Members => {
            request("POST", "/groupgetmembers", cookie, &serde_json::json!({ "groupID": thread }).to_string())
        }
    }
}

/// The members of each group of a community.
fn seats(members: &[Member]) -> Vec<Vec<Member>> {
    let seats: Vec<usize> =
        STEPS.iter().flat_map(|step| (0..2 * ACCOUNTS).map(move |nth| nth * step % ACCOUNTS)).collect();
    seats.chunks(MEMBERS).map(|group| group.iter().map(|&nth| members[nth].clone()).collect()).collect()
}
