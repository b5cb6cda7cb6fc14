//! What tests of groups begin with: a group, who comes and who goes.

use be8_events::group::{Access, GroupCreated, GroupDestroyed, MemberJoined, MemberLeft};
use be8_events::{GroupId, MessageNo, Position, StayNo, StreamName};

use super::{World, id};

/// The group of these tests.
pub(in crate::domain) fn group() -> GroupId {
    GroupId::new(10_001).unwrap()
}

/// The group that is a wrong one: nobody made it.
pub(in crate::domain) fn no_group() -> GroupId {
    GroupId::new(10_099).unwrap()
}

impl World {
    /// Given: accounts 10001 to this one, the first of whom created a group.
    pub(in crate::domain) fn group(&mut self, accounts: i64, access: Access, capacity: u32) -> Vec<Position> {
        let nicknames = (10_001..=accounts).map(|number| self.account(number).1).collect();
        let created = GroupCreated { group: group(), admin: id(10_001), access, capacity };
        self.given(StreamName::Group(group()), created);
        nicknames
    }

    /// Given: somebody joined.
    pub(in crate::domain) fn joined(&mut self, number: i64, stay: StayNo, message: MessageNo) {
        let joined = MemberJoined { group: group(), account: id(number), stay, message, nickname: Position(1) };
        self.given(StreamName::Group(group()), joined);
    }

    /// Given: somebody left.
    pub(in crate::domain) fn left(&mut self, number: i64, stay: StayNo, message: MessageNo) {
        let (account, nickname, group_name) = (id(number), Position(1), Position(2));
        self.given(
            StreamName::Group(group()),
            MemberLeft { group: group(), account, stay, message, nickname, group_name },
        );
    }

    /// Given: the group was destroyed.
    pub(in crate::domain) fn destroyed(&mut self) {
        let group_name = Position(1);
        let destroyed = GroupDestroyed { group: group(), by: id(10_001), members: vec![], group_name };
        self.given(StreamName::Group(group()), destroyed);
    }
}
