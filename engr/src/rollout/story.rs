//! What people are told of a rollout. Pure.

use deploy::release::Release;
use deploy::report::Failure;
use deploy::rollout::{Halt, OnFailure, Plan, Progress, Stage};

use crate::output::when;

/// What became of `release`, if it did not stay: `v7 was taken back after 12 s: hello-2: exited with
/// code 3; hello runs v6`. `base` is what was before it.
pub fn what_became(
    app: &str,
    release: &Release,
    progress: &Progress,
    base: Option<u64>,
) -> Option<String> {
    if progress.release != release.id {
        return None;
    }
    let what = match progress.stage {
        Stage::Reverting | Stage::Reverted => "was taken back",
        Stage::Halted => "was halted",
        Stage::Canary | Stage::Rolling | Stage::Watching | Stage::Done | Stage::Unknown => {
            return None;
        }
    };
    let why = progress.halt.as_ref().map(|halt| why(release, halt)).unwrap_or_default();
    let base = base.filter(|_| progress.stage.is_taken_back());
    let runs = base.map(|base| format!("; {app} runs v{base}")).unwrap_or_default();
    Some(format!("v{} {what}{why}{runs}", release.number))
}

/// ` after 12 s: hello-2: exited with code 3`.
fn why(release: &Release, halt: &Halt) -> String {
    let after = when::length(when::between(release.published, halt.at));
    format!(" after {after}: {}", halt.message)
}

/// The last lines of an app that failed, with a title.
pub fn last_lines(instance: &str, failure: &Failure) -> Vec<String> {
    let what = if failure.last_lines.is_empty() { "no output" } else { "last lines" };
    let title = format!("{instance}, {what}");
    let lines = failure.last_lines.iter().map(|line| format!("  │ {line}"));
    std::iter::once(title).chain(lines).collect()
}

/// How a release would go through `instances`: `canary 1, bake 10s, then all; watched for 1m, and taken
/// back if one fails`.
pub fn plan_text(plan: &Plan, instances: usize, is_graceful: bool, has_base: bool) -> String {
    let rules = &plan.rules;
    let (canary, parallel) = (rules.canary.of(instances), rules.parallel(instances, is_graceful));
    let rest = match instances.saturating_sub(canary) {
        rest if parallel >= rest => "all".to_owned(),
        _ => format!("{parallel} at a time"),
    };
    let order = match (plan.now, canary) {
        (true, _) if instances == 1 => "at once".to_owned(),
        (true, _) => "all at once".to_owned(),
        (false, 0) => rest,
        (false, canary) => format!("canary {canary}, bake {}, then {rest}", rules.bake),
    };
    let end = match rules.on_failure {
        OnFailure::Revert if has_base => "taken back",
        OnFailure::Revert | OnFailure::Halt => "halted",
    };
    let fail = match rules.max_failures {
        0 => "one fails".to_owned(),
        some => format!("more than {some} fail"),
    };
    format!("{order}; watched for {}, and {end} if {fail}", rules.watch_for)
}

#[cfg(test)]
mod tests {
    use deploy::rollout::{Limit, Rules};

    use super::*;
    use crate::follow::fixtures::{at, failure, halt, progress, release};

    #[test]
    fn the_next_command_says_what_became_of_the_release_before() {
        let release = release(7);
        let said = |stage, halt| {
            let progress = Progress { halt, ..progress(stage) };
            what_became("hello", &release, &progress, Some(6))
        };
        assert_eq!(
            said(Stage::Reverted, Some(halt())).as_deref(),
            Some("v7 was taken back after 12 s: hello-2: exited with code 3; hello runs v6")
        );
        assert_eq!(
            said(Stage::Halted, Some(halt())).as_deref(),
            Some("v7 was halted after 12 s: hello-2: exited with code 3")
        );
        assert_eq!(
            said(Stage::Reverted, None).as_deref(),
            Some("v7 was taken back; hello runs v6")
        );
        for stage in [Stage::Canary, Stage::Rolling, Stage::Watching, Stage::Done] {
            assert_eq!(said(stage, None), None, "{stage:?}");
        }
        let other = Release { id: deploy::id::Id::fixed("other"), ..release.clone() };
        assert_eq!(what_became("hello", &other, &progress(Stage::Reverted), None), None);
        assert!(at("2026-11-22T10:00:12Z") == halt().at);
    }

    #[test]
    fn the_way_through_the_fleet_in_one_line() {
        let rules = Rules::default();
        let plan = |now, rules: &Rules| Plan { now, instances: 0, rules: rules.clone() };
        let of = |plan: &Plan, instances| plan_text(plan, instances, true, true);
        assert_eq!(
            of(&plan(false, &rules), 3),
            "canary 1, bake 10s, then all; watched for 1m, and taken back if one fails"
        );
        assert_eq!(
            plan_text(&plan(false, &rules), 8, false, true),
            "canary 1, bake 10s, then 2 at a time; watched for 1m, and taken back if one fails"
        );
        let two = Rules {
            canary: Limit::Count(0),
            max_parallel: Some(Limit::Count(2)),
            max_failures: 3,
            on_failure: OnFailure::Halt,
            ..rules.clone()
        };
        assert_eq!(
            of(&plan(false, &two), 20),
            "2 at a time; watched for 1m, and halted if more than 3 fail"
        );
        let all = of(&plan(true, &rules), 3);
        assert_eq!(all, "all at once; watched for 1m, and taken back if one fails");
        let first = plan_text(&plan(true, &rules), 1, true, false);
        assert_eq!(first, "at once; watched for 1m, and halted if one fails");
    }

    #[test]
    fn last_lines_have_a_title() {
        let failure = failure(deploy::report::Stage::Ready);
        assert_eq!(
            last_lines("hello-2", &failure),
            ["hello-2, last lines", "  │ boot", "  │ panic: no database"]
        );
        let silent = Failure { last_lines: Vec::new(), ..failure };
        assert_eq!(last_lines("hello-2", &silent), ["hello-2, no output"]);
    }
}
