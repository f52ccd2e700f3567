//! `config`, `config:get`, `config:set`, `config:unset` and `config-schema`: the app's settings.

use serde_json::{Map, Value, json};

use crate::cli::{ConfigSetArgs, PublishArgs};
use crate::config::keys::{self, IN_RELEASE, KEPT_ONLY, KEYS, Kind};
use crate::config::{self, AppConfig, EngrFile, schema};
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::output::{Style, Table, print};
use crate::publish;

/// Prints the JSON Schema of `engr.json`.
pub fn schema() -> CommandResult {
    print(schema::text());
    Ok(Exit::Done)
}

/// Shows all settings, those that are not set with what holds instead.
pub fn show(app: &AppContext, json: bool) -> CommandResult {
    let (mut set, mut defaults) = (Map::new(), Map::new());
    let mut table = Table::new(["key", "value"]);
    for key in all_keys() {
        if let Some(value) = app.file.value(&app.name, &key) {
            table.row([key.clone(), shown(value)]);
            set.insert(key, value.clone());
        } else if let Some(value) = default(&app.config, &key) {
            let text = format!("{}  (default)", shown(&value));
            table.row([key.clone(), Style::Dim.paint(text)]);
            defaults.insert(key, value);
        }
    }
    let object = json!({
        "app": app.name, "file": app.file.path(), "set": set, "defaults": defaults,
    });
    match json {
        true => print(format_args!("{object}\n")),
        false => print(format_args!("{table}\n")),
    }
    Ok(Exit::Done)
}

/// Prints one setting, and nothing else: a list one item a line.
pub fn get(app: &AppContext, key: &str) -> CommandResult {
    let (key, kind) = config::key(key)?;
    let value = app.file.value(&app.name, &key).cloned().or_else(|| default(&app.config, &key));
    match (value, kind) {
        (Some(Value::Array(items)), _) => {
            items.iter().for_each(|item| print(format_args!("{}\n", shown(item))));
            Ok(Exit::Done)
        }
        (Some(value), _) => {
            print(format_args!("{}\n", shown(&value)));
            Ok(Exit::Done)
        }
        (None, kind) => Err(Failure::usage(format!("`{key}` is not set, and has no default"))
            .hint(format!(
                "set it with `engr {} config:set {key} …`: {}",
                app.name,
                kind.wanted()
            ))),
    }
}

/// Changes one setting. The others may be wrong: so they are put right.
pub async fn set(app: &str, args: ConfigSetArgs) -> CommandResult {
    let file = EngrFile::find()?;
    file.must_have(app)?;
    let (key, kind) = config::key(&args.key)?;
    let Some(value) = kind.read(&args.values) else {
        return Err(wrong_value(&key, kind, &args.values));
    };
    let before = file.value(app, &key).cloned();
    if before.as_ref() == Some(&value) {
        print(format_args!("{key} of {app} is {} already\n", shown(&value)));
        // It may have been staged, or its publish may have failed.
        return Ok(published(app, &file, &key, args.stage).await?.unwrap_or(Exit::Done));
    }
    let file = file.with_value(app, &key, &value)?;
    may_publish(app, &file, &key, args.stage).await?;
    file.save()?;
    let was = before.as_ref().map_or("not set".to_owned(), shown);
    print(format_args!("{key} of {app} is now {} (was {was})\n", shown(&value)));
    reach(app, &file, &key, args.stage).await
}

/// Removes one setting.
pub async fn unset(app: &str, key: &str, stage: bool) -> CommandResult {
    let file = EngrFile::find()?;
    file.must_have(app)?;
    let (key, _) = config::key(key)?;
    if file.value(app, &key).is_none() {
        print(format_args!("{key} of {app} is not set\n"));
        return Ok(published(app, &file, &key, stage).await?.unwrap_or(Exit::Done));
    }
    let file = file.without(app, &key)?;
    may_publish(app, &file, &key, stage).await?;
    file.save()?;
    let default = default(&file.app(app)?, &key);
    let now = default.map_or(String::new(), |value| format!(", and {} by default", shown(&value)));
    print(format_args!("{key} of {app} is no longer set{now}\n"));
    reach(app, &file, &key, stage).await
}

