//! Random commands: what several accounts do at once, over two nodes whose clocks disagree.

mod ends;
mod oneself;

use std::sync::Arc;

use be8::domain::account::SetPublicKey;
use be8::domain::device::{DropDevice, Subscribe};
use be8::domain::dialog::StartConversation;
use be8::domain::erasure::Erase;
use be8::domain::group::{AddMember, CreateGroup, DestroyGroup, JoinGroup, KickMember, LeaveGroup, SignalUpdate};
use be8::domain::group_keys::{AllocateVersion, StoreKey};
use be8::domain::hours::StrikeHour;
use be8::domain::invites::CountLink;
use be8::domain::message::WriteMessage;
use be8::domain::operator::EndSessions;
use be8::domain::read_marks::MarkRead;
use be8::domain::removal::{EndConversations, ErasePublicKey, LeaveGroups, RemoveAccount};
use be8::domain::token::{IssueToken, RevokeToken, UseToken};
use be8::ledger::{Answered, Idempotency, Ledger, LedgerError, LedgerSettings};
use be8::support::clock::{Clock, SystemClock};
use be8_events::account::{Curve, PublicKeySecret};
use be8_events::device::{DeviceSecret, Dropped};
use be8_events::erasure::Cause;
use be8_events::group::{Access, GroupKeySecret, GroupSecret, Update};
use be8_events::server::{Link, Usage};
use be8_events::token::Grant;
use be8_events::{AccId, GroupId, Hash32, MessageNo, Secret, Subject, ThreadId};
use chrono::TimeDelta;
use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng};

use self::ends::Ends;
use self::oneself::of_oneself;
use crate::rig::{Dial, Node, Rig, create, picture, token, write};

/// Random commands of several accounts, on two nodes with clocks of their own.
pub struct Storm {
    random: SmallRng,
    pub nodes: [Node; 2],
    dials: [Arc<Dial>; 2],
    accounts: Vec<AccId>,
    pub threads: Vec<ThreadId>,
    /// Each with the session that created it.
    groups: Vec<(GroupId, u64)>,
    removed: Vec<AccId>,
    ends: Ends,
    sessions: u64,
    pub sent: u32,
    pub refused: u32,
    /// Answers under keys, new ones and those that were given before.
    pub answered: i64,
    /// Refused because of their keys.
    pub duplicates: i64,
}

impl Storm {
    pub async fn new(rig: &Rig, seed: u64) -> Self {
        let dials = [0, -40].map(|seconds| Dial::at(SystemClock.now().plus(TimeDelta::seconds(seconds))));
        let nodes = [
            rig.node_with(dials[0].clone(), LedgerSettings::default()).await,
            rig.node_with(dials[1].clone(), LedgerSettings::default()).await,
        ];
        let random = SmallRng::seed_from_u64(seed);
        let (accounts, threads, groups, removed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self {
            random,
            nodes,
            dials,
            accounts,
            threads,
            groups,
            removed,
            ends: Ends::new(rig),
            sessions: 0,
            sent: 0,
            refused: 0,
            answered: 0,
            duplicates: 0,
        }
    }

    /// How many sessions were opened; their numbers begin with 1.
    pub const fn sessions(&self) -> u64 {
        self.sessions
    }

    /// The groups that were created.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.iter().map(|(group, _)| *group)
    }

    /// Sends up to ten commands at once, so that they share batches and race each other.
    pub async fn blow(&mut self) {
        let count = self.random.random_range(1..=10);
        let node = self.random.random_range(0..2);
        for dial in &self.dials {
            dial.turn(TimeDelta::minutes(self.random.random_range(-30..90)));
        }
        let mut kinds: Vec<u32> = (0..count).map(|_| self.random.random_range(0..192)).collect();
        if self.accounts.len() < 3 {
            kinds = vec![0, 0, 0];
        }
        let mut verdicts = Vec::new();
        for kind in kinds {
            verdicts.push(self.command(kind, node));
        }
        let results = join_all(verdicts).await;
        for result in results {
            match result {
                Ok(Some(Got::Account(account))) => self.accounts.push(account),
                Ok(Some(Got::Group(group, by))) => self.groups.push((group, by)),
                Ok(Some(Got::Removed(account))) => self.removed.push(account),
                Ok(Some(Got::Thread(thread))) if !self.threads.contains(&thread) => self.threads.push(thread),
                Ok(Some(Got::Answer)) => self.answered += 1,
                Ok(_) => {}
                Err(LedgerError::InFlight | LedgerError::KeyReused) => self.duplicates += 1,
                Err(LedgerError::Rejected(_) | LedgerError::Internal) => self.refused += 1,
                Err(error) => panic!("{error}"),
            }
            self.sent += 1;
        }
    }

