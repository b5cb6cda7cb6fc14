//! What an event changes for whom.

use be8_events::group::Membership;
use be8_events::{
    AccId, DialogEvent, Event, GroupEvent, GroupId, MessageHeader, MessageNo, Position, ReadsEvent, Recorded,
    StreamName, ThreadId, group,
};

use super::roster::Rosters;

/// Something that changed for an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The account started a conversation.
    NewConversation {
        /// With whom.
        partner: AccId,
    },
    /// The account created a group.
    GroupCreate {
        /// Which.
        group: GroupId,
    },
    /// A message came into a thread.
    NewMessage {
        /// The thread.
        thread: ThreadId,
        /// Who wrote it.
        sender: AccId,
        /// The event that set the sender's nickname.
        nickname: Position,
    },
    /// Somebody read messages of the account.
    MessageRead {
        /// The thread.
        thread: ThreadId,
        /// The newest of them that was read.
        message: MessageNo,
        /// Who read: to whom it was sent, in a conversation of two.
        reader: AccId,
    },
    /// Somebody came into a group.
    GroupJoin {
        /// Which.
        group: GroupId,
    },
    /// Somebody is no longer in a group.
    GroupMemberRemove {
        /// Which.
        group: GroupId,
        /// Who.
        leaving: AccId,
    },
    /// The partner of a conversation was removed.
    ExpiredAcc {
        /// Who.
        account: AccId,
        /// The thread of the two.
        thread: ThreadId,
    },
    /// A member asks to look at a group again.
    GroupUpdate {
        /// Which.
        group: GroupId,
    },
}

/// A change and whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addressed {
    pub(super) to: Vec<AccId>,
    pub(super) change: Change,
}

/// The changes of an event, in the order in which they are sent. `rosters` is as it was before the
/// event.
pub(super) fn changes_of(recorded: &Recorded, rosters: &Rosters) -> Vec<Addressed> {
    let one = |to: Vec<AccId>, change: Change| vec![Addressed { to, change }];
    let members = |group: GroupId| rosters.members(group).collect::<Vec<_>>();
    let arrived = |group: GroupId, account: AccId| {
        let mut to = members(group);
        if !to.contains(&account) {
            to.push(account);
        }
        one(to, Change::GroupJoin { group })
    };
    let written = |thread: ThreadId, sender: AccId, nickname: Position| {
        let to = match thread {
            ThreadId::Group(group) => members(group),
            ThreadId::Dialog { .. } | ThreadId::System(_) => {
                thread.partner_of(sender).into_iter().chain([sender]).collect()
            }
        };
        one(to, Change::NewMessage { thread, sender, nickname })
    };
    match &recorded.event {
        Event::Dialog(DialogEvent::ConversationStarted(e)) => {
            let ThreadId::Dialog { initiator, receiver } = e.thread else { return Vec::new() };
            // The receiver's list is refreshed by a message: a new conversation would switch its
            // open chat.
            let message = Change::NewMessage { thread: e.thread, sender: initiator, nickname: e.nickname };
            vec![
                Addressed { to: vec![initiator], change: Change::NewConversation { partner: receiver } },
                Addressed { to: vec![receiver], change: message },
            ]
        }
        Event::Message(event) => {
            let MessageHeader { thread, sender, nickname, .. } = event.header();
            written(thread, sender, nickname)
        }
        Event::Dialog(DialogEvent::ConversationEnded(e)) => {
            let left = e.thread.partner_of(e.gone).into_iter().collect();
            one(left, Change::ExpiredAcc { account: e.gone, thread: e.thread })
        }
        Event::Reads(ReadsEvent::MessagesRead(e)) => {
            let StreamName::Reads(thread) = recorded.stream else { return Vec::new() };
            let notice = |&(sender, message): &(AccId, MessageNo)| Addressed {
                to: vec![sender],
                change: Change::MessageRead { thread, message, reader: e.reader },
            };
            e.tell.iter().map(notice).collect()
        }
        Event::Group(GroupEvent::GroupUpdateSignalled(e)) => {
            let StreamName::Group(group) = recorded.stream else { return Vec::new() };
            let change = match e.update {
                group::Update::Join => Change::GroupUpdate { group },
                group::Update::Leave => Change::GroupMemberRemove { group, leaving: e.by },
            };
            one(members(group), change)
        }
        Event::Group(event) => match event.membership() {
            Some(Membership::Created(e)) => one(vec![e.admin], Change::GroupCreate { group: e.group }),
            Some(Membership::Joined(e)) => arrived(e.group, e.account),
            Some(Membership::Added(e)) => arrived(e.group, e.account),
            Some(Membership::Left(e)) => {
                one(members(e.group), Change::GroupMemberRemove { group: e.group, leaving: e.account })
            }
            Some(Membership::Kicked(e)) => {
                one(members(e.group), Change::GroupMemberRemove { group: e.group, leaving: e.account })
            }
            Some(Membership::Destroyed(e)) => {
                let own = |&(member, _): &(AccId, u32)| Addressed {
                    to: vec![member],
                    change: Change::GroupMemberRemove { group: e.group, leaving: member },
                };
                e.members.iter().map(own).collect()
            }
            None => Vec::new(),
        },
        Event::Account(_)
        | Event::Session(_)
        | Event::Device(_)
        | Event::Media(_)
        | Event::Token(_)
        | Event::Server(_)
        | Event::Erasure(_) => Vec::new(),
    }
}

/// The changes that an event brings to one account, numbered from 0 as in the ids of the stream.
pub(super) fn changes_for(recorded: &Recorded, account: AccId, rosters: &Rosters) -> Vec<Change> {
    let mine = changes_of(recorded, rosters).into_iter().filter(|addressed| addressed.to.contains(&account));
    mine.map(|addressed| addressed.change).collect()
}
