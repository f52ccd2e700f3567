//! The agent's unit under a real systemd, of Debian 12 and 13, as the image installs it: whatever
//! befalls the agent, the app serves on, as the process that it was.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use deploy::report::Phase;
use nix::sys::signal::Signal;
use tests::fleet::{LIMIT, Loads, within};
use tests::systemd::{Controller, Debian, Instance, SHUTDOWN_DELAY, UNIT, USER, or_skip};

/// A launcher is silent for so long that systemd starts it anew.
const WATCHDOG: &str = "[Service]\nWatchdogSec=20s\n";

/// How long a silent agent, or launcher, may go unnoticed and the next one take to be up.
const HANG_MAX: Duration = Duration::from_secs(90);

/// Each test on each Debian.
macro_rules! on_both {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        mod debian_12 {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(super::Debian::Twelve); })*
        }
        mod debian_13 {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(super::Debian::Thirteen); })*
        }
    };
}

on_both! {
    an_app_is_deployed_and_switched_and_ends_with_the_machine,
    the_unit_is_understood_and_as_exposed_as_the_readme_says,
    a_stop_of_the_unit_is_told_from_the_machines_end,
    the_unit_starts_where_an_app_lives_on_in_a_group_with_controllers,
    a_restart_of_the_unit,
    a_stop_of_the_unit_and_a_start,
    the_agent_is_killed,
    the_launcher_is_killed,
    the_agent_hangs,
    the_launcher_hangs,
    the_machine_ends,
    the_app_is_confined,
}

fn an_app_is_deployed_and_switched_and_ends_with_the_machine(debian: Debian) {
    let Some(mut instance) = or_skip(Instance::boot(debian, "")) else { return };
    instance.deploy("one").expect("the first release");
    let loads = instance.load().expect("load");
    loads.go_on();
    instance.deploy("two").expect("the second release");
    none_failed(loads, &instance);
    let app = only_app(&instance);
    instance.node().begin_shutdown().expect("systemd is told");
    let gone = within(LIMIT, || (!instance.app_processes().contains(&app)).then_some(()));
    gone.expect("the app ends");
    instance.node_mut().await_end(LIMIT).expect("the machine ends");
    let last = instance.last_report().expect("the last report");
    assert!(last.phase == Phase::Stopping && last.serving.is_none(), "{last:?}");
    assert!(last.left.is_some(), "{last:?}");
}

/// The score is of `systemd-analyze security`: 10 is a unit with no hardening at all.
fn the_unit_is_understood_and_as_exposed_as_the_readme_says(debian: Debian) {
    let Some(instance) = or_skip(Instance::boot(debian, "")) else { return };
    let path = format!("/usr/lib/systemd/system/{UNIT}");
    let verified = instance.node().said(&["systemd-analyze", "verify", &path]).expect("verify");
    let newer = ["FileDescriptorStorePreserve", "DelegateSubgroup"];
    let is_known = |line: &&str| newer.iter().any(|key| line.contains(&format!("'{key}'")));
    let complaints: Vec<&str> = verified.err.lines().filter(|line| line.contains(UNIT)).collect();
    let expected = if debian == Debian::Twelve { newer.len() } else { 0 };
    assert_eq!(complaints.len(), expected, "{verified:?}");
    assert!(complaints.iter().all(is_known), "{verified:?}");
    let command = ["systemd-analyze", "security", "--no-pager", UNIT];
    let said = instance.node().run(&command).expect("a score");
    let score = said.lines().last().and_then(|line| line.split(": ").nth(1));
    let score = score.and_then(|score| score.split(' ').next());
    let readme = include_str!("../../image/README.md");
    let score = score.unwrap_or_else(|| panic!("no score in {said}"));
    assert!(
        readme.contains(&format!("scores {score}")),
        "{score} is not in image/README.md: {said}"
    );
}

fn a_stop_of_the_unit_is_told_from_the_machines_end(debian: Debian) {
    let told = "[Service]\nExecStopPost=/bin/sh -c 'test -e /run/engineer/machine-ends && \
                touch /bucket/machine-ended || touch /bucket/unit-stopped'\n";
    let Some(mut instance) = or_skip(Instance::boot(debian, told)) else { return };
    let marks = ["unit-stopped", "machine-ended"].map(|mark| instance.bucket().join(mark));
    let seen = || [0, 1].map(|mark| marks[mark].exists());
    instance.node().run(&["systemctl", "restart", UNIT]).expect("a restart");
    assert_eq!(seen(), [true, false], "{}", instance.story());
    instance.node().begin_shutdown().expect("systemd is told");
    instance.node_mut().await_end(LIMIT).expect("the machine ends");
    assert_eq!(seen(), [true, true]);
}

