//! The proof of an erasure: what of an account was sealed, what became of it, and why what is still
//! readable is kept.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::account::Removal;
use be8_events::erasure::Cause;
use be8_events::{
    AccId, AccountEvent, Day, DialogEvent, Event, GroupEvent, GroupId, KeyId, Position, Recorded, StreamName, Subject,
    ThreadId, Timestamp,
};
use be8_projections::ReadModels;
use futures_util::TryStreamExt;
use serde::Serialize;

use super::AuditError;
use crate::ledger::Log;

/// How many events are read at once.
const PAGE: u32 = 1000;

/// Something that happened, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// The position in the log.
    pub position: i64,
    /// The time.
    pub time: Timestamp,
}

/// One data key of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyFate {
    /// Whose key.
    pub subject: String,
    /// Its number.
    pub key: KeyId,
    /// Where the log says that it was deleted, and why; none: it lives.
    #[serde(flatten)]
    pub deleted: Option<Deleted>,
    /// Why it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// Where and why a key was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// The position in the log.
    pub position: i64,
    /// The time.
    pub time: Timestamp,
    /// Why.
    pub cause: Cause,
}

/// What is kept, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retained {
    /// What.
    pub what: String,
    /// How many of it.
    pub count: usize,
    /// Why.
    pub why: String,
}

/// What older copies of deleted keys are worth, in versions of rows and in the write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copies {
    /// Whether they open nothing with the key files as they are now.
    pub worthless: bool,
    /// Otherwise, by when they open nothing at the latest; none: that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

/// The report of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasureReport {
    /// The account.
    pub account: AccId,
    /// Where it was created.
    pub created: Moment,
    /// Where it was removed; none: it was not.
    pub removed: Option<Moment>,
    /// Why it was removed.
    pub reason: Option<Removal>,
    /// Up to where the log was looked at.
    pub until: i64,
    /// Its data keys.
    pub keys: Vec<KeyFate>,
    /// How many payloads were sealed for it or by it.
    pub sealed: usize,
    /// How many of these nobody can read any more.
    pub unreadable: usize,
    /// How many of those are gone with their bytes.
    pub swept: usize,
    /// What is kept and why.
    pub retained: Vec<Retained>,
    /// Positions of payloads that can be read and should not be.
    pub readable: Vec<i64>,
    /// What older copies of the deleted keys are worth; none where no key was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// What still has to follow from the removal: conversations, groups.
    pub unfinished: [usize; 2],
}

impl ErasureReport {
    /// Whether nothing is readable that should not be, and nothing is left to follow.
    pub fn complete(&self) -> bool {
        self.removed.is_some() && self.readable.is_empty() && self.unfinished == [0, 0]
    }
}

/// What a sealed payload of the account is, in the order of [`Retained`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Of the account itself, or written by it.
    Own,
    PublicKey,
    /// The name that it gave to a group.
    GroupName(GroupId),
    /// A wrapped key of a group that it stored, or that was stored for it or wrapped by it.
    GroupKey(GroupId),
}

/// What is collected on the way through the streams.
#[derive(Default)]
struct Survey {
    created: Option<Moment>,
    removed: Option<(Moment, Removal)>,
    subjects: BTreeSet<Subject>,
    parts: BTreeMap<Position, (Day, Part)>,
    events: usize,
    /// Groups that are destroyed.
    ended: BTreeSet<GroupId>,
}

