//! Writes the instance's object: when something changes, and every five minutes otherwise.

use std::sync::Arc;
use std::time::Duration;

use deploy::layout;
use deploy::report::Report;
use deploy::store::{Expect, Store};
use tokio::sync::watch;

const AT_LEAST_EVERY: Duration = Duration::from_secs(300);

/// While the bucket cannot be written the newest report is tried again after this pause.
const FAILED_PAUSE: Duration = Duration::from_secs(2);

/// Writes each report that comes, the newest where several wait, until the sender is gone; what it
/// left last is written before this ends.
pub async fn write_reports(store: Arc<dyn Store>, mut reports: watch::Receiver<Option<Report>>) {
    loop {
        let wait = tokio::time::timeout(AT_LEAST_EVERY, reports.changed()).await;
        let is_over = matches!(wait, Ok(Err(_)));
        let Some(mut report) = reports.borrow_and_update().clone() else {
            if is_over {
                return;
            }
            continue;
        };
        report.written = deploy::Timestamp::now();
        let name = layout::instance(&report.instance);
        let written = store.write(&name, &report.to_object(), Expect::Any).await;
        if let Err(error) = &written {
            tracing::warn!(error = error as &dyn std::error::Error, "cannot report");
        }
        if is_over {
            return;
        }
        if written.is_err() {
            tokio::time::sleep(FAILED_PAUSE).await;
            reports.mark_changed();
        }
    }
}
