//! What a server leaves behind. Alone in its process, so that all there is can be counted.

use std::fs;
use std::net::TcpStream;

use gcs_server::{Options, Server};

fn threads_and_files() -> (usize, usize) {
    let count = |folder| fs::read_dir(folder).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

#[test]
fn a_dropped_server_leaves_nothing_but_its_buckets() {
    let dir = tempfile::tempdir().unwrap();
    // The first runtime of a process keeps two files for signals.
    drop(Server::start(Options::new(dir.path())).unwrap());
    let before = threads_and_files();
    let server = Server::start(Options::new(dir.path())).unwrap();
    let address = server.url().split_once("//").unwrap().1.to_owned();
    let connection = TcpStream::connect(&address).unwrap();
    drop(server);
    drop(connection);
    assert_eq!(threads_and_files(), before);
    assert!(TcpStream::connect(&address).is_err());

    // The port can be had again at once.
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let server = Server::start(Options { port, ..Options::new(dir.path()) }).unwrap();
    TcpStream::connect(&address).unwrap();
    drop(server);
    assert_eq!(threads_and_files(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
