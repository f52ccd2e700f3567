//! From source to archive, with the real compilers.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::engr::{Place, Transcript, binary, needs};

const GO_MAIN: &str = r#"package main

import (
	"fmt"
	"runtime"
)

func main() {
	_, file, line, _ := runtime.Caller(0)
	fmt.Println("hello from", file, line)
}
"#;

const RUST_MAIN: &str = r#"fn main() {
    let words: Vec<String> = std::env::args().collect();
    assert!(words.len() < 10, "too many in {}", file!());
    println!("hello from {}", words[0]);
}
"#;

fn go_app() -> Place {
    needs("go", "version");
    let place = Place::new();
    place.write("go.mod", "module example.com/hello\n\ngo 1.21\n");
    place.write("cmd/hello/main.go", GO_MAIN);
    place.write("static/index.html", "<p>hello</p>\n");
    place.write(
        "engr.json",
        r#"{"apps": {"hello": {"project": "local", "package": "./cmd/hello", "include": ["static"]}}}"#,
    );
    place
}

fn rust_app(folder: &str) -> Place {
    let place = Place::new();
    let in_folder = |path: &str| format!("{folder}{path}");
    place.write(
        &in_folder("Cargo.toml"),
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n",
    );
    place.write(&in_folder("src/main.rs"), RUST_MAIN);
    place.write(
        &in_folder("engr.json"),
        r#"{"apps": {"hello": {"project": "local", "package": "hello"}}}"#,
    );
    place
}

fn build(place: &Place, folder: &str) -> Transcript {
    place.engr_in(folder, &["hello", "deploy", "--build-only", "--json"])
}

/// The archive that a build made: its digest and its bytes.
fn archive(place: &Place, built: &Transcript) -> (String, Vec<u8>) {
    assert_eq!(built.code, Some(0), "{built}");
    let result = built.result();
    let path = result["path"].as_str().expect("a path");
    let path = path.replace("WORK", &place.path().to_string_lossy());
    let digest = result["artifact"].as_str().expect("a digest");
    (digest.to_owned(), fs::read(path).expect("the archive"))
}

/// Everything that the build failed with.
fn failure(built: &Transcript) -> String {
    let result = built.result();
    let hints = result["hints"].as_array().into_iter().flatten();
    let hints = hints.map(|hint| format!("\n-> {}", hint.as_str().expect("a text")));
    let error = result["error"].as_str().expect("an error");
    format!("({}) {error}{}", built.code.expect("a code"), hints.collect::<String>())
}

#[test]
fn the_same_go_source_gives_the_same_bytes_in_another_folder_and_at_another_time() {
    let (one, other) = (go_app(), go_app());
    let first = archive(&one, &build(&one, "."));
    // The other's files are younger by a day, and its folder has another name.
    let tomorrow = fs::FileTimes::new()
        .set_modified(std::time::SystemTime::now() + Duration::from_secs(86_400));
    for file in ["cmd/hello/main.go", "static/index.html"] {
        fs::File::options()
            .append(true)
            .open(other.path().join(file))
            .unwrap()
            .set_times(tomorrow)
            .unwrap();
    }
    assert!(first == archive(&other, &build(&other, ".")), "the archives differ");
    assert!(first == archive(&one, &build(&one, ".")), "the second archive differs");
    one.write("static/index.html", "<p>hello!</p>\n");
    assert_ne!(first.0, archive(&one, &build(&one, ".")).0);
}

#[test]
fn the_same_rust_source_gives_the_same_bytes_in_another_folder_and_home() {
    let (one, other) = (rust_app(""), rust_app("deeper/down/"));
    let first = archive(&one, &build(&one, "."));
    let args = ["hello", "deploy", "--build-only", "--json"];
    let mut command = other.command(binary("engr"));
    command.args(args).current_dir(other.path().join("deeper/down"));
    command.env("CARGO_HOME", other.temporary());
    let second = other.transcript(&args, &command.output().expect("engr runs"));
    assert!(first == archive(&other, &second), "the archives differ");
}

