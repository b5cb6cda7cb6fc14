//! Our key pair, by which push services know us (VAPID, RFC 8292).

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use rand::Rng;
use web_push::{PartialVapidSignatureBuilder, SubscriptionInfo, VapidSignature, VapidSignatureBuilder, WebPushError};
use zeroize::Zeroizing;

use super::PushSettings;
use super::contact::{self, Contact};
use crate::support::secret_file::{self, Refused};

/// For how long a signature is used again; it is valid for 12 hours.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// How many signatures are kept: one for each origin of push services.
const MOST_KEPT: usize = 1000;
/// The longest file that can hold a key.
const LONGEST: u64 = 4096;

/// The key pair with the contact for push services.
pub struct Vapid {
    key: PartialVapidSignatureBuilder,
    public: String,
    subject: String,
    signed: Mutex<HashMap<String, (VapidSignature, Instant)>>,
}

/// Why there is no usable key pair.
#[derive(Debug, thiserror::Error)]
pub enum BadVapid {
    /// The file cannot be read or made.
    #[error("VAPID key file {}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file is refused as it is: others may read it, it is empty, or no file.
    #[error("VAPID key file {0}")]
    Refused(Refused),
    /// The file holds something else.
    #[error("VAPID key file {}: holds no private key of P-256 in base64url, but {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What it seems to hold.
        what: &'static str,
    },
    /// There is a key pair and no contact.
    #[error("vapid-subject is missing: push services want a contact, such as mailto:admin@example.org, for the key in {}", path.display())]
    NoSubject {
        /// The file of the key pair.
        path: PathBuf,
    },
    /// The contact is none.
    #[error(
        "vapid-subject: {0:?} is neither a mailto: nor an https: URL with a public host name, such as mailto:admin@be8.example"
    )]
    Subject(String),
}

impl Vapid {
    /// The key pair that the settings name, or that lies where `be8 vapid` makes it; none if there
    /// is none: then nothing is sent.
    ///
    /// # Errors
    /// [`BadVapid`]
    pub fn load(settings: &PushSettings) -> Result<Option<Self>, BadVapid> {
        let path = match &settings.key_file {
            Some(path) => path,
            None if settings.default_key_file.exists() => &settings.default_key_file,
            None => return Ok(None),
        };
        let key = read(path)?;
        let subject = settings.subject.clone().ok_or_else(|| BadVapid::NoSubject { path: path.clone() })?;
        match contact::check(&subject) {
            Contact::Usable => {}
            Contact::Placeholder => tracing::warn!(
                subject,
                "vapid-subject looks like a placeholder: push services may refuse every push, and cannot reach you"
            ),
            Contact::None => return Err(BadVapid::Subject(subject)),
        }
        Ok(Some(Self { public: public(&key), key, subject, signed: Mutex::default() }))
    }

    /// The public key of the file, which is made with a new key pair if it is not there: the private
    /// key in base64url, for the owner only. Also says whether it was made.
    ///
    /// # Errors
    /// [`BadVapid`]
    pub fn make(path: &Path) -> Result<(String, bool), BadVapid> {
        let made = match create(path) {
            Ok(()) => true,
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => false,
            Err(cause) => return Err(BadVapid::File { path: path.to_owned(), cause }),
        };
        Ok((public(&read(path)?), made))
    }

    /// The public key as browsers take it: 87 characters of base64url.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The signature for an origin, such as `https://push.example.org`.
    pub(super) fn sign(&self, origin: &str) -> Result<VapidSignature, WebPushError> {
        let mut signed = self.signed.lock();
        if let Some((signature, at)) = signed.get(origin)
            && at.elapsed() < KEPT
        {
            return Ok(signature.clone());
        }
        let info = SubscriptionInfo::new(origin, "", "");
        let mut builder = self.key.clone().add_sub_info(&info);
        // Said, since by itself the crate leaves out the port and makes a contact up.
        builder.add_claim("aud", origin);
        builder.add_claim("sub", self.subject.as_str());
        let signature = builder.build()?;
        if signed.len() >= MOST_KEPT {
            signed.clear();
        }
        signed.insert(origin.to_owned(), (signature.clone(), Instant::now()));
        Ok(signature)
    }
}

impl fmt::Debug for Vapid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vapid({}, ***)", self.public)
    }
}

fn public(key: &PartialVapidSignatureBuilder) -> String {
    URL_SAFE_NO_PAD.encode(key.get_public_key())
}

