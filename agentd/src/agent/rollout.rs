//! The agent's part in a rollout, tied to the rest of it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use deploy::Timestamp;
use deploy::id::Id;
use deploy::release::Release;
use deploy::store::Store;
use tokio::sync::{mpsc, watch};

use super::{Agent, NEVER, now};
use crate::conduct::{Core, Direction, Driver, Event, Rolling, direct};
use crate::run::News;
use crate::switch;

/// How long until a release that waits for its turn is fetched once more, when that failed.
const FETCH_AGAIN: Duration = Duration::from_secs(10);

/// What the agent holds of the rollout.
#[derive(Debug, Default)]
pub(super) struct Part {
    core: Option<Core>,
    driver: Option<Driver>,
    /// Told while a release is on its way: others wait for this one's word then.
    rolling: Option<watch::Sender<Option<Rolling>>>,
    /// The release that waits for its turn here.
    waits: Option<Waits>,
}

#[derive(Debug)]
struct Waits {
    release: Arc<Release>,
    /// All that it needs lies on the disk.
    is_there: bool,
    /// Gone when it does not wait any more: then nobody tries on to fetch it.
    _wanted: Rc<()>,
}

impl Part {
    /// The release that waits here, and whether it lies on the disk.
    pub(super) fn waits(&self) -> Option<(u64, bool)> {
        self.waits.as_ref().map(|waits| (waits.release.number, waits.is_there))
    }

    /// Whether a state was seen in this life.
    pub(super) fn has_seen(&self) -> bool {
        self.core.as_ref().is_some_and(|core| core.state().is_some())
    }

    /// What a rollout leads back to.
    pub(super) fn base(&self) -> Option<&Release> {
        let state = self.core.as_ref()?.state()?;
        state.base.as_ref().map(|base| &base.release)
    }

    /// Whether the newest release is on its way through the fleet.
    pub(super) fn is_active(&self) -> bool {
        self.core.as_ref().is_some_and(Core::is_active)
    }
}

impl Agent {
    /// From now on this instance takes part in rollouts.
    pub(super) fn take_part(
        &mut self,
        store: Arc<dyn Store>,
        events: mpsc::UnboundedSender<Event>,
        rolling: watch::Sender<Option<Rolling>>,
    ) {
        let pace = Driver::pace(&*store);
        self.part.core = Some(Core::new(self.instance.clone(), Id::random(), pace));
        self.part.driver = Some(Driver::new(store, events));
        self.part.rolling = Some(rolling);
    }

    /// How long until the core wants to be woken.
    pub(super) fn conduct_in(&self) -> Duration {
        let at = self.part.core.as_ref().and_then(Core::wake_at);
        at.map_or(NEVER, |at| at.saturating_sub(now()))
    }

    /// Tells the core of something, and does what follows for this instance.
    pub(super) fn conduct(&mut self, event: Event) {
        let Part { core: Some(core), driver: Some(driver), rolling, .. } = &mut self.part else {
            return;
        };
        let is_news = !matches!(event, Event::Tick | Event::ListFailed | Event::Listed(_));
        let actions = core.step(now(), Timestamp::now(), event);
        let news = core.rolling();
        driver.look(news.map(|rolling| rolling.look));
        if let Some(rolling) = rolling {
            rolling.send_if_modified(|was| std::mem::replace(was, news) != news);
        }
        actions.into_iter().for_each(|action| driver.begin(action));
        if is_news {
            self.follow_course();
        }
    }

    /// Tells the switch core what to run.
    fn follow_course(&mut self) {
        let Some(core) = &self.part.core else { return };
        let Some(Direction { run, waits, is_back }) = direct(core, &self.machine) else { return };
        match self.newest.clone().filter(|_| waits) {
            Some(release) => self.wait_for_turn(release),
            None => self.part.waits = None,
        }
        if is_back {
            self.take_back();
        }
        match run {
            Some(release) => self.step(switch::Event::Desired(release)),
            None => self.step(switch::Event::Tick),
        }
    }

    /// The newest release is not to run here any more, or never: it is written down once.
    fn take_back(&mut self) {
        let Some(newest) = &self.newest else { return };
        let outcome = self.memory.outcome(newest.number);
        if outcome.reverted.is_none() {
            tracing::warn!(release = newest.number, "the release is taken back");
            outcome.reverted = Some(Timestamp::now());
        }
    }

    /// Brings the release to the disk meanwhile.
    fn wait_for_turn(&mut self, release: Arc<Release>) {
        if self.part.waits.as_ref().is_some_and(|waits| waits.release.id == release.id) {
            return;
        }
        let wanted = Rc::new(());
        let is_wanted = Rc::downgrade(&wanted);
        self.part.waits =
            Some(Waits { release: release.clone(), is_there: false, _wanted: wanted });
        let (fetcher, news) = (self.fetcher.clone(), self.news.clone());
        tokio::task::spawn_local(async move {
            while let Err(error) = fetcher.release(&release).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the next release cannot be fetched yet");
                tokio::time::sleep(FETCH_AGAIN).await;
                if is_wanted.strong_count() == 0 {
                    return;
                }
            }
            // Nobody hears it where the agent ends.
            let _ = news.send(News::Fetched(release.id.clone()));
        });
    }

    /// All that a release needs that waits for its turn lies on the disk.
    pub(super) fn fetched(&mut self, id: &Id) {
        if let Some(waits) = self.part.waits.as_mut().filter(|waits| waits.release.id == *id) {
            waits.is_there = true;
            self.step(switch::Event::Tick);
        }
    }
}
