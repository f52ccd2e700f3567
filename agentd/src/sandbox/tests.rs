//! With real children, as root: each says what it is, and tries what it must not.

use std::ffi::{CStr, CString};
use std::fs::{self, Permissions};
use std::io::{Read, pipe};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::*;
use crate::fork::fork;

const NOFILE: u64 = 4321;

/// An instance's folder with an artifact, a state folder, a run and the agent's own files.
struct Instance {
    folder: tempfile::TempDir,
    user: User,
}

impl Instance {
    /// None, with a word why, where the tests are not root.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can confine an app");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // As the agent's own folder is: others may not enter it.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        for name in ["artifacts/abc", "env", "runs/1", "state"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("env/secret"), "x").unwrap();
        let program = folder.path().join("artifacts/abc/app");
        fs::copy("/bin/cat", &program).unwrap();
        fs::set_permissions(program, Permissions::from_mode(0o755)).unwrap();
        Some(Self { folder, user: User::find("nobody").unwrap() })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn view(&self) -> View {
        make_state(&self.path("state"), Some(&self.user)).unwrap();
        let instance = self.folder.path();
        let artifact = self.path("artifacts/abc");
        View::make(&self.path("runs/1"), instance, &artifact, &self.path("state")).unwrap()
    }

    /// What `script` says as a confined process.
    fn confined(&self, binds_low_ports: bool, script: &str) -> String {
        let view = self.view();
        let confined = Confined { user: &self.user, binds_low_ports, view: &view };
        said(&Plan { nofile: NOFILE, confined: Some(confined) }, script)
    }
}

fn exec(script: &CStr, out: &OwnedFd) -> Fault {
    let args = [c"sh".as_ptr(), c"-c".as_ptr(), script.as_ptr(), std::ptr::null()];
    let environment = [c"PATH=/usr/bin:/bin:/usr/sbin:/sbin".as_ptr(), std::ptr::null()];
    // SAFETY: the texts end with a zero byte, and the arrays with a null pointer.
    unsafe {
        libc::dup2(out.as_raw_fd(), 1);
        libc::dup2(out.as_raw_fd(), 2);
        libc::execve(c"/bin/sh".as_ptr(), args.as_ptr(), environment.as_ptr());
    }
    Step::Exec.fault()
}

fn said(plan: &Plan<'_>, script: &str) -> String {
    let mut sandbox = Sandbox::prepare(plan).unwrap();
    let script = CString::new(script).unwrap();
    let (mut reader, writer) = pipe().unwrap();
    let writer = OwnedFd::from(writer);
    let mut child = || match sandbox.enter(0) {
        Ok(()) => exec(&script, &writer),
        Err(fault) => fault,
    };
    // SAFETY: the closure makes system calls only.
    let pid = unsafe { fork(None, 0, &mut child) };
    let pid = pid.unwrap_or_else(|fault| panic!("{fault}: {}", fault.error));
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let pid = Pid::from_raw(pid.cast_signed());
    assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 0), "{text}");
    text
}

