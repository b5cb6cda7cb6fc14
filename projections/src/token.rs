//! The read model of tokens, for the operator: which there are, by their fingerprints, and what
//! became of each.

use std::collections::BTreeMap;

use be8_events::token::Grant;
use be8_events::{AccId, Event, Hash32, Position, Recorded, StreamName, Timestamp, TokenEvent};
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::rows::account;
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[Table::new(
    "token",
    "
create table if not exists {schema}.token (
    hmac    bytea primary key,
    issued  bigint not null,   -- position of the event
    millis  bigint,            -- what a promo token gives; none: endless
    holder  bigint,            -- who has it, or used it up
    used_up boolean not null,
    revoked boolean not null
);
",
)];

/// What a batch changes of a token; what it leaves alone is none.
#[derive(Debug, Clone, Copy, Default)]
struct Set {
    /// Who has it from here on, if anybody.
    holder: Option<Option<AccId>>,
    used_up: bool,
    revoked: bool,
}

/// What a batch changes, folded into one row a token: one that is new in the batch is written
/// complete, since parts of a statement do not see each other's rows.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    issued: BTreeMap<Hash32, (Position, Grant, Set)>,
    changed: BTreeMap<Hash32, Set>,
}

impl Tokens {
    fn row(&mut self, token: Hash32) -> &mut Set {
        match self.issued.get_mut(&token) {
            Some((_, _, row)) => row,
            None => self.changed.entry(token).or_default(),
        }
    }
}

impl ReadModel for Tokens {
    const MODEL: Model = Model { name: "tokens", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, _: &Derived) {
        let (Event::Token(event), StreamName::Token(token)) = (&recorded.event, recorded.stream) else { return };
        match event {
            TokenEvent::TokenIssued(e) => {
                self.issued.insert(token, (recorded.position, e.grant, Set::default()));
            }
            TokenEvent::TokenTaken(e) => self.row(token).holder = Some(Some(e.by)),
            TokenEvent::TokenFreed(_) => self.row(token).holder = Some(None),
            TokenEvent::TokenConsumed(e) => {
                let row = self.row(token);
                row.holder = Some(Some(e.by));
                row.used_up = true;
            }
            TokenEvent::TokenRevoked(_) => self.row(token).revoked = true,
        }
    }

    fn write(&self, to: &mut Statement) {
        let number = |set: &Set| set.holder.flatten().map(AccId::number);
        let issued = || self.issued.values();
        to.rows()
            .column("hmac", self.issued.keys().map(|token| &token.0[..]))
            .column("issued", issued().map(|(position, ..)| position.0))
            .column("millis", issued().map(|(_, grant, _)| millis(*grant)))
            .column("holder", issued().map(|(_, _, set)| number(set)))
            .column("used_up", issued().map(|(_, _, set)| set.used_up))
            .column("revoked", issued().map(|(_, _, set)| set.revoked))
            .insert("token_issued", "{schema}.token", "");
        let sets = || self.changed.values();
        to.rows()
            .column("hmac", self.changed.keys().map(|token| &token.0[..]))
            .column("moved", sets().map(|set| set.holder.is_some()))
            .column("holder", sets().map(number))
            .column("used_up", sets().map(|set| set.used_up))
            .column("revoked", sets().map(|set| set.revoked))
            .write(
                "token_changed",
                "
    update {schema}.token t set holder = case when u.moved then u.holder else t.holder end,
        used_up = t.used_up or u.used_up, revoked = t.revoked or u.revoked
    from head, {rows} u({columns}) where t.hmac = u.hmac",
            );
    }
}

/// The time that a promo token gives; none for an endless one.
fn millis(grant: Grant) -> Option<i64> {
    match grant {
        Grant::Endless => None,
        Grant::Promo { millis } => Some(i64::try_from(millis).unwrap_or(i64::MAX)),
    }
}

/// A token as its operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenView {
    /// Its fingerprint.
    pub token: Hash32,
    /// What it gives.
    pub grant: Grant,
    /// When it was issued.
    pub issued: Timestamp,
    /// Who has it, or used it up.
    pub holder: Option<AccId>,
    /// It was used up.
    pub used_up: bool,
    /// It was revoked.
    pub revoked: bool,
}

impl ReadModels {
    /// All tokens, in the order in which they were issued.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ReadError> {
        let rows = self.fetch(&TOKENS, |_| Ok(())).await?;
        rows.iter().filter_map(|row| view(row).transpose()).collect()
    }
}

/// A token from its row; none where there is no token at all.
fn view(row: &PgRow) -> Result<Option<TokenView>, ReadError> {
    let Some(token) = row.try_get::<Option<&[u8]>, _>("hmac")? else { return Ok(None) };
    let grant = match row.try_get::<Option<i64>, _>("millis")? {
        None => Grant::Endless,
        Some(millis) => Grant::Promo { millis: u64::try_from(millis).map_err(|_| ReadError::Damaged("token"))? },
    };
    Ok(Some(TokenView {
        token: Hash32(token.try_into().map_err(|_| ReadError::Damaged("token"))?),
        grant,
        issued: row.try_get::<DateTime<Utc>, _>("time")?.into(),
        holder: row.try_get::<Option<i64>, _>("holder")?.map(account).transpose()?,
        used_up: row.try_get("used_up")?,
        revoked: row.try_get("revoked")?,
    }))
}

/// The statement of [`ReadModels::tokens`].
static TOKENS: Query = Query::new(tokens_sql);

fn tokens_sql(generation: Generation) -> String {
    format!(
        "select h.generation, t.*, e.time from log_head h left join {generation}.token t on true
left join events e on e.position = t.issued order by t.issued"
    )
}
