//! The JSON Schema of `engr.json`, made from its types.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::{AppConfig, keys};

/// The file that `create` writes beside a new `engr.json` for editors to find.
pub const SCHEMA_FILE: &str = "engr.schema.json";

/// engr.json: the apps that `engr` deploys from this folder.
#[derive(JsonSchema)]
#[schemars(title = "engr.json")]
#[expect(dead_code, reason = "only its shape is used")]
struct EngrJson {
    /// Where editors find the schema of this file.
    #[schemars(rename = "$schema")]
    schema: Option<String>,
    /// The apps, by name.
    apps: BTreeMap<String, AppConfig>,
}

/// How a length of time is written.
pub struct Time;

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time: `5s`, `500ms`, `1m 30s`, or a number of seconds.",
            "type": ["string", "number"],
            "minimum": 0,
        })
    }
}

/// How an amount of memory is written.
pub struct Memory;

impl JsonSchema for Memory {
    fn schema_name() -> Cow<'static, str> {
        "Memory".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An amount of memory: `512M`, `1.5G`, or a number of bytes. K, M, G and T are powers of 1024.",
            "type": ["string", "integer"],
            "minimum": 0,
        })
    }
}

/// How a share is written.
pub struct Share;

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share: `5%`, or `0.05`.",
            "type": ["string", "number"],
            "minimum": 0,
            "maximum": 1,
        })
    }
}

/// How a number of instances, or a share of them, is written.
pub struct Limit;

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of instances, or a share of them: `2`, or `25%`.",
            "type": ["integer", "string"],
            "minimum": 0,
        })
    }
}

/// What becomes of the instances that have switched when a rollout halts.
pub struct OnFailure;

impl JsonSchema for OnFailure {
    fn schema_name() -> Cow<'static, str> {
        "OnFailure".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`revert`: they go back to the release before. `halt`: they stay.",
            "enum": ["revert", "halt"],
        })
    }
}

/// How a number of cores is written.
pub struct Cores;

impl JsonSchema for Cores {
    fn schema_name() -> Cow<'static, str> {
        "Cores".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of cores: `2`, `1.5` or `0.25`.",
            "type": "number",
            "minimum": 0.01,
        })
    }
}

/// The schema, as one text.
pub fn text() -> String {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<EngrJson>();
    for (key, default) in keys::defaults() {
        let property = match key.split_once('.') {
            None => schema.pointer_mut(&format!("/definitions/AppConfig/properties/{key}")),
            Some(("rollout", inner)) => {
                schema.pointer_mut(&format!("/definitions/RolloutRules/properties/{inner}"))
            }
            Some((_, inner)) => {
                schema.pointer_mut(&format!("/definitions/HealthCheck/properties/{inner}"))
            }
        };
        let property = property.and_then(Value::as_object_mut).expect("a default has its key");
        property.insert("default".to_owned(), default);
    }
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema serializes");
    text.push('\n');
    text
}
