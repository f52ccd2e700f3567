//! From JSON to settings that mean something: every key known, every value of the right type, and
//! all of them together possible.

use std::collections::BTreeSet;
use std::time::Duration;

use deploy::store::gcs::bucket::check_name;
use deploy::{Cores, Memory, Span};
use serde_json::{Map, Value};

use super::AppConfig;
use super::keys::{self, KEYS, Key, Kind};
use crate::failure::Failure;

/// The most instances of an app: what one bucket of reports can carry.
const INSTANCES_MAX: u32 = 10_000;
/// The most instances on one machine: beyond it a wrong number is likelier than a wish.
const LOCAL_INSTANCES_MAX: u32 = 100;
/// The longest time that any key may name: more is a number in the wrong unit.
const SPAN_MAX: Span = Span::from_secs(24 * 60 * 60);
/// The shortest interval at which instances ask for news: each question is paid for.
const POLL_INTERVAL_MIN: Span = Span::from_millis(100);

/// Instances say so often that they live, three times over.
const STALE_AFTER_MIN: Span = Span::from_secs(3);

/// Nothing starts in less memory than this.
const MEMORY_MIN: Memory = Memory::from_mib(1);
/// The kernel gives no smaller share of a core.
const CPU_MIN: Cores = Cores { millis: 10 };
/// Fewer descriptors are no server's; more are given by no kernel that was not told to (`fs.nr_open`).
const NOFILE: std::ops::RangeInclusive<u32> = 64..=1_048_576;

/// How to set a group whose keys say nothing one by one.
pub const SET_BUILD: &str = "set both keys at once: `config:set build '{\"command\": \"make app\", \"output\": \"bin/app\"}'`";

/// The settings that `json` stands for.
pub fn app(json: &Value) -> Result<AppConfig, Failure> {
    let Some(json) = json.as_object() else {
        return Err(wrong_type("an app", "an object with its settings", json));
    };
    let object = known(KEYS, "", json)?;
    let config: AppConfig = serde_json::from_value(object.into())
        .map_err(|error| Failure::usage(format!("the settings cannot be used: {error}")))?;
    possible(&config)?;
    Ok(config)
}

/// The dotted key that `name` stands for, in canonical form.
pub fn key(name: &str) -> Result<(String, &'static Kind), Failure> {
    let (first, rest) = name.split_once('.').map_or((name, None), |(a, b)| (a, Some(b)));
    let known = keys::find(KEYS, first).map_err(|nearest| unknown_key("", first, nearest))?;
    let prefix = format!("{}.", known.name);
    match (rest, &known.kind) {
        (None, kind) => Ok((known.name.to_owned(), kind)),
        (Some(rest), Kind::Group(inner)) => {
            let found = keys::find(inner, rest);
            let found = found.map_err(|nearest| unknown_key(&prefix, rest, nearest))?;
            Ok((format!("{prefix}{}", found.name), &found.kind))
        }
        (Some(rest), _) => Err(unknown_key(&prefix, rest, None)),
    }
}

/// The object with canonical keys, once each, all known and of the right types. `null` and the
/// empty text stand for an unset key: the original tool writes them.
fn known(
    keys: &[Key],
    prefix: &str,
    json: &Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    let mut object = Map::new();
    for (name, value) in json {
        let key = match keys::find(keys, name) {
            Ok(key) => key,
            Err(nearest) => return Err(unknown_key(prefix, name, nearest)),
        };
        let shown = format!("{prefix}{}", key.name);
        if value.is_null() || (prefix.is_empty() && value.as_str() == Some("")) {
            continue;
        }
        if !key.kind.accepts(value) {
            return Err(wrong_type(&format!("`{shown}`"), &key.kind.wanted(), value));
        }
        let value = match (&key.kind, value) {
            (Kind::Group(keys), Value::Object(group)) => {
                let group = known(keys, &format!("{shown}."), group)?;
                complete(&shown, &group)?;
                group.into()
            }
            _ => value.clone(),
        };
        if object.insert(key.name.to_owned(), value).is_some() {
            return Err(Failure::usage(format!("`{shown}` is set twice, with `-` and with `_`")));
        }
    }
    Ok(object)
}

