//! What one release changes against another. Pure; values of variables never come out of it.

use deploy::environment::Environment;
use deploy::release::{Artifact, Release};
use deploy::settings::Settings;
use deploy::store::Store;
use serde_json::{Map, Value};

use super::upload::read_environment;
use crate::failure::CommandResult;
use crate::output::Output;
use crate::output::events::{Change, ChangeEvent, Event};

/// What makes two releases the same to an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// What runs.
    pub artifact: Artifact,
    /// With which variables.
    pub environment: Environment,
    /// How.
    pub settings: Settings,
}

impl Content {
    /// The content of a release.
    pub async fn of(store: &dyn Store, release: &Release) -> CommandResult<Self> {
        Ok(Self {
            artifact: release.artifact,
            environment: read_environment(store, release.environment.as_ref()).await?,
            settings: release.settings.clone(),
        })
    }
}

/// What `new` changes against `old`; all of it, where there is nothing old.
pub fn changes(old: Option<&Content>, new: &Content) -> Vec<ChangeEvent> {
    let mut all = Vec::new();
    let artifact = old.map(|old| old.artifact.digest);
    if artifact != Some(new.artifact.digest) {
        all.push(ChangeEvent {
            what: "artifact",
            change: if artifact.is_some() { Change::Changed } else { Change::Added },
            name: None,
            from: artifact.map(|digest| digest.to_string()),
            to: Some(new.artifact.digest.to_string()),
        });
    }
    let none = Environment::default();
    all.extend(environment_changes(old.map_or(&none, |old| &old.environment), &new.environment));
    // The first release's settings are engr.json's; a list of all of them would tell nothing.
    all.extend(old.iter().flat_map(|old| settings_changes(&old.settings, &new.settings)));
    all
}

/// Which variables differ, by name.
pub fn environment_changes(old: &Environment, new: &Environment) -> Vec<ChangeEvent> {
    let event = |name: &String, change| ChangeEvent {
        what: "environment",
        change,
        name: Some(name.clone()),
        from: None,
        to: None,
    };
    let set = new.0.iter().filter_map(|(name, value)| match old.0.get(name) {
        Some(before) if before == value => None,
        Some(_) => Some(event(name, Change::Changed)),
        None => Some(event(name, Change::Added)),
    });
    let gone = old.0.keys().filter(|name| !new.0.contains_key(*name));
    let mut all: Vec<_> = set.chain(gone.map(|name| event(name, Change::Removed))).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn settings_changes(old: &Settings, new: &Settings) -> Vec<ChangeEvent> {
    let (old, new) = (fields(old), fields(new));
    let keys = new.keys().chain(old.keys().filter(|key| !new.contains_key(*key)));
    keys.filter(|key| old.get(*key) != new.get(*key))
        .map(|key| ChangeEvent {
            what: "settings",
            change: match (old.get(key), new.get(key)) {
                (None, _) => Change::Added,
                (_, None) => Change::Removed,
                _ => Change::Changed,
            },
            name: Some(key.clone()),
            from: old.get(key).map(shown),
            to: new.get(key).map(shown),
        })
        .collect()
}

fn fields(settings: &Settings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Tells of each change: a line for people, an event in JSON.
pub fn tell(output: &Output, changes: &[ChangeEvent]) {
    for change in changes {
        output.line(line(change));
        output.event(&Event::Change(change));
    }
}

fn line(event: &ChangeEvent) -> String {
    // Digests are told apart by their first digits.
    let short = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or("");
        if event.what == "artifact" { text.chars().take(12).collect() } else { text.to_owned() }
    };
    let (what, name) = (event.what, event.name.as_deref().unwrap_or(""));
    let space = if name.is_empty() { "" } else { " " };
    match (event.change, &event.from, &event.to) {
        (Change::Changed, Some(_), Some(_)) => {
            format!("{what:<11} ~ {name}{space}{} → {}", short(&event.from), short(&event.to))
        }
        (Change::Changed, ..) => format!("{what:<11} ~ {name}"),
        (Change::Added, _, to) => {
            format!("{what:<11} + {name}{space}{}", short(to)).trim_end().into()
        }
        (Change::Removed, ..) => format!("{what:<11} - {name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use deploy::Digest;

    use super::*;

    fn content(artifact: &str, variables: &[(&str, &str)], settings: Settings) -> Content {
        let variables = variables.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        Content {
            artifact: Artifact { digest: Digest::of(artifact.as_bytes()), size: 1 },
            environment: Environment(variables.collect::<BTreeMap<_, _>>()),
            settings,
        }
    }

    #[test]
    fn only_what_differs_is_told_and_no_value_of_a_variable() {
        let old = content("a", &[("GONE", "s3cret"), ("KEPT", "s3cret"), ("NEW", "s3cret")], {
            Settings { ports: vec![8080], ..Settings::default() }
        });
        let new = content("b", &[("ADDED", "s3cret"), ("KEPT", "s3cret"), ("NEW", "0ther")], {
            Settings {
                ports: vec![9090],
                drain: Some(deploy::Span::from_secs(5)),
                ..Settings::default()
            }
        });
        let lines: Vec<_> = changes(Some(&old), &new).iter().map(line).collect();
        assert_eq!(
            lines,
            [
                "artifact    ~ ca978112ca1b → 3e23e8160039",
                "environment + ADDED",
                "environment - GONE",
                "environment ~ NEW",
                "settings    ~ ports [8080] → [9090]",
                "settings    + drain 5s",
            ]
        );
        assert_eq!(changes(Some(&new), &new), []);
    }

    #[test]
    fn the_first_release_adds_its_artifact_and_variables() {
        let new = content("a", &[("K", "s3cret")], Settings::default());
        let lines: Vec<_> = changes(None, &new).iter().map(line).collect();
        assert_eq!(lines, ["artifact    + ca978112ca1b", "environment + K"]);
    }
}
