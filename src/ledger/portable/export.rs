//! Writing the file: one snapshot of the database, page by page.

use std::io::Write;

use be8_database::Connector;
use be8_events::{Hash32, Position, Sealed};
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};

use super::super::head::Head;
use super::super::pages::{self, Names, PAGE, Raw};
use super::super::{LogError, sealed};
use super::{
    Base64, CheckpointLine, End, EventLine, FORMAT, Header, KeyLine, Line, MasterLine, PortableError, SealedLine,
    Summary,
};

/// Writes the log, and on demand the vault, as they are at one moment. `progress` is called with the
/// position reached and the last one.
///
/// # Errors
/// [`PortableError`]
pub async fn export(
    connect: &Connector,
    to: &mut (dyn Write + Send),
    with_vault: bool,
    progress: &(dyn Fn(Position, Position) + Send + Sync),
) -> Result<Summary, PortableError> {
    let mut connection = connect.connect().await?;
    let mut tx = connection.begin_with("begin isolation level repeatable read read only").await?;
    let head = Head::read(&mut tx).await?;
    let mut out = Lines { to, hash: Sha256::new() };
    out.line(&Line::Log(Header {
        format: FORMAT.to_owned(),
        position: head.position,
        time: head.time,
        accounts: head.accounts,
        groups: head.groups,
        keys: head.keys,
        vault: with_vault,
    }))?;
    if with_vault {
        export_vault(&mut tx, &mut out).await?;
    }
    let checkpoints: Vec<(String, i64)> =
        sqlx::query_as("select process, reached from checkpoints order by process").fetch_all(&mut *tx).await?;
    for (process, reached) in checkpoints {
        out.line(&Line::Checkpoint(CheckpointLine { process, reached }))?;
    }
    let mut digest = Sha256::new();
    let mut names = Names::default();
    let mut after = 0;
    progress(Position(after), head.position);
    while after < head.position.0 {
        let until = head.position.0.min(after + PAGE);
        let page = pages::rows(&mut tx, after, until).await?;
        if page.len() as i64 != until - after {
            return Err(LogError::Damaged { position: until, what: "a position before it is missing" }.into());
        }
        names.learn(&mut tx, &page).await?;
        for (after, until, slice) in sealed::slices(page, after, until) {
            let mut payloads = sealed::of_slice(&mut tx, after, until, &slice).await?;
            for raw in slice {
                let payload = payloads.remove(&raw.position);
                let (line, hash) = event_line(raw, &names, payload)?;
                digest.update(hash.0);
                out.line(&Line::Event(line))?;
            }
        }
        after = until;
        progress(Position(after), head.position);
    }
    tx.commit().await?;
    connection.close().await?;
    let digest = Hash32(digest.finalize().into());
    let sha256 = Hash32(out.hash.clone().finalize().into());
    out.line(&Line::End(End { events: head.position.0, digest, sha256 }))?;
    out.to.flush()?;
    Ok(Summary { events: head.position.0, digest, vault: with_vault })
}

async fn export_vault(tx: &mut PgConnection, out: &mut Lines<'_>) -> Result<(), PortableError> {
    let masters: Vec<(i32, Vec<u8>)> =
        sqlx::query_as("select generation, check_value from vault.master order by generation")
            .fetch_all(&mut *tx)
            .await?;
    for (generation, check) in masters {
        out.line(&Line::Master(MasterLine { generation, check: Base64(check) }))?;
    }
    type Key = (i64, String, Option<Vec<u8>>, Option<i32>);
    let mut after = 0;
    loop {
        let keys: Vec<Key> =
            sqlx::query_as("select id, subject, wrapped, master from vault.key where id > $1 order by id limit $2")
                .bind(after)
                .bind(PAGE)
                .fetch_all(&mut *tx)
                .await?;
        let Some(last) = keys.last() else { return Ok(()) };
        after = last.0;
        for (id, subject, wrapped, master) in keys {
            out.line(&Line::Key(KeyLine { id, subject, wrapped: wrapped.map(Base64), master }))?;
        }
    }
}

/// An event as a line, with its hash.
fn event_line(raw: Raw, names: &Names, payload: Option<Sealed>) -> Result<(EventLine, Hash32), LogError> {
    let position = raw.position;
    let stream = names.get(raw.stream);
    let event = raw.decode(stream)?;
    let line = EventLine {
        position: event.position,
        stream: event.stream.to_string(),
        version: event.version,
        kind: event.event.kind().to_owned(),
        schema: event.schema,
        time: event.time,
        actor: event.actor.map(be8_events::AccId::number),
        salt: event.salt,
        payload: String::from_utf8(event.payload.clone())
            .map_err(|_| LogError::Damaged { position, what: "its payload is no UTF-8" })?,
        commitment: event.sealed,
        sealed: payload.map(|sealed| SealedLine {
            keys: sealed.keys,
            nonce: Base64(sealed.nonce.to_vec()),
            bytes: Base64(sealed.bytes),
        }),
    };
    Ok((line, event.hash()))
}

/// Lines on their way out, and the hash over them.
struct Lines<'a> {
    to: &'a mut (dyn Write + Send),
    hash: Sha256,
}

impl Lines<'_> {
    fn line(&mut self, line: &Line) -> Result<(), PortableError> {
        let mut text = serde_json::to_vec(line).map_err(std::io::Error::from)?;
        text.push(b'\n');
        self.hash.update(&text);
        self.to.write_all(&text)?;
        Ok(())
    }
}
