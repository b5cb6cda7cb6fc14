//! Histories for tests, and the rules of `findings` one by one.

mod findings_model;

use be8_events::group::Access;
use be8_events::{AccId, GroupVersion, Hash32, Position, Timestamp};

use super::findings::judge;
use super::*;

/// Writes a history, one entry a second unless time passes.
pub(crate) struct Story {
    entries: Vec<Entry>,
    now: i64,
}

impl Story {
    /// A group of one: 10001.
    pub(crate) fn new() -> Self {
        let mut story = Self { entries: Vec::new(), now: 1_700_000_000_000_000 };
        story.happens(1, Act::Created { access: Access::Public, capacity: 20 });
        story.happens(1, Act::Joined { account: id(1), stay: 1 });
        story
    }

    fn happens(&mut self, actor: i64, act: Act) -> Position {
        let position = Position(self.entries.len() as i64 + 1);
        let time = Timestamp::from_micros(self.now);
        self.now += 1_000_000;
        self.entries.push(Entry { position, time, actor: Some(id(actor)), act });
        position
    }

    fn minutes(&mut self, minutes: i64) -> &mut Self {
        self.now += minutes * 60_000_000;
        self
    }

    fn joins(&mut self, who: i64) -> Position {
        let stay = 1 + self
            .entries
            .iter()
            .filter(|e| matches!(e.act, Act::Left { account, .. } | Act::Kicked { account, .. } if account == id(who)))
            .count() as u32;
        self.happens(who, Act::Joined { account: id(who), stay })
    }

    fn leaves(&mut self, who: i64) -> Position {
        self.happens(who, Act::Left { account: id(who), stay: 1 })
    }

    fn kicks(&mut self, who: i64) -> Position {
        self.happens(1, Act::Kicked { account: id(who), stay: 1 })
    }

    /// Takes a version and stores its key for some; answers where it was taken.
    fn rekeys(&mut self, by: i64, version: GroupVersion, members: &[i64]) -> Position {
        let position = self.happens(by, Act::VersionAllocated { version });
        for member in members {
            self.stores(by, version, *member, None);
        }
        position
    }

    fn stores(&mut self, by: i64, version: GroupVersion, member: i64, replaces: Option<Position>) -> Position {
        let fingerprint = Hash32::sha256(&[version as u8, member as u8]);
        let act = Act::KeyStored { version, account: id(member), keyholder: id(by), fingerprint, replaces };
        self.happens(by, act)
    }

    fn judged(&self) -> Vec<Finding> {
        judge(&self.entries, Timestamp::from_micros(self.now))
    }

    fn rules(&self) -> Vec<Rule> {
        self.judged().iter().map(|finding| finding.rule).collect()
    }
}

fn id(n: i64) -> AccId {
    AccId::new(10_000 + n).unwrap()
}

/// A group of three in which one is removed and the key changes late.
fn sample() -> Story {
    let mut story = Story::new();
    story.joins(2);
    story.joins(3);
    story.rekeys(1, 1, &[1, 2, 3]);
    story.happens(2, Act::Message { id: 5, version: Some(1) });
    story.kicks(3);
    story.minutes(5).rekeys(1, 2, &[1, 2]);
    story.stores(1, 2, 2, Some(Position(13)));
    story
}

/// The history of [`sample`].
pub(crate) fn sample_history() -> Vec<Entry> {
    sample().entries
}

/// What is wrong in [`sample`], with the messages that a database would have counted.
pub(crate) fn sample_findings() -> Vec<Finding> {
    let mut found = sample().judged();
    found.iter_mut().filter(|f| f.rule == Rule::ExposureWindow).for_each(|f| f.messages = Some(4));
    found
}

#[test]
fn points_are_positions_or_times() {
    assert_eq!("17".parse(), Ok(Point::Position(Position(17))));
    let time: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
    assert_eq!("2026-11-23T12:00:00Z".parse(), Ok(Point::Time(time)));
    for bad in ["", "-1", "yesterday", "99999999999999999999"] {
        assert_eq!(bad.parse::<Point>(), Err(NoPoint), "{bad}");
    }
}

#[test]
fn a_member_sees_the_messages_of_its_stays() {
    let p = Position;
    let sight = Visibility::Stays(vec![(p(3), Some(p(10))), (p(20), None)]);
    assert_eq!(sight.visible_ranges(p(0), p(100)), [(p(3), p(9)), (p(20), p(100))]);
    assert_eq!(sight.visible_ranges(p(5), p(8)), [(p(5), p(8))]);
    assert_eq!(sight.visible_ranges(p(10), p(20)), []);
    assert_eq!(Visibility::Everything.visible_ranges(p(1), p(2)), [(p(1), p(2))]);
}

#[test]
fn a_group_that_rekeys_in_time_has_no_findings() {
    let mut story = Story::new();
    story.rekeys(1, 1, &[1]);
    story.joins(2);
    story.rekeys(2, 2, &[1, 2]);
    story.minutes(600);
    assert_eq!(story.judged(), []);
}

