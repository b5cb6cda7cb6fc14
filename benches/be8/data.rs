//! The data: accounts in a ring, each talking to its neighbours, written through the ledger.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use be8::app::App;
use be8::domain::Command;
use be8::domain::account::CreateAccount;
use be8::domain::dialog::StartConversation;
use be8::domain::message::{NamedVersion, Receiver, WriteMessage};
use be8::domain::read_marks::MarkRead;
use be8_events::account::AccountSecret;
use be8_events::message::MessageSecret;
use be8_events::{AccId, Hash32, MessageNo, Secret, ThreadId};
use chrono::TimeDelta;
use futures_util::{StreamExt, TryStreamExt, stream};
use rand::seq::SliceRandom;

use crate::driver::request;

/// Conversations of an account. With the thread of the system it has 20 threads.
const CONVERSATIONS: usize = 19;
/// Messages that are written into a conversation.
const MESSAGES: usize = 8;
/// Messages of a long one: with the system's STARTCONVERSATION there are 100.
const LONG: usize = 99;
/// Commands in flight while filling.
const IN_FLIGHT: usize = 512;

/// How the web client's ciphertexts begin, before they are base64.
const SALTED: &[u8] = b"Salted__";

/// An account and its session.
#[derive(Clone)]
pub struct Member {
    pub account: AccId,
    pub session: Hash32,
    pub cookie: String,
}

/// A conversation, its members by their places in the ring, the one who began first.
#[derive(Clone, Copy)]
pub struct Conversation {
    pub members: [usize; 2],
    pub thread: ThreadId,
}

/// Everything that was written.
pub struct Data {
    pub members: Vec<Member>,
    /// In no order.
    pub conversations: Vec<Conversation>,
}

impl Data {
    /// Fills a log: so many accounts (an even number), 19 conversations each. A quarter of the
    /// accounts reads: one conversation of each reader is long, and nothing is written to theirs
    /// later.
    pub async fn fill(app: &Arc<App>, accounts: usize) -> Self {
        let members = members(app, "member", accounts).await;

        // Nine neighbours on each side and the one across: everybody has 19.
        let beside =
            (0..accounts).flat_map(|nth| (1..=CONVERSATIONS / 2).map(move |far| [nth, (nth + far) % accounts]));
        let across = (0..accounts / 2).map(|nth| [nth, nth + accounts / 2]);
        let mut conversations = each(app, beside.chain(across), |pair| {
            let [from, to] = pair.map(|nth| &members[nth]);
            let command = StartConversation { session: Some(from.session), receiver: Some(to.account) };
            (command, move |thread| Conversation { members: pair, thread })
        })
        .await;
        conversations.shuffle(&mut rand::rng());

        let data = Self { members, conversations };
        // Round by round, as life has it: the messages of a thread do not lie side by side.
        for round in 0..LONG {
            let written = data.conversations.iter().filter(|it| round < MESSAGES || data.is_long(it));
            each(app, written, |conversation| (data.message(conversation, round % 2), |_| ())).await;
        }
        for reader in 0..2 {
            each(app, &data.conversations, |conversation| (data.marks(conversation, reader), |()| ())).await;
        }
        data
    }

    /// How many accounts read.
    fn readers(&self) -> usize {
        self.members.len() / 4
    }

    fn is_long(&self, conversation: &Conversation) -> bool {
        let [from, to] = conversation.members;
        from < self.readers() && to == from + 1
    }

    /// Who reads, and what is the long conversation of each.
    pub fn reading(&self) -> impl Iterator<Item = (&Member, ThreadId)> {
        let long = self.conversations.iter().filter(|conversation| self.is_long(conversation));
        long.map(|conversation| (&self.members[conversation.members[0]], conversation.thread))
    }

    /// Those who do not read.
    pub fn silent(&self) -> &[Member] {
        &self.members[self.readers()..]
    }

    /// The conversations in which nobody reads.
    pub fn written(&self) -> Vec<Conversation> {
        let nobody_reads = |it: &&Conversation| it.members.iter().all(|&nth| nth >= self.readers());
        self.conversations.iter().filter(nobody_reads).copied().collect()
    }

    /// The conversations into which nothing is written later.
    pub fn unwritten(&self) -> impl Iterator<Item = &Conversation> {
        self.conversations.iter().filter(|it| it.members.iter().any(|&nth| nth < self.readers()))
    }

