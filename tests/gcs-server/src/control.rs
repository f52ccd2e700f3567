//! The calls on the server as such, below `/_engr/`.

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::call::Call;
use crate::faults::{Outage, Rule};
use crate::problem::{Done, Problem};
use crate::route::Control;
use crate::world::World;

/// What befalls the whole server. What is not given stays as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerState {
    /// A status, `"refuse"`, or `null`.
    #[serde(default, deserialize_with = "given")]
    outage: Option<Value>,
    clock_skew_secs: Option<i64>,
    hidden_buckets: Option<Vec<String>>,
}

/// Tells `null` from nothing at all.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

fn read_outage(value: Value) -> Done<Outage> {
    let told = value.to_string();
    let outage = match value {
        Value::Null => Some(Outage::None),
        Value::Number(number) => {
            let status = number.as_u64().and_then(|number| number.try_into().ok());
            status.filter(|status| StatusCode::from_u16(*status).is_ok()).map(Outage::Status)
        }
        Value::String(text) if text == "refuse" => Some(Outage::Refuse),
        _ => None,
    };
    outage.ok_or_else(|| Problem::bad_parameter("outage", &told))
}

impl World {
    /// Answers a call on the server as such.
    pub(crate) async fn control(&self, control: Control, call: Call) -> Answer {
        let done = match control {
            Control::AddFault => self.set_faults(&call).map(|()| self.told_faults()),
            Control::Faults => Ok(self.told_faults()),
            Control::ClearFaults => {
                self.faults.clear();
                Ok(self.told_faults())
            }
            Control::Stats => Ok(json!(self.stats.counts())),
            Control::Lifecycle => self.apply_lifecycle(&call).await,
        };
        match done {
            Ok(json) => Answer::json(200, &json, true),
            Err(problem) => Answer::of_problem(&problem, false),
        }
    }

    /// One rule to add; a list of rules in the place of all; or a state of the whole server.
    fn set_faults(&self, call: &Call) -> Done<()> {
        let bad = |error: serde_json::Error| Problem::invalid(format!("no fault: {error}"));
        let value: Value = serde_json::from_slice(&call.body).map_err(bad)?;
        if value.is_array() {
            let rules: Vec<Rule> = serde_json::from_value(value).map_err(bad)?;
            self.faults.clear();
            rules.into_iter().for_each(|rule| self.faults.add(rule));
        } else if value.get("kinds").is_some() {
            self.faults.add(serde_json::from_value(value).map_err(bad)?);
        } else {
            let state: ServerState = serde_json::from_value(value).map_err(bad)?;
            if let Some(outage) = state.outage {
                self.faults.set_outage(read_outage(outage)?);
            }
            if let Some(secs) = state.clock_skew_secs {
                self.faults.set_clock_skew_secs(secs);
            }
            if let Some(hidden) = state.hidden_buckets {
                self.faults.hide_buckets(hidden);
            }
        }
        Ok(())
    }

    fn told_faults(&self) -> Value {
        json!({ "injected": self.faults.injected(), "outage": *self.faults.outage().borrow() })
    }

    /// `{"bucket": …, "now": …}`
    async fn apply_lifecycle(&self, call: &Call) -> Done<Value> {
        let json = call.json()?;
        let bucket = json.get("bucket").and_then(Value::as_str);
        let bucket = bucket.ok_or_else(|| Problem::required("bucket"))?;
        let now = match json.get("now").and_then(Value::as_str) {
            Some(now) => now.parse().map_err(|_| Problem::bad_parameter("now", now))?,
            None => call.now,
        };
        let touched = self.service.buckets.get(bucket)?.apply_lifecycle(now).await?;
        Ok(json!({ "versions": touched }))
    }
}
