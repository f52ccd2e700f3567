//! A bucket of Google Cloud Storage.
//!
//! ```text
//!   data      read, write, up and down       google-cloud-storage (its HTTP/JSON half)
//!   control   list, versions, facts, delete, the bucket itself
//!             └─▶ http                       the JSON API, on reqwest and google-cloud-auth
//!   watch     conditional reads at an interval that adapts ──▶ pace (pure)
//!   fault     what an answer means ──▶ StoreError, told as a short story
//!   renewal   credentials that come back after they were refused
//! ```
//!
//! # Why two ways
//!
//! `google-cloud-storage` moves objects over the JSON API's uploads and media reads, and does all
//! else (lists, versions, deletions, buckets) over gRPC, `google.storage.v2`. No emulator in any
//! package registry speaks that, so what is built on it could be tried against the real service
//! alone. The JSON API has the same calls, is as stable (`v1`, documented), and is spoken by every
//! emulator and by Google's Python client. So the official crate does what it does over HTTP:
//! the streams, with their checksums and resumed uploads. The rest is a handful of calls whose
//! answers are a few lines of JSON; they use the same HTTP client library and the official
//! credentials.
//!
//! # Tries
//!
//! One call here is one attempt: it ends within [`ANSWER_WITHIN`], or when no byte has moved for
//! [`STALL`]. [`super::with_tries`] makes the tries, so that they are bounded, and seen, in one
//! place. Two things go on by themselves, because only they know how far they came: an upload
//! resumes its session, and a read its range.
//!
//! A lost answer is not known for one: a write that was carried out and whose answer was lost is
//! tried again by the caller and meets a lost precondition. Who must know reads back, as
//! [`crate::publish::swap`] does.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use async_trait::async_trait;
use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_storage::client::Storage;
use tokio::sync::OnceCell;

use self::fault::{Done, Fault};
pub use self::http::Probe;
pub use self::renewal::Renewal;
pub use self::story::story;
use self::watch::GcsWatch;
use super::{Expect, Generation, Object, Progress, Result, Stat, Store, StoreError, Watch};

pub mod bucket;
mod control;
mod data;
mod fault;
mod http;
mod pace;
mod renewal;
mod source;
mod story;
mod watch;

/// How long one attempt of a call that moves little may take.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// A transfer in which no byte has moved for so long is given up.
pub const STALL: Duration = Duration::from_secs(60);

/// How often a watch asks while nobody says otherwise.
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Where the service is.
pub const ENDPOINT: &str = "https://storage.googleapis.com";

/// The least time between two writes of one object that the service bears for long: it documents
/// one write a second to a name, and answers 429 to more.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// What names fakes of the service, for every client of Google's.
pub const EMULATOR_VARIABLE: &str = "STORAGE_EMULATOR_HOST";

/// The endpoint that `text` names; none if it is empty. Emulators are often named `host:port` alone.
pub fn emulator(text: &str) -> Option<String> {
    match (text.is_empty(), text.contains("://")) {
        (true, _) => None,
        (false, true) => Some(text.to_owned()),
        (false, false) => Some(format!("http://{text}")),
    }
}

/// How to get at buckets.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where the service is, `http://…` or `https://…`. None: [`ENDPOINT`].
    pub endpoint: Option<String>,
    /// Who asks.
    pub credentials: Credentials,
    /// How often watches ask while nobody says otherwise.
    pub poll_interval: Duration,
    /// Who is told that the credentials were refused.
    renewal: Option<Renewal>,
}

impl Access {
    /// An emulator at `endpoint`, which wants no credentials.
    pub fn anonymous(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: Some(endpoint.into()),
            credentials: anonymous::Builder::new().build(),
            poll_interval: POLL_INTERVAL,
            renewal: None,
        }
    }

    /// The service itself, with these credentials.
    pub fn with_credentials(credentials: Credentials) -> Self {
        Self { endpoint: None, credentials, poll_interval: POLL_INTERVAL, renewal: None }
    }

    /// The service itself, with credentials that are made anew when they are refused: for programs
    /// that run for long.
    pub fn with_renewal(renewal: Renewal) -> Self {
        let credentials = Credentials::from(renewal.clone());
        Self { renewal: Some(renewal), ..Self::with_credentials(credentials) }
    }

    /// The same, with watches that ask so often.
    #[must_use]
    pub fn polling_every(self, poll_interval: Duration) -> Self {
        Self { poll_interval, ..self }
    }
}

/// A bucket of Google Cloud Storage.
#[derive(Clone)]
pub struct Gcs {
    /// Without the scheme.
    bucket: String,
    access: Access,
    /// Both clients are made at the first call that needs them.
    storage: OnceCell<Storage>,
    http: OnceCell<reqwest::Client>,
}

impl std::fmt::Debug for Gcs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gcs").field(&self.url()).finish()
    }
}

