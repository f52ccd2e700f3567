//! Writes, reads, versions, deletions and lists.

use super::*;

const MEGABYTE: usize = 1 << 20;

pub(super) async fn absent(store: &dyn Store) {
    let (name, generation) = ("absent", Generation(1));
    assert_eq!(kind(store.read(name).await), ErrorKind::NotFound);
    assert_eq!(kind(store.read_if_changed(name, generation).await), ErrorKind::NotFound);
    assert_eq!(kind(store.read_generation(name, generation).await), ErrorKind::NotFound);
    assert_eq!(kind(store.delete(name, Expect::Any).await), ErrorKind::NotFound);
    assert_eq!(store.stat(name).await.unwrap(), None);
    assert_eq!(store.versions(name).await.unwrap(), []);
    assert_eq!(store.list(name).await.unwrap(), []);
}

pub(super) async fn create_only(store: &dyn Store) {
    let name = "create-only";
    let generation = store.write(name, b"first", Expect::Absent).await.unwrap();
    assert_eq!(kind(store.write(name, b"second", Expect::Absent).await), ErrorKind::Lost);
    assert_eq!(store.read(name).await.unwrap(), object(generation, b"first"));
    assert_eq!(store.stat(name).await.unwrap(), Some(stat(name, generation, 5)));
    assert_eq!(store.versions(name).await.unwrap(), [generation]);
}

pub(super) async fn compare_and_set(store: &dyn Store) {
    let name = "compare-and-set";
    let nobody = Expect::Generation(Generation(1));
    assert_eq!(kind(store.write(name, b"0", nobody).await), ErrorKind::Lost);
    assert_eq!(store.stat(name).await.unwrap(), None, "a lost write leaves nothing");
    let first = store.write(name, b"1", Expect::Absent).await.unwrap();
    let second = store.write(name, b"2", Expect::Generation(first)).await.unwrap();
    assert!(second > first);
    for lost in [first, Generation(second.0 + 1), Generation(0), Generation(i64::MAX as u64)] {
        let lost = store.write(name, b"3", Expect::Generation(lost)).await;
        assert_eq!(kind(lost), ErrorKind::Lost);
    }
    assert_eq!(store.read(name).await.unwrap(), object(second, b"2"));
    assert_eq!(store.versions(name).await.unwrap(), [first, second]);
}

pub(super) async fn any(store: &dyn Store) {
    let name = "any";
    let first = store.write(name, b"1", Expect::Any).await.unwrap();
    let second = store.write(name, b"2", Expect::Any).await.unwrap();
    assert!(second > first);
    assert_eq!(store.read(name).await.unwrap(), object(second, b"2"));
}

pub(super) async fn generations(store: &dyn Store) {
    let name = "generations";
    let mut generations = Vec::new();
    for number in 0..12_u8 {
        generations.push(put(store, name, &[number]).await);
    }
    assert!(generations.is_sorted_by(|a, b| a < b));
    assert_eq!(store.versions(name).await.unwrap(), generations);
    for (number, generation) in generations.iter().enumerate() {
        let read = store.read_generation(name, *generation).await.unwrap();
        assert_eq!(read, object(*generation, &[number as u8]));
    }
    let unknown = Generation(generations.last().unwrap().0 + 1);
    assert_eq!(kind(store.read_generation(name, unknown).await), ErrorKind::NotFound);
}

pub(super) async fn read_if_changed(store: &dyn Store) {
    let name = "read-if-changed";
    let first = put(store, name, b"1").await;
    assert_eq!(store.read_if_changed(name, first).await.unwrap(), None);
    let second = put(store, name, b"2").await;
    for seen in [first, Generation(0), Generation(second.0 + 1)] {
        let read = store.read_if_changed(name, seen).await.unwrap();
        assert_eq!(read, Some(object(second, b"2")));
    }
    assert_eq!(store.read_if_changed(name, second).await.unwrap(), None);
    store.delete(name, Expect::Any).await.unwrap();
    assert_eq!(kind(store.read_if_changed(name, second).await), ErrorKind::NotFound);
}

