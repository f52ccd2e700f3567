//! A program that says that it is an `agentd`, of the version that stands at the end of its file:
//! [`tests::fake_agent`] makes some. It passes its self-check, and dies at once as an agent.

use deploy::desired_agent::VERSION_MARK;

/// What it exits with as an agent.
const DIES_WITH: i32 = 3;

fn main() {
    let own = std::fs::read("/proc/self/exe").expect("this file can be read");
    let text = String::from_utf8_lossy(&own[own.len().saturating_sub(100)..]).into_owned();
    let version = text.rsplit_once(VERSION_MARK).map_or("none", |(_, version)| version);
    let version = version.trim_end_matches(';');
    let has = |wanted: &str| std::env::args().any(|arg| arg == wanted);
    match (has("run"), has("--self-check")) {
        (true, true) => println!(r#"{{"ok":true,"version":"{version}"}}"#),
        (true, false) => std::process::exit(DIES_WITH),
        (false, _) => println!("agentd {version}"),
    }
}
