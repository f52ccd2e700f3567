//! The keys of an app: what may stand under them, and what holds where nothing does.

use deploy::rollout::{Limit, OnFailure, Rules};
use deploy::settings::{Settings, default_health_timeout};
use deploy::{Cores, Memory, Share, Span};
use serde_json::{Value, json};

/// One key.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// As it is written, in kebab-case.
    pub name: &'static str,
    /// What may stand under it.
    pub kind: Kind,
}

/// What may stand under a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// `true` or `false`.
    Flag,
    /// A port.
    Port,
    /// A list of ports.
    Ports,
    /// A number of things.
    Count,
    /// A length of time.
    Time,
    /// An amount of memory.
    Memory,
    /// A number of cores.
    Cores,
    /// A share of something.
    Share,
    /// A number of instances, or a share of them.
    Limit,
    /// What becomes of the instances that have switched.
    OnFailure,
    /// An architecture.
    Arch,
    /// `true`, `false`, or commands.
    Generate,
    /// Keys of its own.
    Group(&'static [Key]),
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

/// All keys of an app, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    key("project", Kind::Text),
    key("bucket", Kind::Text),
    key("package", Kind::Text),
    key("build", Kind::Group(&[key("command", Kind::Text), key("output", Kind::Text)])),
    key("arch", Kind::Arch),
    key("build-flags", Kind::Texts),
    key("generate", Kind::Generate),
    key("include", Kind::Texts),
    key("args", Kind::Texts),
    key("server", Kind::Flag),
    key("port", Kind::Port),
    key("ports", Kind::Ports),
    key("graceful-shutdown", Kind::Flag),
    key("health", Kind::Group(&[key("path", Kind::Text), key("timeout", Kind::Time)])),
    key("ready-within", Kind::Time),
    key("health-window", Kind::Time),
    key("canary-share", Kind::Share),
    key("settle", Kind::Time),
    key("drain", Kind::Time),
    key("stop-timeout", Kind::Time),
    key("watchdog", Kind::Time),
    key("shutdown-delay", Kind::Time),
    key("shutdown-timeout", Kind::Time),
    key("memory", Kind::Memory),
    key("cpu", Kind::Cores),
    key("nofile", Kind::Count),
    key("poll-interval", Kind::Time),
    key(
        "rollout",
        Kind::Group(&[
            key("canary", Kind::Limit),
            key("bake", Kind::Time),
            key("max-parallel", Kind::Limit),
            key("max-failures", Kind::Count),
            key("watch-for", Kind::Time),
            key("on-failure", Kind::OnFailure),
            key("stale-after", Kind::Time),
        ]),
    ),
    key("instance-count", Kind::Count),
    key("zone", Kind::Text),
    key("machine-type", Kind::Text),
    key("image", Kind::Text),
    key("roles", Kind::Texts),
    key("scopes", Kind::Texts),
    key("tags", Kind::Texts),
    key("staged-deploy", Kind::Flag),
    key("debug", Kind::Flag),
];

/// Those that travel in a release, to the instances: the keys behind [`Settings`].
pub const IN_RELEASE: &[&str] = &[
    "args",
    "server",
    "port",
    "ports",
    "graceful-shutdown",
    "health",
    "ready-within",
    "health-window",
    "canary-share",
    "settle",
    "drain",
    "stop-timeout",
    "watchdog",
    "shutdown-delay",
    "shutdown-timeout",
    "memory",
    "cpu",
    "nofile",
    "poll-interval",
];

/// Those that nothing uses yet: an `engr.json` may have them.
pub const KEPT_ONLY: &[&str] =
    &["zone", "machine-type", "image", "roles", "scopes", "tags", "staged-deploy", "debug"];