/// "No internal processes": the kernel lets no process into a group that gives controllers to those
/// below it. On Debian 12 systemd starts the agent in the very group whose apps have controllers.
fn the_unit_starts_where_an_app_lives_on_in_a_group_with_controllers(debian: Debian) {
    let Some(controller) = or_skip(Controller::take()) else { return };
    let Some(instance) = or_skip(Instance::boot(debian, "")) else { return };
    let group = format!("/system.slice/{UNIT}");
    controller.give(instance.node(), &group).expect("the controller is given");
    // As an agent does: it makes room in the unit's own group, gives the controller out, and starts
    // an app in a group of its own.
    let script = format!(
        "cd /sys/fs/cgroup{group}; mkdir -p leaf app; \
         for pid in $(cat cgroup.procs); do echo $pid >leaf/cgroup.procs; done; \
         echo +{} >cgroup.subtree_control; \
         sh -c 'echo $$ >app/cgroup.procs; exec sleep 600 <&- >&- 2>&-' & \
         until grep -q . app/cgroup.procs; do sleep 0.01; done; head -n 1 app/cgroup.procs",
        controller.name()
    );
    let app = instance.node().run(&["sh", "-c", &script]).expect("an app in a group");
    let before = instance.main_process().expect("the agent");
    instance.kill(before, Signal::SIGKILL).expect("the agent is killed");
    let again = within(LIMIT, || {
        let main = instance.main_process().ok()?;
        let state = instance.node().run(&["systemctl", "is-active", UNIT]).ok()?;
        (main != before && state == "active").then_some(())
    });
    assert!(again.is_some(), "{}", instance.story());
    let app = format!("/proc/{app}");
    assert!(instance.node().file(&app).exists(), "{}", instance.story());
}

fn a_restart_of_the_unit(debian: Debian) {
    outlived(debian, "", LIMIT, |instance| {
        instance.node().run(&["systemctl", "restart", UNIT]).expect("a restart");
    });
}

/// Debian 12's systemd keeps no descriptors over a stop.
fn a_stop_of_the_unit_and_a_start(debian: Debian) {
    outlived(debian, "", LIMIT, |instance| {
        let app = instance.app_processes();
        instance.node().run(&["systemctl", "stop", UNIT]).expect("a stop");
        assert!(instance.is_healthy().is_none(), "{}", instance.story());
        assert_eq!(instance.app_processes(), app, "{}", instance.story());
        instance.node().run(&["systemctl", "start", UNIT]).expect("a start");
    });
}

fn the_agent_is_killed(debian: Debian) {
    outlived(debian, "", LIMIT, |instance| {
        let launcher = instance.main_process().expect("the launcher");
        let agent = instance.report().expect("a report").agent.pid;
        assert_ne!(agent, launcher, "{}", instance.story());
        instance.kill(agent, Signal::SIGKILL).expect("the agent is killed");
        await_another_agent(instance, agent, LIMIT);
        assert_eq!(instance.main_process().expect("the launcher"), launcher);
        assert_eq!(instance.restarts().expect("a count"), 0, "{}", instance.story());
    });
}

fn the_launcher_is_killed(debian: Debian) {
    outlived(debian, "", LIMIT, |instance| {
        let launcher = instance.main_process().expect("the launcher");
        instance.kill(launcher, Signal::SIGKILL).expect("the launcher is killed");
        await_restart(instance, launcher, LIMIT);
    });
}

/// The launcher sees it; systemd need not.
fn the_agent_hangs(debian: Debian) {
    outlived(debian, "", HANG_MAX, |instance| {
        let agent = instance.report().expect("a report").agent.pid;
        instance.kill(agent, Signal::SIGSTOP).expect("the agent is stopped");
        let gone = format!("/proc/{agent}");
        let is_gone = || (!instance.node().file(&gone).exists()).then_some(());
        assert!(within(HANG_MAX, is_gone).is_some(), "{}", instance.story());
        assert_eq!(instance.restarts().expect("a count"), 0, "{}", instance.story());
    });
}

fn the_launcher_hangs(debian: Debian) {
    outlived(debian, WATCHDOG, HANG_MAX, |instance| {
        let launcher = instance.main_process().expect("the launcher");
        instance.kill(launcher, Signal::SIGSTOP).expect("the launcher is stopped");
        await_restart(instance, launcher, HANG_MAX);
    });
}

