//! `--gcs`: the demo's bucket is one of Cloud Storage, on a server that speaks its protocol.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::failure::{CommandResult, Exit, Failure, OrFail};
use crate::google;
use crate::output::{Style, print};

use super::scratch::Scratch;

/// The server's program. It stands beside this one, or in `PATH`.
const PROGRAM: &str = "engr-gcs-server";

/// How long the server may take until it listens.
const UP_WITHIN: Duration = Duration::from_secs(10);

/// Where the demo's Cloud Storage is.
pub(super) struct DemoGcs {
    /// For every `engr` of the demo.
    pub(super) endpoint: String,
    /// The bucket's URL.
    pub(super) bucket: String,
    /// The server, if the demo has started one.
    server: Option<Child>,
}

impl DemoGcs {
    /// At the endpoint that was given, or on a server of its own.
    pub(super) async fn new(scratch: &Scratch) -> CommandResult<Self> {
        let name = scratch.path().file_name().map(|name| name.to_string_lossy().to_lowercase());
        // Names may not end in a `-`, and may be taken by an earlier demo at the same endpoint.
        let bucket = format!("gs://{}-b", name.unwrap_or_default().replace('.', "-"));
        if let Some(endpoint) = google::endpoint() {
            return Ok(Self { endpoint, bucket, server: None });
        }
        let (server, endpoint) = start(scratch).await?;
        print(format_args!("Cloud Storage is {PROGRAM} at {endpoint}\n"));
        Ok(Self { endpoint, bucket, server: Some(server) })
    }

    /// Leaves the server, and says how to reach and to end it.
    pub(super) fn keep(mut self) {
        let bold = |text: String| Style::Bold.paint(text);
        let export = format!("export STORAGE_EMULATOR_HOST={}", self.endpoint);
        print(format_args!("Its bucket is on Cloud Storage:\n  {}\n", bold(export)));
        if let Some(pid) = self.server.as_ref().and_then(Child::id) {
            print(format_args!("and in the end:\n  {}\n", bold(format!("kill {pid}"))));
        }
        // Dropped alive, it would be killed.
        std::mem::forget(self.server.take());
    }

    /// Ends the server.
    pub(super) async fn end(mut self) -> CommandResult<()> {
        let Some(server) = &mut self.server else { return Ok(()) };
        server.kill().await.or_fail(Exit::Internal, format!("cannot end {PROGRAM}"))
    }
}

async fn start(scratch: &Scratch) -> CommandResult<(Child, String)> {
    let program = find()?;
    let mut command = Command::new(&program);
    command.arg("--dir").arg(scratch.path().join("gcs"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // A group of its own: Ctrl-C reaches this process alone, which still needs the server then.
    command.process_group(0).kill_on_drop(true);
    let cannot = format!("cannot run {}", program.display());
    let mut server = command.spawn().or_fail(Exit::Internal, &cannot)?;
    let out = server.stdout.take();
    let first = async {
        match out {
            Some(out) => BufReader::new(out).lines().next_line().await.ok().flatten(),
            None => None,
        }
    };
    let first = timeout(UP_WITHIN, first).await.ok().flatten();
    let endpoint = first.as_deref().and_then(|line| line.strip_prefix("listening at "));
    let endpoint = endpoint.map(str::to_owned).ok_or_else(|| {
        Failure::new(Exit::Internal, anyhow::anyhow!("{cannot}: it does not listen"))
    })?;
    Ok((server, endpoint))
}

fn find() -> CommandResult<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(PROGRAM)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&path).map(|f| f.join(PROGRAM)).collect();
    let found = beside.into_iter().chain(in_path).find(|program| program.is_file());
    found.ok_or_else(|| {
        Failure::usage(format!("--gcs needs a Cloud Storage, and there is no {PROGRAM} here"))
            .hint(format!("build it beside engr: `cargo build --release -p {PROGRAM}`"))
            .hint("or name one: --endpoint URL, or STORAGE_EMULATOR_HOST")
    })
}
