//! When a rollout has ended for whoever follows it, and how. Pure.
//!
//! The fleet goes on by itself for longer: it watches the release for a while, and may still take it
//! back. Who follows is told that, and does not wait for it.

use std::time::Duration;

use deploy::release::Release;
use deploy::rollout::{Order, Progress, Stage, Standing, Verb, Verdict, verdict};

use super::ending::End;
use super::view::InstanceView;

/// For so long an instance may take to begin to conduct; what all of them have come to by then is the
/// end. Instances do whose agents know nothing of rollouts.
pub(super) const UNCONDUCTED_AFTER: Duration = Duration::from_secs(90);

/// What the fleet says of the release as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// How far its conductor is, if one has begun.
    pub progress: Option<Progress>,
    /// What somebody wants of its rollout.
    pub order: Option<Order>,
    /// The newer release that is current.
    pub newer: Option<u64>,
    /// Nobody has begun to conduct it, though all instances have long ended.
    pub unconducted: bool,
}

impl Seen {
    /// What is under way; none as well where somebody has ordered a rollout on, and no conductor has
    /// heard of it yet.
    pub fn stage(&self) -> Option<Stage> {
        let progress = self.progress.as_ref()?;
        let is_reopened =
            progress.stage == Stage::Halted && !progress.has_ended(self.order.as_ref());
        (!is_reopened).then_some(progress.stage)
    }

    /// Whether somebody has called it off, and no conductor has heard of it yet.
    pub fn is_called_off(&self) -> bool {
        let progress = self.progress.as_ref();
        let heard = progress.and_then(|progress| progress.order.as_ref());
        let is_over = |stage: Stage| stage == Stage::Done || stage.is_taken_back();
        let is_over = progress.is_some_and(|it| is_over(it.stage));
        let order = self.order.as_ref().filter(|order| heard != Some(&order.id));
        order.is_some_and(|order| order.verb == Verb::Abort) && !is_over
    }

    /// Whose order holds it, if one does.
    pub fn paused(&self) -> Option<&Order> {
        let is_underway = self
            .stage()
            .is_none_or(|stage| matches!(stage, Stage::Canary | Stage::Rolling | Stage::Unknown));
        self.order.as_ref().filter(|order| order.verb == Verb::Pause && is_underway)
    }
}

/// The end that `release` has come to on `views`, if it has.
pub fn judge(release: &Release, seen: &Seen, views: &[InstanceView]) -> Option<End> {
    let all = verdict(views.iter().map(|view| &view.standing));
    let plan = release.rollout.as_ref().filter(|_| seen.newer.is_none());
    match (all, seen.newer, plan) {
        (Verdict::NoInstances | Verdict::Superseded { .. }, ..) => Some(End::Verdict(all)),
        (Verdict::Underway, Some(by), _) => Some(End::Verdict(Verdict::Superseded { by })),
        (Verdict::Underway, None, None) => None,
        (_, _, None) => Some(End::Verdict(all)),
        (_, _, Some(_)) => conducted(seen, views, all),
    }
}

fn conducted(seen: &Seen, views: &[InstanceView], all: Verdict) -> Option<End> {
    let live = || views.iter().filter(|view| view.is_live());
    let failed = |view: &InstanceView| matches!(view.standing, Standing::Failed(_));
    let is_back = |view: &InstanceView| failed(view) || view.standing == Standing::Reverted;
    match seen.stage() {
        _ if seen.is_called_off() => None,
        // It has served nowhere: there was nothing to take back.
        Some(Stage::Reverted) if views.iter().all(failed) => Some(End::Verdict(Verdict::Failed)),
        Some(Stage::Reverted) => live().all(is_back).then_some(End::Verdict(Verdict::Reverted)),
        // Those that are to go back yet are waited for.
        Some(Stage::Reverting) => None,
        Some(Stage::Halted) if live().any(InstanceView::is_moving) => None,
        Some(Stage::Halted) if views.iter().all(failed) => Some(End::Verdict(Verdict::Failed)),
        Some(Stage::Halted) => Some(End::Halted),
        // One that is not well now is taken back soon, or well again.
        Some(Stage::Watching) => {
            live().all(|view| failed(view) || view.is_good()).then(|| tally(views))
        }
        Some(Stage::Done) => {
            let is_over = |view: &InstanceView| matches!(view.standing, Standing::Done { .. });
            live().all(|view| failed(view) || is_over(view)).then(|| tally(views))
        }
        // Where all say that it is well with them, the conductor's word is not waited for: the next
        // release knows by theirs that it may go back to this one.
        None | Some(Stage::Canary | Stage::Rolling) if views.iter().all(InstanceView::is_good) => {
            Some(End::Verdict(Verdict::Done))
        }
        None | Some(Stage::Canary | Stage::Rolling | Stage::Unknown) => {
            (seen.unconducted && all != Verdict::Underway).then_some(End::Verdict(all))
        }
    }
}

