//! The list of hosts that pushes may be sent to.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// The push services of the browsers.
pub const BROWSERS: &str = "fcm.googleapis.com,android.googleapis.com,*.push.apple.com,*.notify.windows.com,\
                            updates.push.services.mozilla.com,*.push.services.mozilla.com";

/// Hosts by name, or by `*.` and a name: all below it.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

/// A text that is no host of the list.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host: a name such as push.example.org, or *.example.org for all below it")]
pub struct BadHost(String);

impl FromStr for AllowedHosts {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entries = text.split(',').map(|entry| entry.trim().to_ascii_lowercase());
        entries
            .map(|entry| {
                let name = entry.strip_prefix("*.").unwrap_or(&entry);
                let named = |url: &Url| url.host_str() == Some(name) && matches!(url.host(), Some(Host::Domain(_)));
                let url = Url::parse(&format!("https://{name}/")).ok().filter(named);
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
                if url.is_some() && name.contains('.') && name.bytes().all(plain) {
                    Ok(entry)
                } else {
                    Err(BadHost(entry))
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl AllowedHosts {
    /// The entry that lets an endpoint in: `https`, port 443, a host by its name and on the list,
    /// neither user nor password, no fragment. The address is taken apart first and compared then.
    pub fn admit(&self, endpoint: &str) -> Option<&str> {
        let url = Url::parse(endpoint).ok()?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        // 443 is not reported: it is the default port of https.
        if url.scheme() != "https" || url.port().is_some() || !plain {
            return None;
        }
        let Some(Host::Domain(host)) = url.host() else { return None };
        let allows = |entry: &&String| match entry.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == **entry,
        };
        self.0.iter().find(allows).map(String::as_str)
    }
}

impl fmt::Debug for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_of_browsers_are_let_in() {
        let hosts: AllowedHosts = BROWSERS.parse().unwrap();
        for (endpoint, entry) in [
            ("https://fcm.googleapis.com/fcm/send/abc:def", "fcm.googleapis.com"),
            ("https://FCM.googleapis.com:443/wp/x", "fcm.googleapis.com"),
            ("https://web.push.apple.com/QGx", "*.push.apple.com"),
            ("https://wns2-am3p.notify.windows.com/w/?token=BQ", "*.notify.windows.com"),
            ("https://updates.push.services.mozilla.com/wpush/v2/gA", "updates.push.services.mozilla.com"),
            ("https://a.b.push.services.mozilla.com/wpush/v2/gA", "*.push.services.mozilla.com"),
        ] {
            assert_eq!(hosts.admit(endpoint), Some(entry), "{endpoint}");
        }
    }

    #[test]
    fn nothing_else_is() {
        let hosts: AllowedHosts = BROWSERS.parse().unwrap();
        for endpoint in [
            "http://fcm.googleapis.com/x",
            "https://fcm.googleapis.com:8443/x",
            "https://user@fcm.googleapis.com/x",
            "https://:pass@fcm.googleapis.com/x",
            "https://fcm.googleapis.com/x#y",
            "https://fcm.googleapis.com@127.0.0.1/x",
            "https://127.0.0.1/fcm.googleapis.com",
            "https://[::1]/fcm.googleapis.com",
            "https://fcm.googleapis.com.example.org/x",
            "https://fcm.googleapis.com./x",
            "https://evilfcm.googleapis.com/x",
            "https://push.apple.com/x",
            "https://.push.apple.com/x",
            "https://evilpush.apple.com/x",
            "https://example.org/.push.apple.com",
            "https://example.org?.push.apple.com",
            "https://example.org\\.push.apple.com/x",
            "https://2130706433/x",
            "https://localhost/x",
            "ftp://fcm.googleapis.com/x",
            "fcm.googleapis.com",
            "https:///x",
            "",
        ] {
            assert_eq!(hosts.admit(endpoint), None, "{endpoint}");
        }
    }

    #[test]
    fn the_list_takes_names_only() {
        let hosts: AllowedHosts = " Push.Example.org , *.example.net".parse().unwrap();
        assert_eq!(hosts.admit("https://push.example.org/x"), Some("push.example.org"));
        assert_eq!(hosts.admit("https://a.example.net/x"), Some("*.example.net"));
        for bad in
            ["", "*", "*.", "localhost", "10.0.0.1", "[::1]", "https://a.b", "a.b/c", "a.b:443", "*.*.b", "a.b,,c.d"]
        {
            assert!(bad.parse::<AllowedHosts>().is_err(), "{bad}");
        }
    }
}
