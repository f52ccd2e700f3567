//! Following one object by asking again and again.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::pace::Pace;
use crate::store::retry::random_share;
use crate::store::{ErrorKind, Generation, LastLook, Object, Result, Store, Watch};

/// A watch of one object in a [`super::Gcs`], or whatever `S` is.
pub(super) struct GcsWatch<S> {
    store: S,
    name: String,
    pace: Pace,
    /// When it asked last. None: never.
    asked: Option<Instant>,
    /// What the service has asked for before the next question.
    rest: Duration,
    /// One draw for each pause, so that a call that is dropped does not draw again.
    chance: f64,
    /// What this watch gave last, or reported as damaged.
    last: Option<Generation>,
    last_look: LastLook,
}

impl<S: Store> GcsWatch<S> {
    pub(super) fn new(store: S, name: &str, interval: Duration) -> Self {
        Self {
            store,
            name: name.to_owned(),
            pace: Pace::new(interval),
            asked: None,
            rest: Duration::ZERO,
            chance: random_share(),
            last: None,
            last_look: LastLook::default(),
        }
    }

    /// What is new, if anything is.
    async fn look(&mut self) -> Result<Option<Object>> {
        let read = match self.last {
            Some(seen) => self.store.read_if_changed(&self.name, seen).await,
            None => self.store.read(&self.name).await.map(Some),
        };
        match read {
            // A bucket that was made again by nobody's fault can hold what was seen before.
            Ok(object) => Ok(object.filter(|object| Some(object.generation) != self.last)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl<S: Store> Watch for GcsWatch<S> {
    async fn next(&mut self) -> Result<Object> {
        loop {
            if let Some(asked) = self.asked {
                let pause = self.pace.pause(self.chance);
                sleep_until(asked + pause.max(self.rest)).await;
            }
            // A call that is dropped in the middle of a question has not asked.
            let began = Instant::now();
            let looked = self.look().await;
            (self.asked, self.chance) = (Some(began), random_share());
            self.rest = Duration::ZERO;
            match looked {
                Ok(object) => {
                    self.pace.answered();
                    self.last_look.now();
                    if let Some(object) = object {
                        self.last = Some(object.generation);
                        return Ok(object);
                    }
                }
                Err(error) => {
                    self.pace.failed();
                    self.rest = error.retry_after.unwrap_or_default();
                    // The pause counts from the failure: it may have taken long to come.
                    self.asked = Some(Instant::now());
                    return Err(error);
                }
            }
        }
    }

    fn set_interval(&mut self, interval: Duration) {
        self.pace.set_interval(interval);
    }

    fn tell_looks(&mut self, look: LastLook) {
        self.last_look = look;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::timeout;

    use super::*;
    use crate::store::Expect;
    use crate::store::memory::{Fate, Memory};

    const NAME: &str = "state.json";
    const IDLE: Duration = Duration::from_secs(5);
    const HOUR: Duration = Duration::from_secs(3_600);

    /// A watch, its store, and how often it has asked. It fails from `from` to `to`.
    struct Bench {
        watch: GcsWatch<Memory>,
        store: Memory,
        asked: Arc<AtomicU64>,
        began: Instant,
    }

    impl Bench {
        fn new(from: Duration, to: Duration) -> Self {
            let (asked, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
            let count = asked.clone();
            let store = Memory::in_weather(Box::new(move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
                let is_away = (from..to).contains(&began.elapsed());
                (Duration::from_millis(20), if is_away { Fate::Fails } else { Fate::Done })
            }));
            Self { watch: GcsWatch::new(store.clone(), NAME, IDLE), store, asked, began }
        }

        /// Follows for so long. Gives the objects and how often it asked.
        async fn follow(&mut self, long: Duration) -> (Vec<Generation>, u64) {
            let (before, end) = (self.asked.load(Ordering::Relaxed), Instant::now() + long);
            let mut seen = Vec::new();
            while let Ok(next) = timeout(end - Instant::now(), self.watch.next()).await {
                seen.extend(next.ok().map(|object| object.generation));
            }
            (seen, self.asked.load(Ordering::Relaxed) - before)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_of_errors_is_ridden_out() {
        let mut bench = Bench::new(Duration::from_secs(58), HOUR);
        bench.store.put_aside(NAME, b"1", Expect::Absent);
        let (seen, asked) = bench.follow(Duration::from_secs(58)).await;
        assert_eq!((seen, asked), (vec![Generation(1)], 12));
        bench.store.put_aside(NAME, b"2", Expect::Any);
        let (seen, asked) = bench.follow(HOUR - bench.began.elapsed()).await;
        assert_eq!(seen, []);
        // At the end every 30 s, and a little more often before.
        assert!((116..=120).contains(&asked), "{asked}");
        let (seen, _) = bench.follow(Duration::from_secs(31)).await;
        assert_eq!(seen, [Generation(2)], "within the longest pause");
        assert_about(bench.follow(Duration::from_secs(60)).await.1, 12);
        bench.watch.set_interval(Duration::from_millis(200));
        assert_about(bench.follow(Duration::from_secs(60)).await.1, 300);
    }

    /// A window of time may begin and end in the middle of a pause.
    #[track_caller]
    fn assert_about(asked: u64, wanted: u64) {
        assert!(asked.abs_diff(wanted) <= 1, "{asked}, not {wanted}");
    }

    /// While somebody deploys it asks five times a second: not for long when nobody answers.
    #[tokio::test(start_paused = true)]
    async fn fast_questions_become_slow_too() {
        let mut bench = Bench::new(Duration::ZERO, HOUR);
        bench.watch.set_interval(Duration::from_millis(200));
        let (_, asked) = bench.follow(HOUR).await;
        assert!((120..135).contains(&asked), "{asked}");
        let (_, asked) = bench.follow(Duration::from_secs(31)).await;
        assert!(asked > 0);
        assert_about(bench.follow(Duration::from_secs(60)).await.1, 300);
    }

    /// A caller looks at its own clock from time to time, and asks again for the next.
    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_does_not_make_it_ask_more() {
        let mut bench = Bench::new(Duration::ZERO, HOUR);
        while bench.began.elapsed() < HOUR {
            let _ = timeout(Duration::from_millis(700), bench.watch.next()).await;
        }
        let asked = bench.asked.load(Ordering::Relaxed);
        assert!((120..135).contains(&asked), "{asked}");
    }
}
