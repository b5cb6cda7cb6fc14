//! The contact that push services get with each push (RFC 8292, section 2.1).

use url::{Host, Url};

/// Domains that are nobody's (RFC 2606, RFC 6761, RFC 6762).
const PLACEHOLDERS: [&str; 8] =
    ["example.com", "example.net", "example.org", "example", "test", "invalid", "local", "internal"];

/// What a text is as a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contact {
    /// It can be one.
    Usable,
    /// It has the form of one, at a domain that is nobody's.
    Placeholder,
    /// It is none: services refuse each push that is signed with it.
    None,
}

/// Whether this is a `mailto:` or `https:` URL that somebody can be reached at.
pub(super) fn check(subject: &str) -> Contact {
    if subject.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Contact::None;
    }
    let host = match (subject.strip_prefix("mailto:"), subject.strip_prefix("https://")) {
        // One address; what may follow it (RFC 6068) is no part of it.
        (Some(mail), _) => match mail.split('?').next().unwrap_or_default().split_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.contains(['@', ',', '/', ':']) => domain,
            _ => return Contact::None,
        },
        (None, Some(rest)) if !rest.starts_with('/') => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        _ => return Contact::None,
    };
    // As browsers and services read it, with its international letters and without a port.
    let Ok(url) = Url::parse(&format!("https://{host}/")) else { return Contact::None };
    let Some(Host::Domain(domain)) = url.host() else { return Contact::None };
    let domain = domain.trim_end_matches('.');
    if !domain.contains('.') || domain.split('.').any(str::is_empty) || domain.ends_with(".localhost") {
        return Contact::None;
    }
    let below = |name: &str| domain == name || domain.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    if PLACEHOLDERS.iter().any(|name| below(name)) { Contact::Placeholder } else { Contact::Usable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_distinguished_from_placeholders_and_from_what_is_none() {
        for usable in
            ["mailto:a@b.c", "mailto:push@be8.dev?subject=push", "https://be8.dev", "https://be8.dev:8443/contact#x"]
        {
            assert_eq!(check(usable), Contact::Usable, "{usable}");
        }
        for placeholder in
            ["mailto:admin@example.org", "mailto:a@sub.EXAMPLE.com", "https://my.test/", "mailto:a@pi.local"]
        {
            assert_eq!(check(placeholder), Contact::Placeholder, "{placeholder}");
        }
        for none in [
            "",
            "a@b.c",
            "mailto:",
            "mailto:@",
            "mailto:@b.c",
            "mailto:a@",
            "mailto:a@b",
            "mailto:x@localhost",
            "mailto:a b@c.d",
            "mailto: a@b.c",
            " mailto:a@b.c",
            "mailto:a@b.c ",
            "mailto:a@.c",
            "mailto:a@b..c",
            "mailto:a@b.c,d@e.f",
            "mailto:a@b@c.d",
            "mailto:a@[127.0.0.1]",
            "mailto:a@127.0.0.1",
            "http://b.c",
            "https://",
            "https:///x",
            "https://localhost",
            "https://a.localhost/",
            "https://192.0.2.1/",
            "https://[::1]/",
        ] {
            assert_eq!(check(none), Contact::None, "{none:?}");
        }
    }
}