/// The balancer has its time first, then the app has its own.
fn the_machine_ends(debian: Debian) {
    let Some(mut instance) = or_skip(Instance::boot(debian, "")) else { return };
    instance.deploy("one").expect("the first release");
    let app = only_app(&instance);
    assert_eq!(instance.is_healthy(), Some(true));
    let loads = instance.load().expect("load");
    loads.go_on();
    let began = Instant::now();
    instance.node().begin_shutdown().expect("systemd is told");
    let fails = within(LIMIT, || (instance.is_healthy() == Some(false)).then(|| began.elapsed()));
    let fails = fails.expect("the health check fails");
    assert!(fails < SHUTDOWN_DELAY / 2, "health fails after {fails:?}");
    // Who has not been told yet is served.
    loads.go_on();
    assert!(instance.app_processes().contains(&app), "{}", instance.story());
    assert_eq!(loads.stop(), 0, "{}", instance.story());
    let gone = || (!instance.app_processes().contains(&app)).then(|| began.elapsed());
    let ended = within(LIMIT, gone).expect("the app ends");
    println!("health failed after {fails:?}, the app ended after {ended:?}");
    assert!(ended >= SHUTDOWN_DELAY, "the app ended after {ended:?}");
    instance.node_mut().await_end(LIMIT).expect("the machine ends");
    let last = instance.last_report().expect("the last report");
    assert!(last.phase == Phase::Stopping && last.serving.is_none(), "{last:?}");
    assert!(last.left.is_some(), "{last:?}");
}

/// In the unit's own bounds, the agent can give up for the app what it needs itself.
fn the_app_is_confined(debian: Debian) {
    let Some(instance) = or_skip(Instance::boot(debian, "")) else { return };
    instance.deploy("one").expect("the first release");
    let app = only_app(&instance);
    let user = instance.node().run(&["id", "-u", USER]).expect("the user is there");
    let status = fs::read_to_string(instance.node().file(&format!("/proc/{app}/status")));
    let status = status.expect("the app's status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let fields = line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace();
        fields.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), vec![user; 4], "{status}");
    assert_eq!(field("NoNewPrivs:"), ["1"], "{status}");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&field(set)[0], 16), Ok(0), "{set} {status}");
    }
    let group = instance.node().run(&["cat", &format!("/proc/{app}/cgroup")]).expect("a group");
    let group = group.lines().find_map(|line| line.split_once("0::")).map(|(_, group)| group);
    let below = format!("/{UNIT}/app-");
    assert!(group.is_some_and(|group| group.contains(&below)), "{group:?}");
}

/// Whatever `befalls` the agent of an app under load: no request fails, the app is the process that
/// it was, no second one is started, and the next agent, which is up within `limit`, switches it as
/// the one before would have.
fn outlived(debian: Debian, drop_in: &str, limit: Duration, befalls: impl FnOnce(&Instance)) {
    let Some(instance) = or_skip(Instance::boot(debian, drop_in)) else { return };
    instance.deploy("one").expect("the first release");
    let app = only_app(&instance);
    let agent = instance.report().expect("a report").agent.pid;
    let loads = instance.load().expect("load");
    loads.go_on();
    befalls(&instance);
    await_another_agent(&instance, agent, limit);
    loads.go_on();
    let serving = instance.report().expect("a report").serving;
    assert_eq!(serving.map(|it| (it.release, it.pid)), Some((1, app)), "{}", instance.story());
    assert_eq!(only_app(&instance), app, "{}", instance.story());
    instance.deploy("two").expect("the second release");
    assert_ne!(only_app(&instance), app);
    none_failed(loads, &instance);
}

/// Waits until an agent answers that is not `agent`, and that knows its app.
#[track_caller]
fn await_another_agent(instance: &Instance, agent: u32, limit: Duration) {
    let another = within(limit, || {
        let report = instance.report().ok()?;
        (report.agent.pid != agent && report.serving.is_some()).then_some(())
    });
    assert!(another.is_some(), "no other agent:\n{}", instance.story());
}

/// Waits until systemd has started the unit again by itself.
#[track_caller]
fn await_restart(instance: &Instance, launcher: u32, limit: Duration) {
    let again = within(limit, || {
        let main = instance.main_process().ok()?;
        (main != launcher && instance.restarts().ok()? > 0).then_some(())
    });
    assert!(again.is_some(), "no restart:\n{}", instance.story());
}

/// The app's only process.
#[track_caller]
fn only_app(instance: &Instance) -> u32 {
    let app: BTreeSet<u32> = instance.app_processes();
    assert_eq!(app.len(), 1, "{app:?}\n{}", instance.story());
    app.into_iter().next().expect("one")
}

#[track_caller]
fn none_failed(loads: Loads, instance: &Instance) {
    loads.go_on();
    assert_eq!(loads.stop(), 0, "{}", instance.story());
}
