//! What an auditor takes home: a proof for one event (C2SP tlog-proof), or one file with a group's
//! history, all its proofs and a checkpoint (`docs/audit.md` fixes the format).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::{AccId, GroupId, Hash32, Position, Recorded, StreamName};

use super::Visibility;
use super::checkpoint_wait::{ProofError, covering};
use super::findings::JUDGING;
use super::notes::{self, PublicKey};
use super::transparency::Transparency;
use super::tree::Question;
use crate::ledger::{Log, SignedHead};

/// The first line of a bundle.
pub const FORM: &str = "be8.live/audit-bundle@v1";
/// The first line of a proof, by the specification.
const PROOF_FORM: &str = "c2sp.org/tlog-proof@v1";
/// How many events are read and proved at once.
const PAGE: u32 = 500;
/// When it is worth asking again for what the next checkpoint covers.
const SOON: Duration = Duration::from_secs(5);
/// The most messages of a bundle, the newest ones: they are where, when and who, nothing of what.
pub const MOST_MESSAGES: usize = 10_000;

/// An event with its proof.
#[derive(Debug, Clone, PartialEq)]
pub struct ProvedEvent {
    /// The event.
    pub event: Recorded,
    /// The `tlog-proof`.
    pub proof: String,
}

/// The event of a group at a position, or its first one, with its proof.
///
/// # Errors
/// [`ProofError`]
pub async fn proof(
    log: &Log,
    transparency: &Transparency,
    group: GroupId,
    sight: &Visibility,
    position: Option<Position>,
) -> Result<ProvedEvent, ProofError> {
    let event = match position {
        None => log.read_streams(&[StreamName::Group(group)], Position::START, log.newest().await?, 1).await?,
        Some(position) if position > Position::START => log.read_all(Position(position.0 - 1), 1).await?,
        Some(_) => Vec::new(),
    };
    let event = event.into_iter().next().filter(|event| sight.shows(group, event)).ok_or(ProofError::NoEvent)?;
    let size = event.position.0.unsigned_abs();
    let head = covering(transparency, size).await?;
    let index = size - 1;
    let hashes = transparency.answer(Question::Inclusion { size: head.size, index }).await?;
    let proof = format!("{PROOF_FORM}\nindex {index}\n{}\n{}", lines(&hashes), head.checkpoint());
    Ok(ProvedEvent { event, proof })
}

/// Hashes, a line each.
fn lines(hashes: &[Hash32]) -> String {
    hashes.iter().map(|hash| STANDARD.encode(hash.0) + "\n").collect()
}