/// What holds where a key is not set, for the keys for which that is the same for every app.
pub fn defaults() -> Vec<(&'static str, Value)> {
    let Settings { graceful_shutdown, ready_within, health_window, .. } = Settings::default();
    let Settings { settle, stop_timeout, poll_interval, nofile, .. } = Settings::default();
    let Settings { shutdown_delay, shutdown_timeout, .. } = Settings::default();
    let (rules, time) = (Rules::default(), |span: Span| json!(span));
    vec![
        ("server", json!(true)),
        ("port", json!(80)),
        ("graceful-shutdown", json!(graceful_shutdown)),
        ("health.timeout", time(default_health_timeout())),
        ("ready-within", time(ready_within)),
        ("health-window", time(health_window)),
        ("canary-share", json!(Settings::default().canary_share)),
        ("settle", time(settle)),
        ("stop-timeout", time(stop_timeout)),
        ("shutdown-delay", time(shutdown_delay)),
        ("shutdown-timeout", time(shutdown_timeout)),
        ("nofile", json!(nofile)),
        ("poll-interval", time(poll_interval)),
        ("rollout.canary", json!(rules.canary)),
        ("rollout.bake", time(rules.bake)),
        ("rollout.max-failures", json!(rules.max_failures)),
        ("rollout.watch-for", time(rules.watch_for)),
        ("rollout.on-failure", json!(rules.on_failure)),
        ("rollout.stale-after", time(rules.stale_after)),
        ("instance-count", json!(1)),
    ]
}

/// A name as it is compared: `graceful_shutdown` is `graceful-shutdown`.
pub fn canonical(name: &str) -> String {
    name.replace('_', "-")
}

/// The key of that name among `keys`, or the nearest one's name if one is near.
pub fn find<'a>(keys: &'a [Key], name: &str) -> Result<&'a Key, Option<&'static str>> {
    let name = canonical(name);
    let found = keys.iter().find(|key| key.name == name);
    found.ok_or_else(|| nearest(&name, keys.iter().map(|key| key.name)))
}

/// The candidate that somebody who wrote `name` most likely meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Two letters swapped in a word of three are still near.
    const LIKENESS_MIN: f64 = 0.66;
    // The one knows swapped letters, the other a beginning that is right.
    let likeness = |candidate: &str| {
        strsim::normalized_damerau_levenshtein(name, candidate)
            .max(strsim::jaro_winkler(name, candidate))
    };
    candidates
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

