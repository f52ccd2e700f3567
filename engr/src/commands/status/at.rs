//! `--at`: what was desired then.

use deploy::Timestamp;
use deploy::history::History;
use deploy::release::Release;
use serde::Serialize;

use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::output::{Output, when};

/// `status --at --json`.
#[derive(Debug, Serialize)]
struct Then<'a> {
    app: &'a str,
    at: Timestamp,
    release: Option<u64>,
    published: Option<Timestamp>,
    by: Option<&'a str>,
    what: Option<String>,
    commit: Option<&'a str>,
    artifact: Option<deploy::Digest>,
}

/// Shows which release was current at `time`.
pub(super) async fn run(app: &AppContext, output: &Output, time: &str) -> CommandResult {
    let now = Timestamp::now();
    let at = when::parse(time, now).ok_or_else(|| {
        Failure::usage(format_args!("{time:?} is not a time"))
            .hint("write 2026-11-22T10:00Z, \"2026-11-22 10:00\", 10:00, or an age like 2h")
    })?;
    let history = History::read(&*app.store()?).await?;
    let release = history.at(at);
    output.event(&then(app, at, release));
    let shown = when::clock(at, now);
    match release {
        None => output.line(format_args!("{} had no release at {shown}", app.name)),
        Some(release) => output.line(format_args!(
            "{} at {shown}: v{} ({}) by {}, published {}, artifact {}",
            app.name,
            release.number,
            release.kind,
            release.by,
            when::clock(release.published, now),
            release.artifact.digest.short(),
        )),
    }
    Ok(Exit::Done)
}

fn then<'a>(app: &'a AppContext, at: Timestamp, release: Option<&'a Release>) -> Then<'a> {
    let source = release.and_then(|release| release.source.as_ref());
    Then {
        app: &app.name,
        at,
        release: release.map(|release| release.number),
        published: release.map(|release| release.published),
        by: release.map(|release| release.by.as_str()),
        what: release.map(|release| release.kind.to_string()),
        commit: source.map(|source| source.commit.as_str()),
        artifact: release.map(|release| release.artifact.digest),
    }
}
