//! The rules of erasure: by name, of days and of names of groups.

use be8_events::erasure::Cause;
use be8_events::group::{Access, GroupCreated, GroupDestroyed};
use be8_events::{Day, GroupId, StreamName, Subject, Timestamp};

use super::{Erase, ExpireDays, ExpireGroupNames};
use crate::domain::testing::{LIFETIME, World, id};

#[test]
fn erasing_names_subjects_and_leaves_the_keys_to_the_ledger() {
    let subjects = vec![Subject::Account(id(10_001)), Subject::Day("2026-11-23".parse().unwrap())];
    let decision = World::new().when(&Erase { subjects: subjects.clone(), cause: Cause::Operator }).unwrap();
    assert!(decision.events.is_empty());
    assert_eq!(decision.erase, subjects.into_iter().map(|s| (s, Cause::Operator)).collect::<Vec<_>>());
}

/// A time that is trusted whatever the clock shows.
const END: Timestamp = Timestamp::from_micros(i64::MAX);

#[test]
fn a_day_is_over_when_its_last_message_is() {
    let mut world = World::new();
    let day = |text: &str| text.parse::<Day>().unwrap();
    let command = ExpireDays {
        days: vec![day("2026-10-23"), day("2026-10-24"), day("2026-11-23")],
        now: END,
        lifetime: LIFETIME,
    };
    let over = |world: &mut World| world.when(&command).unwrap().erase;
    world.now = "2026-11-22T23:59:59.999999Z".parse().unwrap();
    assert_eq!(over(&mut world), []);
    world.now = "2026-11-23T00:00:00Z".parse().unwrap();
    assert_eq!(over(&mut world), [(Subject::Day(day("2026-10-23")), Cause::Expired)]);
    world.now = "2026-11-24T00:00:00Z".parse().unwrap();
    assert_eq!(over(&mut world).len(), 2);
    world.answers(&command, (), &[]);
    // By a trusted time that lags, nothing has expired yet.
    let trusted = ExpireDays { now: "2026-11-22T23:59:59Z".parse().unwrap(), ..command };
    assert_eq!(world.when(&trusted).unwrap().erase, []);
}

#[test]
fn the_name_of_a_group_outlives_it_and_not_the_other_way_round() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let [ended, living] = [1, 2].map(|n| GroupId::new(10_000 + n).unwrap());
    for group in [ended, living] {
        let created = GroupCreated { group, admin: zoe, access: Access::Public, capacity: 5 };
        let group_name = world.given(StreamName::Group(group), created);
        if group == ended {
            let destroyed = GroupDestroyed { group, by: zoe, members: vec![(zoe, 1)], group_name };
            world.given(StreamName::Group(group), destroyed);
        }
    }
    let decision = world.when(&ExpireGroupNames { groups: vec![ended, living] }).unwrap();
    assert_eq!(decision.erase, [(Subject::GroupName(ended), Cause::Expired)]);
    assert!(decision.events.is_empty());
}
