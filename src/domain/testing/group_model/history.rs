//! What the events of groups say, in the plainest way to read them.

use std::collections::{BTreeMap, BTreeSet};

use be8_events::{
    AccId, Event, GroupEvent, GroupId, Hash32, MessageEvent, MessageNo, StayNo, StreamName, Subject, ThreadId,
};

/// What the events said so far.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Per group and message: its author and the stay that it was written in, none for the system.
    pub(super) messages: BTreeMap<(GroupId, MessageNo), Option<(AccId, StayNo)>>,
    /// Per group, account and stay: the first message of it, and the first after it.
    pub(super) stays: BTreeMap<(GroupId, AccId, StayNo), (MessageNo, Option<MessageNo>)>,
    /// Per group, version and account: the fingerprint and the keyholder.
    pub(super) keys: BTreeMap<(GroupId, u32, AccId), (Hash32, AccId)>,
    pub(super) allocated: BTreeMap<(GroupId, u32), AccId>,
    pub(super) erased: BTreeSet<Subject>,
}

impl History {
    pub(super) fn record(&mut self, stream: StreamName, event: &Event) {
        let mut message = |group, no, author| {
            let before = self.messages.insert((group, no), author);
            assert!(before.is_none(), "message {no} of {group} twice");
        };
        match event {
            Event::Group(GroupEvent::GroupCreated(e)) => {
                self.stays.insert((e.group, e.admin, 1), (1, None));
            }
            Event::Group(GroupEvent::MemberJoined(e)) => {
                message(e.group, e.message, None);
                self.stays.entry((e.group, e.account, e.stay)).or_insert((e.message, None));
            }
            Event::Group(GroupEvent::MemberAdded(e)) => {
                message(e.group, e.message, None);
                self.stays.entry((e.group, e.account, e.stay)).or_insert((e.message, None));
            }
            Event::Group(GroupEvent::MemberLeft(e)) => {
                message(e.group, e.message, None);
                self.stays.get_mut(&(e.group, e.account, e.stay)).unwrap().1 = Some(e.message);
            }
            Event::Group(GroupEvent::MemberKicked(e)) => {
                message(e.group, e.message, None);
                self.stays.get_mut(&(e.group, e.account, e.stay)).unwrap().1 = Some(e.message);
            }
            Event::Message(MessageEvent::MessageWritten(e)) => {
                let ThreadId::Group(group) = e.thread else { panic!("{e:?}") };
                message(group, e.id, Some((e.sender, e.stay)));
            }
            Event::Group(GroupEvent::VersionAllocated(e)) => {
                let StreamName::Group(group) = stream else { panic!("{stream}") };
                assert_eq!(self.allocated.insert((group, e.version), e.by), None, "version {} twice", e.version);
            }
            Event::Group(GroupEvent::GroupKeyStored(e)) => {
                let StreamName::Group(group) = stream else { panic!("{stream}") };
                self.keys.insert((group, e.version, e.account), (e.sha256, e.keyholder));
            }
            Event::Group(GroupEvent::GroupDestroyed(e)) => {
                for (account, stay) in &e.members {
                    assert_eq!(self.stays[&(e.group, *account, *stay)].1, None, "whose stay lasted");
                }
            }
            _ => panic!("{event:?}"),
        }
    }

    pub(super) fn sees(&self, group: GroupId, account: AccId, message: MessageNo) -> bool {
        let stays = self.stays.range((group, account, 0)..=(group, account, StayNo::MAX));
        stays.into_iter().any(|(_, (from, until))| *from <= message && until.is_none_or(|until| message < until))
    }
}
