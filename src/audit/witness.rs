//! Witnessing of foreign logs (C2SP tlog-witness): a checkpoint is cosigned if it extends what was
//! cosigned before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::{Hash32, Timestamp};

use super::notes::{self, Checkpoint, NoteKey, PublicKey};
use super::tree;
use crate::ledger::{LogError, TransparencyTables, Witnessed};

/// The most lines of a proof, by the specification.
const PROOF_LINES: usize = 63;

/// A witness.
#[derive(Debug)]
pub struct Witness {
    key: NoteKey,
    logs: Vec<PublicKey>,
    tables: TransparencyTables,
}

/// What a request for a cosignature asks: `add-checkpoint` of C2SP tlog-witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint<'a> {
    /// The size from which the proof leads.
    pub old: u64,
    /// The proof of consistency.
    pub proof: Vec<Hash32>,
    /// The signed checkpoint.
    pub note: &'a str,
}

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum NotCosigned {
    /// The request has not the form that it should have, or asks for less than before.
    #[error("the request is malformed")]
    Malformed,
    /// A log that this witness does not know.
    #[error("the log is unknown")]
    UnknownLog,
    /// Not signed by the log's key, or with a signature under it that is wrong.
    #[error("the checkpoint is not signed by its log")]
    NotSigned,
    /// What was last cosigned has this size.
    #[error("the last cosigned size is {0}")]
    OtherSize(u64),
    /// The log shows another history than before: another tree of the same size, too.
    #[error("the checkpoint is not consistent with the last one")]
    Inconsistent,
    /// The database does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl<'a> AddCheckpoint<'a> {
    /// Reads a request.
    ///
    /// # Errors
    /// [`NotCosigned::Malformed`]
    pub fn parse(body: &'a str) -> Result<Self, NotCosigned> {
        let (head, note) = body.split_once("\n\n").ok_or(NotCosigned::Malformed)?;
        let mut lines = head.split('\n');
        let size = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(NotCosigned::Malformed)?;
        let old: u64 = size.parse().map_err(|_| NotCosigned::Malformed)?;
        let hash = |line: &str| {
            let bytes = STANDARD.decode(line).ok()?;
            Some(Hash32(bytes.try_into().ok()?))
        };
        let proof: Option<Vec<Hash32>> = lines.map(hash).collect();
        let proof = proof.filter(|proof| proof.len() <= PROOF_LINES).ok_or(NotCosigned::Malformed)?;
        if old.to_string() == size { Ok(Self { old, proof, note }) } else { Err(NotCosigned::Malformed) }
    }

    /// The text of a request.
    pub fn text(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| format!("{}\n", STANDARD.encode(hash.0))).collect();
        format!("old {}\n{proof}\n{}", self.old, self.note)
    }
}

impl Witness {
    /// A witness of these logs, which keeps what it cosigned in these tables.
    pub const fn new(key: NoteKey, logs: Vec<PublicKey>, tables: TransparencyTables) -> Self {
        Self { key, logs, tables }
    }

    /// The key by which it cosigns.
    pub const fn key(&self) -> &PublicKey {
        self.key.public()
    }

    /// The text of a checkpoint that a known log has signed.
    fn signed_checkpoint<'a>(&self, note: &'a str) -> Result<(&'a str, Checkpoint), NotCosigned> {
        let (text, signatures) = notes::split(note).map_err(|_| NotCosigned::Malformed)?;
        let checkpoint = Checkpoint::parse(text).map_err(|_| NotCosigned::Malformed)?;
        let known: Vec<&PublicKey> = self.logs.iter().filter(|log| log.name() == checkpoint.origin).collect();
        if known.is_empty() {
            return Err(NotCosigned::UnknownLog);
        }
        // Signatures of other keys count for nothing; one under a known key that is wrong spoils the note.
        let mut own = known.iter().flat_map(|log| {
            let named = signatures.iter().filter(|signature| log.is_named_by(signature));
            named.map(|signature| log.signed(text, signature))
        });
        if own.next() == Some(true) && own.all(|right| right) {
            Ok((text, checkpoint))
        } else {
            Err(NotCosigned::NotSigned)
        }
    }

    /// Cosigns a checkpoint that extends what was cosigned before, and answers the signature line.
    /// That it did so is durable before the signature is returned.
    ///
    /// # Errors
    /// [`NotCosigned`]
    pub async fn add_checkpoint(&self, body: &str, now: Timestamp) -> Result<String, NotCosigned> {
        let request = AddCheckpoint::parse(body)?;
        let (text, new) = self.signed_checkpoint(request.note)?;
        if request.old > new.size {
            return Err(NotCosigned::Malformed);
        }
        let last = self.tables.witnessed(&new.origin).await?;
        let before = last.clone().unwrap_or(Witnessed { size: 0, root: Hash32::sha256(b"") });
        if request.old != before.size {
            return Err(NotCosigned::OtherSize(before.size));
        }
        // Of size 0 there is one tree only, whether it was cosigned or not.
        let possible = new.size > 0 || new.root == Hash32::sha256(b"");
        if !possible || !tree::consistent(&request.proof, (before.size, before.root), (new.size, new.root)) {
            tracing::error!(
                origin = new.origin,
                before = before.size,
                size = new.size,
                "a log's checkpoint does not extend the last one"
            );
            return Err(NotCosigned::Inconsistent);
        }
        let noted = Witnessed { size: new.size, root: new.root };
        if !self.tables.witness(&new.origin, last.as_ref(), &noted, request.note).await? {
            // Somebody else was faster.
            let size = self.tables.witnessed(&new.origin).await?.map_or(0, |last| last.size);
            return Err(NotCosigned::OtherSize(size));
        }
        let seconds = now.micros().div_euclid(1_000_000);
        Ok(self.key.sign(text, seconds.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_written_and_nothing_else_is() {
        let request =
            AddCheckpoint { old: 7, proof: vec![Hash32([1; 32]), Hash32([2; 32])], note: "a\n1\nx\n\n— a b\n" };
        let text = request.text();
        assert_eq!(AddCheckpoint::parse(&text).unwrap(), request);
        let first = AddCheckpoint { old: 0, proof: vec![], ..request };
        assert_eq!(AddCheckpoint::parse(&first.text()).unwrap(), first);
        let line = STANDARD.encode([1; 32]);
        let long = format!("old 1\n{}\nnote", format!("{line}\n").repeat(64));
        for bad in ["", "old 1", "old 1\n", "old\n\nx", "old 01\n\nx", "old -1\n\nx", "old 1\nAAAA\n\nx", &long] {
            assert!(matches!(AddCheckpoint::parse(bad), Err(NotCosigned::Malformed)), "{bad:?}");
        }
    }
}
