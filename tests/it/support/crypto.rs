//! The cryptography of the web client: ECDH on P-384 with AES-256-GCM for messages, and the passphrase format of
//! OpenSSL for the password of a new account.

use aes::Aes256;
use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use aes_gcm::aead::{Aead as _, Nonce};
use aes_gcm::{AesGcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use md5::{Digest as _, Md5};
use p384::elliptic_curve::Generate as _;
use p384::elliptic_curve::sec1::ToSec1Point as _;
use p384::{PublicKey, Sec1Point, SecretKey};
use serde_json::{Value, json};

/// AES-256-GCM with the client's initialisation vector: a UUID as text, 36 bytes.
type Cipher = AesGcm<Aes256, aes_gcm::aead::consts::U36>;

/// A key pair as the web client makes one for its account.
#[derive(Clone)]
pub struct KeyPair(SecretKey);

impl KeyPair {
    /// A new one.
    pub fn generate() -> Self {
        Self(SecretKey::generate())
    }

    /// The public half as a JSON Web Key, as the client sends it.
    pub fn jwk(&self) -> Value {
        let point = self.0.public_key().to_sec1_point(false);
        let text = |bytes: Option<&_>| URL_SAFE_NO_PAD.encode::<&p384::FieldBytes>(bytes.expect("a point"));
        json!({ "crv": "P-384", "ext": true, "key_ops": [], "kty": "EC", "x": text(point.x()), "y": text(point.y()) })
    }

    /// Both halves as a JSON Web Key: how the client hands on the key of a group, wrapped.
    pub fn private_jwk(&self) -> String {
        let mut jwk = self.jwk();
        jwk["key_ops"] = json!(["deriveKey"]);
        jwk["d"] = json!(URL_SAFE_NO_PAD.encode(self.0.to_bytes()));
        jwk.to_string()
    }

    /// Reads what [`KeyPair::private_jwk`] wrote.
    pub fn from_private_jwk(text: &str) -> Self {
        let jwk: Value = serde_json::from_str(text).expect("a key as JSON");
        let secret = URL_SAFE_NO_PAD.decode(jwk["d"].as_str().expect("a secret")).expect("base64url");
        Self(SecretKey::from_slice(&secret).expect("a secret key"))
    }

    /// Encrypts for the owner of a public key: the text of a message and its `iv`.
    pub fn encrypt(&self, to: &Value, text: &str) -> (String, String) {
        let iv = uuid();
        let ciphertext = self.cipher(to).encrypt(nonce(&iv), text.as_bytes()).expect("a ciphertext");
        (STANDARD.encode(ciphertext), iv)
    }

    /// Decrypts what the owner of a public key encrypted for us, or we for it; none if it was another pair.
    pub fn decrypt(&self, partner: &Value, text: &str, iv: &str) -> Option<String> {
        let ciphertext = STANDARD.decode(text).expect("base64");
        let plain = self.cipher(partner).decrypt(nonce(iv), &ciphertext[..]).ok()?;
        Some(String::from_utf8(plain).expect("text"))
    }

    /// The cipher that both ends derive from one's secret and the other's public key.
    fn cipher(&self, partner: &Value) -> Cipher {
        let coordinate = |name: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(partner[name].as_str().expect("a coordinate")).expect("base64url");
            p384::FieldBytes::try_from(&bytes[..]).expect("48 bytes")
        };
        let point = Sec1Point::from_affine_coordinates(&coordinate("x"), &coordinate("y"), false);
        let partner = PublicKey::from_sec1_bytes(point.as_bytes()).expect("a point on the curve");
        let shared = p384::ecdh::diffie_hellman(self.0.to_nonzero_scalar(), partner.as_affine());
        Cipher::new_from_slice(&shared.raw_secret_bytes()[..32]).expect("32 bytes")
    }
}

fn nonce(iv: &str) -> &Nonce<Cipher> {
    iv.as_bytes().try_into().expect("36 bytes")
}

/// A random UUID, version 4.
fn uuid() -> String {
    let hex: String = rand::random::<[u8; 16]>().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// What the client sends as the password of a new account: the text encrypted under a passphrase.
pub fn encrypt_password(text: &str, passphrase: &str) -> String {
    let salt: [u8; 8] = rand::random();
    let chain = |before: &[u8]| -> [u8; 16] {
        Md5::new().chain_update(before).chain_update(passphrase).chain_update(salt).finalize().into()
    };
    let first = chain(&[]);
    let second = chain(&first);
    let vector = chain(&second);
    let key: [u8; 32] = [first, second].concat().try_into().expect("32 bytes");
    let ciphertext =
        cbc::Encryptor::<Aes256>::new(&key.into(), &vector.into()).encrypt_padded_vec::<Pkcs7>(text.as_bytes());
    STANDARD.encode([b"Salted__", &salt[..], &ciphertext].concat())
}
