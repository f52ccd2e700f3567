//! Objects: reads, listings, versions, deletions.

use reqwest::Method;
use serde_json::json;

use super::bench::{Bench, send};

#[tokio::test]
async fn a_download_tells_all_in_its_headers() {
    let bench = Bench::new().await;
    let generation = bench.put("a%2Fb", "0123456789", "").await.generation();
    for path in ["/storage/v1/b/bench/o/a%2Fb", "/download/storage/v1/b/bench/o/a%2Fb"] {
        let read = bench.get(&format!("{path}?alt=media")).await;
        assert_eq!((read.status, read.text()), (200, "0123456789"));
        assert_eq!(read.header("x-goog-generation"), generation.to_string());
        assert_eq!(read.header("x-goog-metageneration"), "1");
        let hash = "crc32c=KAwGng==,md5=eB5eJF1ptWaXm4bijSPyxw==";
        assert_eq!(read.header("x-goog-hash"), hash);
        assert_eq!(read.header("x-goog-stored-content-length"), "10");
        assert_eq!(read.header("content-length"), "10");
        assert!(!read.header("etag").is_empty() && !read.header("date").is_empty());
    }
    let told = bench.get("/storage/v1/b/bench/o/a%2Fb").await.json();
    assert_eq!(told["name"], "a/b");
    assert_eq!(told["size"], "10");
    assert_eq!(told["crc32c"], "KAwGng==");
    assert_eq!(told["id"], format!("bench/a/b/{generation}"));
    let url = bench.server.url();
    assert_eq!(told["selfLink"], format!("{url}/storage/v1/b/bench/o/a%2Fb"));

    let missing = bench.read("nothing", "").await;
    assert_eq!((missing.status, missing.text()), (404, "No such object: bench/nothing"));
    assert!(missing.header("content-type").starts_with("text/html"));
    let missing = bench.get("/storage/v1/b/bench/o/nothing").await;
    assert_eq!(missing.json()["error"]["message"], "No such object: bench/nothing");
}

#[tokio::test]
async fn ranges() {
    let bench = Bench::new().await;
    bench.put("a", "0123456789", "").await.generation();
    let ranged = async |range: &str| {
        let path = "/storage/v1/b/bench/o/a?alt=media";
        send(bench.request(Method::GET, path).header("range", range)).await
    };
    let part = ranged("bytes=2-4").await;
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    assert_eq!(part.header("content-length"), "3");
    assert_eq!(ranged("bytes=8-").await.text(), "89");
    assert_eq!(ranged("bytes=-1").await.text(), "9");
    let past = ranged("bytes=10-").await;
    assert_eq!((past.status, past.header("content-range")), (416, "bytes */10"));
    assert_eq!(ranged("bytes=1-2,4-5").await.status, 400);
}

#[tokio::test]
async fn conditional_reads() {
    let bench = Bench::new().await;
    let first = bench.put("a", "1", "").await.generation();
    let second = bench.put("a", "2", "").await.generation();
    let unchanged = bench.read("a", &format!("&ifGenerationNotMatch={second}")).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let changed = bench.read("a", &format!("&ifGenerationNotMatch={first}")).await;
    assert_eq!((changed.status, changed.text()), (200, "2"));
    let old = bench.read("a", &format!("&generation={first}")).await;
    assert_eq!((old.status, old.text()), (200, "1"));
    assert_eq!(bench.read("a", &format!("&ifGenerationMatch={first}")).await.status, 412);
    let path = format!("/storage/v1/b/bench/o/a?ifGenerationNotMatch={second}");
    assert_eq!(bench.get(&path).await.status, 304);
    assert_eq!(bench.read("nothing", "&ifGenerationNotMatch=5").await.status, 404);
}

