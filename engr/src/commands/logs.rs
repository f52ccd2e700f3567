//! `logs`: the app's and the agents' lines of all instances, merged by time.
//!
//! ```text
//! <instance>/logs/*.jsonl ──▶ spool  one instance's lines, in order
//!                               └──▶ merge  by time ──▶ print  for a person, or as JSON
//! ```
//!
//! With `--json` each line is one object:
//! `{"time":"2026-11-22T10:02:11.123456789Z","instance":"hello-1","release":3,"stream":"out","text":"…"}`.
//! `stream` is `out`, `err`, or `agent` for the agent's own lines, whose `release` is `null`.

mod merge;
mod print;
mod spool;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use deploy::local_fleet::LocalDir;
use deploy::log_line::LogLine;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::cli::LogsArgs;
use crate::context::AppContext;
use crate::failure::{CommandResult, Exit, Failure, OrFail};
use crate::fleet;

use print::Printer;
use spool::{Filter, Spool};

/// How often new lines are looked for without being told to: notifications can get lost.
const RECHECK_EVERY: Duration = Duration::from_secs(1);

/// How long after the first word of new lines they are read: those that other instances write at
/// the same time are then merged by time too.
const GATHER: Duration = Duration::from_millis(30);

/// Shows the last lines, and with `-f` the ones to come.
pub async fn run(app: &AppContext, args: LogsArgs) -> CommandResult {
    // Refuses what does not run on this machine.
    app.fleet()?;
    let dir = fleet::local_dir(&app.name)?;
    let mut logs = Logs::open(&app.name, dir, &args)?;
    let mut printer = Printer::new(args.json);
    match show(&mut logs, &mut printer, &args).await {
        // Whoever read this has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        other => other.map(|()| Exit::Done).or_fail(Exit::Internal, "cannot show the lines"),
    }
}

async fn show(logs: &mut Logs, printer: &mut Printer, args: &LogsArgs) -> io::Result<()> {
    let last = logs.last(args.n)?;
    printer.print(&last)?;
    if !args.follow {
        return Ok(());
    }
    let mut news = News::new();
    loop {
        news.watch(logs.folders());
        let more = logs.more()?;
        printer.print(&more)?;
        news.wait().await;
    }
}

/// The spools of the instances whose lines are wanted.
struct Logs {
    dir: LocalDir,
    only: Option<String>,
    filter: Filter,
    spools: BTreeMap<usize, Spool>,
    /// Every instance ever seen gets a number of its own, which is also its colour.
    seen: Vec<String>,
}

impl Logs {
    fn open(app: &str, dir: LocalDir, args: &LogsArgs) -> CommandResult<Self> {
        let known = fleet::instance_folders(&dir)?;
        if known.is_empty() {
            return Err(Failure::usage(format!("{app} has no instances here, and so no logs"))
                .hint(format!("`engr {app} deploy` makes them")));
        }
        if let Some(wanted) = args.instance.as_ref().filter(|wanted| !known.contains(wanted)) {
            return Err(Failure::usage(format!("{app} has no instance {wanted:?}"))
                .hint(format!("it has {}", known.join(", "))));
        }
        let (only, filter) = (args.instance.clone(), Filter { release: args.release });
        let mut logs = Self { dir, only, filter, spools: BTreeMap::new(), seen: Vec::new() };
        logs.follow_instances(known);
        Ok(logs)
    }

    fn follow_instances(&mut self, names: Vec<String>) {
        let wanted = |name: &String| self.only.as_ref().is_none_or(|only| only == name);
        let names: Vec<String> = names.into_iter().filter(wanted).collect();
        self.spools.retain(|_, spool| names.contains(&spool.instance));
        for name in names {
            let number = self.seen.iter().position(|seen| *seen == name).unwrap_or_else(|| {
                self.seen.push(name.clone());
                self.seen.len() - 1
            });
            let folder = self.dir.instance(&name).logs();
            self.spools.entry(number).or_insert_with(|| Spool::new(name, folder));
        }
    }

    /// The last `count` lines of all instances together.
    fn last(&mut self, count: usize) -> io::Result<Vec<Line>> {
        let filter = &self.filter;
        let each = self.spools.iter_mut();
        let each = each.map(|(number, spool)| Ok((*number, spool.last(count, filter)?)));
        let each = each.collect::<io::Result<_>>()?;
        let mut lines = self.named(merge::by_time(each));
        lines.drain(..lines.len().saturating_sub(count));
        Ok(lines)
    }

    /// The lines that have come since, those of new instances among them.
    fn more(&mut self) -> io::Result<Vec<Line>> {
        // A fleet that is being removed has no folder any more: then there is nothing new.
        let names = fleet::instance_folders(&self.dir).unwrap_or_default();
        self.follow_instances(names);
        let filter = &self.filter;
        let each = self.spools.iter_mut();
        let each = each.map(|(number, spool)| Ok((*number, spool.more(filter)?)));
        let each = each.collect::<io::Result<_>>()?;
        Ok(self.named(merge::by_time(each)))
    }

    fn named(&self, lines: Vec<(usize, LogLine)>) -> Vec<Line> {
        let named = |(number, line): (usize, LogLine)| Line {
            instance: self.seen[number].clone(),
            number,
            line,
        };
        lines.into_iter().map(named).collect()
    }

    /// Where new lines, and new instances, show.
    fn folders(&self) -> Vec<PathBuf> {
        let spools = self.spools.values().map(|spool| spool.folder.clone());
        std::iter::once(self.dir.instances()).chain(spools).collect()
    }
}

/// A line and where it comes from.
#[derive(Debug)]
struct Line {
    instance: String,
    number: usize,
    line: LogLine,
}

/// Tells that there may be new lines.
struct News {
    told: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
    watched: Vec<PathBuf>,
}

impl News {
    fn new() -> Self {
        let (tell, told) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // To be told of a look would make the next look, without end.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel holds a word that is still to be heard.
                let _ = tell.try_send(());
            }
        });
        // Without notifications the regular look is left.
        Self { told, watcher: watcher.ok(), watched: Vec::new() }
    }

    /// Watches these folders too. One that is not there yet is tried again the next time.
    fn watch(&mut self, folders: Vec<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        self.watched.retain(|folder| folder.exists());
        for folder in folders {
            if !self.watched.contains(&folder)
                && watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok()
            {
                self.watched.push(folder);
            }
        }
    }

    async fn wait(&mut self) {
        match &self.watcher {
            Some(_) => {
                if timeout(RECHECK_EVERY, self.told.recv()).await.is_ok() {
                    sleep(GATHER).await;
                }
            }
            None => sleep(RECHECK_EVERY).await,
        }
    }
}
