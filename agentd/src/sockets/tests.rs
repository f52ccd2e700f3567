//! On real sockets of this kernel.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use super::*;

const A: VersionId = VersionId(1);
const B: VersionId = VersionId(2);
const C: VersionId = VersionId(3);

/// A group on a free port of this address.
fn group(ip: std::net::IpAddr) -> Group {
    let free = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
    Group::new(free)
}

fn v4() -> Group {
    group(Ipv4Addr::LOCALHOST.into())
}

/// What the app would hold: the version's socket, to accept on.
fn listener(group: &Group, version: VersionId) -> TcpListener {
    let socket: OwnedFd = group.socket(version).unwrap().try_clone_to_owned().unwrap();
    socket.into()
}

/// How many of `count` new connections go to each version.
fn spread(group: &Group, versions: &[VersionId], count: usize) -> Vec<usize> {
    let held: Vec<_> = (0..count).map(|_| TcpStream::connect(group.address()).unwrap()).collect();
    let accepted = versions.iter().map(|version| {
        let listener = listener(group, *version);
        std::iter::from_fn(|| listener.accept().ok()).count()
    });
    let spread = accepted.collect();
    drop(held);
    spread
}

#[test]
fn only_the_steered_version_gets_connections_there_and_back() {
    let mut group = v4();
    group.add(A).unwrap();
    group.add(B).unwrap();
    assert_eq!(spread(&group, &[A, B], 40), [40, 0]);
    group.steer(B).unwrap();
    assert_eq!(spread(&group, &[A, B], 40), [0, 40]);
    group.steer(A).unwrap();
    assert_eq!(spread(&group, &[A, B], 40), [40, 0]);
}

#[test]
fn numbers_follow_the_kernels_when_a_socket_goes() {
    let mut group = v4();
    for version in [A, B, C] {
        group.add(version).unwrap();
    }
    group.steer(C).unwrap();
    group.remove(A).unwrap();
    assert_eq!(spread(&group, &[B, C], 40), [0, 40]);
    group.steer(B).unwrap();
    assert_eq!(spread(&group, &[B, C], 40), [40, 0]);
    group.add(A).unwrap();
    assert_eq!(spread(&group, &[A, B, C], 40), [0, 40, 0]);
}

#[test]
fn the_probe_reaches_the_version_that_nobody_else_does() {
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let mut group = group(ip);
        group.add(A).unwrap();
        group.add(B).unwrap();
        let probe = Socket::new(Domain::for_address(group.address()), Type::STREAM, None).unwrap();
        probe.bind(&SocketAddr::new(ip, 0).into()).unwrap();
        let port = probe.local_addr().unwrap().as_socket().unwrap().port();
        group.lead(Some(port), B).unwrap();
        probe.connect(&group.address().into()).unwrap();
        assert_eq!(spread(&group, &[A, B], 40), [40, 1]);
        group.lead(None, B).unwrap();
        assert_eq!(spread(&group, &[A, B], 40), [40, 0]);
    }
}

