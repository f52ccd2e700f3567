//! The table that people read. Pure.

use deploy::Timestamp;
use deploy::report::CrashLoop;

use super::snapshot::{InstanceStatus, Snapshot};
use super::{agents, rollout};
use crate::output::{Table, when};
use crate::publish::{holder, locker};

/// A heading, and one line per instance.
pub(super) fn text(snapshot: &Snapshot, now: Timestamp) -> String {
    let mut lines = vec![heading(snapshot, now)];
    lines.extend(snapshot.damage.clone());
    lines.extend(snapshot.lock.as_ref().map(|lock| locker(&snapshot.app, lock, now)));
    lines.extend(snapshot.claim.as_ref().map(|claim| holder(claim, now)));
    lines.extend(rollout::lines(snapshot, now));
    lines.extend(agents::line(snapshot, now));
    if snapshot.staged {
        lines.push("an environment is staged for the next deploy".to_owned());
    }
    if snapshot.prune_unfinished {
        lines.push(match snapshot.claim {
            Some(_) => "a prune is under way".to_owned(),
            None => format!("a prune was cut off: `engr {} prune` goes on with it", snapshot.app),
        });
    }
    lines.extend(snapshot.addresses.iter().cloned());
    lines.push(String::new());
    if snapshot.instances.is_empty() {
        lines.push(format!("no instances: {}", snapshot.how_to_make));
        return lines.join("\n");
    }
    lines.push(table(snapshot, now).to_string());
    for one in &snapshot.instances {
        lines.extend(one.old_view.map(|age| {
            let (name, age) = (&one.name, when::length(age));
            format!("{name} had not heard from its bucket for {age} when it reported")
        }));
    }
    lines.extend(agents::bad(snapshot));
    lines.extend(snapshot.instances.iter().filter_map(|one| crash_loop(one, now)));
    lines.extend(snapshot.instances.iter().filter_map(|one| {
        one.unwell.as_ref().map(|why| format!("the app on {} is not well: {why}", one.name))
    }));
    if !snapshot.to_sync.is_empty() {
        lines.push(format!("\n`engr {} sync` would:", snapshot.app));
        lines.extend(snapshot.to_sync.iter().cloned());
    }
    lines.join("\n")
}

fn heading(snapshot: &Snapshot, now: Timestamp) -> String {
    let app = &snapshot.app;
    let Some(release) = &snapshot.release else {
        return format!("{app} has no release yet: `engr {app} deploy`");
    };
    let message = release.message.as_deref().and_then(|message| message.lines().next());
    format!(
        "{app} v{}, {} by {} at {}{}",
        release.number,
        release.kind,
        release.by,
        when::clock(release.published, now),
        message.map(|message| format!(": {message}")).unwrap_or_default()
    )
}

fn table(snapshot: &Snapshot, now: Timestamp) -> Table {
    let columns = [
        "instance",
        "release",
        "phase",
        "pid",
        "uptime",
        "restarts",
        "address",
        "agent",
        "reported",
        "last failure",
    ];
    let mut table = Table::new(columns);
    let dash = || "-".to_owned();
    for one in &snapshot.instances {
        let age = |time: Option<Timestamp>| time.map_or_else(dash, |time| when::age(time, now));
        table.row([
            one.name.clone(),
            release(one),
            phase(one),
            one.pid.map_or_else(dash, |pid| pid.to_string()),
            age(one.started),
            one.restarts.to_string(),
            one.addresses.first().cloned().unwrap_or_else(dash),
            agents::cell(snapshot, one),
            one.reported.map_or_else(dash, |time| format!("{} ago", when::age(time, now))),
            failure(one, now),
        ]);
    }
    // Where all run the same and nothing else is wanted, there is nothing to see.
    if agents::matter(snapshot) { table } else { table.without("agent") }
}

/// What it is doing, and what there is to know of that.
fn phase(one: &InstanceStatus) -> String {
    let notes = [
        ("waits", one.waits.is_some()),
        ("unwell", one.unwell.is_some()),
        ("stale", one.stale && one.phase != "down"),
    ];
    let notes = notes.iter().filter(|(_, is_so)| *is_so).map(|(note, _)| *note);
    std::iter::once(one.phase).chain(notes).collect::<Vec<_>>().join(", ")
}

/// `v7`, and the versions that still finish their requests.
fn release(one: &InstanceStatus) -> String {
    let draining: Vec<_> = one.draining.iter().map(|old| format!("v{}", old.release)).collect();
    let serving = one.release.map_or_else(|| "-".to_owned(), |number| format!("v{number}"));
    match draining.is_empty() {
        true => serving,
        false => format!("{serving} ({} draining)", draining.join(", ")),
    }
}

/// How often it has crashed, and when it is tried again.
fn crash_loop(one: &InstanceStatus, now: Timestamp) -> Option<String> {
    let CrashLoop { crashes, next_start } = one.crash_loop?;
    let next = next_start.map_or_else(String::new, |at| {
        format!(", and is started again in {}", when::length(when::between(now, at)))
    });
    Some(format!("the app on {} has crashed {crashes} times in a row{next}", one.name))
}

