//! Random lives of a group, decided by the rules of groups, judged twice: by the code, and by the
//! words of `docs/audit.md` over the whole history at once, with no state and no shortcuts.

use std::collections::BTreeSet;

use be8_events::account::AccountCreated;
use be8_events::group::{GroupKeySecret, GroupKeyStored, GroupSecret};
use be8_events::message::MessageSecret;
use be8_events::session::{Opening, SessionOpened};
use be8_events::{Event, GroupId, NewEvent, Recorded, Secret, StreamName, ThreadId};
use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::domain::group::{AddMember, CreateGroup, DestroyGroup, JoinGroup, KickMember, LeaveGroup};
use crate::domain::group_keys::{AllocateVersion, StoreKey};
use crate::domain::message::{NamedVersion, Receiver, WriteMessage};
use crate::domain::testing::World;
use crate::domain::{Command, States};

/// Those who live in the group, by small numbers; the first creates it.
const PEOPLE: std::ops::Range<i64> = 1..5;

fn group() -> GroupId {
    GroupId::new(10_001).unwrap()
}

fn session(who: i64) -> Hash32 {
    Hash32([who as u8; 32])
}

/// What somebody does.
#[derive(Debug, Clone, Copy)]
enum Step {
    Join,
    Add(i64),
    Leave,
    Kick(i64),
    Destroy,
    Allocate,
    Store {
        whom: i64,
        key: u8,
    },
    /// A version, and its key for everybody who is there.
    Rekey,
    /// A version, and its key for some, by bits.
    HalfRekey(u8),
    /// A version, its key for all others, and away: as the web client leaves.
    RekeyAndLeave,
    Write,
    /// A key that no rule lets anybody store: the log was written by something else.
    Forge {
        version: u32,
        whom: i64,
    },
}

/// Who does what, and how many seconds pass before.
fn steps() -> impl Strategy<Value = Vec<(i64, Step, i64)>> {
    let one = || PEOPLE;
    let step = prop_oneof![
        10 => Just(Step::Join),
        4 => one().prop_map(Step::Add),
        4 => Just(Step::Leave),
        3 => one().prop_map(Step::Kick),
        4 => Just(Step::Allocate),
        10 => (one(), 0..3u8).prop_map(|(whom, key)| Step::Store { whom, key }),
        6 => Just(Step::Rekey),
        4 => (0..16u8).prop_map(Step::HalfRekey),
        4 => Just(Step::RekeyAndLeave),
        8 => Just(Step::Write),
        1 => (1..4u32, one()).prop_map(|(version, whom)| Step::Forge { version, whom }),
    ];
    let step = prop_oneof![80 => step, 1 => Just(Step::Destroy)];
    let pause = prop_oneof![6 => 0..5i64, 3 => 20..45i64, 3 => 58..63i64, 1 => 100..1000i64];
    let who = prop_oneof![2 => Just(PEOPLE.start), 5 => PEOPLE];
    prop::collection::vec((who, step, pause), 1..80)
}

/// The log of one group, written by the rules.
struct Town {
    world: World,
    /// What an auditor reads.
    entries: Vec<Entry>,
}

impl Town {
    fn new() -> Self {
        let mut town = Self { world: World::new(), entries: Vec::new() };
        for who in PEOPLE {
            let account = id(who);
            let until = town.world.now.plus(TimeDelta::days(3000));
            town.happens(StreamName::Account(account), None, AccountCreated { account, until }.into());
            let opened = SessionOpened { account, how: Opening::Created };
            town.happens(StreamName::Session(session(who)), None, opened.into());
        }
        let name = Some(Secret::new(GroupSecret { name: "n".to_owned() }));
        let session = Some(session(PEOPLE.start));
        town.execute(&CreateGroup { session, name, access: Some(Access::Public), capacity: 3 });
        town
    }

    fn happens(&mut self, stream: StreamName, actor: Option<AccId>, event: Event) {
        let position = self.world.given(stream, event.clone());
        let version = self.world.get(&stream).map_or(0, |(_, version)| version);
        let recorded = Recorded {
            position,
            stream,
            version,
            time: self.world.now,
            actor,
            salt: Hash32([0; 32]),
            schema: event.schema(),
            payload: event.payload(),
            sealed: None,
            event,
        };
        self.entries.extend(Entry::of(&recorded));
    }

