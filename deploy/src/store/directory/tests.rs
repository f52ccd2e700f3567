//! The conformance suite, and what only a folder can do to a bucket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::store::conformance;

/// A bucket in a folder that goes with the test.
struct Bench {
    folder: TempDir,
    store: Directory,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path().join("bucket")).unwrap();
        Self { folder, store }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    fn slot(&self, name: &str, generation: Generation) -> PathBuf {
        self.store.bucket.slots(name).unwrap().path(generation)
    }

    async fn put(&self, name: &str, data: &[u8]) -> Generation {
        self.store.write(name, data, Expect::Any).await.unwrap()
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind
}

#[tokio::test]
async fn conforms() {
    let bench = Bench::new();
    conformance::run(Arc::new(bench.store.clone()), bench.folder.path()).await;
    let rubbish = fs::read_dir(bench.path("bucket/tmp")).unwrap().count();
    assert_eq!(rubbish, 0, "temporary files are left");
}

#[tokio::test]
async fn is_found_again_by_its_url() {
    let bench = Bench::new();
    let generation = bench.put("state.json", b"1").await;
    let open =
        |url: &str| crate::store::open::<StoreError>(url, || panic!("it is no bucket of Google's"));
    let again = open(&bench.store.url()).unwrap();
    assert_eq!(again.read("state.json").await.unwrap().generation, generation);

    let error = open("s3://bucket").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "cannot open the bucket in s3://bucket: that is no possible name or address"
    );
    assert_eq!(
        error.cause.unwrap().to_string(),
        "only file:///<absolute path> and gs://<name> are known"
    );
}

#[tokio::test]
async fn is_for_its_owner_alone() {
    let bench = Bench::new();
    let generation = bench.put("env/1", b"SECRET=1").await;
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(bench.slot("env/1", generation)), 0o600);
    for folder in ["bucket", "bucket/objects", "bucket/objects/env%2F1", "bucket/tmp"] {
        assert_eq!(mode(bench.path(folder)), 0o700, "{folder}");
    }
}

#[tokio::test]
async fn only_the_newest_reports_are_kept() {
    let bench = Bench::new();
    for number in 0..5 {
        bench.put("fleet/instances/app-1", &[number]).await;
        bench.put("state.json", &[number]).await;
    }
    let kept = bench.store.versions("fleet/instances/app-1").await.unwrap();
    assert_eq!(kept, [Generation(4), Generation(5)]);
    assert_eq!(bench.store.versions("state.json").await.unwrap().len(), 5);
}

/// Its writers look, link and remove under one lock; else a number that was removed in between
/// could be taken a second time.
#[tokio::test]
async fn writers_of_a_pruned_object_wait_for_each_other() {
    let bench = Bench::new();
    let name = "fleet/instances/app-1";
    let first = bench.put(name, b"1").await;
    let folder = fs::File::open(bench.slot(name, first).parent().unwrap()).unwrap();
    folder.lock().unwrap();
    let mut late = bench.store.write(name, b"late", Expect::Generation(first));
    assert!(timeout(Duration::from_millis(100), &mut late).await.is_err());
    // What others do meanwhile.
    for generation in [2, 3, 4].map(Generation) {
        fs::copy(bench.slot(name, first), bench.slot(name, generation)).unwrap();
    }
    bench.store.bucket.slots(name).unwrap().prune(2).unwrap();
    drop(folder);
    assert_eq!(kind(late.await), ErrorKind::Lost);
    assert_eq!(bench.store.versions(name).await.unwrap(), [Generation(3), Generation(4)]);
}

#[tokio::test]
async fn what_a_dead_writer_left_is_removed() {
    let bench = Bench::new();
    let generation = bench.put("state.json", b"1").await;
    // Killed before the link, and between the link and the removal.
    fs::write(bench.path("bucket/tmp/before"), b"half").unwrap();
    fs::hard_link(bench.slot("state.json", generation), bench.path("bucket/tmp/after")).unwrap();
    let again = Directory::open(bench.path("bucket")).unwrap();
    assert_eq!(fs::read_dir(bench.path("bucket/tmp")).unwrap().count(), 0);
    assert_eq!(again.read("state.json").await.unwrap().data, b"1");
}

