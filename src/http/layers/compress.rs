//! Compressing answers for clients that accept it. Never the event stream, whose lines must not
//! wait for a block to fill, and never a request: a small body could then hold a large one.
//!
//! Not by the layer of `tower-http`: it compresses while it sends, in chunks and without `Content-Length`. Not br, no other
//! backend, nothing kept: `docs/performance.md` has the figures.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use poem::http::{HeaderMap, HeaderValue, header};
use poem::{Body, Response};

/// Below this many bytes the headers outweigh what is gained.
pub(in crate::http) const WORTH_IT: usize = 1024;
/// From this many bytes on, compressing would hold up the other requests of its thread.
const LONG: usize = 65_536;

/// Compresses an answer with gzip (RFC 1952) if that is accepted, and the answer is text of some length.
///
/// # Errors
/// The body of the answer is lost.
pub(super) async fn compress(mut answer: Response, accepted: bool) -> poem::Result<Response> {
    // An answer that varies by the coding, or is a part, has chosen its coding already.
    let chosen = [header::CONTENT_ENCODING, header::CONTENT_RANGE, header::VARY];
    if !is_text(&answer) || chosen.iter().any(|name| answer.headers().contains_key(name)) {
        return Ok(answer);
    }
    // A cache must not give one client what another accepts.
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !accepted {
        return Ok(answer);
    }
    let plain = answer.take_body().into_bytes().await?;
    if plain.len() < WORTH_IT {
        answer.set_body(plain);
        return Ok(answer);
    }
    let packed = if plain.len() < LONG {
        gzip(&plain)
    } else {
        let plain = plain.clone();
        tokio::task::spawn_blocking(move || gzip(&plain)).await.unwrap_or_else(|error| Err(error.into()))
    };
    match packed {
        Ok(packed) => {
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer.set_body(Body::from(packed));
        }
        Err(error) => {
            tracing::warn!(%error, "an answer is sent as it is: it could not be compressed");
            answer.set_body(plain);
        }
    }
    Ok(answer)
}

fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// As small as it gets: for what is compressed once and sent often.
pub(in crate::http) fn gzip_well(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::best());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// Whether an answer is text that is there as a whole.
fn is_text(answer: &Response) -> bool {
    let media = answer.content_type().unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    let text = ["application/json", "text/html", "text/css", "text/javascript", "text/plain"];
    text.contains(&media)
}

/// Whether a client accepts gzip (RFC 9110, section 12.5.3): named, or by `*`, and not with a
/// weight of nothing.
pub(in crate::http) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let mut codings = lines.flat_map(|line| line.split(',')).map(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
        (name.trim(), weight.unwrap_or(0.0) > 0.0)
    });
    let mut any = false;
    codings
        .find_map(|(name, wanted)| {
            if name == "*" {
                any = wanted;
            }
            ["gzip", "x-gzip"].iter().any(|gzip| name.eq_ignore_ascii_case(gzip)).then_some(wanted)
        })
        .unwrap_or(any)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    async fn answer(body: &str, media: &str, accept: &str) -> (Option<String>, Vec<u8>) {
        let plain = Response::builder().content_type(media).body(body.to_owned());
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, accept.parse().unwrap());
        let mut answer = compress(plain, accepts_gzip(&headers)).await.unwrap();
        let coding = answer.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap().to_owned());
        (coding, answer.take_body().into_vec().await.unwrap())
    }

    /// Shows (docs/protocol.md): Headers of answers.
    #[tokio::test]
    async fn long_text_is_compressed_if_the_client_accepts_it() {
        for length in [WORTH_IT, LONG] {
            let text = "be8 ".repeat(length / 4);
            let (coding, packed) = answer(&text, "application/json; charset=utf-8", "br, gzip;q=0.5").await;
            assert_eq!(coding.as_deref(), Some("gzip"));
            assert!(packed.len() < text.len() / 4);
            let mut plain = String::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut plain).unwrap();
            assert_eq!(plain, text);
        }
    }

    #[tokio::test]
    async fn the_rest_is_sent_as_it_is() {
        let long = "x".repeat(5000);
        for (body, media, accept) in [
            ("short", "application/json", "gzip"),
            (&*long, "application/json", ""),
            (&*long, "application/json", "br"),
            (&*long, "application/json", "gzip;q=0"),
            (&*long, "application/json", "gzip; q=0.0, *"),
            (&*long, "text/event-stream", "gzip"),
            (&*long, "image/png", "gzip"),
        ] {
            assert_eq!(answer(body, media, accept).await, (None, body.as_bytes().to_vec()), "{media} {accept}");
        }
    }

    /// Shows (docs/protocol.md): Headers of answers.
    #[test]
    fn accepting_follows_the_weights() {
        let accepts = |line: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, line.parse().unwrap());
            accepts_gzip(&headers)
        };
        for yes in ["gzip", "GZIP", "deflate, gzip;q=1.0", "*", "br;q=1, *;q=0.1", "x-gzip"] {
            assert!(accepts(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "*;q=0", "gzip;q=0, *", "gzip;q=x"] {
            assert!(!accepts(no), "{no}");
        }
    }
}
