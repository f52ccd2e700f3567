//! What others upload with.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::upload::BUCKET;

pub(crate) trait Peer {
    fn name(&self) -> &'static str;

    /// How often it is asked at the most.
    fn runs(&self) -> usize {
        usize::MAX
    }

    fn upload(&self, url: &str, file: &Path) -> anyhow::Result<()>;
}

/// One request with all of the file, and without the round trip of an `Expect`.
pub(crate) struct Curl;

impl Peer for Curl {
    fn name(&self) -> &'static str {
        "`curl`"
    }

    fn upload(&self, url: &str, file: &Path) -> anyhow::Result<()> {
        let url = format!("{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=curl");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "60", "--output"]);
        curl.args(["/dev/null", "--request", "POST", "--header", "Expect:", "--header"]);
        curl.args(["Content-Type: application/octet-stream", "--upload-file"]).arg(file).arg(url);
        succeeded(curl.output().context("not installed")?)
    }
}

/// `gcloud storage cp`, as installed, and logged in to nothing.
pub(crate) struct Gcloud {
    home: TempDir,
}

impl Gcloud {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { home: tempfile::tempdir()? })
    }
}

impl Peer for Gcloud {
    fn name(&self) -> &'static str {
        "`gcloud storage cp`"
    }

    /// It takes its time, and differs little.
    fn runs(&self) -> usize {
        3
    }

    fn upload(&self, url: &str, file: &Path) -> anyhow::Result<()> {
        let mut gcloud = Command::new("timeout");
        gcloud.args(["60", "gcloud", "storage", "cp"]).arg(file);
        gcloud.arg(format!("gs://{BUCKET}/gcloud"));
        let endpoint = format!("{url}/storage/v1/");
        for (name, value) in [
            ("API_ENDPOINT_OVERRIDES_STORAGE", &*endpoint),
            ("AUTH_DISABLE_CREDENTIALS", "true"),
            ("CORE_PROJECT", "bench"),
            ("CORE_DISABLE_PROMPTS", "1"),
            ("CORE_DISABLE_USAGE_REPORTING", "true"),
            ("CORE_CHECK_GCE_METADATA", "false"),
            ("COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true"),
        ] {
            gcloud.env(format!("CLOUDSDK_{name}"), value);
        }
        gcloud.env("CLOUDSDK_CONFIG", self.home.path());
        let output = gcloud.output().context("not installed")?;
        ensure!(output.status.code() != Some(127), "not installed");
        succeeded(output)
    }
}

fn succeeded(output: Output) -> anyhow::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed");
    bail!("not measured: {}", last.replace('|', "/"))
}
