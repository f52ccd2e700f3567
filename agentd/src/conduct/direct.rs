//! From the course of a rollout to what the switch core is told.

use std::sync::Arc;

use deploy::release::Release;
use deploy::rollout::Course;

use super::Core;
use crate::switch::Machine;

/// What an instance is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Direction {
    /// What to run. None: whatever runs.
    pub run: Option<Arc<Release>>,
    /// The newest release is to be brought to the disk, where it waits for its turn.
    pub waits: bool,
    /// The newest release was taken back.
    pub is_back: bool,
}

/// What follows from what is known of the rollout. None: no state was seen, or there is no release.
pub fn direct(core: &Core, machine: &Machine) -> Option<Direction> {
    let aimed = machine.aimed().map(|release| &release.id);
    let bound = machine.bound();
    let serving = bound.map(|release| (&release.id, release.number));
    let course = core.course(aimed, serving)?;
    let (run, waits, is_back) = match course {
        Course::Run(release) => (Some(release), false, false),
        Course::Wait(release) => (release, true, false),
        Course::Back(release) => (release, false, true),
        Course::Stay(release) => (release, false, false),
    };
    let run = run.map(|release| Arc::new(release.clone())).or_else(|| bound.cloned());
    Some(Direction { run, waits, is_back })
}
