//! Writes the instance's object: when something changes, and every five minutes otherwise. While a
//! release is on its way through the fleet, or the agent's own update is not decided, it writes more
//! often: others wait for it, and must see that it lives ([`crate::conduct`], [`crate::update`]).

use std::sync::Arc;
use std::time::Duration;

use deploy::layout;
use deploy::report::{AgentUpdate, Report, UpdatePhase};
use deploy::store::{Expect, LastLook, Store};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::conduct::Rolling;

const AT_LEAST_EVERY: Duration = Duration::from_secs(300);

/// While others wait for this instance's turn to come.
const UNDECIDED_EVERY: Duration = Duration::from_secs(30);

/// While it goes: well within [`crate::update::OWN_WORD_MAX`].
const GOING_EVERY: Duration = Duration::from_secs(10);

/// While the bucket cannot be written the newest report is tried again after this pause, which
/// doubles up to [`FAILED_PAUSE_MAX`].
const FAILED_PAUSE: Duration = Duration::from_secs(2);

/// See [`FAILED_PAUSE`].
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(32);

/// What an agent had under way when it ended may reach the bucket after the first word of the next
/// one, and take its place there. So in the beginning that one repeats itself.
const REPEATS_FOR: Duration = Duration::from_secs(120);

/// How often an instance is to write that is so far with its update, and whose agent is so old.
/// `rolls`: a release is on its way, and others want a word so often.
pub fn beat(update: Option<&AgentUpdate>, rolls: Option<Duration>, age: Duration) -> Duration {
    let every = match update.map(|update| update.phase) {
        Some(UpdatePhase::Going | UpdatePhase::Trial) => GOING_EVERY,
        Some(phase) if !phase.has_ended() => UNDECIDED_EVERY,
        _ if age < REPEATS_FOR => UNDECIDED_EVERY,
        _ => AT_LEAST_EVERY,
    };
    rolls.map_or(every, |rolls| rolls.min(every))
}

/// Writes each report that comes, the newest where several wait, until the sender is gone; what it
/// left last is written before this ends; `told` hears of each that is in the bucket. Two writes are
/// never closer than the store bears.
pub async fn write_reports(
    store: Arc<dyn Store>,
    mut reports: watch::Receiver<Option<Report>>,
    mut rolls: watch::Receiver<Option<Rolling>>,
    last_look: LastLook,
    told: impl Fn(&Report),
) {
    let born = Instant::now();
    let (mut next_at, mut failed_pause) = (born, FAILED_PAUSE);
    loop {
        let every = {
            let rolling = rolls.borrow_and_update().map(|rolling| rolling.report);
            let newest = reports.borrow();
            let update = newest.as_ref().and_then(|report| report.agent.update.as_ref());
            beat(update, rolling, born.elapsed())
        };
        let wait = tokio::select! {
            wait = tokio::time::timeout(every, reports.changed()) => wait,
            // The pace is another one now.
            Ok(()) = rolls.changed() => continue,
        };
        tokio::time::sleep_until(next_at).await;
        // The sender may have gone meanwhile.
        let is_over = matches!(wait, Ok(Err(_))) || reports.has_changed().is_err();
        let Some(mut report) = reports.borrow_and_update().clone() else {
            if is_over {
                return;
            }
            continue;
        };
        report.written = deploy::Timestamp::now();
        report.looked = last_look.time(report.written);
        let name = layout::instance(&report.instance);
        let written = store.write(&name, &report.to_object(), Expect::Any).await;
        next_at = Instant::now() + store.write_interval();
        if let Err(error) = &written {
            tracing::warn!(error = error as &dyn std::error::Error, "cannot report");
        }
        if is_over {
            return;
        }
        if written.is_ok() {
            failed_pause = FAILED_PAUSE;
            told(&report);
            continue;
        }
        // When the agent ends, the last one is tried once more, at once.
        let _ = tokio::time::timeout(failed_pause, gone(reports.clone())).await;
        failed_pause = (failed_pause * 2).min(FAILED_PAUSE_MAX);
        reports.mark_changed();
    }
}

/// Ends when the sender is gone.
async fn gone(mut reports: watch::Receiver<Option<Report>>) {
    while reports.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use deploy::id::Id;
    use deploy::report::{Agent, Phase};
    use deploy::store::Directory;

    use super::*;

    fn report(phase: Option<UpdatePhase>) -> Report {
        let now = deploy::Timestamp::now();
        Report {
            instance: "app-1".to_owned(),
            written: now,
            agent: Agent {
                pid: 1,
                launcher: None,
                version: "1".to_owned(),
                started: now,
                digest: None,
                update: phase.map(|phase| AgentUpdate { id: Id::fixed("w"), phase, word: 0 }),
                bad: Vec::new(),
            },
            looked: None,
            addresses: Vec::new(),
            seen: None,
            waits: None,
            phase: Phase::Idle,
            serving: None,
            draining: Vec::new(),
            outcomes: Vec::new(),
            left: None,
            crash_loop: None,
            last_failure: None,
        }
    }

    /// How often a report is written in ten minutes that begin so many seconds after the start.
    async fn writes(phase: Option<UpdatePhase>, after_secs: u64) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Directory::open(folder.path()).unwrap());
        let (reports, newest) = watch::channel(None);
        let (_rolling, rolls) = watch::channel(None);
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |_: &Report| sender.send(Instant::now()).unwrap();
        let writer = tokio::spawn(write_reports(store, newest, rolls, LastLook::default(), tell));
        let from = Instant::now() + Duration::from_secs(after_secs);
        reports.send_replace(Some(report(phase)));
        tokio::time::sleep(Duration::from_secs(after_secs + 600)).await;
        drop(reports);
        writer.await.unwrap();
        let mut count = 0;
        while let Ok(at) = told.try_recv() {
            count += usize::from(at > from && at < from + Duration::from_secs(600));
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_waited_for_shows_that_it_lives() {
        let often = |phase| async move { writes(Some(phase), 200).await };
        assert!((58..=60).contains(&often(UpdatePhase::Trial).await));
        assert!((58..=60).contains(&often(UpdatePhase::Going).await));
        assert!((18..=20).contains(&often(UpdatePhase::Waiting).await));
        assert!((1..=2).contains(&often(UpdatePhase::Good).await));
        assert!((1..=2).contains(&writes(None, 200).await));
    }

    #[tokio::test(start_paused = true)]
    async fn in_the_beginning_it_repeats_itself() {
        assert!((4..=7).contains(&writes(Some(UpdatePhase::Bad), 0).await));
    }
}
