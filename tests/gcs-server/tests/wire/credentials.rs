//! Tokens: where they come from, and whom they let in.

use std::time::Duration;

use gcs_server::{Kind, Rule};
use reqwest::Method;
use serde_json::json;

use super::bench::{Answer, Bench, send};

async fn with_token(bench: &Bench, token: &str) -> u16 {
    let request = bench.request(Method::GET, "/storage/v1/b/bench/o/a?alt=media");
    send(request.bearer_auth(token)).await.status
}

async fn grant(bench: &Bench, content_type: &str, body: &str) -> Answer {
    let request = bench.request(Method::POST, "/token").header("content-type", content_type);
    send(request.body(body.to_owned())).await
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn calls_need_a_token_that_is_valid() {
    let bench = Bench::new().await;
    bench.put("a", "1", "").await.generation();
    bench.server.tokens().add("good");
    let anonymous = bench.get("/storage/v1/b/bench/o/a").await;
    assert_eq!((anonymous.status, anonymous.reason().as_str()), (401, "required"));
    assert!(anonymous.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(with_token(&bench, "bad").await, 401);
    assert_eq!(with_token(&bench, "good").await, 200);
    bench.server.tokens().expire("good");
    assert_eq!(with_token(&bench, "good").await, 401);
}

#[tokio::test]
async fn what_is_denied_is_forbidden() {
    let bench = Bench::new().await;
    bench.put("a", "1", "").await.generation();
    bench.server.tokens().deny_write("bench");
    let forbidden = bench.put("a", "2", "").await;
    assert_eq!((forbidden.status, forbidden.reason().as_str()), (403, "forbidden"));
    assert_eq!(bench.delete("/storage/v1/b/bench/o/a").await.status, 403);
    assert_eq!(bench.read("a", "").await.status, 200);
    let asked = "permissions=storage.objects.get&permissions=storage.objects.create";
    let path = format!("/storage/v1/b/bench/iam/testPermissions?{asked}");
    assert_eq!(bench.get(&path).await.json()["permissions"], json!(["storage.objects.get"]));
    bench.server.tokens().allow_all("bench");
    bench.server.tokens().deny_read("bench");
    assert_eq!(bench.put("a", "2", "").await.status, 200);
    assert_eq!(bench.read("a", "").await.status, 403);
    assert_eq!(bench.get("/storage/v1/b/bench/o").await.status, 403);
}

#[tokio::test]
async fn grants_give_tokens() {
    let bench = Bench::new().await;
    bench.put("a", "1", "").await.generation();
    bench.server.tokens().require(true);
    bench.server.tokens().set_lifetime(Duration::from_secs(60));
    let exchange = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
                    &audience=a&requested_token_type=t&subject_token=s&subject_token_type=j";
    let assertion = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=j";
    let refresh = r#"{"grant_type": "refresh_token", "client_id": "i", "client_secret": "s",
        "refresh_token": "r", "scopes": "x"}"#;
    for (content_type, body) in [(FORM, exchange), (FORM, assertion), ("application/json", refresh)]
    {
        let given = grant(&bench, content_type, body).await.json();
        assert_eq!(given["expires_in"], 60, "{given}");
        assert_eq!(with_token(&bench, given["access_token"].as_str().unwrap()).await, 200);
    }
    for (body, error) in [
        ("grant_type=password", "unsupported_grant_type"),
        ("grant_type=refresh_token&client_id=i", "invalid_request"),
        ("", "unsupported_grant_type"),
    ] {
        let refused = grant(&bench, FORM, body).await;
        assert_eq!((refused.status, refused.json()["error"].as_str()), (400, Some(error)));
    }
    bench.server.tokens().refuse_grants(Some("invalid_grant"));
    assert_eq!(grant(&bench, FORM, assertion).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_token_of_another_account_for_a_token() {
    let bench = Bench::new().await;
    bench.server.tokens().add("mine");
    let path = "/v1/projects/-/serviceAccounts/a@b.iam.gserviceaccount.com:generateAccessToken";
    let body = r#"{"scope": ["s"], "lifetime": "3600s", "delegates": []}"#;
    assert_eq!(bench.call(Method::POST, path, body).await.status, 401);
    let request = bench.request(Method::POST, path).bearer_auth("mine").body(body);
    let given = send(request).await.json();
    assert_eq!(with_token(&bench, given["accessToken"].as_str().unwrap()).await, 404);
    let end: deploy::Timestamp = given["expireTime"].as_str().unwrap().parse().unwrap();
    assert!(end > deploy::Timestamp::now());
}

#[tokio::test]
async fn the_metadata_server_tells_who_one_is() {
    let bench = Bench::new().await;
    bench.server.tokens().require(true);
    let account = "/computeMetadata/v1/instance/service-accounts/default";
    let ask = async |path: &str| {
        send(bench.request(Method::GET, path).header("metadata-flavor", "Google")).await
    };
    assert_eq!(bench.get(&format!("{account}/token")).await.status, 403);
    let token = ask(&format!("{account}/token?scopes=a,b")).await;
    assert_eq!(token.header("metadata-flavor"), "Google");
    assert_eq!(with_token(&bench, token.json()["access_token"].as_str().unwrap()).await, 404);
    let email = ask(&format!("{account}/email")).await;
    assert_eq!(email.text(), "default@test-project.iam.gserviceaccount.com");
    let all = ask(&format!("{account}/?recursive=true")).await.json();
    assert_eq!(all["email"], email.text());
    assert_eq!(ask("/computeMetadata/v1/project/project-id").await.text(), "test-project");
    let universe = ask("/computeMetadata/v1/universe/universe-domain").await;
    assert_eq!(universe.text(), "googleapis.com");
    assert_eq!(ask("/computeMetadata/v1/instance/zone").await.status, 400);

    // It can fail too, but only when asked for by its path.
    let mut rule = Rule::new([Kind::UnavailableBefore]).times(1);
    bench.server.faults().add(rule.clone());
    assert_eq!(ask(&format!("{account}/token")).await.status, 200);
    bench.server.faults().clear();
    rule.matches.path_prefix = Some("/computeMetadata/".to_owned());
    bench.server.faults().add(rule);
    assert_eq!(ask(&format!("{account}/token")).await.status, 503);
    assert_eq!(ask(&format!("{account}/token")).await.status, 200);
}
