//! Many processes and one bucket in a folder: each generation is won once, whoever is killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use deploy::store::{Directory, Generation, Store};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// A bucket, and the processes that race in it. They end with it.
struct Track {
    folder: TempDir,
    object: &'static str,
    goal: u64,
    racers: Vec<Child>,
    started: usize,
}

impl Track {
    fn new(object: &'static str, goal: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, object, goal, racers: Vec::new(), started: 0 }
    }

    fn store(&self) -> Directory {
        Directory::open(self.folder.path().join("bucket")).unwrap()
    }

    fn output(&self, racer: usize) -> PathBuf {
        self.folder.path().join(format!("racer-{racer}"))
    }

    /// Starts one more. What it prints goes to a file, which outlives it.
    fn start(&mut self) -> Child {
        self.started += 1;
        Command::new(env!("CARGO_BIN_EXE_store-racer"))
            .arg(self.folder.path().join("bucket"))
            .args([self.object, &self.started.to_string(), &self.goal.to_string()])
            .stdin(Stdio::null())
            .stdout(File::create(self.output(self.started)).unwrap())
            .spawn()
            .unwrap()
    }

    fn start_many(&mut self, racers: usize) {
        for _ in 0..racers {
            let racer = self.start();
            self.racers.push(racer);
        }
    }

    /// Waits until all have ended by themselves.
    fn finish(&mut self) {
        let deadline = Instant::now() + LIMIT;
        for racer in &mut self.racers {
            let status = loop {
                if let Some(status) = racer.try_wait().unwrap() {
                    break status;
                }
                assert!(Instant::now() < deadline, "the race does not end");
                thread::sleep(Duration::from_millis(5));
            };
            assert!(status.success(), "a racer failed: {status}");
        }
    }

    /// What the racers say that they won, and how often they lost.
    fn claims(&self) -> (BTreeMap<Generation, String>, u64) {
        let (mut won, mut lost) = (BTreeMap::new(), 0);
        for racer in 1..=self.started {
            for line in fs::read_to_string(self.output(racer)).unwrap().lines() {
                match line.split(' ').collect::<Vec<_>>()[..] {
                    ["won", generation, data] => {
                        let generation = Generation(generation.parse().unwrap());
                        let other = won.insert(generation, data.to_owned());
                        assert_eq!(other, None, "generation {generation} was won by {data} too");
                    }
                    ["lost", times] => lost += times.parse::<u64>().unwrap(),
                    _ => panic!("a racer said {line:?}"),
                }
            }
        }
        (won, lost)
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        for racer in &mut self.racers {
            // It may have ended: then there is nothing to end.
            let _ = racer.kill();
            let _ = racer.wait();
        }
    }
}

#[tokio::test]
async fn sixteen_processes_race_and_each_generation_is_won_once() {
    const GOAL: u64 = 1_000;
    let mut track = Track::new("state.json", GOAL);
    track.start_many(16);
    track.finish();

    let (won, lost) = track.claims();
    let expected: Vec<_> = (1..=GOAL).map(Generation).collect();
    assert!(won.keys().eq(&expected), "each generation was won by one");
    assert!(lost > GOAL, "it was a race: {lost} were lost");
    let store = track.store();
    assert_eq!(store.versions("state.json").await.unwrap(), expected);
    for (generation, data) in won {
        let read = store.read_generation("state.json", generation).await.unwrap();
        assert_eq!(read.data, data.as_bytes(), "generation {generation}");
    }
}

/// Where old generations are removed, a number must not be won again.
#[tokio::test]
async fn a_pruned_objects_generations_are_won_once_too() {
    const GOAL: u64 = 300;
    let mut track = Track::new("fleet/instances/app-1", GOAL);
    track.start_many(16);
    track.finish();

    let (won, _) = track.claims();
    assert!(won.keys().copied().eq((1..=GOAL).map(Generation)));
    let live = track.store().read("fleet/instances/app-1").await.unwrap();
    assert_eq!(live.generation, Generation(GOAL));
    assert_eq!(live.data, won[&live.generation].as_bytes());
}

#[tokio::test]
async fn killed_processes_leave_no_gap_and_nothing_half_written() {
    const KILLS: usize = 100;
    let mut track = Track::new("state.json", u64::MAX);
    track.start_many(16);
    for kill in 0..KILLS {
        // A different moment of its life each time.
        thread::sleep(Duration::from_micros(kill as u64 * 7_919 % 20_000));
        let index = kill * 7 % track.racers.len();
        track.racers[index].kill().unwrap();
        track.racers[index].wait().unwrap();
        track.racers[index] = track.start();
    }
    for racer in &mut track.racers {
        racer.kill().unwrap();
        racer.wait().unwrap();
    }

    let (won, _) = track.claims();
    let store = track.store();
    let versions = store.versions("state.json").await.unwrap();
    let count = versions.len() as u64;
    assert!(count > KILLS as u64, "they wrote {count} times meanwhile");
    assert!(versions.iter().copied().eq((1..=count).map(Generation)), "no gap: {versions:?}");
    for generation in versions {
        let read = store.read_generation("state.json", generation).await.unwrap();
        let data = String::from_utf8(read.data).unwrap();
        // A winner that was killed before it could say so is no harm.
        if let Some(claimed) = won.get(&generation) {
            assert_eq!(*claimed, data, "generation {generation}");
        }
    }
    assert!(won.keys().all(|generation| generation.0 <= count), "what was won is there");
    let rubbish = fs::read_dir(track.folder.path().join("bucket/tmp")).unwrap().count();
    assert_eq!(rubbish, 0, "the next one to open the bucket cleaned up");
}
