//! `create`: adds an app to `engr.json`, and makes the file if there is none.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::build;
use crate::cli::CreateArgs;
use crate::config::{EngrFile, check_name, current_folder, schema, write_whole};
use crate::failure::{CommandResult, Exit, Failure};
use crate::output::{ask, print};

/// Adds the app `name`.
pub fn run(name: &str, args: CreateArgs) -> CommandResult {
    check_name(name)?;
    let here = current_folder()?;
    let settings = settings(&open(name, &here)?.0, &here, args)?;
    // Read anew: questions take time, and somebody may have changed the file meanwhile.
    let (file, is_new) = open(name, &here)?;
    let file = file.with_app(name, settings)?;
    if is_new {
        write_whole(&file.folder().join(schema::SCHEMA_FILE), &schema::text())?;
    }
    file.save()?;
    print(format_args!("added {name} to {}\n", file.path().display()));
    print(format_args!("next: engr {name} deploy\n"));
    Ok(Exit::Done)
}

/// The file in reach, or a new one for `here`, if it does not have the app yet.
fn open(name: &str, here: &Path) -> CommandResult<(EngrFile, bool)> {
    let Some(file) = EngrFile::find_from(here)? else { return Ok((EngrFile::new(here), true)) };
    if file.names().any(|known| known == name) {
        let path = file.path().display();
        return Err(Failure::usage(format!("the app {name} is in {path} already"))
            .hint(format!("`engr {name} config` shows its settings")));
    }
    Ok((file, false))
}

/// The new app's settings, in the order in which they are read best.
fn settings(file: &EngrFile, here: &Path, args: CreateArgs) -> CommandResult<Map<String, Value>> {
    let mut settings = Map::new();
    let mut set = |key: &str, value: Value| drop(settings.insert(key.to_owned(), value));
    let project = project(file, &args)?;
    set("project", json!(project));
    match (args.build, args.output) {
        (Some(command), Some(output)) => {
            set("build", json!({"command": command, "output": output}))
        }
        _ => set("package", json!(package(file, here, args.package)?)),
    }
    match port(file, args.port, args.worker, project == "local")? {
        Some(port) => set("port", json!(port)),
        None => set("server", json!(false)),
    }
    if let Some(path) = args.health {
        set("health", json!({"path": path}));
    }
    set("graceful-shutdown", json!(true));
    set("instance-count", json!(instances(args.instances)?));
    Ok(settings)
}

fn project(file: &EngrFile, args: &CreateArgs) -> CommandResult<String> {
    match (&args.project, args.local) {
        (_, true) => return Ok("local".to_owned()),
        (Some(project), false) => return Ok(project.clone()),
        (None, false) => {}
    }
    if !ask::can_ask() {
        return Err(Failure::usage("nothing says where the app runs")
            .hint("--local: on a fleet on this machine")
            .hint("--project ID: in that Google Cloud project"));
    }
    let others = file.names().find_map(|name| file.value(name, "project")?.as_str());
    ask::line("Project (`local`, or a Google Cloud project)", Some(others.unwrap_or("local")))
}

fn package(file: &EngrFile, here: &Path, given: Option<String>) -> CommandResult<String> {
    if let Some(package) = given {
        return Ok(package);
    }
    let found = build::candidates(file.folder(), here)?;
    match (&found[..], ask::can_ask()) {
        ([only], false) => Ok(only.clone()),
        ([], true) => ask::line("Package (a Go import path or folder, or a Cargo package)", None),
        ([only], true) => ask::line("Package", Some(only)),
        (several, true) => ask::line(&format!("Package ({})", several.join(", ")), None),
        ([], false) => {
            Err(Failure::usage(format!("there is no program to build in {}", here.display()))
                .hint("--package NAME: a Go import path or folder, or a Cargo package")
                .hint("--build COMMAND --output PATH: anything else"))
        }
        (several, false) => {
            Err(Failure::usage(format!("there are several programs here: {}", several.join(", ")))
                .hint("name one with --package"))
        }
    }
}

/// The port; `None` for a worker.
fn port(
    file: &EngrFile,
    given: Option<u16>,
    worker: bool,
    is_local: bool,
) -> CommandResult<Option<u16>> {
    let default = if is_local { free_port(file) } else { 80 };
    if worker {
        return Ok(None);
    }
    if given.is_some() || !ask::can_ask() {
        return Ok(Some(given.unwrap_or(default)));
    }
    let answer = ask::line("Port (`none` for a worker)", Some(&default.to_string()))?;
    match (answer.as_str(), answer.parse()) {
        ("none", _) => Ok(None),
        (_, Ok(port)) => Ok(Some(port)),
        (_, Err(_)) => Err(Failure::usage(format!("{answer:?} is not a port, 1 to 65535"))),
    }
}

/// The first port from 8080 on that no other app of the file has: one machine runs them all.
fn free_port(file: &EngrFile) -> u16 {
    let taken: Vec<u64> =
        file.names().filter_map(|name| file.value(name, "port")?.as_u64()).collect();
    (8080..).find(|port| !taken.contains(&u64::from(*port))).unwrap_or(8080)
}

fn instances(given: Option<u32>) -> CommandResult<u32> {
    if given.is_some() || !ask::can_ask() {
        return Ok(given.unwrap_or(1));
    }
    let answer = ask::line("Instances", Some("1"))?;
    answer.parse().map_err(|_| Failure::usage(format!("{answer:?} is not a number of instances")))
}