#[test]
fn a_shared_socket_keeps_its_queue_from_one_version_to_the_next() {
    let mut group = v4();
    group.add(A).unwrap();
    let mut waits = TcpStream::connect(group.address()).unwrap();
    assert_eq!(group.waiting(A).unwrap(), 1);
    assert!(group.share(B, A));
    group.remove(A).unwrap();
    assert!(group.socket(A).is_none());
    assert_eq!(group.waiting(B).unwrap(), 1);
    drop(listener(&group, B).accept().unwrap());
    assert_eq!(waits.read(&mut [0]).unwrap(), 0, "accepted by B, and closed by it");
    let address = group.address();
    group.remove(B).unwrap();
    assert!(group.is_empty());
    assert_eq!(group.close().unwrap().len(), 1);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn it_is_seen_whether_another_can_bind_beside() {
    let mut group = v4();
    assert!(can_bind_beside(group.address()));
    group.add(A).unwrap();
    assert!(can_bind_beside(group.address()));
    let alone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    assert!(!can_bind_beside(alone.local_addr().unwrap()));
}

/// The launcher and the service manager hold the sockets too, and close theirs at their own time.
#[test]
fn a_socket_leaves_though_others_hold_it_and_no_other_number_changes() {
    let mut group = v4();
    for version in [A, B, C] {
        group.add(version).unwrap();
    }
    let held: Vec<OwnedFd> =
        [A, B, C].map(|it| group.socket(it).unwrap().try_clone_to_owned().unwrap()).into();
    group.steer(C).unwrap();
    let mut waits = {
        group.steer(A).unwrap();
        let waits = TcpStream::connect(group.address()).unwrap();
        group.steer(C).unwrap();
        waits
    };
    let replaced = group.remove(A).unwrap().unwrap();
    assert!(replaced.by.is_some() && group.inode(A).is_none());
    assert!(waits.read(&mut [0]).is_err(), "what waited there is told at once");
    assert_eq!(spread(&group, &[B, C], 40), [0, 40]);
    let next = VersionId(4);
    group.add(next).unwrap();
    assert_eq!(group.inode(next), replaced.by);
    assert_eq!(spread(&group, &[B, C, next], 40), [0, 40, 0]);
    group.steer(next).unwrap();
    assert_eq!(spread(&group, &[B, C, next], 40), [0, 0, 40]);
    drop(held);
    assert_eq!(spread(&group, &[B, C, next], 40), [0, 0, 40]);
    // The last one needs nobody in its place.
    assert_eq!(group.remove(C).unwrap().unwrap().by, None);
    assert_eq!(spread(&group, &[B, next], 40), [0, 40]);
    group.steer(B).unwrap();
    assert_eq!(spread(&group, &[B, next], 40), [40, 0]);
}

#[test]
fn another_agent_takes_a_group_over_as_it_stands() {
    let mut group = v4();
    for version in [A, B, C] {
        group.add(version).unwrap();
    }
    group.steer(B).unwrap();
    group.remove(A).unwrap();
    let standing = group.standing();
    let inodes: Vec<u64> = group.inodes().collect();
    let copy = |inode| group.socket_of(inode).unwrap().try_clone_to_owned().unwrap();
    let mut held: std::collections::HashMap<u64, OwnedFd> =
        inodes.into_iter().map(|inode| (inode, copy(inode))).collect();
    drop(group);
    let mut group = Group::take_over(&standing, |inode, _| held.remove(&inode)).unwrap();
    assert_eq!(group.standing(), standing);
    assert_eq!(spread(&group, &[B, C], 40), [40, 0]);
    group.steer(C).unwrap();
    group.remove(B).unwrap();
    assert_eq!(spread(&group, &[C], 40), [40]);
}

#[test]
fn a_share_is_a_share() {
    let mut group = v4();
    for version in [A, B] {
        group.add(version).unwrap();
    }
    group.share_out(250, B).unwrap();
    let [a, b] = spread(&group, &[A, B], 800)[..] else { panic!("two versions") };
    assert_eq!(a + b, 800);
    // Five standard deviations of 12.2.
    assert!((138..=262).contains(&b), "{b} of 800");
    group.steer(A).unwrap();
    assert_eq!(spread(&group, &[A, B], 40), [40, 0]);
}

/// Nobody held a socket that only the agent had: it has left when the agent did.
#[test]
fn a_lost_socket_has_left_as_the_kernel_does() {
    let mut group = v4();
    for version in [A, B, C] {
        group.add(version).unwrap();
    }
    group.steer(B).unwrap();
    let standing = group.standing();
    let mut held: std::collections::HashMap<u64, OwnedFd> = [B, C]
        .map(|it| {
            (group.inode(it).unwrap(), group.socket(it).unwrap().try_clone_to_owned().unwrap())
        })
        .into();
    drop(group);
    let mut group = Group::take_over(&standing, |inode, _| held.remove(&inode)).unwrap();
    assert_eq!(spread(&group, &[B, C], 40), [40, 0]);
    group.steer(C).unwrap();
    assert_eq!(spread(&group, &[B, C], 40), [0, 40]);
}
