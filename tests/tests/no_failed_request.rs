//! Twenty switches under every kind of load at once, for every way in which an app can take its
//! port: no request fails, in any way. The agent is real, and the app is reached without a balancer.
//!
//! As root each test has a network of its own, where what binds by itself gets the setting of the
//! kernel that it needs; and one of them is 20 ms away.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use load::{Failure, Tally};
use nix::sched::{CloneFlags, unshare};
use tests::agent::Life;
use tests::apps;
use tests::engr::{binary, needs};
use tests::fleet::{free_port, until};
use tests::instance::{Instance, Setup};
use tests::loads::{AllLoads, KINDS, Target, failures};
use tests::relay::{self, Link, Shape};

const SWITCHES: u64 = 20;

/// `net.ipv4.tcp_migrate_req`, of the calling thread's network.
const MIGRATES: &str = "/proc/sys/net/ipv4/tcp_migrate_req";

/// Each loads the whole machine.
static TURN: Mutex<()> = Mutex::new(());

/// What a test has of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Own,
    Machines,
}

/// Runs the test on a thread that has a network of its own, where that can be had.
fn run(test: impl FnOnce(Network) + Send + 'static) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let tested = thread::spawn(move || {
        let network = match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => Network::Own,
            Err(_) => Network::Machines,
        };
        if network == Network::Own {
            relay::ip(&["link", "set", "lo", "up"]).expect("a loopback");
            std::fs::write(MIGRATES, "1").expect("the kernel can migrate requests");
        }
        test(network);
    });
    if let Err(panic) = tested.join() {
        std::panic::resume_unwind(panic);
    }
}

fn setup(program: PathBuf, mode: &str, host: IpAddr) -> Setup {
    Setup {
        program,
        mode: mode.to_owned(),
        host,
        ports: [free_port(), free_port()],
        health: SocketAddr::from(([127, 0, 0, 1], free_port())),
        health_window: Duration::from_millis(50),
        settle: Duration::from_millis(50),
        life: Life::Alone,
        args: Vec::new(),
        is_worker: false,
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Switches under load that `start` makes, and gives what it counted.
fn switches(setup: &Setup, start: impl FnOnce(Target) -> AllLoads) -> Vec<Tally> {
    let instance = Instance::start(setup).expect("the instance serves");
    let loads = start(Target::app(setup.host, setup.ports));
    until("an answer to every kind of load", || loads.all_answered(5).then_some(()));
    for _ in 0..SWITCHES {
        let release = instance.publish().expect("published");
        if let Err(error) = instance.switched(release) {
            panic!("{error:#}\n{:#?}", instance.report());
        }
        instance.drained_to(8).expect("the old versions end");
    }
    // What is kept goes on only when the version that has it is told to end.
    until("every kind of load on another version", || loads.all_moved().then_some(()));
    let tallies = loads.stop();
    instance.drained_to(0).expect("the old versions end");
    for (kind, tally) in KINDS.iter().zip(&tallies) {
        println!("{kind}\n{tally}\n");
    }
    tallies
}

#[track_caller]
fn assert_none_failed(tallies: &[Tally]) {
    for (kind, tally) in KINDS.iter().zip(tallies) {
        assert_eq!(tally.failed(), 0, "{kind}: {}\n{tally}", failures(tally));
    }
}

fn near(target: Target) -> AllLoads {
    AllLoads::start(target, 3, Duration::from_millis(15)).expect("the loads start")
}

#[test]
fn a_rust_app_with_the_library() {
    run(|_| {
        let setup = setup(binary("test-app"), "engineer", LOOPBACK);
        assert_none_failed(&switches(&setup, near));
    });
}

#[test]
fn a_go_app_with_the_library() {
    needs("go", "version");
    run(|_| {
        let built = tempfile::tempdir().expect("a folder");
        let program = apps::build_go(built.path(), "load").expect("the Go app");
        assert_none_failed(&switches(&setup(program, "engineer", LOOPBACK), near));
    });
}

#[test]
fn an_app_that_takes_handed_sockets_by_itself() {
    run(|_| {
        let setup = setup(binary("test-app"), "listen-fds-soft", LOOPBACK);
        assert_none_failed(&switches(&setup, near));
    });
}

/// It binds late, and until then the old version answers in its place: it must not be ended for
/// that. Without the kernel's help some connections in the old version's queue are reset.
#[test]
fn an_app_that_binds_with_so_reuseport_by_itself() {
    run(|network| {
        let setup = setup(binary("test-app"), "reuseport-soft:200", LOOPBACK);
        let tallies = switches(&setup, near);
        match network {
            Network::Own => assert_none_failed(&tallies),
            Network::Machines => {
                for (kind, tally) in KINDS.iter().zip(&tallies) {
                    let resets = tally.failed_by(Failure::Reset);
                    assert_eq!(tally.failed(), resets, "{kind}\n{tally}");
                }
            }
        }
    });
}

/// A loopback hides what is lost with connections that are half open.
#[test]
fn clients_that_are_20_ms_away() {
    run(|network| {
        if network == Network::Machines {
            println!("skipped: a network of one's own takes root");
            return;
        }
        let link = match Link::new(Shape::delay(Duration::from_millis(10))) {
            Ok(link) => link,
            Err(error) => {
                println!("skipped: {error:#}");
                return;
            }
        };
        let setup = setup(binary("test-app"), "engineer", IpAddr::V4(link.near));
        let far = |target| {
            let start = move || AllLoads::start(target, 8, Duration::from_millis(15));
            link.at_far(start).expect("the far end").expect("the loads start")
        };
        assert_none_failed(&switches(&setup, far));
    });
}