    /// Lets it happen, if the rules do.
    fn execute<C: Command>(&mut self, command: &C) {
        let Ok(decision) = self.world.when(command) else { return };
        for NewEvent { stream, actor, event, .. } in decision.events {
            self.happens(stream, actor, event);
        }
    }

    fn step(&mut self, who: i64, step: Step) {
        let (session, group) = (Some(session(who)), Some(group()));
        match step {
            Step::Join => self.execute(&JoinGroup { session, group }),
            Step::Add(whom) => self.execute(&AddMember { session, group, member: Some(id(whom)) }),
            Step::Leave => self.execute(&LeaveGroup { session, group }),
            Step::Kick(whom) => self.execute(&KickMember { session, group, member: Some(id(whom)) }),
            Step::Destroy => self.execute(&DestroyGroup { session, group }),
            Step::Allocate => self.execute(&AllocateVersion { session, group }),
            Step::Store { whom, key } => self.store(who, whom, key),
            Step::Rekey => self.rekey(who, u8::MAX),
            Step::HalfRekey(some) => self.rekey(who, some),
            Step::RekeyAndLeave => {
                self.rekey(who, !(1 << (who - 1)));
                self.execute(&LeaveGroup { session, group });
            }
            Step::Write => {
                let content = MessageSecret { text: "t".to_owned(), iv: None, kind: None, endless: None };
                self.execute(&WriteMessage {
                    session,
                    receiver: group.map(Receiver::Group),
                    sender: Some(id(who)),
                    thread: group.map(ThreadId::Group),
                    version: NamedVersion::Absent,
                    content: Ok(Secret::new(content)),
                });
            }
            Step::Forge { version, whom } => {
                let taken = self.entries.iter().any(|e| e.act == Act::VersionAllocated { version });
                let replaces = last_key(&self.entries, version, id(whom)).map(|key| key.position);
                let event = GroupKeyStored {
                    version,
                    account: id(whom),
                    by: id(who),
                    keyholder: id(who),
                    sha256: Hash32([0xff; 32]),
                    replaces,
                };
                if taken {
                    self.happens(StreamName::Group(self::group()), Some(id(who)), event.into());
                }
            }
        }
    }

    fn rekey(&mut self, who: i64, some: u8) {
        let before = self.entries.len();
        self.execute(&AllocateVersion { session: Some(session(who)), group: Some(group()) });
        if self.entries.len() > before {
            PEOPLE.filter(|whom| some >> (whom - 1) & 1 == 1).for_each(|whom| self.store(who, whom, 9));
        }
    }

    fn store(&mut self, who: i64, whom: i64, key: u8) {
        let key = Secret::new(GroupKeySecret { key: format!("wrapped key {key}"), iv: None });
        let (account, keyholder) = (Some(id(whom)), Some(id(who)));
        let (session, group) = (Some(session(who)), Some(group()));
        self.execute(&StoreKey { session, group, account, keyholder, key: Some(key) });
    }
}

// From here on the words of docs/audit.md.

fn begins(entry: &Entry, account: AccId) -> bool {
    match entry.act {
        Act::Created { .. } => entry.actor == Some(account),
        Act::Joined { account: who, .. } | Act::Added { account: who, .. } => who == account,
        _ => false,
    }
}

fn departs(entry: &Entry) -> Option<AccId> {
    match entry.act {
        Act::Left { account, .. } | Act::Kicked { account, .. } => Some(account),
        _ => None,
    }
}

fn ends(entry: &Entry, account: AccId) -> bool {
    departs(entry) == Some(account) || matches!(entry.act, Act::Destroyed { .. })
}

/// A stay: from the entry that began it to the one that ended it.
fn stays(history: &[Entry], account: AccId) -> Vec<(&Entry, Option<&Entry>)> {
    let mut stays = Vec::new();
    let mut rest = history.iter();
    while let Some(begin) = rest.find(|entry| begins(entry, account)) {
        stays.push((begin, rest.find(|entry| ends(entry, account))));
    }
    stays
}

fn members(history: &[Entry]) -> Vec<AccId> {
    let there = |account: &AccId| stays(history, *account).last().is_some_and(|(_, end)| end.is_none());
    PEOPLE.map(id).filter(there).collect()
}

