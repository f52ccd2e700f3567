//! What a release names is in the bucket before the release is.

use std::fmt::Display;
use std::path::Path;

use deploy::Digest;
use deploy::desired_agent::AgentBinary;
use deploy::environment::Environment;
use deploy::layout;
use deploy::publish::put_once;
use deploy::release::Artifact;
use deploy::state::State;
use deploy::store::{ErrorKind, Store, with_tries};

use crate::failure::{CommandResult, Exit, Failure, OrFail};
use crate::output::{Output, bytes};

/// Uploads an archive unless the bucket has it, to be named after `state`.
pub async fn upload_artifact(
    store: &dyn Store,
    output: &Output,
    state: &State,
    artifact: &Artifact,
    archive: &Path,
) -> CommandResult<()> {
    upload(store, output, state, &layout::artifact(&artifact.digest), artifact.size, archive).await
}

/// Uploads an agent unless the bucket has it, to be named after `state`.
pub async fn upload_agent(
    store: &dyn Store,
    output: &Output,
    state: &State,
    binary: &AgentBinary,
    file: &Path,
) -> CommandResult<()> {
    upload(store, output, state, &layout::agent(&binary.digest), binary.size, file).await
}

async fn upload(
    store: &dyn Store,
    output: &Output,
    state: &State,
    name: &str,
    size: u64,
    file: &Path,
) -> CommandResult<()> {
    let phase = output.phase("upload");
    let progress = |done| phase.progress(done, size);
    let put = async |expect| store.upload(name, file, expect, &progress).await;
    let what = match put_once(store, state, name, put).await? {
        true => bytes(size),
        false => "nothing to upload, the bucket has it".to_owned(),
    };
    phase.done(what);
    Ok(())
}

/// Puts an environment into the bucket, to be named after `state`.
pub async fn upload_environment(
    store: &dyn Store,
    state: &State,
    environment: &Environment,
) -> CommandResult<Digest> {
    let (data, digest) = environment.to_object();
    let name = layout::environment(&digest);
    put_once(store, state, &name, async |expect| store.write(&name, &data, expect).await).await?;
    Ok(digest)
}

/// Reads an environment of the bucket; none is the empty one.
pub async fn read_environment(
    store: &dyn Store,
    digest: Option<&Digest>,
) -> CommandResult<Environment> {
    let Some(digest) = digest else { return Ok(Environment::default()) };
    let name = layout::environment(digest);
    let object = match with_tries(async || store.read(&name).await).await {
        Ok(object) => object,
        Err(error) if error.kind == ErrorKind::NotFound => {
            return Err(unusable(&name, "is no longer in the bucket"));
        }
        Err(error) if error.kind == ErrorKind::Corrupt => {
            return Err(unusable(&name, "is damaged in the bucket"));
        }
        Err(error) => return Err(error.into()),
    };
    Environment::from_object(&object.data, digest)
        .or_fail(Exit::Internal, format_args!("cannot use {name}"))
}

/// Makes sure that the bucket still has these objects, whole, before a release names them again.
pub async fn ensure_whole(store: &dyn Store, objects: &[String]) -> CommandResult<()> {
    for name in objects {
        match with_tries(async || store.stat(name).await).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(unusable(name, "is no longer in the bucket")),
            Err(error) if error.kind == ErrorKind::Corrupt => {
                return Err(unusable(name, "is damaged in the bucket"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes sure that a prune which did not come to its end leaves what those releases have: what one
/// of them has is kept. `what` they are for is named to whom it is refused.
pub fn ensure_kept(
    app: &str,
    state: &State,
    what: impl Display,
    releases: impl IntoIterator<Item = u64>,
) -> CommandResult<()> {
    match state.prune_unfinished() {
        Some(from) if releases.into_iter().all(|number| number < from) => {
            let why = "has not come to its end and may still remove it";
            let error = anyhow::anyhow!("{what} cannot be used: a prune of {app} {why}");
            Err(Failure::new(Exit::Lost, error)
                .hint(format_args!("let it come to its end with `engr {app} prune`")))
        }
        _ => Ok(()),
    }
}

fn unusable(name: &str, why: &str) -> Failure {
    let failure = Failure::new(Exit::Internal, anyhow::anyhow!("{name} {why}"));
    failure.hint(if name.starts_with(layout::ARTIFACTS) {
        "check its source out and deploy: the same source is the same artifact"
    } else if name.starts_with(layout::AGENTS) {
        "bring it again with `engr <app> agent:update --binary PATH`"
    } else {
        "go back to a release with another environment, or set it anew"
    })
}
