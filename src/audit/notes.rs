//! Signed notes (C2SP signed-note), the checkpoints that they carry (C2SP tlog-checkpoint), and
//! the timestamped cosignatures of witnesses (C2SP tlog-cosignature), all by Ed25519.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::Hash32;
use ed25519_dalek::{Signature as Ed25519, Signer as _, SigningKey, VerifyingKey};
use signed_note::{Note, Signature, is_key_name_valid, key_id};
use zeroize::Zeroizing;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Notes as they stand: the key of a log.
    Log,
    /// Cosignatures with their time: the key of a witness.
    Witness,
}

impl Role {
    /// The byte by which C2SP distinguishes the types of signatures.
    const fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Witness => 4,
        }
    }

    const fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Log),
            4 => Some(Self::Witness),
            _ => None,
        }
    }
}

/// A text that should be a key, a note or a checkpoint, and is not; or a signature that is false.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadNote {
    /// Not a key.
    #[error("not a key of C2SP signed-note for Ed25519")]
    Key,
    /// Not a note or not a checkpoint.
    #[error("not a signed checkpoint")]
    Form,
    /// A known key has signed something else.
    #[error("the signature of {0} is false")]
    False(String),
    /// Nobody has signed whom one could believe.
    #[error("not signed by {0}")]
    Unsigned(String),
}

/// The public half of a key, as verifiers get it: `name+id+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    role: Role,
    key: VerifyingKey,
    id: u32,
}

impl PublicKey {
    fn new(name: &str, role: Role, key: VerifyingKey) -> Self {
        let id = key_id(name, &[&[role.byte()][..], key.as_bytes()].concat());
        Self { name: name.to_owned(), role, key, id }
    }

    /// The name: of a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Whether a signature names this key.
    pub(super) fn is_named_by(&self, signature: &Signature) -> bool {
        (signature.name(), signature.id()) == (&*self.name, self.id)
    }

    /// Whether these bytes sign that text; a cosignature has its time in front.
    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        let (text, signature) = match (self.role, signature.split_first_chunk()) {
            (Role::Log, _) => (text.to_owned(), signature),
            (Role::Witness, Some((time, rest))) => (cosigned(u64::from_be_bytes(*time), text), rest),
            (Role::Witness, None) => return false,
        };
        Ed25519::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
    }

    /// Whether this signature is one of this key under that text.
    pub fn signed(&self, text: &str, signature: &Signature) -> bool {
        self.is_named_by(signature) && self.verifies(text, signature.signature())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[self.role.byte()][..], self.key.as_bytes()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id, STANDARD.encode(bytes))
    }
}

impl FromStr for PublicKey {
    type Err = BadNote;

    fn from_str(text: &str) -> Result<Self, BadNote> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadNote::Key);
        };
        let bytes = STANDARD.decode(key).map_err(|_| BadNote::Key)?;
        let (role, key) = bytes.split_first().ok_or(BadNote::Key)?;
        let role = Role::of_byte(*role).ok_or(BadNote::Key)?;
        let key: [u8; 32] = key.try_into().map_err(|_| BadNote::Key)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| BadNote::Key)?;
        let own = Self::new(name, role, key);
        // The id too has to be the right one, and each part be written in the one way that it has.
        if is_name(name) && !key.is_weak() && own.to_string() == text { Ok(own) } else { Err(BadNote::Key) }
    }
}

/// Whether a key can have this name. One with control characters would change what a terminal shows.
fn is_name(name: &str) -> bool {
    is_key_name_valid(name) && !name.chars().any(char::is_control)
}

/// What a cosignature signs.
fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// A key that signs.
pub struct NoteKey {
    secret: SigningKey,
    public: PublicKey,
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteKey({}, ***)", self.public)
    }
}