pub(super) async fn delete(store: &dyn Store) {
    let name = "delete";
    let first = put(store, name, b"1").await;
    let second = put(store, name, b"2").await;
    store.delete(name, Expect::Generation(second)).await.unwrap();
    assert_eq!(kind(store.read(name).await), ErrorKind::NotFound);
    assert_eq!(store.stat(name).await.unwrap(), None);
    assert_eq!(store.list(name).await.unwrap(), []);
    assert_eq!(store.versions(name).await.unwrap(), [first, second], "older ones stay");
    assert_eq!(store.read_generation(name, second).await.unwrap(), object(second, b"2"));
    assert_eq!(kind(store.delete(name, Expect::Any).await), ErrorKind::NotFound);
    let stale = store.write(name, b"3", Expect::Generation(second)).await;
    assert_eq!(kind(stale), ErrorKind::Lost);

    let third = store.write(name, b"3", Expect::Absent).await.unwrap();
    assert!(third > second, "no number is used twice");
    assert_eq!(store.versions(name).await.unwrap(), [first, second, third]);
    store.delete(name, Expect::Any).await.unwrap();
    assert!(put(store, name, b"4").await > third);
}

pub(super) async fn delete_refused(store: &dyn Store) {
    let name = "delete-refused";
    let first = put(store, name, b"1").await;
    let second = put(store, name, b"2").await;
    for expect in [Expect::Absent, Expect::Generation(first), Expect::Generation(Generation(0))] {
        assert_eq!(kind(store.delete(name, expect).await), ErrorKind::Lost);
    }
    assert_eq!(store.read(name).await.unwrap(), object(second, b"2"));
    store.delete(name, Expect::Any).await.unwrap();
    let again = store.delete(name, Expect::Generation(second)).await;
    assert_eq!(kind(again), ErrorKind::Lost);
}

pub(super) async fn erase(store: &dyn Store) {
    let name = "erase";
    let mut all = Vec::new();
    for number in 1..=4_u8 {
        all.push(put(store, name, &[number]).await);
    }
    let [first, second, third, fourth] = all[..] else { unreachable!("four were written") };
    // Neither the oldest nor the one before the live one.
    store.erase(name, second).await.unwrap();
    assert_eq!(store.versions(name).await.unwrap(), [first, third, fourth]);
    assert_eq!(kind(store.read_generation(name, second).await), ErrorKind::NotFound);
    assert_eq!(kind(store.erase(name, second).await), ErrorKind::NotFound);
    assert_eq!(store.read_generation(name, first).await.unwrap(), object(first, &[1]));
    for stale in [first, second, third] {
        let lost = store.write(name, b"stale", Expect::Generation(stale)).await;
        assert_eq!(kind(lost), ErrorKind::Lost, "what is erased makes none before it live");
        assert_eq!(kind(store.delete(name, Expect::Generation(stale)).await), ErrorKind::Lost);
        let read = store.read_if_changed(name, stale).await.unwrap();
        assert_eq!(read, Some(object(fourth, &[4])));
    }
    store.erase(name, third).await.unwrap();
    store.erase(name, first).await.unwrap();
    assert_eq!(store.versions(name).await.unwrap(), [fourth]);
    assert_eq!(store.read(name).await.unwrap(), object(fourth, &[4]));
    assert_eq!(store.stat(name).await.unwrap(), Some(stat(name, fourth, 1)));

    // All of an object, and the name is free again.
    store.delete(name, Expect::Generation(fourth)).await.unwrap();
    store.erase(name, fourth).await.unwrap();
    assert_eq!(store.versions(name).await.unwrap(), []);
    assert_eq!(kind(store.read(name).await), ErrorKind::NotFound);
    assert_eq!(store.stat(name).await.unwrap(), None);
    assert!(store.list(name).await.unwrap().iter().all(|stat| stat.name != name));
    let again = store.write(name, b"5", Expect::Absent).await.unwrap();
    assert!(again > fourth, "no number is used twice");
    assert_eq!(store.versions(name).await.unwrap(), [again]);
}

