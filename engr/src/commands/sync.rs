//! `sync`: brings the fleet to the app's settings.

use crate::cli::SyncArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::fleet::Change;
use crate::output::{Output, Style};

/// Shows the changes, and makes them unless only the plan is wanted.
pub async fn run(app: &AppContext, args: SyncArgs) -> CommandResult {
    let (fleet, output) = (app.fleet()?, Output::new(false));
    if args.plan {
        let changes = fleet.plan().await?;
        changes.iter().for_each(|change| output.line(change));
        let (exit, word) = match changes.len() {
            0 => (Exit::Done, "the fleet is what it should be".to_owned()),
            count => (Exit::Changes, format!("{count} to do: `engr {} sync`", app.name)),
        };
        output.line(Style::Dim.paint(word));
        return Ok(exit);
    }
    fleet.apply(&|change: &Change| output.line(change.done())).await?;
    let left = fleet.plan().await?;
    if let Some(change) = left.first() {
        // Something ended, or was changed by somebody else, right after it was brought about.
        let message = format!("the fleet does not stay what it should be: {change}");
        return Err(Failure::new(Exit::Internal, anyhow::anyhow!(message))
            .hint(format!("see `engr {} logs`, then sync again", app.name)));
    }
    let count = fleet.instances().await?.len();
    let instances = if count == 1 { "instance" } else { "instances" };
    let at = fleet.addresses();
    let at = if at.is_empty() { String::new() } else { format!(", {}", at.join(", ")) };
    output.line(format_args!("{} {count} {instances}{at}", Style::Green.paint("in sync:")));
    Ok(Exit::Done)
}