impl NoteKey {
    /// A key from its secret seed.
    ///
    /// # Errors
    /// [`BadNote::Key`] for a name that a note cannot have.
    pub fn new(name: &str, role: Role, seed: &[u8; 32]) -> Result<Self, BadNote> {
        if !is_name(name) {
            return Err(BadNote::Key);
        }
        let secret = SigningKey::from_bytes(seed);
        let public = PublicKey::new(name, role, secret.verifying_key());
        Ok(Self { secret, public })
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The text by which it is kept: `PRIVATE+KEY+name+id+base64`, as Go's tools have it.
    pub fn to_text(&self) -> Zeroizing<String> {
        let PublicKey { name, role, id, .. } = &self.public;
        let bytes = Zeroizing::new([&[role.byte()][..], self.secret.as_bytes()].concat());
        let base64 = Zeroizing::new(STANDARD.encode(&*bytes));
        Zeroizing::new(format!("PRIVATE+KEY+{name}+{id:08x}+{}\n", *base64))
    }

    /// Reads [`NoteKey::to_text`].
    ///
    /// # Errors
    /// [`BadNote::Key`]
    pub fn from_text(text: &str) -> Result<Self, BadNote> {
        let mut parts = text.strip_prefix("PRIVATE+KEY+").ok_or(BadNote::Key)?.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BadNote::Key);
        };
        let bytes = Zeroizing::new(STANDARD.decode(key.trim_end_matches('\n')).map_err(|_| BadNote::Key)?);
        let (role, seed) = bytes.split_first().ok_or(BadNote::Key)?;
        let role = Role::of_byte(*role).ok_or(BadNote::Key)?;
        let own = Self::new(name, role, seed.try_into().map_err(|_| BadNote::Key)?)?;
        if own.to_text().trim_end() == text.trim_end() { Ok(own) } else { Err(BadNote::Key) }
    }

    /// The signature line under a text. A witness signs at a time, in seconds of Unix.
    pub fn sign(&self, text: &str, time: u64) -> String {
        let bytes = match self.public.role {
            Role::Log => self.secret.sign(text.as_bytes()).to_bytes().to_vec(),
            Role::Witness => {
                [&time.to_be_bytes()[..], &self.secret.sign(cosigned(time, text).as_bytes()).to_bytes()].concat()
            }
        };
        let bytes = [&self.public.id.to_be_bytes()[..], &bytes].concat();
        format!("— {} {}\n", self.public.name, STANDARD.encode(bytes))
    }

    /// A text with its signature: a note.
    pub fn note(&self, text: &str) -> String {
        format!("{text}\n{}", self.sign(text, 0))
    }
}

/// Text and signatures of a note.
///
/// # Errors
/// [`BadNote::Form`]
pub fn split(note: &str) -> Result<(&str, Vec<Signature>), BadNote> {
    // Checks the form of it all: characters, blank line, every line of a signature.
    Note::from_bytes(note.as_bytes()).map_err(|_| BadNote::Form)?;
    let (text, lines) = note.rsplit_once("\n\n").ok_or(BadNote::Form)?;
    let text = note.get(..=text.len()).ok_or(BadNote::Form)?;
    Ok((text, signatures(lines)?))
}

/// The signatures of some lines.
///
/// # Errors
/// [`BadNote::Form`]
pub fn signatures(lines: &str) -> Result<Vec<Signature>, BadNote> {
    lines.lines().map(|line| Signature::from_bytes(line.as_bytes()).map_err(|_| BadNote::Form)).collect()
}

