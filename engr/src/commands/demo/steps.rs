//! The demo's steps: commands of this very program, run as anybody would run them.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::failure::{CommandResult, Exit, Failure, OrFail};
use crate::interrupt::Interrupt;
use crate::output::{Output, Style, print};

use super::gcs::DemoGcs;
use super::scratch::Scratch;

/// The app's name.
pub(super) const APP: &str = "hello";

/// How many of its last lines are shown of a command that failed.
const LAST_LINES_MAX: usize = 60;

/// How long an interrupted command may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long the app may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What came of a deploy or a rollback.
#[derive(Clone, Debug)]
pub(super) struct Released {
    /// The release's number.
    pub(super) number: u64,
    /// What it was for.
    pub(super) what: String,
    /// Where the app is reached.
    pub(super) address: Option<String>,
    /// From the publish to the last instance's switch.
    pub(super) switch_seconds: Option<f64>,
}

/// Runs `engr` in the scratch folder.
pub(super) struct Steps {
    app: PathBuf,
    home: PathBuf,
    engr: PathBuf,
    interrupt: Interrupt,
    /// Where Cloud Storage is, and the bucket's URL there.
    gcs: Option<(String, String)>,
}

impl Steps {
    /// Steps in `scratch`. From now on Ctrl-C ends a step, and not this process.
    pub(super) fn new(scratch: &Scratch, gcs: Option<&DemoGcs>) -> CommandResult<Self> {
        let engr = std::env::current_exe();
        let engr = engr.or_fail(Exit::Internal, "cannot find this program's own file")?;
        let (app, home) = (scratch.app(), scratch.home());
        let gcs = gcs.map(|gcs| (gcs.endpoint.clone(), gcs.bucket.clone()));
        Ok(Self { app, home, engr, interrupt: Interrupt::new()?, gcs })
    }

    /// What a person types to run this program.
    pub(super) fn engr_for_people(&self) -> String {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let first =
            std::env::split_paths(&path).map(|folder| folder.join("engr")).find(|p| p.is_file());
        let same =
            first.is_some_and(|first| first.canonicalize().ok() == self.engr.canonicalize().ok());
        if same { "engr".to_owned() } else { self.engr.display().to_string() }
    }

    /// `engr hello create`.
    pub(super) async fn create(
        &self,
        package: &str,
        port: u16,
        instances: u32,
    ) -> CommandResult<()> {
        let (port, instances) = (port.to_string(), instances.to_string());
        let args =
            ["create", "--local", "--package", package, "--port", &port, "--instances", &instances];
        self.run(&args, &[], |_| ()).await?;
        match &self.gcs {
            Some((_, bucket)) => self.run(&["config:set", "bucket", bucket], &[], |_| ()).await,
            None => Ok(()),
        }
    }

    /// `engr hello deploy`, with these flags.
    pub(super) async fn deploy(&self, message: &str, flags: &[&str]) -> CommandResult<Released> {
        // The temporary folder may lie in a work tree, which is none of the demo's business.
        let quietly = ["--allow-dirty", "--yes", "--json"];
        let args = [&["deploy", "-m", message], flags].concat();
        self.release(&args, &quietly, message.to_owned()).await
    }

    /// `engr hello rollback`.
    pub(super) async fn rollback(&self) -> CommandResult<Released> {
        self.release(&["rollback"], &["--json"], "rollback".to_owned()).await
    }

    async fn release(
        &self,
        args: &[&str],
        quietly: &[&str],
        what: String,
    ) -> CommandResult<Released> {
        let mut switched = BTreeSet::new();
        let mut result = Value::Null;
        self.run(args, quietly, |event| match event["type"].as_str() {
            Some("result") => result = event.clone(),
            _ => show(event, &mut switched),
        })
        .await?;
        let number = result["release"].as_u64();
        let number =
            number.ok_or_else(|| internal(format!("engr told of no release: {result}")))?;
        let switch_seconds = result["publish_to_last_switch_seconds"].as_f64();
        let address = result["address"].as_str().map(str::to_owned);
        Ok(Released { number, what, address, switch_seconds })
    }