/// All that can be waited for have ended. Who is silent, or not well, is no success.
fn tally(views: &[InstanceView]) -> End {
    let is_failed = |view: &InstanceView| matches!(view.standing, Standing::Failed(_));
    End::Verdict(match views {
        all if all.iter().all(InstanceView::is_good) => Verdict::Done,
        all if all.iter().all(is_failed) => Verdict::Failed,
        _ => Verdict::Mixed,
    })
}

#[cfg(test)]
mod tests {
    use deploy::id::Id;
    use deploy::report::{Phase, Stage as FailedAt};

    use super::super::fixtures::{at, done, failure, progress, release, settling, view};
    use super::*;

    fn seen(stage: Stage) -> Seen {
        Seen { progress: Some(progress(stage)), ..Seen::default() }
    }

    fn order(verb: Verb) -> Option<Order> {
        let at = at("2026-11-22T10:00:05Z");
        Some(Order { id: Id::fixed("o"), release: Id::fixed("test"), verb, by: "ann".into(), at })
    }

    fn failed() -> Standing {
        Standing::Failed(failure(FailedAt::Ready))
    }

    fn of(seen: &Seen, standings: &[Standing]) -> Option<End> {
        let views: Vec<_> = standings.iter().map(|one| view("hello-1", one.clone())).collect();
        judge(&release(7), seen, &views)
    }

    const DONE: Option<End> = Some(End::Verdict(Verdict::Done));
    const MIXED: Option<End> = Some(End::Verdict(Verdict::Mixed));
    const FAILED: Option<End> = Some(End::Verdict(Verdict::Failed));
    const REVERTED: Option<End> = Some(End::Verdict(Verdict::Reverted));

    #[test]
    fn success_is_when_the_fleet_says_so_and_all_have_settled() {
        for stage in [Stage::Watching, Stage::Done] {
            assert_eq!(of(&seen(stage), &[done(), done()]), DONE, "{stage:?}");
            assert_eq!(of(&seen(stage), &[done(), settling()]), None, "{stage:?}");
            assert_eq!(of(&seen(stage), &[done(), Standing::Behind]), None, "{stage:?}");
            assert_eq!(of(&seen(stage), &[done(), failed()]), MIXED, "{stage:?}");
            assert_eq!(of(&seen(stage), &[failed(), failed()]), FAILED, "{stage:?}");
            let nobody = Some(End::Verdict(Verdict::NoInstances));
            assert_eq!(of(&seen(stage), &[]), nobody, "{stage:?}");
        }
        // The canary alone is no end, and nor is a failure that nobody has judged yet. Where all are
        // well, nobody has to say so.
        for stage in [Stage::Canary, Stage::Rolling] {
            assert_eq!(of(&seen(stage), &[done(), Standing::Waiting]), None, "{stage:?}");
            assert_eq!(of(&seen(stage), &[done(), failed()]), None, "{stage:?}");
            assert_eq!(of(&seen(stage), &[failed(), failed()]), None, "{stage:?}");
            assert_eq!(of(&seen(stage), &[done(), done()]), DONE, "{stage:?}");
        }
    }

    #[test]
    fn where_nobody_conducts_nobody_is_waited_for() {
        let mut release = release(7);
        let good = [view("hello-1", done())];
        assert_eq!(judge(&release, &Seen::default(), &good), DONE);
        // What has failed may be brought back, by one that is about to begin.
        let mixed = [view("hello-1", done()), view("hello-2", failed())];
        assert_eq!(judge(&release, &Seen::default(), &mixed), None);
        let unwell = InstanceView { unwell: Some("it is not".into()), ..view("hello-1", done()) };
        assert_eq!(judge(&release, &Seen::default(), &[unwell]), None);
        // An older `engr` has published it.
        release.rollout = None;
        assert_eq!(judge(&release, &Seen::default(), &mixed), MIXED);
    }

    #[test]
    fn agents_that_conduct_nothing_are_believed_after_a_while() {
        let unconducted = Seen { unconducted: true, ..Seen::default() };
        assert_eq!(of(&Seen::default(), &[failed(), failed()]), None);
        assert_eq!(of(&unconducted, &[failed(), failed()]), FAILED);
        assert_eq!(of(&unconducted, &[failed(), done()]), MIXED);
        assert_eq!(of(&Seen::default(), &[done(), done()]), DONE);
    }

