//! Prunes that are cut off at every call, and ones that are held up while others publish.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::Digest;
use crate::claim::Claim;
use crate::desired_agent::{AgentBinary, OWN_ARCH, Wish};
use crate::fixtures::{Random, artifact, at, draft, wish};
use crate::history::History;
use crate::id::Id;
use crate::lock::Lock;
use crate::publish::{load, put_once, swap};
use crate::release::{Draft, Kind};
use crate::state::Refused;
use crate::store::Stat;
use crate::store::memory::{Fate, Memory};

/// A draft whose artifact is `content`, and whose environment is `environment`.
fn with(content: &str, environment: Option<&str>) -> Draft {
    Draft {
        id: Id::random(),
        artifact: artifact(content),
        environment: environment.map(|text| Digest::of(text.as_bytes())),
        ..draft(content, "a")
    }
}

fn artifact_name(content: &str) -> String {
    layout::artifact(&Digest::of(content.as_bytes()))
}

fn environment_name(content: &str) -> String {
    layout::environment(&Digest::of(content.as_bytes()))
}

/// Whether `name` is live, whatever the weather.
fn is_live(store: &Memory, name: &str) -> bool {
    store.slots(name).last().is_some_and(Option::is_some)
}

/// How many generations of `name` still have their bytes.
fn left(store: &Memory, name: &str) -> usize {
    store.slots(name).iter().flatten().count()
}

/// Everything that a kept state of the bucket names must be live.
fn check_kept(store: &Memory, from: u64) {
    for stored in store.slots(layout::STATE).iter().flatten() {
        let state = State::from_object(&stored.data).unwrap();
        if state.current() < Some(from) {
            continue;
        }
        let claimed = state.claim.and_then(|claim| claim.artifact);
        let names = state.release.iter().flat_map(crate::release::Release::objects);
        let names = names.chain(claimed.map(|artifact| layout::artifact(&artifact.digest)));
        for name in names.chain(state.staged_environment.as_ref().map(layout::environment)) {
            assert!(is_live(store, &name), "{name} is missing");
        }
    }
}

fn agent_name(content: &str) -> String {
    layout::agent(&Digest::of(content.as_bytes()))
}

/// `state`, that wants the agent `content` from now on.
fn with_agent(state: State, content: &str, now: Timestamp) -> std::result::Result<State, Refused> {
    let digest = Digest::of(content.as_bytes());
    let binary = AgentBinary { digest, size: content.len() as u64, version: content.to_owned() };
    let wish = Wish { id: Id::random(), by: "a".to_owned(), message: None, retry: false };
    state.agent_set(OWN_ARCH, binary, wish, now)
}

/// A bucket with the releases 1 to 6 of the artifacts `1`, `2`, `3`, `1`, `5`, `6`, each with an
/// environment of its own; a claim once named `never`; `orphan` is named by none, and `staged` by
/// the newest.
async fn six_releases() -> Memory {
    let store = Memory::new();
    let put = |name: &str, data: &str| store.put_aside(name, data.as_bytes(), Expect::Any);
    let mut state = State::new("app");
    for (number, content) in ["1", "2", "3", "1", "5", "6"].into_iter().enumerate() {
        let environment = format!("env {}", number + 1);
        put(&artifact_name(content), content);
        put(&environment_name(&environment), &environment);
        let draft = with(content, Some(&environment));
        state = state.published(draft, None, None, at(0)).unwrap();
        put(layout::STATE, &String::from_utf8(state.to_object()).unwrap());
        if number == 1 {
            put(&artifact_name("never"), "never");
            let claim = Claim::new(Id::fixed("c"), "a".to_owned(), at(0));
            let claimed = state.clone().claimed(claim, at(0)).unwrap();
            let named = claimed.renewed(&Id::fixed("c"), Some(artifact("never")), at(0)).unwrap();
            put(layout::STATE, &String::from_utf8(named.to_object()).unwrap());
        }
    }
    put(&artifact_name("orphan"), "orphan");
    put(&environment_name("staged"), "staged");
    put("artifacts/not-ours", "x");
    put("fleet/instances/app-1", "x");
    state = state.staged(Some(Digest::of(b"staged")), "a", at(0)).unwrap();
    put(layout::STATE, &String::from_utf8(state.to_object()).unwrap());
    store
}

