//! Where blobs are kept: a folder, or a bucket of a store that speaks S3.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::MediaError;

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// The folder, unless they are kept in a bucket.
    pub folder: PathBuf,
    /// The bucket.
    pub s3: Option<S3Settings>,
}

/// A bucket. The credentials come from the environment, as `AWS_ACCESS_KEY_ID` and
/// `AWS_SECRET_ACCESS_KEY`: they have no place on a command line.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// Its name.
    pub bucket: String,
    /// What stands in front of all names in it.
    pub prefix: String,
    /// The address of the store; none: Amazon's.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
}

impl MediaSettings {
    /// The store, and what stands in front of all names in it.
    pub(super) fn open(&self) -> Result<(Arc<dyn ObjectStore>, Path), MediaError> {
        let bad = |place: &dyn std::fmt::Display, cause: &dyn std::fmt::Display| MediaError::Place {
            place: place.to_string(),
            cause: cause.to_string(),
        };
        let Some(s3) = &self.s3 else {
            let place = self.folder.display();
            make_folder(&self.folder).map_err(|error| bad(&place, &error))?;
            let store = LocalFileSystem::new_with_prefix(&self.folder).map_err(|error| bad(&place, &error))?;
            // As durable as the event that follows.
            return Ok((Arc::new(store.with_fsync(true)), Path::default()));
        };
        // The library speaks https through a process-wide choice of cryptography. A second choice
        // is refused and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&s3.bucket).with_region(&s3.region);
        if let Some(endpoint) = &s3.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        let place = format!("bucket {}", s3.bucket);
        let store = builder.build().map_err(|error| bad(&place, &error))?;
        let prefix = Path::parse(&s3.prefix).map_err(|error| bad(&place, &error))?;
        Ok((Arc::new(store), prefix))
    }
}

/// Makes the folder, for its owner alone.
fn make_folder(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
