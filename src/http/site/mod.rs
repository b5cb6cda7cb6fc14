//! The files that the server hands to browsers: a built web client, a page of statistics.
//!
//! They are read once, at start and on SIGHUP, and served from memory by their exact paths. So no
//! request ever names a file to the operating system, and what is served was checked before: no
//! hidden files, nothing that a link finds elsewhere, nothing in the way of a route.

mod files;
pub mod home;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::web::headers::{self, HeaderMapExt as _};
use poem::{Request, Response};

use crate::http::layers::compress::accepts_gzip;
use crate::http::wire::error::WireError;
use crate::settings::{optional, path, settings};
use files::File;

pub use files::SiteError;

/// The key that the web client subscribes to pushes with, written into its program.
const BUILT_IN_KEY: &str = "BGcpbQEQRF2Ans4lXwnyqd9EnWT2MgNx9j-ns5EoXDtmQZonB1TqGpBuJlw32gqvbHGTZQgh79mYYjp6dX-8zOg";
/// What a page of the client may do.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
     object-src 'none'; base-uri 'self'; frame-ancestors 'none'";
/// Where the page of statistics is.
const INSIGHTS: &str = "/be8insights";

settings! {
    /// Which files are served.
    #[derive(Debug, Clone)]
    pub struct SiteSettings {
        client: Option<PathBuf> = optional(path), "client-dir", "DIR", "", "A built web client to serve at /; without it / is a page of be8; reloaded on SIGHUP";
        insights: Option<PathBuf> = optional(path), "insights-dir", "DIR", "", "A built page of statistics to serve at /be8insights";
    }
}

/// What stands at a path.
#[derive(Debug)]
enum Entry {
    File(File),
    /// A folder that was asked for without the slash at its end.
    Folder,
}

/// The files, by their paths.
#[derive(Debug, Default)]
struct Files(HashMap<String, Entry>);

impl Files {
    fn load(settings: &SiteSettings, key: Option<&str>, taken: &[String]) -> Result<Self, SiteError> {
        let mut all = HashMap::new();
        let mut mount = |folder: &Path, at: &str, found: &[(String, File)]| {
            for (path, file) in found {
                let mut add = |path: String, entry: fn(File) -> Entry| {
                    // A route is never hidden by a file; the first folder wins over the second.
                    if taken.contains(&path.trim_end_matches('/').to_ascii_lowercase()) {
                        tracing::warn!(path, folder = %folder.display(), "a file stands where a route is: not served");
                    } else {
                        all.entry(path).or_insert_with(|| entry(file.clone()));
                    }
                };
                add(format!("{at}/{path}"), Entry::File);
                if let Some(folder) =
                    path.strip_suffix("index.html").filter(|rest| rest.is_empty() || rest.ends_with('/'))
                {
                    add(format!("{at}/{folder}"), Entry::File);
                    let bare = format!("{at}/{folder}");
                    let bare = bare.trim_end_matches('/');
                    if !bare.is_empty() {
                        add(bare.to_owned(), |_| Entry::Folder);
                    }
                }
            }
        };
        for (folder, at) in [(&settings.client, ""), (&settings.insights, INSIGHTS)] {
            let Some(folder) = folder else { continue };
            let found = files::read(folder, |text| match key {
                Some(key) => text.replace(BUILT_IN_KEY, key),
                None => text,
            })?;
            let index = |name: &str| found.iter().any(|(path, _)| path == name);
            if !index("index.html") && !index("prod/index.html") {
                return Err(SiteError::NoIndex(folder.clone()));
            }
            mount(folder, at, &found);
            let built: Vec<(String, File)> = found
                .iter()
                .filter_map(|(path, file)| Some((path.strip_prefix("prod/")?.to_owned(), file.clone())))
                .collect();
            mount(folder, at, &built);
        }
        Ok(Self(all))
    }
}

/// The files that are served now.
#[derive(Debug, Clone, Default)]
pub struct Site {
    files: Arc<RwLock<Arc<Files>>>,
    settings: SiteSettings,
    key: Option<String>,
    taken: &'static [String],
}

impl Site {
    /// Reads the files. `key` is the public key for pushes that takes the place of the built-in
    /// one in programs; `taken` are the paths of all routes and pages, in lower case.
    ///
    /// # Errors
    /// [`SiteError`]
    pub fn load(settings: SiteSettings, key: Option<String>, taken: &'static [String]) -> Result<Self, SiteError> {
        let site = Self { files: Arc::default(), settings, key, taken };
        site.reload()?;
        Ok(site)
    }

    /// Reads the files again; if that fails, the current ones stay.
    ///
    /// # Errors
    /// [`SiteError`]
    pub fn reload(&self) -> Result<(), SiteError> {
        let files = Files::load(&self.settings, self.key.as_deref(), self.taken)?;
        *self.files.write() = Arc::new(files);
        Ok(())
    }

