//! Checks a bundle with nothing but itself and a key: what `be8 verify-bundle` does, offline.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::{AccId, Event, GroupId, Hash32, Position, Recorded, ServerEvent, StreamName, Timestamp};

pub use super::bundle_format::BadBundle;
use super::bundle_format::{FORM, FORM_WITHOUT_MAP, bad};
use super::completeness::{self, Stated};
use super::findings::{Finding, Rule, judge};
use super::history::{Act, Entry};
use super::notes::{self, Checkpoint, PublicKey, Role};
use super::tree;

/// A bundle that holds what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedBundle {
    /// The key of the log.
    pub key: PublicKey,
    /// The witnesses that signed the checkpoint, and when.
    pub witnesses: Vec<(PublicKey, Timestamp)>,
    /// The group.
    pub group: GroupId,
    /// For whom it was made.
    pub reader: String,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Up to where it is proved that the group has no other events; none for a bundle from before the map of histories, in which
    /// that is only what the server says.
    pub until: Option<Position>,
    /// The events, ascending.
    pub events: Vec<Recorded>,
    /// How many messages the group had; the bundle may hold fewer.
    pub messages: i64,
}

/// The lines of the head of a bundle, one after the other.
struct Lines<'a>(std::str::Lines<'a>);

impl<'a> Lines<'a> {
    fn value(&mut self, name: &str) -> Result<&'a str, BadBundle> {
        let line = self.0.next().unwrap_or_default();
        let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
        value.ok_or_else(|| BadBundle(format!("its head has no line \"{name}\" where it should")))
    }

    fn number(&mut self, name: &str) -> Result<i64, BadBundle> {
        let text = self.value(name)?;
        let number: Option<i64> = text.parse().ok();
        number.filter(|n| n.to_string() == text && *n >= 0).ok_or_else(|| BadBundle(format!("{name} is no number")))
    }
}

/// Checks a bundle. With a key, it must be that one which signed.
///
/// # Errors
/// [`BadBundle`] says what is wrong.
pub fn verify_bundle(text: &str, expected: Option<&PublicKey>) -> Result<VerifiedBundle, BadBundle> {
    let sections: Vec<&str> = text.splitn(3, "\n\n").collect();
    let [head, signature, body] = sections[..] else { return bad("it is cut off, or is no bundle") };
    let head = format!("{head}\n");
    let mut lines = Lines(head.lines());
    let has_map = match lines.0.next() {
        Some(FORM) => true,
        Some(FORM_WITHOUT_MAP) => false,
        _ => return bad("it is no bundle of a form that this program knows"),
    };
    let key: PublicKey = lines.value("key")?.parse().map_err(|_| BadBundle("its key is malformed".to_owned()))?;
    if key.role() != Role::Log {
        return bad("its key is not one of a log");
    }
    if expected.is_some_and(|expected| *expected != key) {
        return bad(format!("it is signed by another key: {key}"));
    }
    match &notes::signatures(signature).unwrap_or_default()[..] {
        [one] if key.signed(&head, one) => {}
        _ => return bad("the signature of its head is false"),
    }
    // From here on the head is what the server signed.
    let mut witnesses = Vec::new();
    let mut before = lines.0.clone();
    while let Ok(witness) = lines.value("witness") {
        let witness = witness.parse().map_err(|_| BadBundle("the key of a witness is malformed".to_owned()))?;
        witnesses.push(witness);
        before = lines.0.clone();
    }
    lines.0 = before;
    let group = lines.value("group")?.parse().map_err(|_| BadBundle("it names no group".to_owned()))?;
    let (life, chat) = (StreamName::Group(group), StreamName::Chat(group));
    // What is printed was read: a bundle may be signed by anybody, and a terminal obeys what it is shown.
    let reader = match lines.value("reader")? {
        "operator" => "operator".to_owned(),
        reader => reader.parse::<AccId>().map_err(|_| BadBundle("it names no reader".to_owned()))?.to_string(),
    };
    let tree = lines.number("tree")?;
    let until = if has_map { Some(Position(lines.number("until")?)) } else { None };
    let total = lines.number(&format!("stream {life}"))?;
    let messages = lines.number(&format!("stream {chat}"))?;
    let count = lines.number("events")?;
    if lines.value("body")? != STANDARD.encode(Hash32::sha256(body.as_bytes()).0) {
        return bad("it was changed: what follows its head has another hash than the head says");
    }
    if lines.0.next().is_some() {
        return bad("its head is too long");
    }

    let (checkpoint, witnesses, blocks) = checkpoint(body, &key, witnesses)?;
    if i64::try_from(checkpoint.size) != Ok(tree) {
        return bad("its checkpoint has another size than its head says");
    }
    let of_events = blocks.iter().position(|block| block.starts_with("event ")).unwrap_or(blocks.len());
    let (of_map, blocks) = blocks.split_at(of_events);
    let mut events: Vec<Recorded> = Vec::new();
    for block in blocks {
        let event = proved("event ", block, &checkpoint)?;
        if events.last().is_some_and(|last| last.position >= event.position || last.time > event.time) {
            return bad(format!("position {} is out of order", event.position));
        }
        events.push(event);
    }
    if i64::try_from(events.len()) != Ok(count) {
        return bad("it has another number of events than its head says");
    }
    complete(&events, (life, total), (chat, messages))?;
    match (until, of_map.split_first()) {
        (None, None) => {}
        (Some(until), Some((commitment, sections))) => {
            let root = committed(commitment, &checkpoint, until)?;
            if events.last().is_some_and(|last| last.position > until) {
                return bad("it holds events after the point up to which it is complete");
            }
            let stated = Stated { group, counts: (total, messages), reader: &reader, events: &events };
            completeness::check(&stated, sections, root)?;
        }
        _ => return bad("the proof of completeness is missing, or is in a bundle of an older form"),
    }
    Ok(VerifiedBundle { key, witnesses, group, reader, checkpoint, until, events, messages })
}

