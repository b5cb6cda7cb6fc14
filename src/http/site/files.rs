//! Reading a folder into memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem::web::headers::ETag;
use sha2::{Digest, Sha256};

use crate::http::layers::compress::{WORTH_IT, gzip_well};

/// Why files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A folder or a file in it cannot be read.
    #[error("{path}: {cause}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A folder that is no built client.
    #[error("{0} is not what is to be served: there is no index.html in it, nor in its folder prod")]
    NoIndex(PathBuf),
    /// More than is held in memory.
    #[error("{path} holds more than {most} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The most bytes.
        most: u64,
    },
}

/// The most bytes of a folder.
const MOST: u64 = 256 * 1024 * 1024;

/// A file as it is served. Copies share the bytes.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) bytes: bytes::Bytes,
    /// The same, compressed, where that is worth it.
    pub(super) packed: Option<bytes::Bytes>,
    pub(super) tag: ETag,
    pub(super) packed_tag: ETag,
    pub(super) media_type: String,
    pub(super) caching: &'static str,
    /// In whole seconds, as the wire has it.
    pub(super) modified: SystemTime,
}

/// All files of a folder with their paths in it. `edit` is applied to programs.
pub(super) fn read(folder: &Path, edit: impl Fn(String) -> String) -> Result<Vec<(String, File)>, SiteError> {
    let mut files = Vec::new();
    let mut room = MOST;
    walk(folder, "", &mut |path, at| {
        let error = |cause| SiteError::Read { path: at.to_owned(), cause };
        let meta = fs::metadata(at).map_err(error)?;
        room =
            room.checked_sub(meta.len()).ok_or_else(|| SiteError::TooLarge { path: folder.to_owned(), most: MOST })?;
        let bytes = fs::read(at).map_err(error)?;
        files.push((path, file(at, bytes, meta.modified().unwrap_or(UNIX_EPOCH), &edit)));
        Ok(())
    })?;
    Ok(files)
}

/// Visits the files of a folder in the order of their names: no hidden ones, and none behind a link.
fn walk(
    folder: &Path,
    prefix: &str,
    visit: &mut impl FnMut(String, &Path) -> Result<(), SiteError>,
) -> Result<(), SiteError> {
    let error = |cause: io::Error| SiteError::Read { path: folder.to_owned(), cause };
    let mut entries: Vec<_> = fs::read_dir(folder).map_err(error)?.collect::<Result<_, _>>().map_err(error)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
        // Says of a link that it is one.
        let kind = entry.file_type().map_err(error)?;
        if kind.is_dir() {
            walk(&entry.path(), &format!("{prefix}{name}/"), visit)?;
        } else if kind.is_file() {
            visit(format!("{prefix}{name}"), &entry.path())?;
        }
    }
    Ok(())
}

fn file(at: &Path, bytes: Vec<u8>, modified: SystemTime, edit: &impl Fn(String) -> String) -> File {
    let guessed = mime_guess::from_path(at).first_or_octet_stream();
    let essence = guessed.essence_str();
    let program = matches!(essence, "text/javascript" | "application/javascript");
    let text = program || guessed.type_() == "text" || matches!(essence, "application/json" | "image/svg+xml");
    let media_type = match (program, text) {
        (true, _) => "text/javascript; charset=utf-8".to_owned(),
        (_, true) => format!("{essence}; charset=utf-8"),
        _ => essence.to_owned(),
    };
    let bytes = match (program, String::from_utf8(bytes)) {
        (true, Ok(text)) => edit(text).into_bytes(),
        (false, Ok(text)) => text.into_bytes(),
        (_, Err(other)) => other.into_bytes(),
    };
    let packed = (text && bytes.len() >= WORTH_IT).then(|| gzip_well(&bytes).ok()).flatten();
    let digest = URL_SAFE_NO_PAD.encode(&Sha256::digest(&bytes)[..16]);
    let tag = |text: String| text.parse().expect("base64 between quotes is an entity tag");
    let seconds = modified.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default();
    File {
        packed: packed.map(bytes::Bytes::from),
        bytes: bytes.into(),
        tag: tag(format!("\"{digest}\"")),
        packed_tag: tag(format!("\"{digest}-gzip\"")),
        media_type,
        // What refers to others is asked for again each time; fonts, pictures and sounds of a
        // client seldom change.
        caching: if text { "no-cache" } else { "public, max-age=86400" },
        modified: UNIX_EPOCH + std::time::Duration::from_secs(seconds),
    }
}