#[test]
fn who_is_kicked_with_the_key_exposes_until_a_safe_rekey_is_complete() {
    let mut story = Story::new();
    story.joins(2);
    story.joins(3);
    let taken = story.rekeys(1, 1, &[1, 2, 3]);
    let kicked = story.kicks(3);
    story.rekeys(1, 2, &[1]);
    assert_eq!(story.judged()[0].until, None, "not everybody holds the new version");
    let complete = story.stores(1, 2, 2, None);
    let [finding] = &story.judged()[..] else { panic!("{:?}", story.judged()) };
    assert_eq!((finding.rule, finding.account, finding.version), (Rule::ExposureWindow, id(3), 1));
    assert_eq!(finding.knowledge, Some(Knowledge::HoldsKey));
    assert_eq!((finding.from, finding.until), (kicked, Some(complete)));
    let stored_for_3 = Position(taken.0 + 3);
    assert_eq!(finding.proof, [taken, stored_for_3, kicked, complete]);
}

#[test]
fn a_leaver_knows_the_version_that_it_took_itself() {
    let mut story = Story::new();
    story.joins(2);
    story.rekeys(1, 1, &[1, 2]);
    story.rekeys(2, 2, &[1]);
    story.leaves(2);
    let [finding] = &story.judged()[..] else { panic!("{:?}", story.judged()) };
    assert_eq!((finding.knowledge, finding.version), (Some(Knowledge::KnowsKey), 2));
    assert_eq!(finding.until, None);
    story.rekeys(1, 3, &[1]);
    assert!(story.judged()[0].until.is_some(), "somebody else's version ends it");
}

#[test]
fn a_version_of_the_departed_never_ends_its_window() {
    let mut story = Story::new();
    story.joins(2);
    story.rekeys(1, 1, &[1, 2]);
    let taken = story.happens(2, Act::VersionAllocated { version: 2 });
    story.kicks(2);
    story.stores(1, 2, 1, None);
    let open: Vec<_> = story.judged().into_iter().filter(|f| f.rule == Rule::ExposureWindow).collect();
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!((open[0].until, open[0].proof[0]), (None, taken));
}

#[test]
fn who_has_no_key_of_the_newest_version_exposes_nothing() {
    let mut story = Story::new();
    story.joins(2);
    story.rekeys(1, 1, &[1, 2]);
    story.rekeys(1, 2, &[1]);
    story.kicks(2);
    assert_eq!(story.rules(), []);
}

#[test]
fn a_return_or_the_end_of_the_group_closes_a_window() {
    let mut story = Story::new();
    story.joins(2);
    story.rekeys(1, 1, &[1, 2]);
    story.leaves(2);
    let back = story.joins(2);
    assert_eq!(story.judged()[0].until, Some(back));

    let mut story = Story::new();
    story.joins(2);
    story.rekeys(1, 1, &[1, 2]);
    story.leaves(2);
    let end = story.happens(1, Act::Destroyed { members: vec![id(1)] });
    assert_eq!(story.judged()[0].until, Some(end));
}

#[test]
fn a_key_that_does_not_come_within_a_minute_is_missing() {
    let mut story = Story::new();
    story.joins(2);
    let taken = story.rekeys(1, 1, &[1]);
    assert_eq!(story.rules(), [], "not yet");
    story.minutes(2);
    let missing = story.judged().into_iter().find(|f| f.rule == Rule::MissingKey).unwrap();
    assert_eq!((missing.account, missing.version, missing.from), (id(2), 1, taken));
    assert_eq!((missing.until, missing.proof), (None, vec![Position(3), taken]));
    let came = story.stores(1, 1, 2, None);
    let missing = story.judged().into_iter().find(|f| f.rule == Rule::MissingKey).unwrap();
    assert_eq!(missing.until, Some(came));
}

#[test]
fn strays_replacements_and_versions_for_nobody_are_found() {
    let mut story = Story::new();
    story.joins(2);
    story.rekeys(1, 1, &[1, 2]);
    let stray = story.stores(1, 1, 9, None);
    let replaced = story.stores(1, 1, 2, Some(Position(6)));
    let found = story.judged();
    assert_eq!(found.iter().map(|f| f.rule).collect::<Vec<_>>(), [Rule::StrayKey, Rule::ReplacedKey]);
    assert_eq!(found[0].proof, [stray]);
    assert_eq!(found[1].proof, [Position(6), replaced]);

    let taken = story.rekeys(1, 2, &[1]);
    story.minutes(2);
    let nobody = story.judged().into_iter().find(|f| f.rule == Rule::UndistributedVersion).unwrap();
    assert_eq!((nobody.version, nobody.proof), (2, vec![taken]));
}

#[test]
fn a_window_stays_open_over_many_versions_that_nobody_has() {
    let mut story = Story::new();
    story.joins(2);
    story.joins(3);
    story.rekeys(1, 1, &[1, 2, 3]);
    story.kicks(3);
    for version in 2..50_000 {
        story.rekeys(1, version, &[]);
    }
    let open = |found: &[Finding]| found.iter().filter(|f| f.rule == Rule::ExposureWindow && f.until.is_none()).count();
    assert_eq!(open(&story.judged()), 1);
    // A departure makes one of them complete.
    story.stores(1, 40_000, 1, None);
    assert_eq!(open(&story.judged()), 1);
    let left = story.leaves(2);
    let found = story.judged();
    assert_eq!(open(&found), 0, "{:?}", found.last());
    assert!(found.iter().any(|f| f.account == id(3) && f.until == Some(left)));
}