    fn command(&mut self, kind: u32, node: usize) -> impl Future<Output = Result<Option<Got>, LedgerError>> + use<> {
        let ledger = self.nodes[node].ledger.clone();
        // Session n came with account 10,000 + n; some of them ended, some do not exist.
        let session = self.random.random_range(0..self.sessions + 2);
        let sender = AccId::new(10_000 + session as i64).filter(|_| session > 0);
        let receiver = AccId::new(self.random.random_range(10_001..10_003 + self.sessions as i64));
        let pick = self.random.random_range(0..self.threads.len().max(1));
        let thread = self.threads.get(pick).copied();
        let shown: u32 = self.random.random();
        let nth = self.random.random_range(0..self.groups.len().max(1));
        let group = self.groups.get(nth).copied();
        // Much is for the admin to do, and strangers to a group are refused soon.
        let by = group.filter(|_| shown % 5 < 3).map_or(session, |(_, creator)| creator);
        let group = group.map(|(group, _)| group);
        if kind < 5 {
            self.sessions += 1;
        }
        let new = self.sessions;
        let gone = self.removed.get(self.random.random_range(0..self.removed.len().max(1))).copied();
        let everybody = self.accounts.clone();
        let ends = self.ends.clone();
        let groups: Vec<GroupId> = self.groups.iter().map(|(group, _)| *group).collect();
        async move {
            Ok(match (kind, thread) {
                (0..5, _) => {
                    let replaces = (kind < 2 && session > 0).then(|| token(session));
                    let lasting = create(new);
                    // Some live for a day only, unless a token helps them.
                    let lifetime = if kind == 4 { TimeDelta::days(1) } else { lasting.lifetime };
                    let command = be8::domain::account::CreateAccount { replaces, lifetime, ..lasting };
                    let created = ledger.execute(command).await?;
                    Some(Got::Account(created))
                }
                (5..20, _) => {
                    let secret = Secret::new(PublicKeySecret { x: "x".to_owned(), y: "y".to_owned() });
                    let sha256 = Hash32([kind as u8 % 3; 32]);
                    let session = Some(token(session));
                    ledger.execute(SetPublicKey { session, curve: Curve::P256, sha256, secret }).await?;
                    None
                }
                (20..26, _) => {
                    let Some(account) = sender else { return Ok(None) };
                    let device = |nth: u32| Hash32([(nth % 5) as u8; 32]);
                    let (endpoint, subscription) = (device(shown), Hash32([(shown % 7) as u8; 32]));
                    if kind == 20 {
                        ledger.execute(DropDevice { account, endpoint, subscription, why: Dropped::Refused }).await?;
                        return Ok(None);
                    }
                    let secret = DeviceSecret { endpoint: String::new(), p256dh: String::new(), auth: String::new() };
                    let (session, secret) = (Some(token(session)), Secret::new(secret));
                    // Few places, so that they change hands; who has one may be known or not.
                    let place = Hash32([(shown % 3) as u8; 32]);
                    let holder = ledger.push_endpoints().holders(&[place]).await.ok();
                    let holder = holder.filter(|_| kind > 21).and_then(|mut holders| holders.remove(&place));
                    let command =
                        Subscribe { session, account, endpoint, subscription, secret, most: 2, place, holder };
                    ledger.execute(command).await?;
                    None
                }
                (26..45, _) | (45..100, None) => {
                    let session = Some(token(session));
                    Some(Got::Thread(ledger.execute(StartConversation { session, receiver }).await?))
                }
                (45..75, Some(thread)) => {
                    let ThreadId::Dialog { initiator, receiver } = thread else { return Ok(None) };
                    // Mostly one of the two, now and then somebody else.
                    let sender = match kind {
                        45..58 => initiator,
                        58..71 => receiver,
                        _ => sender.unwrap_or(initiator),
                    };
                    let session = sender.number() as u64 - 10_000;
                    let message = write(session, sender, thread);
                    // Some come under a key, of which there are few, so that most of those come again.
                    if kind.is_multiple_of(3) {
                        return send_once(&ledger, session, message, shown).await;
                    }
                    if shown.is_multiple_of(3) {
                        ledger.execute(picture(session, sender, thread, shown / 3)).await?;
                        return Ok(None);
                    }
                    ledger.execute(message).await?;
                    None
                }
                (94..99, Some(_)) => return ends.end(&ledger, session, everybody, groups, shown).await,
                (75..94, Some(thread)) => {
                    let ThreadId::Dialog { initiator, receiver } = thread else { return Ok(None) };
                    let reader = if kind.is_multiple_of(2) { initiator } else { receiver };
                    let numbers = (1..32).filter(|no: &MessageNo| shown >> no & 1 == 1);
                    let senders = [None, Some(initiator), Some(receiver)];
                    let shown =
                        numbers.map(|no| (no, senders[if no == 1 { 0 } else { 1 + no as usize % 2 }])).collect();
                    let session = token(reader.number() as u64 - 10_000);
                    ledger.execute(MarkRead { session, thread, shown }).await?;
                    None
                }
                (160, _) => {
                    // A third or so of those who may be somebody.
                    let Some(account) = receiver.filter(|_| shown.is_multiple_of(3)) else { return Ok(None) };
                    let command = match shown % 2 {
                        0 => RemoveAccount::Operator { account },
                        _ => RemoveAccount::Panic { session: Some(token(session)) },
                    };
                    ledger.execute(command).await?.map(Got::Removed)
                }
                (180.., _) => {
                    let Some(me) = sender else { return Ok(None) };
                    of_oneself(&ledger, kind - 180, token(session), me).await?;
                    None
                }
                (161..166, _) => {
                    let Some(gone) = gone.or(receiver) else { return Ok(None) };
                    match kind {
                        161 | 162 => {
                            let partners = everybody.into_iter().filter(|partner| *partner != gone).collect();
                            ledger.execute(EndConversations { gone, partners }).await?;
                        }
                        163 => ledger.execute(LeaveGroups { gone, groups }).await?,
                        164 => ledger.execute(ErasePublicKey { gone }).await?,
                        _ => {
                            let sessions = vec![token(session), token(session + 1)];
                            let account = AccId::new(10_000 + session as i64).unwrap_or(gone);
                            ledger.execute(EndSessions { account, sessions }).await?;
                        }
                    }
                    None
                }
                (166.., _) => return at_large(&ledger, kind - 166, session, shown).await,
                (100.., _) => return in_group(&ledger, kind - 100, by, group, receiver, shown).await,
                (_, Some(thread)) => {
                    let ThreadId::Dialog { initiator, .. } = thread else { return Ok(None) };
                    let stay = Subject::Stay { thread, author: initiator, stay: 1 };
                    ledger.execute(Erase { subjects: vec![stay], cause: Cause::Operator }).await?;
                    None
                }
            })
        }
    }
}