    /// What the app answers, on one line.
    pub(super) async fn answer_of(&self, port: u16) -> CommandResult<String> {
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let request = format!("GET / HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = timeout(ANSWER_WITHIN, ask).await;
        let answer = answer.map_err(|_| internal("the app does not answer".to_owned()))?;
        let answer = answer.or_fail(Exit::Internal, "cannot ask the app")?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(body.trim().to_owned())
    }

    /// Stops and removes the fleet, if there is one. Ctrl-C does not reach it.
    pub(super) async fn destroy(&self) -> CommandResult<()> {
        if !self.home.join("local").join(APP).exists() {
            return Ok(());
        }
        let mut child = self.start(&["destroy-app", "--yes", APP, "--bucket"])?;
        let said = read_lines(&mut child, |_| ());
        let said = said.await.or_fail(Exit::Internal, "cannot stop the fleet")?;
        let status = child.wait().await.or_fail(Exit::Internal, "cannot stop the fleet")?;
        if status.success() { Ok(()) } else { Err(failed("destroy-app", status, said)) }
    }

    /// Runs `engr hello ARGS`, and tells `event` of each JSON object that it prints. The arguments
    /// in `quietly` are not shown: they change what is printed, and not what is done.
    async fn run(
        &self,
        args: &[&str],
        quietly: &[&str],
        mut event: impl FnMut(&Value),
    ) -> CommandResult<()> {
        let shown: Vec<String> = args.iter().map(|arg| quoted(arg)).collect();
        print(format_args!(
            "\n{}\n",
            Style::Bold.paint(format!("$ engr {APP} {}", shown.join(" ")))
        ));
        let mut failure = Value::Null;
        let mut child = self.start(&[args, quietly].concat())?;
        let run = async {
            let said = read_lines(&mut child, |line| {
                if let Ok(value @ Value::Object(_)) = serde_json::from_str(line) {
                    if value["type"] == "result" {
                        failure = value.clone();
                    }
                    event(&value);
                }
            });
            let said = said.await?;
            std::io::Result::Ok((said, child.wait().await?))
        };
        let ended = tokio::select! {
            biased;
            () = self.interrupt.raised() => None,
            ended = run => Some(ended),
            never = show_seconds() => match never {},
        };
        clear();
        let Some(ended) = ended else {
            end(&mut child).await?;
            let interrupted = anyhow::anyhow!("the demo was interrupted");
            return Err(Failure::new(Exit::Interrupted, interrupted));
        };
        let (said, status) = ended.or_fail(Exit::Internal, "cannot run engr")?;
        if status.success() {
            return Ok(());
        }
        show_failure(&failure);
        Err(failed(args[0], status, said))
    }

    fn start(&self, args: &[&str]) -> CommandResult<Child> {
        let mut command = Command::new(&self.engr);
        command.arg(APP).args(args).current_dir(&self.app);
        command.env("ENGR_HOME", &self.home);
        command.envs(self.gcs.iter().map(|(endpoint, _)| ("STORAGE_EMULATOR_HOST", endpoint)));
        // What others have set for their own Go projects does not concern this one.
        command.env("GOWORK", "off").env_remove("GOFLAGS");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C reaches this process alone, which then ends the command.
        command.process_group(0).kill_on_drop(true);
        command.spawn().or_fail(Exit::Internal, format!("cannot run {}", self.engr.display()))
    }
}

/// Reads both outputs to their ends; `line` hears of standard output's. Gives the last lines of
/// both, the errors after the others.
async fn read_lines(
    child: &mut Child,
    mut line: impl FnMut(&str),
) -> std::io::Result<VecDeque<String>> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut said = VecDeque::new();
    let (out, err) = tokio::join!(last_lines(out, |text| line(text)), last_lines(err, |_| ()));
    said.extend(out?.into_iter().filter(|line| !line.starts_with('{')));
    said.extend(err?);
    Ok(said)
}

