//! What befalls calls on request, and what has happened by then.

use std::time::{Duration, Instant};

use gcs_server::{Kind, Match, Rule};
use reqwest::Method;
use serde_json::json;

use super::bench::{Bench, send, try_send, upload};

fn once(kind: Kind) -> Rule {
    Rule::new([kind]).times(1)
}

#[tokio::test]
async fn refusals_do_nothing() {
    let bench = Bench::new().await;
    for (kind, status, reason) in [
        (Kind::LostPrecondition, 412, "conditionNotMet"),
        (Kind::TooManyRequests, 429, "rateLimitExceeded"),
        (Kind::InternalError, 500, "internalError"),
        (Kind::UnavailableBefore, 503, "backendError"),
        (Kind::ExpiredToken, 401, "authError"),
    ] {
        bench.server.faults().add(once(kind));
        let refused = bench.put("a", "1", "&ifGenerationMatch=0").await;
        assert_eq!((refused.status, refused.reason().as_str()), (status, reason), "{kind}");
        assert_eq!(bench.read("a", "").await.status, 404, "{kind}");
        assert_eq!(bench.server.faults().injected()[&kind], 1);
    }
    bench.server.faults().add(once(Kind::TooManyRequests));
    assert_eq!(bench.read("a", "").await.header("retry-after"), "1");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done() {
    let bench = Bench::new().await;
    bench.server.faults().add(once(Kind::UnavailableAfter));
    assert_eq!(bench.put("a", "1", "&ifGenerationMatch=0").await.status, 503);
    assert_eq!(bench.read("a", "").await.text(), "1");
    bench.server.faults().add(once(Kind::CutAfter));
    let request = bench.request(Method::POST, &upload("b", "&ifGenerationMatch=0")).body("2");
    try_send(request).await.unwrap_err();
    assert_eq!(bench.read("b", "").await.text(), "2");
}

#[tokio::test]
async fn cuts_before_and_in_the_middle() {
    let bench = Bench::new().await;
    bench.server.faults().add(once(Kind::CutBefore));
    let request = bench.request(Method::POST, &upload("a", "")).body("1");
    try_send(request).await.unwrap_err();
    bench.server.faults().add(once(Kind::CutInUpload));
    let request = bench.request(Method::POST, &upload("a", "")).body(vec![b'x'; 1 << 20]);
    try_send(request).await.unwrap_err();
    assert_eq!(bench.read("a", "").await.status, 404);

    let data = "x".repeat(100_000);
    bench.put("a", &data, "").await.generation();
    bench.server.faults().add(once(Kind::CutInAnswer));
    let url = format!("{}/storage/v1/b/bench/o/a?alt=media", bench.server.url());
    let mut response = bench.http.get(url).send().await.unwrap();
    assert_eq!(response.content_length(), Some(100_000));
    let mut came = 0;
    let ended = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => came += chunk.len(),
            ended => break ended,
        }
    };
    assert!(ended.is_err(), "{came} bytes came, and no failure");
    assert_eq!(came, 50_000);
}

#[tokio::test]
async fn a_session_keeps_what_came_before_the_cut() {
    let bench = Bench::new().await;
    let path = "/upload/storage/v1/b/bench/o?uploadType=resumable&name=big";
    let session = bench.call(Method::POST, path, "").await.header("location").to_owned();
    let data: Vec<u8> = (0..4 << 20).map(|n: u32| (n >> 8) as u8).collect();
    bench.server.faults().add(once(Kind::CutInUpload).on(Match::object("big")));
    let put = |range: String, body: Vec<u8>| {
        bench.http.put(&session).header("content-range", range).body(body)
    };
    let total = data.len();
    try_send(put(format!("bytes 0-{}/{total}", total - 1), data.clone())).await.unwrap_err();
    let asked = send(put(format!("bytes */{total}"), vec![])).await;
    assert_eq!(asked.status, 308);
    let kept: usize = asked.header("range")["bytes=0-".len()..].parse::<usize>().unwrap() + 1;
    assert!(kept >= total / 2 - (256 << 10) && kept < total, "{kept}");
    assert_eq!(kept % (256 << 10), 0);
    let rest = format!("bytes {kept}-{}/{total}", total - 1);
    send(put(rest, data[kept..].to_vec())).await.generation();
    assert_eq!(bench.read("big", "").await.body, data);
}

