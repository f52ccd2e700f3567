//! What is not implemented is refused, by its name.

use reqwest::Method;

use super::bench::{Bench, send};

#[tokio::test]
async fn unknown_calls_are_refused() {
    let bench = Bench::new().await;
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/storage/v1/b/bench/acl"),
        (Method::PUT, "/storage/v1/b/bench/o/a"),
        (Method::POST, "/storage/v1/b/bench/o/a/rewriteTo/b/bench/o/c"),
        (Method::POST, "/upload/storage/v1/b/bench/o?uploadType=odd&name=a"),
        (Method::GET, "/bench/a"),
        (Method::POST, "/google.storage.v2.Storage/ListObjects"),
        (Method::GET, "/_engr/other"),
    ] {
        // The root is the metadata server's, and asks for its header.
        let expected = if path == "/" { 403 } else { 400 };
        let refused = bench.call(method, path, "").await;
        assert_eq!(refused.status, expected, "{path}: {}", refused.text());
    }
    let refused = bench.get("/storage/v1/b/bench/acl").await.json();
    let message = "this test server does not implement GET /storage/v1/b/bench/acl";
    assert_eq!(refused["error"]["message"], message);
    assert_eq!(refused["error"]["errors"][0]["reason"], "invalid");
}

#[tokio::test]
async fn unknown_parameters_headers_and_fields_are_refused() {
    let bench = Bench::new().await;
    bench.put("a", "1", "").await.generation();
    for (path, named) in [
        ("/storage/v1/b/bench/o?matchGlob=*", "matchGlob"),
        ("/storage/v1/b/bench/o?softDeleted=true", "softDeleted"),
        ("/storage/v1/b/bench/o/a?userProject=p", "userProject"),
        ("/storage/v1/b/bench/o/a?ifGenerationMatch=x", "ifGenerationMatch"),
        ("/storage/v1/b/bench/o/a?alt=proto", "alt=proto"),
        ("/storage/v1/b/bench/o/a?fields=nam", "nam"),
        ("/storage/v1/b/bench?projection=some", "projection"),
        ("/storage/v1/b/bench/o?fields=items(nam)", "nam"),
        ("/storage/v1/b/bench/o/a?alt=media&fields=name", "fields"),
    ] {
        let refused = bench.get(path).await;
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.text().contains(named), "{path}: {}", refused.text());
    }
    for header in ["x-goog-encryption-key", "if-none-match", "x-goog-if-generation-match"] {
        let path = "/storage/v1/b/bench/o/a?alt=media";
        let refused = send(bench.request(Method::GET, path).header(header, "x")).await;
        assert_eq!(refused.status, 400, "{header}");
        assert!(refused.text().contains(header), "{}", refused.text());
    }
    for (method, path, body, named) in [
        (Method::PATCH, "/storage/v1/b/bench", r#"{"cors": []}"#, "cors"),
        (Method::PATCH, "/storage/v1/b/bench/o/a", r#"{"temporaryHold": true}"#, "temporaryHold"),
        (
            Method::POST,
            "/storage/v1/b?project=p",
            r#"{"name": "xyz", "autoclass": {}}"#,
            "autoclass",
        ),
        (Method::POST, "/_engr/faults", r#"{"kinds": ["slow"], "likely": 1}"#, "likely"),
        (Method::POST, "/_engr/faults", r#"{"kinds": ["odd"]}"#, "odd"),
    ] {
        let refused = bench.call(method, path, body).await;
        assert_eq!(refused.status, 400, "{path} {body}");
        assert!(refused.text().contains(named), "{}", refused.text());
    }
    assert_eq!(bench.get("/storage/v1/b/xyz").await.status, 404);
}

#[tokio::test]
async fn partial_answers() {
    let bench = Bench::new().await;
    bench.put("a", "1", "").await.generation();
    let told = bench.get("/storage/v1/b/bench/o/a?fields=name,size&prettyPrint=false").await;
    assert_eq!(told.text(), r#"{"name":"a","size":"1"}"#);
}
