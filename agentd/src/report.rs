//! Writes the instance's object: when something changes, and every five minutes otherwise. While the
//! agent's own update is not decided it writes more often: others wait for it, and must see that it
//! lives ([`crate::update`]).

use std::sync::Arc;
use std::time::Duration;

use deploy::layout;
use deploy::report::{AgentUpdate, Report, UpdatePhase};
use deploy::store::{Expect, LastLook, Store};
use tokio::sync::watch;
use tokio::time::Instant;

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
pub fn beat(update: Option<&AgentUpdate>, age: Duration) -> Duration {
    match update.map(|update| update.phase) {
        Some(UpdatePhase::Going | UpdatePhase::Trial) => GOING_EVERY,
        Some(phase) if !phase.has_ended() => UNDECIDED_EVERY,
        _ if age < REPEATS_FOR => UNDECIDED_EVERY,
        _ => AT_LEAST_EVERY,
    }
}

/// Writes each report that comes, the newest where several wait, until the sender is gone; what it
/// left last is written before this ends. Two writes are never closer than the store bears.
pub async fn write_reports(
    store: Arc<dyn Store>,
    mut reports: watch::Receiver<Option<Report>>,
    last_look: LastLook,
) {
    let (mut next_at, mut failed_pause) = (Instant::now(), FAILED_PAUSE);
    loop {
        let wait = tokio::time::timeout(AT_LEAST_EVERY, reports.changed()).await;
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