async fn last_lines(
    from: Option<impl AsyncRead + Unpin>,
    mut line: impl FnMut(&str),
) -> std::io::Result<VecDeque<String>> {
    let mut last = VecDeque::new();
    let Some(from) = from else { return Ok(last) };
    let mut from = BufReader::new(from);
    let mut read = Vec::new();
    while from.read_until(b'\n', &mut read).await? > 0 {
        let text = String::from_utf8_lossy(&read).trim_end().to_owned();
        line(&text);
        last.push_back(text);
        if last.len() > LAST_LINES_MAX {
            last.pop_front();
        }
        read.clear();
    }
    Ok(last)
}

/// Ends an interrupted command, which ends what it has started itself.
async fn end(child: &mut Child) -> CommandResult<()> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid {
        // One that has ended meanwhile is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if timeout(END_WITHIN, child.wait()).await.is_err() {
        child.kill().await.or_fail(Exit::Internal, "cannot end engr")?;
    }
    Ok(())
}

/// Counts the seconds of a step on a terminal: a first build may take a while.
async fn show_seconds() -> Infallible {
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seconds = began.elapsed().as_secs();
        Output::new(false).transient(Style::Dim.paint(format_args!("  {seconds} s …")));
    }
}

/// Takes the seconds away, before a line that stays.
fn clear() {
    Output::new(false).transient("");
}

/// One line for a phase that took its time, and one for each instance's switch.
fn show(event: &Value, switched: &mut BTreeSet<String>) {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    clear();
    match (event["type"].as_str(), event["seconds"].as_f64()) {
        (Some("phase"), Some(seconds)) if text("phase") != "rollout" => {
            let seconds = Style::Dim.paint(format!("{seconds:.1} s"));
            print(format_args!("  {:<9} {}  {seconds}\n", text("phase"), text("detail")));
        }
        (Some("warning"), _) => print(format_args!("  {}\n", Style::Yellow.paint(text("message")))),
        (Some("instance"), Some(seconds))
            if event["switched"].is_string() && switched.insert(text("name")) =>
        {
            let to = Style::Green.paint(format!("switched to v{}", event["release"]));
            print(format_args!("  {:<9} {to}, {seconds:.3} s after the publish\n", text("name")));
        }
        (Some("rollout"), _) if event["may_switch"] == 1 && event["stage"] == "canary" => {
            print(format_args!("  {:<9} one instance goes first, alone\n", "canary"));
        }
        (Some("rollout"), _) if event["stage"] == "rolling" && !switched.is_empty() => {
            print(format_args!("  {:<9} it was healthy, and the others follow\n", "rolling"));
        }
        _ => {}
    }
}

/// What the command's last object says of its failure, and of the instances'.
fn show_failure(result: &Value) {
    let instances = result["instances"].as_array().into_iter().flatten();
    for instance in instances.filter(|instance| instance["failure"].is_object()) {
        let name = instance["name"].as_str().unwrap_or_default();
        let failure = &instance["failure"];
        print(format_args!("  {name}: {}\n", failure["message"].as_str().unwrap_or_default()));
        for line in failure["last-lines"].as_array().into_iter().flatten() {
            print(format_args!("    {}\n", line.as_str().unwrap_or_default()));
        }
    }
    if let Some(error) = result["error"].as_str() {
        print(format_args!("  {}\n", Style::Red.paint(error)));
    }
}

fn failed(what: &str, status: ExitStatus, said: VecDeque<String>) -> Failure {
    let said: Vec<String> = said.into_iter().map(|line| format!("\n    {line}")).collect();
    internal(format!("`engr {APP} {what}` failed ({status}){}", said.concat()))
}

fn internal(message: String) -> Failure {
    Failure::new(Exit::Internal, anyhow::anyhow!(message))
}

/// As a shell would take it.
fn quoted(arg: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:".contains(&byte);
    match arg.bytes().all(plain) {
        true => arg.to_owned(),
        false => format!("{:?}", OsStr::new(arg)),
    }
}
