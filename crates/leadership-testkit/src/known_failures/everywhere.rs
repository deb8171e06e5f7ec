//! What any store shows, the one in memory included.

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use leadership_core::{Candidate, EndReason, Error, State};
use tokio::task::JoinHandle;

use super::ground::{AT_ONCE, Ground, TTL, end, in_line, line, named, pair, process, remove};
use crate::trials::{Case, always, cases, close, elected, ended, eventually, led_by, next, nobody, soon};

/// Cases for any store.
pub fn everywhere<G: Ground>() -> Vec<Case<G>> {
    cases![
        etcd_19597_a_waiter_whose_session_died_does_not_wait_for_ever,
        etcd_11777_an_own_entry_deleted_by_an_operator_ends_the_term_at_once,
        etcd_12378_trillian_1387_an_observer_is_told_that_nobody_leads,
        classicswarm_2654_the_loss_of_a_session_is_signalled_to_whoever_listens_and_however,
        docker_leadership_resign_neither_panics_nor_dead_locks,
        docker_leadership_stop_is_honoured_while_waiting,
        trillian_3789_a_shutdown_that_only_drops_things_releases_at_once,
    ]
}

/// Go's `Campaign` watches the key ahead and never its own lease: whose lease has died blocks until the one ahead goes,
/// and nobody says that it is not in line.
async fn etcd_19597_a_waiter_whose_session_died_does_not_wait_for_ever<G: Ground>(ground: Arc<G>) {
    let pair = pair(
        "19597",
        process(&*ground, TTL).await,
        process(&*ground, TTL).await,
    )
    .await;
    let lost = line(&*ground, &pair.election).await.remove(1);
    end(&*ground, &lost).await;
    eventually("it stands again with another session", async || {
        let line = line(&*ground, &pair.election).await;
        line.len() == 2 && line[1].name() == "b" && line[1].session != lost.session
    })
    .await;
    soon("stopped", pair.leader.stop()).await;
    let second = elected(&pair.waiter).await;
    assert!(second.token() > pair.term.token(), "tokens grow");
    assert!(second.token().0 > lost.order, "won with an entry that is gone");
    in_line(&*ground, &pair.election, &["b"]).await;
    close([pair.a, pair.b]).await;
}

/// Go's `Election` leads on without its key: only the lease is looked at, and the next in line leads as well.
async fn etcd_11777_an_own_entry_deleted_by_an_operator_ends_the_term_at_once<G: Ground>(ground: Arc<G>) {
    let pair = pair(
        "11777",
        process(&*ground, TTL).await,
        process(&*ground, TTL).await,
    )
    .await;
    let mut events = pair.leader.events();
    let deleted = line(&*ground, &pair.election).await.remove(0);
    remove(&*ground, &pair.election, &deleted).await;
    let begin = Instant::now();
    let reason = next("the end of the term", &mut events, ended).await;
    assert_eq!(reason, EndReason::EntryRemoved);
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert!(!pair.term.is_valid());
    let second = elected(&pair.waiter).await;
    assert!(second.token() > pair.term.token(), "tokens grow");
    in_line(&*ground, &pair.election, &["b", "a"]).await;
    let line = line(&*ground, &pair.election).await;
    assert_eq!(line[1].session, deleted.session, "in the session that it has");
    close([pair.a, pair.b]).await;
}

/// `Observe` says nothing of an election in which nobody stands, nor when its last leader goes; docker/leadership's
/// followers keep the name of the dead for ever.
async fn etcd_12378_trillian_1387_an_observer_is_told_that_nobody_leads<G: Ground>(ground: Arc<G>) {
    let (observer, election) = (process(&*ground, TTL).await, crate::trials::election("12378"));
    let follower = observer.follow(&*election).unwrap();
    let mut changes = follower.changes();
    next("nobody has ever led", &mut changes, nobody).await;
    let other = process(&*ground, TTL).await;
    let candidate = other.stand(&*election, "leaves").unwrap();
    elected(&candidate).await;
    next("one leads", &mut changes, led_by("leaves")).await;
    soon("stopped", candidate.stop()).await;
    next("it has left", &mut changes, nobody).await;

    // One of whom nothing is heard any more.
    let store = ground.client().await.unwrap();
    let session = store.open(ground.ttl()).await.unwrap();
    store.enter(&named(&election), &session, b"dies").await.unwrap();
    next("another leads", &mut changes, led_by("dies")).await;
    next("its session is over", &mut changes, nobody).await;
    assert!(follower.leader().is_none());

    // Told to whoever asks only now, too.
    let late = observer.follow(&*election).unwrap();
    next("nobody leads", &mut late.changes(), nobody).await;
    close([observer, other]).await;
}

