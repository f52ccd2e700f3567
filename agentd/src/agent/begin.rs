//! What an agent begins with: what the one before left, or nothing.

use anyhow::Context;
use deploy::Timestamp;
use deploy::agent_config::InstanceDir;

use crate::handover::Handover;
use crate::memory::Memory;
use crate::process;
use crate::run::{INSTANCE_DIR, Runner};
use crate::switch::{Action, Machine, RunId, VersionId};

/// Goes on where the agent before died.
pub(super) fn take_over(
    runner: &mut Runner,
    handed: Handover,
) -> (Machine, Vec<Action>, Vec<VersionId>) {
    let Handover { machine, undone, standing, .. } = handed;
    let starting: Vec<(VersionId, RunId)> = undone
        .iter()
        .filter_map(|action| match action {
            Action::Start(version, run) => Some((*version, *run)),
            _ => None,
        })
        .collect();
    runner.take_over(standing, &starting);
    let (actions, lost) = machine.take_over(undone, |version| runner.has_process(version));
    tracing::info!(actions = actions.len(), lost = lost.len(), "took over from the agent before");
    (machine, actions, lost)
}

/// Nothing tells what an agent before has left, or the machine has started anew.
pub(super) fn start_anew(
    dir: &InstanceDir,
    runner: &mut Runner,
    memory: &Memory,
) -> anyhow::Result<Machine> {
    let ended = process::sweep(INSTANCE_DIR, dir.path().as_os_str());
    match ended.context("cannot look for processes of an earlier agent")? {
        0 => {}
        count => tracing::warn!(count, "ended processes that an earlier agent had left"),
    }
    runner.take_over(Default::default(), &[]);
    match std::fs::remove_dir_all(dir.runs()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", dir.runs().display()));
        }
        _ => {}
    }
    // No earlier core has come so far: it would have had to start a process every millisecond.
    let runs_begun = Timestamp::now().as_millisecond().try_into().unwrap_or(0);
    Ok(Machine::new(memory.retained(), runs_begun))
}
