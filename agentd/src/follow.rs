//! Follows the app's bucket: who asks, how often, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use deploy::agent_config::AgentConfig;
use deploy::state::State;
use deploy::store::gcs::{Access, EMULATOR_VARIABLE, Renewal, emulator};
use deploy::store::{LastLook, Store};
use deploy::{Timestamp, layout};
use google_cloud_auth::credentials::Builder;
use tokio::sync::{mpsc, watch};

use crate::conduct::Rolling;
use crate::pace::{Pace, pace};

/// After a failed look at the bucket.
const WATCH_FAILED_PAUSE: Duration = Duration::from_secs(1);

/// How to get at a bucket of Cloud Storage: as the machine's service account, or whoever the
/// application default credentials name.
pub(crate) fn access(config: &AgentConfig) -> anyhow::Result<Access> {
    let variable = || std::env::var(EMULATOR_VARIABLE).ok();
    if let Some(endpoint) = config.endpoint.clone().or_else(variable).and_then(|it| emulator(&it)) {
        return Ok(Access::anonymous(endpoint));
    }
    // What they are wanting is mended while the app runs.
    Ok(Access::with_renewal(Renewal::new(|| Builder::default().build())))
}

/// Reads the state whenever it changes; the more often while its release `rolls`. While it cannot be read the app goes on as it is.
pub(crate) async fn follow(
    store: Arc<dyn Store>,
    app: String,
    states: mpsc::UnboundedSender<State>,
    mut rolls: watch::Receiver<Option<Rolling>>,
    last_look: LastLook,
) {
    let mut watch = loop {
        match store.watch(layout::STATE) {
            Ok(watch) => break watch,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot watch the bucket");
                tokio::time::sleep(WATCH_FAILED_PAUSE).await;
            }
        }
    };
    watch.tell_looks(last_look);
    let mut newest = None;
    loop {
        let rolling = rolls.borrow_and_update().map(|rolling| rolling.look);
        let Pace { interval, holds_for } = pace(newest.as_ref(), rolling, Timestamp::now());
        watch.set_interval(interval);
        let seen = tokio::select! {
            seen = watch.next() => seen,
            () = tokio::time::sleep(holds_for.unwrap_or(Duration::MAX)) => continue,
            Ok(()) = rolls.changed() => continue,
        };
        let state = match seen {
            Ok(object) => State::from_object(&object.data).map_err(anyhow::Error::new),
            Err(error) => Err(error.into()),
        };
        match state {
            Ok(state) if state.app == app => {
                newest = Some(state.clone());
                if states.send(state).is_err() {
                    return;
                }
            }
            Ok(state) => {
                tracing::error!(found = state.app, "this bucket is another app's: nothing changes");
            }
            Err(error) => {
                tracing::warn!("the state cannot be used, and the app goes on as it is: {error:#}");
                tokio::time::sleep(WATCH_FAILED_PAUSE).await;
            }
        }
    }
}
