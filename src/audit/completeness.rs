//! The part of a bundle that proves where a group's histories end: the event that commits to the map of histories, and what the map
//! has of the group (`docs/audit.md` and `docs/log-format.md` fix the format).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::{GroupId, Hash32, Recorded, StreamName};

use super::bundle_format::{BadBundle, MOST_MESSAGES, bad, event_section, lines};
use super::history::{self, Act};
use crate::histories::map::{Entry, Proof};
use crate::histories::{history_entry, history_index, name_entry, name_index, newest, salt};

/// What is proved of where a group's histories end.
#[derive(Debug, Clone)]
pub struct Completeness {
    /// The event that commits to the map, which is the last entry of the checkpoint, and its inclusion proof.
    pub commitment: (Recorded, Vec<Hash32>),
    /// What the map has at the group's name.
    pub name: Proof,
    /// What it has of the group's life and of its messages, and what stands for the newest message; none without a group.
    pub histories: Option<(Proof, Proof, Option<Hash32>)>,
}

impl Completeness {
    /// The sections of a bundle.
    pub fn text(&self, group: GroupId) -> String {
        let (event, inclusion) = &self.commitment;
        let absent = |proof: &Proof| match proof.found {
            None => "absent".to_owned(),
            Some(Entry { index, commitment }) => {
                format!("absent {} {}", STANDARD.encode(index.0), STANDARD.encode(commitment.0))
            }
        };
        let section = |what: &str, says: &str, proof: &Proof| format!("\n{what} {says}\n{}", lines(&proof.siblings));
        let mut text = event_section("commitment", event, inclusion);
        let is_there =
            self.name.found.is_some_and(|found| found.index == name_index(&StreamName::Group(group).to_string()));
        text += &section("name", &if is_there { "present".to_owned() } else { absent(&self.name) }, &self.name);
        if let Some((life, chat, message)) = &self.histories {
            text += &section("group", "present", life);
            let message = message.map(|newest| format!("present {}", STANDARD.encode(newest.0)));
            text += &section("chat", &message.unwrap_or_else(|| absent(chat)), chat);
        }
        text
    }
}

/// What a section says of the map, and the hashes beside the path.
struct Said {
    present: bool,
    /// What stands for the newest event, or what is found instead.
    hashes: Vec<Hash32>,
    siblings: Vec<Hash32>,
}

impl Said {
    fn of(block: Option<&str>, what: &str) -> Result<Self, BadBundle> {
        let malformed = || BadBundle(format!("its section \"{what}\" is missing or malformed"));
        let hash = |text: &str| Some(Hash32(STANDARD.decode(text).ok()?.try_into().ok()?));
        let mut lines = block.ok_or_else(malformed)?.split('\n');
        let mut words = lines.next().unwrap_or_default().split(' ');
        if words.next() != Some(what) {
            return Err(malformed());
        }
        let present = match words.next() {
            Some("present") => true,
            Some("absent") => false,
            _ => return Err(malformed()),
        };
        let hashes = words.map(hash).collect::<Option<_>>().ok_or_else(malformed)?;
        let siblings = lines.map(hash).collect::<Option<_>>().ok_or_else(malformed)?;
        Ok(Self { present, hashes, siblings })
    }

    /// Whether the map with this root has this entry.
    fn shows(self, entry: Entry, root: Hash32) -> bool {
        self.present && Proof { found: Some(entry), siblings: self.siblings }.root(&entry.index) == Some(root)
    }

    /// Whether the map with this root has nothing at this index.
    fn shows_nothing(self, index: Hash32, root: Hash32) -> bool {
        let found = match self.hashes[..] {
            [] => None,
            [other, commitment] if other != index => Some(Entry { index: other, commitment }),
            _ => return false,
        };
        !self.present && Proof { found, siblings: self.siblings }.root(&index) == Some(root)
    }
}

/// What a bundle says of a group.
pub(super) struct Stated<'a> {
    pub(super) group: GroupId,
    /// How many events its life has, and how many messages there are.
    pub(super) counts: (i64, i64),
    /// For whom the bundle is.
    pub(super) reader: &'a str,
    pub(super) events: &'a [Recorded],
}

/// Checks what the sections say of the map with this root, once the events are known to be what they should.
pub(super) fn check(stated: &Stated<'_>, sections: &[&str], root: Hash32) -> Result<(), BadBundle> {
    let (life, chat) = (StreamName::Group(stated.group), StreamName::Chat(stated.group));
    let (name, (of_life, of_chat)) = (life.to_string(), stated.counts);
    let mut sections = sections.iter().copied();
    let at_name = Said::of(sections.next(), "name")?;
    let Some(first) = stated.events.iter().find(|event| event.stream == life) else {
        let none = stated.counts == (0, 0) && stated.events.is_empty() && sections.next().is_none();
        let absent = none && at_name.shows_nothing(name_index(&name), root);
        return if absent { Ok(()) } else { bad("it is not proved that there is no such group") };
    };
    let salt = salt(&first.salt);
    if !at_name.hashes.is_empty() || !at_name.shows(name_entry(&name, &salt), root) {
        return bad("the map of histories has not this group");
    }
    let last = stated.events.iter().rfind(|event| event.stream == life).unwrap_or(first);
    let at_life = Said::of(sections.next(), "group")?;
    if !at_life.hashes.is_empty() || !at_life.shows(history_entry(&salt, &name, of_life, &newest(last)), root) {
        return bad("the map of histories says something else of where the group's life ends: events are left out");
    }
    let at_chat = Said::of(sections.next(), "chat")?;
    let message = stated.events.iter().rfind(|event| event.stream == chat);
    let shown = match at_chat.hashes[..] {
        _ if of_chat == 0 => at_chat.shows_nothing(history_index(&salt, &chat.to_string()), root),
        [newest_one] => {
            let last = message.filter(|message| message.version == of_chat);
            last.is_none_or(|message| newest(message) == newest_one)
                && at_chat.shows(history_entry(&salt, &chat.to_string(), of_chat, &newest_one), root)
        }
        _ => false,
    };
    if !shown || sections.next().is_some() {
        return bad("the map of histories says something else of the group's messages");
    }
    messages(stated, chat)
}

/// Whether no message is left out that the reader may see: while the reader is in the group, their numbers have no gap.
fn messages(stated: &Stated<'_>, chat: StreamName) -> Result<(), BadBundle> {
    let departs = |event: &Recorded| {
        history::Entry::of(event).is_some_and(|entry| match entry.act {
            Act::Left { account, .. } | Act::Kicked { account, .. } => account.to_string() == stated.reader,
            Act::Destroyed { .. } => stated.reader != "operator",
            Act::Created { .. }
            | Act::Joined { .. }
            | Act::Added { .. }
            | Act::VersionAllocated { .. }
            | Act::KeyStored { .. }
            | Act::Message { .. } => false,
        })
    };
    let all = stated.reader == "operator" && stated.events.iter().filter(|e| e.stream == chat).count() < MOST_MESSAGES;
    let mut before = all.then_some(0);
    for event in stated.events {
        if event.stream == chat {
            if before.is_some_and(|before| event.version != before + 1) {
                return bad(format!("a message before position {} is left out", event.position));
            }
            before = Some(event.version);
        } else if departs(event) {
            before = None;
        }
    }
    if before.is_none_or(|before| before == stated.counts.1) { Ok(()) } else { bad("the newest messages are left out") }
}