/// Reads a private key: its 32 bytes in base64url, as `be8 vapid` and other tools write them.
fn read(path: &Path) -> Result<PartialVapidSignatureBuilder, BadVapid> {
    let text = secret_file::read(path, LONGEST).map_err(BadVapid::Refused)?;
    let wrong = || BadVapid::Content { path: path.to_owned(), what: secret_file::recognise(&text) };
    // Checked first: the crate takes for granted that a key has 32 bytes.
    let key = text.trim_ascii();
    let padding = key.iter().rev().take_while(|byte| **byte == b'=').count();
    let bytes = URL_SAFE_NO_PAD.decode(&key[..key.len() - padding]).map(Zeroizing::new).map_err(|_| wrong())?;
    p256::SecretKey::from_slice(&bytes).map_err(|_| wrong())?;
    let plain = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    VapidSignatureBuilder::from_base64_no_sub(&plain).map_err(|_| wrong())
}

fn create(path: &Path) -> io::Result<()> {
    let mut private = Zeroizing::new([0; 32]);
    while p256::SecretKey::from_slice(private.as_slice()).is_err() {
        // Almost all numbers of 256 bits are private keys.
        rand::rng().fill_bytes(private.as_mut_slice());
    }
    let mut text = Zeroizing::new(URL_SAFE_NO_PAD.encode(private.as_slice()));
    text.push('\n');
    secret_file::write(path, text.as_bytes(), false)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::push::hosts::BROWSERS;

    fn settings(file: &Path, subject: Option<&str>) -> PushSettings {
        PushSettings {
            key_file: Some(file.to_owned()),
            default_key_file: file.to_owned(),
            subject: subject.map(str::to_owned),
            hosts: BROWSERS.parse().unwrap(),
            timeout: Duration::from_secs(1),
            at_once: 1,
            queue: 1,
            refusals: 10,
            lifetime: chrono::TimeDelta::days(1),
            test_peer: None,
        }
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_pair_is_made_once_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("vapid.key");
        let (public, made) = Vapid::make(&file).unwrap();
        assert!(made);
        assert_eq!(public.len(), 87);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(Vapid::make(&file).unwrap(), (public.clone(), false));
        let loaded = Vapid::load(&settings(&file, Some("mailto:a@b.c"))).unwrap().unwrap();
        assert_eq!(loaded.public(), public);
        let private = fs::read_to_string(&file).unwrap();
        assert!(!format!("{loaded:?}").contains(private.trim()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn keys_of_other_tools_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        // The private key 1: its public key is the generator of P-256 (FIPS 186-4, section D.1.2.3).
        let generator = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";
        let one = format!("{}E\n", "A".repeat(42));
        for text in [one.clone(), format!("{}=", one.trim())] {
            write(&file, &text, 0o600);
            let key = Vapid::load(&settings(&file, Some("https://example.org/contact"))).unwrap().unwrap();
            assert_eq!(key.public(), generator);
        }
    }

    #[test]
    fn what_cannot_be_used_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let load = |subject| Vapid::load(&settings(&file, subject));
        assert!(matches!(load(Some("mailto:a@b.c")), Err(BadVapid::Refused(_))), "named and not there");
        let nowhere = PushSettings { key_file: None, ..settings(&file, None) };
        assert!(Vapid::load(&nowhere).unwrap().is_none(), "not named and not there");
        for text in ["x", "AAAA", &"A".repeat(43), &"A".repeat(86), &"_".repeat(43), "-----BEGIN PRIVATE KEY-----\n"] {
            write(&file, text, 0o600);
            assert!(matches!(load(Some("mailto:a@b.c")), Err(BadVapid::Content { .. })), "{text:?}");
        }
        fs::remove_file(&file).unwrap();
        Vapid::make(&file).unwrap();
        assert!(matches!(load(None), Err(BadVapid::NoSubject { .. })));
        assert!(matches!(Vapid::load(&nowhere), Err(BadVapid::NoSubject { .. })), "it is found where it is made");
        for subject in ["", "a@b.c", "mailto:", "http://b.c", "https://", "mailto:push@localhost"] {
            assert!(matches!(load(Some(subject)), Err(BadVapid::Subject(_))), "{subject}");
        }
        write(&file, &fs::read_to_string(&file).unwrap(), 0o640);
        assert!(matches!(load(Some("mailto:a@b.c")), Err(BadVapid::Refused(_))));
    }

    #[test]
    fn a_signature_is_used_again_for_its_origin_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        Vapid::make(&file).unwrap();
        let key = Vapid::load(&settings(&file, Some("mailto:a@b.c"))).unwrap().unwrap();
        let signature = key.sign("https://a.b").unwrap();
        assert_eq!(key.sign("https://a.b").unwrap(), signature);
        assert_ne!(key.sign("https://a.b:8443").unwrap().auth_t, signature.auth_t);
    }
}