/// A group says nothing without the keys that it stands on.
fn complete(group: &str, json: &Map<String, Value>) -> Result<(), Failure> {
    let needed: &[&str] = match group {
        "build" => &["command", "output"],
        "health" => &["path"],
        _ => &[],
    };
    let Some(missing) = needed.iter().find(|key| !json.contains_key(**key)) else { return Ok(()) };
    let failure = Failure::usage(format!("`{group}` has no `{missing}`"));
    Err(match group {
        "build" => failure.hint(SET_BUILD),
        _ => failure.hint(format!("set it by `config:set {group}.{missing} …`")),
    })
}

fn unknown_key(prefix: &str, name: &str, nearest: Option<&str>) -> Failure {
    let failure = Failure::usage(format!("there is no key `{prefix}{name}`"));
    match nearest {
        Some(nearest) => failure.hint(format!("did you mean `{prefix}{nearest}`?")),
        None => failure.hint("`engr config-schema` describes every key"),
    }
}

fn wrong_type(what: &str, wanted: &str, found: &Value) -> Failure {
    Failure::usage(format!("{what} is {}, and must be {wanted}", shown(found)))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => format!("the list {value}"),
        Value::Object(_) => "an object".to_owned(),
        Value::String(_) => format!("the text {value}"),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// What the types cannot say.
fn possible(config: &AppConfig) -> Result<(), Failure> {
    project(config)?;
    bucket(config)?;
    what_to_build(config)?;
    ports(config)?;
    health(config)?;
    times(config)?;
    limits(config)?;
    let (most, whose) = match config.is_local() {
        true => (LOCAL_INSTANCES_MAX, "a local fleet has"),
        false => (INSTANCES_MAX, "a fleet has"),
    };
    if config.instance_count() > most {
        let count = config.instance_count();
        return Err(Failure::usage(format!(
            "`instance-count` is {count}, and {whose} at most {most}"
        )));
    }
    if config.args.iter().any(|arg| arg.contains('\0')) {
        return Err(Failure::usage(
            "`args` holds a NUL character, which no command line can carry",
        ));
    }
    Ok(())
}

fn project(config: &AppConfig) -> Result<(), Failure> {
    let Some(project) = &config.project else { return Ok(()) };
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b':')
    };
    if project.bytes().all(allowed) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`project` is {project:?}, and must be `local` or the id of a Google Cloud project (small letters, digits and `-`)"
    )))
}

fn bucket(config: &AppConfig) -> Result<(), Failure> {
    let Some(bucket) = &config.bucket else { return Ok(()) };
    let name = bucket.strip_prefix("gs://").ok_or_else(|| {
        Failure::usage(format!("`bucket` is {bucket:?}, and must be `gs://` and a bucket's name"))
    })?;
    check_name(name).map_err(|why| Failure::usage(format!("`bucket`: {why}")))
}

fn what_to_build(config: &AppConfig) -> Result<(), Failure> {
    if config.package.is_some() && config.build.is_some() {
        return Err(Failure::usage(
            "`package` and `build` are both set, and only one can be built",
        )
        .hint("remove one with `config:unset`"));
    }
    if let Some(package) = config.package.as_deref().filter(|package| package.starts_with('-')) {
        return Err(Failure::usage(format!("`package` is {package:?}, which reads as a flag")));
    }
    for path in &config.include {
        if !is_inside(path) {
            return Err(Failure::usage(format!(
                "`include` names {path:?}, and takes only paths inside the folder of engr.json"
            )));
        }
    }
    Ok(())
}