    /// One message into each of these conversations.
    pub async fn write_all(&self, app: &Arc<App>, conversations: &[Conversation]) {
        each(app, conversations.iter().enumerate(), |(nth, it)| (self.message(it, nth % 2), |_| ())).await;
    }

    /// A message from one of the two to the other.
    pub fn message(&self, conversation: &Conversation, by: usize) -> WriteMessage {
        let [from, to] = [by, 1 - by].map(|nth| &self.members[conversation.members[nth]]);
        message(from, Receiver::Account(to.account), conversation.thread)
    }

    /// The same as the web client sends it.
    pub fn message_request(&self, conversation: &Conversation, by: usize) -> Box<[u8]> {
        let [from, to] = [by, 1 - by].map(|nth| &self.members[conversation.members[nth]]);
        message_request(from, Receiver::Account(to.account), conversation.thread, &ciphertext())
    }

    /// One of the two has seen everything.
    fn marks(&self, conversation: &Conversation, reader: usize) -> MarkRead {
        let accounts = conversation.members.map(|nth| self.members[nth].account);
        let written = if self.is_long(conversation) { LONG } else { MESSAGES };
        let shown = (0..=written).map(|nth| {
            // The first is the system's.
            (nth as MessageNo + 1, nth.checked_sub(1).map(|round| accounts[round % 2]))
        });
        let session = self.members[conversation.members[reader]].session;
        MarkRead { session, thread: conversation.thread, shown: shown.collect() }
    }
}

/// So many accounts.
pub async fn members(app: &Arc<App>, name: &str, count: usize) -> Vec<Member> {
    each(app, 0..count, |nth| {
        let bytes: [u8; 32] = rand::random();
        let secret = AccountSecret { nickname: format!("{name} {nth}"), password: "$argon2id$v=19$".to_owned() };
        let session = Hash32::sha256(&bytes);
        let cookie = format!("be8={}", URL_SAFE_NO_PAD.encode(bytes));
        let secret = Secret::new(secret);
        let command = CreateAccount { secret, session, replaces: None, lifetime: TimeDelta::days(30) };
        (command, move |account| Member { account, session, cookie })
    })
    .await
}

/// A ciphertext as the web client sends it: as long as that of a sentence or two, and no two alike, which compresses as little as
/// real ones.
pub fn ciphertext() -> String {
    STANDARD.encode([SALTED, &rand::random::<[u8; 184]>()].concat())
}

/// An initialisation vector.
fn vector() -> String {
    STANDARD.encode(rand::random::<[u8; 16]>())
}

/// A message.
pub fn message(from: &Member, to: Receiver, thread: ThreadId) -> WriteMessage {
    let content = MessageSecret {
        text: ciphertext(),
        iv: Some(vector()),
        kind: Some("user".to_owned()),
        endless: Some("false".to_owned()),
    };
    WriteMessage {
        session: Some(from.session),
        receiver: Some(to),
        sender: Some(from.account),
        thread: Some(thread),
        version: NamedVersion::Absent,
        content: Ok(Secret::new(content)),
    }
}

/// A message with this text as the web client sends it.
pub fn message_request(from: &Member, to: Receiver, thread: ThreadId, text: &str) -> Box<[u8]> {
    let (receiver, kind) = match to {
        Receiver::Account(account) => (account.to_string(), "user"),
        Receiver::Group(group) => (group.to_string(), "group"),
    };
    let body = serde_json::json!({
        "receiver": receiver, "sender": from.account.to_string(), "threadID": thread.to_string(), "messageType": "text",
        "text": text, "nickname": "member", "iv": vector(), "type": kind, "endless": false,
    });
    request("POST", "/writemessage", &from.cookie, &body.to_string())
}

/// Has a command executed for each item, many at a time; results stand in the order of the items.
pub async fn each<I, C: Command, R, F: FnOnce(C::Reply) -> R>(
    app: &Arc<App>,
    items: impl IntoIterator<Item = I>,
    command: impl Fn(I) -> (C, F),
) -> Vec<R> {
    stream::iter(items.into_iter().map(command))
        .map(|(command, finish)| async move { app.ledger.execute(command).await.map(finish) })
        .buffered(IN_FLIGHT)
        .try_collect()
        .await
        .expect("a valid command")
}
