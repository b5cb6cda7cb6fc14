//! What is set about the transparency log and witnessing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::notes::{PublicKey, Role};

/// What is set about the transparency log.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// The file of the key that signs checkpoints.
    pub key_file: PathBuf,
    /// The name of the log, if its key has to be made.
    pub name: String,
    /// Whether tiles and checkpoints are public.
    pub public: bool,
    /// How long it takes from one checkpoint to the next, if there is something new.
    pub interval: Duration,
    /// How old the last checkpoint must be before one is signed on request.
    pub on_request: Duration,
    /// The file of the key that cosigns foreign checkpoints; none: this server is no witness.
    pub witness_key: Option<PathBuf>,
    /// The name of the witness, if its key has to be made.
    pub witness_name: String,
    /// The logs that are witnessed.
    pub witness_logs: Vec<PublicKey>,
    /// Who is asked to cosign our checkpoints.
    pub witnesses: Vec<AskedWitness>,
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

/// A setting that cannot be used: its name, and what is wrong.
type BadSetting = (&'static str, String);

impl AuditSettings {
    /// What is set, by the names of the settings.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new<'a>(
        set: impl Fn(&'static str) -> Option<&'a str>,
        [interval, on_request]: [Duration; 2],
        public_url: &str,
        master_key: &Path,
    ) -> Result<Self, BadSetting> {
        let named = |name| move |what| (name, what);
        Ok(Self {
            key_file: set("audit-key-file").map_or_else(|| master_key.with_file_name("audit.key"), PathBuf::from),
            name: set("audit-name").map_or_else(|| Self::name_at(public_url, "/audit/log"), str::to_owned),
            public: match set("public-audit-log") {
                Some("on") | None => true,
                Some("off") => false,
                Some(other) => return Err(("public-audit-log", format!("{other:?} is neither on nor off"))),
            },
            interval,
            on_request,
            witness_key: set("witness-key").map(PathBuf::from),
            witness_name: Self::name_at(public_url, "/audit/witness"),
            witness_logs: set("witness-logs").map_or(Ok(Vec::new()), Self::logs).map_err(named("witness-logs"))?,
            witnesses: set("witnesses").map_or(Ok(Vec::new()), Self::asked).map_err(named("witnesses"))?,
        })
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