/// Whether the relative `path` stays in its folder, as far as its text tells.
fn is_inside(path: &str) -> bool {
    use std::path::{Component, Path};
    !path.is_empty()
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn ports(config: &AppConfig) -> Result<(), Failure> {
    let named = config.port.is_some() || !config.ports.is_empty();
    if named && config.server == Some(false) {
        return Err(Failure::usage("a worker (`server` is false) serves no ports, and one is set")
            .hint("unset `port` and `ports`, or set `server` to true"));
    }
    if config.port.is_some() && !config.ports.is_empty() {
        return Err(Failure::usage("`port` and `ports` are both set")
            .hint("unset one of them: `ports` takes several"));
    }
    let mut seen = BTreeSet::new();
    match config.ports.iter().find(|port| !seen.insert(**port)) {
        Some(port) => Err(Failure::usage(format!("`ports` names {port} twice"))),
        None => Ok(()),
    }
}

fn health(config: &AppConfig) -> Result<(), Failure> {
    let Some(health) = &config.health else { return Ok(()) };
    if config.server == Some(false) {
        return Err(Failure::usage("`health` asks over HTTP, and a worker serves no port")
            .hint("unset `health`, or set `server` to true"));
    }
    let path = &health.path;
    if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Failure::usage(format!(
            "`health.path` is {path:?}, and must be a path as in a URL, `/` first"
        )));
    }
    Ok(())
}

fn times(config: &AppConfig) -> Result<(), Failure> {
    let health_timeout = config.health.as_ref().and_then(|health| health.timeout);
    // The other times may be none at all.
    let some = [
        ("ready-within", config.ready_within),
        ("health.timeout", health_timeout),
        ("watchdog", config.watchdog),
    ];
    if let Some(interval) = config.poll_interval.filter(|interval| *interval < POLL_INTERVAL_MIN) {
        return Err(Failure::usage(format!(
            "`poll-interval` is {interval}, and must be {POLL_INTERVAL_MIN} at least"
        )));
    }
    let rollout = config.rollout.clone().unwrap_or_default();
    if let Some(silent) = rollout.stale_after.filter(|silent| *silent < STALE_AFTER_MIN) {
        return Err(Failure::usage(format!(
            "`rollout.stale-after` is {silent}, and must be {STALE_AFTER_MIN} at least"
        )));
    }
    let any = [
        ("rollout.bake", rollout.bake),
        ("rollout.watch-for", rollout.watch_for),
        ("rollout.stale-after", rollout.stale_after),
        ("health-window", config.health_window),
        ("settle", config.settle),
        ("drain", config.drain),
        ("stop-timeout", config.stop_timeout),
        ("shutdown-delay", config.shutdown_delay),
        ("shutdown-timeout", config.shutdown_timeout),
        ("poll-interval", config.poll_interval),
    ];
    for (key, span) in some {
        if span.is_some_and(|span| span.0 == Duration::ZERO) {
            return Err(Failure::usage(format!("`{key}` is 0, and nothing happens in no time")));
        }
    }
    for (key, span) in some.into_iter().chain(any) {
        if let Some(span) = span.filter(|span| *span > SPAN_MAX) {
            return Err(Failure::usage(format!(
                "`{key}` is {span}, and may be {SPAN_MAX} at most"
            )));
        }
    }
    Ok(())
}

