//! Google's own Rust crate as a client: what Engineer itself uses.

use std::time::Duration;

use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_storage::client::Storage;

use super::bench::{Bench, install_crypto};

const BUCKET: &str = "projects/_/buckets/bench";

async fn storage(bench: &Bench) -> Storage {
    install_crypto();
    Storage::builder()
        .with_endpoint(bench.server.url())
        .with_credentials(anonymous::Builder::new().build())
        .with_retry_policy(NeverRetry)
        .build()
        .await
        .unwrap()
}

async fn read(storage: &Storage, name: &str) -> Vec<u8> {
    let mut response = storage.read_object(BUCKET, name).send().await.unwrap();
    let mut data = Vec::new();
    while let Some(chunk) = response.next().await {
        data.extend_from_slice(&chunk.unwrap());
    }
    data
}

#[tokio::test]
async fn writes_in_one_request_and_piece_by_piece() {
    let bench = Bench::new().await;
    let storage = storage(&bench).await;
    // With a part of checksums behind the bytes, as they are not known before.
    let write = storage.write_object(BUCKET, "a/b", "some bytes").set_if_generation_match(0);
    let written = write.send_unbuffered().await.unwrap();
    assert_eq!(written.size, 10);
    assert_eq!(read(&storage, "a/b").await, b"some bytes");

    let data: Vec<u8> = (0..5_u32 << 20).map(|n| (n >> 10) as u8).collect();
    let write = || {
        storage
            .write_object(BUCKET, "big", bytes::Bytes::from(data.clone()))
            .with_resumable_upload_threshold(1_usize << 20)
            .with_resumable_upload_buffer_size(2_usize << 20)
            .set_if_generation_match(0)
    };
    // The Host that the crate sends leaves out the port; the session's address has it.
    let written = write().send_buffered().await.unwrap();
    assert_eq!(read(&storage, "big").await, data);
    let error = write().send_buffered().await.unwrap_err();
    assert_eq!(error.http_status_code(), Some(412));
    let write = storage.write_object(BUCKET, "big", bytes::Bytes::from(data.clone()));
    let write = write.with_resumable_upload_threshold(0_usize);
    let again = write.set_if_generation_match(written.generation).send_unbuffered().await.unwrap();
    assert!(again.generation > written.generation);
    assert!(bench.server.stats().counts().of("upload put") >= 4);
}

#[tokio::test]
async fn conditional_reads_and_lost_preconditions() {
    let bench = Bench::new().await;
    let storage = storage(&bench).await;
    let generation = bench.put("a", "1", "").await.generation() as i64;
    let unchanged = storage.read_object(BUCKET, "a").set_if_generation_not_match(generation);
    assert_eq!(unchanged.send().await.unwrap_err().http_status_code(), Some(304));
    let missing = storage.read_object(BUCKET, "nothing").send().await.unwrap_err();
    assert_eq!(missing.http_status_code(), Some(404));
    let lost = storage.write_object(BUCKET, "a", "2").set_if_generation_match(0);
    assert_eq!(lost.send_unbuffered().await.unwrap_err().http_status_code(), Some(412));
    let old = storage.read_object(BUCKET, "a").set_generation(generation).send().await.unwrap();
    assert_eq!(old.object().generation, generation);
}

#[tokio::test]
async fn a_flipped_byte_is_found() {
    let bench = Bench::new().await;
    let storage = storage(&bench).await;
    bench.put("a", "0123456789", "").await.generation();
    bench.server.faults().add(gcs_server::Rule::new([gcs_server::Kind::FlippedByte]));
    let mut response = storage.read_object(BUCKET, "a").send().await.unwrap();
    let mut failed = false;
    while let Some(chunk) = response.next().await {
        failed |= chunk.is_err();
    }
    assert!(failed);
}

#[tokio::test]
async fn credentials_are_got_and_used() {
    install_crypto();
    let bench = Bench::new().await;
    bench.put("a", "1", "").await.generation();
    bench.server.tokens().require(true);
    bench.server.tokens().set_lifetime(Duration::from_secs(3600));
    let url = bench.server.url();
    let user = serde_json::json!({"type": "authorized_user", "client_id": "i",
        "client_secret": "s", "refresh_token": "r", "token_uri": format!("{url}/token")});
    let file = bench.dir.path().join("subject");
    std::fs::write(&file, "subject").unwrap();
    let external = serde_json::json!({"type": "external_account", "audience": "a",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{url}/token"), "credential_source": {"file": file}});
    let account = format!("{url}/v1/projects/-/serviceAccounts/a@b:generateAccessToken");
    let impersonated = serde_json::json!({"type": "impersonated_service_account",
        "service_account_impersonation_url": account, "source_credentials": user});
    // It signs its tokens by itself, with a key that is for all to read.
    bench.server.tokens().trust_issuer("signs@test-project.iam.gserviceaccount.com");
    let service = serde_json::json!({"type": "service_account", "project_id": "test-project",
        "private_key_id": "k", "private_key": include_str!("service_account_key.pem"),
        "client_email": "signs@test-project.iam.gserviceaccount.com"});
    use google_cloud_auth::credentials as kinds;
    let all = [
        kinds::service_account::Builder::new(service).build().unwrap(),
        kinds::user_account::Builder::new(user).build().unwrap(),
        kinds::external_account::Builder::new(external).build().unwrap(),
        kinds::impersonated::Builder::new(impersonated).build().unwrap(),
        kinds::mds::Builder::default().with_endpoint(url).build().unwrap(),
    ];
    for credentials in all {
        let storage = Storage::builder().with_endpoint(url).with_credentials(credentials.clone());
        let storage = storage.with_retry_policy(NeverRetry).build().await.unwrap();
        let read = storage.read_object(BUCKET, "a").send().await;
        assert!(read.is_ok(), "{credentials:?}: {read:?}");
    }
}
