//! Whole files, up and down.

use std::fs;
use std::sync::Mutex;

use super::*;

pub(super) async fn there_and_back(store: &dyn Store, scratch: &Path) {
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    for size in [0, 1, 8 << 20] {
        let name = format!("files/{size}");
        let data = noise(size);
        fs::write(&from, &data).unwrap();
        let told = Told::default();
        let up = store.upload(&name, &from, Expect::Absent, &|done| told.hear(done)).await.unwrap();
        told.check(size);
        assert!(store.read(&name).await.unwrap() == object(up, &data), "{size} bytes");

        let told = Told::default();
        let down = store.download(&name, &to, &|done| told.hear(done)).await.unwrap();
        told.check(size);
        assert_eq!(down, up);
        assert!(fs::read(&to).unwrap() == data, "{size} bytes");
    }
}

pub(super) async fn refused(store: &dyn Store, scratch: &Path) {
    let (name, from, to) = ("files/refused", scratch.join("from"), scratch.join("to"));
    fs::write(&from, b"new").unwrap();
    assert_eq!(kind(store.download(name, &to, &|_| {}).await), ErrorKind::NotFound);
    let first = put(store, name, b"old").await;
    let lost = store.upload(name, &from, Expect::Absent, &|_| {}).await;
    assert_eq!(kind(lost), ErrorKind::Lost);
    assert_eq!(store.read(name).await.unwrap(), object(first, b"old"));
    let second = store.upload(name, &from, Expect::Generation(first), &|_| {}).await.unwrap();
    assert!(second > first);
    let gone = store.upload(name, &scratch.join("gone"), Expect::Any, &|_| {}).await;
    assert_ne!(kind(gone), ErrorKind::NotFound, "that is said of objects");
    assert_eq!(store.read(name).await.unwrap(), object(second, b"new"));
}

/// What a progress was told.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl Told {
    fn hear(&self, done: u64) {
        self.0.lock().unwrap().push(done);
    }

    fn check(self, size: usize) {
        let told = self.0.into_inner().unwrap();
        assert!(told.is_sorted(), "{told:?}");
        assert_eq!(told.last(), Some(&(size as u64)));
    }
}
