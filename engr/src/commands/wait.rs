//! `engr <app> wait`: follows a release to its end, as the command does that published it.

use std::time::Instant;

use deploy::history::History;
use deploy::publish::load;

use crate::cli::WaitArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Failure};
use crate::follow;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::publish::{damage_text, load_failure, no_release};

/// Follows the release that was asked for, or the current one.
pub async fn run(app: &AppContext, args: WaitArgs) -> CommandResult {
    let (began, output) = (Instant::now(), Output::new(args.json));
    let (interrupt, store) = (Interrupt::new()?, app.store()?);
    let provider = app.fleet_of(store.clone())?;
    let loaded = load(&*store, &app.name).await.map_err(load_failure)?;
    if let Some(damage) = loaded.damage {
        output.warn(format_args!("{}", damage_text(damage)));
    }
    let state = loaded.state;
    let current = state.release.ok_or_else(|| no_release(&app.name))?;
    let newest = current.number;
    let release = match args.release.filter(|number| *number != newest) {
        None => current,
        Some(number) => History::read(&*store).await?.get(number).cloned().ok_or_else(|| {
            Failure::usage(format_args!("{} has no release v{number}", app.name))
                .hint(format_args!("the current one is v{newest}"))
        })?,
    };
    let base = state.base.map(|base| base.release.number);
    let base = base.filter(|base| release.number == newest && *base != newest);
    let followed = follow::Followed {
        app: &app.name,
        release: &release,
        undo: base.map(|base| format!("engr {} rollback v{base}", app.name)),
        began,
        addresses: provider.addresses(),
        how_to_make: provider.how_to_make(),
    };
    let timeout = args.wait_timeout.map_or(follow::WAIT_TIMEOUT, |span| span.0);
    let fleet = follow::Fleet { store: &*store, provider: &*provider };
    follow::follow(&output, &followed, &fleet, timeout, &interrupt).await
}