/// The root of the map of histories that the last entry of a checkpoint commits to, if that map goes up to this position.
fn committed(block: &str, checkpoint: &Checkpoint, until: Position) -> Result<Hash32, BadBundle> {
    let event = proved("commitment ", block, checkpoint)?;
    if u64::try_from(event.position.0) != Ok(checkpoint.size) || event.stream != StreamName::Histories {
        return bad("its checkpoint does not end with a commitment to the map of histories");
    }
    if let Event::Server(ServerEvent::HistoriesCommitted(map)) = event.event
        && map.until == until
        && until < event.position
    {
        return Ok(map.root);
    }
    bad("the map of histories goes to another position than its head says")
}

/// The checkpoint, the witnesses with their times, and the blocks of the events.
type Body<'a> = (Checkpoint, Vec<(PublicKey, Timestamp)>, Vec<&'a str>);

fn checkpoint<'a>(body: &'a str, key: &PublicKey, witnesses: Vec<PublicKey>) -> Result<Body<'a>, BadBundle> {
    let whole = body.strip_suffix('\n').unwrap_or_default();
    let mut sections = whole.split("\n\n");
    let (Some(text), Some(lines)) = (sections.next(), sections.next()) else { return bad("it has no checkpoint") };
    let text = format!("{text}\n");
    let form = |_| BadBundle("its checkpoint is malformed".to_owned());
    let checkpoint = Checkpoint::parse(&text).map_err(form)?;
    if checkpoint.origin != key.name() {
        return bad("its checkpoint is one of another log");
    }
    // Each signature by whom the head names, in that order, and nobody else.
    let signatures = notes::signatures(lines).map_err(form)?;
    let signers: Vec<&PublicKey> = std::iter::once(key).chain(&witnesses).collect();
    if signatures.len() != signers.len() {
        return bad("its checkpoint is signed by others than its head names");
    }
    for (signer, signature) in signers.iter().zip(&signatures) {
        if !signer.signed(&text, signature) {
            return bad(format!("the signature of {} under its checkpoint is false", signer.name()));
        }
    }
    let time = |signature: &signed_note::Signature| {
        let seconds = signature.signature().first_chunk().map_or(0, |time| u64::from_be_bytes(*time));
        Timestamp::from_micros(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000))
    };
    if witnesses.iter().any(|witness| witness.role() != Role::Witness) {
        return bad("the key of a witness is not one of a witness");
    }
    let witnesses = witnesses.into_iter().zip(signatures.iter().skip(1).map(time)).collect();
    Ok((checkpoint, witnesses, sections.collect()))
}

