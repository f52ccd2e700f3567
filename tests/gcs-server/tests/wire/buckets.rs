//! Buckets.

use reqwest::Method;
use serde_json::json;

use super::bench::Bench;

#[tokio::test]
async fn a_bucket_is_made_told_changed_and_removed() {
    let bench = Bench::empty();
    let create = r#"{"name": "one", "location": "europe-west1", "versioning": {"enabled": true}}"#;
    let made = bench.call(Method::POST, "/storage/v1/b?project=p", create).await;
    let json = made.json();
    assert_eq!(json["kind"], "storage#bucket");
    assert_eq!(json["location"], "EUROPE-WEST1");
    assert_eq!(json["locationType"], "region");
    assert_eq!(json["metageneration"], "1");
    assert_eq!(json["versioning"], json!({"enabled": true}));
    assert_eq!(json["softDeletePolicy"]["retentionDurationSeconds"], "604800");
    assert_eq!(json["iamConfiguration"]["publicAccessPrevention"], "inherited");
    assert_eq!(bench.get("/storage/v1/b/one").await.json(), json);

    let again = bench.call(Method::POST, "/storage/v1/b?project=p", create).await;
    assert_eq!((again.status, again.reason().as_str()), (409, "conflict"));

    let patch = r#"{"labels": {"a": "b"}, "versioning": {"enabled": false}}"#;
    let path = "/storage/v1/b/one?ifMetagenerationMatch=1";
    let patched = bench.call(Method::PATCH, path, patch).await.json();
    assert_eq!(patched["metageneration"], "2");
    assert_eq!(patched["labels"], json!({"a": "b"}));
    assert_eq!(patched["timeCreated"], json["timeCreated"]);
    let lost = bench.call(Method::PATCH, path, patch).await;
    assert_eq!((lost.status, lost.reason().as_str()), (412, "conditionNotMet"));
    let unchanged = bench.get("/storage/v1/b/one?ifMetagenerationNotMatch=2").await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));

    assert_eq!(bench.delete("/storage/v1/b/one").await.status, 204);
    let gone = bench.get("/storage/v1/b/one").await;
    assert_eq!(gone.status, 404);
    let message = "The specified bucket does not exist.";
    let expected = json!({"error": {"code": 404, "message": message,
        "errors": [{"message": message, "domain": "global", "reason": "notFound"}]}});
    assert_eq!(gone.json(), expected);
}

#[tokio::test]
async fn buckets_are_listed_by_project_and_in_pages() {
    let bench = Bench::empty();
    for name in ["aaa", "bbb", "ccc"] {
        bench.bucket(name, "").await;
    }
    let other = bench.call(Method::POST, "/storage/v1/b?project=q", r#"{"name": "abc"}"#).await;
    assert_eq!(other.status, 200);
    let names = |json: &serde_json::Value| -> Vec<String> {
        let items = json["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = bench.get("/storage/v1/b?project=p&maxResults=2").await.json();
    assert_eq!(names(&first), ["aaa", "bbb"]);
    let token = first["nextPageToken"].as_str().unwrap();
    let rest = bench.get(&format!("/storage/v1/b?project=p&pageToken={token}")).await.json();
    assert_eq!(names(&rest), ["ccc"]);
    assert!(rest.get("nextPageToken").is_none());
    assert_eq!(names(&bench.get("/storage/v1/b?project=q").await.json()), ["abc"]);
    assert_eq!(names(&bench.get("/storage/v1/b?project=p&prefix=x").await.json()), [""; 0]);
    assert_eq!(bench.get("/storage/v1/b").await.reason(), "required");
}

#[tokio::test]
async fn a_bucket_with_older_versions_alone_is_not_empty() {
    let bench = Bench::new().await;
    let generation = bench.put("a", "1", "").await.generation();
    assert_eq!(bench.delete("/storage/v1/b/bench/o/a").await.status, 204);
    assert_eq!(bench.delete("/storage/v1/b/bench").await.status, 409);
    let path = format!("/storage/v1/b/bench/o/a?generation={generation}");
    assert_eq!(bench.delete(&path).await.status, 204);
    assert_eq!(bench.delete("/storage/v1/b/bench").await.status, 204);

    // A bucket of the same name never gives the same generation.
    bench.bucket("bench", "").await;
    assert!(bench.put("a", "1", "").await.generation() > generation);
}

#[tokio::test]
async fn lifecycle_rules_are_kept_and_carried_out() {
    let bench = Bench::empty();
    let rules = r#""versioning": {"enabled": true}, "lifecycle": {"rule": [
        {"action": {"type": "Delete"}, "condition": {"numNewerVersions": 2, "isLive": false}},
        {"action": {"type": "Delete"}, "condition": {"age": 3, "matchesPrefix": ["old/"]}}]}"#;
    bench.bucket("bench", rules).await;
    let told = bench.get("/storage/v1/b/bench").await.json();
    assert_eq!(told["lifecycle"]["rule"].as_array().unwrap().len(), 2);
    for body in ["1", "2", "3", "4"] {
        bench.put("state.json", body, "").await.generation();
    }
    bench.put("old/a", "1", "").await.generation();
    let now = deploy::Timestamp::now();
    assert_eq!(bench.server.apply_lifecycle("bench", now).unwrap(), 2);
    let listing = "/storage/v1/b/bench/o?versions=true&prefix=state.json";
    assert_eq!(bench.get(listing).await.json()["items"].as_array().unwrap().len(), 2);

    let in_days = |days: u64| now + std::time::Duration::from_secs(days * 86400);
    assert_eq!(bench.server.apply_lifecycle("bench", in_days(2)).unwrap(), 0);
    let body = json!({"bucket": "bench", "now": in_days(4).to_string()}).to_string();
    let applied = bench.call(Method::POST, "/_engr/lifecycle", body).await.json();
    assert_eq!(applied, json!({"versions": 1}));
    assert_eq!(bench.read("old%2Fa", "").await.status, 404);
    assert!(bench.server.apply_lifecycle("nothing", now).is_err());
}

#[tokio::test]
async fn retention_and_holds_forbid_overwriting() {
    let bench = Bench::empty();
    let settings = r#""retentionPolicy": {"retentionPeriod": "3600"}, "versioning": {"enabled": true},
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"isLive": true}}]}"#;
    bench.bucket("bench", settings).await;
    bench.put("a", "1", "").await.generation();
    let forbidden = bench.put("a", "2", "").await;
    let reason = forbidden.reason();
    assert_eq!((forbidden.status, reason.as_str()), (403, "retentionPolicyNotMet"));
    assert_eq!(bench.delete("/storage/v1/b/bench/o/a").await.status, 403);
    assert_eq!(bench.server.apply_lifecycle("bench", deploy::Timestamp::now()).unwrap(), 0);
    let patch = r#"{"retentionPolicy": null, "defaultEventBasedHold": true}"#;
    assert_eq!(bench.call(Method::PATCH, "/storage/v1/b/bench", patch).await.status, 200);
    bench.put("a", "2", "").await.generation();
    let held = bench.put("a", "3", "").await;
    assert_eq!((held.status, held.reason().as_str()), (403, "objectUnderActiveHold"));
    let release = r#"{"eventBasedHold": false}"#;
    assert_eq!(bench.call(Method::PATCH, "/storage/v1/b/bench/o/a", release).await.status, 200);
    bench.put("a", "3", "").await.generation();
}
