//! The app's bucket: whether it is reached, how it is set, and what may be done in it.

use std::time::Duration;

use deploy::Timestamp;
use deploy::store::gcs::Probe;
use deploy::store::gcs::bucket::{Bucket, DEPLOYER_PERMISSIONS, Effect, Flaw, Patch, flaws};
use deploy::store::{ErrorKind, Gcs, StoreError};

use super::finding::Finding;
use crate::bucket::{gcs_of, store_of, url};
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::output::when;

/// A clock that is wrong by more makes claims end too early or too late.
const SKEW_WEAK: Duration = Duration::from_secs(5);

/// By more than a claim's life nobody's claim is believed.
const SKEW_BAD: Duration = Duration::from_secs(30);

/// What to do when the service is there and does not work.
const HEALTH: &str = "see whether https://status.cloud.google.com knows of it";

/// Looks at the bucket, and mends what can be mended if `fix`.
pub async fn look(app: &AppContext, fix: bool) -> Vec<Finding> {
    let project = app.config.project.as_deref().unwrap_or("none");
    let mut findings = vec![Finding::good("project", project)];
    match gcs_of(&app.name, &app.config) {
        Ok(Some(gcs)) => findings.extend(look_at(app, &gcs, fix).await),
        Ok(None) => findings.push(folder(app)),
        Err(failure) => findings.push(Finding::failed("bucket", &failure)),
    }
    findings
}

/// A bucket in a folder has no settings.
fn folder(app: &AppContext) -> Finding {
    match store_of(&app.name, &app.config) {
        Ok(store) => Finding::good("bucket", store.url()),
        Err(failure) => Finding::failed("bucket", &failure),
    }
}

async fn look_at(app: &AppContext, gcs: &Gcs, fix: bool) -> Vec<Finding> {
    let before = Timestamp::now();
    let probe = match gcs.probe().await {
        Ok(probe) => probe,
        Err(error) => return vec![unreachable(gcs, error)],
    };
    let mut findings = vec![Finding::good(
        "reach",
        format!("{} answers in {}", gcs.endpoint(), when::length(probe.took)),
    )];
    findings.extend(skew(&probe, before));
    let bucket = match gcs.bucket().await {
        Ok(Some(bucket)) => bucket,
        Ok(None) => {
            findings.push(missing(app));
            return findings;
        }
        Err(error) => {
            findings.push(refused(error));
            return findings;
        }
    };
    findings.push(Finding::good("bucket", described(gcs, &bucket)));
    findings.extend(settings(app, gcs, &bucket, fix).await);
    findings.push(permissions(gcs).await);
    findings
}

fn unreachable(gcs: &Gcs, error: StoreError) -> Finding {
    let remedy = match error.kind {
        ErrorKind::Unauthenticated => None,
        _ => Some(format!("see whether this machine reaches {}", gcs.endpoint())),
    };
    let mut failure = Failure::from(error);
    failure.hints.extend(remedy);
    Finding::failed("reach", &failure)
}

fn missing(app: &AppContext) -> Finding {
    let url = url(&app.name, &app.config).ok().flatten().unwrap_or_default();
    Finding::weak(
        "bucket",
        format!("{url} is not there yet"),
        Some(format!("the first deploy makes it: `engr {} deploy`", app.name)),
    )
}

fn refused(error: StoreError) -> Finding {
    match error.kind {
        ErrorKind::Forbidden => {
            let text = error.cause.as_ref().map_or_else(|| error.to_string(), ToString::to_string);
            let remedy = "it may be somebody else's: name another with `config:set bucket gs://…`; \
                          or have storage.buckets.get granted";
            Finding::bad("bucket", text, Some(remedy.to_owned()), Exit::NotAllowed)
        }
        ErrorKind::Unavailable => Finding::failed("bucket", &Failure::from(error).hint(HEALTH)),
        _ => Finding::failed("bucket", &error.into()),
    }
}

fn described(gcs: &Gcs, bucket: &Bucket) -> String {
    let rules = bucket.lifecycle.rule.len();
    let soft = bucket.soft_delete_policy.map_or(0, |policy| policy.seconds) / 86_400;
    let on = |is_on: bool| if is_on { "on" } else { "off" };
    format!(
        "gs://{} in {}: versioning {}, uniform access {}, {rules} lifecycle rules, soft delete {soft} days",
        gcs.name(),
        bucket.location,
        on(bucket.versioning.enabled),
        on(bucket.iam_configuration.uniform_bucket_level_access.enabled),
    )
}