    fn files(&self) -> Arc<Files> {
        self.files.read().clone()
    }

    /// The answer to a request for a file; none if there is no file at its path.
    ///
    /// # Errors
    /// The method is none that reads.
    pub(in crate::http) fn answer(&self, request: &Request) -> Result<Option<Response>, WireError> {
        let files = self.files();
        let path = request.uri().path();
        // Names of files have letters that a path may hold only in percent-encoding.
        let plain = percent_encoding::percent_decode_str(path).decode_utf8().unwrap_or_default();
        let Some(entry) = files.0.get(&*plain) else { return Ok(None) };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(WireError::method_not_allowed(HeaderValue::from_static("GET, HEAD")));
        }
        Ok(Some(match entry {
            Entry::File(file) => answer(file, request),
            Entry::Folder => {
                let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
                Response::builder()
                    .status(StatusCode::MOVED_PERMANENTLY)
                    .header(header::LOCATION, format!("{path}/{query}"))
                    .header(header::CACHE_CONTROL, "no-cache")
                    .finish()
            }
        }))
    }
}

/// A file, as far as the request wants it (RFC 9110, sections 13 and 14).
fn answer(file: &File, request: &Request) -> Response {
    let asked = request.headers();
    let ranged = asked.contains_key(header::RANGE);
    // A part is one of the file itself.
    let packed = file.packed.as_ref().filter(|_| !ranged && accepts_gzip(asked));
    let (bytes, tag) = match packed {
        Some(packed) => (packed, &file.packed_tag),
        None => (&file.bytes, &file.tag),
    };
    let mut answer = Response::builder().content_type(&file.media_type).finish();
    let headers = answer.headers_mut();
    headers.typed_insert(tag.clone());
    headers.typed_insert(headers::LastModified::from(file.modified));
    headers.typed_insert(headers::AcceptRanges::bytes());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(file.caching));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    if file.packed.is_some() {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    let unchanged = match (asked.typed_get::<headers::IfNoneMatch>(), asked.typed_get::<headers::IfModifiedSince>()) {
        (Some(known), _) => !known.precondition_passes(&file.tag) || !known.precondition_passes(&file.packed_tag),
        (None, Some(since)) => !since.is_modified(file.modified),
        (None, None) => false,
    };
    if unchanged {
        answer.set_status(StatusCode::NOT_MODIFIED);
        answer.headers_mut().remove(header::CONTENT_TYPE);
        return answer;
    }
    let same = asked
        .typed_get::<headers::IfRange>()
        .is_none_or(|known| !known.is_modified(Some(&file.tag), Some(&headers::LastModified::from(file.modified))));
    let length = file.bytes.len() as u64;
    match range(asked).filter(|_| same) {
        // Several parts at once are more trouble than one whole.
        None => {
            if packed.is_some() {
                answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            answer.set_body(bytes.clone());
        }
        Some(range) => match range.within(length) {
            Some((from, to)) => {
                answer.set_status(StatusCode::PARTIAL_CONTENT);
                let part = format!("bytes {from}-{to}/{length}");
                answer.headers_mut().extend(HeaderValue::from_str(&part).map(|part| (header::CONTENT_RANGE, part)));
                answer.set_body(file.bytes.slice(from as usize..=to as usize));
            }
            None => {
                answer.set_status(StatusCode::RANGE_NOT_SATISFIABLE);
                answer.headers_mut().remove(header::CONTENT_TYPE);
                let part = format!("bytes */{length}");
                answer.headers_mut().extend(HeaderValue::from_str(&part).map(|part| (header::CONTENT_RANGE, part)));
            }
        },
    }
    answer
}

/// One range of bytes, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// From here, to there or to the end.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Last(u64),
}

/// The one range that a request asks for; none if it asks for several, or in a way that is unknown:
/// then it gets the whole (RFC 9110, section 14.2). `headers::Range` refuses more of the end than there is, which means all of
/// it, reads `+1` as a number, and does not tell what is malformed from what is not there.
fn range(asked: &poem::http::HeaderMap) -> Option<Range> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let text = asked.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
    match text.trim().split_once('-')? {
        ("", last) => number(last).map(Range::Last),
        (from, "") => Some(Range::From(number(from)?, None)),
        (from, to) => {
            let (from, to) = (number(from)?, number(to)?);
            (from <= to).then_some(Range::From(from, Some(to)))
        }
    }
}

impl Range {
    /// The first and the last byte of what is there of it.
    fn within(self, length: u64) -> Option<(u64, u64)> {
        let last = length.checked_sub(1)?;
        match self {
            Self::From(from, to) => (from <= last).then_some((from, to.unwrap_or(last).min(last))),
            Self::Last(0) => None,
            Self::Last(count) => Some((length.saturating_sub(count), last)),
        }
    }
}

#[cfg(test)]
mod tests;