/// Sends a message under one of a few keys: it is written, or was, or the key is another request's.
async fn send_once(
    ledger: &Ledger,
    session: u64,
    message: WriteMessage,
    random: u32,
) -> Result<Option<Got>, LedgerError> {
    let (key, request) = (random % 4, random / 4 % 2);
    let once = Idempotency {
        session: token(session),
        key: Hash32::sha256(&key.to_be_bytes()),
        request: Hash32::sha256(&request.to_be_bytes()),
    };
    let encode = move |(thread, no)| Answered { status: 200, body: format!("{request} {thread} {no}").into_bytes() };
    let answered = ledger.execute_once(message, once, encode).await?;
    assert!(answered.body.starts_with(format!("{request} ").as_bytes()), "the answer to another request");
    Ok(Some(Got::Answer))
}

enum Got {
    Removed(AccId),
    Answer,
    Group(GroupId, u64),
    Account(AccId),
    Thread(ThreadId),
}

/// What concerns the server as a whole, and tokens; `kind` from 0 to 13, `random` for what else is left to chance.
async fn at_large(ledger: &Ledger, kind: u32, session: u64, random: u32) -> Result<Option<Got>, LedgerError> {
    let session = Some(token(session));
    let token = Hash32([random as u8 % 8; 32]);
    match kind {
        0..2 => {
            ledger.execute(StrikeHour).await?;
        }
        2..4 => {
            let link = Some(if random.is_multiple_of(2) { Link::User } else { Link::Group });
            let usage = Some(if random.is_multiple_of(3) { Usage::Sent } else { Usage::Used });
            ledger.execute(CountLink { session, link, usage }).await?;
        }
        4..7 => {
            let promo = Grant::Promo { millis: u64::from(random) };
            let grant = if token.0[0] < 4 { Grant::Endless } else { promo };
            ledger.execute(IssueToken { token, grant }).await?;
        }
        7 => ledger.execute(RevokeToken { token }).await?,
        _ => {
            ledger.execute(UseToken { session, token: Ok(token) }).await?;
        }
    }
    Ok(None)
}

