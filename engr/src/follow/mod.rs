//! Follows a release's way through the fleet, which conducts it by itself: by what its conductor writes,
//! and by what the instances report.
//!
//! [`mod@view`] and [`stages`] decide what is told, [`judge()`] when it has ended, [`mod@draw`] what a
//! terminal shows meanwhile, [`ending`] and [`words`] what is said of the end, all without I/O; [`watched`] looks
//! at the bucket and the provider.

mod draw;
mod ending;
#[cfg(test)]
pub(crate) mod fixtures;
mod judge;
mod stages;
mod view;
mod watched;
mod words;

use std::time::{Duration, Instant};

use deploy::release::Release;
use deploy::store::Store;

use crate::failure::CommandResult;
use crate::fleet::Provider;
use crate::interrupt::Interrupt;
use crate::output::events::Event;
use crate::output::{Live, Output};

pub use draw::summary;
use draw::{Picture, draw};
use ending::{End, Ended};
pub use ending::{detached, of};
pub use judge::Seen;
use judge::judge;
use stages::StageTracker;
pub use stages::event;
pub use view::InstanceView;
use view::Tracker;
use watched::Watched;

/// How long a rollout is followed unless `--wait-timeout` says otherwise.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How often the reports are listed.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// What is followed.
#[derive(Debug)]
pub struct Followed<'a> {
    /// The app.
    pub app: &'a str,
    /// The release.
    pub release: &'a Release,
    /// The command that goes back. None: it is the first.
    pub undo: Option<String>,
    /// When the whole command began.
    pub began: Instant,
    /// Where the app is reached.
    pub addresses: Vec<String>,
    /// How a fleet without instances gets some.
    pub how_to_make: String,
}

/// Where it goes.
pub struct Fleet<'a> {
    /// The app's bucket.
    pub store: &'a dyn Store,
    /// Its instances.
    pub provider: &'a dyn Provider,
}

/// Follows until it has ended, `timeout` has passed, or somebody interrupts; tells how it ended, and
/// gives the exit code for it.
pub async fn follow(
    output: &Output,
    followed: &Followed<'_>,
    fleet: &Fleet<'_>,
    timeout: Duration,
    interrupt: &Interrupt,
) -> CommandResult {
    let (app, release) = (followed.app, followed.release);
    let began = Instant::now();
    let mut watched = Watched::new(app, release, fleet);
    let (mut tracker, mut stages) = (Tracker::new(app, release), StageTracker::new(app, release));
    let mut live = Live::new(output);
    // Where writes are far between and each list is paid for, there is less to see.
    let poll_every = POLL_EVERY.max(fleet.store.write_interval() / 4);
    let end = loop {
        let (seen, views) = watched.look().await.map_err(|failure| {
            failure.hint(format_args!(
                "v{} is published, and its rollout goes on: `engr {app} wait v{}`",
                release.number, release.number
            ))
        })?;
        let news = stages.step(&seen, &views);
        if let Some(event) = &news.event {
            output.event(&Event::Rollout(event));
        }
        news.before.into_iter().for_each(|line| live.line(line));
        for told in tracker.step(&views) {
            output.event(&Event::Instance(&told.event));
            if let Some(line) = told.line {
                live.line(line);
            }
        }
        news.after.into_iter().for_each(|line| live.line(line));
        if output.is_terminal() {
            let picture = Picture { release, seen: &seen, views: &views, elapsed: began.elapsed() };
            let (columns, rows) = live.room();
            live.draw(draw(&picture, columns, rows));
        }
        let end = match judge(release, &seen, &views) {
            Some(end) => end,
            None if began.elapsed() >= timeout => End::TimedOut(timeout),
            None => tokio::select! {
                () = interrupt.raised() => End::Interrupted,
                () = tokio::time::sleep(poll_every) => continue,
            },
        };
        break Ended { followed, end, seen, views };
    };
    drop(live);
    Ok(ending::tell(output, &end, began.elapsed()))
}
