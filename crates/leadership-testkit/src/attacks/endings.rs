//! What is left of a process that is stopped, closed or dropped at any of the points at which it waits for its store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt, iter};
use futures_util::{FutureExt, pin_mut, poll};
use leadership_core::{Candidate, Config, DynStore, Elections, MemoryStore, State};
use tokio::time::Instant;

use super::steps::{Stepping, Steps};
use super::{Attacked, apart};
use crate::cluster::Proxy;
use crate::conformance::MemoryHarness;
use crate::known_failures::Nodes;
use crate::trials::{Case, cases, close, elected, election, eventually, soon};

/// How many processes end at once.
const AT_ONCE: usize = 12;
/// The shortest that each store grants.
const TTL: Duration = Duration::from_secs(2);
/// Nothing takes longer that no session's end has to be waited for.
const AT_MOST: Duration = Duration::from_secs(12);

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Its candidate is stopped.
    Stop,
    /// It is closed.
    Close,
    /// All that it holds is dropped, while a request is under way.
    Drop,
    /// The same, and the request is never answered.
    DropUnanswered,
}

pub(super) fn on_memory() -> Vec<Case<MemoryHarness>> {
    cases![an_end_at_any_step_leaves_nothing_in_memory]
}

pub(super) fn over_the_network<G: Attacked>() -> Vec<Case<G>> {
    cases![an_end_at_any_step_leaves_no_entry_no_session_no_connection_and_no_task]
}

async fn an_end_at_any_step_leaves_nothing_in_memory(_: Arc<MemoryHarness>) {
    apart(|| async {
        let store = MemoryStore::new();
        at_every_step(&|| store.shared()).await;
        // One whose opening or closing was not answered runs out by itself.
        let begin = Instant::now();
        eventually("no session is left", async || store.sessions() == 0).await;
        assert!(begin.elapsed() <= TTL, "{:?}", begin.elapsed());
    })
    .await;
}

async fn an_end_at_any_step_leaves_no_entry_no_session_no_connection_and_no_task<G: Attacked>(_: Arc<G>) {
    let cluster = G::Cluster::launch(1).await.unwrap();
    let addr = cluster.address(0).unwrap();
    apart(move || async move {
        let proxy = Proxy::start(addr).await.unwrap();
        let url = format!("{}://{}", G::Cluster::SCHEME, proxy.addr());
        at_every_step(&|| (G::CONNECT)(&url).unwrap()).await;
        eventually("no connection is left", async || proxy.connections() == 0).await;
    })
    .await;
    eventually("no session is left", async || {
        G::left(&cluster).await.unwrap().is_empty()
    })
    .await;
}

/// Ends a process in each way at each step, until nothing of any is left.
async fn at_every_step(client: &dyn Fn() -> DynStore) {
    let observer = Elections::new(client(), Config::with_ttl(TTL)).unwrap();
    // One that is not ended tells how many steps there are.
    let steps = at(client(), &observer, usize::MAX, End::Close).await;
    assert!(steps > 20, "{steps} steps");
    for end in [End::Stop, End::Close, End::Drop, End::DropUnanswered] {
        let begin = Instant::now();
        let runs = iter(0..steps).map(|step| at(client(), &observer, step, end));
        runs.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        println!("{end:?} at {steps} steps: {:?}", begin.elapsed());
    }
    close([observer]).await;
}

/// Ends a process at one step, and looks what becomes of the election; how many steps were taken.
async fn at(store: DynStore, observer: &Elections, step: usize, end: End) -> usize {
    let election = election("endings");
    let other = observer.stand(&*election, "other").unwrap();
    elected(&other).await;
    let steps = Steps::held_at(step);
    let store = Arc::new(Stepping {
        store,
        steps: Arc::clone(&steps),
    });
    let elections = Elections::new(store, Config::with_ttl(TTL)).unwrap();
    let candidate = elections.stand(&*election, "ended").unwrap();
    let mut playing = tokio::spawn(play(elections.clone(), candidate.clone(), other.clone()));
    tokio::select! {
        () = steps.reached() => {}
        // Which way it goes depends on who is faster, so there may be fewer steps.
        played = &mut playing => {
            played.unwrap();
            playing = tokio::spawn(async {});
        }
        () = tokio::time::sleep(AT_MOST) => panic!("not at step {step}"),
    }
    let what = format!("{end:?} at step {step}, in {:?}", candidate.state());
    let begin = Instant::now();
    match end {
        End::Stop => {
            let stop = candidate.stop();
            pin_mut!(stop);
            let stopped = poll!(&mut stop);
            steps.let_go();
            if stopped.is_pending() {
                soon(&what, stop).await;
            }
            let line = observer.store().contenders(other.election()).await.unwrap();
            let is_there = line.iter().any(|contender| contender.name() == "ended");
            assert!(!is_there, "{what}: {line:?}");
        }
        End::Close => {
            let close = elections.close();
            pin_mut!(close);
            let closed = poll!(&mut close);
            steps.let_go();
            if closed.is_pending() {
                soon(&what, close).await;
            }
        }
        End::Drop | End::DropUnanswered => {
            playing.abort();
            // It may have ended a moment before.
            let _ = (&mut playing).await;
        }
    }
    drop((candidate, elections));
    if matches!(end, End::Drop) {
        steps.let_go();
    }
    if !matches!(end, End::Drop | End::DropUnanswered) {
        soon(&what, playing).await.unwrap();
    }
    // Who comes later is elected as soon as the other has left.
    let is_alone = async || {
        let line = observer.store().contenders(other.election()).await.unwrap();
        line.iter().all(|contender| contender.name() == "other")
    };
    eventually(&what, async || is_alone().await).await;
    assert!(begin.elapsed() < AT_MOST, "{what}: {:?}", begin.elapsed());
    soon("stopped", other.stop()).await;
    let later = observer.stand(&*election, "later").unwrap();
    elected(&later).await;
    soon("stopped", later.stop()).await;
    steps.taken()
}

/// All that a process does, one after the other; each fails in its own way once it was ended.
async fn play(elections: Elections, candidate: Candidate, other: Candidate) {
    let election = candidate.election().clone();
    let Ok(follower) = elections.follow(&election) else {
        return;
    };
    let (mut changes, _events) = (follower.changes(), candidate.events());
    changes.next().await;
    let mut states = candidate.states();
    let is_in_line = |state: &State| !matches!(state, State::Joining | State::Leaving);
    while states.next().await.is_some_and(|state| !is_in_line(&state)) {}
    other.stop().await;
    let _ = candidate.elected().await;
    let _ = candidate.proclaim("ended").await;
    let _ = follower.contenders().await;
    let _ = candidate.resign().await;
    let _ = candidate.lead(|_| async { changes.next().now_or_never() }).await;
    candidate.stop().await;
    if let Ok(again) = elections.stand(&election, "again") {
        let _ = again.elected().await;
    }
    elections.close().await;
}