/// One prune, as `engr` does it.
async fn prune(store: &Memory, keep: usize, now: impl Fn() -> Timestamp) -> Option<Plan> {
    let id = Id::random();
    let step = |state: State| state.claimed(Claim::new(id.clone(), "p".to_owned(), now()), now());
    swap(store, "app", step).await.ok()?;
    let plan = look(store, keep).await.ok()?;
    let begun = swap(store, "app", |state| match plan.spares(&state) {
        true => state.prune_begun(&id, plan.from, now()),
        false => Err(Refused::ClaimLost(None)),
    });
    begun.await.ok()?;
    remove(store, &plan).await.ok()?;
    swap(store, "app", |state| state.prune_ended(&id, now())).await.ok()?;
    Some(plan)
}

#[tokio::test]
async fn what_no_kept_state_names_goes_with_all_its_generations() {
    let store = six_releases().await;
    let twice = artifact_name("2");
    store.put_aside(&twice, b"2", Expect::Any);
    let plan = prune(&store, 3, || at(1_000)).await.unwrap();
    assert_eq!((plan.from, plan.kept), (4, 3));
    assert_eq!((plan.states.len(), plan.artifacts(), plan.environments()), (4, (4, 13), (3, 15)));
    for content in ["2", "3", "never", "orphan"] {
        assert_eq!(left(&store, &artifact_name(content)), 0, "{content}");
    }
    for number in 1..=3 {
        assert_eq!(left(&store, &environment_name(&format!("env {number}"))), 0);
    }
    check_kept(&store, 4);
    assert!(is_live(&store, &artifact_name("1")), "v4 has what v1 had");
    assert!(is_live(&store, &environment_name("staged")));
    assert!(is_live(&store, "artifacts/not-ours") && is_live(&store, "fleet/instances/app-1"));
    let history = History::read(&store).await.unwrap();
    let numbers: Vec<_> = history.releases.iter().map(|release| release.number).collect();
    assert_eq!(numbers, [4, 5, 6]);
    let state = load(&store, "app").await.unwrap().state;
    assert_eq!((state.prune_unfinished(), &state.claim), (None, &None));
    assert!(look(&store, 3).await.unwrap().is_empty());
    assert!(look(&store, 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_agents_of_the_newest_wishes_stay() {
    let store = Memory::new();
    let put = |name: &str, data: &[u8]| store.put_aside(name, data, Expect::Any);
    let mut state = State::new("app").published(with("1", None), None, None, at(0)).unwrap();
    put(&artifact_name("1"), b"1");
    // The third is wanted again at the end, and then there are many deploys.
    for content in ["a", "b", "c", "d", "e", "f", "c"] {
        put(&agent_name(content), content.as_bytes());
        state = with_agent(state, content, at(1)).unwrap();
        put(layout::STATE, &state.to_object());
    }
    put(&agent_name("never named"), b"never named");
    for _ in 0..3 {
        state = state.published(with("1", None), None, None, at(2)).unwrap();
        put(layout::STATE, &state.to_object());
    }
    let plan = prune(&store, 100, || at(1_000)).await.unwrap();
    assert_eq!(
        (plan.from, plan.states.len(), plan.agents(), plan.artifacts().0),
        (0, 0, (3, 13), 0)
    );
    let kept: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .filter(|a| is_live(&store, &agent_name(a)))
        .collect();
    assert_eq!(kept, ["c", "d", "e", "f"]);
    assert_eq!(left(&store, &agent_name("never named")), 0);
    assert!(look(&store, 100).await.unwrap().is_empty());
    // And when the states go that named them, too.
    assert_eq!(prune(&store, 1, || at(2_000)).await.unwrap().agents().0, 3);
    assert!(is_live(&store, &agent_name("c")), "it is the one that is wanted");
}

#[tokio::test]
async fn with_few_releases_only_what_nothing_names_goes() {
    let store = six_releases().await;
    for keep in [6, 100] {
        let plan = look(&store, keep).await.unwrap();
        assert_eq!((plan.from, plan.kept, plan.states.len()), (0, 6, 0));
        let names: Vec<_> = plan.objects.iter().map(|doomed| doomed.name.clone()).collect();
        assert_eq!(names, [artifact_name("orphan")]);
    }
    let plan = look(&Memory::new(), 100).await.unwrap();
    assert!(plan.is_empty());
}

#[tokio::test]
async fn what_an_unreadable_state_names_is_not_guessed() {
    let store = six_releases().await;
    // Among those that go.
    store.rot(layout::STATE, Generation(1));
    assert_eq!(look(&store, 3).await.unwrap().states.len(), 4);
    store.rot(layout::STATE, Generation(5));
    let error = look(&store, 3).await.unwrap_err();
    assert!(matches!(error, LookError::Unreadable(Unreadable(Generation(5)))), "{error}");
    assert_eq!(look(&store, 2).await.unwrap().from, 5);
    let newest = store.slots(layout::STATE).len() as u64;
    store.rot(layout::STATE, Generation(newest));
    assert!(matches!(look(&store, 1).await, Err(LookError::Unreadable(_))));
}

#[test]
fn what_belongs_to_an_artifact_goes_and_stays_with_it() {
    let digest = Digest::of(b"kept");
    let state = State::new("app").published(with("kept", None), None, None, at(0)).unwrap();
    let states = [Kept { generation: Generation(1), state: Some(state), size: 1 }];
    let delta = |content: &str| Stat {
        name: format!("{}.from/{digest}", artifact_name(content)),
        generation: Generation(1),
        size: 5,
    };
    let plan = plan(&states, &[delta("kept"), delta("gone")], 1).unwrap();
    let names: Vec<_> = plan.objects.iter().map(|doomed| doomed.name.clone()).collect();
    assert_eq!(names, [delta("gone").name]);
}

/// The prune dies at its first call, its second, and so on.
#[tokio::test(start_paused = true)]
async fn a_prune_that_is_cut_off_anywhere_loses_nothing_and_is_gone_on_with() {
    for calls in 0.. {
        let store = six_releases().await;
        let mut made = 0;
        store.turn(Box::new(move |_, _| {
            made += 1;
            (Duration::ZERO, if made > calls { Fate::Fails } else { Fate::Done })
        }));
        let done = prune(&store, 3, || at(1_000)).await.is_some();
        store.turn(Box::new(|_, _| (Duration::ZERO, Fate::Done)));
        check_kept(&store, 4);
        // With another number to keep: what the first one meant to remove is no longer trusted.
        let begun = load(&store, "app").await.unwrap().state.prune_unfinished().is_some();
        let keep = if begun { 100 } else { 3 };
        prune(&store, keep, || at(10_000)).await.unwrap();
        check_kept(&store, 4);
        for content in ["2", "3", "never"] {
            assert_eq!(left(&store, &artifact_name(content)), 0, "{content}, cut at {calls}");
        }
        assert!(!is_live(&store, &artifact_name("orphan")), "cut at {calls}");
        let history = History::read(&store).await.unwrap();
        assert_eq!(history.releases.first().unwrap().number, 4, "cut at {calls}");
        if done {
            assert!(calls > 20, "{calls} calls");
            break;
        }
    }
}

#[test]
fn a_prune_is_begun_and_ended_under_its_claim() {
    let id = Id::fixed("p");
    let claim = Claim::new(id.clone(), "p".to_owned(), at(0));
    let state = State::new("app").claimed(claim.clone(), at(0)).unwrap();
    let begun = state.clone().prune_begun(&id, 4, at(1)).unwrap();
    assert_eq!(begun.prune_unfinished(), Some(4));
    let again = begun.clone().prune_begun(&id, 2, at(2)).unwrap();
    assert_eq!(again.pruned, Some(Pruned { count: 2, from: 4, unfinished: true }));
    let ended = again.prune_ended(&id, at(3)).unwrap();
    assert_eq!(ended.pruned, Some(Pruned { count: 2, from: 4, unfinished: false }));
    assert_eq!(ended.claim, None);
    let anew = ended.claimed(claim, at(4)).unwrap().prune_begun(&id, 2, at(4)).unwrap();
    assert_eq!(anew.prune_unfinished(), Some(2), "the last one came to its end");

    assert!(matches!(
        begun.clone().prune_ended(&Id::fixed("q"), at(2)),
        Err(Refused::ClaimLost(_))
    ));
    let lock = Lock { by: "b".to_owned(), since: at(1), message: "why".to_owned(), until: None };
    let locked = begun.locked(lock, at(1)).prune_ended(&id, at(2));
    assert!(matches!(locked, Err(Refused::Locked(_))));
    assert!(matches!(State::new("app").prune_begun(&id, 1, at(0)), Err(Refused::ClaimLost(None))));
}

/// What the actors of one run share.
struct World {
    store: Memory,
    random: Mutex<Random>,
    start: Instant,
    /// How many steps went through, by what they were.
    done: Mutex<[u32; 6]>,
}

impl World {
    fn below(&self, end: usize) -> usize {
        self.random.lock().unwrap().below(end)
    }

    /// Its clock is a minute off at times, and so claims are taken that still live.
    fn now(&self) -> Timestamp {
        let off = [0, 0, 0, 60][self.below(4)];
        at(off) + SignedDuration::try_from(self.start.elapsed()).unwrap()
    }

    fn did(&self, what: usize) {
        self.done.lock().unwrap()[what] += 1;
    }

    async fn put(&self, state: &State, name: &str, content: &str) -> bool {
        let put = async |expect| self.store.write(name, content.as_bytes(), expect).await;
        put_once(&self.store, state, name, put).await.is_ok()
    }

    /// What `deploy` does.
    async fn deploy(&self) -> Option<()> {
        let (id, content) = (Id::random(), self.below(6).to_string());
        let claim = || Claim::new(id.clone(), "d".to_owned(), self.now());
        swap(&self.store, "app", |state| state.claimed(claim(), self.now())).await.ok()?;
        let state = load(&self.store, "app").await.ok()?.state;
        if !self.put(&state, &artifact_name(&content), &content).await {
            return None;
        }
        let step = |state: State| {
            let environment = state.release.as_ref().and_then(|release| release.environment);
            let draft = Draft { environment, ..with(&content, None) };
            state.published(draft, Some(&id), None, self.now())
        };
        swap(&self.store, "app", step).await.ok().map(|_| self.did(0))
    }

    /// What `env:set` does: without a claim.
    async fn set(&self) -> Option<()> {
        let state = load(&self.store, "app").await.ok()?.state;
        let content = format!("env {}", self.below(4));
        if !self.put(&state, &environment_name(&content), &content).await {
            return None;
        }
        let release = state.release?;
        let step = |newest: State| {
            if newest.pruned != state.pruned || newest.current() != Some(release.number) {
                return Err(Refused::ClaimLost(None));
            }
            let again = Draft::again(&release, "e".to_owned(), Kind::Restart, None);
            let environment = Some(Digest::of(content.as_bytes()));
            newest.published(Draft { environment, ..again }, None, None, self.now())
        };
        swap(&self.store, "app", step).await.ok().map(|_| self.did(1))
    }

    /// What `agent:update` does.
    async fn set_agent(&self) -> Option<()> {
        let state = load(&self.store, "app").await.ok()?.state;
        let content = format!("agent {}", self.below(12));
        if !self.put(&state, &agent_name(&content), &content).await {
            return None;
        }
        let step = |newest: State| match newest.pruned == state.pruned {
            true => with_agent(newest, &content, self.now()),
            false => Err(Refused::ClaimLost(None)),
        };
        swap(&self.store, "app", step).await.ok().map(|_| self.did(4))
    }

    /// What `agent:rollback` does.
    async fn roll_agent_back(&self) -> Option<()> {
        let state = load(&self.store, "app").await.ok()?.state;
        let history = History::read(&self.store).await.ok()?;
        let agents: Vec<_> = history.agents.into_iter().flatten().collect();
        let agent = agents.get(self.below(agents.len()))?;
        if state.prune_unfinished().is_some() {
            return None;
        }
        for binary in agent.binaries.values() {
            self.store.stat(&layout::agent(&binary.digest)).await.ok()??;
        }
        let step = |newest: State| match newest.pruned == state.pruned {
            true => newest.agent_rolled_back(agent.binaries.clone(), wish("r"), self.now()),
            false => Err(Refused::ClaimLost(None)),
        };
        swap(&self.store, "app", step).await.ok().map(|_| self.did(5))
    }

    /// What `rollback` does.
    async fn roll_back(&self) -> Option<()> {
        let state = load(&self.store, "app").await.ok()?.state;
        let history = History::read(&self.store).await.ok()?;
        let release = history.releases.get(self.below(history.releases.len()))?;
        if state.prune_unfinished().is_some_and(|from| release.number < from) {
            return None;
        }
        for name in release.objects() {
            self.store.stat(&name).await.ok()??;
        }
        let step = |newest: State| {
            if newest.pruned != state.pruned {
                return Err(Refused::ClaimLost(None));
            }
            let kind = Kind::Rollback(release.number);
            let draft = Draft::again(release, "r".to_owned(), kind, None);
            newest.published(draft, None, None, self.now())
        };
        swap(&self.store, "app", step).await.ok().map(|_| self.did(2))
    }

    async fn prune(&self) {
        let keep = 1 + self.below(4);
        let work = prune(&self.store, keep, || self.now());
        // Some are killed.
        let limit = Duration::from_secs([20, 600][self.below(2)]);
        if let Ok(Some(_)) = timeout(limit, work).await {
            self.did(3);
        }
    }

    async fn act(self: Arc<Self>) {
        for _ in 0..12 {
            sleep(Duration::from_millis(self.below(20_000) as u64)).await;
            match self.below(7) {
                0 | 1 => drop(self.deploy().await),
                2 => drop(self.set().await),
                3 => drop(self.roll_back().await),
                4 => drop(self.set_agent().await),
                5 => drop(self.roll_agent_back().await),
                _ => self.prune().await,
            }
        }
    }
}

/// The newest state must name nothing that is not there: held at every call.
fn check_live(store: &Memory) {
    let live = store.slots(layout::STATE).pop().flatten();
    let Some(state) = live.map(|stored| State::from_object(&stored.data).unwrap()) else { return };
    let agents = state.agent.iter().flat_map(|agent| agent.binaries.values());
    let agents = agents.map(|binary| layout::agent(&binary.digest));
    for name in state.release.iter().flat_map(crate::release::Release::objects).chain(agents) {
        assert!(is_live(store, &name), "{name} is missing in {state:?}");
    }
}

async fn simulate(seed: u64) -> [u32; 6] {
    let store = Memory::new();
    let (watched, mut random) = (store.clone(), Random::new(seed ^ 0xbad));
    store.turn(Box::new(move |operation, _| {
        check_live(&watched);
        // Now and then a call hangs for longer than a claim lives, before it goes through.
        let delay = if random.percent(6) { random.below(90_000) } else { 1 + random.below(150) };
        let fate = match random.below(40) {
            0 => Fate::Fails,
            1 if operation == "write" => Fate::AnswerLost,
            _ => Fate::Done,
        };
        (Duration::from_millis(delay as u64), fate)
    }));
    let world = Arc::new(World {
        store,
        random: Mutex::new(Random::new(seed)),
        start: Instant::now(),
        done: Mutex::default(),
    });
    let mut actors = JoinSet::new();
    for _ in 0..4 {
        actors.spawn_local(Arc::clone(&world).act());
    }
    while actors.join_next().await.transpose().expect("no actor panics").is_some() {}
    check_live(&world.store);
    *world.done.lock().unwrap()
}

#[test]
fn a_prune_that_is_held_up_takes_nothing_that_was_published_meanwhile() {
    let mut done = [0; 6];
    for seed in 0..100 {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let ran = std::panic::catch_unwind(|| LocalSet::new().block_on(&runtime, simulate(seed)));
        let ran = ran.unwrap_or_else(|_| panic!("the run with seed {seed} failed, see above"));
        done.iter_mut().zip(ran).for_each(|(sum, count)| *sum += count);
    }
    // Not all of it may come to nothing.
    assert!(done.iter().all(|count| *count > 100), "{done:?}");
}
