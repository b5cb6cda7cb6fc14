//! The check of public keys: JSON Web Keys of the two curves that clients use.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use be8_events::Hash32;
use be8_events::account::{Curve, PublicKeySecret};
use serde_json::Value;

/// A public key that was checked.
#[derive(Clone)]
pub struct CheckedKey {
    /// The curve.
    pub curve: Curve,
    /// The coordinates as they were sent.
    pub coordinates: PublicKeySecret,
    /// SHA-256 of the uncompressed point (SEC 1, section 2.3.3).
    pub fingerprint: Hash32,
}

/// Checks an elliptic curve key (RFC 7518, section 6.2.1): `kty` is `EC`, `crv` P-256 or P-384,
/// `ext` true or `"true"`, `key_ops` an array, and `x` and `y` are the coordinates of a point on
/// the curve, in full length. Other members, private ones too, are not looked at and not kept.
/// Nothing means that it is no such key.
pub fn check(key: &Value) -> Option<CheckedKey> {
    let text = |name: &str| key.get(name)?.as_str();
    let exportable = match key.get("ext")? {
        Value::Bool(ext) => *ext,
        Value::String(ext) => ext == "true",
        _ => false,
    };
    if text("kty")? != "EC" || !exportable || !key.get("key_ops")?.is_array() {
        return None;
    }
    let curve = match text("crv")? {
        "P-256" => Curve::P256,
        "P-384" => Curve::P384,
        _ => return None,
    };
    let (x, y) = (text("x")?, text("y")?);
    let point = point(curve, x, y)?;
    let coordinates = PublicKeySecret { x: x.to_owned(), y: y.to_owned() };
    Some(CheckedKey { curve, coordinates, fingerprint: Hash32::sha256(&point) })
}

/// The uncompressed point with these coordinates, if it is on the curve.
fn point(curve: Curve, x: &str, y: &str) -> Option<Vec<u8>> {
    let length = match curve {
        Curve::P256 => 32,
        Curve::P384 => 48,
    };
    // The length of the text first: it may be megabytes.
    let coordinate = |text: &str| {
        let bytes = (text.len() == (length * 4_usize).div_ceil(3)).then(|| URL_SAFE_NO_PAD.decode(text))?;
        bytes.ok().filter(|bytes| bytes.len() == length)
    };
    let point = [vec![4], coordinate(x)?, coordinate(y)?].concat();
    let on_curve = match curve {
        Curve::P256 => p256::PublicKey::from_sec1_bytes(&point).is_ok(),
        Curve::P384 => p384::PublicKey::from_sec1_bytes(&point).is_ok(),
    };
    on_curve.then_some(point)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The public key of RFC 7517, appendix A.1.
    fn p256_key() -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "ext": true, "key_ops": [],
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        })
    }

    /// The generator of P-384 (FIPS 186-4, section D.1.2.4).
    fn p384_key() -> Value {
        json!({
            "kty": "EC", "crv": "P-384", "ext": "true", "key_ops": ["deriveKey"], "accID": "1",
            "x": "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
            "y": "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
        })
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn keys_on_both_curves_pass() {
        let key = check(&p256_key()).unwrap();
        assert_eq!((key.curve, key.coordinates.x.len()), (Curve::P256, 43));
        let mut point = vec![4];
        for name in ["x", "y"] {
            point.extend(URL_SAFE_NO_PAD.decode(p256_key()[name].as_str().unwrap()).unwrap());
        }
        assert_eq!(key.fingerprint, Hash32::sha256(&point));
        let key = check(&p384_key()).unwrap();
        assert_eq!((key.curve, key.coordinates.y.len()), (Curve::P384, 64));
        assert!(check(&with(p256_key(), "ext", json!("true"))).is_some());
    }

    /// Shows (docs/protocol.md): Public keys.
    #[test]
    fn each_member_is_checked() {
        let x = p256_key()["x"].clone();
        for (name, bad) in [
            ("kty", vec![json!("RSA"), json!("ec"), json!(null)]),
            ("crv", vec![json!("P-384"), json!("P-521"), json!("p-256"), json!(256)]),
            ("ext", vec![json!(false), json!("True"), json!(1), json!(null)]),
            ("key_ops", vec![json!("deriveKey"), json!({}), json!(null)]),
            ("x", vec![json!(""), json!(1), json!("a".repeat(43)), json!("=".repeat(43)), json!(["x"])]),
            // The other coordinate, one of another length, and one with padding.
            ("y", vec![x, p384_key()["y"].clone(), json!(format!("{}=", p256_key()["y"].as_str().unwrap()))]),
        ] {
            for bad in bad {
                assert!(check(&with(p256_key(), name, bad.clone())).is_none(), "{name}: {bad}");
            }
            let mut without = p256_key();
            without.as_object_mut().unwrap().remove(name);
            assert!(check(&without).is_none(), "no {name}");
        }
        for other in [json!(null), json!([]), json!("EC"), json!({})] {
            assert!(check(&other).is_none());
        }
        // The point at infinity has no coordinates; zeros are not on the curve.
        let zero = json!("A".repeat(43));
        assert!(check(&with(with(p256_key(), "x", zero.clone()), "y", zero)).is_none());
    }

    proptest! {
        #[test]
        fn a_changed_coordinate_is_off_the_curve(at in 0usize..42, letter in "[A-Za-z0-9_-]") {
            let mut x = p256_key()["x"].as_str().unwrap().to_owned();
            prop_assume!(x[at..=at] != letter);
            x.replace_range(at..=at, &letter);
            // At most three points of a curve share a y.
            assert!(check(&with(p256_key(), "x", json!(x))).is_none());
        }
    }
}
