//! Changes to the text of an `engr.json` that leave the rest of it as it is: order, indentation,
//! lists on one line, the last newline.

use std::collections::BTreeSet;

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use serde_json::{Map, Value};

use super::keys::canonical;

/// The text has another shape than the settings that were read from it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotEditable(String);

/// A key that stands twice in one object: the reader would take the last, the editor the first.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} stands twice in one object")]
pub struct Double(String);

/// Looks for keys that stand twice.
pub fn no_doubles(text: &str) -> Result<(), Double> {
    fn look(node: &jsonc_parser::cst::CstNode) -> Result<(), Double> {
        if let Some(object) = node.as_object() {
            let mut seen = BTreeSet::new();
            for name in object.properties().iter().filter_map(CstObjectProp::decoded_name) {
                if !seen.insert(name.clone()) {
                    return Err(Double(name));
                }
            }
        }
        node.children().iter().try_for_each(look)
    }
    // What the reader took and this one does not is told when it is to be changed.
    let Ok(root) = root(text) else { return Ok(()) };
    root.value().map_or(Ok(()), |value| look(&value))
}

/// Adds an app after the others.
pub fn add_app(
    text: &str,
    name: &str,
    settings: Map<String, Value>,
) -> Result<String, NotEditable> {
    let root = root(text)?;
    let apps = object(&root)?.object_value_or_create("apps").ok_or_else(|| no_object("apps"))?;
    apps.append(name, input(&Value::Object(settings)));
    Ok(root.to_string())
}

/// Puts `value` under the dotted `key` of `app`, in its place or after the others.
pub fn set(text: &str, app: &str, key: &str, value: &Value) -> Result<String, NotEditable> {
    let root = root(text)?;
    let mut at = app_object(&root, app)?;
    let (groups, last) = split(key);
    for group in groups {
        at = match property(&at, group) {
            Some(property) => property.object_value().ok_or_else(|| no_object(group))?,
            None => at.object_value_or_create(group).ok_or_else(|| no_object(group))?,
        };
    }
    match property(&at, last) {
        Some(property) => property.set_value(input(value)),
        None => drop(at.append(last, input(value))),
    }
    Ok(root.to_string())
}

/// Takes the dotted `key` of `app` away, and a group that is empty without it.
pub fn unset(text: &str, app: &str, key: &str) -> Result<String, NotEditable> {
    let root = root(text)?;
    let mut at = app_object(&root, app)?;
    let (groups, last) = split(key);
    let mut emptied = None;
    for group in groups {
        let property = property(&at, group).ok_or_else(|| no_object(group))?;
        at = property.object_value().ok_or_else(|| no_object(group))?;
        if at.properties().len() == 1 {
            emptied = emptied.or(Some(property));
        }
    }
    match emptied.or_else(|| property(&at, last)) {
        Some(property) => property.remove(),
        None => return Err(NotEditable(format!("`{key}` is not there"))),
    }
    Ok(root.to_string())
}

fn split(key: &str) -> (impl Iterator<Item = &str>, &str) {
    let (groups, last) = key.rsplit_once('.').map_or((None, key), |(g, last)| (Some(g), last));
    (groups.into_iter().flat_map(|groups| groups.split('.')), last)
}

fn root(text: &str) -> Result<CstRootNode, NotEditable> {
    let strict = ParseOptions {
        allow_comments: false,
        allow_trailing_commas: false,
        ..ParseOptions::default()
    };
    CstRootNode::parse(text, &strict).map_err(|error| NotEditable(error.to_string()))
}

fn object(root: &CstRootNode) -> Result<CstObject, NotEditable> {
    root.object_value().ok_or_else(|| no_object("the file"))
}

fn app_object(root: &CstRootNode, app: &str) -> Result<CstObject, NotEditable> {
    let apps = object(root)?.object_value("apps").ok_or_else(|| no_object("apps"))?;
    apps.object_value(app).ok_or_else(|| no_object(app))
}

fn no_object(what: &str) -> NotEditable {
    NotEditable(format!("`{what}` is not an object"))
}

/// The property of that name, however it is written.
fn property(object: &CstObject, name: &str) -> Option<CstObjectProp> {
    let is_it = |property: &CstObjectProp| {
        property.decoded_name().is_some_and(|found| canonical(&found) == name)
    };
    object.properties().into_iter().find(is_it)
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(all) => CstInputValue::Array(all.iter().map(input).collect()),
        Value::Object(all) => CstInputValue::Object(
            all.iter().map(|(key, value)| (key.clone(), input(value))).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = r#"{
    "$schema": "./x.json",
    "note":   "kept é \u00e9 1.0",
    "apps": {
        "web": {
            "tags": ["a", "b"],   "graceful_shutdown": true,
            "port": 8080
        },
        "job": {}
    },
    "team": 1.50
}
"#;

    #[test]
    fn a_change_touches_one_place() {
        let set = |key: &str, value: Value| set(TEXT, "web", key, &value).unwrap();
        assert_eq!(set("port", json!(80)), TEXT.replace("8080", "80"));
        assert_eq!(
            set("graceful-shutdown", json!(false)),
            TEXT.replace("\"graceful_shutdown\": true", "\"graceful_shutdown\": false")
        );
        assert_eq!(
            set("health.path", json!("/up")),
            TEXT.replace(
                "8080\n",
                "8080,\n            \"health\": {\n                \"path\": \"/up\"\n            }\n"
            )
        );
        let args = super::set(TEXT, "job", "args", &json!(["-v", "1"])).unwrap();
        let expected = "\"job\": {\n            \"args\": [\"-v\", \"1\"]\n        }";
        assert_eq!(args, TEXT.replace("\"job\": {}", expected));
        assert_eq!(super::unset(&args, "job", "args").unwrap(), TEXT);
    }

    #[test]
    fn unset_takes_an_emptied_group_along() {
        let with = set(TEXT, "web", "health.path", &json!("/up")).unwrap();
        assert_eq!(unset(&with, "web", "health.path").unwrap(), TEXT);
        let both = set(&with, "web", "health.timeout", &json!("2s")).unwrap();
        assert_eq!(unset(&both, "web", "health.timeout").unwrap(), with);
        assert!(unset(TEXT, "web", "drain").is_err());
    }

    #[test]
    fn newlines_and_the_missing_last_one_stay() {
        let text = TEXT.trim_end().replace('\n', "\r\n");
        let added = add_app(&text, "new", Map::from_iter([("port".to_owned(), json!(1))])).unwrap();
        let expected = "\"job\": {},\n        \"new\": {\n            \"port\": 1\n        }";
        let expected = text.replace("\"job\": {}", &expected.replace('\n', "\r\n"));
        assert_eq!(added, expected);
        let bare = add_app("{}", "new", Map::new()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&bare).unwrap(), json!({"apps": {"new": {}}}));
    }

    #[test]
    fn a_key_that_stands_twice_is_found_wherever_it_is() {
        assert!(no_doubles(TEXT).is_ok());
        let double = no_doubles(r#"{"apps": {"a": {"port": 1, "po\u0072t": 2}}}"#).unwrap_err();
        assert_eq!(double.to_string(), "\"port\" stands twice in one object");
    }
}
