//! Tokens by their text: the file that lists them, making new ones, and the fingerprint by which
//! the log knows them. The text itself is in no event, no log and no error.

use std::path::{Path, PathBuf};

use be8_events::token::Grant;
use be8_events::{Hash32, Secret, Subject};
use futures_util::future::try_join_all;
use rand::RngExt as _;

use crate::domain::hours::StrikeHour;
use crate::domain::token::{CENTURY_DAYS, Issue, IssueToken};
use crate::ledger::{Ledger, LedgerError};
use crate::support::secret_file::{self, Reason, Refused};
use crate::vault::{Found, Vault, VaultError};

/// The fewest characters of a token, and as many as one has that is made here: what the web
/// client's input takes.
pub const LENGTH: usize = 32;
/// The longest time that a promo token can give: a hundred years.
pub const LONGEST_MILLIS: u64 = CENTURY_DAYS as u64 * 86_400_000;
/// The longest file of tokens.
const LONGEST: u64 = 64 << 20;
/// How many orders go to the ledger at once.
const AT_ONCE: usize = 512;
/// What the fingerprints are for.
const PURPOSE: &str = "token";

/// A token that may be issued.
#[derive(Debug)]
pub struct NewToken {
    /// The text that a user enters.
    pub text: Secret<String>,
    /// What it gives.
    pub grant: Grant,
}

/// Why tokens cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file is refused: it cannot be read, others may read it, or it is no file.
    #[error("tokens file {0}")]
    Refused(Refused),
    /// The file does not hold what it should. Tokens are not shown.
    #[error("tokens file {}: {what}", file.display())]
    Malformed {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The log has no key for fingerprints yet.
    #[error("the log has no key for tokens yet; it gets one when the next hour strikes")]
    NoKey,
    /// The keys cannot be read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// They cannot be written.
    #[error("the tokens cannot be written: {0}")]
    Ledger(#[from] LedgerError),
}

/// Reads the tokens of a file: TOML, a table `[[token]]` for each.
///
/// # Errors
/// [`TokenError`], which never shows a token.
pub fn load(file: &Path) -> Result<Vec<NewToken>, TokenError> {
    let malformed = |what: String| TokenError::Malformed { file: file.to_owned(), what };
    let bytes = match secret_file::read(file, LONGEST) {
        // It lists no token.
        Err(Refused { reason: Reason::Empty, .. }) => return Ok(Vec::new()),
        read => read.map_err(TokenError::Refused)?,
    };
    let text =
        std::str::from_utf8(&bytes).map_err(|_| malformed(format!("holds {}", secret_file::recognise(&bytes))))?;
    parse(text).map_err(malformed)
}

fn parse(text: &str) -> Result<Vec<NewToken>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text.get(..span.start).unwrap_or(text).matches('\n').count());
        format!("line {line} is no TOML")
    })?;
    if let Some(name) = table.keys().find(|name| *name != "token") {
        return Err(format!("there is {name:?} beside [[token]]"));
    }
    let Some(list) = table.get("token") else { return Ok(Vec::new()) };
    let list = list.as_array().ok_or("token is no list: each begins with [[token]]")?;
    let nth = |(nth, value): (usize, &toml::Value)| one(value).map_err(|what| format!("{}. token: {what}", nth + 1));
    list.iter().enumerate().map(nth).collect()
}

fn one(value: &toml::Value) -> Result<NewToken, &'static str> {
    let table = value.as_table().ok_or("no table")?;
    if table.keys().any(|name| !["token", "type", "validTime"].contains(&name.as_str())) {
        return Err("something beside token, type and validTime");
    }
    let text = table.get("token").and_then(toml::Value::as_str).ok_or("token is no text")?;
    if text.chars().count() < LENGTH {
        return Err("fewer than 32 characters");
    }
    let valid = table.get("validTime");
    let grant = match (table.get("type").and_then(toml::Value::as_str), valid) {
        (Some("endless"), None) => Grant::Endless,
        (Some("endless"), Some(_)) => return Err("an endless token has no validTime"),
        (Some("promo"), Some(valid)) => {
            let millis = valid.as_integer().and_then(|millis| u64::try_from(millis).ok());
            let millis = millis.filter(|millis| (1..=LONGEST_MILLIS).contains(millis));
            Grant::Promo { millis: millis.ok_or("validTime is no number of milliseconds up to 100 years")? }
        }
        (Some("promo"), None) => return Err("a promo token needs a validTime in milliseconds"),
        _ => return Err("the type is neither endless nor promo"),
    };
    Ok(NewToken { text: Secret::new(text.to_owned()), grant })
}

/// A new token of random letters and digits: more than 180 bits.
pub fn generate(grant: Grant) -> NewToken {
    let mut random = rand::rng();
    let text = (0..LENGTH).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect();
    NewToken { text: Secret::new(text), grant }
}

