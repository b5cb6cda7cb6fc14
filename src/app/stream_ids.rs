//! The ids of events in a stream, as clients see them: opaque, since the position of an event in the log reveals how
//! much everybody writes.
//!
//! An id is one block of AES: the position (8 bytes, big-endian), which of the account's changes of that event it is (4
//! bytes), and zeros, by which the server knows its own. The key is derived from one that all nodes of a database share. A
//! client gives an id back as it is; the server orders them by what is in them. `POSITION-N` is understood as well.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use be8_events::{Position, Subject};
use tokio::sync::OnceCell;

use crate::feed::ChangeId;
use crate::vault::{BlockCipher, Found, Vault, VaultError};

/// What the key is derived for. Never changed: clients keep ids.
const PURPOSE: &str = "stream id";

/// Writes and reads ids. The key is found at the first use.
#[derive(Debug)]
pub struct StreamIds {
    vault: Arc<Vault>,
    cipher: OnceCell<IdCipher>,
}

/// Why ids can be neither written nor read.
#[derive(Debug, thiserror::Error)]
pub enum NoCipher {
    /// The vault does not answer.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The log does not have the key yet: it comes with the first hour.
    #[error("the log has no key for ids yet")]
    NotYet,
}

impl StreamIds {
    /// Ids under a key of this vault.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self { vault, cipher: OnceCell::new() }
    }

    /// What writes and reads them.
    ///
    /// # Errors
    /// [`NoCipher`]
    pub async fn cipher(&self) -> Result<&IdCipher, NoCipher> {
        let find = async || match self.vault.find(&[Subject::Server]).await?.get(&Subject::Server) {
            Some(Found::Live(key)) => Ok(IdCipher(key.block_cipher(PURPOSE))),
            // It is never erased.
            Some(Found::Erased(_)) | None => Err(NoCipher::NotYet),
        };
        self.cipher.get_or_try_init(find).await
    }
}

/// Writes and reads ids.
#[derive(Debug, Clone)]
pub struct IdCipher(BlockCipher);

impl IdCipher {
    /// An id as clients see it: 22 letters, digits, `-` and `_`.
    pub fn write(&self, id: ChangeId) -> String {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&id.position.0.to_be_bytes());
        block[8..12].copy_from_slice(&id.nth.to_be_bytes());
        URL_SAFE_NO_PAD.encode(self.0.encrypt(block))
    }

    /// The id that a client names; none for any text that is no id of this server.
    pub fn read(&self, text: &str) -> Option<ChangeId> {
        self.read_opaque(text).or_else(|| text.parse().ok())
    }

    fn read_opaque(&self, text: &str) -> Option<ChangeId> {
        let mut block = [0; 16];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut block).ok()?;
        if length != block.len() {
            return None;
        }
        let [p0, p1, p2, p3, p4, p5, p6, p7, n0, n1, n2, n3, 0, 0, 0, 0] = self.0.decrypt(block) else { return None };
        let position = i64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]);
        let nth = u32::from_be_bytes([n0, n1, n2, n3]);
        (position > 0).then_some(ChangeId { position: Position(position), nth })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::DataKey;

    fn id(position: i64, nth: u32) -> ChangeId {
        ChangeId { position: Position(position), nth }
    }

    proptest! {
        #[test]
        fn an_id_comes_back_as_it_was_and_means_nothing_under_another_key(position in 1..i64::MAX, nth: u32) {
            let ids = [1, 1].map(|number| IdCipher(DataKey::random(number).block_cipher(PURPOSE)));
            let text = ids[0].write(id(position, nth));
            prop_assert_eq!(text.len(), 22);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(ids[0].read(&text), Some(id(position, nth)));
            prop_assert_eq!(ids[1].read(&text), None);
        }

        #[test]
        fn no_text_breaks_it(text: String) {
            let ids = IdCipher(DataKey::random(1).block_cipher(PURPOSE));
            prop_assert_eq!(ids.read(&text), text.parse().ok());
        }
    }

    #[test]
    fn plain_ids_are_understood_and_changed_ones_are_not() {
        let ids = IdCipher(DataKey::random(1).block_cipher(PURPOSE));
        assert_eq!(ids.read("7-2"), Some(id(7, 2)));
        assert_eq!(ids.read("7"), Some(id(7, u32::MAX)));
        let text = ids.write(id(7, 2));
        for changed in [&text[1..], &format!("{text}="), &format!("{text}A"), &text.replace(&text[..1], "*")] {
            assert_eq!(ids.read(changed), None, "{changed}");
        }
        // Neighbours have nothing in common.
        assert_ne!(ids.write(id(7, 3))[..8], text[..8]);
    }
}
