//! Following one object.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::store::Watch;

/// Longer than any store may take to tell of a change.
const LIMIT: Duration = Duration::from_secs(20);

/// How long nothing must be told for that to count as nothing.
const QUIET: Duration = Duration::from_millis(100);

async fn next(watch: &mut Box<dyn Watch>) -> Object {
    timeout(LIMIT, watch.next()).await.expect("a change is told").unwrap()
}

async fn assert_quiet(watch: &mut Box<dyn Watch>) {
    let told = timeout(QUIET, watch.next()).await;
    assert!(told.is_err(), "nothing has changed, and still there came {told:?}");
}

pub(super) async fn follows(store: &dyn Store) {
    let name = "watch/follows";
    let mut watch = store.watch(name).unwrap();
    assert_quiet(&mut watch).await;
    let mut live = None;
    for number in 0..5_u8 {
        let expect = live.map_or(Expect::Absent, Expect::Generation);
        let data = [number];
        let (told, written) = tokio::join!(next(&mut watch), store.write(name, &data, expect));
        live = Some(written.unwrap());
        assert_eq!(told, object(live.unwrap(), &data));
        assert_quiet(&mut watch).await;
    }
    put(store, "watch/follows-not", b"").await;
    assert_quiet(&mut watch).await;
    // A new watch begins with what is live.
    let mut later = store.watch(name).unwrap();
    assert_eq!(next(&mut later).await, object(live.unwrap(), &[4]));
    assert_quiet(&mut later).await;
}

pub(super) async fn passes_over(store: &dyn Store) {
    let name = "watch/passes-over";
    let mut watch = store.watch(name).unwrap();
    put(store, name, b"1").await;
    next(&mut watch).await;
    put(store, name, b"2").await;
    let live = put(store, name, b"3").await;
    // The newest comes, if not at once. What was written before it may come or not.
    while next(&mut watch).await != object(live, b"3") {}
    assert_quiet(&mut watch).await;
}

pub(super) async fn survives_deletion(store: &dyn Store) {
    let name = "watch/deletion";
    let mut watch = store.watch(name).unwrap();
    put(store, name, b"1").await;
    next(&mut watch).await;
    store.delete(name, Expect::Any).await.unwrap();
    assert_quiet(&mut watch).await;
    let live = put(store, name, b"1").await;
    assert_eq!(next(&mut watch).await, object(live, b"1"));
}

pub(super) async fn may_be_dropped(store: &dyn Store) {
    let name = "watch/dropped";
    let mut watch = store.watch(name).unwrap();
    for number in 0..10_u8 {
        let live = put(store, name, &[number]).await;
        // Dropped at its first wait, or after its end.
        let told = tokio::select! {
            biased;
            told = watch.next() => Some(told.unwrap()),
            () = tokio::task::yield_now() => None,
        };
        let told = match told {
            Some(told) => told,
            None => next(&mut watch).await,
        };
        assert_eq!(told, object(live, &[number]));
    }
}

pub(super) async fn many(store: &dyn Store) {
    let name = "watch/many";
    let mut watches: Vec<_> = (0..8).map(|_| store.watch(name).unwrap()).collect();
    let live = put(store, name, b"1").await;
    for watch in &mut watches {
        assert_eq!(next(watch).await, object(live, b"1"));
    }
}
