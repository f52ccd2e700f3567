//! The store on Cloud Storage, over real wires: our own server, a fake of others, and whatever
//! bucket a person names.

use std::sync::Arc;
use std::time::Duration;

use deploy::id::Id;
use deploy::store::Store;
use deploy::store::conformance::{self, CHECKS};
use deploy::store::gcs::bucket::NewBucket;
use deploy::store::gcs::{Access, Gcs};
use gcs_server::{Options, Server};
use tests::below::Below;
use tests::fake_gcs::FakeGcs;

/// How often watches ask here.
const POLL: Duration = Duration::from_millis(50);

/// What fake-gcs-server does not do (1.54): conditional reads, preconditions of deletions, the
/// removal of one generation (it removes the live one), and sessions of uploads at any port but 80,
/// for a client whose Host header leaves the port out.
const NOT_BY_THE_FAKE: [&str; 5] = [
    "read-if-changed",
    "delete-refused",
    "erase",
    "race-erased-while-written",
    "files-there-and-back",
];

/// An empty bucket at `endpoint`.
async fn bucket(endpoint: &str) -> Gcs {
    let access = Access::anonymous(endpoint).polling_every(POLL);
    let gcs = Gcs::new("a-bucket", access).expect("an endpoint");
    let location = "US-CENTRAL1".to_owned();
    let new = NewBucket { project: "shop".to_owned(), app: "hello".to_owned(), location };
    gcs.create(&new).await.expect("the bucket is made");
    gcs
}

async fn conforms(store: Arc<dyn Store>, checks: &[&str]) {
    let scratch = tempfile::tempdir().expect("a folder");
    conformance::run_some(store, scratch.path(), checks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_our_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(Options::new(folder.path())).expect("a server");
    conforms(Arc::new(bucket(server.url()).await), CHECKS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_a_fake_of_others() {
    let fake = FakeGcs::start();
    let able: Vec<&str> =
        CHECKS.iter().copied().filter(|check| !NOT_BY_THE_FAKE.contains(check)).collect();
    conforms(Arc::new(bucket(&fake.url()).await), &able).await;
}

/// With `ENGR_TEST_GCS=gs://bucket` the suite runs on that bucket, below a prefix of its own, with
/// the application default credentials, or at `STORAGE_EMULATOR_HOST`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_the_bucket_that_a_person_names() {
    let Ok(url) = std::env::var("ENGR_TEST_GCS") else {
        eprintln!("ENGR_TEST_GCS names no bucket: nothing was asked of a real one");
        return;
    };
    let access = match std::env::var("STORAGE_EMULATOR_HOST") {
        Ok(endpoint) => Access::anonymous(endpoint),
        Err(_) => {
            let credentials = google_cloud_auth::credentials::Builder::default().build();
            Access::with_credentials(credentials.expect("application default credentials"))
        }
    };
    // One write a second to one name is what the service bears; the races go beyond it.
    let gcs = Gcs::from_url(&url, access.polling_every(Duration::from_secs(1))).expect("a URL");
    let prefix = format!("engr-conformance/{}/", Id::random());
    eprintln!("everything lies below {url}/{prefix}, and stays there");
    conforms(Arc::new(Below { bucket: Arc::new(gcs), prefix }), CHECKS).await;
}
