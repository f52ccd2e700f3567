//! The program `engr-gcs-server`.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_engr-gcs-server"))
}

/// A program under way, killed when a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_tells_where_it_is_and_ends_when_told() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program();
        command.arg("--dir").arg(dir.path()).arg("--endpoint-log");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Running(child);
        let mut output = BufReader::new(running.0.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening at http://").unwrap().trim_end();
        let mut connection = TcpStream::connect(address).unwrap();
        let request = b"GET /storage/v1/b?project=p HTTP/1.0\r\n\r\n";
        std::io::Write::write_all(&mut connection, request).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("storage#buckets"), "{answer}");

        kill(Pid::from_raw(running.0.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(running.0.wait().unwrap().code(), Some(0), "{signal}");
        let mut log = String::new();
        running.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(log, "GET /storage/v1/b?project=p 200\n");
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        assert!(TcpStream::connect(address).is_err());
    }
}

#[test]
fn help_tells_how_to_point_clients_at_it() {
    let help = program().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for word in ["STORAGE_EMULATOR_HOST", "GCE_METADATA_HOST", "/_engr/faults", "--tls-cert"] {
        assert!(help.contains(word), "{word} is missing in:\n{help}");
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = program().args(["--port", &port, "--dir"]).arg(dir.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("Address already in use"), "{errors}");
}