fn limits(config: &AppConfig) -> Result<(), Failure> {
    if let Some(memory) = config.memory.filter(|memory| *memory < MEMORY_MIN) {
        return Err(Failure::usage(format!(
            "`memory` is {memory}, and must be {MEMORY_MIN} at least"
        )));
    }
    if let Some(cpu) = config.cpu.filter(|cpu| *cpu < CPU_MIN) {
        return Err(Failure::usage(format!("`cpu` is {cpu}, and must be {CPU_MIN} at least")));
    }
    if let Some(nofile) = config.nofile.filter(|nofile| !NOFILE.contains(nofile)) {
        let (least, most) = (NOFILE.start(), NOFILE.end());
        return Err(Failure::usage(format!("`nofile` is {nofile}, and must be {least} to {most}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(json: Value) -> String {
        match app(&json) {
            Ok(_) => "fine".to_owned(),
            Err(failure) => {
                let hints = failure.hints.iter().map(|hint| format!(" -> {hint}"));
                std::iter::once(failure.error.to_string()).chain(hints).collect()
            }
        }
    }

    #[test]
    fn the_original_tools_settings_are_read_as_they_are() {
        let config = app(&json!({
            "package": "example.com/shop/cmd/api", "server": true, "debug": false,
            "graceful-shutdown": true, "scopes": null, "tags": ["http-server"],
            "instance-count": 2, "machine-type": "f1-micro", "project": "shop-123",
            "zone": "us-central1-c", "image": "", "staged-deploy": false, "generate": false,
        }));
        let config = config.unwrap();
        assert_eq!(config.ports(), [80]);
        assert_eq!(config.instance_count(), 2);
        assert_eq!(config.image, None);
        assert!(!config.is_local());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_in_clear_words() {
        for (json, expected) in [
            (json!(5), "an app is 5, and must be an object with its settings"),
            (json!({"prot": 1}), "there is no key `prot` -> did you mean `port`?"),
            (
                json!({"health": {"pth": "/"}}),
                "there is no key `health.pth` -> did you mean `health.path`?",
            ),
            (json!({"port": "80"}), "`port` is the text \"80\", and must be a port, 1 to 65535"),
            (json!({"port": 0}), "`port` is 0, and must be a port, 1 to 65535"),
            (json!({"ports": [80, 80]}), "`ports` names 80 twice"),
            (
                json!({"graceful_shutdown": true, "graceful-shutdown": true}),
                "`graceful-shutdown` is set twice, with `-` and with `_`",
            ),
            (
                json!({"health": {"path": "healthz"}}),
                "`health.path` is \"healthz\", and must be a path as in a URL, `/` first",
            ),
            (
                json!({"drain": -1}),
                "`drain` is -1, and must be a length of time (5s, 500ms, 2m, or a number of seconds)",
            ),
            (json!({"drain": 1_000_000}), "`drain` is 277h 46m 40s, and may be 24h at most"),
            (json!({"ready-within": 0}), "`ready-within` is 0, and nothing happens in no time"),
            (
                json!({"include": ["../secrets"]}),
                "`include` names \"../secrets\", and takes only paths inside the folder of engr.json",
            ),
            (
                json!({"instance-count": 10_001}),
                "`instance-count` is 10001, and a fleet has at most 10000",
            ),
            (
                json!({"instance-count": 101, "project": "local"}),
                "`instance-count` is 101, and a local fleet has at most 100",
            ),
            (
                json!({"memory": "512MB"}),
                "`memory` is the text \"512MB\", and must be an amount of memory (512M or 1.5G; K, M, G and T are powers of 1024)",
            ),
            (json!({"memory": 512}), "`memory` is 512, and must be 1M at least"),
            (json!({"cpu": 0}), "`cpu` is 0, and must be 0.01 at least"),
            (
                json!({"cpu": "half"}),
                "`cpu` is the text \"half\", and must be a number of cores (2, 1.5 or 0.25)",
            ),
            (json!({"nofile": 10}), "`nofile` is 10, and must be 64 to 1048576"),
            (json!({"memory": "1.5G", "cpu": 0.5, "nofile": 1024, "shutdown-delay": 0}), "fine"),
            (json!({"instance-count": 0, "settle": 0}), "fine"),
        ] {
            assert_eq!(told(json), expected);
        }
        for (json, expected) in [
            (json!({"port": 80, "ports": [81]}), "`port` and `ports` are both set"),
            (json!({"server": false, "port": 80}), "a worker (`server` is false) serves no ports"),
            (json!({"server": false, "health": {"path": "/"}}), "`health` asks over HTTP"),
            (
                json!({"package": ".", "build": {"command": "x", "output": "y"}}),
                "`package` and `build`",
            ),
            (json!({"package": "--help"}), "`package` is \"--help\", which reads as a flag"),
            (json!({"build": {"command": "make"}}), "`build` has no `output`"),
            (json!({"project": "My Project"}), "`project` is \"My Project\", and must be"),
        ] {
            let told = told(json);
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
