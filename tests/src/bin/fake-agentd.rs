//! A program that says that it is an `agentd`, of the version that stands at the end of its file:
//! [`tests::fake_agent`] makes some.

use deploy::desired_agent::VERSION_MARK;

fn main() {
    let own = std::fs::read("/proc/self/exe").expect("this file can be read");
    let text = String::from_utf8_lossy(&own[own.len().saturating_sub(100)..]).into_owned();
    let version = text.rsplit_once(VERSION_MARK).map_or("none", |(_, version)| version);
    println!("agentd {}", version.trim_end_matches(';'));
}
