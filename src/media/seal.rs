//! The encryption of a blob: a version byte, a nonce, then AES-256-GCM with its tag.

use std::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::Hash32;
use rand::Rng;
use zeroize::Zeroizing;

/// What a blob begins with.
const VERSION: u8 = 1;
/// The bytes of a nonce.
const NONCE: usize = 12;
/// The bytes of a tag.
const TAG: usize = 16;

/// The key of one blob, wiped when it goes out of use.
#[derive(Clone)]
pub struct BlobKey(Zeroizing<[u8; 32]>);

impl BlobKey {
    pub(super) fn random() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(key.as_mut_slice());
        Self(key)
    }

    /// The key in base64, as it is sealed with the event.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0.as_slice())
    }

    /// The key that an event holds.
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return None;
        }
        key.copy_from_slice(&bytes);
        Some(Self(key))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.0).into())
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobKey(***)")
    }
}

/// A blob as it is stored.
pub(super) struct SealedBlob {
    pub(super) bytes: Vec<u8>,
    pub(super) sha256: Hash32,
}

/// What binds a blob to its name.
fn associated(name: Hash32) -> [u8; 43] {
    let mut data = [0; 43];
    data[..11].copy_from_slice(b"be8/blob/1\0");
    data[11..].copy_from_slice(&name.0);
    data
}

/// Encrypts a content under its own key.
pub(super) fn seal(key: &BlobKey, name: Hash32, content: Vec<u8>) -> SealedBlob {
    let mut nonce = [0; NONCE];
    rand::rng().fill_bytes(&mut nonce);
    let mut content = content;
    // In one allocation: contents are megabytes.
    let tag = key.cipher().encrypt_inout_detached(&nonce.into(), &associated(name), content.as_mut_slice().into());
    let tag = tag.expect("contents are far below 64 GiB");
    let mut bytes = Vec::with_capacity(1 + NONCE + content.len() + TAG);
    bytes.push(VERSION);
    bytes.extend_from_slice(&nonce);
    bytes.append(&mut content);
    bytes.extend_from_slice(&tag);
    let sha256 = Hash32::sha256(&bytes);
    SealedBlob { bytes, sha256 }
}

/// The content of a blob, if its bytes are those that were stored.
pub(super) fn open(key: &BlobKey, name: Hash32, sha256: Hash32, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    if Hash32::sha256(&bytes) != sha256 || bytes.first() != Some(&VERSION) || bytes.len() < 1 + NONCE + TAG {
        return None;
    }
    let tag: [u8; TAG] = bytes.split_off(bytes.len() - TAG).try_into().ok()?;
    let mut content = bytes.split_off(1 + NONCE);
    let nonce: [u8; NONCE] = bytes.get(1..)?.try_into().ok()?;
    let data = associated(name);
    let buffer = content.as_mut_slice().into();
    key.cipher().decrypt_inout_detached(&nonce.into(), &data, buffer, &tag.into()).ok()?;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_as_base64_and_never_printed() {
        let key = BlobKey::random();
        assert_eq!(format!("{key:?}"), "BlobKey(***)");
        let again = BlobKey::from_base64(&key.to_base64()).unwrap();
        assert_eq!(again.0, key.0);
        for bad in ["", "AAAA", "not base64", &STANDARD.encode([0; 33])] {
            assert!(BlobKey::from_base64(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_blob_is_its_content_and_29_bytes() {
        let key = BlobKey::random();
        let name = Hash32([7; 32]);
        for content in ["", "x", "some ciphertext"] {
            let sealed = seal(&key, name, content.into());
            assert_eq!(sealed.bytes.len(), content.len() + 29);
            assert_eq!(open(&key, name, sealed.sha256, sealed.bytes.clone()).as_deref(), Some(content.as_bytes()));
            for cut in 0..sealed.bytes.len() {
                let short = sealed.bytes[..cut].to_vec();
                assert_eq!(open(&key, name, Hash32::sha256(&short), short), None);
            }
        }
    }
}
