//! Invite links: how many were sent and used.

#[cfg(test)]
mod tests;

use be8_events::server::{Link, LinkCounted, Usage};
use be8_events::{Hash32, NewEvent, StreamName};

use super::{Command, Decision, Rejection, Stop, View};

/// Counts an invite link.
#[derive(Debug, Clone, Copy)]
pub struct CountLink {
    /// The session of the request.
    pub session: Option<Hash32>,
    /// To what it invites.
    pub link: Option<Link>,
    /// What happened to it.
    pub usage: Option<Usage>,
}

impl Command for CountLink {
    type Reply = ();

    fn streams(&self) -> Vec<StreamName> {
        self.session.into_iter().map(StreamName::Session).chain([StreamName::Invites]).collect()
    }

    fn decide(&self, view: &View<'_>) -> Result<Decision<()>, Stop> {
        let account = view.authenticate(self.session)?;
        let link = self.link.ok_or(Rejection::InvalidLinkType)?;
        let usage = self.usage.ok_or(Rejection::NotUsedOrSentLink)?;
        let event = LinkCounted { link, usage }.into();
        let counted = NewEvent { stream: StreamName::Invites, actor: Some(account), event, secret: None };
        Ok(Decision::events(vec![counted], ()))
    }
}
