//! The password field of `/newacc`: plain text, or text that the web client has encrypted in the
//! passphrase format of OpenSSL. Passphrase and ciphertext arrive together, so this hides
//! nothing; it is read because the client sends it.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::Secret;
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::http::wire::text::utf16_len;
use crate::password::{MAX_BYTES, MAX_UNITS};

/// The password cannot be decrypted, or is empty or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password cannot be read")]
pub struct PasswordFailure;

/// Longest ciphertext with its head and padding, as base64.
const MAX_BASE64: usize = (16 + MAX_BYTES + 16).div_ceil(3) * 4;
/// Longest passphrase in bytes. The client's is a time in milliseconds; each byte is hashed
/// three times.
const MAX_PASSPHRASE: usize = 1024;

/// A password that was sent without `salt`: it is taken as it stands.
///
/// # Errors
/// It is not 1 to 1024 UTF-16 units long.
pub fn plain(password: &str) -> Result<Secret<String>, PasswordFailure> {
    // Bytes first, so that megabytes are refused without counting them.
    let fits = password.len() <= MAX_BYTES && (1..=MAX_UNITS).contains(&utf16_len(password));
    if fits { Ok(Secret::new(password.to_owned())) } else { Err(PasswordFailure) }
}

/// A password that was sent with `salt`, the passphrase: base64 of `Salted__`, eight bytes of
/// salt and an AES-256-CBC ciphertext (PKCS #7 padding), whose key and vector are a chain of
/// MD5 over passphrase and salt.
///
/// # Errors
/// Any of that does not hold, or the text is not 1 to 1024 UTF-16 units of UTF-8.
pub fn decrypt(password: &str, passphrase: &str) -> Result<Secret<String>, PasswordFailure> {
    if password.len() > MAX_BASE64 || passphrase.len() > MAX_PASSPHRASE {
        return Err(PasswordFailure);
    }
    let bytes = STANDARD.decode(password).map_err(|_| PasswordFailure)?;
    let (salt, ciphertext) =
        bytes.strip_prefix(b"Salted__").and_then(|rest| rest.split_first_chunk::<8>()).ok_or(PasswordFailure)?;
    let (key, iv) = key_and_vector(passphrase.as_bytes(), *salt);
    let text = cbc::Decryptor::<Aes256>::new((&*key).into(), (&*iv).into())
        .decrypt_padded_vec::<Pkcs7>(ciphertext)
        .map(Zeroizing::new)
        .map_err(|_| PasswordFailure)?;
    plain(std::str::from_utf8(&text).map_err(|_| PasswordFailure)?)
}

/// The AES key and the CBC vector: X₁ = MD5(P‖S), Xₙ = MD5(Xₙ₋₁‖P‖S); the key is X₁‖X₂, the vector X₃.
fn key_and_vector(passphrase: &[u8], salt: [u8; 8]) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 16]>) {
    let chain = |before: &[u8]| -> Zeroizing<[u8; 16]> {
        Zeroizing::new(Md5::new().chain_update(before).chain_update(passphrase).chain_update(salt).finalize().into())
    };
    let first = chain(&[]);
    let second = chain(&*first);
    let vector = chain(&*second);
    let mut key = Zeroizing::new([0; 32]);
    key[..16].copy_from_slice(&*first);
    key[16..].copy_from_slice(&*second);
    (key, vector)
}

#[cfg(test)]
mod tests {
    use aes::cipher::BlockModeEncrypt as _;
    use proptest::prelude::*;

    use super::*;

    /// What the client does.
    fn encrypt(text: &[u8], passphrase: &str, salt: [u8; 8]) -> String {
        let (key, iv) = key_and_vector(passphrase.as_bytes(), salt);
        let ciphertext = cbc::Encryptor::<Aes256>::new((&*key).into(), (&*iv).into()).encrypt_padded_vec::<Pkcs7>(text);
        STANDARD.encode([b"Salted__", &salt[..], &ciphertext].concat())
    }

    fn decrypted(password: &str, passphrase: &str) -> Result<String, PasswordFailure> {
        decrypt(password, passphrase).map(Secret::into_inner)
    }

    const VECTOR: &str = "U2FsdGVkX19fIs07t/DUfTAkWvalf6lI0Xg5kZ5cCii84zSeQfIlQ21WjFBYZVIzBqcelpRk+zqoa9wXxNr07g==";

    /// Shows (docs/protocol.md): Encrypted passwords.
    #[test]
    fn the_vector_of_the_protocol() {
        let plain = "lVKcDe.bVh9r=dN1fWTNr87V=tXU?DuZ";
        assert_eq!(decrypted(VECTOR, "1657105032826").as_deref(), Ok(plain));
        let salt = STANDARD.decode(VECTOR).unwrap()[8..16].try_into().unwrap();
        assert_eq!(encrypt(plain.as_bytes(), "1657105032826", salt), VECTOR);
    }

    /// Shows (docs/protocol.md): Encrypted passwords.
    #[test]
    fn malformed_ciphertext_fails() {
        let unsalted = STANDARD.encode([b"Unsalted", &[7; 24][..]].concat());
        for password in [
            "",
            "U2FsdGVkX1",
            "U2FsdGVkX18=",
            "not base64!",
            &VECTOR[..VECTOR.len() - 4],
            &VECTOR.replace('=', ""),
            &unsalted,
            &STANDARD.encode(b"Salted__12345678"),
            &encrypt(b"", "p", [1; 8]),
            &encrypt(b"\xff\xfe", "p", [1; 8]),
            &encrypt(&[b'a'; 1025], "p", [1; 8]),
        ] {
            assert_eq!(decrypted(password, "p"), Err(PasswordFailure), "{password}");
        }
        assert_eq!(decrypted(VECTOR, "1657105032827"), Err(PasswordFailure));
        assert_eq!(decrypted(VECTOR, &"1".repeat(1025)), Err(PasswordFailure));
    }

    #[test]
    fn length_is_counted_in_utf16() {
        let longest = "€".repeat(1024);
        assert_eq!(decrypted(&encrypt(longest.as_bytes(), "p", [1; 8]), "p"), Ok(longest.clone()));
        assert!(plain(&longest).is_ok());
        assert!(plain(&"🦀".repeat(512)).is_ok());
        assert!(plain(&"🦀".repeat(513)).is_err());
        assert!(plain("a").is_ok());
        assert!(plain("").is_err());
    }

    #[test]
    fn megabytes_are_refused_at_once() {
        let huge = "a".repeat(5_200_000);
        let refuse = || {
            let begin = std::time::Instant::now();
            assert!(plain(&huge).is_err());
            assert!(decrypt(&huge, "p").is_err());
            assert!(decrypt(VECTOR, &huge).is_err());
            begin.elapsed()
        };
        // The best of some: other work may come between.
        assert!((0..5).map(|_| refuse()).min() < Some(std::time::Duration::from_millis(5)));
    }

    proptest! {
        /// Shows (docs/protocol.md): Encrypted passwords.
        #[test]
        fn ciphertext_is_decrypted(text in ".{1,300}", passphrase in ".{0,20}", salt in any::<[u8; 8]>()) {
            assert_eq!(decrypted(&encrypt(text.as_bytes(), &passphrase, salt), &passphrase), Ok(text));
        }

        #[test]
        fn nothing_panics(password in any::<Vec<u8>>(), passphrase in ".*") {
            let _ = decrypt(&STANDARD.encode([b"Salted__", &password[..]].concat()), &passphrase);
            let _ = decrypt(&String::from_utf8_lossy(&password), &passphrase);
        }
    }
}