/// What somebody does in a group; `kind` from 0 to 59, `random` for what else is left to chance.
async fn in_group(
    ledger: &Ledger,
    kind: u32,
    by: u64,
    group: Option<GroupId>,
    other: Option<AccId>,
    random: u32,
) -> Result<Option<Got>, LedgerError> {
    let session = Some(token(by));
    let me = AccId::new(10_000 + by as i64).filter(|_| by > 0);
    let access = if random.is_multiple_of(4) { Access::Private } else { Access::Public };
    match kind {
        0..5 => {
            let name = Some(Secret::new(GroupSecret { name: format!("group of {by}") }));
            let created = CreateGroup { session, name, access: Some(access), capacity: 2 + random % 6 };
            let group = ledger.execute(created).await?;
            if !random.is_multiple_of(3) {
                ledger.execute(JoinGroup { session, group: Some(group) }).await?;
            }
            return Ok(Some(Got::Group(group, by)));
        }
        5..16 => ledger.execute(JoinGroup { session, group }).await?,
        16..24 => {
            ledger.execute(AddMember { session, group, member: other }).await?;
        }
        24..28 => {
            ledger.execute(LeaveGroup { session, group }).await?;
        }
        28..31 => {
            // Whether or not it can be added: most accounts are no members, and nobody to kick.
            let _ = ledger.execute(AddMember { session, group, member: other }).await;
            ledger.execute(KickMember { session, group, member: other }).await?;
        }
        31..35 => {
            ledger.execute(AllocateVersion { session, group }).await?;
        }
        35..43 => {
            let key = Some(Secret::new(GroupKeySecret { key: format!("wrapped key {}", random % 3), iv: None }));
            let keyholder = if random.is_multiple_of(2) { me } else { other };
            // Mostly for oneself, who is a member more often than somebody else.
            let account = if random.is_multiple_of(3) { other } else { me };
            ledger.execute(StoreKey { session, group, account, keyholder, key }).await?;
        }
        43..53 => {
            let (Some(me), Some(group)) = (me, group) else { return Ok(None) };
            if random.is_multiple_of(3) {
                ledger.execute(picture(by, me, ThreadId::Group(group), random / 3)).await?;
            } else {
                ledger.execute(write(by, me, ThreadId::Group(group))).await?;
            }
        }
        53..57 => {
            let (Some(other), Some(group)) = (other, group) else { return Ok(None) };
            let shown = (1..32).filter(|no: &MessageNo| random >> no & 1 == 1).map(|no| (no, Some(other))).collect();
            ledger.execute(MarkRead { session: token(by), thread: ThreadId::Group(group), shown }).await?;
        }
        57..59 => ledger.execute(SignalUpdate { session, group, update: Some(Update::Join) }).await?,
        _ => ledger.execute(DestroyGroup { session, group }).await?,
    }
    Ok(None)
}