fn failure(one: &InstanceStatus, now: Timestamp) -> String {
    one.last_failure.as_ref().map_or_else(
        || "-".to_owned(),
        |failure| {
            let (number, at) = (failure.release, when::age(failure.at, now));
            format!("v{number} {at} ago: {}", failure.message.lines().next().unwrap_or(""))
        },
    )
}

#[cfg(test)]
pub(super) mod tests {
    use deploy::claim::Claim;
    use deploy::id::Id;
    use deploy::lock::Lock;
    use deploy::report::{Failure, Stage};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn instance(name: &str, phase: &'static str) -> InstanceStatus {
        InstanceStatus {
            name: name.into(),
            release: Some(7),
            phase,
            pid: Some(4711),
            started: Some(at("2026-11-22T09:00:00Z")),
            restarts: 0,
            address: Some("127.0.0.1:20001".into()),
            addresses: vec!["127.0.0.1:20001".into()],
            agent_pid: Some(4700),
            agent_version: Some("0.1.0".into()),
            agent_digest: None,
            agent_update: None,
            agent_standing: None,
            agent_bad: Vec::new(),
            reported: Some(at("2026-11-22T09:59:58Z")),
            looked: None,
            old_view: None,
            waits: None,
            unwell: None,
            stale: false,
            draining: Vec::new(),
            crash_loop: None,
            app_status: None,
            last_failure: None,
        }
    }

    /// Of an app of which there is nothing to see.
    pub(in crate::commands::status) fn bare() -> Snapshot {
        Snapshot {
            app: "hello".into(),
            release: None,
            claim: None,
            lock: None,
            agent: None,
            rollout: None,
            staged: false,
            prune_unfinished: false,
            damage: None,
            addresses: Vec::new(),
            how_to_make: "make them with `engr hello sync`".into(),
            instances: Vec::new(),
            to_sync: Vec::new(),
        }
    }

    #[test]
    fn what_there_is_to_know_of_an_instance_stands_beside_its_phase() {
        let one = instance("hello-1", "serving");
        assert_eq!(phase(&one), "serving");
        let unwell = Some("/ answers 500".to_owned());
        let all = InstanceStatus { waits: Some(8), unwell, stale: true, ..one };
        assert_eq!(phase(&all), "serving, waits, unwell, stale");
        let snapshot = Snapshot { instances: vec![all], ..bare() };
        let text = text(&snapshot, at("2026-11-22T10:00:00Z"));
        assert!(text.ends_with("the app on hello-1 is not well: / answers 500"), "{text}");
    }

    #[test]
    fn one_look_says_it_all() {
        let now = at("2026-11-22T10:00:00Z");
        let silent = InstanceStatus {
            release: None,
            pid: None,
            started: None,
            reported: None,
            addresses: Vec::new(),
            ..instance("hello-2", "silent")
        };
        let last_failure = Some(Failure {
            release: 6,
            at: at("2026-11-22T09:58:00Z"),
            stage: Stage::Ready,
            message: "it exited".into(),
            exit_code: Some(3),
            signal: None,
            last_lines: Vec::new(),
        });
        let snapshot = Snapshot {
            app: "hello".into(),
            release: None,
            claim: Some(Claim::new(
                Id::fixed("c"),
                "ann@laptop".into(),
                at("2026-11-22T09:59:55Z"),
            )),
            lock: Some(Lock {
                by: "bob@desk".into(),
                since: at("2026-11-22T09:59:00Z"),
                message: "incident".into(),
                until: None,
            }),
            agent: None,
            rollout: None,
            staged: true,
            prune_unfinished: false,
            damage: None,
            how_to_make: "make them with `engr hello sync`".into(),
            addresses: vec!["http://127.0.0.1:8080".into()],
            instances: vec![
                InstanceStatus { last_failure, ..instance("hello-1", "serving") },
                silent,
            ],
            to_sync: vec!["~ start hello-2".into()],
        };
        let text = text(&snapshot, now);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "hello has no release yet: `engr hello deploy`");
        assert!(lines[1].starts_with("bob@desk has locked hello since "), "{}", lines[1]);
        assert!(lines[1].ends_with("(1m 0s): incident"), "{}", lines[1]);
        assert!(lines[2].starts_with("ann@laptop has been deploying since "), "{}", lines[2]);
        assert!(lines[2].ends_with("(5 s)"), "{}", lines[2]);
        assert_eq!(
            lines[3..],
            [
                "an environment is staged for the next deploy",
                "http://127.0.0.1:8080",
                "",
                "INSTANCE  RELEASE  PHASE    PID   UPTIME  RESTARTS  ADDRESS          REPORTED  LAST FAILURE",
                "hello-1   v7       serving  4711  1h 0m   0         127.0.0.1:20001  2 s ago   v6 2m 0s ago: it exited",
                "hello-2   -        silent   -     -       0         -                -         -",
                "",
                "`engr hello sync` would:",
                "~ start hello-2",
            ]
        );
    }
}
