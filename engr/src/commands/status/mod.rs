//! `engr <app> status`: what is desired, and what runs where.

mod agents;
mod at;
mod rollout;
mod snapshot;
mod table;

use std::time::Duration;

use deploy::Timestamp;

use crate::cli::StatusArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit};
use crate::interrupt::Interrupt;
use crate::output::{Live, Output};
use snapshot::{Snapshot, Source};

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// Shows the app's status.
pub async fn run(app: &AppContext, args: StatusArgs) -> CommandResult {
    let output = Output::new(args.json);
    if let Some(time) = &args.at {
        return at::run(app, &output, time).await;
    }
    let mut source = Source::open(app)?;
    if args.watch {
        return watch(&output, &mut source).await;
    }
    let snapshot = source.look().await?;
    output.event(&snapshot.json());
    output.line(table::text(&snapshot, Timestamp::now()));
    Ok(Exit::Done)
}

/// Shows it anew whenever it changes, until Ctrl-C. On a terminal ages go on counting.
async fn watch(output: &Output, source: &mut Source<'_>) -> CommandResult {
    let interrupt = Interrupt::new()?;
    let mut live = Live::new(output);
    let mut shown: Option<Snapshot> = None;
    loop {
        let snapshot = source.look().await?;
        let text = table::text(&snapshot, Timestamp::now());
        live.draw(text.lines().map(str::to_owned).collect());
        if shown.as_ref() != Some(&snapshot) {
            output.event(&snapshot.json());
            if !output.is_terminal() {
                output.line(format_args!("{text}\n"));
            }
            shown = Some(snapshot);
        }
        tokio::select! {
            () = interrupt.raised() => break,
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
    }
    // What was shown last stays.
    drop(live);
    if let (true, Some(snapshot)) = (output.is_terminal(), &shown) {
        output.line(table::text(snapshot, Timestamp::now()));
    }
    Ok(Exit::Done)
}
