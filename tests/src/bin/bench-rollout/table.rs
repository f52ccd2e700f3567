//! What was measured, and the table of it.

use tests::sample::{Sample, shown};

use crate::site::Line;

/// Who deploys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tool {
    /// With a build that is long enough for all agents to see the claim.
    Engineer,
    /// Without one.
    EngineerAtOnce,
    /// And `ssh`.
    Rsync,
    Ansible,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Engineer => "`engr deploy` after its build",
            Self::EngineerAtOnce => "`engr deploy` without a build",
            Self::Rsync => "`rsync -z`, `ssh`",
            Self::Ansible => "Ansible",
        }
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::Engineer | Self::EngineerAtOnce)
    }
}

/// Of one tool and one fleet, run by run.
#[derive(Default)]
pub(crate) struct Figures {
    served: Vec<f64>,
    ended: Vec<f64>,
    from_publish: Vec<f64>,
    megabytes: Vec<f64>,
}

impl Figures {
    pub(crate) fn add(
        &mut self,
        served: f64,
        ended: f64,
        from_publish: Option<f64>,
        sent: Option<u64>,
    ) {
        self.served.push(served);
        self.ended.push(ended);
        self.from_publish.extend(from_publish);
        self.megabytes.extend(sent.map(|bytes| bytes as f64 / 1e6));
    }

    fn served(&self) -> f64 {
        Sample::new(self.served.clone()).median()
    }
}

pub(crate) fn head() {
    println!(
        "| line | hosts | tool | start to all serve it, median | min to max | of it after the \
         publish | whole command | sent | times Engineer's |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
}

/// The rows of one fleet.
pub(crate) fn rows(line: Line, hosts: u8, all: &[(Tool, Figures)]) {
    let ours: Vec<_> = all.iter().filter(|(tool, _)| tool.is_ours()).collect();
    for (tool, figures) in all {
        let served = Sample::new(figures.served.clone());
        let median = |figures: &[f64], unit: &str| match figures {
            [] => String::new(),
            _ => format!("{} {unit}", shown(Sample::new(figures.to_vec()).median())),
        };
        let ratios: Vec<_> = match tool.is_ours() {
            true => Vec::new(),
            false => ours.iter().map(|(_, of)| shown(figures.served() / of.served())).collect(),
        };
        println!(
            "| {} | {hosts} | {} | {} s | {} | {} | {} | {} | {} |",
            line.name(),
            tool.name(),
            shown(served.median()),
            served.range(),
            median(&figures.from_publish, "s"),
            median(&figures.ended, "s"),
            median(&figures.megabytes, "MB"),
            ratios.join(", "),
        );
    }
}
