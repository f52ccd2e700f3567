//! What outlives the server.

use deploy::store::{Directory, Expect, Store};
use gcs_server::{Options, Server};
use reqwest::Method;

use super::bench::Bench;

#[tokio::test]
async fn a_server_that_is_started_anew_knows_everything() {
    let mut bench = Bench::new().await;
    let first = bench.put("a", "1", "").await.generation();
    let second = bench.put("a", "2", "").await.generation();
    bench.call(Method::PATCH, "/storage/v1/b/bench/o/a", r#"{"metadata": {"x": "1"}}"#).await;
    bench.put("b", "1", "").await.generation();
    bench.delete("/storage/v1/b/bench/o/b").await;
    bench.put("c", "1", "").await.generation();
    let path = format!("/storage/v1/b/bench/o/a?generation={first}");
    assert_eq!(bench.delete(&path).await.status, 204);
    let listing =
        "/storage/v1/b/bench/o?versions=true&fields=items(name,generation,metadata,timeDeleted)";
    let before = bench.get(listing).await.json();
    let facts = bench.get("/storage/v1/b/bench?fields=metageneration,timeCreated,versioning").await;

    let Bench { server, dir, http } = bench;
    drop(server);
    bench = Bench { server: Server::start(Options::new(dir.path())).unwrap(), dir, http };
    assert_eq!(bench.get(listing).await.json(), before);
    let again = bench.get("/storage/v1/b/bench?fields=metageneration,timeCreated,versioning").await;
    assert_eq!(again.json(), facts.json());
    let query = format!("&ifGenerationMatch={second}");
    assert!(bench.put("a", "3", &query).await.generation() > second);
}

#[tokio::test]
async fn a_write_that_the_server_did_not_live_to_note_is_there() {
    let bench = Bench::new().await;
    bench.put("a", "1", "").await.generation();
    let Bench { server, dir, http } = bench;
    let data = server.bucket_dir("bench");
    drop(server);
    let directory = Directory::open(&data).unwrap();
    assert_eq!(directory.read("a").await.unwrap().data, b"1");
    directory.write("a", b"2", Expect::Any).await.unwrap();
    directory.write("b", b"3", Expect::Any).await.unwrap();
    let bench = Bench { server: Server::start(Options::new(dir.path())).unwrap(), dir, http };
    assert_eq!(bench.read("a", "").await.text(), "2");
    assert_eq!(bench.read("b", "").await.text(), "3");
    let versions = bench.get("/storage/v1/b/bench/o?versions=true").await.json();
    assert_eq!(versions["items"].as_array().unwrap().len(), 3);
}

#[test]
fn a_folder_that_is_not_a_servers_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("buckets/My Photos")).unwrap();
    let error = Server::start(Options::new(dir.path())).unwrap_err();
    assert!(error.to_string().contains("My Photos"), "{error}");
    assert!(dir.path().join("buckets/My Photos").exists());
}

#[test]
fn two_servers_cannot_have_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Server::start(Options::new(dir.path())).unwrap();
    let error = Server::start(Options::new(dir.path())).unwrap_err();
    assert!(error.to_string().contains("another server's"), "{error}");
    drop(first);
    Server::start(Options::new(dir.path())).unwrap();
}