/// The event of a block, if its proof leads to the checkpoint.
fn proved(what: &str, block: &str, checkpoint: &Checkpoint) -> Result<Recorded, BadBundle> {
    let mut lines = block.split('\n');
    let canonical = lines.next().and_then(|line| line.strip_prefix(what)).unwrap_or_default();
    let canonical = STANDARD.decode(canonical).map_err(|_| BadBundle("an event is malformed".to_owned()))?;
    let event = Recorded::from_canonical(&canonical).map_err(|error| BadBundle(format!("an event: {error}")))?;
    let hash = |line: &str| Some(Hash32(STANDARD.decode(line).ok()?.try_into().ok()?));
    let proof: Option<Vec<Hash32>> = lines.map(hash).collect();
    let position = event.position;
    let proof = proof.ok_or_else(|| BadBundle(format!("the proof of position {position} is malformed")))?;
    let index = u64::try_from(position.0 - 1).map_err(|_| BadBundle("an event before the first".to_owned()))?;
    let leaf = tree::leaf(Hash32::sha256(&canonical));
    if index < checkpoint.size && tree::included(&proof, checkpoint.size, checkpoint.root, index, leaf) {
        Ok(event)
    } else {
        bad(format!("the event at position {position} is not in the log that was signed"))
    }
}

/// Whether the group's life is whole, by the gapless versions of its stream, and nothing is
/// foreign.
fn complete(events: &[Recorded], life: (StreamName, i64), chat: (StreamName, i64)) -> Result<(), BadBundle> {
    let (mut next, mut said) = (1, 0);
    for event in events {
        if event.stream == life.0 {
            if event.version != next {
                return bad(format!("the group's event number {next} is missing"));
            }
            next += 1;
        } else if event.stream == chat.0 {
            if event.version <= said || event.version > chat.1 {
                return bad(format!("the message at position {} is out of order", event.position));
            }
            said = event.version;
        } else {
            return bad(format!("the event at position {} is not the group's", event.position));
        }
    }
    if next - 1 == life.1 { Ok(()) } else { bad(format!("the group has {} events, and not all are there", life.1)) }
}

impl VerifiedBundle {
    /// Whether this bundle and another one of the same group can both be true: what the one shows, the other must show if it is
    /// complete up to there. If not, the server has signed a contradiction, and both bundles together prove it.
    ///
    /// # Errors
    /// [`BadBundle`] says which event is left out, or that the bundles cannot be compared.
    pub fn agrees_with(&self, known: &Self) -> Result<(), BadBundle> {
        if (self.group, &self.key) != (known.group, &known.key) {
            return bad("the known bundle is of another group or another log");
        }
        let (ours, theirs) = (self.up_to(), known.up_to());
        if self.checkpoint.size == known.checkpoint.size && self.checkpoint.root != known.checkpoint.root {
            return bad("the server has signed a contradiction: two checkpoints of one size");
        }
        let life = |bundle: &Self, until| -> Vec<Recorded> {
            let of_life = |event: &&Recorded| event.stream == StreamName::Group(self.group) && event.position <= until;
            bundle.events.iter().filter(of_life).cloned().collect()
        };
        let until = ours.min(theirs);
        let (one, other) = (life(self, until), life(known, until));
        if one != other {
            let number = one.iter().zip(&other).take_while(|(one, other)| one == other).count() + 1;
            return bad(format!(
                "the server has signed a contradiction: one bundle has another event number {number} of the group than the \
                 other one, or has none, though both are complete up to position {until}"
            ));
        }
        let (earlier, later) = if ours <= theirs { (self, known) } else { (known, self) };
        let left_out =
            |event: &Recorded| event.stream == StreamName::Chat(self.group) && event.version > earlier.messages;
        let known = later.events.iter().filter(|event| event.position <= until).any(left_out);
        if earlier.messages > later.messages || known {
            return bad(
                "the server has signed a contradiction: one bundle counts fewer messages than the other one knows",
            );
        }
        Ok(())
    }

    /// Up to where it says that the group has no other events.
    fn up_to(&self) -> Position {
        self.until.unwrap_or_else(|| Position(i64::try_from(self.checkpoint.size).unwrap_or(i64::MAX)))
    }

    /// The history that the bundle contains.
    pub fn entries(&self) -> Vec<Entry> {
        self.events.iter().filter_map(Entry::of).collect()
    }

    /// What is wrong in that history, as known at `now`, with the messages that the bundle holds.
    pub fn findings(&self, now: Timestamp) -> Vec<Finding> {
        let (messages, entries): (Vec<Entry>, Vec<Entry>) =
            self.entries().into_iter().partition(|entry| matches!(entry.act, Act::Message { .. }));
        let mut found = judge(&entries, now);
        for finding in found.iter_mut().filter(|finding| finding.rule == Rule::ExposureWindow) {
            let until = |entry: &Entry| finding.until.is_none_or(|until| entry.position <= until);
            let inside = messages.iter().filter(|entry| entry.position > finding.from && until(entry)).count();
            finding.messages = Some(i64::try_from(inside).unwrap_or(i64::MAX));
        }
        found
    }
}