pub(super) async fn erase_refused(store: &dyn Store) {
    let name = "erase-refused";
    assert_eq!(kind(store.erase(name, Generation(1)).await), ErrorKind::NotFound);
    assert_eq!(store.versions(name).await.unwrap(), []);
    let first = put(store, name, b"1").await;
    assert_eq!(kind(store.erase(name, first).await), ErrorKind::Lost);
    let second = put(store, name, b"2").await;
    assert_eq!(kind(store.erase(name, second).await), ErrorKind::Lost);
    for none in [Generation(0), Generation(second.0 + 1), Generation(i64::MAX as u64)] {
        assert_eq!(kind(store.erase(name, none).await), ErrorKind::NotFound);
    }
    assert_eq!(store.versions(name).await.unwrap(), [first, second]);
    assert_eq!(store.read(name).await.unwrap(), object(second, b"2"));
}

pub(super) async fn list(store: &dyn Store) {
    let mut stats = Vec::new();
    for (name, size) in [("list/b", 2), ("list/a/x", 0), ("list/a.x", 3), ("list/a/y/z", 4)] {
        put(store, name, b"old").await;
        stats.push(stat(name, put(store, name, &noise(size)).await, size));
    }
    put(store, "list/a/gone", b"").await;
    store.delete("list/a/gone", Expect::Any).await.unwrap();
    put(store, "listing", b"").await;

    stats.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(store.list("list/").await.unwrap(), stats);
    assert_eq!(store.list("list/a").await.unwrap(), stats[..3]);
    assert_eq!(store.list("list/a/").await.unwrap(), stats[1..3]);
    assert_eq!(store.list("list/b").await.unwrap(), stats[3..]);
    assert_eq!(store.list("list/c").await.unwrap(), []);
    let all = store.list("").await.unwrap();
    assert!(all.is_sorted_by(|a, b| a.name < b.name));
    assert!(stats.iter().all(|stat| all.contains(stat)));
}

pub(super) async fn odd_names(store: &dyn Store) {
    let long = format!("odd/{}", "x".repeat(200));
    let names = [
        "odd",
        "odd/a",
        "odd/a/b",
        "odd%2Fa",
        "odd/a%2Fb",
        "odd/a.b",
        "odd/.",
        "odd/..",
        "odd/../x",
        ".odd",
        "odd/a b",
        "odd/ä",
        "odd/a+b=c&d?e#f",
        "odd/A",
        &long,
    ];
    for name in names {
        store.write(name, name.as_bytes(), Expect::Absent).await.unwrap();
    }
    for name in names {
        assert_eq!(store.read(name).await.unwrap().data, name.as_bytes());
        assert_eq!(store.versions(name).await.unwrap().len(), 1);
        assert_eq!(store.list(name).await.unwrap()[0].name, name);
    }
}

pub(super) async fn sizes(store: &dyn Store) {
    for size in [0, 1, 4095, 4096, 4097, 8 * MEGABYTE] {
        let name = format!("sizes/{size}");
        let data = noise(size);
        let generation = put(store, &name, &data).await;
        assert!(store.read(&name).await.unwrap() == object(generation, &data), "{size} bytes");
        assert_eq!(store.stat(&name).await.unwrap(), Some(stat(&name, generation, size)));
    }
}

/// What instances write, where a store may forget older generations: all else holds.
pub(super) async fn fleet(store: &dyn Store) {
    let name = "fleet/instances/app-1";
    let mut live = store.write(name, &[0], Expect::Absent).await.unwrap();
    for number in 1..20_u8 {
        let next = store.write(name, &[number], Expect::Generation(live)).await.unwrap();
        let stale = store.write(name, b"stale", Expect::Generation(live)).await;
        assert_eq!(kind(stale), ErrorKind::Lost);
        live = next;
        assert_eq!(store.read(name).await.unwrap(), object(live, &[number]));
    }
    assert_eq!(store.versions(name).await.unwrap().last(), Some(&live));
    store.delete(name, Expect::Generation(live)).await.unwrap();
    assert!(store.write(name, b"", Expect::Absent).await.unwrap() > live);
}
