//! What every [`Store`] must do, as one suite that a store's tests call.
//!
//! Each check uses names of its own, so one bucket does for all, and nothing is cleaned up. A
//! check that does not hold panics.

use std::path::Path;
use std::sync::Arc;

use super::{Expect, Generation, Object, Store};
use crate::store::{ErrorKind, Result, Stat};

mod files;
mod objects;
mod race;
mod watching;

/// Names every check once, and how it is called.
macro_rules! checks {
    ($($name:literal => $call:expr,)*) => {
        /// The names of all checks.
        pub const CHECKS: &[&str] = &[$($name),*];

        async fn check(name: &str, store: &Arc<dyn Store>, scratch: &Path) {
            match name {
                $($name => {
                    let call: fn(&Arc<dyn Store>, &Path) -> Check = $call;
                    call(store, scratch).await;
                })*
                _ => panic!("there is no check {name}"),
            }
        }
    };
}

type Check = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A check that takes the store alone.
macro_rules! of_store {
    ($check:path) => {
        |store, _| {
            let store = store.clone();
            Box::pin(async move { $check(&*store).await })
        }
    };
}

/// A check that takes files too.
macro_rules! of_files {
    ($check:path) => {
        |store, scratch| {
            let (store, scratch) = (store.clone(), scratch.to_owned());
            Box::pin(async move { $check(&*store, &scratch).await })
        }
    };
}

/// A check with many writers.
macro_rules! of_many {
    ($check:path) => {
        |store, _| {
            let store = store.clone();
            Box::pin(async move { $check(&store).await })
        }
    };
}

checks! {
    "absent" => of_store!(objects::absent),
    "create-only" => of_store!(objects::create_only),
    "compare-and-set" => of_store!(objects::compare_and_set),
    "any" => of_store!(objects::any),
    "generations" => of_store!(objects::generations),
    "read-if-changed" => of_store!(objects::read_if_changed),
    "delete" => of_store!(objects::delete),
    "delete-refused" => of_store!(objects::delete_refused),
    "erase" => of_store!(objects::erase),
    "erase-refused" => of_store!(objects::erase_refused),
    "list" => of_store!(objects::list),
    "odd-names" => of_store!(objects::odd_names),
    "sizes" => of_store!(objects::sizes),
    "fleet" => of_store!(objects::fleet),
    "files-there-and-back" => of_files!(files::there_and_back),
    "files-refused" => of_files!(files::refused),
    "watch-follows" => of_store!(watching::follows),
    "watch-passes-over" => of_store!(watching::passes_over),
    "watch-survives-deletion" => of_store!(watching::survives_deletion),
    "watch-may-be-dropped" => of_store!(watching::may_be_dropped),
    "watch-many" => of_store!(watching::many),
    "race-one-winner" => of_many!(race::one_winner),
    "race-all-win" => of_many!(race::all_win_with_any),
    "race-erased-while-written" => of_many!(race::erased_while_written),
}

/// Holds `store`, an empty bucket, to everything that [`Store`] says. `scratch` is an empty folder
/// for files.
///
/// # Panics
/// When a check does not hold.
pub async fn run(store: Arc<dyn Store>, scratch: &Path) {
    run_some(store, scratch, CHECKS).await;
}

/// Holds `store` to some of [`CHECKS`], by name: where the service behind it does not do all.
///
/// # Panics
/// When a check does not hold, or there is none of that name.
pub async fn run_some(store: Arc<dyn Store>, scratch: &Path, names: &[&str]) {
    for name in names {
        eprintln!("check {name}");
        check(name, &store, scratch).await;
    }
}

/// What kind of failure it was, where there must be one.
fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("the call must fail").kind
}

fn object(generation: Generation, data: &[u8]) -> Object {
    Object { generation, data: data.to_owned() }
}

async fn put(store: &dyn Store, name: &str, data: &[u8]) -> Generation {
    store.write(name, data, Expect::Any).await.expect("a write that expects nothing")
}

fn stat(name: &str, generation: Generation, size: usize) -> Stat {
    Stat { name: name.to_owned(), generation, size: size as u64 }
}

/// Bytes that no compression or accident makes: each differs from its neighbours.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(size)
    .collect()
}
