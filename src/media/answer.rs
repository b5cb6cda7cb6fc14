//! What an error of the store means.

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

/// The most characters of an error that are shown.
const SHOWN: usize = 300;

/// What a store means by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The object is not there.
    NoObject,
    /// Something is not there, and it does not say what.
    NothingThere,
    /// The object is there already.
    Exists,
    /// The store, what is in front of it, or the right to use it fails.
    Failure,
}

impl Answer {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::NotFound { .. } => match code(&error.to_string()).as_deref() {
                Some("NoSuchKey") => Self::NoObject,
                // A folder has no codes.
                None if status(error).is_none() => Self::NoObject,
                None => Self::NothingThere,
                // "NoSuchBucket" before all.
                Some(_) => Self::Failure,
            },
            Error::AlreadyExists { .. } | Error::Precondition { .. } => Self::Exists,
            _ => Self::Failure,
        }
    }
}

/// Whether it stays the same until an operator changes something.
pub(super) fn is_final(error: &Error) -> bool {
    match status(error) {
        // Too slow, too many.
        Some(408 | 429) => false,
        Some(status) => (300..500).contains(&status),
        // A bucket of another region, without saying where.
        None => error.to_string().contains("Received redirect"),
    }
}

/// Whether no answer came that could be read, so that it is not known what became of the request.
pub(super) fn is_lost(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(http) = this.downcast_ref::<HttpError>() {
            return http.kind() != HttpErrorKind::Connect;
        }
        cause = this.source();
    }
    false
}

/// The error for people. The text of the store itself is left out but for its code and message: it may repeat the
/// credentials of the request.
pub(super) fn brief(error: &Error) -> String {
    let text = error.to_string();
    let said = match status(error) {
        Some(status) => {
            let said: Vec<String> = [code(&text), element(&text, "Message")].into_iter().flatten().collect();
            format!("it answered {status} {}", said.join(": "))
        }
        None => text,
    };
    said.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

/// The status of the answer. The library keeps the type of this error to itself, and shows it in its text.
fn status(error: &Error) -> Option<u16> {
    error.to_string().split("status code: ").nth(1)?.get(..3)?.parse().ok()
}

/// The code of an error of S3.
fn code(text: &str) -> Option<String> {
    element(text, "Code")
}

fn element(text: &str, name: &str) -> Option<String> {
    let rest = text.split_once(&format!("<{name}>"))?.1;
    Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: &str, body: &str) -> Box<dyn std::error::Error + Send + Sync> {
        let said = format!(
            "Error performing GET http://s3/b/k in 3ms - Server returned non-2xx status code: {status}: {body}"
        );
        said.into()
    }

    fn not_found(body: &str) -> Error {
        Error::NotFound { path: "k".to_owned(), source: answered("404 Not Found", body) }
    }

    fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::Generic { store: "S3", source }
    }

    #[test]
    fn a_missing_object_is_known_by_its_code() {
        for (body, means) in [
            ("<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>", Answer::NoObject),
            ("<Error><Code>NoSuchBucket</Code></Error>", Answer::Failure),
            ("<Error><Code>NoSuchTenant</Code></Error>", Answer::Failure),
            ("<html>nginx</html>", Answer::NothingThere),
            ("", Answer::NothingThere),
        ] {
            assert_eq!(Answer::of(&not_found(body)), means, "{body}");
        }
        let file = Error::NotFound { path: "k".to_owned(), source: "No such file or directory".into() };
        assert_eq!(Answer::of(&file), Answer::NoObject);
        assert_eq!(Answer::of(&generic(answered("503 Service Unavailable", ""))), Answer::Failure);
    }

    #[test]
    fn what_an_operator_has_to_mend_is_final() {
        for (status, is) in [
            ("301 Moved Permanently", true),
            ("400 Bad Request", true),
            ("403 Forbidden", true),
            ("404 Not Found", true),
            ("408 Request Timeout", false),
            ("429 Too Many Requests", false),
            ("500 Internal Server Error", false),
            ("503 Service Unavailable", false),
        ] {
            assert_eq!(is_final(&generic(answered(status, ""))), is, "{status}");
        }
        assert!(is_final(&generic("Received redirect without LOCATION, this normally indicates".into())));
        assert!(!is_final(&generic("error sending request".into())));
    }

    #[test]
    fn no_credentials_are_shown() {
        let body = "<?xml version=\"1.0\"?>\n<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message>\
                    <Token-0>geheim</Token-0></Error>";
        let error = Error::PermissionDenied { path: "k".to_owned(), source: answered("403 Forbidden", body) };
        assert_eq!(brief(&error), "it answered 403 ExpiredToken: The token has expired.");
        assert_eq!(brief(&generic(answered("502 Bad Gateway", "<html>geheim"))), "it answered 502");
        assert_eq!(brief(&generic("x\ny".repeat(200).into())).chars().count(), 300);
    }
}