/// By the whole second that the service tells; half of the way there is the service's.
fn skew(probe: &Probe, before: Timestamp) -> Option<Finding> {
    const WHAT: &str = "clock";
    let middle = before + probe.took / 2;
    let there = probe.date?;
    let off = there.duration_since(middle);
    let way = if off.is_negative() { "ahead" } else { "behind" };
    let off = Duration::try_from(off.abs()).unwrap_or_default();
    let off = off.saturating_sub(Duration::from_secs(1));
    let remedy = || Some("set this machine's clock, by NTP".to_owned());
    let text = || format!("this machine's clock is {} {way}", when::length(off));
    Some(if off >= SKEW_BAD {
        Finding::bad(WHAT, text(), remedy(), Exit::Internal)
    } else if off >= SKEW_WEAK {
        Finding::weak(WHAT, text(), remedy())
    } else {
        Finding::good(WHAT, "right to the second")
    })
}

/// What is wrong with its settings, or that nothing is.
async fn settings(app: &AppContext, gcs: &Gcs, bucket: &Bucket, fix: bool) -> Vec<Finding> {
    let flaws = flaws(bucket);
    if flaws.is_empty() {
        return vec![Finding::good("settings", "as they should be")];
    }
    let patch = merged(&flaws);
    let mut mended = false;
    if fix && !patch.is_empty() {
        match mend(gcs, &patch, bucket).await {
            Ok(()) => mended = true,
            Err(failure) => return vec![Finding::failed("settings", &failure)],
        }
    }
    flaws.into_iter().map(|flaw| told(app, flaw, mended)).collect()
}

fn told(app: &AppContext, flaw: Flaw, mended: bool) -> Finding {
    const WHAT: &str = "settings";
    let by_patch = !flaw.mend.is_empty();
    if by_patch && mended {
        let wait = match flaw.mend.versioning {
            Some(_) => "; it holds for what is written 30 s from now",
            None => "",
        };
        return Finding::good(WHAT, format!("mended: {}{wait}", flaw.what));
    }
    let remedy = match by_patch {
        true => Some(format!("`engr doctor {} --fix` mends it", app.name)),
        false => flaw.remedy,
    };
    match flaw.effect {
        Effect::Breaks => Finding::bad(WHAT, flaw.what, remedy, Exit::Usage),
        Effect::Weakens => Finding::weak(WHAT, flaw.what, remedy),
    }
}

/// All that mends, in one change.
fn merged(flaws: &[Flaw]) -> Patch {
    flaws.iter().fold(Patch::default(), |all, Flaw { mend, .. }| Patch {
        versioning: mend.versioning.or(all.versioning),
        lifecycle: mend.lifecycle.clone().or(all.lifecycle),
        iam_configuration: mend.iam_configuration.clone().or(all.iam_configuration),
    })
}

async fn mend(gcs: &Gcs, patch: &Patch, seen: &Bucket) -> CommandResult<()> {
    gcs.patch(patch, seen).await.map(drop).map_err(|error| {
        let hint = (error.kind == ErrorKind::Lost)
            .then_some("somebody else has changed the bucket meanwhile: look again");
        hint.into_iter().fold(Failure::from(error), Failure::hint)
    })
}

async fn permissions(gcs: &Gcs) -> Finding {
    const WHAT: &str = "permission";
    let permitted = match gcs.permitted(&DEPLOYER_PERMISSIONS).await {
        Ok(permitted) => permitted,
        Err(error) => return Finding::failed(WHAT, &error.into()),
    };
    let lacks = |name: &&&str| !permitted.iter().any(|has| has == **name);
    let lacking: Vec<&str> = DEPLOYER_PERMISSIONS.iter().filter(lacks).copied().collect();
    match lacking.is_empty() {
        true => Finding::good(WHAT, "to read, publish and prune"),
        false => Finding::bad(
            WHAT,
            format!("you may not do all that a deploy does: {} missing", lacking.join(", ")),
            Some(
                "have the role Storage Object Admin (roles/storage.objectAdmin) granted".to_owned(),
            ),
            Exit::NotAllowed,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Health;
    use super::*;

    #[test]
    fn a_clock_is_judged_by_whole_seconds() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let health = |seconds: i64| {
            let date = Some(Timestamp::from_second(1_000_000 + seconds).unwrap());
            skew(&Probe { took: Duration::from_millis(40), date }, now).unwrap().health
        };
        assert_eq!([0, 1, -1, 5, -5].map(health), [Health::Good; 5]);
        assert_eq!([7, -7, 30].map(health), [Health::Weak; 3]);
        assert_eq!([40, -4_000].map(health), [Health::Bad; 2]);
        assert_eq!(skew(&Probe { took: Duration::ZERO, date: None }, now), None);
    }
}