/// The bundle of a group for a reader; no reader is the operator.
///
/// # Errors
/// [`ProofError`]
pub async fn bundle(
    log: &Log,
    transparency: &Transparency,
    group: GroupId,
    reader: Option<AccId>,
    sight: &Visibility,
) -> Result<String, ProofError> {
    let (life, chat) = (StreamName::Group(group), StreamName::Chat(group));
    let head = head_for(log, transparency, &[life, chat]).await?;
    let _turn = JUDGING.acquire().await;
    let until = Position(i64::try_from(head.size).unwrap_or(i64::MAX));
    let mut events = Vec::new();
    let mut after = Position::START;
    loop {
        let page = log.read_streams(&[life], after, until, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        events.extend(page);
    }
    if events.is_empty() {
        return Err(ProofError::NotCovered(SOON));
    }
    events.extend(messages(log, chat, sight, until).await?);
    events.sort_by_key(|event| event.position);

    let (witnesses, cosignatures) = transparency.cosigned(&head);
    let mut body = format!("{}{cosignatures}", head.note);
    for page in events.chunks(PAGE as usize) {
        let ask = |event: &Recorded| Question::Inclusion {
            size: head.size,
            index: event.position.0.unsigned_abs().saturating_sub(1),
        };
        let questions: Vec<Question> = page.iter().map(ask).collect();
        for (event, hashes) in page.iter().zip(transparency.answers(&questions).await?) {
            body.push_str(&format!("\nevent {}\n{}", STANDARD.encode(event.canonical()), lines(&hashes)));
        }
    }
    let key = transparency.key();
    let witnesses: String = witnesses.iter().map(|witness| format!("witness {witness}\n")).collect();
    let reader = reader.map_or_else(|| "operator".to_owned(), |reader| reader.to_string());
    let text = format!(
        "{FORM}\nkey {}\n{witnesses}group {group}\nreader {reader}\ntree {}\n\
         stream {life} {}\nstream {chat} {}\nevents {}\nbody {}\n",
        key.public(),
        head.size,
        log.count(life, Position::START, until).await?,
        log.count(chat, Position::START, until).await?,
        events.len(),
        STANDARD.encode(Hash32::sha256(body.as_bytes()).0),
    );
    Ok(format!("{}\n{body}", key.note(&text)))
}

/// The head for a bundle: one that covers all that the group has so far, or else the most of it. Of such heads it is one
/// that witnesses have signed.
async fn head_for(log: &Log, transparency: &Transparency, streams: &[StreamName]) -> Result<SignedHead, ProofError> {
    let last_until = async |until| {
        let last = log.read_streams_backwards(streams, Position::START, until, 1).await?;
        Ok::<_, ProofError>(last.last().map(|event| event.position.0.unsigned_abs()))
    };
    let last = last_until(log.newest().await?).await?.ok_or(ProofError::NoEvent)?;
    let again = match covering(transparency, last).await {
        Err(ProofError::NotCovered(again)) => again,
        covered => return covered,
    };
    let tables = transparency.tables();
    let newest = tables.newest_head().await?.ok_or(ProofError::NotCovered(again))?;
    let until = Position(i64::try_from(newest.size).unwrap_or(i64::MAX));
    let last = last_until(until).await?.ok_or(ProofError::NotCovered(again))?;
    Ok(tables.head_covering(last).await?.unwrap_or(newest))
}

/// The newest messages that are seen.
async fn messages(
    log: &Log,
    chat: StreamName,
    sight: &Visibility,
    until: Position,
) -> Result<Vec<Recorded>, ProofError> {
    let mut found = Vec::new();
    for (from, mut to) in sight.visible_ranges(Position::START, until).into_iter().rev() {
        loop {
            let room = u32::try_from(MOST_MESSAGES - found.len()).unwrap_or(PAGE).min(PAGE);
            let page = if room == 0 { Vec::new() } else { log.read_streams_backwards(&[chat], from, to, room).await? };
            let Some(first) = page.first() else { break };
            to = Position(first.position.0 - 1);
            found.extend(page);
        }
    }
    Ok(found)
}

impl Visibility {
    /// Whether an event is one of the group's that is seen.
    pub fn shows(&self, group: GroupId, event: &Recorded) -> bool {
        let stream = event.stream;
        let before = Position(event.position.0 - 1);
        stream == StreamName::Group(group)
            || stream == StreamName::Chat(group) && !self.visible_ranges(before, event.position).is_empty()
    }
}

impl Transparency {
    /// The witnesses, among those that this server asks, that have signed a head, and their lines.
    fn cosigned(&self, head: &SignedHead) -> (Vec<PublicKey>, String) {
        let Ok((text, _)) = notes::split(&head.note) else { return Default::default() };
        let mut keys: Vec<PublicKey> = Vec::new();
        let mut lines = String::new();
        for line in head.cosignatures.lines() {
            let signature = notes::signatures(line).unwrap_or_default();
            let signed = |key: &&PublicKey| signature.iter().any(|signature| key.signed(text, signature));
            if let Some(key) = self.witnesses().iter().find(signed)
                && !keys.contains(key)
            {
                keys.push(key.clone());
                lines.push_str(line);
                lines.push('\n');
            }
        }
        (keys, lines)
    }
}
