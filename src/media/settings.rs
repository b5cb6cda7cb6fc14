//! Where blobs are kept: a folder, or a bucket of a store that speaks S3.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::{Host, Url};

use super::MediaError;
use crate::settings::{optional, parse, seconds, settings, text};

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// The folder, unless they are kept in a bucket.
    pub folder: PathBuf,
    /// The bucket.
    pub s3: Option<S3Settings>,
}

settings! {
    /// A bucket. The credentials come from the environment, as `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`: they have no place on a command line.
    #[derive(Debug, Clone)]
    pub struct S3Settings {
        bucket: String = text, "media-s3-bucket", "NAME", "", "A bucket to keep images in instead; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY open it";
        prefix: String = text, "media-s3-prefix", "PATH", "", "The prefix of all names in the bucket";
        endpoint: Option<String> = optional(text), "media-s3-endpoint", "URL", "", "A store that speaks S3; without it Amazon's";
        region: String = text, "media-s3-region", "NAME", "us-east-1", "The region of the bucket";
        cloud_credentials: bool = parse, "media-s3-cloud-credentials", "BOOL", "false", "Ask the metadata service of the cloud for credentials if the environment has none";
        connect: Duration = seconds, "media-s3-connect-seconds", "SECONDS", "5", "How long connecting to the store may take";
        attempt: Duration = seconds, "media-s3-attempt-seconds", "SECONDS", "15", "How long one attempt of a request to the store may take";
        total: Duration = seconds, "media-s3-total-seconds", "SECONDS", "30", "How long a request to the store may take with its repetitions";
    }
}

/// Environment variables by which platforms say that credentials are to be had from them.
const PLATFORM: [&str; 3] =
    ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

impl MediaSettings {
    /// The store, and what stands in front of all names in it.
    pub(super) fn open(&self) -> Result<(Arc<dyn ObjectStore>, Path), MediaError> {
        let Some(s3) = &self.s3 else {
            let place = self.folder.display();
            make_folder(&self.folder).map_err(|error| bad(&place, &error))?;
            let store = LocalFileSystem::new_with_prefix(&self.folder).map_err(|error| bad(&place, &error))?;
            // As durable as the event that follows.
            return Ok((Arc::new(store.with_fsync(true)), Path::default()));
        };
        s3.open(|name| std::env::var(name).ok())
    }

    /// How long a request to the store may take.
    pub(super) fn total(&self) -> Option<Duration> {
        self.s3.as_ref().map(|s3| s3.total)
    }
}

impl S3Settings {
    fn open(&self, environment: impl Fn(&str) -> Option<String>) -> Result<(Arc<dyn ObjectStore>, Path), MediaError> {
        let place = format!("bucket {}", self.bucket);
        self.check(environment).map_err(|cause| bad(&place, &cause))?;
        let mut builder = AmazonS3Builder::from_env();
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        // Without the setting it may come from the environment, as AWS_ENDPOINT_URL.
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if let Some(endpoint) = &endpoint {
            let checked = check_endpoint(endpoint);
            checked
                .map_err(|cause| bad(&place, &format_args!("the address of the store (AWS_ENDPOINT_URL): {cause}")))?;
        }
        // The library speaks https through a process-wide choice of cryptography. A second choice
        // is refused and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let client =
            ClientOptions::new().with_allow_http(http).with_connect_timeout(self.connect).with_timeout(self.attempt);
        let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: 2, retry_timeout: self.total };
        let builder = builder
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_client_options(client)
            .with_retry(retry)
            // Not every store knows how to delete several at once, and blobs go one by one anyway.
            .with_disable_bulk_delete(true);
        let store = builder.build().map_err(|error| bad(&place, &error))?;
        let prefix = Path::parse(&self.prefix).map_err(|error| bad(&place, &error))?;
        Ok((Arc::new(store), prefix))
    }

    /// What the library would only find out with the first request, or by a panic.
    fn check(&self, environment: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        let name =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if !name(&self.bucket) {
            return Err("media-s3-bucket: a name has letters, digits, '-', '.' and '_' only".to_owned());
        }
        if !name(&self.region) {
            return Err("media-s3-region: a region has letters, digits and '-' only".to_owned());
        }
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint).map_err(|cause| format!("media-s3-endpoint: {cause}"))?;
        }
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let (id, secret) = (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY"));
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", &id),
            ("AWS_SECRET_ACCESS_KEY", &secret),
            ("AWS_SESSION_TOKEN", &set("AWS_SESSION_TOKEN")),
        ] {
            // They stand in header fields. Their values are never shown.
            if value.as_ref().is_some_and(|value| !value.bytes().all(|byte| byte.is_ascii_graphic())) {
                return Err(format!("{name} has a character that no credential has, such as a space or a line end"));
            }
        }
        match (id, secret) {
            (Some(_), Some(_)) => Ok(()),
            (None, None) if self.cloud_credentials || PLATFORM.iter().any(|name| set(name).is_some()) => Ok(()),
            (None, None) => {
                Err("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set (--media-s3-cloud-credentials \
                                 true asks the cloud that the server runs in)"
                    .to_owned())
            }
            (None, Some(_)) => Err("AWS_ACCESS_KEY_ID is not set".to_owned()),
            (Some(_), None) => Err("AWS_SECRET_ACCESS_KEY is not set".to_owned()),
        }
    }
}

