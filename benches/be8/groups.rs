//! Groups and keys, written through the ledger.

use std::sync::Arc;

use be8::app::App;
use be8::domain::account::SetPublicKey;
use be8::domain::group::{CreateGroup, JoinGroup};
use be8::domain::group_keys::{AllocateVersion, StoreKey};
use be8_events::account::{Curve, PublicKeySecret};
use be8_events::group::{Access, GroupKeySecret, GroupSecret};
use be8_events::{GroupId, Hash32, Secret};

use crate::data::{Member, each};

/// The coordinates of a point of P-384.
const X: &str = "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3";
const Y: &str = "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f";
/// Characters of a wrapped key, as the web client makes it.
const KEY_LENGTH: usize = 400;

/// A group, the one who created it first.
pub struct Group {
    pub id: GroupId,
    pub members: Vec<Member>,
}

/// Groups with these members, who have a key of version 1.
pub async fn found(app: &Arc<App>, seats: Vec<Vec<Member>>) -> Vec<Group> {
    let groups = each(app, seats.into_iter().enumerate(), |(nth, members)| {
        let name = Secret::new(GroupSecret { name: format!("group {nth}") });
        let session = Some(members[0].session);
        let command = CreateGroup { session, name: Some(name), access: Some(Access::Public), capacity: 1_000 };
        (command, move |id| Group { id, members })
    })
    .await;
    let seats = || groups.iter().flat_map(|group| group.members.iter().map(move |member| (group, member)));
    each(app, seats(), |(group, member)| (JoinGroup { session: Some(member.session), group: Some(group.id) }, |()| ()))
        .await;
    each(app, &groups, |group| {
        (AllocateVersion { session: Some(group.members[0].session), group: Some(group.id) }, |_| ())
    })
    .await;
    each(app, seats(), |(group, member)| {
        let by = &group.members[0];
        let command = StoreKey {
            session: Some(by.session),
            group: Some(group.id),
            account: Some(member.account),
            keyholder: Some(by.account),
            key: Some(Secret::new(GroupKeySecret { key: "k".repeat(KEY_LENGTH), iv: None })),
        };
        (command, |_| ())
    })
    .await;
    groups
}

/// A public key for each of these accounts.
pub async fn set_keys(app: &Arc<App>, members: &[Member]) {
    each(app, members, |member| {
        let command = SetPublicKey {
            session: Some(member.session),
            curve: Curve::P384,
            sha256: Hash32::sha256(X.as_bytes()),
            secret: Secret::new(PublicKeySecret { x: X.to_owned(), y: Y.to_owned() }),
        };
        (command, |_| ())
    })
    .await;
}
