//! The read model of tokens, for the operator: which there are, by their fingerprints, and what
//! became of each.

use std::collections::BTreeMap;

use be8_events::token::Grant;
use be8_events::{AccId, Hash32, Position, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row, error::BoxDynError};

use crate::stored::account;
use crate::{Generation, Parameters, ReadError, ReadModels};

pub(crate) const TABLE: &str = "
create table if not exists {schema}.token (
    hmac    bytea primary key,
    issued  bigint not null,   -- position of the event
    millis  bigint,            -- what a promo token gives; none: endless
    holder  bigint,            -- who has it, or used it up
    used_up boolean not null,
    revoked boolean not null
);
";

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
    pub(crate) fn issued(&mut self, token: Hash32, position: Position, grant: Grant) {
        self.issued.insert(token, (position, grant, Set::default()));
    }

    /// An account took it, or nobody has it any more.
    pub(crate) fn held(&mut self, token: Hash32, by: Option<AccId>) {
        self.row(token).holder = Some(by);
    }

    pub(crate) fn used_up(&mut self, token: Hash32, by: AccId) {
        let row = self.row(token);
        row.holder = Some(Some(by));
        row.used_up = true;
    }

    pub(crate) fn revoked(&mut self, token: Hash32) {
        self.row(token).revoked = true;
    }

    fn row(&mut self, token: Hash32) -> &mut Set {
        match self.issued.get_mut(&token) {
            Some((_, _, row)) => row,
            None => self.changed.entry(token).or_default(),
        }
    }

    pub(crate) fn sql(&self, generation: Generation, p: &mut Parameters) -> String {
        let mut sql = String::new();
        if !self.issued.is_empty() {
            sql += &format!(
                "
, token_issued as (
    insert into {generation}.token (hmac, issued, millis, holder, used_up, revoked)
    select u.* from head, unnest({}) u)",
                p.arrays(&["bytea", "bigint", "bigint", "bigint", "boolean", "boolean"]),
            );
        }
        if !self.changed.is_empty() {
            sql += &format!(
                "
, token_changed as (
    update {generation}.token t set holder = case when u.moved then u.holder else t.holder end,
        used_up = t.used_up or u.used_up, revoked = t.revoked or u.revoked
    from head, unnest({}) u(hmac, moved, holder, used_up, revoked) where t.hmac = u.hmac)",
                p.arrays(&["bytea", "boolean", "bigint", "boolean", "boolean"]),
            );
        }
        sql
    }

    pub(crate) fn bind(&self, to: &mut PgArguments) -> Result<(), BoxDynError> {
        let number = |set: &Set| set.holder.flatten().map(AccId::number);
        if !self.issued.is_empty() {
            let rows = || self.issued.values();
            to.add(self.issued.keys().map(|token| &token.0[..]).collect::<Vec<_>>())?;
            to.add(rows().map(|(position, ..)| position.0).collect::<Vec<_>>())?;
            to.add(rows().map(|(_, grant, _)| millis(*grant)).collect::<Vec<_>>())?;
            to.add(rows().map(|(_, _, set)| number(set)).collect::<Vec<_>>())?;
            to.add(rows().map(|(_, _, set)| set.used_up).collect::<Vec<_>>())?;
            to.add(rows().map(|(_, _, set)| set.revoked).collect::<Vec<_>>())?;
        }
        if !self.changed.is_empty() {
            let sets = || self.changed.values();
            to.add(self.changed.keys().map(|token| &token.0[..]).collect::<Vec<_>>())?;
            to.add(sets().map(|set| set.holder.is_some()).collect::<Vec<_>>())?;
            to.add(sets().map(number).collect::<Vec<_>>())?;
            to.add(sets().map(|set| set.used_up).collect::<Vec<_>>())?;
            to.add(sets().map(|set| set.revoked).collect::<Vec<_>>())?;
        }
        Ok(())
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
        let rows = self.fetch(|sql| &sql.tokens, |_| Ok(())).await?;
        rows.iter().filter_map(|row| view(row).transpose()).collect()
    }
}

/// A token from its row; none where there is no token at all.
fn view(row: &PgRow) -> Result<Option<TokenView>, ReadError> {
    let Some(token) = row.try_get::<Option<&[u8]>, _>("hmac")? else { return Ok(None) };
    let grant = match row.try_get::<Option<i64>, _>("millis")? {
        None => Grant::Endless,
        Some(millis) => Grant::Promo { millis: u64::try_from(millis).map_err(|_| ReadError::Damaged("a token"))? },
    };
    Ok(Some(TokenView {
        token: Hash32(token.try_into().map_err(|_| ReadError::Damaged("a token"))?),
        grant,
        issued: row.try_get::<DateTime<Utc>, _>("time")?.into(),
        holder: row.try_get::<Option<i64>, _>("holder")?.map(account).transpose()?,
        used_up: row.try_get("used_up")?,
        revoked: row.try_get("revoked")?,
    }))
}

/// The statement of [`ReadModels::tokens`].
pub(crate) fn tokens_sql(generation: Generation) -> String {
    format!(
        "select h.generation, t.*, e.time from log_head h left join {generation}.token t on true
left join events e on e.position = t.issued order by t.issued"
    )
}
