//! Partial answers: the `fields` parameter, `items(name,generation),nextPageToken`.

use serde_json::{Map, Value};

use crate::problem::{Done, Problem};

/// What a partial answer keeps of an object: names, and what of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, Option<Fields>)>);

impl Fields {
    /// Reads a selection.
    pub(crate) fn parse(text: &str) -> Done<Self> {
        let mut rest = text;
        let fields = list(&mut rest);
        match fields {
            Some(fields) if rest.is_empty() => Ok(fields),
            _ => Err(Problem::new(
                400,
                "invalidParameter",
                format!("Invalid field selection {text}"),
            )),
        }
    }

    /// Refuses names that an answer of this kind cannot have: a misspelt one would go unseen.
    pub(crate) fn check(&self, known: &[&str]) -> Done<()> {
        for (name, inner) in &self.0 {
            if name != "*" && !known.contains(&name.as_str()) {
                let message = format!("Invalid field selection {name}");
                return Err(Problem::new(400, "invalidParameter", message));
            }
            // Labels and the like have names of people's own.
            if let Some(inner) = inner.as_ref().filter(|_| name == "items" || name == "*") {
                inner.check(known)?;
            }
        }
        Ok(())
    }

    /// What is selected of `value`. Arrays are looked through.
    pub(crate) fn of(&self, value: &Value) -> Value {
        match value {
            Value::Array(values) => values.iter().map(|value| self.of(value)).collect(),
            Value::Object(map) => Value::Object(self.of_map(map)),
            other => other.clone(),
        }
    }

    fn of_map(&self, map: &Map<String, Value>) -> Map<String, Value> {
        let mut kept = Map::new();
        for (key, value) in map {
            let chosen = self.0.iter().filter(|(name, _)| name == key || name == "*");
            for (_, inner) in chosen {
                let part = inner.as_ref().map_or_else(|| value.clone(), |inner| inner.of(value));
                merge(kept.entry(key).or_insert(Value::Null), part);
            }
        }
        kept
    }
}

/// Lays one partial value over another of the same place.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(under), Value::Array(over)) if under.len() == over.len() => {
            under.iter_mut().zip(over).for_each(|(under, over)| merge(under, over));
        }
        (under, over) => *under = over,
    }
}

/// `one,two(…),three/four`
fn list(rest: &mut &str) -> Option<Fields> {
    let mut fields = vec![one(rest)?];
    while let Some(after) = rest.strip_prefix(',') {
        *rest = after;
        fields.push(one(rest)?);
    }
    Some(Fields(fields))
}

fn one(rest: &mut &str) -> Option<(String, Option<Fields>)> {
    let end = rest.find([',', '/', '(', ')']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"*_-".contains(&b)) {
        return None;
    }
    *rest = after;
    let inner = if let Some(after) = rest.strip_prefix('/') {
        *rest = after;
        Some(Fields(vec![one(rest)?]))
    } else if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let inner = list(rest)?;
        *rest = rest.strip_prefix(')')?;
        Some(inner)
    } else {
        None
    };
    Some((name.to_owned(), inner))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pick(fields: &str) -> Value {
        let value = json!({
            "kind": "storage#objects",
            "items": [{"name": "a", "size": "1", "metadata": {"x": "1", "y": "2"}}, {"name": "b"}],
            "nextPageToken": "t",
        });
        Fields::parse(fields).unwrap().of(&value)
    }

    #[test]
    fn picks_what_is_named() {
        let names = json!({"items": [{"name": "a"}, {"name": "b"}]});
        assert_eq!(pick("items(name)"), names);
        assert_eq!(pick("items/name"), names);
        assert_eq!(
            pick("items(name,size),nextPageToken"),
            json!({"items": [{"name": "a", "size": "1"}, {"name": "b"}], "nextPageToken": "t"})
        );
        assert_eq!(
            pick("items/name,items/metadata(y)"),
            json!({"items": [{"name": "a", "metadata": {"y": "2"}}, {"name": "b"}]})
        );
        assert_eq!(pick("items/metadata/x"), json!({"items": [{"metadata": {"x": "1"}}, {}]}));
        assert_eq!(pick("*"), pick("kind,items,nextPageToken"));
        assert_eq!(
            pick("*/name"),
            json!({"items": names["items"], "kind": "storage#objects",
            "nextPageToken": "t"})
        );
    }

    #[test]
    fn refuses_what_is_no_selection() {
        for bad in ["", ",", "a,", "a(", "a(b", "a()", "a)b", "a/", "a b", "a(b)c"] {
            assert!(Fields::parse(bad).is_err(), "{bad:?}");
        }
        let fields = Fields::parse("items(nam),kind").unwrap();
        assert!(fields.check(&["items", "name", "kind"]).is_err());
        Fields::parse("items(name,metadata/any)")
            .unwrap()
            .check(&["items", "name", "metadata"])
            .unwrap();
    }
}
