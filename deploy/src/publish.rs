//! Carries steps from one state to the next out, by compare-and-set on `state.json`.

use crate::id::Id;
use crate::layout;
use crate::state::{State, StateError};
use crate::store::{self, ErrorKind, Expect, Generation, Store, StoreError, with_tries};

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
/// claim, and one release number is passed over: the lost generation may have held that release.
///
/// # Errors
/// When the store fails, or a newer `engr` wrote the state.
pub async fn load(store: &dyn Store, app: &str) -> Result<Loaded, LoadError> {
    match with_tries(async || store.read(layout::STATE).await).await {
        Ok(object) => match State::from_object(&object.data) {
            Ok(state) => {
                let expect = Expect::Generation(object.generation);
                Ok(Loaded { state, expect, damage: None })
            }
            Err(StateError::Form { .. }) => load_older(store, app).await,
            Err(cause) => Err(LoadError::State(cause)),
        },
        Err(error) if error.kind == ErrorKind::NotFound => {
            Ok(Loaded { state: State::new(app), expect: Expect::Absent, damage: None })
        }
        Err(error) if error.kind == ErrorKind::Corrupt => load_older(store, app).await,
        Err(error) => Err(LoadError::Store(error)),
    }
}

async fn load_older(store: &dyn Store, app: &str) -> Result<Loaded, LoadError> {
    let mut generations = store.versions(layout::STATE).await?;
    let Some(live) = generations.pop() else {
        return Ok(Loaded { state: State::new(app), expect: Expect::Absent, damage: None });
    };
    let mut found = None;
    for generation in generations.into_iter().rev() {
        match store.read_generation(layout::STATE, generation).await {
            Ok(object) => match State::from_object(&object.data) {
                Ok(state) => {
                    found = Some((state, generation));
                    break;
                }
                Err(StateError::Form { .. }) => {}
                Err(cause) => return Err(LoadError::State(cause)),
            },
            Err(error) if matches!(error.kind, ErrorKind::Corrupt | ErrorKind::NotFound) => {}
            Err(error) => return Err(LoadError::Store(error)),
        }
    }
    let (mut state, taken) = match found {
        Some((state, generation)) => (state, Some(generation)),
        None => (State::new(app), None),
    };
    state.claim = None;
    state.numbers_taken = state.current().unwrap_or(0).max(state.numbers_taken) + 1;
    Ok(Loaded { state, expect: Expect::Generation(live), damage: Some(Damage { live, taken }) })
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
    /// The state could not be written.
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
/// attempt's id when the state is read back.
///
/// # Errors
/// See [`SwapError`]. In each case the bucket holds the state that it held, or another's.
pub async fn swap<R: std::error::Error + 'static>(
    store: &dyn Store,
    app: &str,
    mut step: impl FnMut(State) -> Result<State, R>,
) -> Result<Swapped, SwapError<R>> {
    for _ in 0..SWAP_ATTEMPTS_MAX {
        let loaded = load(store, app).await.map_err(SwapError::Load)?;
        let mut next = step(loaded.state).map_err(SwapError::Refused)?;
        next.attempt = Id::random();
        let written =
            with_tries(async || store.write(layout::STATE, &next.to_object(), loaded.expect).await);
        match written.await {
            Ok(generation) => {
                return Ok(Swapped { state: next, generation, damage: loaded.damage });
            }
            Err(error) if error.kind == ErrorKind::Lost => {
                if let Some(generation) = came_through(store, &next).await {
                    return Ok(Swapped { state: next, generation, damage: loaded.damage });
                }
            }
            Err(error) => return Err(SwapError::Write(error)),
        }
    }
    Err(SwapError::Contended)
}

/// The generation of `written`, if it is live after all.
async fn came_through(store: &dyn Store, written: &State) -> Option<Generation> {
    let object = store.read(layout::STATE).await.ok()?;
    let live = State::from_object(&object.data).ok()?;
    (live.attempt == written.attempt).then_some(object.generation)
}

/// Writes a content-addressed object unless it is there already, whole. Gives whether it wrote.
///
/// # Errors
/// What the store fails with.
pub async fn put_once(
    store: &dyn Store,
    name: &str,
    put: impl AsyncFn(Expect) -> store::Result<Generation>,
) -> store::Result<bool> {
    let expect = match with_tries(async || store.stat(name).await).await {
        Ok(Some(_)) => return Ok(false),
        Ok(None) => Expect::Absent,
        // What lies there is not what its name says: the whole bytes take its place.
        Err(error) if error.kind == ErrorKind::Corrupt => Expect::Any,
        Err(error) => return Err(error),
    };
    match with_tries(async || put(expect).await).await {
        Ok(_) => Ok(true),
        // Another deployer was faster with the same bytes.
        Err(error) if error.kind == ErrorKind::Lost => Ok(false),
        Err(error) => Err(error),
    }
}
