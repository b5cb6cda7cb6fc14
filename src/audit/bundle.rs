//! What an auditor takes home: a proof for one event (C2SP tlog-proof), or one file with a group's
//! history, all its proofs and a checkpoint (`docs/audit.md` fixes the format).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::{AccId, GroupId, Hash32, Position, Recorded, StreamName};

use super::Visibility;
use super::bundle_format::{FORM, MOST_MESSAGES, event_section, lines};
use super::checkpoint_wait::{Covers, ProofError, covering};
use super::completeness::Completeness;
use super::findings::JUDGING;
use super::notes::{self, NoteKey, PublicKey};
use super::transparency::Transparency;
use super::tree::Question;
use crate::histories::{history_index, name_index, newest, salt};
use crate::ledger::{Log, SignedHead};

/// The first line of a proof, by the specification.
const PROOF_FORM: &str = "c2sp.org/tlog-proof@v1";
/// How many events are read and proved at once.
const PAGE: u32 = 500;
/// When it is worth asking again for what the next checkpoint covers.
const SOON: Duration = Duration::from_secs(5);

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
    let head = covering(transparency, size, Covers::Entry).await?;
    let index = size - 1;
    let hashes = transparency.answer(inclusion(&event, &head)).await?;
    let proof = format!("{PROOF_FORM}\nindex {index}\n{}\n{}", lines(&hashes), head.checkpoint());
    Ok(ProvedEvent { event, proof })
}

/// What is in a bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Of which group.
    pub group: GroupId,
    /// For whom; none is the operator.
    pub reader: Option<AccId>,
    /// The checkpoint, with the lines of witnesses.
    pub head: SignedHead,
    /// Those that have signed it, in the order of their lines.
    pub witnesses: Vec<PublicKey>,
    /// Where the group's histories end.
    pub completeness: Completeness,
    /// How many events the group's life has up to there, and how many messages there are.
    pub counts: (i64, i64),
    /// The events, ascending, each with its inclusion proof.
    pub events: Vec<(Recorded, Vec<Hash32>)>,
}

impl Bundle {
    /// The bundle as it is handed out, signed by the key of the log.
    pub fn text(&self, key: &NoteKey) -> String {
        let (life, chat) = (StreamName::Group(self.group), StreamName::Chat(self.group));
        let mut body = format!("{}{}", self.head.checkpoint(), self.completeness.text(self.group));
        self.events.iter().for_each(|(event, inclusion)| body += &event_section("event", event, inclusion));
        let witnesses: String = self.witnesses.iter().map(|witness| format!("witness {witness}\n")).collect();
        let reader = self.reader.map_or_else(|| "operator".to_owned(), |reader| reader.to_string());
        let text = format!(
            "{FORM}\nkey {}\n{witnesses}group {}\nreader {reader}\ntree {}\nuntil {}\n\
             stream {life} {}\nstream {chat} {}\nevents {}\nbody {}\n",
            key.public(),
            self.group,
            self.head.size,
            self.head.histories.unwrap_or_default(),
            self.counts.0,
            self.counts.1,
            self.events.len(),
            STANDARD.encode(Hash32::sha256(body.as_bytes()).0),
        );
        format!("{}\n{body}", key.note(&text))
    }
}

/// The bundle of a group for a reader; no reader is the operator, for whom it may also prove that there is no such group.
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
    let mut head = head_for(log, transparency, &[life, chat]).await?;
    let _turn = JUDGING.acquire().await;
    let until = position(head.histories.unwrap_or_default());
    let mut events = Vec::new();
    let mut after = Position::START;
    loop {
        let page = log.read_streams(&[life], after, until, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        events.extend(page);
    }
    if events.is_empty() && reader.is_some() {
        return Err(ProofError::NotCovered(SOON));
    }
    let completeness = completeness(log, transparency, group, &head, events.first()).await?;
    events.extend(messages(log, chat, sight, until).await?);
    events.sort_by_key(|event| event.position);
    let (witnesses, cosignatures) = transparency.cosigned(&head);
    head.cosignatures = cosignatures;
    let counts = (log.count(life, Position::START, until).await?, log.count(chat, Position::START, until).await?);
    let mut proved = Vec::with_capacity(events.len());
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let page: Vec<Recorded> = events.by_ref().take(PAGE as usize).collect();
        let questions: Vec<Question> = page.iter().map(|event| inclusion(event, &head)).collect();
        proved.extend(page.into_iter().zip(transparency.answers(&questions).await?));
    }
    let bundle = Bundle { group, reader, head, witnesses, completeness, counts, events: proved };
    Ok(bundle.text(transparency.key()))
}

/// Asks for the proof that an event is in what a head covers.
fn inclusion(event: &Recorded, head: &SignedHead) -> Question {
    Question::Inclusion { size: head.size, index: event.position.0.unsigned_abs().saturating_sub(1) }
}

fn position(size: u64) -> Position {
    Position(i64::try_from(size).unwrap_or(i64::MAX))
}

/// What the map that a head commits to has of a group, whose life begins with an event.
async fn completeness(
    log: &Log,
    transparency: &Transparency,
    group: GroupId,
    head: &SignedHead,
    first: Option<&Recorded>,
) -> Result<Completeness, ProofError> {
    let (name, chat) = (StreamName::Group(group).to_string(), StreamName::Chat(group));
    let mut indexes = vec![name_index(&name)];
    if let Some(first) = first {
        let salt = salt(&first.salt);
        indexes.extend([history_index(&salt, &name), history_index(&salt, &chat.to_string())]);
    }
    let until = head.histories.unwrap_or_default();
    let mut proofs = transparency.tables().map_proofs(until, &indexes).await?.into_iter();
    let (at_name, life, at_chat) = (proofs.next(), proofs.next(), proofs.next());
    let message = log.read_streams_backwards(&[chat], Position::START, position(until), 1).await?;
    let committed = log.read_all(position(head.size.saturating_sub(1)), 1).await?.into_iter().next();
    let (Some(name), Some(committed)) = (at_name, committed) else { return Err(ProofError::NotCovered(SOON)) };
    let inclusion = transparency.answer(inclusion(&committed, head)).await?;
    let histories = life.zip(at_chat).map(|(life, chat)| (life, chat, message.first().map(newest)));
    Ok(Completeness { commitment: (committed, inclusion), name, histories })
}

/// The head for a bundle: one whose map covers all that the group has so far, or else the most of it. Of such heads it is one
/// that witnesses have signed.
async fn head_for(log: &Log, transparency: &Transparency, streams: &[StreamName]) -> Result<SignedHead, ProofError> {
    let last_until = async |until| {
        let last = log.read_streams_backwards(streams, Position::START, until, 1).await?;
        Ok::<_, ProofError>(last.last().map(|event| event.position.0.unsigned_abs()))
    };
    let last = last_until(log.newest().await?).await?.unwrap_or(1);
    let again = match covering(transparency, last, Covers::Histories).await {
        Err(ProofError::NotCovered(again)) => again,
        covered => return covered,
    };
    let tables = transparency.tables();
    let newest = tables.newest_head().await?.filter(|head| head.histories.is_some());
    let newest = newest.ok_or(ProofError::NotCovered(again))?;
    let last =
        last_until(position(newest.histories.unwrap_or_default())).await?.ok_or(ProofError::NotCovered(again))?;
    Ok(tables.head_with_map(last).await?.unwrap_or(newest))
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