impl Gcs {
    /// The bucket `name`. Nothing is asked: it may not be there.
    ///
    /// # Errors
    /// [`super::ErrorKind::Invalid`] for a name that no bucket has, or an endpoint that is no URL.
    pub fn new(name: &str, access: Access) -> Result<Self> {
        install_crypto();
        let gcs = Self {
            bucket: name.to_owned(),
            access,
            storage: OnceCell::new(),
            http: OnceCell::new(),
        };
        let checked = bucket::check_name(name).map_err(Fault::invalid);
        let checked = checked.and_then(|()| http::check_endpoint(gcs.endpoint()));
        checked.map_err(|fault| gcs.failed("open", "the bucket", fault))?;
        Ok(gcs)
    }

    /// The bucket at a `gs://` URL.
    ///
    /// # Errors
    /// [`super::ErrorKind::Invalid`] for any other URL, and what [`Self::new`] fails with.
    pub fn from_url(url: &str, access: Access) -> Result<Self> {
        match url.strip_prefix("gs://").map(|rest| rest.strip_suffix('/').unwrap_or(rest)) {
            Some(name) => Self::new(name, access),
            None => Err(StoreError {
                operation: "open",
                object: "the bucket".to_owned(),
                bucket: url.to_owned(),
                kind: super::ErrorKind::Invalid,
                retry_after: None,
                cause: Some(std::io::Error::other("its URL does not begin with gs://")),
            }),
        }
    }

    /// Asks for anything, to see whether and when an answer comes. Whether the bucket is there
    /// does not matter.
    ///
    /// # Errors
    /// When no answer comes, or the credentials give nothing to show.
    pub async fn probe(&self) -> Result<Probe> {
        let probe = http::probe(self).await;
        self.done("reach", "the service", probe)
    }

    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.bucket
    }

    /// Where the service is.
    pub fn endpoint(&self) -> &str {
        self.access.endpoint.as_deref().unwrap_or(ENDPOINT).trim_end_matches('/')
    }

    fn failed(&self, operation: &'static str, object: &str, fault: Fault) -> StoreError {
        let Fault { kind, cause, retry_after } = fault;
        if kind == super::ErrorKind::Unauthenticated
            && let Some(renewal) = &self.access.renewal
        {
            renewal.refused();
        }
        let object = object.to_owned();
        StoreError { operation, object, bucket: self.url(), kind, retry_after, cause }
    }

    fn done<T>(&self, operation: &'static str, object: &str, done: Done<T>) -> Result<T> {
        done.map_err(|fault| self.failed(operation, object, fault))
    }
}

/// The process's one provider of cryptography is ring, unless it has chosen another.
fn install_crypto() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error says that the program has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

#[async_trait]
impl Store for Gcs {
    fn url(&self) -> String {
        format!("gs://{}", self.bucket)
    }

    async fn read(&self, name: &str) -> Result<Object> {
        let read = data::read(self, name, data::Which::Live).await;
        self.done("read", name, read)
    }

    async fn read_if_changed(&self, name: &str, seen: Generation) -> Result<Option<Object>> {
        let read = data::read_if_changed(self, name, seen).await;
        self.done("read", name, read)
    }

    async fn read_generation(&self, name: &str, generation: Generation) -> Result<Object> {
        let read = data::read(self, name, data::Which::Generation(generation)).await;
        self.done("read", name, read)
    }

    async fn write(&self, name: &str, data: &[u8], expect: Expect) -> Result<Generation> {
        let written = data::write(self, name, data, expect).await;
        self.done("write", name, written)
    }

    async fn stat(&self, name: &str) -> Result<Option<Stat>> {
        let stat = control::stat(self, name).await;
        self.done("look at", name, stat)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stat>> {
        let listed = control::list(self, prefix).await;
        self.done("list", prefix, listed)
    }

    async fn versions(&self, name: &str) -> Result<Vec<Generation>> {
        let listed = control::versions(self, name).await;
        self.done("list the versions of", name, listed)
    }

    async fn upload(
        &self,
        name: &str,
        from: &Path,
        expect: Expect,
        progress: Progress<'_>,
    ) -> Result<Generation> {
        let written = data::upload(self, name, from, expect, progress).await;
        self.done("upload", name, written)
    }

    async fn download(&self, name: &str, to: &Path, progress: Progress<'_>) -> Result<Generation> {
        let read = data::download(self, name, to, progress).await;
        self.done("download", name, read)
    }

    async fn delete(&self, name: &str, expect: Expect) -> Result<()> {
        let deleted = control::delete(self, name, expect).await;
        self.done("delete", name, deleted)
    }

    async fn erase(&self, name: &str, generation: Generation) -> Result<()> {
        let erased = control::erase(self, name, generation).await;
        self.done("erase", name, erased)
    }

    fn watch(&self, name: &str) -> Result<Box<dyn Watch>> {
        Ok(Box::new(GcsWatch::new(self.clone(), name, self.access.poll_interval)))
    }

    fn write_interval(&self) -> Duration {
        WRITE_INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulator_without_a_scheme_speaks_http() {
        assert_eq!(emulator("localhost:9000").as_deref(), Some("http://localhost:9000"));
        assert_eq!(emulator("https://x:1").as_deref(), Some("https://x:1"));
        assert_eq!(emulator(""), None);
    }
}