/// Reports what became of all that was sealed for an account or by it; none if it never was.
///
/// # Errors
/// [`AuditError`]
pub async fn erasure_report(log: &Log, read: &ReadModels, account: AccId) -> Result<Option<ErasureReport>, AuditError> {
    let until = log.newest().await?;
    let mut survey = Survey::default();
    survey.subjects.extend([Subject::Account(account), Subject::PublicKey(account)]);
    let mut streams = log.streams_of(account).await?;
    for group in read.groups_ever(account).await? {
        streams.extend([StreamName::Group(group), StreamName::Chat(group)]);
    }
    for stream in streams {
        let mut pages = std::pin::pin!(log.whole_stream(stream));
        while let Some(page) = pages.try_next().await? {
            page.iter().for_each(|event| survey.look_at(event, account));
        }
    }
    let Some(created) = survey.created else { return Ok(None) };
    let deletions = deletions(log, &survey.subjects, Position(created.position), until).await?;
    let holds = read.keyholder_in(account).await?;
    let subjects: Vec<Subject> = survey.subjects.iter().copied().collect();
    let mut keys = Vec::new();
    for (subject, key, lives) in log.keys_of(&subjects).await? {
        let kept = lives.then(|| {
            if matches!(subject, Subject::PublicKey(_)) && !holds.is_empty() {
                format!("needed in {}", list(&holds))
            } else if survey.removed.is_some() {
                "not erased yet".to_owned()
            } else {
                "the account was not removed".to_owned()
            }
        });
        keys.push(KeyFate { subject: subject.to_string(), key, deleted: deletions.get(&key).copied(), kept });
    }
    let ties = read.open_relations(account, i64::MAX).await?;
    let mut report = ErasureReport {
        account,
        created,
        removed: survey.removed.map(|(moment, _)| moment),
        reason: survey.removed.map(|(_, reason)| reason),
        until: until.0,
        keys,
        sealed: survey.parts.len(),
        unreadable: 0,
        swept: 0,
        retained: Vec::new(),
        readable: Vec::new(),
        copies: None,
        unfinished: [ties.partners.len(), ties.groups.len()],
    };
    survey.judge(log, &holds, &mut report).await?;
    Ok(Some(report))
}

/// Group ids for people.
fn list(groups: &[GroupId]) -> String {
    groups.iter().map(GroupId::to_string).collect::<Vec<_>>().join(", ")
}

/// Where the keys of these subjects were deleted.
async fn deletions(
    log: &Log,
    subjects: &BTreeSet<Subject>,
    mut after: Position,
    until: Position,
) -> Result<BTreeMap<KeyId, Deleted>, AuditError> {
    let mut found = BTreeMap::new();
    loop {
        let page = log.read_streams(&[StreamName::Erasure], after, until, PAGE).await?;
        for recorded in &page {
            let Some(deleted) = recorded.event.deleted_keys() else { continue };
            let place = Deleted { position: recorded.position.0, time: recorded.time, cause: deleted.cause };
            let keys = deleted.keys.iter().filter(|key| subjects.contains(&key.subject));
            found.extend(keys.map(|key| (key.id, place)));
        }
        match page.last() {
            Some(last) => after = last.position,
            None => return Ok(found),
        }
    }
}

impl Survey {
    fn look_at(&mut self, recorded: &Recorded, account: AccId) {
        let acted = (recorded.actor == Some(account)).then_some(Part::Own);
        let part = match &recorded.event {
            Event::Account(event) => Some(self.of_account(event, recorded)),
            // In streams of the account's own.
            Event::Device(_) | Event::Media(_) => Some(Part::Own),
            Event::Dialog(DialogEvent::ConversationStarted(e)) => {
                self.subjects.insert(Subject::Stay { thread: e.thread, author: account, stay: 1 });
                Some(Part::Own)
            }
            Event::Message(event) => (event.header().sender == account).then_some(Part::Own),
            Event::Group(event) => self.of_group(event, recorded.stream, account, acted),
            // What is sealed of these families (`Event::sealing`) is the account's own, which did it.
            Event::Dialog(DialogEvent::ConversationEnded(_))
            | Event::Session(_)
            | Event::Reads(_)
            | Event::Token(_)
            | Event::Server(_)
            | Event::Erasure(_) => acted,
        };
        let Some(part) = part else { return };
        self.events += 1;
        if recorded.sealed.is_some() {
            self.parts.insert(recorded.position, (recorded.time.day(), part));
        }
    }

