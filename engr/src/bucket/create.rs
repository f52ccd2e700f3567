//! Makes an app's bucket, and sees that one that is there can be deployed to.

use deploy::store::gcs::bucket::{
    APP_LABEL, Bucket, Effect, NewBucket, SOFT_DELETE, STATES_KEPT, flaws,
};
use deploy::store::{ErrorKind, Gcs, StoreError};

use super::{gcs_of, location};
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::output::{Output, ask};

/// Sees to it that the app's bucket can be deployed to, before anything is written there: makes it if
/// it is missing, and refuses one whose settings would break the deploy. What it makes it shows
/// before, and asks, unless `yes`.
pub async fn ready(app: &AppContext, output: &Output, yes: bool) -> CommandResult<()> {
    let Some(gcs) = gcs_of(&app.name, &app.config)? else { return Ok(()) };
    match gcs.bucket().await {
        Ok(Some(bucket)) => refuse_broken(app, &gcs, &bucket),
        Ok(None) => create(app, &gcs, output, yes).await,
        // Who may publish need not be allowed to see the settings.
        Err(error) if error.kind == ErrorKind::Forbidden => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn create(app: &AppContext, gcs: &Gcs, output: &Output, yes: bool) -> CommandResult<()> {
    let new = planned(app);
    tell(output, gcs, &new);
    if !yes {
        if !ask::can_ask() {
            return Err(Failure::usage("the bucket is missing, and nobody is there to confirm it")
                .hint(format!("make it with `engr {} deploy --yes`", app.name)));
        }
        if !ask::confirm("Create it?")? {
            return Err(Failure::usage("no bucket, no deploy: nothing was made"));
        }
    }
    let phase = output.phase("bucket");
    match gcs.create(&new).await {
        Ok(_) => phase.done(format_args!("gs://{} created", gcs.name())),
        Err(error) if error.kind == ErrorKind::Lost => match gcs.bucket().await {
            // Made by a try whose answer was lost, or by another deployer of the app: all the same.
            Ok(Some(bucket)) if bucket.labels.get(APP_LABEL) == Some(&app.name) => {
                phase.done(format_args!("gs://{} is there", gcs.name()));
            }
            _ => return Err(taken(app, error)),
        },
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The bucket that the app is to have.
fn planned(app: &AppContext) -> NewBucket {
    let project = app.config.project.clone().unwrap_or_default();
    NewBucket { project, app: app.name.clone(), location: location(&app.config) }
}

fn tell(output: &Output, gcs: &Gcs, new: &NewBucket) {
    output.transient("");
    output.line(format_args!("The app has no bucket yet. This one will be made for it:"));
    let days = SOFT_DELETE.as_secs() / 86_400;
    for (what, how) in [
        ("bucket", format!("gs://{}", gcs.name())),
        ("project", new.project.clone()),
        ("location", new.location.clone()),
        ("versioning", "on: older states are the history that a rollback goes back to".to_owned()),
        ("access", "uniform; public access prevented".to_owned()),
        ("lifecycle", format!("the newest {STATES_KEPT} states stay, artifacts until `prune`")),
        ("soft delete", format!("{days} days")),
    ] {
        output.line(format_args!("  {what:<12}{how}"));
    }
}

/// The name is somebody else's.
fn taken(app: &AppContext, error: StoreError) -> Failure {
    Failure::new(Exit::NotAllowed, error)
        .hint("names of buckets are taken worldwide, and somebody else has this one")
        .hint(format!("name another with `engr {} config:set bucket gs://…`", app.name))
}

fn refuse_broken(app: &AppContext, gcs: &Gcs, bucket: &Bucket) -> CommandResult<()> {
    let mut breaking = flaws(bucket).into_iter().filter(|flaw| flaw.effect == Effect::Breaks);
    let Some(flaw) = breaking.next() else { return Ok(()) };
    let failure = Failure::usage(format_args!("gs://{}: {}", gcs.name(), flaw.what));
    Err(match flaw.remedy {
        Some(remedy) => failure.hint(remedy),
        None => failure.hint(format_args!("mend it with `engr doctor {} --fix`", app.name)),
    })
}