/// Brings a change of `key` to where it counts, or says what will.
async fn reach(name: &str, file: &EngrFile, key: &str, stage: bool) -> CommandResult {
    if let Some(exit) = published(name, file, key, stage).await? {
        return Ok(exit);
    }
    if key == "instance-count" {
        print(format_args!("`engr {name} sync` brings the fleet to it\n"));
    } else if !KEPT_ONLY.contains(&first(key)) {
        print(format_args!("the next deploy takes it along: `engr {name} deploy`\n"));
    }
    Ok(Exit::Done)
}

/// Refuses what a lock keeps from being published, before the file is written.
async fn may_publish(name: &str, file: &EngrFile, key: &str, stage: bool) -> CommandResult<()> {
    // Settings that are wrong are told of once the file is written: it may take several commands to
    // put them right.
    let Ok(config) = file.app(name) else { return Ok(()) };
    if !is_published(&config, key, stage) {
        return Ok(());
    }
    let app = AppContext { name: name.to_owned(), file: file.clone(), config };
    let hint = "or leave it to the next deploy with `--stage`";
    publish::may_reconfigure(&app).await.map_err(|failure| failure.hint(hint))
}

fn is_published(config: &AppConfig, key: &str, stage: bool) -> bool {
    !stage && config.project.is_some() && IN_RELEASE.contains(&first(key))
}

/// Publishes what the file says, if `key` is one that a release carries and it is not to wait.
async fn published(
    name: &str,
    file: &EngrFile,
    key: &str,
    stage: bool,
) -> CommandResult<Option<Exit>> {
    let config = file.app(name)?;
    if !is_published(&config, key, stage) {
        return Ok(None);
    }
    let app = AppContext { name: name.to_owned(), file: file.clone(), config };
    match publish::reconfigure(&app, vec![key.to_owned()], &PublishArgs::default()).await {
        // Its first deploy is yet to come.
        Err(failure) if failure.is_missing_bucket() => Ok(None),
        Err(failure) if failure.exit == Exit::NotAllowed => Err(failure
            .hint("engr.json has the new setting, and the next deploy takes it along")
            .hint("`--stage` changes engr.json alone")),
        published => published.map(Some),
    }
}

/// `health` of `health.path`.
fn first(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

fn wrong_value(key: &str, kind: &Kind, words: &[String]) -> Failure {
    let failure = Failure::usage(format!(
        "`{key}` must be {}, and {:?} is not",
        kind.wanted(),
        words.join(" ")
    ));
    match kind {
        Kind::Group(_) if key == "build" => failure.hint(config::SET_BUILD),
        Kind::Group(keys) => {
            let inner = keys.iter().map(|inner| format!("`{key}.{}`", inner.name));
            failure.hint(format!("set {}", inner.collect::<Vec<_>>().join(" or ")))
        }
        _ => failure,
    }
}

/// Every key that has a value of its own, dotted.
fn all_keys() -> impl Iterator<Item = String> {
    KEYS.iter().flat_map(|key| match &key.kind {
        Kind::Group(inner) => {
            inner.iter().map(|inner| format!("{}.{}", key.name, inner.name)).collect()
        }
        _ => vec![key.name.to_owned()],
    })
}

/// What holds for this app where `key` is not set.
fn default(config: &AppConfig, key: &str) -> Option<Value> {
    let is_server = config.server != Some(false);
    match key {
        "arch" => Some(json!(config.arch())),
        "port" if !is_server || !config.ports.is_empty() => None,
        "health.timeout" if config.health.is_none() => None,
        _ => keys::defaults().into_iter().find(|(name, _)| *name == key).map(|(_, value)| value),
    }
}

/// A value as people read it: a text without quotes, a list with spaces between.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        _ => value.to_string(),
    }
}
