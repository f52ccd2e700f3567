//! `engr apps`: what `engr.json` has.

use serde_json::json;

use crate::config::{AppConfig, EngrFile};
use crate::failure::{CommandResult, Exit};
use crate::output::{Table, print};

/// Lists the apps.
pub fn run(json: bool) -> CommandResult {
    let file = EngrFile::find()?;
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    let mut table = Table::new(["name", "project", "builds", "ports", "instances"]);
    let mut apps = Vec::new();
    for name in &names {
        let config = file.app(name)?;
        apps.push(json!({
            "name": name, "project": config.project, "package": config.package,
            "build": config.build, "ports": config.ports(),
            "instance_count": config.instance_count(),
        }));
        let ports = config.ports().iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
        table.row([
            name.clone(),
            config.project.clone().unwrap_or("-".to_owned()),
            builds(&config),
            if ports.is_empty() { "worker".to_owned() } else { ports },
            config.instance_count().to_string(),
        ]);
    }
    match (json, names.is_empty()) {
        (true, _) => print(format_args!("{}\n", json!({"file": file.path(), "apps": apps}))),
        (false, true) => print(format_args!(
            "no apps in {} yet: `engr <app> create` adds one\n",
            file.path().display()
        )),
        (false, false) => print(format_args!("{table}\n")),
    }
    Ok(Exit::Done)
}

fn builds(config: &AppConfig) -> String {
    let command = config.build.as_ref().map(|build| format!("`{}`", build.command));
    config.package.clone().or(command).unwrap_or("-".to_owned())
}
