//! The store on Cloud Storage while its service fails: each fault by itself, and what callers are
//! told.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use deploy::publish::{SwapError, swap};
use deploy::store::gcs::bucket::NewBucket;
use deploy::store::gcs::{Access, Gcs};
use deploy::store::{ErrorKind, Expect, Result, Store, with_tries};
use deploy::{Digest, layout};
use gcs_server::{Kind, Match, Options, Outage, Rule, Server};
use tempfile::TempDir;

/// A server and an empty bucket on it.
struct Bench {
    gcs: Gcs,
    server: Server,
    folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(Options::new(folder.path().join("gcs"))).expect("a server");
        let gcs = Gcs::new("a-bucket", Access::anonymous(server.url())).expect("an address");
        let location = "US-CENTRAL1".to_owned();
        let new = NewBucket { project: "shop".to_owned(), app: "hello".to_owned(), location };
        gcs.create(&new).await.expect("the bucket is made");
        Self { gcs, server, folder }
    }

    /// The next calls that fit meet this fault, so often.
    fn next(&self, kind: Kind, times: u64) {
        self.server.faults().clear();
        self.server.faults().add(Rule::new([kind]).times(times).late_by(Duration::from_secs(1)));
    }

    fn met(&self, kind: Kind) -> u64 {
        self.server.faults().injected().get(&kind).copied().unwrap_or_default()
    }

    fn file(&self, name: &str, size: usize) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        let data: Vec<u8> = (0..size).map(|at| (at * 7 + at / 251) as u8).collect();
        std::fs::write(&path, data).expect("a file");
        path
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("the call fails").kind
}

/// One attempt tells what befell it.
#[tokio::test]
async fn each_fault_has_its_kind() {
    let bench = Bench::new().await;
    let gcs = &bench.gcs;
    gcs.write("x", b"1", Expect::Absent).await.expect("written");
    for (fault, expected) in [
        (Kind::TooManyRequests, ErrorKind::Unavailable),
        (Kind::InternalError, ErrorKind::Unavailable),
        (Kind::UnavailableBefore, ErrorKind::Unavailable),
        (Kind::UnavailableAfter, ErrorKind::Unavailable),
        (Kind::CutBefore, ErrorKind::Unavailable),
        (Kind::CutAfter, ErrorKind::Unavailable),
        (Kind::ExpiredToken, ErrorKind::Unauthenticated),
    ] {
        for call in ["read", "write", "list", "stat", "delete"] {
            bench.next(fault, 1);
            let told = match call {
                "read" => kind(gcs.read("x").await),
                "write" => kind(gcs.write("y", b"2", Expect::Any).await),
                "list" => kind(gcs.list("").await),
                "stat" => kind(gcs.stat("x").await),
                _ => kind(gcs.delete("y", Expect::Any).await),
            };
            assert_eq!(told, expected, "{fault} in {call}");
            bench.server.faults().clear();
            gcs.write("y", b"2", Expect::Any).await.expect("written");
        }
    }
    bench.next(Kind::LostPrecondition, 1);
    assert_eq!(kind(gcs.write("z", b"", Expect::Absent).await), ErrorKind::Lost);
    bench.next(Kind::FlippedByte, 1);
    assert_eq!(kind(gcs.read("x").await), ErrorKind::Corrupt);
    // A range is asked for again where the connection was cut in it.
    let long = vec![7; 256 << 10];
    gcs.write("long", &long, Expect::Absent).await.expect("written");
    bench.next(Kind::CutInAnswer, 1);
    assert!(gcs.read("long").await.expect("it goes on").data == long);
    bench.next(Kind::Slow, 1);
    assert_eq!(gcs.read("x").await.expect("late, and whole").data, b"1");
}

#[tokio::test]
async fn tries_are_bounded_and_wait_as_long_as_the_service_asks() {
    let bench = Bench::new().await;
    let write = async || with_tries(async || bench.gcs.write("x", b"", Expect::Any).await).await;
    bench.next(Kind::TooManyRequests, 1);
    let began = Instant::now();
    write().await.expect("the second try goes through");
    assert!(began.elapsed() >= Duration::from_secs(1), "Retry-After is 1 s");
    bench.next(Kind::CutBefore, 6);
    write().await.expect("the seventh try goes through");
    bench.server.faults().set_outage(Outage::Refuse);
    assert_eq!(kind(write().await), ErrorKind::Unavailable);
    bench.server.faults().set_outage(Outage::None);
    write().await.expect("it is back");
}