#[test]
fn a_confined_process_is_its_user_with_no_other_right() {
    let Some(instance) = Instance::new() else { return };
    let script = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|SigIgn|SigBlk|Umask)' /proc/self/status
        ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l";
    let text = instance.confined(false, script).replace(['\t', ' '], "");
    let id = |number: u32| number.to_string().repeat(4);
    let none = "0000000000000000";
    let expected = [
        "Umask:0022".to_owned(),
        format!("Uid:{}", id(instance.user.uid)),
        format!("Gid:{}", id(instance.user.gid)),
        "Groups:".to_owned(),
        format!("SigBlk:{none}"),
        format!("SigIgn:{none}"),
        format!("CapInh:{none}"),
        format!("CapPrm:{none}"),
        format!("CapEff:{none}"),
        format!("CapBnd:{none}"),
        format!("CapAmb:{none}"),
        "NoNewPrivs:1".to_owned(),
        NOFILE.to_string(),
        NOFILE.to_string(),
        "0".to_owned(),
        // Its standard ones, and the folder that is listed.
        "4".to_owned(),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn one_that_binds_low_ports_has_the_right_to_and_no_other() {
    let Some(instance) = Instance::new() else { return };
    let text = instance.confined(true, "grep -E '^Cap' /proc/self/status");
    assert_eq!(text.lines().count(), 5);
    assert!(text.lines().all(|line| line.ends_with("\t0000000000000400")), "{text}");
}

#[test]
fn it_writes_to_its_own_folders_alone() {
    let Some(instance) = Instance::new() else { return };
    let own = instance.folder.path().display();
    let script = format!(
        "for d in /tmp /var/tmp /dev/shm {own}/state; do echo x > $d/engr-probe || echo no $d; done
         for d in / /etc /usr /var/log /run {own} {own}/artifacts/abc $HOME; do
             touch $d/engr-probe 2>/dev/null && echo yes $d; done
         echo x > /dev/null && LC_ALL=C ls -A /tmp {own} {own}/artifacts; ls {own}/env 2>&1
         touch /etc/engr-probe 2>&1; cat {own}/artifacts/abc/app | cmp - /bin/cat && echo same"
    );
    let text = instance.confined(false, &script);
    let first = instance.folder.path().strip_prefix("/tmp").unwrap().display();
    let expected = format!(
        "/tmp:\n{first}\nengr-probe\n\n{own}:\nartifacts\nstate\n\n{own}/artifacts:\nabc\n\
         ls: cannot access '{own}/env': No such file or directory\n\
         touch: cannot touch '/etc/engr-probe': Read-only file system\nsame\n"
    );
    assert_eq!(text, expected);
    for name in ["runs/1/tmp/engr-probe", "runs/1/var-tmp/engr-probe", "state/engr-probe"] {
        let owner = fs::metadata(instance.path(name)).unwrap().uid();
        assert_eq!(owner, instance.user.uid, "{name}");
    }
    let stays = ["/tmp/engr-probe", "/dev/shm/engr-probe", "/etc/engr-probe"];
    assert!(stays.iter().all(|path| !Path::new(path).exists()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&format!("{own}")), "its mounts are its own");
}

#[test]
fn even_as_root_again_it_would_find_the_system_read_only() {
    let Some(instance) = Instance::new() else { return };
    let script =
        "unshare -r true 2>&1 | grep -c . ; mount -o remount,rw / 2>/dev/null || echo refused
        kill -0 1 2>/dev/null || echo not allowed";
    let text = instance.confined(false, script);
    assert!(text.ends_with("refused\nnot allowed\n"), "{text}");
}

#[test]
fn without_a_user_it_keeps_the_agents_and_gives_up_new_privileges() {
    let plan = Plan { nofile: 77, confined: None };
    let text = said(&plan, "id -u; ulimit -n; grep NoNewPrivs /proc/self/status");
    assert_eq!(text, format!("{}\n77\nNoNewPrivs:\t1\n", nix::unistd::geteuid()));
}

#[test]
fn a_step_that_fails_is_named() {
    let Some(instance) = Instance::new() else { return };
    let view = instance.view();
    fs::remove_dir(instance.path("state")).unwrap();
    let confined = Confined { user: &instance.user, binds_low_ports: false, view: &view };
    let plan = Plan { nofile: NOFILE, confined: Some(confined) };
    let mut sandbox = Sandbox::prepare(&plan).unwrap();
    let mut child = || sandbox.enter(0).map_or_else(|fault| fault, |()| Step::Exec.fault());
    // SAFETY: the closure makes system calls only.
    let fault = unsafe { fork(None, 0, &mut child) }.unwrap_err();
    assert_eq!((fault.step, fault.error.raw_os_error()), (Step::Folders, Some(libc::ENOENT)));
    assert_eq!(fault.to_string(), "it cannot have its own folders");
}

#[test]
fn it_costs_little() {
    let Some(instance) = Instance::new() else { return };
    let view = instance.view();
    let cost = |confined: bool| {
        let confined = confined.then_some(Confined {
            user: &instance.user,
            binds_low_ports: false,
            view: &view,
        });
        let mut times: Vec<Duration> = (0..20)
            .map(|_| {
                let began = Instant::now();
                let mut sandbox = Sandbox::prepare(&Plan { nofile: 1024, confined }).unwrap();
                let mut child = || match sandbox.enter(0) {
                    // SAFETY: it ends at once, and runs nothing of this process's.
                    Ok(()) => unsafe { libc::_exit(0) },
                    Err(fault) => fault,
                };
                // SAFETY: the closure makes system calls only.
                let pid = unsafe { fork(None, 0, &mut child) }.unwrap();
                let took = began.elapsed();
                waitpid(Pid::from_raw(pid.cast_signed()), None).unwrap();
                took
            })
            .collect();
        times.sort();
        // The least: others' work on the machine only ever adds.
        times[0]
    };
    let (bare, confined) = (cost(false), cost(true));
    eprintln!("a start takes {bare:?} without a user, and {confined:?} confined");
    // Busy machines are slow: this is to find what is slow on any.
    assert!(confined < Duration::from_millis(50), "{confined:?}");
}
