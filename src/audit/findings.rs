//! What is wrong in a group's history: rules that an auditor would check by hand, each finding
//! with the positions that prove it. `docs/audit.md` says what each means and what to do.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::{AccId, GroupId, GroupVersion, Position, StreamName, Timestamp};
use chrono::TimeDelta;
use tokio::sync::Semaphore;

use super::history::{Act, Entry};
use super::state::{StateThen, membership};
use super::{AuditError, Visibility};
use crate::ledger::Log;

/// How long a key may take to arrive.
const GRACE: TimeDelta = TimeDelta::minutes(1);

/// Turns of those who want a whole history read.
pub(super) static JUDGING: Semaphore = Semaphore::const_new(2);

/// Which rule a finding breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Somebody who has left could read what was written: from the departure until a version that
    /// somebody else allocated, that has no key for the departed, and that everybody holds.
    ExposureWindow,
    /// A member was without a key of the newest version for more than a minute.
    MissingKey,
    /// A key was stored for somebody who was no member.
    StrayKey,
    /// Nobody but its taker got a key of a version within a minute.
    UndistributedVersion,
    /// A stored key was replaced by another one.
    ReplacedKey,
}

impl Rule {
    /// Whether it is about a stretch of time; else about a moment.
    pub const fn lasts(self) -> bool {
        matches!(self, Self::ExposureWindow | Self::MissingKey)
    }

    /// The name, as documents and answers have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExposureWindow => "exposure-window",
            Self::MissingKey => "missing-key",
            Self::StrayKey => "stray-key",
            Self::UndistributedVersion => "undistributed-version",
            Self::ReplacedKey => "replaced-key",
        }
    }
}

/// How somebody who has left can have the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// A key of the then newest version was stored for it.
    HoldsKey,
    /// It allocated that version, or stored keys of it. After a leave with an own rekey, as the
    /// protocol has it, this is so by nature: the next rekey of somebody else ends it.
    KnowsKey,
}

impl Knowledge {
    /// The name, as documents and answers have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HoldsKey => "holds-key",
            Self::KnowsKey => "knows-key",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which rule it breaks.
    pub rule: Rule,
    /// Whom it is about.
    pub account: AccId,
    /// Which version of the key.
    pub version: GroupVersion,
    /// Of an exposure window: how the departed can have the key.
    pub knowledge: Option<Knowledge>,
    /// Where it began.
    pub from: Position,
    /// When it began.
    pub since: Timestamp,
    /// Where it ended; none: it lasts, or is of a moment.
    pub until: Option<Position>,
    /// Of an exposure window: how many messages were written in it, as far as the reader sees them.
    pub messages: Option<i64>,
    /// The events that prove it.
    pub proof: Vec<Position>,
}

/// The findings of a group's history up to now, in the order in which they began.
///
/// # Errors
/// [`AuditError`]
pub async fn findings(
    log: &Log,
    group: GroupId,
    sight: &Visibility,
    now: Timestamp,
) -> Result<Vec<Finding>, AuditError> {
    let newest = log.newest().await?;
    let mut found = {
        // A long history takes memory and time: few at once, and not on the threads that answer.
        let _turn = JUDGING.acquire().await;
        let entries = membership(log, group).await?;
        tokio::task::spawn_blocking(move || judge(&entries, now)).await?
    };
    for finding in found.iter_mut().filter(|finding| finding.rule == Rule::ExposureWindow) {
        let mut messages = 0;
        for (after, until) in sight.visible_ranges(finding.from, finding.until.unwrap_or(newest)) {
            messages += log.count(StreamName::Chat(group), after, until).await?;
        }
        finding.messages = Some(messages);
    }
    Ok(found)
}

/// A window that is still open.
struct Window {
    finding: Finding,
    /// Versions above this one may close it.
    version: GroupVersion,
}

/// A wait of a member for its key of the newest version.
struct Wait {
    version: GroupVersion,
    since: Timestamp,
    from: Position,
    proof: Vec<Position>,
}

