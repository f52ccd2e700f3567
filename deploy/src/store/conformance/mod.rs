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

/// Holds `store`, an empty bucket, to everything that [`Store`] says. `scratch` is an empty folder
/// for files.
///
/// # Panics
/// When a check does not hold.
pub async fn run(store: Arc<dyn Store>, scratch: &Path) {
    objects::absent(&*store).await;
    objects::create_only(&*store).await;
    objects::compare_and_set(&*store).await;
    objects::any(&*store).await;
    objects::generations(&*store).await;
    objects::read_if_changed(&*store).await;
    objects::delete(&*store).await;
    objects::delete_refused(&*store).await;
    objects::erase(&*store).await;
    objects::erase_refused(&*store).await;
    objects::list(&*store).await;
    objects::odd_names(&*store).await;
    objects::sizes(&*store).await;
    objects::fleet(&*store).await;
    files::there_and_back(&*store, scratch).await;
    files::refused(&*store, scratch).await;
    watching::follows(&*store).await;
    watching::passes_over(&*store).await;
    watching::survives_deletion(&*store).await;
    watching::may_be_dropped(&*store).await;
    watching::many(&*store).await;
    race::one_winner(&store).await;
    race::all_win_with_any(&store).await;
    race::erased_while_written(&store).await;
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
