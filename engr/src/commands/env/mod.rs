//! `engr <app> env`, `env:get`, `env:set` and `env:unset`.
//!
//! Values are shown by `env --reveal` and `env:get` alone.

mod assign;
mod change;

use std::io;

use deploy::environment::Environment;
use deploy::state::State;
use serde::Serialize;

use crate::cli::{EnvArgs, EnvSetArgs, EnvUnsetArgs};
use crate::config::keys::nearest;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::output::Output;
use crate::output::events::{Change, ChangeEvent};
use crate::publish::{environment_changes, load_failure, read_environment};

/// The environments of the newest state.
struct Environments {
    release: Option<u64>,
    current: Environment,
    staged: Option<Environment>,
}

impl Environments {
    async fn read(app: &AppContext) -> CommandResult<Self> {
        let store = app.store()?;
        let loaded = deploy::publish::load(&*store, &app.name).await.map_err(load_failure)?;
        let State { release, staged_environment, .. } = loaded.state;
        let current = release.as_ref().and_then(|release| release.environment);
        let staged = match staged_environment {
            Some(digest) => Some(read_environment(&*store, Some(&digest)).await?),
            None => None,
        };
        let release = release.map(|release| release.number);
        Ok(Self { release, current: read_environment(&*store, current.as_ref()).await?, staged })
    }

    fn staged_changes(&self) -> Vec<ChangeEvent> {
        let staged = self.staged.as_ref();
        staged.map(|staged| environment_changes(&self.current, staged)).unwrap_or_default()
    }
}

/// Prints the variables' names, and with `--reveal` their values.
pub async fn show(app: &AppContext, args: EnvArgs) -> CommandResult {
    let output = Output::new(args.json);
    let all = Environments::read(app).await?;
    if args.json {
        output.event(&listed(app, &all, args.reveal));
        return Ok(Exit::Done);
    }
    let shown = |(name, value): (&String, &String)| match args.reveal {
        true => format!("{name}={value}"),
        false => name.clone(),
    };
    all.current.0.iter().for_each(|variable| output.line(shown(variable)));
    let staged = all.staged_changes();
    if all.current.0.is_empty() && staged.is_empty() {
        output.line(format_args!("{} has no variables: `engr {} env:set K=V`", app.name, app.name));
    }
    if !staged.is_empty() {
        output.line("staged for the next deploy:");
    }
    for change in &staged {
        let name = change.name.as_deref().unwrap_or("");
        let value = all.staged.as_ref().and_then(|staged| staged.0.get_key_value(name));
        match (change.change, value) {
            (Change::Removed, _) | (_, None) => output.line(format_args!("- {name}")),
            (Change::Added, Some(variable)) => output.line(format_args!("+ {}", shown(variable))),
            (Change::Changed, Some(variable)) => output.line(format_args!("~ {}", shown(variable))),
        }
    }
    Ok(Exit::Done)
}

/// Prints one value, and nothing else.
pub async fn get(app: &AppContext, key: &str) -> CommandResult {
    let all = Environments::read(app).await?;
    let staged = all.staged.as_ref();
    let current = if all.release.is_some() { Some(&all.current) } else { staged };
    if let Some(value) = current.and_then(|environment| environment.0.get(key)) {
        Output::new(false).line(value);
        return Ok(Exit::Done);
    }
    let failure = Failure::usage(format_args!("{} has no variable {key}", app.name));
    if staged.is_some_and(|staged| staged.0.contains_key(key)) {
        return Err(failure.hint("it is staged, and the next deploy sets it"));
    }
    Err(with_nearest(failure, key, current.unwrap_or(&all.current)))
}

/// Sets variables, all in one release.
pub async fn set(app: &AppContext, args: EnvSetArgs) -> CommandResult {
    let variables = assign::read(&args.assignments, io::stdin())?;
    let apply = |base: &Environment| {
        let mut next = base.clone();
        next.0.extend(variables.clone());
        Ok(next)
    };
    change::run(app, &args.publish, args.stage, apply).await
}

/// Removes variables, all in one release.
pub async fn unset(app: &AppContext, args: EnvUnsetArgs) -> CommandResult {
    let apply = |base: &Environment| {
        let mut next = base.clone();
        for key in &args.keys {
            if next.0.remove(key).is_none() {
                let failure = Failure::usage(format_args!("{} has no variable {key}", app.name));
                return Err(with_nearest(failure, key, base));
            }
        }
        Ok(next)
    };
    change::run(app, &args.publish, args.stage, apply).await
}

fn with_nearest(failure: Failure, key: &str, environment: &Environment) -> Failure {
    match nearest(key, environment.0.keys().map(String::as_str)) {
        Some(name) => failure.hint(format_args!("did you mean {name}?")),
        None => failure,
    }
}

/// `env --json`.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    app: &'a str,
    release: Option<u64>,
    variables: Vec<Variable<'a>>,
    /// What the next deploy changes, if anything is staged.
    staged: Vec<StagedVariable>,
}

#[derive(Debug, Serialize)]
struct Variable<'a> {
    name: &'a str,
    /// Only with `--reveal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct StagedVariable {
    name: String,
    change: Change,
    /// Only with `--reveal`, and of a variable that is not removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

fn listed<'a>(app: &'a AppContext, all: &'a Environments, reveal: bool) -> Listed<'a> {
    let variables = all.current.0.iter();
    let variables = variables
        .map(|(name, value)| Variable { name, value: reveal.then_some(value.as_str()) })
        .collect();
    let value = |name: &str| all.staged.as_ref().and_then(|staged| staged.0.get(name).cloned());
    let staged = all.staged_changes().into_iter().filter_map(|change| {
        let name = change.name?;
        let value = if reveal { value(&name) } else { None };
        Some(StagedVariable { change: change.change, value, name })
    });
    Listed { app: &app.name, release: all.release, variables, staged: staged.collect() }
}
