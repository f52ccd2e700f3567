//! How long a deploy takes until a whole fleet serves it: Engineer beside `rsync` with `ssh`, and
//! Ansible. Run it by `tests/bench-rollout`, which brings them.
//!
//! ```text
//!   app ─▶ the next version ─▶ engineer, peers ─▶ run: the tool, and all hosts asked ─▶ table
//!                                                  └─ on a site with its hosts
//! ```

mod app;
mod engineer;
mod host;
mod peers;
mod run;
mod site;
mod table;

use std::fs;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::Parser;

use app::{Edit, PORTS, Source};
use engineer::{Engineer, phases};
use host::{Host, Ssh};
use peers::Peers;
use run::{Wanted, run};
use site::{Line, Site};
use table::{Figures, Tool};

pub(crate) const BY_SCRIPT: &str = "run it by tests/bench-rollout";

/// Measures deploys to fleets.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each tool deploys to each fleet
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// How many hosts the fleets have
    #[arg(long, value_delimiter = ',', default_values_t = [1, 5, 20])]
    hosts: Vec<u8>,
    /// The deployer's line to them
    #[arg(long, value_delimiter = ',', default_values = ["none", "office"])]
    lines: Vec<Line>,
    /// Who deploys
    #[arg(long, value_delimiter = ',', default_values = ["engineer", "engineer-at-once", "rsync", "ansible"])]
    tools: Vec<Tool>,
    /// What differs from one version to the next
    #[arg(long, default_value = "handler")]
    edit: Edit,
    /// The seconds of a build, of which none is counted: the claim's time before it
    #[arg(long, default_value_t = 6)]
    build: u64,
    /// The app's `poll-interval`, if not the default
    #[arg(long)]
    poll_interval: Option<String>,
    /// Print the first host's agent's log to the standard error
    #[arg(long)]
    agent_log: bool,
    /// One more word for each `engr hello deploy`
    #[arg(long = "deploy-flag", allow_hyphen_values = true, default_value = "--now")]
    deploy_flags: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!("{}; {} runs.\n", tests::machine::described(), arguments.runs);
    table::head();
    for line in &arguments.lines {
        for hosts in &arguments.hosts {
            fleet(&arguments, *line, *hosts)?;
        }
    }
    Ok(())
}

/// Measures all tools on one fleet.
fn fleet(arguments: &Arguments, line: Line, count: u8) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("root");
    fs::create_dir(&root)?;
    let site = Site::new(line, folder.path().join("buckets"))?;
    let mut source = Source::new(folder.path().join("source"), arguments.edit)?;
    let (executable, says) = source.build()?;
    let ssh = Ssh::new(&root)?;
    let mut hosts = (1..=count)
        .map(|number| Host::new(number, &root, &ssh, &executable))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let engineer =
        Engineer::new(&site, &arguments.deploy_flags, arguments.poll_interval.as_deref());
    engineer.begin(&site, &executable, &mut hosts)?;
    for port in PORTS {
        Wanted { hosts: &hosts, port, says: &says }.served(&AtomicBool::new(false))?;
    }
    let config = ssh.config(&hosts)?;
    let mut bench = Bench {
        peers: Peers::new(&root, &config, &hosts)?,
        figures: arguments.tools.iter().map(|tool| (*tool, Figures::default())).collect(),
        arguments,
        site,
        source,
        hosts,
        engineer,
    };
    for run in 0..arguments.runs {
        for at in 0..bench.figures.len() {
            let tool = bench.figures[at].0;
            bench.once(at, run).with_context(|| format!("{}, {count} hosts", tool.name()))?;
        }
    }
    if let Some(first) = bench.hosts.first().filter(|_| arguments.agent_log) {
        eprint!("{}", first.agent_log()?);
    }
    table::rows(line, count, &bench.figures);
    Ok(())
}

/// A fleet that is deployed to. The hosts go before the site.
struct Bench<'a> {
    arguments: &'a Arguments,
    figures: Vec<(Tool, Figures)>,
    source: Source,
    engineer: Engineer,
    peers: Peers,
    hosts: Vec<Host>,
    site: Site,
}

impl Bench<'_> {
    /// Deploys the next version by one tool.
    fn once(&mut self, at: usize, number: u32) -> anyhow::Result<()> {
        let (tool, figures) = &mut self.figures[at];
        let (executable, says) = self.source.build()?;
        let sent = self.site.sent();
        let wanted = |port| Wanted { hosts: &self.hosts, port, says: &says };
        let (served, ended, from_publish, told) = match tool {
            Tool::Rsync | Tool::Ansible => {
                self.peers.take(&executable)?;
                let is_ansible = *tool == Tool::Ansible;
                let command = if is_ansible { self.peers.ansible() } else { self.peers.rsync() };
                let done = run(&self.site, command, &wanted(PORTS[0]))?;
                if is_ansible {
                    self.peers.disconnect()?;
                }
                (done.served, done.ended, None, String::new())
            }
            Tool::Engineer | Tool::EngineerAtOnce => {
                let is_long = *tool == Tool::Engineer;
                self.engineer.take(&executable, if is_long { self.arguments.build } else { 0 })?;
                if !is_long {
                    engineer::pause(number, self.arguments.runs);
                }
                let done = run(&self.site, self.engineer.deploy(), &wanted(PORTS[1]))?;
                let phases = phases(&done)?;
                (phases.served, phases.ended, Some(phases.from_publish), phases.told)
            }
        };
        let sent = self.site.sent().zip(sent).map(|(now, before)| now - before);
        let (name, hosts) = (tool.name(), self.hosts.len());
        let after = from_publish.map(|seconds| format!(", {seconds:.3} after the publish"));
        let (after, bytes) = (after.unwrap_or_default(), sent.unwrap_or_default());
        eprintln!("{name}, {hosts} hosts: {served:.3}{after}, ended {ended:.3}, {bytes} B; {told}");
        figures.add(served, ended, from_publish, sent);
        Ok(())
    }
}
