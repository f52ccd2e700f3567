//! `destroy-app`: stops and removes the fleet and, asked separately, the bucket.

use deploy::history::History;
use deploy::store::Store;

use crate::bucket;
use crate::cli::DestroyArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure};
use crate::fleet::Change;
use crate::output::{Output, ask};

/// Says what goes, has it confirmed, and removes it.
pub async fn run(app: &AppContext, args: DestroyArgs) -> CommandResult {
    let (store, output) = (app.store()?, Output::new(false));
    let fleet = app.fleet_of(store.clone())?;
    let asks = ask::can_ask();
    let name = &app.name;
    if args.yes.is_none() && !asks {
        return Err(Failure::usage("this removes the fleet, and nobody is there to confirm it")
            .hint(format!("confirm it with `engr {name} destroy-app --yes {name}`")));
    }
    if let Some(given) = &args.yes {
        confirm(name, given)?;
    }
    let instances = fleet.instances().await?;
    let names: Vec<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
    output.line("This stops the app and removes, with their logs:");
    output.line(format_args!("  instances: {}", or_none(&names.join(", "))));
    if !instances.is_empty() {
        output.line(format_args!("  addresses: {}", or_none(&fleet.addresses().join(", "))));
    }
    if args.yes.is_none() {
        confirm(name, &ask::line("Type the app's name to go on", None)?)?;
    }

    let bucket = format!("{} ({})", store.url(), releases(&*store).await);
    let with_bucket = match args.bucket {
        Some(with_bucket) => with_bucket,
        None if asks => ask::confirm(&format!("Remove the bucket too? {bucket}"))?,
        None => false,
    };
    fleet.destroy(&|change: &Change| output.line(change.done())).await?;
    if with_bucket {
        bucket::remove(name, &app.config).await?;
        output.line(format_args!("removed the bucket {bucket}"));
    } else {
        output.line(format_args!("the bucket stays: {bucket}"));
        output.line(format_args!(
            "  it goes with `engr {name} destroy-app --yes {name} --bucket`; `engr {name} sync` \
             brings the app back"
        ));
    }
    output.line(format_args!(
        "{} still has the app: nothing there was touched",
        app.file.path().display()
    ));
    Ok(Exit::Done)
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

async fn releases(store: &dyn Store) -> String {
    match History::read(store).await.map(|history| history.releases.len()) {
        Ok(1) => "1 release".to_owned(),
        Ok(count) => format!("{count} releases"),
        // A bucket that cannot be read must not keep its owner from removing it.
        Err(error) => format!("which cannot be read: {error}"),
    }
}

/// Refuses any name but the app's.
fn confirm(name: &str, given: &str) -> CommandResult<()> {
    if given == name {
        return Ok(());
    }
    Err(Failure::usage(format!("the app is {name}, and {given:?} was given: nothing was removed")))
}
