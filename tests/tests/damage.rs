//! What lies on disks goes wrong: full, read-only, cut short, a bit flipped. No wrong byte runs,
//! the old release serves on, the message says what happened, and a deploy mends it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use deploy::layout;
use deploy::store::Expect;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::engr::{Transcript, binary};
use tests::fleet::{Fleet, blocking, end, until};
use tests::mounts::Mounts;

/// A small app: its archive, and so its damage, is quickly made.
fn fleet(instances: u32) -> Fleet {
    let mut fleet = Fleet::new(instances);
    fleet.program(&binary("plain-listen-fds"));
    fleet.set("health", json!({"path": "/health"}));
    fleet
}

/// The file that holds the newest generation of an object.
fn newest(fleet: &Fleet, object: &str) -> PathBuf {
    let entries = fs::read_dir(fleet.object_folder(object)).expect("the object");
    let files = entries.map(|entry| entry.expect("a generation").path());
    files.max().expect("a generation")
}

/// Objects are read-only by agreement alone, and the bucket links none of them.
fn flip_a_bit(file: &Path) {
    let middle = fs::metadata(file).expect("the file").len() / 2;
    let file = OpenOptions::new().read(true).write(true).open(file).expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("a byte");
    file.write_all_at(&[byte[0] ^ 0x10], middle).expect("the byte");
}

fn cut_short(file: &Path) {
    let length = fs::metadata(file).expect("the file").len();
    let file = OpenOptions::new().write(true).open(file).expect("the file");
    file.set_len(length / 2).expect("half of it");
}

#[track_caller]
fn assert_says(done: &Transcript, code: i32, says: &[&str]) {
    assert_eq!(done.code, Some(code), "{done}");
    for said in says {
        assert!(done.to_string().contains(said), "no {said:?} in:\n{done}");
    }
}

/// Deploys another artifact, which `damage` befalls in the bucket before an agent can have it: they
/// are stopped meanwhile.
fn deploy_and(fleet: &Fleet, tag: &str, damage: impl Fn(&str)) -> Transcript {
    fleet.tag(tag);
    let agents: Vec<_> = fleet.status().instances.iter().filter_map(|one| one.agent_pid).collect();
    let send = |signal| {
        for agent in &agents {
            kill(Pid::from_raw(agent.cast_signed()), signal).expect("the agent is there");
        }
    };
    send(Signal::SIGSTOP);
    let current = fleet.status().release;
    let deploy = fleet.start(&["deploy"]);
    until("it is published", || (fleet.status().release > current).then_some(()));
    let state = blocking(deploy::publish::load(&*fleet.store(), "shop")).expect("the state").state;
    damage(&layout::artifact(&state.release.expect("a release").artifact.digest));
    send(Signal::SIGCONT);
    deploy.wait(fleet.place())
}

#[test]
fn a_damaged_artifact_never_runs_and_a_deploy_heals_it() {
    let fleet = fleet(2);
    let mut serves = fleet.deploy();
    for (tag, damage) in [("cut", cut_short as fn(&Path)), ("flipped", flip_a_bit)] {
        let done = deploy_and(&fleet, tag, |artifact| damage(&newest(&fleet, artifact)));
        let says = ["failed to fetch:", "damaged", &format!("v{serves} serves on")];
        assert_says(&done, 20, &says);
        assert_eq!(fleet.get("/").expect("an answer").release(), Some(serves));
        let healed = fleet.must(&["deploy"]);
        assert!(!healed.stdout.contains("nothing to upload"), "{healed}");
        serves += 2;
        fleet.assert_serves(serves);
    }
}

/// The store vouches for these bytes. They are not what the release names.
#[test]
fn an_artifact_of_other_bytes_never_runs() {
    let fleet = fleet(2);
    fleet.deploy();
    let script = b"#!/bin/sh\necho wrong bytes ran\nsleep 1000\n";
    let done = deploy_and(&fleet, "other", |artifact| {
        blocking(fleet.store().write(artifact, script, Expect::Any)).expect("written");
    });
    assert_says(&done, 20, &["failed to fetch:", "v1 serves on"]);
    assert_eq!(fleet.get("/").expect("an answer").release(), Some(1));
    let lines = fleet.logs();
    assert!(lines.iter().all(|line| line.text != "wrong bytes ran"), "{lines:#?}");
}

