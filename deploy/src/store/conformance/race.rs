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