/// Whether this is the address of a store.
fn check_endpoint(endpoint: &str) -> Result<(), &'static str> {
    let url = Url::parse(endpoint).map_err(|_| "not a URL such as https://s3.be8.example:9000")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("neither an http:// nor an https:// URL");
    }
    // A parser of URLs overlooks slashes too many, and takes the path for the host.
    if endpoint.split_once("://").is_none_or(|(_, host)| host.starts_with('/')) {
        return Err("a URL without a host");
    }
    if endpoint.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("a space, or a letter that no URL has");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong there, but into the environment");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a query or fragment does not belong there");
    }
    let address = match url.host() {
        None => return Err("no host"),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
        Some(Host::Ipv6(address)) => Some(address.to_canonical()),
    };
    match address {
        Some(IpAddr::V4(address)) if address.is_link_local() => Err("the address of a cloud's metadata service"),
        Some(IpAddr::V6(address)) if address.segments()[0] == 0xfd00 && address.segments()[1] == 0xec2 => {
            Err("the address of a cloud's metadata service")
        }
        _ => Ok(()),
    }
}

fn bad(place: &dyn Display, cause: &dyn Display) -> MediaError {
    MediaError::Place { place: place.to_string(), cause: cause.to_string() }
}

/// Makes the folder, for its owner alone.
fn make_folder(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> S3Settings {
        let second = Duration::from_secs(1);
        S3Settings {
            bucket: "pictures".to_owned(),
            prefix: String::new(),
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            region: "us-east-1".to_owned(),
            cloud_credentials: false,
            connect: second,
            attempt: second,
            total: second,
        }
    }

    fn with<'a>(id: &'a str, secret: &'a str) -> impl Fn(&str) -> Option<String> + use<'a> {
        move |name| match name {
            "AWS_ACCESS_KEY_ID" => Some(id.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(secret.to_owned()),
            _ => None,
        }
    }

    #[test]
    fn what_can_be_no_store_is_refused_by_name() {
        let refused = |settings: S3Settings, says: &str| {
            let said = settings.check(with("id", "secret")).unwrap_err();
            assert!(said.contains(says), "{said}");
        };
        assert_eq!(settings().check(with("id", "secret")), Ok(()));
        for endpoint in [
            "localhost:9000",
            "127.0.0.1:9000",
            "ftp://a.b",
            "http://",
            "http:///x",
            "s3.example",
            "https://u:p@a.b",
            "https://a.b/?x",
            "https://a b/",
            " https://a.b",
            "http://169.254.169.254",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:169.254.169.254]",
        ] {
            refused(S3Settings { endpoint: Some(endpoint.to_owned()), ..settings() }, "media-s3-endpoint");
        }
        for bucket in ["", "a/b", "a b", "ä", "a?b"] {
            refused(S3Settings { bucket: bucket.to_owned(), ..settings() }, "media-s3-bucket");
        }
        for region in ["", "eu west", "eu\n"] {
            refused(S3Settings { region: region.to_owned(), ..settings() }, "media-s3-region");
        }
    }

    #[test]
    fn credentials_are_whole_and_no_cloud_is_asked_for_them_unasked() {
        for (id, secret, says) in [
            ("", "", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"),
            ("id", "", "AWS_SECRET_ACCESS_KEY is not set"),
            ("", "geheim", "AWS_ACCESS_KEY_ID is not set"),
            ("id\n", "geheim", "AWS_ACCESS_KEY_ID has a character"),
            ("id", "geheim\n", "AWS_SECRET_ACCESS_KEY has a character"),
        ] {
            let said = settings().check(with(id, secret)).unwrap_err();
            assert!(said.contains(says) && !said.contains("geheim"), "{said}");
        }
        let asked = S3Settings { cloud_credentials: true, ..settings() };
        assert_eq!(asked.check(with("", "")), Ok(()));
    }
}
