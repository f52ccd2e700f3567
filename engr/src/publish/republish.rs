//! The current release's artifact and environment again, in another way.

use deploy::Timestamp;
use deploy::publish::{SwapError, load};
use deploy::release::{Draft, Kind};
use deploy::settings::Settings;

use super::refusal::{NoStep, load_failure, no_release, swap_failure};
use super::{Publisher, ensure_whole};
use crate::cli::PublishArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit};
use crate::output::Output;
use crate::output::events::Outcome;

/// The same release again, so that every instance starts it anew.
pub async fn restart(app: &AppContext, args: &PublishArgs) -> CommandResult {
    let output = Output::new(args.follow.json);
    let publisher = Publisher::open(app, args, &output)?;
    if publisher.state().await?.release.is_none() {
        return Err(no_release(&app.name));
    }
    publisher.unfrozen().await?;
    publisher.revive().await?;
    again(publisher, Kind::Restart, None).await
}

/// The current release with the settings that `app` has by now; `keys` are those that changed.
///
/// Without a release there is nothing to publish: the first deploy takes the settings along. The
/// fleet is brought to the new settings first, since a port may be new to it.
pub async fn reconfigure(app: &AppContext, keys: Vec<String>, args: &PublishArgs) -> CommandResult {
    let output = Output::new(args.follow.json);
    let publisher = Publisher::open(app, args, &output)?;
    let settings = app.config.settings();
    let Some(release) = publisher.state().await?.release else {
        output
            .line(format_args!("{} has no release yet: the first deploy takes it along", app.name));
        return Ok(publisher.end(Exit::Done, Outcome::Staged, None));
    };
    if release.settings == settings {
        output
            .line(format_args!("nothing of it reaches v{}: no release is needed", release.number));
        return Ok(publisher.end(Exit::Done, Outcome::Unchanged, Some(release.number)));
    }
    publisher.unfrozen().await?;
    publisher.interrupt.unless_raised(publisher.bring_up()).await?;
    again(publisher, Kind::Config(keys), Some(settings)).await
}

/// Whether a change of `app`'s settings may be published now: asked before it is written down.
pub async fn may_reconfigure(app: &AppContext) -> CommandResult<()> {
    let loaded = load(&*app.store()?, &app.name).await.map_err(load_failure)?;
    let Some(release) = &loaded.state.release else { return Ok(()) };
    if release.settings == app.config.settings() {
        return Ok(());
    }
    let unfrozen = loaded.state.unfrozen(Timestamp::now());
    unfrozen
        .map_err(|refused| swap_failure(&app.name, SwapError::Refused(NoStep::Refused(refused))))
}

async fn again(publisher: Publisher<'_>, kind: Kind, settings: Option<Settings>) -> CommandResult {
    let (by, message) = (publisher.app.actor(), publisher.args.message.clone());
    let step = |state: deploy::state::State| {
        let release = state.release.as_ref().ok_or(NoStep::NoRelease)?;
        let mut draft = Draft::again(release, by.clone(), kind.clone(), message.clone());
        if let Some(settings) = &settings {
            draft.settings = settings.clone();
        }
        Ok((state, draft))
    };
    let release = publisher.state().await?.release;
    ensure_whole(&*publisher.store, &release.map(|r| r.objects()).unwrap_or_default()).await?;
    let published = publisher.publish(None, step).await?;
    publisher.follow(&published).await
}
