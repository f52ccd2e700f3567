//! How what belongs to a run, or to a socket, is named: on the disk, and at the launcher.

use std::path::PathBuf;

use deploy::agent_config::InstanceDir;
use deploy::log_line::Stream;

use crate::switch::RunId;

/// A listening socket of the app's `port`.
pub(super) fn socket(port: u16, inode: u64) -> String {
    format!("listen-{port}-{inode}")
}

/// The port and the inode of a name that [`socket`] gave.
pub(super) fn parse_socket(name: &str) -> Option<(u16, u64)> {
    let (port, inode) = name.strip_prefix("listen-")?.split_once('-')?;
    Some((port.parse().ok()?, inode.parse().ok()?))
}

/// Where a run says how it is.
pub(super) fn notify(run: RunId) -> String {
    format!("notify-{}", run.0)
}

/// The agent's end of a run's output.
pub(super) fn output(run: RunId, stream: Stream) -> String {
    match stream {
        Stream::Err => format!("err-{}", run.0),
        Stream::Out | Stream::Agent => format!("out-{}", run.0),
    }
}

/// All that the launcher may hold of a run.
pub(super) fn of_run(run: RunId) -> [String; 3] {
    [notify(run), output(run, Stream::Out), output(run, Stream::Err)]
}

/// The folder of a run.
pub(super) fn run_folder(dir: &InstanceDir, run: RunId) -> PathBuf {
    dir.runs().join(run.0.to_string())
}
