//! Apps that link the library, ended under load as the agent ends them: no request may fail.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use load::{Failure, Load, Plan, Tally};
use tempfile::TempDir;
use tests::apps;
use tests::launch::{App, WITHIN};

/// The releases that each test goes through.
const RELEASES: u64 = 4;

struct Bed {
    folder: TempDir,
    program: PathBuf,
    socket: TcpListener,
    address: SocketAddr,
}

impl Bed {
    fn rust() -> Self {
        Self::new(TempDir::new().expect("a folder"), |_| env!("CARGO_BIN_EXE_test-app").into())
    }

    fn go() -> Self {
        let build = |folder: &Path| apps::build_go(folder, "drain").expect("the Go app");
        Self::new(TempDir::new().expect("a folder"), build)
    }

    fn new(folder: TempDir, program: impl Fn(&Path) -> PathBuf) -> Self {
        let program = program(folder.path());
        // As the agent's: it stays open in the test, so its queue outlives every app.
        let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = socket.local_addr().expect("an address");
        Self { folder, program, socket, address }
    }

    /// Starts a release on the handed socket and waits until it is ready.
    fn start(&self, release: u64) -> App {
        self.start_with(release, Some(&self.socket), self.address.port())
    }

    fn start_with(&self, release: u64, socket: Option<&TcpListener>, port: u16) -> App {
        let variables = [
            ("ENGR_APP", "shop".to_owned()),
            ("ENGR_VERSION", release.to_string()),
            ("LISTEN_FDNAMES", port.to_string()),
            ("PORT", port.to_string()),
            ("TEST_MODE", "engineer".to_owned()),
        ];
        let app = App::start(&self.program, socket, &variables, self.folder.path());
        let app = app.expect("the app starts");
        app.says("READY=1").expect("the app is ready");
        app
    }
}

/// Busy clients with new and with kept connections, some that rest for long between two requests,
/// and some whose requests take long.
struct Loads {
    named: Vec<(&'static str, Load)>,
}

impl Loads {
    fn start(address: SocketAddr) -> Self {
        let kept = || Plan::new(address).keep_alive();
        let resting = Plan { clients: 40, pause: Duration::from_millis(700), ..kept() };
        let slow = Plan { clients: 8, path: "/slow?ms=400".to_owned(), ..kept() };
        let plans = [
            ("new connections", Plan::new(address)),
            ("kept connections", kept()),
            ("resting connections", resting),
            ("slow requests", slow),
        ];
        let start = |(name, plan)| (name, Load::start(plan).expect("the load starts"));
        Self { named: plans.map(start).into() }
    }

    /// Waits until every load has got 10 more answers.
    fn go_on(&self) {
        for (name, load) in &self.named {
            let limit = Instant::now() + WITHIN;
            let enough = load.tally().answered + 10;
            while load.tally().answered < enough {
                assert!(Instant::now() < limit, "{name}: no answers\n{}", load.tally());
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn stop(self) -> Vec<(&'static str, Tally)> {
        self.named.into_iter().map(|(name, load)| (name, load.stop())).collect()
    }
}

/// Ends `app` by `SIGTERM` and checks that it went as it should.
fn end(app: App) {
    app.terminate().expect("SIGTERM");
    app.says("STOPPING=1").expect("it stops accepting");
    let (status, lines) = app.wait().expect("it ends");
    assert!(status.success(), "{status}: {lines:?}");
    assert!(lines.iter().any(|line| line == "got SIGTERM"), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("finished"), "{lines:?}");
}

#[track_caller]
fn assert_none_failed(tallies: &[(&str, Tally)]) {
    for (name, tally) in tallies {
        println!("{name}\n{tally}\n");
    }
    for (name, tally) in tallies {
        assert_eq!(tally.failed(), 0, "{name}\n{tally}");
    }
}

fn overlap_on_one_socket(bed: &Bed) {
    let mut old = bed.start(1);
    let loads = Loads::start(bed.address);
    for release in 2..=RELEASES {
        loads.go_on();
        let new = bed.start(release);
        end(std::mem::replace(&mut old, new));
    }
    loads.go_on();
    let tallies = loads.stop();
    assert_none_failed(&tallies);
    for release in 1..=RELEASES {
        assert!(tallies[0].1.answered_by(release) > 0, "release {release}\n{}", tallies[0].1);
    }
    end(old);
}

fn stop_then_start(bed: &Bed) {
    let mut app = bed.start(1);
    let loads = Loads::start(bed.address);
    for release in 2..=RELEASES {
        loads.go_on();
        end(app);
        app = bed.start(release);
    }
    loads.go_on();
    assert_none_failed(&loads.stop());
    end(app);
}

/// Without the agent's sockets a connection that the kernel gave to the old release is reset when
/// that closes its socket, unless `net.ipv4.tcp_migrate_req` moves it to the new one. All other
/// kinds of failure would be the library's.
fn overlap_on_own_sockets(bed: &Bed) {
    let port = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("one").port();
    let mut old = bed.start_with(1, None, port);
    let loads = Loads::start(SocketAddr::from(([127, 0, 0, 1], port)));
    for release in 2..=RELEASES {
        loads.go_on();
        let new = bed.start_with(release, None, port);
        end(std::mem::replace(&mut old, new));
    }
    loads.go_on();
    let tallies = loads.stop();
    let migrates = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req");
    if migrates.is_ok_and(|value| value.trim() == "1") {
        assert_none_failed(&tallies);
    }
    for (name, tally) in &tallies {
        assert_eq!(tally.failed(), tally.failed_by(Failure::Reset), "{name}\n{tally}");
    }
    end(old);
}

/// A machine that goes down, or a hasty person, may send another one in the middle of a drain.
fn a_second_sigterm(bed: &Bed) {
    let app = bed.start(1);
    let slow = Plan { clients: 4, path: "/slow?ms=1500".to_owned(), ..Plan::new(bed.address) };
    let slow = Load::start(slow.keep_alive()).expect("the load starts");
    // Its requests are under way when the end begins.
    thread::sleep(Duration::from_millis(500));
    app.terminate().expect("SIGTERM");
    app.says("STOPPING=1").expect("it stops accepting");
    for _ in 0..3 {
        app.terminate().expect("SIGTERM");
        thread::sleep(Duration::from_millis(50));
    }
    let tally = slow.stop();
    assert_eq!((tally.failed(), tally.answered, tally.told_to_close), (0, 4, 4), "{tally}");
    let (status, lines) = app.wait().expect("it ends");
    assert!(status.success(), "{status}: {lines:?}");
    let said = lines.iter().filter(|line| *line == "got SIGTERM").count();
    assert_eq!((said, lines.last().map(String::as_str)), (1, Some("finished")), "{lines:?}");
}

#[test]
fn a_second_sigterm_changes_nothing_in_rust() {
    a_second_sigterm(&Bed::rust());
}

#[test]
fn a_second_sigterm_changes_nothing_in_go() {
    a_second_sigterm(&Bed::go());
}

#[test]
fn rust_overlaps_on_one_socket() {
    overlap_on_one_socket(&Bed::rust());
}

#[test]
fn go_overlaps_on_one_socket() {
    overlap_on_one_socket(&Bed::go());
}

#[test]
fn rust_stops_then_starts() {
    stop_then_start(&Bed::rust());
}

#[test]
fn go_stops_then_starts() {
    stop_then_start(&Bed::go());
}

#[test]
fn rust_overlaps_on_its_own_sockets() {
    overlap_on_own_sockets(&Bed::rust());
}

#[test]
fn go_overlaps_on_its_own_sockets() {
    overlap_on_own_sockets(&Bed::go());
}