#[tokio::test]
async fn late_stale_and_wrong() {
    let bench = Bench::new().await;
    bench.put("a", "0123456789", "").await.generation();
    bench.server.faults().add(once(Kind::Slow).late_by(Duration::from_millis(200)));
    let begun = Instant::now();
    assert_eq!(bench.read("a", "").await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(200));

    bench.server.faults().add(once(Kind::FlippedByte));
    // Where there is no byte to flip, it waits for one.
    assert_eq!(bench.read("nothing", "").await.status, 404);
    assert!(!bench.server.faults().injected().contains_key(&Kind::StaleList));
    let wrong = bench.read("a", "").await;
    let differ = wrong.body.iter().zip(b"0123456789").filter(|(a, b)| a != b).count();
    assert_eq!((wrong.body.len(), differ), (10, 1));
    assert!(wrong.header("x-goog-hash").starts_with("crc32c=KAwGng=="));

    let listing = "/storage/v1/b/bench/o?fields=items(name)";
    bench.server.faults().add(once(Kind::StaleList));
    let before = bench.get(listing).await.json();
    bench.put("b", "1", "").await.generation();
    assert_eq!(bench.get(listing).await.json(), before);
    assert_eq!(bench.get(listing).await.json()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn rules_come_over_the_wire_and_fit_what_they_name() {
    let bench = Bench::new().await;
    let rule = json!({"probability": 1, "kinds": ["internal-error"], "seed": 1, "count": 2,
        "match": {"method": "POST", "path_prefix": "/upload/", "name": "state.json"}});
    let told = bench.call(Method::POST, "/_engr/faults", rule.to_string()).await;
    assert_eq!(told.json(), json!({"injected": {}, "outage": "none"}));
    assert_eq!(bench.put("other", "1", "").await.status, 200);
    assert_eq!(bench.read("state.json", "").await.status, 404);
    assert_eq!(bench.put("state.json", "1", "").await.status, 500);
    // The name can be in the body alone.
    let path = "/upload/storage/v1/b/bench/o?uploadType=multipart";
    let body = "--x\r\n\r\n{\"name\": \"state.json\"}\r\n--x\r\n\r\n1\r\n--x--";
    let multipart = || {
        let request = bench.request(Method::POST, path).body(body);
        request.header("content-type", "multipart/related; boundary=x")
    };
    assert_eq!(send(multipart()).await.status, 500);
    assert_eq!(send(multipart()).await.status, 200);
    let told = bench.get("/_engr/faults").await.json();
    assert_eq!(told["injected"], json!({"internal-error": 2}));

    let stats = bench.get("/_engr/stats").await.json();
    assert_eq!(stats["calls"]["POST objects.insert multipart"], 2);
    assert_eq!(stats["calls"]["POST objects.insert media"], 2);
    assert_eq!(stats["calls"]["GET objects.get media"], 1);
    assert!(stats["bytes_in"].as_u64() > Some(500) && stats["bytes_out"].as_u64() > Some(500));
    let counts = bench.server.stats().counts();
    assert_eq!(counts.of("objects.insert media"), 2);
    bench.server.stats().reset();
    assert_eq!(bench.server.stats().counts().total(), 0);
}

#[tokio::test]
async fn a_seed_gives_the_same_faults_again() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let bench = Bench::new().await;
        let kinds = [Kind::InternalError, Kind::UnavailableBefore, Kind::TooManyRequests];
        bench.server.faults().add(Rule::new(kinds).by_chance(0.3, 42));
        let mut statuses = Vec::new();
        for _ in 0..60 {
            statuses.push(bench.read("a", "").await.status);
        }
        let befallen = statuses.iter().filter(|status| **status != 404).count();
        assert!((6..36).contains(&befallen), "{befallen} of 60 at 0.3");
        bench.server.faults().clear();
        assert_eq!(bench.read("a", "").await.status, 404);
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
}
