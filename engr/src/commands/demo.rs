//! `engr demo`: Engineer at work, with nothing set up.
//!
//! In a scratch folder, with this very program: `create`, `deploy`, a load, an edit, `deploy` while
//! the load goes on, `rollback`; then a table of what that meant for the clients. Whatever ends it,
//! the fleet is stopped and the folder removed, unless `--keep` says otherwise.

mod example;
mod gcs;
mod load;
mod scratch;
mod steps;

use std::net::{Ipv4Addr, SocketAddr};

use crate::cli::{DemoArgs, DemoLang};
use crate::failure::{CommandResult, Exit, Failure, OrFail};
use crate::fleet;
use crate::output::{Style, Table, print};

use example::Example;
use gcs::DemoGcs;
use load::{CLIENTS_OF_A_KIND, Count, Load};
use scratch::Scratch;
use steps::{Released, Steps};

/// How long the second release is watched on its canary: nobody wants to wait for longer here.
const BAKE: &str = "2s";

/// Which port is tried first where none was asked for, and how many after it.
const PORT: u16 = 8080;
const PORTS_TRIED: u16 = 100;

/// Shows it.
pub async fn run(args: DemoArgs) -> CommandResult {
    if args.instances == 0 {
        return Err(Failure::usage("a fleet of 0 instances shows nothing")
            .hint("leave --instances out, or give at least 1"));
    }
    let port = port(args.port)?;
    let example = Example::new(args.lang.unwrap_or_else(installed));
    let scratch = Scratch::new()?;
    let gcs = if args.gcs { Some(DemoGcs::new(&scratch).await?) } else { None };
    let steps = Steps::new(&scratch, gcs.as_ref())?;
    let shown = show(&args, port, example, &scratch, &steps).await;
    if args.keep {
        scratch.keep(&steps);
        gcs.into_iter().for_each(DemoGcs::keep);
        return shown;
    }
    if shown.as_ref().is_err_and(|failure| failure.exit == Exit::Interrupted) {
        print("interrupted: stopping the fleet, removing the folder\n");
    }
    // The folder holds all that is needed to find and stop the fleet: it goes last.
    match (steps.destroy().await, shown) {
        (Ok(()), shown) => {
            let ended = match gcs {
                Some(gcs) => gcs.end().await,
                None => Ok(()),
            };
            ended.and(scratch.remove()).and(shown)
        }
        (Err(left), shown) => {
            scratch.keep(&steps);
            gcs.into_iter().for_each(DemoGcs::keep);
            shown.and(Err(left))
        }
    }
}

fn installed() -> DemoLang {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).any(|folder| folder.join("go").is_file()) {
        true => DemoLang::Go,
        false => DemoLang::Rust,
    }
}

/// The port that was asked for, or else the first free one.
fn port(asked: Option<u16>) -> CommandResult<u16> {
    if let Some(port) = asked {
        let checked = fleet::check_port(port);
        return checked.map(|()| port).map_err(|failure| failure.hint("take another: --port"));
    }
    let taken = match fleet::check_port(PORT) {
        Ok(()) => return Ok(PORT),
        Err(taken) => taken,
    };
    let free = (PORT + 1..PORT + PORTS_TRIED).find(|port| fleet::check_port(*port).is_ok());
    let free = free.ok_or_else(|| {
        Failure::usage(format!("no port from {PORT} to {} is free", PORT + PORTS_TRIED - 1))
            .hint("name a free one: --port")
    })?;
    print(format_args!("{}: {free} it is\n", taken.error));
    Ok(free)
}

async fn show(
    args: &DemoArgs,
    port: u16,
    example: Example,
    scratch: &Scratch,
    steps: &Steps,
) -> CommandResult {
    let (language, folder) = (example.language(), scratch.app());
    let count = args.instances;
    print(format_args!("A {language} app on a local fleet of {count}, in {}\n", folder.display()));
    example.write(&folder)?;
    steps.create(example.package(), port, count).await?;
    let first = steps.deploy("version 1", &[]).await?;
    let address = first.address.clone().unwrap_or_default();
    let answer = steps.answer_of(port).await?;
    print(format_args!("\nThe app is at {} and answers: {answer}\n", Style::Bold.paint(address)));

    let load = Load::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let load = load.or_fail(Exit::Internal, "cannot start the load")?;
    print(format_args!(
        "From now on {CLIENTS_OF_A_KIND} clients ask over and over on kept connections, and \
         {CLIENTS_OF_A_KIND} with a new one for each request.\n"
    ));
    let line = example.edit(&folder)?;
    print(format_args!("\n{}, edited: {line}\n", example.main_file()));
    let (second, at_second) = under(&load, steps.deploy("version 2", &["--bake", BAKE])).await?;
    let answer = steps.answer_of(port).await?;
    print(format_args!("It answers: {answer}\n"));
    let (third, at_third) = under(&load, steps.rollback()).await?;
    let answer = steps.answer_of(port).await?;
    print(format_args!("It answers: {answer}\n\n"));
    let all = load.end();
    print(format_args!(
        "{}\n",
        table([(first, None), (second, Some(at_second)), (third, Some(at_third))], &all)
    ));
    verdict(&all)
}

/// Does a step, and counts the requests meanwhile.
async fn under(
    load: &Load,
    step: impl Future<Output = CommandResult<Released>>,
) -> CommandResult<(Released, Count)> {
    let before = load.count();
    let released = step.await?;
    let count = load.count().since(&before);
    let (requests, failed) = (count.requests(), count.failures());
    print(format_args!("Requests meanwhile: {requests}, failed: {failed}\n"));
    Ok((released, count))
}

fn table(releases: [(Released, Option<Count>); 3], all: &Count) -> Table {
    let mut table =
        Table::new(["release", "what", "publish to last switch", "requests meanwhile", "failed"]);
    for (released, count) in releases {
        let numbers = |number: fn(&Count) -> u64| count.as_ref().map(|c| number(c).to_string());
        table.row([
            format!("v{}", released.number),
            released.what,
            released.switch_seconds.map(|s| format!("{s:.3} s")).unwrap_or_default(),
            numbers(Count::requests).unwrap_or("-".to_owned()),
            numbers(Count::failures).unwrap_or("-".to_owned()),
        ]);
    }
    let (requests, failed) = (all.requests().to_string(), all.failures().to_string());
    table.row(["all".to_owned(), String::new(), String::new(), requests, failed]);
    table
}

fn verdict(all: &Count) -> CommandResult {
    if all.failures() == 0 {
        return Ok(Exit::Done);
    }
    let message =
        format!("{} of {} requests failed: {}", all.failures(), all.requests(), all.by_kind());
    Err(Failure::new(Exit::Internal, anyhow::anyhow!(message)))
}
