//! Carries steps from one state to the next out, by compare-and-set on `state.json`.

use std::io;

use crate::id::Id;
use crate::layout;
use crate::state::{State, StateError};
use crate::store::{self, ErrorKind, Expect, Generation, Object, Store, StoreError, with_tries};

#[cfg(test)]
mod tests;

/// How often a step is decided anew after somebody else wrote in between.
const SWAP_ATTEMPTS_MAX: u32 = 20;

/// The state as it lies in the bucket, and what a write that follows on it must expect.
#[derive(Debug)]
pub struct Loaded {
    /// The state; a new one where the bucket has none.
    pub state: State,
    /// The expectation for the next write.
    pub expect: Expect,
    /// Set when the live generation is damaged and an older one had to be taken.
    pub damage: Option<Damage>,
}

/// The live `state.json` cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The damaged generation.
    pub live: Generation,
    /// The newest whole one before it, which was taken in its place.
    pub taken: Option<Generation>,
}

/// Reads the state of `app`.
///
/// Where the live generation is damaged, the newest whole one before it is taken, without its
/// claim. As many release numbers are passed over as generations were: each may have held one.
///
/// # Errors
/// When the store fails, or a newer `engr` wrote the state.
pub async fn load(store: &dyn Store, app: &str) -> Result<Loaded, LoadError> {
    let read = with_tries(async || store.read(layout::STATE).await).await;
    let absent = |error: &StoreError| error.kind == ErrorKind::NotFound;
    if read.as_ref().is_err_and(absent) {
        return Ok(Loaded { state: State::new(app), expect: Expect::Absent, damage: None });
    }
    match whole(read)? {
        Some((state, generation)) => {
            Ok(Loaded { state, expect: Expect::Generation(generation), damage: None })
        }
        None => load_older(store, app).await,
    }
}

async fn load_older(store: &dyn Store, app: &str) -> Result<Loaded, LoadError> {
    let generations = with_tries(async || store.versions(layout::STATE).await).await?;
    let Some(live) = generations.last().copied() else {
        return Ok(Loaded { state: State::new(app), expect: Expect::Absent, damage: None });
    };
    let expect = Expect::Generation(live);
    let (mut found, mut passed_over) = (None, 0);
    for generation in generations.into_iter().rev() {
        let read = async || store.read_generation(layout::STATE, generation).await;
        found = whole(with_tries(read).await)?;
        if found.is_some() {
            break;
        }
        passed_over += 1;
    }
    let (mut state, taken) = match found {
        // Somebody else has healed it since.
        Some((state, generation)) if generation == live => {
            return Ok(Loaded { state, expect, damage: None });
        }
        Some((state, generation)) => (state, Some(generation)),
        None => (State::new(app), None),
    };
    state.claim = None;
    state.numbers_taken = state.current().unwrap_or(0).max(state.numbers_taken) + passed_over;
    Ok(Loaded { state, expect, damage: Some(Damage { live, taken }) })
}

/// The state that was read, or `None` where it is damaged.
fn whole(read: store::Result<Object>) -> Result<Option<(State, Generation)>, LoadError> {
    let object = match read {
        Ok(object) => object,
        Err(error) if matches!(error.kind, ErrorKind::Corrupt | ErrorKind::NotFound) => {
            return Ok(None);
        }
        Err(error) => return Err(LoadError::Store(error)),
    };
    match State::from_object(&object.data) {
        Ok(state) => Ok(Some((state, object.generation))),
        Err(StateError::Form { .. }) => Ok(None),
        Err(cause) => Err(LoadError::State(cause)),
    }
}

/// Why the state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is there cannot be used.
    #[error(transparent)]
    State(StateError),
}

/// A step that was carried out.
#[derive(Debug)]
pub struct Swapped {
    /// The state that is now in the bucket.
    pub state: State,
    /// Its generation.
    pub generation: Generation,
    /// The damage that this write has healed.
    pub damage: Option<Damage>,
}

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum SwapError<R: std::error::Error + 'static> {
    /// The step itself refused, having seen the newest state.
    #[error(transparent)]
    Refused(R),
    /// The state could not be read.
    #[error(transparent)]
    Load(LoadError),
    /// The state could not be written, or it cannot be known whether it was.
    #[error(transparent)]
    Write(StoreError),
    /// Others wrote in between every time.
    #[error("others wrote state.json {SWAP_ATTEMPTS_MAX} times in between")]
    Contended,
}

