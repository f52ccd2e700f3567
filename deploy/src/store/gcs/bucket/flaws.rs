//! What is wrong with a bucket. Pure.

use serde_json::json;

use super::{Bucket, Condition, Lifecycle, Patch, Rule, Switch, rules};
use crate::layout;

/// What comes of a flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Deploys or rollbacks cannot work.
    Breaks,
    /// They work, and something is not as safe or as tidy as it should be.
    Weakens,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Flaw {
    /// What comes of it.
    pub effect: Effect,
    /// What is so, and why that is bad.
    pub what: String,
    /// What mends it. Empty where only its owner can.
    pub mend: Patch,
    /// What a person can do where no patch does.
    pub remedy: Option<String>,
}

/// All that is wrong with `bucket`, the worst first.
pub fn flaws(bucket: &Bucket) -> Vec<Flaw> {
    let mut found = Vec::new();
    found.extend(retention(bucket));
    if bucket.default_event_based_hold {
        found.push(Flaw {
            effect: Effect::Breaks,
            what: "new objects are held (default event-based hold), so that state.json can be \
                   written only once"
                .to_owned(),
            mend: Patch::default(),
            remedy: Some("turn the bucket's default event-based hold off".to_owned()),
        });
    }
    if !bucket.versioning.enabled {
        found.push(Flaw {
            effect: Effect::Breaks,
            what: "versioning is off, so that there is no history and no rollback".to_owned(),
            mend: Patch { versioning: Some(Switch { enabled: true }), ..Patch::default() },
            remedy: None,
        });
    }
    found.extend(bucket.lifecycle.rule.iter().filter_map(harmful));
    found.extend(access(bucket));
    found.extend(missing_rules(bucket));
    if bucket.soft_delete_policy.is_none_or(|policy| policy.seconds == 0) {
        found.push(Flaw {
            effect: Effect::Weakens,
            what: "soft delete is off: what is removed by mistake cannot be brought back"
                .to_owned(),
            mend: Patch::default(),
            remedy: Some("set a soft delete duration of 7 days for the bucket".to_owned()),
        });
    }
    found
}

fn retention(bucket: &Bucket) -> Option<Flaw> {
    let policy = bucket.retention_policy.filter(|policy| policy.seconds > 0)?;
    let remedy = match policy.is_locked {
        true => "it is locked and cannot be taken away: name another bucket with the key `bucket`",
        false => "remove the bucket's retention policy",
    };
    Some(Flaw {
        effect: Effect::Breaks,
        what: format!(
            "a retention policy forbids overwriting for {} s, so that state.json cannot be moved \
             forward",
            policy.seconds
        ),
        mend: Patch::default(),
        remedy: Some(remedy.to_owned()),
    })
}

/// A rule that removes what is live, or states that are needed.
fn harmful(rule: &Rule) -> Option<Flaw> {
    let Condition { is_live, num_newer_versions, matches_prefix, .. } = &rule.condition;
    let is_ours = rules().contains(rule);
    let spares_live = *is_live == Some(false)
        || num_newer_versions.is_some_and(|newer| newer > 0)
        || rule.condition.days_since_noncurrent_time.is_some();
    let touches = |name: &str| {
        matches_prefix.is_empty()
            || matches_prefix
                .iter()
                .any(|prefix| name.starts_with(prefix) || prefix.starts_with(name))
    };
    let needed = [layout::STATE, layout::ARTIFACTS, layout::ENVIRONMENTS, layout::AGENTS];
    let what = needed.into_iter().find(|name| touches(name))?;
    if rule.action.kind != "Delete" || is_ours || (spares_live && what != layout::STATE) {
        return None;
    }
    let condition = serde_json::to_string(&rule.condition).unwrap_or_default();
    let (effect, why) = match spares_live {
        false => (Effect::Breaks, "what is still needed"),
        true => (Effect::Weakens, "states that a rollback may want"),
    };
    Some(Flaw {
        effect,
        what: format!("a lifecycle rule removes {why} ({what}…): {condition}"),
        mend: Patch::default(),
        remedy: Some("remove that rule from the bucket's lifecycle".to_owned()),
    })
}

