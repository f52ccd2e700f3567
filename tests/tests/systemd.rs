//! The agent's unit under a real systemd, of Debian 12 and 13.

use std::time::Duration;

use tests::fleet::{LIMIT, within};
use tests::systemd::{Debian, Instance, or_skip};

/// Until `agentd` has a launcher.
const WITHOUT_LAUNCHER: &str = "[Service]\nExecStart=\n\
    ExecStart=/usr/lib/engineer/agentd run --dir /var/lib/engineer\n";

/// The same on both.
macro_rules! on_both {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        mod debian_12 { $( $(#[$attribute])* #[test] fn $name() { super::$name(super::Debian::Twelve) } )* }
        mod debian_13 { $( $(#[$attribute])* #[test] fn $name() { super::$name(super::Debian::Thirteen) } )* }
    };
}

on_both! {
    boots_serves_and_shuts_down
}

fn boots_serves_and_shuts_down(debian: Debian) {
    let Some(mut instance) = or_skip(Instance::boot(debian, WITHOUT_LAUNCHER)) else { return };
    instance.deploy("one").expect("the first release");
    let loads = instance.load().expect("load");
    instance.deploy("two").expect("the second release");
    loads.go_on();
    assert_eq!(loads.stop(), 0, "{}", instance.story());
    assert_eq!(instance.app_processes().len(), 1);
    let app = instance.app_processes();
    instance.node().begin_shutdown().expect("systemd is told");
    within(LIMIT, || app.is_disjoint(&instance.app_processes()).then_some(()))
        .expect("the app ends");
    instance.node_mut().await_end(Duration::from_secs(30)).expect("the node ends");
    println!("{:#?}", instance.last_report());
}
