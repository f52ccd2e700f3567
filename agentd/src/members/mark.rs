//! The processes of one run where no cgroup tells: by what they inherited.
//!
//! A process belongs to the run when its environment carries the run's mark, when it is in the
//! session that the run's first process leads (as long as that one is there), or when its parent
//! belongs to the run. That finds process groups, sessions of their own and double forks. It does not
//! find one that has all at once: an environment without the mark, a session of its own, and a
//! parent that has ended. A cgroup finds that one, too.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::Signal;

use super::Held;
use super::proc_stat::{self, Stat};

/// The variable that every process of a run inherits: `<the instance's folder>#<the run's number>`.
pub const RUN: &str = "ENGR_RUN";

/// What the processes of one run inherited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    value: OsString,
    leader: Option<Leader>,
}

/// The first process, which leads the run's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leader {
    pid: u32,
    start: u64,
}

impl Mark {
    /// The mark of the run of this number of the instance in `folder`.
    pub fn new(folder: &Path, run: u64) -> Self {
        let mut value = folder.as_os_str().to_owned();
        value.push(format!("#{run}"));
        Self { value, leader: None }
    }

    /// The same, where the run's first process is known by its number and its start time
    /// (`/proc/<pid>/stat`), and leads a session.
    #[must_use]
    pub fn led_by(self, pid: u32, start: u64) -> Self {
        Self { leader: Some(Leader { pid, start }), ..self }
    }

    /// The value of [`RUN`].
    pub fn value(&self) -> &OsStr {
        &self.value
    }

    /// See [`super::Members::has`].
    pub(super) fn has(&self, pid: u32) -> bool {
        let found = self.held_member(pid);
        let found = found.inspect_err(|error| {
            tracing::warn!(%error, pid, "cannot see whether a process is the app's");
        });
        matches!(found, Ok(Some(_)))
    }

    /// It, if its own marks show it to be one; its parents are not looked at.
    fn held_member(&self, pid: u32) -> io::Result<Option<Held>> {
        let Some(held) = Held::open(pid)? else { return Ok(None) };
        // All that is asked from here on is of the process that is held, if it lives at the end.
        let Some(stat) = proc_stat::of(pid)? else { return Ok(None) };
        let is_member = self.shows(pid, &stat, self.session()?)?;
        Ok(Some(held).filter(|held| is_member && held.is_alive()))
    }

    /// Whether the process that has this number now shows that it belongs to the run.
    fn shows(&self, pid: u32, stat: &Stat, session: Option<u32>) -> io::Result<bool> {
        let has_mark = || Ok(marks(pid)?.is_some_and(|mark| mark == self.value.as_bytes()));
        if session == Some(stat.session) { Ok(true) } else { has_mark() }
    }

    /// The run's session, as long as its number cannot be another's.
    fn session(&self) -> io::Result<Option<u32>> {
        let Some(leader) = self.leader else { return Ok(None) };
        let stat = proc_stat::of(leader.pid)?;
        Ok(stat.filter(|stat| stat.start == leader.start).map(|_| leader.pid))
    }

    /// See [`super::Members::living`].
    pub(super) fn living(&self) -> io::Result<Vec<Held>> {
        let mut stats = HashMap::new();
        let mut members = Vec::new();
        let session = self.session()?;
        for pid in proc_stat::all()? {
            let Some(stat) = proc_stat::of(pid)?.filter(|stat| !stat.is_zombie) else { continue };
            // Few are: only they are held, and then looked at again.
            if self.shows(pid, &stat, session)? {
                members.extend(self.held_member(pid)?);
            } else {
                stats.insert(pid, stat);
            }
        }
        add_descendants(&mut members, stats)?;
        Ok(members)
    }

    /// See [`super::Members::kill_all`].
    pub(super) async fn kill_all(&self) -> io::Result<()> {
        loop {
            let living = self.living()?;
            if living.is_empty() {
                return Ok(());
            }
            living.iter().try_for_each(|held| held.signal(Signal::SIGKILL))?;
            for held in &living {
                held.ended().await?;
            }
        }
    }
}

/// Takes from `others` whose parent is a member, and so on.
fn add_descendants(members: &mut Vec<Held>, mut others: HashMap<u32, Stat>) -> io::Result<()> {
    let mut at = 0;
    while at < members.len() {
        let parent = members[at].pid();
        let children: Vec<u32> =
            others.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid).collect();
        for pid in children {
            others.remove(&pid);
            let Some(held) = Held::open(pid)? else { continue };
            // Still its child, and the parent still there: so the numbers are no others'.
            let is_child = proc_stat::of(pid)?.is_some_and(|stat| stat.parent == parent);
            if is_child && members[at].is_alive() && held.is_alive() {
                members.push(held);
            }
        }
        at += 1;
    }
    Ok(())
}

/// The value of [`RUN`] in the environment that the process was started with. `None`: it has none,
/// or is gone, or another user's.
fn marks(pid: u32) -> io::Result<Option<Vec<u8>>> {
    let environment = match std::fs::read(format!("/proc/{pid}/environ")) {
        Ok(environment) => environment,
        Err(error) if proc_stat::is_gone(&error) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error),
    };
    let pairs = environment.split(|byte| *byte == 0);
    Ok(pairs
        .filter_map(|pair| pair.strip_prefix(RUN.as_bytes())?.strip_prefix(b"="))
        .next()
        .map(<[u8]>::to_vec))
}

/// Kills what carries the mark of any run of the instance in `folder`, but for the runs in `keep`,
/// and gives how many they were: what an earlier life of the agent left, and nobody takes over.
///
/// # Errors
/// What the kernel says.
pub async fn sweep(folder: &Path, keep: &[u64]) -> io::Result<usize> {
    let mut ended = 0;
    loop {
        let left = runs_of(folder)?;
        let left: Vec<_> = left.into_iter().filter(|run| !keep.contains(run)).collect();
        if left.is_empty() {
            return Ok(ended);
        }
        for run in left {
            let mark = Mark::new(folder, run);
            ended += mark.living()?.len();
            mark.kill_all().await?;
        }
    }
}

/// The runs of the instance in `folder` that have living processes.
fn runs_of(folder: &Path) -> io::Result<HashSet<u64>> {
    let mut prefix = folder.as_os_str().as_bytes().to_vec();
    prefix.push(b'#');
    let mut runs = HashSet::new();
    for pid in proc_stat::all()? {
        let is_alive = proc_stat::of(pid)?.is_some_and(|stat| !stat.is_zombie);
        let mark = if is_alive { marks(pid)? } else { None };
        let run: Option<u64> = mark.and_then(|mark| {
            let number = mark.strip_prefix(&prefix[..])?;
            std::str::from_utf8(number).ok()?.parse().ok()
        });
        runs.extend(run);
    }
    Ok(runs)
}
