//! The whole server away, and TLS.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use gcs_server::{Options, Outage, Server, Tls};
use reqwest::{Certificate, Client, Method};

use super::bench::{Bench, install_crypto, send, try_send};

/// Waits for what another thread does.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn address(server: &Server) -> &str {
    server.url().split_once("//").unwrap().1
}

#[tokio::test]
async fn a_status_for_everything() {
    let bench = Bench::new().await;
    let set = bench.call(Method::POST, "/_engr/faults", r#"{"outage": 503}"#).await;
    assert_eq!(set.status, 200);
    assert_eq!(bench.put("a", "1", "").await.status, 503);
    bench.call(Method::POST, "/_engr/faults", r#"{"outage": null}"#).await;
    assert_eq!(bench.put("a", "1", "&ifGenerationMatch=0").await.status, 200);
    let bad = bench.call(Method::POST, "/_engr/faults", r#"{"outage": 7}"#).await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn connections_are_refused_and_come_back_on_the_same_port() {
    let bench = Bench::new().await;
    let kept = TcpStream::connect(address(&bench.server)).unwrap();
    bench.server.faults().set_outage(Outage::Refuse);
    until("connections are refused", || TcpStream::connect(address(&bench.server)).is_err());
    kept.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let ended = std::io::Read::read(&mut &kept, &mut [0]);
    assert!(matches!(ended, Ok(0)) || ended.is_err_and(|e| e.raw_os_error().is_some()));
    let error = try_send(bench.request(Method::GET, "/storage/v1/b/bench")).await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    bench.server.faults().set_outage(Outage::None);
    until("connections are taken", || TcpStream::connect(address(&bench.server)).is_ok());
    assert_eq!(bench.get("/storage/v1/b/bench").await.status, 200);
}

#[tokio::test]
async fn tls() {
    install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let options = Options { tls: Some(Tls::of_tests()), ..Options::new(dir.path()) };
    let server = Server::start(options).unwrap();
    assert!(server.url().starts_with("https://"));
    let authority = std::fs::read(Tls::test_authority()).unwrap();
    let authority = Certificate::from_pem(&authority).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    let url = format!("{}/storage/v1/b?project=p", server.url());
    assert_eq!(send(client.get(&url)).await.status, 200);
    // One connection is enough for many calls.
    assert_eq!(send(client.get(&url)).await.status, 200);
    assert_eq!(server.stats().counts().connections, 1);
    let missing = Tls { cert: "/none".into(), key: "/none".into() };
    let options = Options { tls: Some(missing), ..Options::new(dir.path()) };
    assert!(Server::start(options).unwrap_err().to_string().contains("/none"));
}

#[tokio::test]
async fn a_bucket_vanishes_and_returns() {
    let bench = Bench::new().await;
    bench.put("a", "1", "").await.generation();
    bench.server.faults().hide_buckets(["bench".to_owned()]);
    let gone = bench.read("a", "").await;
    assert_eq!((gone.status, gone.text()), (404, "The specified bucket does not exist."));
    assert_eq!(bench.put("a", "2", "").await.status, 404);
    assert_eq!(bench.get("/storage/v1/b/bench").await.reason(), "notFound");
    let back = bench.call(Method::POST, "/_engr/faults", r#"{"hidden_buckets": []}"#).await;
    assert_eq!(back.status, 200);
    assert_eq!(bench.read("a", "").await.text(), "1");
}

#[tokio::test]
async fn a_clock_that_is_wrong() {
    let bench = Bench::new().await;
    let before = deploy::Timestamp::now();
    bench.call(Method::POST, "/_engr/faults", r#"{"clock_skew_secs": 864000}"#).await;
    let put = bench.put("a", "1", "").await;
    let created: deploy::Timestamp = put.json()["timeCreated"].as_str().unwrap().parse().unwrap();
    assert!(created > before + Duration::from_secs(863_990), "{created}");
    let told = |date: &str| {
        deploy::Timestamp::strptime("%a, %d %b %Y %H:%M:%S %z", date.replace("GMT", "+0000"))
    };
    assert!(told(put.header("date")).unwrap() > before + Duration::from_secs(863_990));
    bench.server.faults().clear();
    let right = told(bench.read("a", "").await.header("date")).unwrap();
    assert!(right < before + Duration::from_secs(3600));
}
