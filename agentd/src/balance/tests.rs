//! The balancer with real sockets: instances that say their name and echo, agents that answer what
//! they are told to.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU16, Ordering};

use deploy::local_fleet::{BalancedPort, LocalInstance};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// An instance: its app and its agent's health port.
struct Fake {
    name: String,
    status: Arc<AtomicU16>,
    app: SocketAddr,
    health: SocketAddr,
    tasks: JoinSet<()>,
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where nobody listens.
async fn free_address() -> SocketAddr {
    listener().await.1
}

impl Fake {
    async fn start(name: &str, status: u16) -> Self {
        let (app_listener, app) = listener().await;
        let (health_listener, health) = listener().await;
        let status = Arc::new(AtomicU16::new(status));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_app(name.to_owned(), app_listener));
        tasks.spawn(serve_health(status.clone(), health_listener));
        Self { name: name.to_owned(), status, app, health, tasks }
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn instance(&self) -> LocalInstance {
        LocalInstance { name: self.name.clone(), health: self.health, addresses: vec![self.app] }
    }
}

/// Says its name, then gives back what it gets; after the client's end it says `bye`.
async fn serve_app(name: String, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let name = name.clone();
        connections.spawn(async move {
            stream.write_all(format!("{name}\n").as_bytes()).await?;
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await?;
            stream.write_all(b"bye").await
        });
    }
}