/// Whatever becomes of the answer, a step is taken once, and its taker knows.
#[tokio::test]
async fn a_step_whose_answer_is_lost_is_known_to_be_taken() {
    let bench = Bench::new().await;
    for (number, fault) in
        [Kind::UnavailableAfter, Kind::CutAfter, Kind::CutInAnswer, Kind::LostPrecondition]
            .into_iter()
            .enumerate()
    {
        bench.server.faults().clear();
        let on = Match::object(layout::STATE).method("POST");
        bench.server.faults().add(Rule::new([fault]).times(1).on(on));
        let mut called = 0;
        let step = |state: deploy::state::State| {
            called += 1;
            let numbers_taken = state.numbers_taken + 1;
            Ok::<_, Infallible>(deploy::state::State { numbers_taken, ..state })
        };
        let swapped: std::result::Result<_, SwapError<Infallible>> =
            swap(&bench.gcs, "hello", step).await;
        let swapped = swapped.unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert_eq!(bench.met(fault), 1, "{fault}");
        let taken = number as u64 + 1;
        assert_eq!(swapped.state.numbers_taken, taken, "{fault}: once, and only once");
        let live = bench.gcs.read(layout::STATE).await.expect("a state");
        assert_eq!(live.generation, swapped.generation, "{fault}");
        // Nothing was done under a precondition that was lost, so the step is decided anew.
        assert_eq!(called, if fault == Kind::LostPrecondition { 2 } else { 1 }, "{fault}");
        let versions = bench.gcs.versions(layout::STATE).await.expect("versions");
        assert_eq!(versions.len() as u64, taken, "{fault}");
    }
}

/// An upload that is cut goes on where it was, and does not send again what has arrived.
#[tokio::test]
async fn a_cut_upload_is_resumed() {
    const SIZE: usize = 6 << 20;
    let bench = Bench::new().await;
    let from = bench.file("from", SIZE);
    bench.server.faults().clear();
    let on = Match { call: Some("upload put".to_owned()), ..Match::default() };
    bench.server.faults().add(Rule::new([Kind::CutInUpload]).times(2).on(on));
    let told = Mutex::new(Vec::new());
    let before = bench.server.stats().counts();
    let progress = |done| told.lock().expect("not poisoned").push(done);
    let up = bench.gcs.upload("big", &from, Expect::Absent, &progress).await.expect("uploaded");
    assert_eq!(bench.met(Kind::CutInUpload), 2);
    let sent = bench.server.stats().counts().bytes_in - before.bytes_in;
    assert!(sent < SIZE as u64 * 3 / 2, "{sent} bytes for {SIZE}");
    let told = told.into_inner().expect("not poisoned");
    assert!(told.is_sorted() && told.last() == Some(&(SIZE as u64)), "{told:?}");
    assert_down(&bench, "big", up, &from).await;
}

async fn assert_down(bench: &Bench, name: &str, up: deploy::store::Generation, from: &Path) {
    let to = bench.folder.path().join("to");
    let down = bench.gcs.download(name, &to, &|_| {}).await.expect("downloaded");
    assert_eq!(down, up);
    let digest = |path: &Path| Digest::of(&std::fs::read(path).expect("a file"));
    assert_eq!(digest(&to), digest(from));
}

/// A download that is cut goes on with the rest.
#[tokio::test]
async fn a_cut_download_is_resumed() {
    let bench = Bench::new().await;
    let from = bench.file("from", 4 << 20);
    let up = bench.gcs.upload("big", &from, Expect::Absent, &|_| {}).await.expect("uploaded");
    bench.next(Kind::CutInAnswer, 2);
    assert_down(&bench, "big", up, &from).await;
    assert_eq!(bench.met(Kind::CutInAnswer), 2);
}