impl Kind {
    /// What may stand there, in words.
    pub fn wanted(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Texts => "a list of texts".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Port => "a port, 1 to 65535".to_owned(),
            Self::Ports => "a list of ports, each 1 to 65535".to_owned(),
            Self::Count => "a whole number".to_owned(),
            Self::Time => "a length of time (5s, 500ms, 2m, or a number of seconds)".to_owned(),
            Self::Memory => {
                "an amount of memory (512M or 1.5G; K, M, G and T are powers of 1024)".to_owned()
            }
            Self::Cores => "a number of cores (2, 1.5 or 0.25)".to_owned(),
            Self::Share => "a share (5%, or 0.05)".to_owned(),
            Self::Limit => "a number of instances (2), or a share of them (25%)".to_owned(),
            Self::OnFailure => "revert or halt".to_owned(),
            Self::Arch => "amd64 or arm64".to_owned(),
            Self::Generate => "true, false, or a list of commands".to_owned(),
            Self::Group(keys) => {
                let names: Vec<_> = keys.iter().map(|key| format!("`{}`", key.name)).collect();
                format!("an object with {}", names.join(" and "))
            }
        }
    }

    /// Whether `value` may stand there. A group's own keys are not looked at.
    pub fn accepts(&self, value: &Value) -> bool {
        let all =
            |kind: Self| value.as_array().is_some_and(|all| all.iter().all(|v| kind.accepts(v)));
        match self {
            Self::Text => value.is_string(),
            Self::Texts => all(Self::Text),
            Self::Flag => value.is_boolean(),
            Self::Port => value.as_u64().is_some_and(|port| (1..=65535).contains(&port)),
            Self::Ports => all(Self::Port),
            Self::Count => value.as_u64().is_some_and(|count| u32::try_from(count).is_ok()),
            Self::Time => serde_json::from_value::<Span>(value.clone()).is_ok(),
            Self::Memory => serde_json::from_value::<Memory>(value.clone()).is_ok(),
            Self::Cores => serde_json::from_value::<Cores>(value.clone()).is_ok(),
            Self::Share => serde_json::from_value::<Share>(value.clone()).is_ok(),
            Self::Limit => serde_json::from_value::<Limit>(value.clone()).is_ok(),
            Self::OnFailure => serde_json::from_value::<OnFailure>(value.clone()).is_ok(),
            Self::Arch => matches!(value.as_str(), Some("amd64" | "arm64")),
            Self::Generate => value.is_boolean() || all(Self::Text),
            Self::Group(_) => value.is_object(),
        }
    }

    /// The value that `words` of a command line stand for.
    pub fn read(&self, words: &[String]) -> Option<Value> {
        let value = match (self, words) {
            (Self::Texts, words) => json!(words),
            (Self::Ports, words) => words
                .iter()
                .map(|word| Self::Port.read(std::slice::from_ref(word)))
                .collect::<Option<_>>()?,
            (Self::Text | Self::Arch | Self::Memory | Self::Share | Self::OnFailure, [word]) => {
                json!(word)
            }
            (Self::Limit, [word]) => json!(word.parse::<Limit>().ok()?),
            (Self::Generate, [word]) => word.parse().map_or_else(|_| json!([word]), Value::Bool),
            (Self::Generate, words) => json!(words),
            // A plain number would read well as a number, and better with its unit.
            (Self::Time, [word]) => match word.trim().parse::<f64>() {
                Ok(_) => json!(word.parse::<Span>().ok()?),
                Err(_) => json!(word),
            },
            (Self::Cores, [word]) => json!(word.parse::<Cores>().ok()?),
            (Self::Flag | Self::Port | Self::Count | Self::Group(_), [word]) => {
                serde_json::from_str(word).ok()?
            }
            (_, _) => return None,
        };
        self.accepts(&value).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_values_of_the_keys_kind() {
        let read = |name: &str, words: &[&str]| {
            let words: Vec<_> = words.iter().map(ToString::to_string).collect();
            find(KEYS, name).unwrap().kind.read(&words)
        };
        assert_eq!(read("port", &["8080"]), Some(json!(8080)));
        assert_eq!(read("ports", &["80", "443"]), Some(json!([80, 443])));
        assert_eq!(read("graceful_shutdown", &["false"]), Some(json!(false)));
        assert_eq!(read("drain", &["90"]), Some(json!("1m 30s")));
        assert_eq!(read("drain", &["90s"]), Some(json!("90s")));
        assert_eq!(read("args", &["-v", "x y"]), Some(json!(["-v", "x y"])));
        assert_eq!(read("memory", &["512M"]), Some(json!("512M")));
        assert_eq!(read("cpu", &["1.5"]), Some(json!(1.5)));
        assert_eq!(read("cpu", &["2"]), Some(json!(2)));
        assert_eq!(read("generate", &["true"]), Some(json!(true)));
        assert_eq!(read("generate", &["make gen"]), Some(json!(["make gen"])));
        assert_eq!(read("package", &["8080"]), Some(json!("8080")));
        let build = json!({"command": "make", "output": "app"});
        assert_eq!(read("build", &[&build.to_string()]), Some(build));
        for (name, words) in [
            ("port", &["0"][..]),
            ("port", &["80", "81"]),
            ("port", &["http"]),
            ("ports", &["80", "x"]),
            ("instance-count", &["-1"]),
            ("instance-count", &["5000000000"]),
            ("server", &["yes"]),
            ("drain", &["soon"]),
            ("memory", &["much"]),
            ("cpu", &["all"]),
            ("nofile", &["1.5"]),
            ("arch", &["sparc"]),
            ("health", &["/healthz"]),
        ] {
            assert_eq!(read(name, words), None, "{name} {words:?}");
        }
    }

    #[test]
    fn the_nearest_key_is_named_and_nonsense_has_none() {
        assert_eq!(find(KEYS, "prot"), Err(Some("port")));
        assert_eq!(find(KEYS, "gracefull-shutdown"), Err(Some("graceful-shutdown")));
        assert_eq!(find(KEYS, "instances"), Err(Some("instance-count")));
        assert_eq!(nearest("wbe", ["jobs", "web"]), Some("web"));
        assert_eq!(find(KEYS, "qqq"), Err(None));
    }
}
