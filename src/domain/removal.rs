//! Removal: the one path on which accounts end, and what follows in their conversations and groups.
//!
//! [`RemoveAccount`] ends an account at once: from its event on it is removed for every decision and
//! every reader. What depends on it follows in bounded steps, [`EndConversations`], [`LeaveGroups`] and
//! [`ErasePublicKey`]. Since nothing can bind itself to a removed account, what is left to do
//! only ever shrinks; a step that was done already is no event.

#[cfg(test)]
mod tests;

use be8_events::account::{AccountRemoved, Removal};
use be8_events::dialog::ConversationEnded;
use be8_events::erasure::Cause;
use be8_events::group::MemberLeft;
use be8_events::token::TokenFreed;
use be8_events::{AccId, GroupId, Hash32, NewEvent, Position, StreamName, Subject, Timestamp};

use super::group::{destroy, in_group, next_message_no, stay_key};
use super::{Command, Decision, Rejection, Stop, View};

/// Removes an account.
#[derive(Debug, Clone, Copy)]
pub enum RemoveAccount {
    /// Its owner asks for it.
    Panic {
        /// The session of the request.
        session: Option<Hash32>,
    },
    /// Its destroy code was entered, and compared with the hash that an event holds.
    Code {
        /// The session of the request.
        session: Option<Hash32>,
        /// The position of that event: with a newer code the command is outdated.
        checked: Position,
    },
    /// It may have expired: nothing happens unless it has.
    Expiry {
        /// Which account.
        account: AccId,
        /// The time that is trusted.
        now: Timestamp,
    },
    /// The operator removes it, whether it has expired or not.
    Operator {
        /// Which account.
        account: AccId,
    },
}

impl Command for RemoveAccount {
    /// The account that this command removed; none if it has not expired, or was removed before.
    type Reply = Option<AccId>;

    fn streams(&self) -> Vec<StreamName> {
        match *self {
            Self::Panic { session } | Self::Code { session, .. } => {
                session.into_iter().map(StreamName::Session).collect()
            }
            Self::Expiry { account, .. } | Self::Operator { account } => vec![StreamName::Account(account)],
        }
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<Option<AccId>>, Stop> {
        let (account, reason, actor) = match *self {
            Self::Panic { session } => {
                let me = view.authenticate(session)?;
                (me, Removal::Panic, Some(me))
            }
            Self::Code { session, checked } => {
                let me = view.authenticate(session)?;
                if view.account(me)?.codes().map(|(_, destroy)| destroy) != Some(checked) {
                    return Err(Rejection::Outdated.into());
                }
                (me, Removal::Code, Some(me))
            }
            Self::Expiry { account, now } => {
                if view.account(account)?.until().is_none_or(|until| now.min(view.now) < until) {
                    return Ok(Decision::nothing(None));
                }
                (account, Removal::Expiry, None)
            }
            Self::Operator { account } => {
                // An account that exists and is not removed has a time, whether it has passed or not.
                view.account(account)?.until().ok_or(Rejection::AccountNotExisting)?;
                (account, Removal::Operator, None)
            }
        };
        let mut events = vec![NewEvent {
            stream: StreamName::Account(account),
            actor,
            event: AccountRemoved { account, reason }.into(),
            secret: None,
        }];
        if let Some(token) = view.account(account)?.token()
            && view.token(token)?.taken_by() == Some(account)
        {
            let event = TokenFreed { by: account }.into();
            events.push(NewEvent { stream: StreamName::Token(token), actor, event, secret: None });
        }
        let erase = vec![(Subject::Account(account), Cause::AccountRemoved)];
        Ok(Decision { events, erase, reply: Some(account) })
    }
}

/// The check of all that follows: the account was removed. One that is merely over is not yet.
fn gone(view: &View<'_>, account: AccId) -> Result<(), Stop> {
    if view.account(account)?.removed() { Ok(()) } else { Err(Rejection::AccountNotExisting.into()) }
}

/// Ends conversations of an account that was removed.
#[derive(Debug, Clone)]
pub struct EndConversations {
    /// Which account was removed.
    pub gone: AccId,
    /// With whom it had them.
    pub partners: Vec<AccId>,
}

impl Command for EndConversations {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        let dialogs = self.partners.iter().map(|partner| StreamName::dialog(self.gone, *partner));
        dialogs.chain([StreamName::Account(self.gone)]).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        gone(view, self.gone)?;
        let mut decision = Decision::nothing(());
        for &partner in &self.partners {
            let dialog = view.dialog(self.gone, partner)?;
            let Some(thread) = dialog.thread().filter(|_| !dialog.ended()) else { continue };
            decision.events.push(NewEvent {
                stream: StreamName::dialog(self.gone, partner),
                actor: Some(self.gone),
                event: ConversationEnded { thread, gone: self.gone }.into(),
                secret: None,
            });
            let stays = [self.gone, partner].map(|author| Subject::Stay { thread, author, stay: 1 });
            decision.erase.extend(stays.map(|stay| (stay, Cause::ConversationEnded)));
        }
        Ok(decision)
    }
}

/// Takes an account that was removed out of groups; those whose admin it was are destroyed.
#[derive(Debug, Clone)]
pub struct LeaveGroups {
    /// Which account was removed.
    pub gone: AccId,
    /// The groups.
    pub groups: Vec<GroupId>,
}

impl Command for LeaveGroups {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        let groups = self.groups.iter().flat_map(|group| [StreamName::Group(*group), StreamName::Chat(*group)]);
        groups.chain([StreamName::Account(self.gone)]).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        gone(view, self.gone)?;
        let mut decision = Decision::nothing(());
        for &id in &self.groups {
            let group = view.group(id)?;
            let Some(stay) = group.stay_of(self.gone).filter(|_| group.lives()) else { continue };
            if group.admin() == Some(self.gone) {
                destroy(&mut decision, id, group, self.gone, |_| true);
                continue;
            }
            let left = MemberLeft {
                group: id,
                account: self.gone,
                stay,
                message: next_message_no(view, id, group)?,
                nickname: view.account(self.gone)?.nickname(),
                group_name: group.name(),
            };
            decision.events.push(in_group(id, self.gone, left));
            decision.erase.push((stay_key(id, self.gone, stay), Cause::AccountRemoved));
        }
        Ok(decision)
    }
}

/// Erases the public key of an account that was removed, once no stored group key needs it
/// (docs/protocol.md, "Keyholders that are gone").
#[derive(Debug, Clone, Copy)]
pub struct ErasePublicKey {
    /// Which account was removed.
    pub gone: AccId,
}

impl Command for ErasePublicKey {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::Account(self.gone), StreamName::Erasure]
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        gone(view, self.gone)?;
        let erase = vec![(Subject::PublicKey(self.gone), Cause::AccountRemoved)];
        Ok(Decision { events: Vec::new(), erase, reply: () })
    }
}