#[test]
fn a_damaged_state_is_passed_over_and_the_next_deploy_heals_it() {
    let fleet = fleet(2);
    fleet.deploy();
    fleet.tag("two");
    fleet.deploy();
    flip_a_bit(&newest(&fleet, layout::STATE));
    // An agent that starts now sees nothing else.
    fleet.lose(1);
    fleet.must(&["sync"]);
    until("it serves", || (fleet.status().instances[0].phase == "serving").then_some(()));
    let status = fleet.status();
    assert!(status.damage.is_some_and(|damage| damage.contains("state.json is damaged")));
    for instance in status.instances {
        assert_eq!(instance.release, Some(2));
    }
    for _ in 0..4 {
        assert_eq!(fleet.get("/").expect("an answer").release(), Some(2));
    }
    fleet.tag("three");
    let healed = fleet.must(&["deploy"]);
    assert_says(&healed, 0, &["state.json is damaged", "the bucket is whole again"]);
    assert_eq!(fleet.status().damage, None);
    fleet.assert_serves(fleet.status().release.expect("a release"));
}

#[test]
fn a_damaged_memory_is_set_aside() {
    let fleet = fleet(1);
    fleet.deploy();
    fleet.lose(1);
    let memory = fleet.instance_dir(1).memory();
    fs::write(&memory, "{\"good\": {\"number\"").expect("half a memory");
    fleet.must(&["sync"]);
    until("it serves", || (fleet.status().instances[0].phase == "serving").then_some(()));
    fleet.assert_serves(1);
    assert!(memory.with_extension("damaged").exists());
    let lines = fleet.logs();
    assert!(lines.iter().any(|line| line.text.contains("the memory is damaged")), "{lines:#?}");
}

#[test]
fn a_full_disk_fails_the_release_and_with_room_the_next_one_works() {
    let Some(mounts) = Mounts::of_this_thread() else { return };
    // Room for three artifacts of the app. Mounted longer than the fleet lives.
    let size = fs::metadata(binary("plain-listen-fds")).expect("the app").len();
    let folder = tempfile::tempdir().expect("a folder");
    let disk = mounts.small_disk(folder.path(), 4 * size);
    let fleet = fleet(2);
    let instance = fleet.instance_dir(1);
    fs::create_dir_all(fleet.dir().instances()).expect("the folder");
    symlink(disk.path(), instance.path()).expect("the link");
    fleet.deploy();
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![0; 5 * size as usize / 2]).expect("most of the room");

    fleet.tag("two");
    let done = fleet.engr(&["deploy"]);
    assert_says(&done, 21, &["shop-1  failed to fetch:", "No space left on device"]);
    let serving: Vec<_> = fleet.status().instances.iter().map(|one| one.release).collect();
    assert_eq!(serving, [Some(1), Some(2)]);
    let left = fs::read_dir(instance.incoming()).expect("incoming").count();
    assert_eq!(left, 0, "what came in half is removed");

    fs::remove_file(&filler).expect("room");
    fleet.tag("three");
    fleet.deploy();
}

#[test]
fn a_bucket_that_may_not_be_written_is_told_and_harms_nothing() {
    let Some(mounts) = Mounts::of_this_thread() else { return };
    let fleet = fleet(1);
    fleet.deploy();
    let bucket = fleet.dir().bucket();
    let read_only = mounts.read_only(&bucket);
    // An agent too finds it so, and serves on.
    let before = fleet.status().instances[0].agent_pid.expect("an agent");
    end(before);
    fleet.must(&["sync"]);
    until("it serves", || fleet.get("/").ok().filter(|answer| answer.release() == Some(1)));
    fleet.tag("two");
    for command in [&["deploy"][..], &["restart"], &["env:set", "A=1"]] {
        let done = fleet.engr(command);
        assert_says(&done, 30, &["Read-only file system", "check who owns the bucket's folder"]);
    }
    drop(read_only);
    fleet.deploy();
}