/// The rules, over the entries of one group but its messages.
#[derive(Default)]
struct Judge {
    state: StateThen,
    found: Vec<Finding>,
    windows: Vec<Window>,
    waits: BTreeMap<AccId, Wait>,
    /// Of each version: who took it, where and when.
    taken: BTreeMap<GroupVersion, (AccId, Position, Timestamp)>,
    /// Versions that were taken by the only member: there was nobody to give a key to.
    alone: BTreeSet<GroupVersion>,
    /// Who stored keys of a version.
    storers: BTreeMap<GroupVersion, BTreeSet<AccId>>,
    /// The first key of a version that was stored for somebody else than its taker.
    distributed: BTreeMap<GroupVersion, Timestamp>,
}

/// The findings of a history, its messages aside, as known at `now`.
pub(super) fn judge(entries: &[Entry], now: Timestamp) -> Vec<Finding> {
    let mut judge = Judge::default();
    for entry in entries {
        judge.entry(entry);
    }
    judge.end(now)
}

impl Judge {
    fn entry(&mut self, entry: &Entry) {
        match &entry.act {
            Act::Left { account, .. } | Act::Kicked { account, .. } => self.departure(entry, *account),
            Act::KeyStored { version, account, replaces, .. } => {
                self.key_stored(entry, *version, *account, *replaces);
            }
            Act::VersionAllocated { version } => self.version_taken(entry, *version),
            Act::Joined { account, .. } | Act::Added { account, .. } => {
                self.close(entry.position, |window| window.finding.account == *account);
            }
            Act::Destroyed { .. } => self.close(entry.position, |_| true),
            Act::Created { .. } | Act::Message { .. } => {}
        }
        self.state.apply(entry);
        match &entry.act {
            Act::Message { .. } => {}
            Act::KeyStored { version, account, .. } => {
                self.waiting(entry, Some(*account));
                self.close_by_version(entry.position, *version, *version);
            }
            Act::Joined { account, .. } | Act::Added { account, .. } => {
                self.waiting(entry, Some(*account));
                // One more member holds no version more; but where there was none, nothing was held by all.
                if self.state.members.len() == 1 {
                    self.close_by_any(entry.position);
                }
            }
            Act::Left { account, .. } | Act::Kicked { account, .. } => {
                self.waiting(entry, Some(*account));
                self.close_by_any(entry.position);
            }
            Act::VersionAllocated { version } => {
                self.waiting(entry, None);
                self.close_by_version(entry.position, *version, *version);
            }
            Act::Created { .. } | Act::Destroyed { .. } => self.waiting(entry, None),
        }
    }

    /// A member that leaves may have the key of the newest version.
    fn departure(&mut self, entry: &Entry, account: AccId) {
        let Some((version, by, allocated)) = self.state.version else { return };
        let held = self.state.keys.get(&version).and_then(|keys| keys.get(&account));
        let took = by == Some(account);
        let stored = self.storers.get(&version).is_some_and(|storers| storers.contains(&account));
        let (knowledge, proof) = match held {
            Some(key) => (Knowledge::HoldsKey, vec![allocated, key.position, entry.position]),
            None if took || stored => (Knowledge::KnowsKey, vec![allocated, entry.position]),
            None => return,
        };
        let finding = Finding {
            rule: Rule::ExposureWindow,
            account,
            version,
            knowledge: Some(knowledge),
            from: entry.position,
            since: entry.time,
            until: None,
            messages: None,
            proof,
        };
        self.windows.push(Window { finding, version });
    }

    fn version_taken(&mut self, entry: &Entry, version: GroupVersion) {
        if let Some(by) = entry.actor {
            self.taken.insert(version, (by, entry.position, entry.time));
            if self.state.members.keys().all(|member| *member == by) {
                self.alone.insert(version);
            }
        }
    }

    fn key_stored(&mut self, entry: &Entry, version: GroupVersion, account: AccId, replaces: Option<Position>) {
        let moment = |rule, proof| Finding {
            rule,
            account,
            version,
            knowledge: None,
            from: entry.position,
            since: entry.time,
            until: None,
            messages: None,
            proof,
        };
        if !self.state.members.contains_key(&account) {
            self.found.push(moment(Rule::StrayKey, vec![entry.position]));
        }
        if let Some(replaced) = replaces {
            self.found.push(moment(Rule::ReplacedKey, vec![replaced, entry.position]));
        }
        if let Some(by) = entry.actor {
            self.storers.entry(version).or_default().insert(by);
        }
        if self.taken.get(&version).is_none_or(|(by, ..)| *by != account) {
            self.distributed.entry(version).or_insert(entry.time);
        }
    }