/// The key of a version for an account that was stored last.
fn last_key(history: &[Entry], of: GroupVersion, whom: AccId) -> Option<&Entry> {
    let is = |entry: &&Entry| matches!(entry.act, Act::KeyStored { version, account, .. } if version == of && account == whom);
    history.iter().rfind(is)
}

/// All versions that were taken, in their order: the version, its taker, the entry.
fn versions(history: &[Entry]) -> Vec<(GroupVersion, AccId, &Entry)> {
    let taken = |entry: &'_ Entry| match entry.act {
        Act::VersionAllocated { version } => Some((version, entry.actor.unwrap())),
        _ => None,
    };
    history.iter().filter_map(|entry| taken(entry).map(|(version, by)| (version, by, entry))).collect()
}

fn finding(rule: Rule, account: AccId, version: GroupVersion, begin: &Entry, proof: &[&Entry]) -> Finding {
    Finding {
        rule,
        account,
        version,
        knowledge: None,
        from: begin.position,
        since: begin.time,
        until: None,
        messages: None,
        proof: proof.iter().map(|entry| entry.position).collect(),
    }
}

fn more_than_a_minute(from: Timestamp, to: Timestamp) -> bool {
    to.micros() - from.micros() > 60_000_000
}

fn exposure_windows(history: &[Entry]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (nth, departure) in history.iter().enumerate() {
        let Some(departed) = departs(departure) else { continue };
        let before = &history[..nth];
        let Some((version, taker, taken)) = versions(before).pop() else { continue };
        let key = last_key(before, version, departed);
        let stored = before.iter().any(|entry| {
            entry.actor == Some(departed) && matches!(entry.act, Act::KeyStored { version: of, .. } if of == version)
        });
        let knowledge = match key {
            Some(_) => Knowledge::HoldsKey,
            None if taker == departed || stored => Knowledge::KnowsKey,
            None => continue,
        };
        // The first moment at which one of the three ends has come.
        let end = (nth + 1..history.len()).find(|at| {
            let (then, so_far) = (&history[*at], &history[..=*at]);
            let everybody = members(so_far);
            let safe = |&(newer, by, _): &(GroupVersion, AccId, &Entry)| {
                newer > version
                    && by != departed
                    && last_key(so_far, newer, departed).is_none()
                    && !everybody.is_empty()
                    && everybody.iter().all(|member| last_key(so_far, newer, *member).is_some())
            };
            begins(then, departed) || matches!(then.act, Act::Destroyed { .. }) || versions(so_far).iter().any(safe)
        });
        let end = end.map(|at| &history[at]);
        let proof: Vec<&Entry> = [Some(taken), key, Some(departure), end].into_iter().flatten().collect();
        let mut window = finding(Rule::ExposureWindow, departed, version, departure, &proof);
        window.knowledge = Some(knowledge);
        window.until = end.map(|entry| entry.position);
        found.push(window);
    }
    found
}

fn missing_keys(history: &[Entry], now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let versions = versions(history);
    for (nth, (version, _, taken)) in versions.iter().enumerate() {
        for account in PEOPLE.map(id) {
            for (came, went) in stays(history, account) {
                let begin = if taken.position > came.position { *taken } else { came };
                let is_key = |entry: &&Entry| matches!(entry.act, Act::KeyStored { version: of, account: whom, .. } if of == *version && whom == account);
                let key = history.iter().find(is_key);
                let next = versions.get(nth + 1).map(|(_, _, entry)| *entry);
                let end = [key, next, went].into_iter().flatten().min_by_key(|entry| entry.position);
                if end.is_some_and(|end| end.position < begin.position)
                    || !more_than_a_minute(begin.time, end.map_or(now, |end| end.time))
                {
                    continue;
                }
                let proof = if came.position < taken.position { [came, *taken] } else { [*taken, came] };
                let mut missing = finding(Rule::MissingKey, account, *version, begin, &proof);
                missing.until = end.map(|entry| entry.position);
                found.push(missing);
            }
        }
    }
    found
}

