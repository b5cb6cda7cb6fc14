//! Removing one's own account.

use poem_openapi::OpenApi;

use crate::app::Handle;
use crate::domain::removal::RemoveAccount;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::Always;
use crate::http::document::tag::Tag;
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, Success};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::process::removal::remove;

/// The removal of accounts by their owners.
pub struct Removal(pub Handle);

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract("removeAccount", &[Always(Code::Forbidden), Always(Code::NotAuth)]),
    Operation::contract("removeAccountByGet", &[Always(Code::Forbidden), Always(Code::NotAuth)]).changes_by_get(),
];

#[OpenApi]
impl Removal {
    /// Remove one's account
    ///
    /// At once and for good: the account, its sessions and all that it wrote are deleted; its
    /// conversations end, the groups that it is the admin of are destroyed, and it leaves the others.
    ///
    /// A browser cannot navigate to it: `FORBIDDEN` also when `Sec-Fetch-Mode` is `navigate`.
    #[oai(path = "/destroyacc", method = "post", operation_id = "removeAccount", tag = "Tag::Accounts")]
    async fn post(&self, session: Session) -> Result<Answer<Success>, WireError> {
        self.remove(session).await
    }

    /// Remove one's account, as the web client asks for it
    ///
    /// The same as POST, which is to be preferred; HEAD is refused.
    #[oai(path = "/destroyacc", method = "get", operation_id = "removeAccountByGet", tag = "Tag::Accounts")]
    async fn get(&self, session: Session) -> Result<Answer<Success>, WireError> {
        self.remove(session).await
    }
}

impl Removal {
    async fn remove(&self, session: Session) -> Result<Answer<Success>, WireError> {
        let app = self.0.get()?;
        let session = Some(session.required()?);
        remove(&app.ledger, &app.read, RemoveAccount::Panic { session }).await?;
        Ok(Answer::new(&Success::default()))
    }
}