/// Answers on kept connections, as the agent's server does.
async fn serve_health(status: Arc<AtomicU16>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let status = status.clone();
        connections.spawn(async move {
            let mut request = [0; 4096];
            while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                let code = status.load(Ordering::Relaxed);
                let answer = format!("HTTP/1.1 {code} X\r\nContent-Length: 2\r\n\r\nok");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn fleet(instances: &[&Fake]) -> (LocalFleet, SocketAddr) {
    let listen = free_address().await;
    let ports = vec![BalancedPort { port: 80, listen }];
    let instances = instances.iter().map(|fake| fake.instance()).collect();
    (LocalFleet { ports, instances }, listen)
}

fn balancer(fleet: LocalFleet) -> Balancer {
    let mut balancer = Balancer::default();
    balancer.follow(fleet);
    assert!(balancer.bind_missing().is_empty());
    balancer
}

/// Connects, and gives the name of the instance that answers; `None` when the connection is closed.
async fn open(to: SocketAddr) -> Option<(TcpStream, String)> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut name = Vec::new();
    loop {
        match timeout(SOON, stream.read_u8()).await.expect("an answer in time") {
            Ok(b'\n') => return Some((stream, String::from_utf8(name).unwrap())),
            Ok(byte) => name.push(byte),
            Err(_) => return None,
        }
    }
}

async fn answers(to: SocketAddr, count: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..count {
        names.insert(open(to).await.expect("an instance").1);
    }
    names
}

/// Waits until exactly these instances get the new connections.
async fn settles_on(to: SocketAddr, names: &[&str]) {
    let began = Instant::now();
    loop {
        let found = answers(to, 6).await;
        if found.iter().map(String::as_str).eq(names.iter().copied()) {
            return;
        }
        assert!(began.elapsed() < SOON, "{found:?} answer, not {names:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until every agent has said that it does not serve: before it is asked for the first time,
/// its instance is as good as any.
async fn knows_of_none(balancer: &Balancer, listen: SocketAddr) {
    let began = Instant::now();
    while !balancer.pool.candidates(listen).is_empty() {
        assert!(began.elapsed() < SOON, "the agents were asked");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn echoes(stream: &mut TcpStream, text: &str) -> bool {
    let mut back = vec![0; text.len()];
    stream.write_all(text.as_bytes()).await.is_ok()
        && timeout(SOON, stream.read_exact(&mut back)).await.is_ok_and(|read| read.is_ok())
        && back == text.as_bytes()
}

#[tokio::test]
async fn new_connections_go_in_turn_to_the_instances_that_serve() {
    let (a, b, c) = (Fake::start("a", 200), Fake::start("b", 200), Fake::start("c", 503));
    let (a, b, c) = tokio::join!(a, b, c);
    let (fleet, address) = fleet(&[&a, &b, &c]).await;
    let _balancer = balancer(fleet);
    settles_on(address, &["a", "b"]).await;

    let mut kept = loop {
        let (stream, name) = open(address).await.unwrap();
        if name == "a" {
            break stream;
        }
    };
    a.says(503);
    c.says(200);
    settles_on(address, &["b", "c"]).await;
    assert!(echoes(&mut kept, "still here").await, "an open connection outlives the health");
    a.says(200);
    settles_on(address, &["a", "b", "c"]).await;
}

#[tokio::test]
async fn each_side_may_end_its_half_first() {
    let a = Fake::start("a", 200).await;
    let (fleet, address) = fleet(&[&a]).await;
    let _balancer = balancer(fleet);
    let (mut stream, _) = open(address).await.unwrap();
    stream.write_all(b"12345").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    timeout(SOON, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, "12345bye");
}

#[tokio::test]
async fn a_cut_connection_is_not_shown_as_an_end() {
    let (app, app_address) = listener().await;
    let a = Fake::start("a", 200).await;
    let (mut fleet, address) = fleet(&[&a]).await;
    fleet.instances[0].addresses = vec![app_address];
    let _balancer = balancer(fleet);
    let mut client = TcpStream::connect(address).await.unwrap();
    let (mut instance, _) = timeout(SOON, app.accept()).await.unwrap().unwrap();
    instance.write_all(b"half of the ans").await.unwrap();
    let mut half = [0; 15];
    timeout(SOON, client.read_exact(&mut half)).await.unwrap().unwrap();
    instance.set_zero_linger().unwrap();
    drop(instance);
    let end = timeout(SOON, client.read(&mut half)).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn where_one_refuses_the_next_is_tried() {
    let (a, b) = tokio::join!(Fake::start("a", 200), Fake::start("b", 200));
    let (mut fleet, address) = fleet(&[&a, &b]).await;
    fleet.instances[0].addresses = vec![free_address().await];
    let _balancer = balancer(fleet);
    settles_on(address, &["b"]).await;
    assert_eq!(answers(address, 10).await, BTreeSet::from(["b".to_owned()]));
}

#[tokio::test]
async fn a_connection_is_held_until_an_instance_serves() {
    let a = Fake::start("a", 503).await;
    let (fleet, address) = fleet(&[&a]).await;
    let balancer = balancer(fleet);
    knows_of_none(&balancer, address).await;
    let held = tokio::spawn(open(address));
    sleep(Duration::from_millis(300)).await;
    assert!(!held.is_finished());
    a.says(200);
    assert_eq!(timeout(SOON, held).await.unwrap().unwrap().unwrap().1, "a");
}

#[tokio::test]
async fn a_held_connection_is_closed_in_the_end() {
    let a = Fake::start("a", 503).await;
    let (fleet, address) = fleet(&[&a]).await;
    let balancer = balancer(fleet);
    knows_of_none(&balancer, address).await;
    let began = Instant::now();
    assert!(open(address).await.is_none());
    assert!((4..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_app_outlives_its_agent() {
    let mut a = Fake::start("a", 200).await;
    let b = Fake::start("b", 200).await;
    let (fleet, address) = fleet(&[&a, &b]).await;
    let _balancer = balancer(fleet);
    settles_on(address, &["a", "b"]).await;
    // The agent of `a` goes, its app stays; then `b` does not serve.
    a.tasks.shutdown().await;
    let app = TcpListener::bind(a.app).await.unwrap();
    a.tasks.spawn(serve_app("a".into(), app));
    settles_on(address, &["b"]).await;
    b.says(503);
    settles_on(address, &["a"]).await;
}

#[tokio::test]
async fn ports_and_instances_follow_the_file() {
    let (a, b) = tokio::join!(Fake::start("a", 200), Fake::start("b", 200));
    let folder = tempfile::tempdir().unwrap();
    let dir = LocalDir(folder.path().to_owned());
    let (first, old_address) = fleet(&[&a]).await;
    let (second, new_address) = fleet(&[&b]).await;
    let write = |fleet: &LocalFleet| {
        let new = folder.path().join("fleet.json.new");
        std::fs::write(&new, serde_json::to_vec(fleet).unwrap()).unwrap();
        std::fs::rename(new, dir.fleet()).unwrap();
    };
    write(&first);
    let mut file = FleetFile::open(&dir).unwrap();
    let mut balancer = balancer(file.read().unwrap());
    let (mut kept, _) = open(old_address).await.unwrap();

    std::fs::write(dir.fleet(), "{ not whole").unwrap();
    for _ in 0..2 {
        assert!(matches!(file.next().await, Change::Nothing));
    }
    write(&second);
    let fleet = loop {
        match timeout(SOON, file.next()).await.expect("the change is seen") {
            Change::Fleet(fleet) => break fleet,
            Change::Nothing => {}
            Change::FolderGone => panic!("the folder is there"),
        }
    };
    balancer.follow(fleet);
    assert!(balancer.bind_missing().is_empty());
    settles_on(new_address, &["b"]).await;
    let began = Instant::now();
    while TcpStream::connect(old_address).await.is_ok() {
        assert!(began.elapsed() < SOON, "the old port is closed");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(echoes(&mut kept, "open connections stay").await);

    drop(folder);
    let gone = async { while !matches!(file.next().await, Change::FolderGone) {} };
    timeout(SOON, gone).await.expect("the folder's end is seen");
}

#[tokio::test]
async fn the_end_lets_open_connections_end() {
    let a = Fake::start("a", 200).await;
    let (fleet, address) = fleet(&[&a]).await;
    let balancer = balancer(fleet);
    let (mut stream, _) = open(address).await.unwrap();
    let end = tokio::spawn(balancer.end(SOON));
    let began = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(began.elapsed() < SOON, "the port is closed");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(echoes(&mut stream, "not yet").await);
    assert!(!end.is_finished());
    drop(stream);
    timeout(SOON, end).await.unwrap().unwrap();

    let (fleet, address) = self::fleet(&[&a]).await;
    let balancer = self::balancer(fleet);
    let (mut stream, _) = open(address).await.unwrap();
    timeout(SOON, balancer.end(Duration::from_millis(50))).await.unwrap();
    assert!(!echoes(&mut stream, "the limit has come").await);
}

#[tokio::test]
async fn a_taken_port_is_told_and_bound_once_it_is_free() {
    let a = Fake::start("a", 200).await;
    let (holder, taken) = listener().await;
    let (mut fleet, _) = fleet(&[&a]).await;
    fleet.ports[0].listen = taken;
    let mut balancer = Balancer::default();
    balancer.follow(fleet);
    let failed = balancer.bind_missing();
    assert_eq!(failed[0].0, taken);
    assert_eq!(failed[0].1.kind(), std::io::ErrorKind::AddrInUse);
    drop(holder);
    assert!(balancer.bind_missing().is_empty());
    settles_on(taken, &["a"]).await;
}

#[tokio::test]
async fn looking_at_the_file_does_not_make_the_next_look() {
    let folder = tempfile::tempdir().unwrap();
    let dir = LocalDir(folder.path().to_owned());
    std::fs::write(dir.fleet(), serde_json::to_vec(&LocalFleet::default()).unwrap()).unwrap();
    let mut file = FleetFile::open(&dir).unwrap();
    let mut looks = 0;
    let looking = async {
        loop {
            file.next().await;
            looks += 1;
            file.read().unwrap();
        }
    };
    timeout(Duration::from_secs(3), looking).await.unwrap_err();
    assert!(looks <= 2, "{looks} looks in three seconds");
}
