//! What one instance is to run.

use super::progress::{Order, Progress, Stage, Verb};
use crate::desired_agent::order_key;
use crate::id::Id;
use crate::release::Release;
use crate::state::State;

/// What one instance is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Course<'a> {
    /// Run this.
    Run(&'a Release),
    /// Bring the newest release to the disk, and wait. Meanwhile run this, or what serves already.
    Wait(Option<&'a Release>),
    /// The newest release was taken back: run this, or what serves already.
    Back(Option<&'a Release>),
    /// The newest release goes no further than where it is: run this, or what serves already.
    Stay(Option<&'a Release>),
}

/// The course of `instance`, which is told already to run the release `aimed`, and where `serving`
/// serves, or will whatever it is told. None: there is no release.
pub fn course<'a>(
    state: &'a State,
    progress: Option<&Progress>,
    instance: &str,
    aimed: Option<&Id>,
    serving: Option<(&Id, u64)>,
) -> Option<Course<'a>> {
    let release = state.release.as_ref()?;
    // An older `engr` has published it.
    let Some(plan) = &release.rollout else { return Some(Course::Run(release)) };
    let progress = progress.filter(|progress| progress.release == release.id);
    let verb = order_of(state).map(|order| order.verb);
    let is_begun = aimed == Some(&release.id) || serving.is_some_and(|(id, _)| *id == release.id);
    let meanwhile = || meanwhile(state, serving);
    let is_let_on = || {
        let key = order_key(&release.id, instance);
        progress.is_some_and(|progress| progress.mark.lets(&key))
    };
    let base = state.base.as_ref().map(|base| &base.release);
    Some(match (progress.map(|progress| progress.stage), verb) {
        (Some(Stage::Done | Stage::Watching), _) => Course::Run(release),
        (Some(Stage::Reverted), _) => Course::Back(base),
        (Some(Stage::Reverting), _) => match is_begun && !is_let_on() {
            true => Course::Run(release),
            false => Course::Back(base),
        },
        // Where going back costs capacity, all do not go at once.
        (_, Some(Verb::Abort)) if release.settings.graceful_shutdown && base.is_some() => {
            Course::Back(base)
        }
        _ if is_begun => Course::Run(release),
        (Some(Stage::Halted), _) | (_, Some(Verb::Abort)) => Course::Stay(meanwhile()),
        (_, Some(Verb::Pause)) => Course::Wait(meanwhile()),
        (Some(Stage::Canary | Stage::Rolling), _) => match is_let_on() {
            true => Course::Run(release),
            false => Course::Wait(meanwhile()),
        },
        (None, _) if plan.now => Course::Run(release),
        (None | Some(Stage::Unknown), _) => Course::Wait(meanwhile()),
    })
}

/// The order that is given for the current release, if one is.
pub fn order_of(state: &State) -> Option<&Order> {
    let release = state.release.as_ref()?;
    state.order.as_ref().filter(|order| order.release == release.id)
}

/// What to run until the newest release is on. Where a release serves that came after the base, and
/// was not taken back, it serves on: it would only be switched once more.
fn meanwhile<'a>(state: &'a State, serving: Option<(&Id, u64)>) -> Option<&'a Release> {
    let base = state.base.as_ref()?;
    let is_later =
        |(_, number): (&Id, u64)| number > base.release.number && !base.reverted.contains(&number);
    match serving {
        Some(serving) if is_later(serving) => None,
        _ => Some(&base.release),
    }
}

#[cfg(test)]
#[path = "course_tests.rs"]
mod tests;
