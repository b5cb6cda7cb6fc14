//! What is set about the transparency log and witnessing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::notes::{PublicKey, Role};
use crate::settings::{either, optional, path, seconds, settings, text};

settings! {
    /// The transparency log, and what this server witnesses.
    #[derive(Debug, Clone)]
    pub struct AuditSettings {
        key_file: Option<PathBuf> = optional(path), "audit-key-file", "FILE", "", "The key that signs the transparency log; made on the first start as audit.key beside the master key";
        name: Option<String> = optional(text), "audit-name", "NAME", "", "The name (origin) of the transparency log when its key is made; public-url without scheme, and /audit/log";
        public: bool = either("on", "off"), "public-audit-log", "on|off", "on", "Whether anybody may read checkpoints and hashes under /audit/log/";
        interval: Duration = seconds, "checkpoint-interval", "SECONDS", "60", "Pause between signed checkpoints, while there is something new";
        on_request: Duration = seconds, "checkpoint-request-interval", "SECONDS", "10", "How old the last checkpoint must be before a proof that needs a newer one has it signed at once";
        witness_key: Option<PathBuf> = optional(path), "witness-key", "FILE", "", "The key with which checkpoints of other logs are cosigned; the file is made on the first start";
        witness_logs: Vec<PublicKey> = |text| text.map_or(Ok(Vec::new()), Self::logs), "witness-logs", "KEY,...", "", "The public keys of the logs that are cosigned";
        witnesses: Vec<AskedWitness> = |text| text.map_or(Ok(Vec::new()), Self::asked), "witnesses", "URL#KEY,...", "", "Witnesses that are asked to cosign checkpoints: addresses with their public keys";
    }
    given {
        /// The file of the key that signs checkpoints, if none is named.
        default_key_file: PathBuf,
        /// The address that clients use: what the log and the witness are called by default.
        public_url: String,
    }
}

/// A witness that is asked: `URL#KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedWitness {
    /// The prefix of its addresses, without a slash at the end.
    pub url: String,
    /// Its key.
    pub key: PublicKey,
}

impl std::str::FromStr for AskedWitness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |what: &str| Err(format!("{text:?}: {what}"));
        let Some((url, key)) = text.split_once('#') else { return bad("not of the form URL#KEY") };
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return bad("the address begins with neither https:// nor http://");
        }
        match key.parse::<PublicKey>() {
            Ok(key) if key.role() == Role::Witness => Ok(Self { url: url.trim_end_matches('/').to_owned(), key }),
            Ok(_) => bad("that is the key of a log, not of a witness"),
            Err(error) => bad(&error.to_string()),
        }
    }
}

impl AuditSettings {
    /// The file of the key that signs checkpoints.
    pub fn key_file(&self) -> &Path {
        self.key_file.as_deref().unwrap_or(&self.default_key_file)
    }

    /// The name of the log, if its key has to be made.
    pub fn log_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| Self::name_at(&self.public_url, "/audit/log"))
    }

    /// The name of the witness, if its key has to be made.
    pub fn witness_name(&self) -> String {
        Self::name_at(&self.public_url, "/audit/witness")
    }

    /// Reads a list of logs, by their keys.
    ///
    /// # Errors
    /// What is wrong.
    pub fn logs(text: &str) -> Result<Vec<PublicKey>, String> {
        let log = |text: &str| match text.parse::<PublicKey>() {
            Ok(key) if key.role() == Role::Log => Ok(key),
            Ok(_) => Err(format!("{text:?}: that is the key of a witness, not of a log")),
            Err(error) => Err(format!("{text:?}: {error}")),
        };
        text.split(',').map(|part| log(part.trim())).collect()
    }

    /// Reads a list of witnesses.
    ///
    /// # Errors
    /// What is wrong.
    pub fn asked(text: &str) -> Result<Vec<AskedWitness>, String> {
        text.split(',').map(|part| part.trim().parse()).collect()
    }

    /// The name that a log or a witness at this address has by default: the address without its
    /// scheme, as C2SP recommends.
    pub fn name_at(public_url: &str, path: &str) -> String {
        let bare = public_url.split_once("://").map_or(public_url, |(_, rest)| rest);
        format!("{bare}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::notes::NoteKey;

    #[test]
    fn logs_and_witnesses_are_named_by_their_keys() {
        let key = |name, role| NoteKey::new(name, role, &[1; 32]).unwrap().public().clone();
        let (log, witness) = (key("l", Role::Log), key("w", Role::Witness));
        assert_eq!(AuditSettings::logs(&format!("{log}, {log}")).unwrap(), [log.clone(), log.clone()]);
        assert!(AuditSettings::logs(&witness.to_string()).unwrap_err().contains("a witness"));
        assert!(AuditSettings::logs("").is_err());
        let asked = AuditSettings::asked(&format!("http://a/x/#{witness},https://b#{witness}")).unwrap();
        assert_eq!(asked[0], AskedWitness { url: "http://a/x".to_owned(), key: witness.clone() });
        assert_eq!(asked.len(), 2);
        for bad in ["http://a", &format!("a#{witness}"), &format!("http://a#{log}"), "http://a#key"] {
            assert!(AuditSettings::asked(bad).is_err(), "{bad}");
        }
        assert_eq!(AuditSettings::name_at("https://be8.example/x", "/audit/log"), "be8.example/x/audit/log");
    }
}