/// The fingerprint of a token; none while the log has no key for that, so no token either.
///
/// # Errors
/// [`VaultError`]
pub async fn fingerprint(vault: &Vault, text: &str) -> Result<Option<Hash32>, VaultError> {
    let found = vault.find(&[Subject::Server]).await?;
    Ok(match found.get(&Subject::Server) {
        Some(Found::Live(key)) => Some(key.mac(PURPOSE, text.as_bytes())),
        // It is never erased.
        Some(Found::Erased(_)) | None => None,
    })
}

/// Issues tokens that were never issued before; answers for each its fingerprint and what became
/// of it.
///
/// # Errors
/// [`TokenError`]; then some of them may be issued, and doing it again issues the others.
pub async fn issue(ledger: &Ledger, vault: &Vault, tokens: &[NewToken]) -> Result<Vec<(Hash32, Issue)>, TokenError> {
    // With the first hour comes the key.
    ledger.execute(StrikeHour).await?;
    let mut done = Vec::with_capacity(tokens.len());
    for some in tokens.chunks(AT_ONCE) {
        let orders = some.iter().map(async |token| {
            let hash = fingerprint(vault, token.text.expose()).await?.ok_or(TokenError::NoKey)?;
            let issued = ledger.execute(IssueToken { token: hash, grant: token.grant }).await?;
            Ok::<_, TokenError>((hash, issued))
        });
        done.extend(try_join_all(orders).await?);
    }
    Ok(done)
}

/// Issues the tokens of a file, as a node does when it starts.
///
/// # Errors
/// [`TokenError`]
pub async fn issue_file(ledger: &Ledger, vault: &Vault, file: &Path) -> Result<(), TokenError> {
    let tokens = load(file)?;
    let done = issue(ledger, vault, &tokens).await?;
    let issued = done.iter().filter(|(_, issue)| *issue == Issue::Issued).count();
    tracing::info!(issued, listed = tokens.len(), "tokens of the file are issued");
    for (token, (hash, issue)) in tokens.iter().zip(done) {
        if matches!(issue, Issue::Known(Some(grant)) if grant != token.grant) {
            let token = short(hash);
            tracing::warn!(token, "a token of the file was issued with another grant before, which stays");
        }
    }
    Ok(())
}

/// The beginning of a fingerprint, enough to distinguish tokens.
pub fn short(token: Hash32) -> String {
    let mut text = token.to_string();
    text.truncate(16);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: &str = "12345678901234567890123456789012";

    #[test]
    fn a_file_lists_tokens() {
        let text = format!(
            "[[token]]\ntoken = \"{ENDLESS}\"\ntype = \"endless\"\n\
             [[token]]\ntoken = \"promo180_12345678901234567890123\"\ntype = \"promo\"\nvalidTime = 15552000000\n"
        );
        let tokens = parse(&text).unwrap();
        let grants: Vec<Grant> = tokens.iter().map(|token| token.grant).collect();
        assert_eq!(grants, [Grant::Endless, Grant::Promo { millis: 15_552_000_000 }]);
        assert_eq!(tokens[0].text.expose(), ENDLESS);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_reported_without_the_token() {
        let token = |rest: &str| format!("[[token]]\ntoken = \"{ENDLESS}\"\n{rest}\n");
        for (text, what) in [
            (format!("[[token]]\ntoken = {ENDLESS}x\n"), "line 2 is no TOML"),
            (format!("[[tokens]]\ntoken = \"{ENDLESS}\"\n"), "there is \"tokens\" beside [[token]]"),
            (format!("token = \"{ENDLESS}\""), "token is no list: each begins with [[token]]"),
            (token(""), "1. token: the type is neither endless nor promo"),
            (token("type = \"Endless\""), "1. token: the type is neither endless nor promo"),
            (token("type = \"endless\"\nvalidTime = 1"), "1. token: an endless token has no validTime"),
            (token("type = \"promo\""), "1. token: a promo token needs a validTime in milliseconds"),
            (token("type = \"promo\"\nvalidTime = 0"), LONG),
            (token("type = \"promo\"\nvalidTime = -1"), LONG),
            (token("type = \"promo\"\nvalidTime = \"1000\""), LONG),
            (token("type = \"promo\"\nvalidTime = 3155760000001"), LONG),
            (token("type = \"endless\"\ndays = 3"), "1. token: something beside token, type and validTime"),
            ("[[token]]\ntoken = \"short\"\ntype = \"endless\"".to_owned(), "1. token: fewer than 32 characters"),
            ("[[token]]\ntype = \"endless\"".to_owned(), "1. token: token is no text"),
        ] {
            let said = parse(&text).unwrap_err();
            assert_eq!(said, what, "{text}");
            assert!(!said.contains(ENDLESS));
        }
    }

    const LONG: &str = "1. token: validTime is no number of milliseconds up to 100 years";

    #[test]
    fn new_tokens_fit_the_clients_input_and_are_never_printed() {
        let (one, other) = (generate(Grant::Endless), generate(Grant::Endless));
        assert_eq!(one.text.expose().len(), LENGTH);
        assert!(one.text.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(one.text.expose(), other.text.expose());
        assert!(!format!("{one:?}").contains(one.text.expose()));
    }
}