/// Moves the state of `app` one step forward.
///
/// `step` is called with the newest state, and again when somebody else wrote in between: what it
/// decides must depend on what it is given. A write whose answer was lost is recognised by its
/// attempt's id when the bucket's generations are read back, also under others' later ones.
///
/// # Errors
/// See [`SwapError`]. The step was not taken then; only after [`SwapError::Write`] of a store that
/// cannot be reached, or of damage, nobody knows.
pub async fn swap<R: std::error::Error + 'static>(
    store: &dyn Store,
    app: &str,
    mut step: impl FnMut(State) -> Result<State, R>,
) -> Result<Swapped, SwapError<R>> {
    for _ in 0..SWAP_ATTEMPTS_MAX {
        let loaded = load(store, app).await.map_err(SwapError::Load)?;
        let mut next = step(loaded.state).map_err(SwapError::Refused)?;
        next.attempt = Id::random();
        let data = next.to_object();
        let written =
            with_tries(async || store.write(layout::STATE, &data, loaded.expect).await).await;
        let came_through = match written {
            Ok(generation) => Some(generation),
            Err(error) if error.kind == ErrorKind::Lost => {
                find(store, &next.attempt, loaded.expect).await.map_err(SwapError::Write)?
            }
            // The answers were lost; perhaps no more than they.
            Err(error) if error.kind.may_be_tried_again() => {
                let found = find(store, &next.attempt, loaded.expect).await.ok().flatten();
                Some(found.ok_or(SwapError::Write(error))?)
            }
            Err(error) => return Err(SwapError::Write(error)),
        };
        if let Some(generation) = came_through {
            return Ok(Swapped { state: next, generation, damage: loaded.damage });
        }
        tracing::debug!("somebody else wrote state.json in between: the step is decided anew");
    }
    Err(SwapError::Contended)
}

/// The generation that `attempt` wrote over the one that it expected, if it did. An error where a
/// damaged generation may be it: others may have built on it before it was damaged.
async fn find(
    store: &dyn Store,
    attempt: &Id,
    expected: Expect,
) -> store::Result<Option<Generation>> {
    let mut damaged = None;
    for generation in with_tries(async || all_generations(store).await).await? {
        if matches!(expected, Expect::Generation(expected) if generation <= expected) {
            continue;
        }
        let read = async || store.read_generation(layout::STATE, generation).await;
        let object = match with_tries(read).await {
            Ok(object) => object,
            Err(error) if error.kind == ErrorKind::NotFound => continue,
            Err(error) if error.kind == ErrorKind::Corrupt => {
                damaged = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        if State::from_object(&object.data).is_ok_and(|state| state.attempt == *attempt) {
            return Ok(Some(generation));
        }
    }
    damaged.map_or(Ok(None), Err)
}

/// The generations of the state, the live one among them.
///
/// # Errors
/// What the store fails with; a list without the live generation is one that is not to be had yet.
/// Taken for the whole, it would say of a write that came through that it did not, and the step
/// would be taken twice.
async fn all_generations(store: &dyn Store) -> store::Result<Vec<Generation>> {
    let live = match store.stat(layout::STATE).await {
        Ok(stat) => stat.map(|stat| stat.generation),
        // The damage is met again where its bytes are read.
        Err(error) if error.kind == ErrorKind::Corrupt => None,
        Err(error) => return Err(error),
    };
    let generations = store.versions(layout::STATE).await?;
    if generations.last().copied() >= live {
        return Ok(generations);
    }
    Err(StoreError {
        operation: "list",
        object: layout::STATE.to_owned(),
        bucket: store.url(),
        kind: ErrorKind::Unavailable,
        retry_after: None,
        cause: Some(io::Error::other("the list is older than the object")),
    })
}

/// Writes a content-addressed object unless it is there already, whole. Gives whether it wrote.
///
/// `state` is the one that the object is to be named after: while its prune is unfinished, what is
/// there may be removed any moment, and is written again (see [`crate::prune`]).
///
/// Whoever loses the race to write it looks again: a release that names the object may only follow
/// when it is seen to be there.
///
/// # Errors
/// What the store fails with.
pub async fn put_once(
    store: &dyn Store,
    state: &State,
    name: &str,
    put: impl AsyncFn(Expect) -> store::Result<Generation>,
) -> store::Result<bool> {
    let mut attempts = 0;
    loop {
        let expect = match with_tries(async || store.stat(name).await).await {
            Ok(_) if state.prune_unfinished().is_some() => Expect::Any,
            Ok(Some(_)) => return Ok(false),
            Ok(None) => Expect::Absent,
            // What lies there is not what its name says: the whole bytes take its place.
            Err(error) if error.kind == ErrorKind::Corrupt => Expect::Any,
            Err(error) => return Err(error),
        };
        attempts += 1;
        match with_tries(async || put(expect).await).await {
            Ok(_) => return Ok(true),
            // Another deployer was faster with the same bytes, or an answer was lost.
            Err(error) if error.kind == ErrorKind::Lost && attempts < SWAP_ATTEMPTS_MAX => {}
            Err(error) => return Err(error),
        }
    }
}
