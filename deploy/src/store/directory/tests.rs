//! The conformance suite, and what only a folder can do to a bucket.

use super::*;
use crate::store::conformance;

#[tokio::test]
async fn conforms() {
    let (bucket, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Directory::open(bucket.path()).unwrap();
    conformance::run(Arc::new(store), scratch.path()).await;
}
