//! What a login and a lock code are checked against: the events that hold the hashes.

use be8_events::{AccId, Hash32, KeyId, Timestamp};
use sqlx::Arguments;

use crate::queries::Query;
use crate::rows::{account_id, is_null, session_account, session_arguments};
use crate::stored::{Named, StoredSealed};
use crate::{Generation, ReadError, ReadModels};

/// The event that holds the hash of an account's password.
#[derive(Debug)]
pub struct Credential {
    /// The event that set the password: that of the account's beginning, or of its newest change.
    pub set: StoredSealed,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

/// The events that hold the hashes of an account's lock codes.
#[derive(Debug)]
pub struct Codes {
    /// The account.
    pub account: AccId,
    /// Of the code that unlocks and of the code that destroys, if codes are set.
    pub events: Option<(StoredSealed, StoredSealed)>,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

impl ReadModels {
    /// What a password of an account is checked against; none if no such account lives at `now`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn credential(&self, account: AccId, now: Timestamp) -> Result<Option<Credential>, ReadError> {
        let rows = self
            .fetch(&CREDENTIAL, |to| {
                to.add(account.number())?;
                to.add(now.to_utc())
            })
            .await?;
        let mut live = Vec::new();
        let set = rows.first().map(|row| PASSWORD.read(row, &mut live)).transpose()?.flatten();
        Ok(set.map(|set| Credential { set, live }))
    }

    /// What lock codes of the session's account are checked against; none without a living account.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn codes(&self, session: Hash32, now: Timestamp) -> Result<Option<Codes>, ReadError> {
        let rows = self.fetch(&CODES, |to| session_arguments(to, session, now)).await?;
        let Some(row) = rows.first().filter(|row| !is_null(row, "me")) else { return Ok(None) };
        let mut live = Vec::new();
        let (unlock, destroy) = (UNLOCK.read(row, &mut live)?, DESTROY.read(row, &mut live)?);
        Ok(Some(Codes { account: account_id(row, "me")?, events: unlock.zip(destroy), live }))
    }
}

/// The events that statements join to an account.
const PASSWORD: Named = Named("password");
const UNLOCK: Named = Named("unlock");
const DESTROY: Named = Named("destroy");

/// The statement of [`ReadModels::credential`]; `$1` the account, `$2` the time.
static CREDENTIAL: Query = Query::new(credential_sql);

fn credential_sql(generation: Generation) -> String {
    format!(
        "select h.generation, {password}
from log_head h
left join {generation}.account a on a.id = $1 and a.until > $2
{join_password}",
        password = PASSWORD.columns(),
        join_password = PASSWORD.join("a.password"),
    )
}

/// The statement of [`ReadModels::codes`].
static CODES: Query = Query::new(codes_sql);

fn codes_sql(generation: Generation) -> String {
    format!(
        "with me as ({me})
select h.generation, me.id as me, {unlock}, {destroy}
from log_head h left join me on true
{join_unlock}
{join_destroy}",
        me = session_account(generation),
        unlock = UNLOCK.columns(),
        destroy = DESTROY.columns(),
        join_unlock = UNLOCK.join("me.unlock"),
        join_destroy = DESTROY.join("me.destroy"),
    )
}