#[tokio::test]
async fn an_erasure_keeps_the_slot_and_frees_the_bytes() {
    let bench = Bench::new();
    let [first, second] =
        [bench.put("state.json", b"1").await, bench.put("state.json", b"2").await];
    // Damaged or not, it goes.
    fs::write(bench.slot("state.json", first), b"damaged").unwrap();
    bench.store.erase("state.json", first).await.unwrap();
    let mark = fs::read_link(bench.slot("state.json", first)).unwrap();
    assert_eq!(mark, PathBuf::from("erased"));
    assert_eq!(fs::read_dir(bench.path("bucket/tmp")).unwrap().count(), 0);
    assert_eq!(bench.store.versions("state.json").await.unwrap(), [second]);

    // Killed before the rename.
    std::os::unix::fs::symlink("erased", bench.path("bucket/tmp/mark")).unwrap();
    Directory::open(bench.path("bucket")).unwrap();
    assert_eq!(fs::read_dir(bench.path("bucket/tmp")).unwrap().count(), 0);

    fs::remove_dir_all(bench.path("bucket")).unwrap();
    let gone = bench.store.erase("state.json", first).await;
    assert_eq!(kind(gone), ErrorKind::Unavailable);
}

/// Every way to read a damaged object says so, and a write heals it.
async fn assert_damage_is_known(damage: impl Fn(&mut Vec<u8>)) {
    let bench = Bench::new();
    let older = bench.put("state.json", b"whole").await;
    let live = bench.put("state.json", b"some bytes that will be damaged").await;
    let path = bench.slot("state.json", live);
    let mut file = fs::read(&path).unwrap();
    damage(&mut file);
    fs::write(&path, file).unwrap();

    let (store, to) = (&bench.store, bench.path("to"));
    assert_eq!(kind(store.read("state.json").await), ErrorKind::Corrupt);
    assert_eq!(kind(store.read_if_changed("state.json", older).await), ErrorKind::Corrupt);
    assert_eq!(kind(store.read_generation("state.json", live).await), ErrorKind::Corrupt);
    assert_eq!(kind(store.stat("state.json").await), ErrorKind::Corrupt);
    assert_eq!(kind(store.download("state.json", &to, &|_| {}).await), ErrorKind::Corrupt);
    assert_eq!(store.versions("state.json").await.unwrap(), [older, live]);
    assert_eq!(store.list("").await.unwrap().len(), 1);
    assert_eq!(store.read_generation("state.json", older).await.unwrap().data, b"whole");

    let healed = store.write("state.json", b"healed", Expect::Generation(live)).await.unwrap();
    assert_eq!(store.read("state.json").await.unwrap().data, b"healed");
    assert_eq!(healed, Generation(live.0 + 1));
}

#[tokio::test]
async fn a_cut_file_is_known() {
    let whole = 31 + frame::FOOTER_SIZE;
    for size in [0, 1, 30, 31, frame::FOOTER_SIZE, whole - 1] {
        assert_damage_is_known(|file| file.truncate(size)).await;
    }
    assert_damage_is_known(|file| file.push(b'\n')).await;
    assert_damage_is_known(|file| file.fill(0)).await;
}

#[tokio::test]
async fn a_flipped_bit_is_known_wherever_it_is() {
    let whole = 31 + frame::FOOTER_SIZE;
    for byte in (0..whole).step_by(3).chain([30, 31, whole - 1]) {
        assert_damage_is_known(|file| file[byte] ^= 1 << (byte % 8)).await;
    }
}

