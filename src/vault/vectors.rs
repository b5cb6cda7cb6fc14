//! The fixed vectors of `tests/vectors/vault.json`: what was sealed once opens forever.

use be8_events::{Hash32, KeyId, Sealed, SealedContext};
use serde::Deserialize;

use super::MasterRow;
use super::fixtures::file::Hex;
use super::key::DataKey;
use super::master::MasterKey;
use super::seal::{KeySet, seal, unseal};
use super::wrap::{WrappingKey, check_data, key_data};

#[derive(Deserialize)]
struct Vectors {
    master: Master,
    check: Check,
    keys: Vec<Key>,
    sealed: Vec<Payload>,
    macs: Vec<Mac>,
}

#[derive(Deserialize)]
struct Master {
    key: Hex,
    wrapping_key: Hex,
}

#[derive(Deserialize)]
struct Check {
    generation: i32,
    associated_data: Hex,
    plain: Hex,
    nonce: Hex,
    value: Hex,
}

#[derive(Deserialize)]
struct Key {
    id: KeyId,
    subject: String,
    key: Hex,
    associated_data: Hex,
    nonce: Hex,
    wrapped: Hex,
}

#[derive(Deserialize)]
struct Payload {
    keys: Vec<KeyId>,
    payload_key: Hex,
    kind: String,
    schema: u16,
    salt: Hash32,
    associated_data: Hex,
    nonce: Hex,
    plain: Hex,
    bytes: Hex,
    commitment: Hash32,
}

#[derive(Deserialize)]
struct Mac {
    key: KeyId,
    mac_key: Hex,
    purpose: String,
    bytes: Hex,
    mac: Hash32,
}

impl Vectors {
    fn read() -> Self {
        serde_json::from_str(include_str!("../../tests/vectors/vault.json")).unwrap()
    }

    fn wrapping_key(&self) -> WrappingKey {
        WrappingKey::new(&MasterKey::from_bytes(self.master.key.array()))
    }

    fn key(&self, id: KeyId) -> DataKey {
        let key = self.keys.iter().find(|key| key.id == id).unwrap();
        DataKey::filled(id, |bytes| *bytes = key.key.array())
    }
}

#[test]
fn keys_are_wrapped_and_unwrapped() {
    let vectors = Vectors::read();
    let master = MasterKey::from_bytes(vectors.master.key.array());
    assert_eq!(super::key::derive(master.bytes(), b"be8/wrap/1", &[]).as_slice(), vectors.master.wrapping_key.0);

    let wrapping = vectors.wrapping_key();
    let other = WrappingKey::new(&MasterKey::from_bytes([1; 32]));
    for key in &vectors.keys {
        assert_eq!(key_data(key.id, &key.subject), key.associated_data.0);
        let wrapped = wrapping.close(key.nonce.array(), &key.associated_data.0, &key.key.array());
        assert_eq!(wrapped, key.wrapped.0);
        let opened = wrapping.unwrap(key.id, &key.subject, &wrapped).unwrap();
        assert_eq!(opened.bytes(), &key.key.array());

        assert!(wrapping.unwrap(key.id + 1, &key.subject, &wrapped).is_err());
        assert!(wrapping.unwrap(key.id, "account/10009", &wrapped).is_err());
        assert!(other.unwrap(key.id, &key.subject, &wrapped).is_err());
        assert!(wrapping.unwrap(key.id, &key.subject, &wrapped[..59]).is_err());
        for at in [0, 12, 44, 59] {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert!(wrapping.unwrap(key.id, &key.subject, &altered).is_err());
        }
        // Wrapping twice never gives the same bytes.
        assert_ne!(wrapping.wrap(&opened, &key.subject), wrapping.wrap(&opened, &key.subject));
    }
}

#[test]
fn the_check_value_distinguishes_master_keys() {
    let Vectors { check, .. } = Vectors::read();
    let wrapping = Vectors::read().wrapping_key();
    assert_eq!(check_data(check.generation), check.associated_data.0);
    let value = wrapping.close(check.nonce.array(), &check.associated_data.0, &check.plain.array());
    assert_eq!(value, check.value.0);

    let row = |generation, check_value: &[u8]| MasterRow { generation, check_value: check_value.to_vec() };
    assert!(wrapping.opens(&row(check.generation, &value)));
    assert!(wrapping.opens(&row(1, &wrapping.check_value(1))));
    assert!(!wrapping.opens(&row(check.generation + 1, &value)));
    assert!(!wrapping.opens(&row(check.generation, &[])));
    let other = WrappingKey::new(&MasterKey::from_bytes([1; 32]));
    assert!(!other.opens(&row(check.generation, &value)));
}

#[test]
fn payloads_are_sealed_and_unsealed() {
    let vectors = Vectors::read();
    for payload in &vectors.sealed {
        let keys = payload.keys.iter().map(|&id| vectors.key(id)).collect();
        let keys = KeySet::from_keys(keys).unwrap();
        assert_eq!(keys.payload_key().as_slice(), payload.payload_key.0);
        let context = SealedContext { kind: &payload.kind, schema: payload.schema, salt: &payload.salt };
        assert_eq!(Sealed::associated_data(&payload.keys, context), payload.associated_data.0);

        let cipher = keys.cipher();
        let sealed = seal(&cipher, keys.ids(), payload.nonce.array(), context, &payload.plain.0);
        assert_eq!(sealed.bytes, payload.bytes.0);
        assert_eq!(sealed.commitment(), payload.commitment);
        assert_eq!(unseal(&cipher, &sealed, context).unwrap(), payload.plain.0);
    }
}

#[test]
fn fingerprints_are_keyed() {
    let vectors = Vectors::read();
    for mac in &vectors.macs {
        let key = vectors.key(mac.key);
        assert_eq!(key.mac_key().as_slice(), mac.mac_key.0);
        assert_eq!(key.mac(&mac.purpose, &mac.bytes.0), mac.mac);
    }
}