#[tokio::test]
async fn deletions_with_and_without_versions() {
    let bench = Bench::new().await;
    let first = bench.put("a", "1", "").await.generation();
    let second = bench.put("a", "2", "").await.generation();
    let path = "/storage/v1/b/bench/o/a";
    let lost = bench.delete(&format!("{path}?ifGenerationMatch={first}")).await;
    assert_eq!((lost.status, lost.reason().as_str()), (412, "conditionNotMet"));
    let deleted = bench.delete(&format!("{path}?ifGenerationMatch={second}")).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(bench.delete(path).await.status, 404);
    assert_eq!(bench.read("a", &format!("&generation={second}")).await.text(), "2");
    assert_eq!(bench.delete(&format!("{path}?generation={second}")).await.status, 204);
    assert_eq!(bench.read("a", &format!("&generation={second}")).await.status, 404);
    assert_eq!(bench.read("a", &format!("&generation={first}")).await.text(), "1");

    let off = r#"{"versioning": {"enabled": false}}"#;
    assert_eq!(bench.call(Method::PATCH, "/storage/v1/b/bench", off).await.status, 200);
    let third = bench.put("a", "3", "&ifGenerationMatch=0").await.generation();
    let fourth = bench.put("a", "4", &format!("&ifGenerationMatch={third}")).await.generation();
    assert_eq!(bench.read("a", &format!("&generation={third}")).await.status, 404);
    assert_eq!(bench.delete(path).await.status, 204);
    assert_eq!(bench.read("a", &format!("&generation={fourth}")).await.status, 404);
}

#[tokio::test]
async fn listings() {
    let bench = Bench::new().await;
    for name in ["a", "b%2F1", "b%2F2", "c"] {
        bench.put(name, name, "").await.generation();
    }
    let newer = bench.put("a", "newer", "").await.generation();
    let list = async |query: &str| {
        let listing = bench.get(&format!("/storage/v1/b/bench/o?{query}")).await;
        assert_eq!(listing.status, 200, "{}", listing.text());
        listing.json()
    };
    let names = async |query: &str| -> Vec<String> {
        let items = list(query).await["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("").await, ["a", "b/1", "b/2", "c"]);
    assert_eq!(names("prefix=b/").await, ["b/1", "b/2"]);
    assert_eq!(names("startOffset=b/2&endOffset=c").await, ["b/2"]);
    assert_eq!(names("versions=true&prefix=a").await, ["a", "a"]);
    let versions = list("versions=true&prefix=a").await;
    assert!(versions["items"][0]["timeDeleted"].is_string());
    assert_eq!(versions["items"][1]["generation"], newer.to_string());
    assert!(versions["items"][1].get("timeDeleted").is_none());

    let folders = list("delimiter=/&maxResults=2&fields=items(name),prefixes,nextPageToken").await;
    assert_eq!(folders["items"], json!([{"name": "a"}]));
    assert_eq!(folders["prefixes"], json!(["b/"]));
    let token = folders["nextPageToken"].as_str().unwrap();
    let rest = list(&format!("delimiter=/&pageToken={token}")).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert!(rest.get("prefixes").is_none() && rest.get("nextPageToken").is_none());
    assert_eq!(list("prefix=nothing").await, json!({"kind": "storage#objects"}));
    assert_eq!(bench.get("/storage/v1/b/none/o").await.status, 404);
}

#[tokio::test]
async fn reports_of_instances_keep_their_two_newest_versions() {
    let bench = Bench::new().await;
    let name = "fleet%2Finstances%2Fa";
    let mut generations = Vec::new();
    for body in ["1", "2", "3"] {
        generations.push(bench.put(name, body, "").await.generation());
    }
    let listing = bench.get("/storage/v1/b/bench/o?versions=true").await.json();
    assert_eq!(listing["items"].as_array().unwrap().len(), 2);
    assert_eq!(bench.read(name, &format!("&generation={}", generations[0])).await.status, 404);
    assert_eq!(bench.read(name, &format!("&generation={}", generations[1])).await.text(), "2");
}

#[tokio::test]
async fn of_many_who_expect_the_same_one_wins() {
    let bench = Bench::new().await;
    let seen = bench.put("state.json", "0", "").await.generation();
    let query = format!("&ifGenerationMatch={seen}");
    let mut won = 0;
    let tries = (0..16).map(|n| {
        let request = bench.request(Method::POST, &super::bench::upload("state.json", &query));
        tokio::spawn(send(request.body(n.to_string())))
    });
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap().status {
            200 => won += 1,
            status => assert_eq!(status, 412),
        }
    }
    assert_eq!(won, 1);
}
