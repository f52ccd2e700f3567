//! Many writers of one object.

use tokio::task::JoinSet;

use super::*;

const RACERS: u8 = 8;

pub(super) async fn one_winner(store: &Arc<dyn Store>) {
    const ROUNDS: u8 = 20;
    let name = "race/one-winner";
    let mut live = put(&**store, name, b"").await;
    let mut history = vec![live];
    for round in 0..ROUNDS {
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let store = Arc::clone(store);
            racers.spawn(async move {
                let written = store.write(name, &[round, racer], Expect::Generation(live)).await;
                (racer, written)
            });
        }
        let mut won = None;
        for (racer, written) in racers.join_all().await {
            match written {
                Ok(generation) => {
                    assert_eq!(won, None, "two writers won over generation {live}");
                    won = Some((racer, generation));
                }
                Err(error) => assert_eq!(error.kind, ErrorKind::Lost, "{error}"),
            }
        }
        let (winner, generation) = won.expect("one writer wins");
        assert_eq!(store.read(name).await.unwrap(), object(generation, &[round, winner]));
        live = generation;
        history.push(live);
    }
    assert_eq!(store.versions(name).await.unwrap(), history);
}

pub(super) async fn all_win_with_any(store: &Arc<dyn Store>) {
    for name in ["race/any", "fleet/race"] {
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let store = Arc::clone(store);
            racers.spawn(async move { (put(&*store, name, &[racer]).await, racer) });
        }
        let mut won = racers.join_all().await;
        won.sort_unstable();
        assert!(won.is_sorted_by(|(a, _), (b, _)| a < b), "each has a number of its own");
        let (live, winner) = won.pop().unwrap();
        assert_eq!(store.read(name).await.unwrap(), object(live, &[winner]));
    }
}

/// Erasures change neither what is live nor who wins.
pub(super) async fn erased_while_written(store: &Arc<dyn Store>) {
    const WRITES: u8 = 30;
    for name in ["race/erase", "fleet/race-erase"] {
        let first = put(&**store, name, &[0]).await;
        let mut racers = JoinSet::new();
        for racer in 0..RACERS / 2 {
            let store = Arc::clone(store);
            racers.spawn(async move {
                let (mut live, mut won) = (first, Vec::new());
                while won.len() < usize::from(WRITES) {
                    match store.write(name, &[racer], Expect::Generation(live)).await {
                        Ok(generation) => won.push(generation),
                        Err(error) => assert_eq!(error.kind, ErrorKind::Lost, "{error}"),
                    }
                    live = store.read(name).await.expect("one is live").generation;
                }
                won
            });
        }
        for _ in 0..2 {
            let store = Arc::clone(store);
            racers.spawn(async move {
                for _ in 0..WRITES {
                    for generation in store.versions(name).await.unwrap() {
                        match store.erase(name, generation).await {
                            Ok(()) => {}
                            Err(error) => {
                                let refused = [ErrorKind::Lost, ErrorKind::NotFound];
                                assert!(refused.contains(&error.kind), "{error}");
                            }
                        }
                    }
                    tokio::task::yield_now().await;
                }
                Vec::new()
            });
        }
        let mut won = racers.join_all().await.concat();
        won.sort_unstable();
        assert!(won.is_sorted_by(|a, b| a < b), "no number is won twice");
        let live = store.read(name).await.unwrap().generation;
        assert_eq!(won.last(), Some(&live));
    }
}
