//! `--artifact`: an artifact that the bucket has already.

use deploy::Digest;
use deploy::history::History;
use deploy::layout;
use deploy::release::{Artifact, Source};
use deploy::store::with_tries;

use super::Wanted;
use crate::cli::artifact_matches;
use crate::failure::{CommandResult, Failure};
use crate::publish::{Publisher, ensure_whole};

const PREFIX: &str = layout::ARTIFACTS;

/// How many known artifacts are named to somebody who named an unknown one.
const KNOWN_MAX: usize = 10;

/// An artifact of the bucket, and what the history knows of it.
struct Known {
    artifact: Artifact,
    /// Newest first.
    releases: Vec<u64>,
    source: Option<Source>,
}

/// The artifact whose SHA-256 begins with `wanted`.
pub(super) async fn in_bucket(publisher: &Publisher<'_>, wanted: &str) -> CommandResult<Wanted> {
    let all = known(publisher).await?;
    let found: Vec<_> =
        all.iter().filter(|known| artifact_matches(wanted, &known.artifact.digest)).collect();
    let [one] = found[..] else {
        let (what, named) = match found.is_empty() {
            true => ("no artifact", all.iter().collect()),
            false => ("more than one artifact", found),
        };
        let failure = Failure::usage(format_args!("{what} of the bucket begins with {wanted:?}"));
        return Err(hint(failure, &named));
    };
    ensure_whole(&*publisher.store, &[layout::artifact(&one.artifact.digest)]).await?;
    let (source, releases) = (one.source.clone(), one.releases.clone());
    Ok(Wanted::InBucket { artifact: one.artifact, source, releases })
}

fn hint(failure: Failure, named: &[&Known]) -> Failure {
    if named.is_empty() {
        return failure.hint("the bucket has none: deploy without `--artifact`");
    }
    let list = named.iter().take(KNOWN_MAX).map(|known| {
        let releases: Vec<_> = known.releases.iter().map(|number| format!("v{number}")).collect();
        let releases = if releases.is_empty() { "no release" } else { &releases.join(", ") };
        format!("{} ({releases})", known.artifact.digest.short())
    });
    let failure = failure.hint("write 6 or more of its hex digits, of one of these:");
    list.fold(failure, |failure, line| failure.hint(line))
}

/// The bucket's artifacts; the most recently released first.
async fn known(publisher: &Publisher<'_>) -> CommandResult<Vec<Known>> {
    let store = &*publisher.store;
    let listed = with_tries(async || store.list(PREFIX).await).await?;
    let history = History::read(store).await?;
    let of = |digest: Digest, size| {
        let releases = history.releases.iter().rev();
        let releases: Vec<_> = releases.filter(|r| r.artifact.digest == digest).collect();
        Known {
            artifact: Artifact { digest, size },
            source: releases.first().and_then(|release| release.source.clone()),
            releases: releases.iter().map(|release| release.number).collect(),
        }
    };
    let digests = listed.iter().filter_map(|stat| {
        Some((stat.name.strip_prefix(PREFIX)?.parse::<Digest>().ok()?, stat.size))
    });
    let mut all: Vec<_> = digests.map(|(digest, size)| of(digest, size)).collect();
    all.sort_by_key(|known| std::cmp::Reverse(known.releases.first().copied()));
    Ok(all)
}
