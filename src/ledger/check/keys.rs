//! Which data keys live, and which the log says are deleted.

use std::collections::{HashMap, HashSet};

use be8_events::{ErasureEvent, Event, KeyId, Subject};
use sqlx::PgConnection;

use super::super::LogError;
use super::super::head::Head;

/// The keys of the vault, and the deletions of the log.
pub(super) struct Keys {
    /// By number: the subject, and whether it lives. None: there is no vault to look into.
    vault: Option<HashMap<KeyId, (String, bool)>>,
    deleted: HashMap<KeyId, i64>,
    deleted_subjects: HashSet<Subject>,
}

impl Keys {
    pub(super) async fn load(tx: &mut PgConnection, head: &Head, notes: &mut Vec<String>) -> Result<Self, LogError> {
        let there: bool = sqlx::query_scalar("select to_regclass('vault.key') is not null").fetch_one(&mut *tx).await?;
        let filled =
            there && sqlx::query_scalar("select exists (select from vault.master)").fetch_one(&mut *tx).await?;
        let mut vault = None;
        if filled || head.keys == 0 {
            let rows: Vec<(KeyId, String, bool)> =
                sqlx::query_as("select id, subject, wrapped is not null from vault.key").fetch_all(&mut *tx).await?;
            vault = Some(rows.into_iter().map(|(id, subject, lives)| (id, (subject, lives))).collect());
        } else {
            notes.push("there is no vault: whether what is sealed can be opened was not looked at".into());
        }
        let rows: Vec<(i64, i16, Vec<u8>)> = sqlx::query_as(
            "select e.position, e.schema, e.payload from events e join streams s on s.id = e.stream
             where s.name = 'erasure' and e.kind = 'KeysDeleted' order by e.position",
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut keys = Self { vault, deleted: HashMap::new(), deleted_subjects: HashSet::new() };
        for (position, schema, payload) in rows {
            // The walk reports one that cannot be read.
            if let Ok(Event::Erasure(ErasureEvent::KeysDeleted(event))) =
                Event::decode("KeysDeleted", schema.cast_unsigned(), &payload)
            {
                for key in event.keys {
                    keys.deleted.insert(key.id, position);
                    keys.deleted_subjects.insert(key.subject);
                }
            }
        }
        Ok(keys)
    }

    /// Whether there is a vault to look into.
    pub(super) fn is_known(&self) -> bool {
        self.vault.is_some()
    }

    /// Whether one of these subjects lost its key by the log.
    pub(super) fn covers(&self, subjects: &[Subject]) -> bool {
        subjects.iter().any(|subject| self.deleted_subjects.contains(subject))
    }

    /// Whether what was sealed under these keys can be opened; what is wrong with them.
    pub(super) fn judge(&self, ids: &[KeyId], subjects: &[Subject]) -> Result<bool, String> {
        if ids.len() != subjects.len() {
            return Err(format!("sealed under {} keys, not {}", ids.len(), subjects.len()));
        }
        let erased = ids.iter().any(|id| self.deleted.contains_key(id));
        let Some(vault) = &self.vault else { return Ok(!erased) };
        for (id, subject) in ids.iter().zip(subjects) {
            match vault.get(id) {
                Some((known, _)) if *known != subject.to_string() => {
                    return Err(format!("sealed under key {id}, which is of {known} and not of {subject}"));
                }
                Some((_, true)) => {}
                Some((_, false)) | None if self.deleted.contains_key(id) => {}
                Some((_, false)) => {
                    return Err(format!("key {id} of {subject} is erased, but no KeysDeleted of the log says so"));
                }
                None => return Err(format!("key {id} of {subject} is missing in the vault")),
            }
        }
        Ok(!erased)
    }

    /// Keys that live although the log says that they are deleted.
    pub(super) fn live_but_deleted(&self) -> Vec<(i64, KeyId)> {
        let vault = self.vault.iter().flatten();
        let mut live_but_deleted: Vec<_> = vault
            .filter(|(_, (_, lives))| *lives)
            .filter_map(|(id, _)| self.deleted.get(id).map(|position| (*position, *id)))
            .collect();
        live_but_deleted.sort_unstable();
        live_but_deleted
    }

    /// The largest number of a key.
    pub(super) fn largest(&self) -> KeyId {
        self.vault.iter().flatten().map(|(id, _)| *id).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_has_as_many_keys_as_its_event_has_subjects() {
        let vault = HashMap::from([(7, ("server".to_owned(), true))]);
        for vault in [None, Some(vault)] {
            let keys = Keys { vault, deleted: HashMap::new(), deleted_subjects: HashSet::new() };
            assert_eq!(keys.judge(&[7], &[Subject::Server]), Ok(true));
            assert_eq!(keys.judge(&[7, 8, 9], &[Subject::Server]).unwrap_err(), "sealed under 3 keys, not 1");
            assert_eq!(keys.judge(&[7], &[]).unwrap_err(), "sealed under 1 keys, not 0");
        }
    }
}
