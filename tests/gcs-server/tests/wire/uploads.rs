//! Uploads in one request.

use reqwest::Method;
use serde_json::json;

use super::bench::{Answer, Bench, send};

async fn multipart(bench: &Bench, query: &str, parts: &[(&str, &str)]) -> Answer {
    let path = format!("/upload/storage/v1/b/bench/o?uploadType=multipart{query}");
    let mut body = String::new();
    for (content_type, part) in parts {
        body += &format!("--x\r\ncontent-type: {content_type}\r\n\r\n{part}\r\n");
    }
    let request = bench.request(Method::POST, &path);
    let request = request.header("content-type", "multipart/related; boundary=x");
    send(request.body(body + "--x--")).await
}

#[tokio::test]
async fn metadata_and_bytes_in_one_request() {
    let bench = Bench::new().await;
    let metadata = r#"{"name": "a", "metadata": {"attempt": "7"}}"#;
    let written = multipart(&bench, "", &[("application/json", metadata), ("a/b", "bytes")]).await;
    let json = written.json();
    assert_eq!((json["name"].as_str(), json["contentType"].as_str()), (Some("a"), Some("a/b")));
    assert_eq!(json["metadata"], json!({"attempt": "7"}));
    assert_eq!(bench.read("a", "").await.text(), "bytes");
    let again = [("application/json", metadata), ("a/b", "bytes")];
    let lost = multipart(&bench, "&ifGenerationMatch=0", &again).await;
    assert_eq!((lost.status, lost.reason().as_str()), (412, "conditionNotMet"));
}

#[tokio::test]
async fn wrong_checksums_store_nothing() {
    let bench = Bench::new().await;
    let good = r#"{"crc32c": "AAAAAA==", "md5Hash": "1B2M2Y8AsgTpgAmY7PhCfg=="}"#;
    let json = "application/json";
    let metadata = (json, r#"{"name": "a"}"#);
    let wrong = multipart(&bench, "", &[metadata, ("a/b", "x"), (json, good)]).await;
    assert_eq!((wrong.status, wrong.reason().as_str()), (400, "invalid"));
    assert!(wrong.text().contains("Provided CRC32C"), "{}", wrong.text());
    let claims = r#"{"name": "a", "crc32c": "AAAAAQ=="}"#;
    let wrong = multipart(&bench, "", &[(json, claims), ("a/b", "")]).await;
    assert_eq!(wrong.status, 400);
    let path = super::bench::upload("a", "");
    let hashed = bench.request(Method::POST, &path).header("x-goog-hash", "md5=wrong").body("x");
    assert_eq!(send(hashed).await.status, 400);
    assert_eq!(bench.read("a", "").await.status, 404);
    assert_eq!(multipart(&bench, "", &[metadata, ("a/b", ""), (json, good)]).await.status, 200);
}

#[tokio::test]
async fn metadata_is_patched_under_a_condition() {
    let bench = Bench::new().await;
    let generation = bench.put("a", "1", "").await.generation();
    let path = "/storage/v1/b/bench/o/a?ifMetagenerationMatch=1";
    let patch = r#"{"metadata": {"x": "1"}, "contentType": "c/d"}"#;
    let patched = bench.call(Method::PATCH, path, patch).await;
    assert_eq!(patched.generation(), generation);
    assert_eq!(patched.json()["metageneration"], "2");
    assert_eq!(bench.call(Method::PATCH, path, patch).await.status, 412);
    let read = bench.read("a", "").await;
    assert_eq!((read.header("content-type"), read.header("x-goog-metageneration")), ("c/d", "2"));
}