    /// Brings the waits of members for their keys up to the state after an entry: of the one that it is about, or of
    /// all.
    fn waiting(&mut self, entry: &Entry, about: Option<AccId>) {
        let Some((newest, _, allocated)) = self.state.version else { return };
        let accounts: Vec<AccId> = match about {
            Some(account) => vec![account],
            None => self
                .waits
                .keys()
                .chain(self.state.members.keys())
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        };
        for account in accounts {
            let member = self.state.members.get(&account).map(|member| member.since);
            let has = self.state.keys.get(&newest).is_some_and(|keys| keys.contains_key(&account));
            let since = member.filter(|_| !has);
            let lasts = |wait: &Wait| wait.version == newest && since.is_some();
            if self.waits.get(&account).is_some_and(|wait| !lasts(wait))
                && let Some(wait) = self.waits.remove(&account)
            {
                self.waited(account, wait, entry.time, Some(entry.position));
            }
            if let Some(since) = since {
                self.waits.entry(account).or_insert(Wait {
                    version: newest,
                    since: entry.time,
                    from: entry.position,
                    proof: vec![allocated, since],
                });
            }
        }
    }

    fn waited(&mut self, account: AccId, wait: Wait, end: Timestamp, until: Option<Position>) {
        if wait.since.plus(GRACE) < end {
            let Wait { version, since, from, mut proof } = wait;
            proof.sort_unstable();
            proof.dedup();
            self.found.push(Finding {
                rule: Rule::MissingKey,
                account,
                version,
                knowledge: None,
                from,
                since,
                until,
                messages: None,
                proof,
            });
        }
    }

    /// The same for all versions that can end a window: those above it.
    fn close_by_any(&mut self, position: Position) {
        if let Some(least) = self.windows.iter().map(|window| window.version).min() {
            self.close_by_version(position, least, GroupVersion::MAX);
        }
    }

    /// Closes the windows that one of these versions ends, if everybody holds it now.
    fn close_by_version(&mut self, position: Position, first: GroupVersion, last: GroupVersion) {
        if self.windows.is_empty() || self.state.members.is_empty() {
            return;
        }
        let everybody = |version: &GroupVersion| {
            let keys = self.state.keys.get(version);
            keys.is_some_and(|keys| self.state.members.keys().all(|member| keys.contains_key(member)))
        };
        // Who took each such version, and who can have it.
        let safe: Vec<(GroupVersion, AccId, BTreeSet<AccId>)> = self
            .taken
            .range(first..=last)
            .filter(|(version, _)| everybody(version))
            .map(|(version, (by, ..))| (*version, *by, self.state.keys[version].keys().copied().collect()))
            .collect();
        if safe.is_empty() {
            return;
        }
        self.close(position, |window| {
            let departed = window.finding.account;
            safe.iter()
                .any(|(version, by, held)| *version > window.version && *by != departed && !held.contains(&departed))
        });
    }

    fn close(&mut self, position: Position, which: impl Fn(&Window) -> bool) {
        let (closed, open) = std::mem::take(&mut self.windows).into_iter().partition(which);
        self.windows = open;
        for Window { mut finding, .. } in closed {
            finding.until = Some(position);
            finding.proof.push(position);
            self.found.push(finding);
        }
    }

    fn end(mut self, now: Timestamp) -> Vec<Finding> {
        for (account, wait) in std::mem::take(&mut self.waits) {
            self.waited(account, wait, now, None);
        }
        for Window { finding, .. } in std::mem::take(&mut self.windows) {
            self.found.push(finding);
        }
        for (version, (by, position, time)) in &self.taken {
            let deadline = time.plus(GRACE);
            let late = self.distributed.get(version).is_none_or(|first| *first > deadline);
            if late && deadline < now && !self.alone.contains(version) {
                self.found.push(Finding {
                    rule: Rule::UndistributedVersion,
                    account: *by,
                    version: *version,
                    knowledge: None,
                    from: *position,
                    since: *time,
                    until: None,
                    messages: None,
                    proof: vec![*position],
                });
            }
        }
        self.found.sort_by_key(|finding| (finding.from, finding.rule, finding.account));
        self.found
    }
}
