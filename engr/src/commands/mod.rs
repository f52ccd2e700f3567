//! The commands, one file each.

mod agent;
mod apps;
mod completions;
mod config;
mod create;
mod demo;
mod deploy_app;
mod destroy_app;
mod doctor;
mod env;
mod here;
mod lock;
mod logs;
mod order;
mod prune;
mod releases;
mod restart;
mod rollback;
mod run;
mod serve;
mod status;
mod sync;
mod unlock;
mod wait;

use deploy::rollout::Verb;

use crate::cli::{AppCommand, Cli, Global, print_app_help};
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit};

/// Carries a command line out.
pub async fn run(cli: Cli) -> CommandResult {
    match cli {
        Cli::Global(Global::Demo(args)) => demo::run(args).await,
        Cli::Global(Global::Apps { json }) => apps::run(json),
        Cli::Global(Global::Doctor(args)) => doctor::run(args).await,
        Cli::Global(Global::Completions { shell }) => completions::run(shell),
        Cli::Global(Global::ConfigSchema) => config::schema(),
        Cli::App { app, command: None } => {
            print_app_help(&app);
            Ok(Exit::Done)
        }
        // These three must work where the app's settings are missing or wrong.
        Cli::App { app, command: Some(AppCommand::Create(args)) } => create::run(&app, args),
        Cli::App { app, command: Some(AppCommand::ConfigSet(args)) } => {
            config::set(&app, args).await
        }
        Cli::App { app, command: Some(AppCommand::ConfigUnset { key, stage }) } => {
            config::unset(&app, &key, stage).await
        }
        Cli::App { app, command: Some(command) } => run_for(AppContext::find(&app)?, command).await,
    }
}

async fn run_for(app: AppContext, command: AppCommand) -> CommandResult {
    match command {
        AppCommand::Create(args) => create::run(&app.name, args),
        AppCommand::Config(flag) => config::show(&app, flag.json),
        AppCommand::ConfigGet { key } => config::get(&app, &key),
        AppCommand::ConfigSet(args) => config::set(&app.name, args).await,
        AppCommand::ConfigUnset { key, stage } => config::unset(&app.name, &key, stage).await,
        AppCommand::Deploy(args) => deploy_app::run(&app, args).await,
        AppCommand::Status(args) => status::run(&app, args).await,
        AppCommand::Releases(args) => releases::run(&app, args).await,
        AppCommand::Rollback(args) => rollback::run(&app, args).await,
        AppCommand::Restart(args) => restart::run(&app, args).await,
        AppCommand::Wait(args) => wait::run(&app, args).await,
        AppCommand::Pause(args) => order::run(&app, Verb::Pause, args).await,
        AppCommand::Resume(args) => order::run(&app, Verb::Resume, args).await,
        AppCommand::Abort(args) => order::run(&app, Verb::Abort, args).await,
        AppCommand::Lock(args) => lock::run(&app, args).await,
        AppCommand::Unlock => unlock::run(&app).await,
        AppCommand::Env(args) => env::show(&app, args).await,
        AppCommand::EnvGet { key } => env::get(&app, &key).await,
        AppCommand::EnvSet(args) => env::set(&app, args).await,
        AppCommand::EnvUnset(args) => env::unset(&app, args).await,
        AppCommand::Logs(args) => logs::run(&app, args).await,
        AppCommand::Run { command } => run::run(&app, command).await,
        AppCommand::Serve(args) => serve::run(&app, args, serve::Environment::Deployed).await,
        AppCommand::LocalServe(args) => serve::run(&app, args, serve::Environment::Shell).await,
        AppCommand::Sync(args) => sync::run(&app, args).await,
        AppCommand::Prune(args) => prune::run(&app, args).await,
        AppCommand::AgentUpdate(args) => agent::update(&app, args).await,
        AppCommand::AgentRollback(args) => agent::roll_back(&app, args).await,
        AppCommand::DestroyApp(args) => destroy_app::run(&app, args).await,
    }
}
