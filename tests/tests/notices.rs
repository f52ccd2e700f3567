//! What an app says of itself by the notify protocol, beyond that it is ready.

use serde_json::json;
use tests::fleet::{Fleet, until};

/// Asks for more time, becomes ready late, says that it is alive for a while, and then hangs; started
/// again it says that it is stopping, of its own accord.
const APP: &str = r#"#!/usr/bin/env python3
import os, socket, time
address = os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
say = lambda text: notify.sendto(text.encode(), address)
assert os.environ["WATCHDOG_USEC"] == "1500000"
again = os.path.join(os.environ["ENGR_STATE_DIR"], "again")
if not os.path.exists(again):
    open(again, "w").close()
    say("EXTEND_TIMEOUT_USEC=20000000")
    time.sleep(2)
say("READY=1\nSTATUS=warm")
for _ in range(8):
    say("WATCHDOG=1")
    time.sleep(0.25)
say("STATUS=hangs now")
time.sleep(1000)
"#;

#[test]
fn an_app_asks_for_time_says_how_it_is_and_is_missed_when_it_hangs() {
    let mut fleet = Fleet::new(1);
    fleet.script(APP);
    fleet.set("server", json!(false));
    fleet.set("port", json!(null));
    fleet.set("ready-within", json!("1s"));
    fleet.set("watchdog", json!("1500ms"));
    fleet.deploy();
    let instance = || fleet.status().instances.remove(0);
    until("its own word is shown", || {
        instance().app_status.filter(|status| status == "hangs now" || status == "warm")
    });
    let again = until("it is missed and started again", || {
        Some(instance()).filter(|one| one.restarts == 1 && one.phase == "serving")
    });
    let failure = again.last_failure.expect("why");
    assert_eq!(failure.signal, Some(nix::sys::signal::Signal::SIGABRT as i32), "{}", fleet.story());
}
