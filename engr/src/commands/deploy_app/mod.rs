//! `engr <app> deploy`: builds the app and brings it to its fleet.

mod build_only;
mod find;
mod plan;

use deploy::id::Id;
use deploy::release::{Artifact, Draft, Kind, Source};
use deploy::rollout::Plan;
use deploy::state::State;

use crate::bucket;
use crate::build::{self, Archive};
use crate::cli::DeployArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, OrFail};
use crate::output::{Output, bytes};
use crate::publish::{HeldClaim, Published, Publisher, ensure_kept, ensure_whole, upload_artifact};

/// What is to run: just built, or in the bucket already.
enum Wanted {
    Built { archive: Archive, source: Option<Source> },
    InBucket { artifact: Artifact, source: Option<Source>, releases: Vec<u64> },
}

impl Wanted {
    fn artifact(&self) -> Artifact {
        match self {
            Self::Built { archive, .. } => archive.artifact,
            Self::InBucket { artifact, .. } => *artifact,
        }
    }

    fn source(&self) -> Option<Source> {
        match self {
            Self::Built { source, .. } | Self::InBucket { source, .. } => source.clone(),
        }
    }
}

/// Deploys.
pub async fn run(app: &AppContext, args: DeployArgs) -> CommandResult {
    let output = Output::new(args.publish.follow.json);
    if args.build_only {
        return build_only::run(app, &output).await;
    }
    let publisher = Publisher::open(app, &args.publish, &output)?;
    if args.plan {
        return plan::run(&publisher, &args).await;
    }
    // What the command line or the work tree has wrong is said before anybody is kept waiting.
    let chosen = match &args.artifact {
        Some(wanted) => Some(find::in_bucket(&publisher, wanted).await?),
        None => None,
    };
    let source = match chosen {
        Some(_) => None,
        None => build::source(app).await?,
    };
    build::check_clean(source.as_ref(), args.allow_dirty, !output.is_json())?;
    bucket::ready(app, &output, args.yes).await?;
    let held = publisher.claim().await?;
    match deploy(&publisher, &held, chosen, source).await {
        Ok(published) => publisher.follow(&published).await,
        Err(failure) => Err(held.give_up(failure).await),
    }
}

/// Everything that happens under the claim.
async fn deploy(
    publisher: &Publisher<'_>,
    held: &HeldClaim,
    chosen: Option<Wanted>,
    source: Option<Source>,
) -> CommandResult<Published> {
    let prepare = async {
        let wanted = match chosen {
            Some(wanted) => wanted,
            None => {
                Wanted::Built { archive: built(publisher.app, publisher.output).await?, source }
            }
        };
        publisher.bring_up().await?;
        // Read under the claim: nobody begins a prune as long as it is ours.
        let state = publisher.state().await?;
        let (store, artifact) = (&*publisher.store, wanted.artifact());
        match &wanted {
            Wanted::Built { archive, .. } => {
                let (output, file) = (publisher.output, archive.file.path());
                upload_artifact(store, output, &state, &artifact, file).await?;
            }
            Wanted::InBucket { releases, .. } => {
                let what = format_args!("artifact {}", artifact.digest.short());
                ensure_kept(&publisher.app.name, &state, what, releases.iter().copied())?;
                ensure_whole(store, &[deploy::layout::artifact(&artifact.digest)]).await?;
            }
        }
        let environment = next_environment(&state);
        let objects: Vec<_> = environment.iter().map(deploy::layout::environment).collect();
        ensure_whole(&*publisher.store, &objects).await?;
        held.name_artifact(wanted.artifact()).await?;
        Ok(wanted)
    };
    let wanted = held.hold(&publisher.interrupt, prepare).await?;
    let (by, message) = (publisher.app.actor(), publisher.args.message.clone());
    let settings = publisher.app.config.settings();
    let id = Id::random();
    let step = |state: State| {
        let draft = Draft {
            id: id.clone(),
            by: by.clone(),
            kind: Kind::Deploy,
            message: message.clone(),
            source: wanted.source(),
            artifact: wanted.artifact(),
            environment: next_environment(&state),
            settings: settings.clone(),
            rollout: Plan::default(),
        };
        Ok((state, draft))
    };
    publisher.publish(Some(held), step).await
}

/// The environment that a deploy takes along: a staged one, else the current release's.
fn next_environment(state: &State) -> Option<deploy::Digest> {
    let current = || state.release.as_ref().and_then(|release| release.environment);
    state.staged_environment.or_else(current)
}

/// Builds and archives.
async fn built(app: &AppContext, output: &Output) -> CommandResult<Archive> {
    let phase = output.noisy_phase("build");
    let built = build::build(app).await?;
    let size = std::fs::metadata(&built.executable).map_or(0, |executable| executable.len());
    phase.done(format_args!("{} for {}, {}", app.name, built.arch.name(), bytes(size)));
    let phase = output.phase("archive");
    // Beside this thread, which renews the claim meanwhile.
    let context = app.clone();
    let packing = tokio::task::spawn_blocking(move || build::archive(&context, &built));
    let archive = packing.await.or_fail(Exit::Internal, "cannot pack the app")??;
    let artifact = archive.artifact;
    phase.done(format_args!("{}, {}", artifact.digest.short(), bytes(artifact.size)));
    Ok(archive)
}