fn access(bucket: &Bucket) -> Option<Flaw> {
    let iam = &bucket.iam_configuration;
    let (uniform, prevented) =
        (iam.uniform_bucket_level_access.enabled, iam.public_access_prevention == "enforced");
    let what = match (uniform, prevented) {
        (true, true) => return None,
        (true, false) => "public access is not prevented",
        (false, true) => "access is not uniform: single objects can be opened to others",
        (false, false) => "access is not uniform, and public access is not prevented",
    };
    let mend = json!({
        "uniformBucketLevelAccess": {"enabled": true},
        "publicAccessPrevention": "enforced",
    });
    Some(Flaw {
        effect: Effect::Weakens,
        what: format!("{what}, and the bucket holds environments"),
        mend: Patch { iam_configuration: Some(mend), ..Patch::default() },
        remedy: None,
    })
}

fn missing_rules(bucket: &Bucket) -> Option<Flaw> {
    let there = &bucket.lifecycle.rule;
    let missing: Vec<Rule> = rules().into_iter().filter(|rule| !there.contains(rule)).collect();
    if missing.is_empty() {
        return None;
    }
    let all = there.iter().cloned().chain(missing).collect();
    Some(Flaw {
        effect: Effect::Weakens,
        what: "the lifecycle rules that remove old states and reports are missing".to_owned(),
        mend: Patch { lifecycle: Some(Lifecycle { rule: all }), ..Patch::default() },
        remedy: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{NewBucket, Retention, RuleAction};
    use super::*;

    fn good() -> Bucket {
        let new = NewBucket {
            project: "p".to_owned(),
            app: "a".to_owned(),
            location: "US-CENTRAL1".to_owned(),
        };
        let mut json = new.to_json("p-a");
        json["metageneration"] = json!("1");
        serde_json::from_value(json).unwrap()
    }

    fn effects(change: impl FnOnce(&mut Bucket)) -> Vec<Effect> {
        let mut bucket = good();
        change(&mut bucket);
        flaws(&bucket).into_iter().map(|flaw| flaw.effect).collect()
    }

    fn rule(condition: serde_json::Value) -> Rule {
        Rule {
            action: RuleAction { kind: "Delete".to_owned() },
            condition: serde_json::from_value(condition).unwrap(),
        }
    }

    #[test]
    fn what_we_make_has_no_flaw() {
        assert_eq!(flaws(&good()), []);
    }

    #[test]
    fn what_breaks_us_is_found() {
        assert_eq!(effects(|bucket| bucket.versioning.enabled = false), [Effect::Breaks]);
        assert_eq!(effects(|bucket| bucket.default_event_based_hold = true), [Effect::Breaks]);
        let retention = Retention { seconds: 60, is_locked: false };
        assert_eq!(effects(|bucket| bucket.retention_policy = Some(retention)), [Effect::Breaks]);
        for condition in [
            json!({"age": 30}),
            json!({"age": 30, "matchesPrefix": ["art"]}),
            json!({"age": 1, "matchesPrefix": ["state.json"]}),
        ] {
            let found = effects(|bucket| bucket.lifecycle.rule.push(rule(condition.clone())));
            assert_eq!(found, [Effect::Breaks], "{condition}");
        }
    }

    #[test]
    fn what_weakens_is_found_and_mended() {
        let weak = |change: fn(&mut Bucket)| {
            let mut bucket = good();
            change(&mut bucket);
            let found = flaws(&bucket);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].effect, Effect::Weakens);
            found[0].mend.clone()
        };
        let mend = weak(|bucket| bucket.lifecycle.rule.clear());
        assert_eq!(mend.lifecycle.unwrap().rule, rules());
        let kept = weak(|bucket| {
            bucket.lifecycle.rule = vec![rule(json!({"age": 1, "matchesPrefix": ["mine/"]}))]
        });
        assert_eq!(kept.lifecycle.unwrap().rule.len(), rules().len() + 1, "others' rules stay");
        assert!(
            weak(|b| b.iam_configuration.public_access_prevention = "inherited".to_owned())
                .iam_configuration
                .is_some()
        );
        weak(|bucket| bucket.soft_delete_policy = None);
        weak(|bucket| bucket.lifecycle.rule.push(rule(json!({"numNewerVersions": 3}))));
    }

    #[test]
    fn rules_about_others_are_none_of_our_business() {
        let other = rule(json!({"age": 1, "matchesPrefix": ["logs/"]}));
        assert_eq!(effects(|bucket| bucket.lifecycle.rule.push(other)), []);
        let class = Rule {
            action: RuleAction { kind: "SetStorageClass".to_owned() },
            condition: Condition::default(),
        };
        assert_eq!(effects(|bucket| bucket.lifecycle.rule.push(class)), []);
    }
}