/// What a checkpoint says of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// Their root.
    pub root: Hash32,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Reads the text of a note. Further lines are allowed, as the specification has it.
    ///
    /// # Errors
    /// [`BadNote::Form`]
    pub fn parse(text: &str) -> Result<Self, BadNote> {
        let lines: Vec<&str> = text.strip_suffix('\n').ok_or(BadNote::Form)?.split('\n').collect();
        let [origin, size, root, ..] = lines[..] else { return Err(BadNote::Form) };
        if lines.iter().any(|line| line.is_empty()) {
            return Err(BadNote::Form);
        }
        let number: u64 = size.parse().map_err(|_| BadNote::Form)?;
        let bytes = STANDARD.decode(root).map_err(|_| BadNote::Form)?;
        let root = Hash32(bytes.try_into().map_err(|_| BadNote::Form)?);
        let canonical = number.to_string() == size && number <= i64::MAX as u64;
        if canonical { Ok(Self { origin: origin.to_owned(), size: number, root }) } else { Err(BadNote::Form) }
    }

    /// Reads a note that this log must have signed; other signatures are not looked at.
    ///
    /// # Errors
    /// [`BadNote`]
    pub fn open(note: &str, log: &PublicKey) -> Result<Self, BadNote> {
        let (text, signatures) = split(note)?;
        let mut own = signatures.iter().filter(|signature| log.is_named_by(signature)).peekable();
        if own.peek().is_none() {
            return Err(BadNote::Unsigned(log.name().to_owned()));
        }
        if !own.all(|signature| log.verifies(text, signature.signature())) {
            return Err(BadNote::False(log.name().to_owned()));
        }
        let checkpoint = Self::parse(text)?;
        if checkpoint.origin == log.name() { Ok(checkpoint) } else { Err(BadNote::Form) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of C2SP signed-note, whose key Go's documentation names.
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    fn sample(role: Role) -> NoteKey {
        NoteKey::new("example.com/log", role, &[7; 32]).unwrap()
    }

    #[test]
    fn a_note_of_others_is_understood() {
        let key: PublicKey = KEY.parse().unwrap();
        assert_eq!((key.to_string().as_str(), key.name(), key.role()), (KEY, "PeterNeumann", Role::Log));
        let (text, signatures) = split(NOTE).unwrap();
        assert!(key.signed(text, &signatures[0]));
        assert!(!key.signed(&text.replace("your", "my"), &signatures[0]));
    }

    #[test]
    fn a_name_with_control_characters_is_none() {
        let key = sample(Role::Log).secret.verifying_key();
        for name in ["a\u{1b}[2J", "a\u{7f}", "a\u{9b}2J"] {
            let text = PublicKey::new(name, Role::Log, key).to_string();
            assert!(text.parse::<PublicKey>().is_err(), "{name:?}");
        }
        assert!(PublicKey::new("a", Role::Log, key).to_string().parse::<PublicKey>().is_ok());
    }

    #[test]
    fn a_cosignature_of_others_is_understood() {
        // The layout of C2SP tlog-cosignature: time in front, the time signed as a line.
        let witness = sample(Role::Witness);
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let line = witness.sign(text, 1_679_315_147);
        let signature = &signatures(&line).unwrap()[0];
        assert_eq!(signature.signature()[..8], 1_679_315_147u64.to_be_bytes());
        let signed = format!("cosignature/v1\ntime 1679315147\n{text}");
        let bytes = Ed25519::from_slice(&signature.signature()[8..]).unwrap();
        assert!(witness.public().key.verify_strict(signed.as_bytes(), &bytes).is_ok());
        assert!(witness.public().signed(text, signature));
        assert!(!sample(Role::Log).public().signed(text, signature), "the same key in another role");
    }

    #[test]
    fn keys_are_read_as_written_and_nothing_else_is() {
        for role in [Role::Log, Role::Witness] {
            let key = sample(role);
            assert_eq!(key.public().to_string().parse::<PublicKey>().unwrap(), *key.public());
            let again = NoteKey::from_text(&key.to_text()).unwrap();
            assert_eq!(again.public(), key.public());
            assert!(!format!("{key:?}").contains(&STANDARD.encode([7; 32])[1..20]));
            let text = key.public().to_string();
            for at in 0..text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                assert!(changed.parse::<PublicKey>().is_err(), "{changed}");
            }
        }
        for bad in ["", "a", "a+b", "a+b+c", "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
            assert!(NoteKey::from_text(bad).is_err());
        }
        for name in ["", "a b", "a+b", "a\nb", "a\u{0}"] {
            assert!(NoteKey::new(name, Role::Log, &[7; 32]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_checkpoint_is_opened_with_its_logs_key_only() {
        let key = sample(Role::Log);
        let checkpoint = Checkpoint { origin: "example.com/log".to_owned(), size: 3, root: Hash32([9; 32]) };
        let note = key.note(&checkpoint.text());
        assert_eq!(Checkpoint::open(&note, key.public()).unwrap(), checkpoint);
        // Further signatures do not matter; a false one of the log's own key does.
        let witness = NoteKey::new("w", Role::Witness, &[8; 32]).unwrap();
        let cosigned = note.clone() + &witness.sign(&checkpoint.text(), 5);
        assert_eq!(Checkpoint::open(&cosigned, key.public()).unwrap(), checkpoint);
        let other = NoteKey::new("example.com/log", Role::Log, &[8; 32]).unwrap();
        assert_eq!(Checkpoint::open(&note, other.public()), Err(BadNote::Unsigned("example.com/log".to_owned())));
        let forged = note.replace("\n3\n", "\n4\n");
        assert_eq!(Checkpoint::open(&forged, key.public()), Err(BadNote::False("example.com/log".to_owned())));
        let foreign = key.note(&Checkpoint { origin: "example.com/other".to_owned(), ..checkpoint }.text());
        assert_eq!(Checkpoint::open(&foreign, key.public()), Err(BadNote::Form));
        for bad in ["", "\n", "a\n1\n", "a\n01\nAA==\n", "a\n1\nAAAA\n", "a\n-1\nAAAA\n"] {
            assert!(Checkpoint::parse(bad).is_err(), "{bad:?}");
        }
    }
}