    fn of_account(&mut self, event: &AccountEvent, recorded: &Recorded) -> Part {
        let here = Moment { position: recorded.position.0, time: recorded.time };
        match event {
            AccountEvent::AccountCreated(_) => self.created = Some(here),
            AccountEvent::AccountRemoved(e) => self.removed = Some((here, e.reason)),
            AccountEvent::PublicKeySet(_) => return Part::PublicKey,
            AccountEvent::NicknameChanged(_)
            | AccountEvent::StatusSet(_)
            | AccountEvent::CodesSet(_)
            | AccountEvent::CodeChanged(_)
            | AccountEvent::PasswordChanged(_)
            | AccountEvent::LifetimeExtended(_) => {}
        }
        Part::Own
    }

    /// `acted`: what it is where the account did it, and nothing more is to be said of it.
    fn of_group(
        &mut self,
        event: &GroupEvent,
        stream: StreamName,
        account: AccId,
        acted: Option<Part>,
    ) -> Option<Part> {
        match event {
            GroupEvent::GroupCreated(e) => {
                let mine = e.admin == account;
                if mine {
                    self.subjects.insert(Subject::Stay { thread: ThreadId::Group(e.group), author: account, stay: 1 });
                }
                mine.then_some(Part::GroupName(e.group))
            }
            GroupEvent::MemberJoined(e) => self.arrived(e.group, e.account == account, account, e.stay),
            GroupEvent::MemberAdded(e) => self.arrived(e.group, e.account == account, account, e.stay),
            GroupEvent::GroupKeyStored(e) => {
                let StreamName::Group(group) = stream else { return None };
                [e.account, e.by, e.keyholder].contains(&account).then_some(Part::GroupKey(group))
            }
            GroupEvent::GroupDestroyed(e) => {
                self.ended.insert(e.group);
                (e.by == account).then_some(Part::Own)
            }
            GroupEvent::MemberLeft(_)
            | GroupEvent::MemberKicked(_)
            | GroupEvent::VersionAllocated(_)
            | GroupEvent::GroupUpdateSignalled(_) => acted,
        }
    }

    fn arrived(&mut self, group: GroupId, me: bool, account: AccId, stay: u32) -> Option<Part> {
        me.then(|| {
            self.subjects.insert(Subject::Stay { thread: ThreadId::Group(group), author: account, stay });
            Part::Own
        })
    }

    /// Looks at what is left of each payload.
    async fn judge(self, log: &Log, holds: &[GroupId], report: &mut ErasureReport) -> Result<(), AuditError> {
        let mut retained: BTreeMap<Part, usize> = BTreeMap::new();
        let all: Vec<(Position, Day)> = self.parts.iter().map(|(position, (day, _))| (*position, *day)).collect();
        for some in all.chunks(PAGE as usize) {
            for trace in log.traces(some).await? {
                let Some((_, part)) = self.parts.get(&trace.position) else { continue };
                let may_stay = match part {
                    Part::Own => false,
                    Part::PublicKey => !holds.is_empty(),
                    // The name of a destroyed group is shown for a while.
                    Part::GroupName(_) => true,
                    Part::GroupKey(group) => !self.ended.contains(group),
                };
                match (trace.readable, may_stay) {
                    (false, _) => {
                        report.unreadable += 1;
                        report.swept += usize::from(!trace.bytes);
                    }
                    (true, true) => *retained.entry(*part).or_default() += 1,
                    (true, false) => report.readable.push(trace.position.0),
                }
            }
        }
        let events = "numbers, times and thread ids of its events, under the account's number as a pseudonym";
        let pseudonyms = "the log is append-only; they say who acted, not what";
        report.retained.push(Retained { what: events.to_owned(), count: self.events, why: pseudonyms.to_owned() });
        for (part, count) in retained {
            let (what, why) = match part {
                Part::Own => continue,
                Part::PublicKey => {
                    ("its public key".to_owned(), format!("stored group keys in {} name it as keyholder", list(holds)))
                }
                Part::GroupName(group) if self.ended.contains(&group) => {
                    (format!("the name of {group}"), "its members read of the group's end for 30 days".to_owned())
                }
                Part::GroupName(group) => (format!("the name of {group}"), "the group lives".to_owned()),
                Part::GroupKey(group) => {
                    (format!("wrapped keys of {group}"), "its members still read what they encrypted".to_owned())
                }
            };
            report.retained.push(Retained { what, count, why });
        }
        Ok(())
    }
}
