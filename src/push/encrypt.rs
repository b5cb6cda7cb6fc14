//! Encrypting a push for its device: RFC 8291 over the content coding of RFC 8188.
//!
//! Of our own, over ring: the crate `web-push` compiles sixty others for this, OpenSSL and a second P-256 among them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use be8_events::device::DeviceSecret;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

/// The bytes of an uncompressed point of P-256.
const POINT: usize = 65;
/// The only record has at most so many bytes, which is what services accept (RFC 8030, section 7.2).
const RECORD: usize = 4096;
/// What is encrypted is padded to a multiple of this, so that its length does not give a nickname away.
const BLOCK: usize = 128;
/// The delimiter between the text and the padding of a last record.
const LAST: u8 = 2;
/// The bytes of the authentication tag.
const TAG: usize = 16;

/// How many bytes to derive.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Encrypts for a device; nothing if its keys are not usable or the text is too long.
pub fn encrypt(device: &DeviceSecret, text: &[u8]) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    let private = EphemeralPrivateKey::generate(&ECDH_P256, &random).ok()?;
    let sender = private.compute_public_key().ok()?;
    let receiver = URL_SAFE_NO_PAD.decode(&device.p256dh).ok()?;
    let auth = URL_SAFE_NO_PAD.decode(&device.auth).ok()?;
    let mut salt = [0; 16];
    random.fill(&mut salt).ok()?;
    let padded = (text.len() + 1).next_multiple_of(BLOCK);
    agree_ephemeral(private, &UnparsedPublicKey::new(&ECDH_P256, &receiver), |shared| {
        seal(shared, &receiver, sender.as_ref(), &auth, salt, text, padded)
    })
    .ok()?
}

/// One record with its header (RFC 8188, section 2.1), encrypted under keys derived as RFC 8291, section 3.4, says.
fn seal(
    shared: &[u8],
    receiver: &[u8],
    sender: &[u8],
    auth: &[u8],
    salt: [u8; 16],
    text: &[u8],
    padded: usize,
) -> Option<Vec<u8>> {
    if padded + TAG > RECORD - salt.len() - 4 - 1 - POINT {
        return None;
    }
    let info = [b"WebPush: info\0".as_slice(), receiver, sender];
    let input = derive::<32>(&Salt::new(HKDF_SHA256, auth).extract(shared), &info)?;
    let derived = Salt::new(HKDF_SHA256, &salt).extract(&input);
    let key = derive::<16>(&derived, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce = derive::<12>(&derived, &[b"Content-Encoding: nonce\0"])?;
    let mut record = text.to_vec();
    record.push(LAST);
    record.resize(padded, 0);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record).ok()?;
    let size = u32::try_from(RECORD).ok()?.to_be_bytes();
    let length = [u8::try_from(sender.len()).ok()?];
    Some([salt.as_slice(), &size, &length, sender, &record].concat())
}

fn derive<const N: usize>(from: &Prk, info: &[&[u8]]) -> Option<[u8; N]> {
    let mut out = [0; N];
    from.expand(info, Length(N)).ok()?.fill(&mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The device of RFC 8291, section 5.
    const RECEIVER: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    fn bytes(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// Section 5 and appendix A of RFC 8291.
    #[test]
    fn the_example_of_the_standard_is_reproduced() {
        let sender = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
        let shared = "kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs";
        let salt = bytes("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let text = b"When I grow up, I want to be a watermelon";
        let [shared, receiver, sender, auth] = [shared, RECEIVER, sender, AUTH].map(bytes);
        let sealed = seal(&shared, &receiver, &sender, &auth, salt, text, text.len() + 1).unwrap();
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_\
            yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(URL_SAFE_NO_PAD.encode(sealed), expected);
    }

    #[test]
    fn lengths_are_hidden_and_bounded_and_bad_keys_are_refused() {
        let device = |p256dh: &str, auth: &str| DeviceSecret {
            endpoint: "https://push.example.net/x".to_owned(),
            p256dh: p256dh.to_owned(),
            auth: auth.to_owned(),
        };
        let good = device(RECEIVER, AUTH);
        let length = |text: usize| encrypt(&good, &vec![b'x'; text]).map(|body| body.len());
        assert_eq!((length(0), length(127), length(128)), (Some(230), Some(230), Some(358)));
        assert_eq!((length(3967), length(3968)), (Some(4070), None));
        assert_ne!(encrypt(&good, b"x"), encrypt(&good, b"x"), "salt and key are new each time");
        let off_curve = format!("{}A", &RECEIVER[..86]);
        for p256dh in ["", "?", &RECEIVER[..40], &off_curve] {
            assert_eq!(encrypt(&device(p256dh, AUTH), b"x"), None, "{p256dh}");
        }
        assert_eq!(encrypt(&device(RECEIVER, "?"), b"x"), None);
    }
}