    #[test]
    fn who_is_silent_is_passed_over_with_the_fleet_and_is_no_success() {
        let silent = Some(Duration::from_secs(100));
        let mut views = vec![view("hello-1", done()), view("hello-2", Standing::Waiting)];
        let of = |stage, views: &[InstanceView]| judge(&release(7), &seen(stage), views);
        views[1].silent = silent;
        assert_eq!(of(Stage::Rolling, &views), None);
        assert_eq!(of(Stage::Watching, &views), MIXED);
        (views[1].silent, views[1].down) = (None, true);
        assert_eq!(of(Stage::Rolling, &views), None);
        assert_eq!(of(Stage::Done, &views), MIXED);
        assert_eq!(of(Stage::Halted, &views), Some(End::Halted));
        // Its last word was good, and it has said nothing since.
        views[1] = InstanceView { silent, ..view("hello-2", done()) };
        assert_eq!(of(Stage::Watching, &views), MIXED);
        views[0] = view("hello-1", Standing::Reverted);
        assert_eq!(of(Stage::Reverted, &views), REVERTED);
    }

    #[test]
    fn who_is_not_well_is_waited_for_as_long_as_it_is_watched() {
        let unwell = InstanceView { unwell: Some("/ answers 500".into()), ..view("h", done()) };
        let of = |stage| judge(&release(7), &seen(stage), std::slice::from_ref(&unwell));
        assert_eq!((of(Stage::Watching), of(Stage::Done)), (None, MIXED));
    }

    #[test]
    fn what_was_taken_back_has_ended_when_all_are_back() {
        let reverted = seen(Stage::Reverted);
        assert_eq!(of(&reverted, &[Standing::Reverted, done()]), None);
        assert_eq!(of(&reverted, &[Standing::Reverted, Standing::Waiting]), None);
        assert_eq!(of(&reverted, &[Standing::Reverted, failed()]), REVERTED);
    }

    #[test]
    fn what_is_halted_has_ended_when_nothing_moves() {
        let halted = seen(Stage::Halted);
        assert_eq!(of(&halted, &[done(), settling()]), None);
        assert_eq!(of(&halted, &[done(), Standing::Underway(Phase::Starting)]), None);
        let stays = Standing::Underway(Phase::Serving);
        assert_eq!(of(&halted, &[done(), failed(), stays]), Some(End::Halted));
        assert_eq!(of(&halted, &[failed(), failed()]), FAILED, "all serve what was before");
        // Somebody has ordered it on, and no conductor has heard of it.
        let resumed = Seen { order: order(Verb::Resume), ..halted.clone() };
        assert_eq!(of(&resumed, &[done(), failed()]), None);
        let paused = Seen { order: order(Verb::Pause), ..halted };
        assert_eq!(of(&paused, &[done(), failed()]), Some(End::Halted));
    }

    #[test]
    fn what_is_called_off_has_not_ended_until_it_is_carried_out() {
        for stage in [Stage::Canary, Stage::Rolling, Stage::Watching, Stage::Halted] {
            let aborted = Seen { order: order(Verb::Abort), ..seen(stage) };
            assert_eq!(of(&aborted, &[done(), done()]), None, "{stage:?}");
        }
        let aborted = Seen { order: order(Verb::Abort), ..Seen::default() };
        assert_eq!(of(&aborted, &[done(), done()]), None);
        // It came too late.
        let aborted = Seen { order: order(Verb::Abort), ..seen(Stage::Done) };
        assert_eq!(of(&aborted, &[done(), done()]), DONE);
        // There was nothing to go back to.
        let heard = Progress { order: Some(Id::fixed("o")), ..progress(Stage::Halted) };
        let halted = Seen { order: order(Verb::Abort), progress: Some(heard), ..Seen::default() };
        assert_eq!(of(&halted, &[done(), done()]), Some(End::Halted));
    }

    #[test]
    fn only_what_can_be_held_is_paused() {
        let paused = |stage| Seen { order: order(Verb::Pause), ..seen(stage) }.paused().is_some();
        assert!(paused(Stage::Canary) && paused(Stage::Rolling));
        assert!(!paused(Stage::Watching) && !paused(Stage::Halted) && !paused(Stage::Reverted));
        let resumed = Seen { order: order(Verb::Resume), ..seen(Stage::Rolling) };
        assert_eq!(resumed.paused(), None);
    }

    #[test]
    fn a_newer_release_ends_it() {
        let newer = Seen { newer: Some(8), ..seen(Stage::Canary) };
        let superseded = Some(End::Verdict(Verdict::Superseded { by: 8 }));
        assert_eq!(of(&newer, &[done(), Standing::Waiting]), superseded);
        assert_eq!(of(&newer, &[done(), done()]), DONE);
        assert_eq!(of(&newer, &[failed(), Standing::Reverted]), REVERTED);
        let gone_on = Standing::Superseded { by: 8 };
        assert_eq!(of(&seen(Stage::Canary), &[done(), gone_on]), superseded);
    }
}
