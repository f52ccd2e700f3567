//! Google's Python client, `google-cloud-storage`, makes a round through the server.
//!
//! It was written for the real service and knows nothing of this one, so the server is not just
//! the mirror of our own client. `tests/run` installs it, and so does this test where it is
//! missing; where that cannot be done the test fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gcs_server::{Kind, Options, Rule, Server, Tls};

/// The Python that has the client.
fn python() -> PathBuf {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools");
    let environment = tools.join("gcs-python");
    let installed = Command::new(ours("install")).arg(&environment).output().expect("bash runs");
    assert!(
        installed.status.success(),
        "Google's Python client cannot be installed into {}: it takes python3 with venv, and \
         PyPI.\n{}",
        environment.display(),
        String::from_utf8_lossy(&installed.stderr),
    );
    environment.join("bin/python")
}

fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}

/// Makes the round, and gives what it printed.
fn round(server: &Server, home: &Path) -> String {
    let output = Command::new(python())
        .arg("-I")
        .arg(ours("round.py"))
        .arg(server.url())
        // It must find no credentials, no proxy, and above all no metadata server: some machines
        // have one that answers.
        .env_clear()
        .env("HOME", home)
        .env("NO_GCE_CHECK", "true")
        .env("GCE_METADATA_HOST", "127.0.0.1:1")
        .env("NO_PROXY", "*")
        .env("REQUESTS_CA_BUNDLE", Tls::test_authority())
        .stdin(Stdio::null())
        .output()
        .expect("the Python starts");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{told}{errors}", output.status);
    told
}

#[test]
fn a_round_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Options::new(dir.path().join("server"))).unwrap();
    let told = round(&server, dir.path());
    assert_eq!(told, "google-cloud-storage 3.17.1: the round is whole\n");
    // What it was meant to try, it has tried.
    let counts = server.stats().counts();
    let kinds = [
        "buckets.insert",
        "buckets.get",
        "buckets.patch",
        "buckets.list",
        "buckets.delete",
        "buckets.testIamPermissions",
        "objects.insert multipart",
        "objects.insert resumable",
        "upload put",
        "objects.get",
        "objects.get media",
        "objects.list",
        "objects.patch",
        "objects.delete",
    ];
    for kind in kinds {
        assert!(counts.of(kind) > 0, "{kind}: {counts:?}");
    }
    assert_eq!(counts.of("unknown"), 0, "{counts:?}");
    let left = std::fs::read_dir(dir.path().join("server/buckets")).unwrap().count();
    assert_eq!(left, 0, "the round removes its bucket");
}

#[test]
fn a_round_is_whole_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { tls: Some(Tls::of_tests()), ..Options::new(dir.path().join("server")) };
    round(&Server::start(options).unwrap(), dir.path());
}

#[test]
fn a_round_survives_what_the_client_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Options::new(dir.path().join("server"))).unwrap();
    // The client tries reads again on these; of changes not all.
    let mut reads = Rule::new([Kind::UnavailableBefore, Kind::CutBefore]).by_chance(0.2, 7);
    reads.matches.method = Some("GET".to_owned());
    server.faults().add(reads.times(3));
    round(&server, dir.path());
    assert_eq!(server.faults().injected().values().sum::<u64>(), 3);
}