/// The channel that docker/leadership waits on for the loss is never closed on ZooKeeper: two managers for as long as
/// the old one lives.
async fn classicswarm_2654_the_loss_of_a_session_is_signalled_to_whoever_listens_and_however<G: Ground>(
    ground: Arc<G>,
) {
    let pair = pair("2654", process(&*ground, TTL).await, process(&*ground, TTL).await).await;
    let (mut events, mut states) = (pair.leader.events(), pair.leader.states());
    // Whoever does not listen keeps nothing from the others.
    let _unread = (pair.leader.events(), pair.leader.states());
    let work = endless_work(&pair.leader).await;
    let head = line(&*ground, &pair.election).await.remove(0);
    end(&*ground, &head).await;
    let begin = Instant::now();

    let lost = |reason| matches!(reason, EndReason::SessionLost | EndReason::EntryRemoved);
    let reason = next("the end of the term", &mut events, ended).await;
    assert!(lost(reason), "{reason}");
    assert!(lost(soon("told", pair.term.ended()).await));
    let work = soon("its work is dropped", work).await.unwrap();
    assert!(
        matches!(&work, Err(Error::Ended(reason)) if lost(*reason)),
        "{work:?}"
    );
    soon("the state has changed", async {
        while let Some(State::Leading(term)) = states.next().await {
            assert_eq!(term.token(), pair.term.token());
        }
    })
    .await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert!(!pair.term.is_valid() && pair.leader.term().is_none());
    assert!(elected(&pair.waiter).await.token() > pair.term.token());
    in_line(&*ground, &pair.election, &["b", "a"]).await;
    close([pair.a, pair.b]).await;
}

/// On Consul every `Resign` closes a channel that is closed already: the process dies. Elsewhere it waits for a lock
/// that is held by who waits for it, or for a reader that has gone.
async fn docker_leadership_resign_neither_panics_nor_dead_locks<G: Ground>(ground: Arc<G>) {
    let pair = pair(
        "resign",
        process(&*ground, TTL).await,
        process(&*ground, TTL).await,
    )
    .await;
    let _unread = (pair.leader.events(), pair.waiter.events());
    let mut last = pair.term.token();
    for round in 0..3 {
        for (one, other) in [(&pair.leader, &pair.waiter), (&pair.waiter, &pair.leader)] {
            assert!(one.is_leader());
            let resigned = soon("resigned", join_all((0..4).map(|_| one.resign()))).await;
            assert!(resigned.iter().any(Result::is_ok), "{resigned:?}");
            let refused = |result: &Result<(), Error>| !matches!(result, Ok(()) | Err(Error::NotLeading));
            assert!(!resigned.iter().any(refused), "round {round}: {resigned:?}");
            let term = elected(other).await;
            assert!(term.token() > last, "tokens grow");
            last = term.token();
            eventually("in line again", async || {
                line(&*ground, &pair.election).await.len() == 2
            })
            .await;
        }
    }
    // While it is being lost.
    let head = line(&*ground, &pair.election).await.remove(0);
    let resigned = async {
        match soon("resigned", pair.leader.resign()).await {
            Ok(()) | Err(Error::NotLeading) => {}
            Err(error) => panic!("{error}"),
        }
    };
    tokio::join!(resigned, end(&*ground, &head));
    assert!(elected(&pair.waiter).await.token() > last, "tokens grow");
    // And by one that does not lead.
    let refused = soon("refused", pair.leader.resign()).await;
    assert!(matches!(refused, Err(Error::NotLeading)), "{refused:?}");
    close([pair.a, pair.b]).await;
}

/// `Stop` is not looked at by who waits for the lock: it stays in line, takes the lock when its turn comes, waits for a
/// reader, and holds the lock for ever while nobody leads.
async fn docker_leadership_stop_is_honoured_while_waiting<G: Ground>(ground: Arc<G>) {
    let pair = pair("stop", process(&*ground, TTL).await, process(&*ground, TTL).await).await;
    let _unread = pair.waiter.events();
    let begin = Instant::now();
    soon("stopped", pair.waiter.stop()).await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    soon("stopped twice", pair.waiter.stop()).await;
    assert!(matches!(pair.waiter.state(), State::Stopped(None)));
    in_line(&*ground, &pair.election, &["a"]).await;
    soon("stopped", pair.leader.stop()).await;
    let never = soon("told that it never will", pair.waiter.elected()).await;
    assert!(matches!(never, Err(Error::Stopped(None))), "{never:?}");
    assert!(
        line(&*ground, &pair.election).await.is_empty(),
        "nobody is in line"
    );
    let next = pair.b.stand(&*pair.election, "c").unwrap();
    elected(&next).await;
    close([pair.a, pair.b]).await;
}

/// The context of the election is cancelled first and its lease is left to expire: everybody waits for the TTL at each
/// deployment.
async fn trillian_3789_a_shutdown_that_only_drops_things_releases_at_once<G: Ground>(ground: Arc<G>) {
    let pair = pair("3789", process(&*ground, TTL).await, process(&*ground, TTL).await).await;
    let work = endless_work(&pair.leader).await;
    let begin = Instant::now();
    work.abort();
    drop((pair.leader, pair.a));
    let second = elected(&pair.waiter).await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert!(!pair.term.is_valid() && second.token() > pair.term.token());
    in_line(&*ground, &pair.election, &["b"]).await;
    always("it leads on", AT_ONCE / 4, || second.is_valid()).await;
    close([pair.b]).await;
}

/// Work that a leader has begun, and never ends by itself.
async fn endless_work(leader: &Candidate) -> JoinHandle<Result<(), Error>> {
    let (started, working) = tokio::sync::oneshot::channel();
    let leader = leader.clone();
    let work = tokio::spawn(async move {
        let work = |_| async {
            started.send(()).unwrap();
            pending().await
        };
        leader.lead(work).await
    });
    soon("working", working).await.unwrap();
    work
}