#[tokio::test]
async fn a_watch_tells_of_damage_once_and_goes_on() {
    let bench = Bench::new();
    let mut watch = bench.store.watch("state.json").unwrap();
    let live = bench.put("state.json", b"1").await;
    fs::write(bench.slot("state.json", live), b"damaged").unwrap();
    assert_eq!(kind(watch.next().await), ErrorKind::Corrupt);
    let quiet = timeout(Duration::from_millis(200), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let (next, live) = tokio::join!(watch.next(), bench.put("state.json", b"2"));
    assert_eq!(next.unwrap(), Object { generation: live, data: b"2".to_vec() });
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_the_kernel_tells_nothing_looks_by_itself() {
    let bench = Bench::new();
    let mut watch = bench.store.watch("state.json").unwrap();
    // The folder that is watched goes, which is told, and another comes in its place.
    fs::remove_dir(bench.path("bucket/objects/state.json")).unwrap();
    let quiet = timeout(Duration::from_secs(60), watch.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let live = bench.put("state.json", b"1").await;
    let next = timeout(Duration::from_secs(6), watch.next()).await.unwrap();
    assert_eq!(next.unwrap().generation, live);
}

#[tokio::test]
async fn a_file_where_a_folder_should_be_is_no_missing_object() {
    let bench = Bench::new();
    fs::write(bench.path("bucket/objects/state.json"), b"").unwrap();
    let store = &bench.store;
    assert_eq!(kind(store.read("state.json").await), ErrorKind::Unavailable);
    assert_eq!(kind(store.stat("state.json").await), ErrorKind::Unavailable);
    let written = store.write("state.json", b"", Expect::Absent).await;
    assert_eq!(kind(written), ErrorKind::Unavailable);
    bench.put("other", b"").await;

    fs::write(bench.path("file"), b"").unwrap();
    let error = Directory::open(bench.path("file")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let cause = error.cause.unwrap().to_string();
    assert!(cause.contains("/file: File exists"), "{cause}");
}

#[tokio::test]
async fn a_bucket_that_was_removed_is_no_empty_one() {
    let bench = Bench::new();
    bench.put("state.json", b"1").await;
    fs::remove_dir_all(bench.path("bucket")).unwrap();
    let written = bench.store.write("state.json", b"2", Expect::Any).await;
    assert_eq!(kind(written), ErrorKind::Unavailable);
    assert_eq!(kind(bench.store.list("").await), ErrorKind::Unavailable);
    assert_eq!(kind(bench.store.read("state.json").await), ErrorKind::Unavailable);
    assert_eq!(kind(bench.store.watch("state.json").map(drop)), ErrorKind::Unavailable);
    assert!(!bench.path("bucket").exists(), "nothing makes it again unasked");
}

/// Runs the test `name` again, in a process for which the folder in `ENGR_TEST_DISK` is a file
/// system of 1 MiB. Gives that folder there, and nothing here.
fn on_small_disk(name: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os("ENGR_TEST_DISK") {
        return Some(disk.into());
    }
    let disk = tempfile::tempdir().unwrap();
    let mut unshare = Command::new("unshare");
    // Whoever is not root becomes it in a name space of its own.
    if !is_root() {
        unshare.arg("--map-root-user");
    }
    let status = unshare
        .args(["--mount", "sh", "-ec"])
        .arg(r#"mount -t tmpfs -o size=1m engr-test "$ENGR_TEST_DISK"; exec "$@""#)
        .arg("sh")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("ENGR_TEST_DISK", disk.path())
        .status()
        .expect("unshare (of util-linux) runs");
    assert!(status.success(), "{name} on a small disk: {status}");
    None
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let name = "store::directory::tests::a_full_disk_loses_nothing";
    let Some(disk) = on_small_disk(name) else { return };
    let store = Directory::open(disk.join("bucket")).unwrap();
    let live = store.write("state.json", b"1", Expect::Any).await.unwrap();
    let big = vec![1; 2 << 20];
    let error = store.write("state.json", &big, Expect::Generation(live)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full);
    assert!(error.cause.is_some());

    // Until not even a small write has room.
    fs::write(disk.join("rest"), &big).unwrap_err();
    let error = store.write("state.json", &[2; 8192], Expect::Generation(live)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full);
    let error = store.upload("a", &disk.join("rest"), Expect::Any, &|_| {}).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full);
    assert_eq!(store.read("state.json").await.unwrap().data, b"1");
    assert_eq!(fs::read_dir(disk.join("bucket/tmp")).unwrap().count(), 0);

    fs::remove_file(disk.join("rest")).unwrap();
    store.write("state.json", b"2", Expect::Generation(live)).await.unwrap();
}

#[tokio::test]
async fn a_read_only_disk_can_be_read() {
    let name = "store::directory::tests::a_read_only_disk_can_be_read";
    let Some(disk) = on_small_disk(name) else { return };
    let store = Directory::open(disk.join("bucket")).unwrap();
    store.write("state.json", b"1", Expect::Any).await.unwrap();
    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk).status().unwrap();
    assert!(remount.success());

    let store = Directory::open(disk.join("bucket")).unwrap();
    assert_eq!(store.read("state.json").await.unwrap().data, b"1");
    let mut watch = store.watch("state.json").unwrap();
    assert_eq!(watch.next().await.unwrap().data, b"1");
    assert_eq!(kind(store.write("state.json", b"2", Expect::Any).await), ErrorKind::Forbidden);
    assert_eq!(kind(store.write("new", b"2", Expect::Any).await), ErrorKind::Forbidden);
    assert_eq!(kind(store.delete("state.json", Expect::Any).await), ErrorKind::Forbidden);
    let error = Directory::open(disk.join("other")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
}
