//! Carries the core's decisions out: it lists, writes and looks beside the agent's loop, and what
//! comes of it arrives there as an event.

use std::sync::Arc;
use std::time::Duration;

use deploy::layout;
use deploy::reports::Reports;
use deploy::rollout::Progress;
use deploy::store::{ErrorKind, Expect, Object, Store, StoreError, Watch};
use tokio::sync::{Mutex, mpsc, watch};

use super::core::{Action, Event, Pace, Written};

/// After a failed look at the bucket.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// What carries out this instance's part in a rollout.
#[derive(Debug)]
pub struct Driver {
    store: Arc<dyn Store>,
    events: mpsc::UnboundedSender<Event>,
    /// What is known of the others from the last listing: only what has changed is read again.
    reports: Arc<Mutex<Reports>>,
    look_every: watch::Sender<Option<Duration>>,
}

impl Driver {
    /// One that tells `events` what happens. It must be made in a [`tokio::task::LocalSet`].
    pub fn new(store: Arc<dyn Store>, events: mpsc::UnboundedSender<Event>) -> Self {
        let (look_every, wanted) = watch::channel(None);
        tokio::task::spawn_local(look(store.clone(), wanted, events.clone()));
        Self { store, events, reports: Arc::default(), look_every }
    }

    /// What this driver's store bears.
    pub fn pace(store: &dyn Store) -> Pace {
        if store.write_interval().is_zero() { Pace::FREE } else { Pace::PAID }
    }

    /// From now on the object is looked at so often; not at all where nothing is under way.
    pub fn look(&self, every: Option<Duration>) {
        self.look_every.send_if_modified(|now| std::mem::replace(now, every) != every);
    }

    /// Begins what the core has decided.
    pub fn begin(&self, action: Action) {
        let (store, events) = (self.store.clone(), self.events.clone());
        // Nobody hears of it where the agent ends.
        match action {
            Action::List => {
                let reports = self.reports.clone();
                tokio::task::spawn_local(async move {
                    drop(events.send(list(&*store, &reports).await))
                });
            }
            Action::Look => {
                tokio::task::spawn_local(async move {
                    match read(&*store).await {
                        Ok(event) => drop(events.send(event)),
                        Err(error) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(error, "cannot see whether somebody conducts");
                        }
                    }
                });
            }
            Action::Write(progress, expect) => {
                tokio::task::spawn_local(async move {
                    let written = write(&*store, &progress, expect).await;
                    drop(events.send(Event::Written(progress, written)));
                });
            }
        }
    }
}

async fn list(store: &dyn Store, reports: &Mutex<Reports>) -> Event {
    let mut reports = reports.lock().await;
    match reports.refresh(store).await {
        Ok(()) => Event::Listed(reports.iter().map(|(_, report)| report.clone()).collect()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot see the fleet");
            Event::ListFailed
        }
    }
}

async fn read(store: &dyn Store) -> Result<Event, StoreError> {
    match store.read(layout::ROLLOUT).await {
        Ok(object) => Ok(seen(&object)),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Event::Absent),
        Err(error) if error.kind == ErrorKind::Corrupt => damaged(store, error).await,
        Err(error) => Err(error),
    }
}

fn seen(object: &Object) -> Event {
    let progress = Progress::from_object(&object.data).unwrap_or_else(|error| {
        tracing::error!(%error, "what is said of the rollout is not understood");
        Progress::damaged()
    });
    Event::Seen(object.generation, Box::new(progress))
}

/// What is damaged is written over.
async fn damaged(store: &dyn Store, error: StoreError) -> Result<Event, StoreError> {
    let newest = store.versions(layout::ROLLOUT).await?.pop();
    tracing::error!(error = &error as &dyn std::error::Error, "the rollout's object is damaged");
    let seen = |newest| Event::Seen(newest, Box::new(Progress::damaged()));
    newest.map(seen).ok_or(error)
}

/// One attempt: the core decides on the next.
async fn write(store: &dyn Store, progress: &Progress, expect: Expect) -> Written {
    match store.write(layout::ROLLOUT, &progress.to_object(), expect).await {
        Ok(generation) => Written::Done(generation),
        Err(error) if error.kind == ErrorKind::Lost => Written::Lost,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot tell of the rollout");
            Written::Unknown
        }
    }
}

/// Looks at the object for as long as that is wanted, and until nobody is left to tell.
async fn look(
    store: Arc<dyn Store>,
    mut wanted: watch::Receiver<Option<Duration>>,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut open: Option<Box<dyn Watch>> = None;
    loop {
        let every = *wanted.borrow_and_update();
        let Some(every) = every else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        let seen = tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            seen = next(&*store, &mut open, every) => seen,
        };
        match seen {
            Ok(event) => {
                if events.send(event).is_err() {
                    return;
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "cannot see how far the rollout is");
                tokio::time::sleep(FAILED_PAUSE).await;
            }
        }
    }
}

async fn next(
    store: &dyn Store,
    open: &mut Option<Box<dyn Watch>>,
    every: Duration,
) -> Result<Event, StoreError> {
    let watch = match open {
        Some(watch) => watch,
        None => open.insert(store.watch(layout::ROLLOUT)?),
    };
    watch.set_interval(every);
    match watch.next().await {
        Ok(object) => Ok(seen(&object)),
        Err(error) if error.kind == ErrorKind::Corrupt => damaged(store, error).await,
        Err(error) => Err(error),
    }
}