#[test]
fn a_missing_toolchain_is_named_with_where_to_get_it() {
    let place = Place::new();
    place.write("go.mod", "module example.com/hello\n");
    place.write("engr.json", r#"{"apps": {"hello": {"project": "local", "package": "."}}}"#);
    let mut command = place.command(binary("engr"));
    // The shell's own folders, which have no Go, would do; an empty one is sure.
    let output = command.args(["hello", "deploy", "--build-only"]).env("PATH", place.temporary());
    let built = place.transcript(&["hello", "deploy", "--build-only"], &output.output().unwrap());
    insta::assert_snapshot!(built, @r"
    $ engr hello deploy --build-only
    ! engr: go is not installed, or not in PATH
    !   → install Go: https://go.dev/dl
    (10)
    ");
}

#[test]
fn the_compilers_own_words_come_through_and_one_line_ends_them() {
    let place = go_app();
    place.write("cmd/hello/main.go", "package main\n\nfunc main() { nothing() }\n");
    let built = build(&place, ".");
    assert!(built.stderr.contains("main.go:3:15: undefined: nothing"), "{built}");
    insta::assert_snapshot!(failure(&built), @r"
    (10) go build failed (exit status: 1)
    -> the compiler's words are above; nothing was published
    ");
    place.write("cmd/hello/main.go", "package hello\n");
    insta::assert_snapshot!(failure(&build(&place, ".")), @r"
    (10) what `package` names is no Go program: it makes no executable
    -> name the folder or import path of a `package main`
    ");
}

#[test]
fn a_command_of_the_apps_own_builds_anything() {
    let place = Place::new();
    let app = |command: &str, arch: &str| {
        let app = serde_json::json!({"apps": {"hello": {
            "project": "local", "arch": arch, "build": {"command": command, "output": "out/app"},
        }}});
        place.write("engr.json", &app.to_string());
        build(&place, ".")
    };
    let script = "mkdir -p out && printf '#!/bin/sh\\necho hi\\n' > out/app";
    assert_eq!(app(&format!("{script} && chmod +x out/app"), "amd64").code, Some(0));
    insta::assert_snapshot!(failure(&app("chmod -x out/app", "amd64")), @r"
    (10) WORK/out/app is not marked as executable
    -> let the build end with `chmod +x WORK/out/app`
    ");
    insta::assert_snapshot!(failure(&app("rm out/app", "amd64")), @r"
    (10) `build.command` made no file WORK/out/app
    -> `build.output` is the executable's path from the folder of engr.json
    ");
    insta::assert_snapshot!(failure(&app("echo broken; exit 3", "amd64")), @r"
    (10) the command of `build.command` failed (exit status: 3): echo broken; exit 3
    -> what it said is above; nothing was published
    ");
    let foreign = format!("cp {} out/app", binary("engr").display());
    let other = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    let told = failure(&app(&foreign, other));
    assert!(told.contains("is built for") && told.starts_with("(10)"), "{told}");
}

#[test]
fn a_work_tree_with_changes_is_deployed_only_by_request() {
    needs("git", "--version");
    let place = Place::new();
    place.write("engr.json", r#"{"apps": {"hello": {"project": "local", "package": "."}}}"#);
    let git = |args: &[&str]| {
        let names =
            ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
        let mut git = place.command("git");
        let output = git.args(args).envs(names.map(|name| (name, "tester"))).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "--quiet"]);
    git(&["add", "engr.json"]);
    git(&["commit", "--quiet", "--message", "first"]);
    // A file that git does not track makes no tree dirty, and with it the build is reached.
    place.write("notes", "");
    let no_source = "! engr: neither go.mod nor Cargo.toml is in WORK or above it\n";
    assert!(place.session(&["hello deploy"]).contains(no_source));
    place.write("engr.json", r#"{"apps":  {"hello": {"project": "local", "package": "."}}}"#);
    assert!(place.session(&["hello deploy --allow-dirty"]).contains(no_source));
    insta::assert_snapshot!(place.session(&["hello deploy"]), @r"
    $ engr hello deploy
    ! engr: the git work tree has changes that are not committed
    !   → commit them, or deploy them all the same with --allow-dirty
    (2)
    ");
}

#[test]
fn an_interrupted_build_ends_its_compiler_and_leaves_nothing() {
    let place = Place::new();
    let command = "echo $$ > pid && (sleep 600 & echo $! > child; wait)";
    let app = serde_json::json!({"apps": {"hello": {
        "project": "local", "build": {"command": command, "output": "app"},
    }}});
    place.write("engr.json", &app.to_string());
    let mut engr = place.command(binary("engr"));
    engr.args(["hello", "deploy", "--build-only"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut engr = engr.process_group(0).spawn().unwrap();
    let pid_in = |file: &str| -> Option<i32> {
        fs::read_to_string(place.path().join(file)).ok()?.trim().parse().ok()
    };
    wait_until("the compiler runs", || pid_in("child").is_some());
    let pids = [pid_in("pid").unwrap(), pid_in("child").unwrap()];
    kill(Pid::from_raw(i32::try_from(engr.id()).unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(engr.wait().unwrap().code(), Some(130));
    wait_until("the compiler has ended", || !pids.into_iter().any(is_running));
    let left: Vec<_> =
        fs::read_dir(place.temporary()).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whether the process is there and has not ended: a zombie that nobody reaped has.
fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