fn moments(history: &[Entry], now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    for (nth, entry) in history.iter().enumerate() {
        let before = &history[..nth];
        match entry.act {
            Act::KeyStored { version, account, .. } => {
                if !members(before).contains(&account) {
                    found.push(finding(Rule::StrayKey, account, version, entry, &[entry]));
                }
                if let Some(replaced) = last_key(before, version, account) {
                    found.push(finding(Rule::ReplacedKey, account, version, entry, &[replaced, entry]));
                }
            }
            Act::VersionAllocated { version } => {
                let taker = entry.actor.unwrap();
                let others = members(before).iter().any(|member| *member != taker);
                let in_time = history[nth..].iter().any(|later| {
                    matches!(later.act, Act::KeyStored { version: of, account, .. } if of == version && account != taker)
                        && !more_than_a_minute(entry.time, later.time)
                });
                if others && !in_time && more_than_a_minute(entry.time, now) {
                    found.push(finding(Rule::UndistributedVersion, taker, version, entry, &[entry]));
                }
            }
            _ => {}
        }
    }
    found
}

/// Everything that is wrong in a history, in the order in which it began.
fn by_the_book(history: &[Entry], now: Timestamp) -> Vec<Finding> {
    let mut found = exposure_windows(history);
    found.extend(missing_keys(history, now));
    found.extend(moments(history, now));
    found.sort_by_key(|finding| (finding.from, finding.rule, finding.account));
    found
}

/// The messages of a window are counted as `findings` has the database count them.
fn messages_agree(entries: &[Entry], history: &[Entry], windows: &[Finding]) {
    let messages =
        || entries.iter().filter(|entry| matches!(entry.act, Act::Message { .. })).map(|entry| entry.position);
    let newest = entries.last().map_or(Position::START, |entry| entry.position);
    for window in windows.iter().filter(|finding| finding.rule == Rule::ExposureWindow) {
        let until = window.until.unwrap_or(newest);
        let counted = |sight: &Visibility| {
            let visible_ranges = sight.visible_ranges(window.from, until);
            messages().filter(|at| visible_ranges.iter().any(|(after, to)| after < at && at <= to)).count()
        };
        let within = |at: &Position| window.from < *at && window.until.is_none_or(|until| *at < until);
        assert_eq!(counted(&Visibility::Everything), messages().filter(within).count());
        for reader in PEOPLE.map(id) {
            let own = stays(history, reader);
            let was_there = |at: &Position| {
                own.iter().any(|(came, went)| came.position < *at && went.is_none_or(|went| *at < went.position))
            };
            let sight =
                Visibility::Stays(own.iter().map(|(came, went)| (came.position, went.map(|e| e.position))).collect());
            assert_eq!(counted(&sight), messages().filter(within).filter(was_there).count(), "{reader}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_random_life_is_judged_as_the_rules_are_written(steps in steps(), later in 0..100i64) {
        let mut town = Town::new();
        for (who, step, pause) in steps {
            town.world.now = town.world.now.plus(TimeDelta::seconds(pause));
            town.step(who, step);
        }
        let now = town.world.now.plus(TimeDelta::seconds(later));
        let history: Vec<Entry> =
            town.entries.iter().filter(|entry| !matches!(entry.act, Act::Message { .. })).cloned().collect();
        let expected = by_the_book(&history, now);
        prop_assert_eq!(judge(&history, now), expected.clone(), "{:#?}", history);
        messages_agree(&town.entries, &history, &expected);
    }
}

/// The random lives are eventful: each rule is broken in them, and windows of both kinds end and last.
#[test]
fn random_lives_break_every_rule() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut broken = BTreeSet::new();
    for _ in 0..300 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let mut town = Town::new();
        for (who, step, pause) in steps {
            town.world.now = town.world.now.plus(TimeDelta::seconds(pause));
            town.step(who, step);
        }
        let history: Vec<Entry> =
            town.entries.iter().filter(|entry| !matches!(entry.act, Act::Message { .. })).cloned().collect();
        for finding in by_the_book(&history, town.world.now) {
            let knowledge = finding.knowledge.map_or("", Knowledge::name);
            broken.insert((finding.rule.name(), knowledge, finding.rule.lasts() && finding.until.is_some()));
        }
    }
    for lasting in [("exposure-window", "holds-key"), ("exposure-window", "knows-key"), ("missing-key", "")] {
        for ended in [true, false] {
            assert!(broken.contains(&(lasting.0, lasting.1, ended)), "{lasting:?} {ended}");
        }
    }
    for moment in ["stray-key", "replaced-key", "undistributed-version"] {
        assert!(broken.contains(&(moment, "", false)), "{moment}");
    }
}
