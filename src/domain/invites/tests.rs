//! The rules of invite links.

use be8_events::StreamName;
use be8_events::server::{Link, LinkCounted, Usage};

use super::CountLink;
use crate::domain::Rejection;
use crate::domain::testing::{World, token};

#[test]
fn invite_links_are_counted_in_the_order_of_their_checks() {
    let mut world = World::new();
    let (zoe, _) = world.account(10_001);
    let session = Some(token(10_001));
    let (link, usage) = (Some(Link::Group), Some(Usage::Sent));
    world.refuses(&CountLink { session: None, link: None, usage: None }, Rejection::NotAuthenticated);
    world.refuses(&CountLink { session, link: None, usage: None }, Rejection::InvalidLinkType);
    world.refuses(&CountLink { session, link, usage: None }, Rejection::NotUsedOrSentLink);
    let counted = LinkCounted { link: Link::Group, usage: Usage::Sent }.into();
    world.answers(&CountLink { session, link, usage }, (), &[(StreamName::Invites, Some(zoe), counted)]);
}
