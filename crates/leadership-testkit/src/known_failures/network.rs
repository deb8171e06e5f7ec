//! What becomes of candidates whose requests go unanswered, and of terms when the servers elect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use leadership_core::{EndReason, Event};

use super::ground::{
    AT_ONCE, Networked, Nodes, TTL, behind_proxy, connected, end, in_line, line, pair, process, unanswered,
};
use crate::trials::{
    Case, always, cases, close, elected, election, eventually, handover, next, now, soon, waiting,
};

pub(super) fn cases<G: Networked>() -> Vec<Case<G>> {
    cases![
        etcd_client_14_a_waiter_whose_session_died_unseen_never_wins_without_an_entry,
        etcd_21128_a_campaign_given_up_unanswered_leaves_no_entry,
        go_zookeeper_229_a_create_cancelled_unanswered_leaves_no_orphan_in_the_line,
        zookeeper_client_a_create_tried_again_stands_once,
        consul_18271_a_partitioned_leader_notices_by_its_deadline,
        consul_2371_a_leader_that_has_given_up_keeps_nobody_from_leading,
        consul_1162_an_election_of_the_store_drops_no_term,
    ]
}

/// Everybody's `campaign` returns as elected once the leases have lapsed: nobody looks whether its own key is there when
/// the one ahead has gone.
async fn etcd_client_14_a_waiter_whose_session_died_unseen_never_wins_without_an_entry<G: Networked>(
    ground: Arc<G>,
) {
    let (way, b) = behind_proxy(&*ground, TTL).await;
    let pair = pair("14", process(&*ground, TTL).await, b).await;
    let mut events = pair.waiter.events();
    let lost = line(&*ground, &pair.election).await.remove(1);
    // First its session goes, then the one ahead; it learns of both together.
    way.stall();
    end(&*ground, &lost).await;
    soon("stopped", pair.leader.stop()).await;
    way.resume().await.unwrap();

    let won = |event: &Event| match event {
        Event::Elected(term) => Some(term.token()),
        _ => None,
    };
    let token = next("elected", &mut events, won).await;
    assert!(token.0 > lost.order, "won with an entry that is gone");
    let line = line(&*ground, &pair.election).await;
    assert!(line.len() == 1 && line[0].name() == "b", "{line:?}");
    assert_ne!(line[0].session, lost.session, "won with a session that is gone");
    let led = soon("led", pair.a.follow(&*pair.election).unwrap().led())
        .await
        .unwrap();
    assert_eq!(led.name(), "b", "and everybody sees it");
    assert!(
        led.token.is_none_or(|theirs| theirs == token),
        "{led:?} by {token}"
    );
    close([pair.a, pair.b]).await;
}

/// A failed campaign's key stays in line and leads when its turn comes, with nobody behind it.
async fn etcd_21128_a_campaign_given_up_unanswered_leaves_no_entry<G: Networked>(ground: Arc<G>) {
    let (way, a) = behind_proxy(&*ground, TTL).await;
    // So that there is a session, and what hangs is the entry.
    elected(&a.stand(election("before"), "a").unwrap()).await;
    let (b, election) = (process(&*ground, TTL).await, election("21128"));
    way.stall();
    let failing = a.stand(&*election, "a").unwrap();
    unanswered(&mut failing.events()).await;
    let stopping = tokio::spawn({
        let failing = failing.clone();
        async move { failing.stop().await }
    });
    way.resume().await.unwrap();
    soon("stopped", stopping).await.unwrap();
    assert!(line(&*ground, &election).await.is_empty(), "its entry was left");
    let begin = Instant::now();
    let other = b.stand(&*election, "b").unwrap();
    let term = elected(&other).await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    always("it leads alone", AT_ONCE / 4, || {
        term.is_valid() && !failing.is_leader()
    })
    .await;
    in_line(&*ground, &election, &["b"]).await;
    close([a, b]).await;
}

/// Whoever gives up a create whose answer has not come leaves the node to its session, which lives on: an orphan
/// that everybody waits behind. The same in zookeeper-client, which asks to delete it by half of its name.
async fn go_zookeeper_229_a_create_cancelled_unanswered_leaves_no_orphan_in_the_line<G: Networked>(
    ground: Arc<G>,
) {
    for cut in [false, true] {
        let (way, a) = behind_proxy(&*ground, TTL).await;
        let before = a.stand(election("before"), "a").unwrap();
        let term = elected(&before).await;
        let (b, election) = (process(&*ground, TTL).await, election("229"));
        if cut {
            way.cut().await;
        } else {
            way.stall();
        }
        let cancelled = a.stand(&*election, "a").unwrap();
        unanswered(&mut cancelled.events()).await;
        drop(cancelled);
        way.resume().await.unwrap();
        let begin = Instant::now();
        let other = b.stand(&*election, "b").unwrap();
        elected(&other).await;
        assert!(begin.elapsed() < TTL, "cut {cut}: {:?}", begin.elapsed());
        in_line(&*ground, &election, &["b"]).await;
        assert!(term.is_valid(), "the session lives on, and no orphan with it");
        close([a, b]).await;
    }
}

/// A create that is made again after a reconnection, beside the first one that was made all the same: the candidate
/// waits behind itself.
async fn zookeeper_client_a_create_tried_again_stands_once<G: Networked>(ground: Arc<G>) {
    let (way, a) = behind_proxy(&*ground, TTL).await;
    elected(&a.stand(election("before"), "a").unwrap()).await;
    let (b, election) = (process(&*ground, TTL).await, election("again"));
    way.stall();
    let candidate = a.stand(&*election, "a").unwrap();
    let mut events = candidate.events();
    unanswered(&mut events).await;
    way.resume().await.unwrap();
    elected(&candidate).await;
    in_line(&*ground, &election, &["a"]).await;
    let next = b.stand(&*election, "b").unwrap();
    waiting(&next).await;
    let begin = Instant::now();
    soon("stopped", candidate.stop()).await;
    elected(&next).await;
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    in_line(&*ground, &election, &["b"]).await;
    close([a, b]).await;
}

/// Its blocking query hangs for minutes: no answer comes, and no error either.
async fn consul_18271_a_partitioned_leader_notices_by_its_deadline<G: Networked>(ground: Arc<G>) {
    let ttl = ground.ttl();
    let (way, a) = behind_proxy(&*ground, ttl).await;
    let pair = pair("18271", a, process(&*ground, ttl).await).await;
    let seen = handover(pair.term.clone(), pair.waiter.clone());
    way.stall();
    let begin = Instant::now();
    assert_eq!(soon("told", pair.term.ended()).await, EndReason::DeadlinePassed);
    assert!(begin.elapsed() <= ttl, "{:?}", begin.elapsed());
    let margin = soon("elected", seen).await.unwrap().margin();
    assert!(margin > Duration::ZERO && !pair.leader.is_leader());
    way.resume().await.unwrap();
    close([pair.a, pair.b]).await;
}

/// Who has given up goes on renewing its session, and the lock stays with it: nobody leads.
async fn consul_2371_a_leader_that_has_given_up_keeps_nobody_from_leading<G: Networked>(ground: Arc<G>) {
    let (way, a) = behind_proxy(&*ground, TTL).await;
    let pair = pair("2371", a, process(&*ground, TTL).await).await;
    let seen = handover(pair.term.clone(), pair.waiter.clone());
    way.stall();
    let reason = soon("given up", pair.term.ended()).await;
    // While the session may still live at the store, and can be renewed.
    way.resume().await.unwrap();
    let begin = Instant::now();
    assert_eq!(reason, EndReason::DeadlinePassed);
    soon("another leads", seen).await.unwrap().margin();
    assert!(begin.elapsed() < TTL, "{:?}", begin.elapsed());
    assert!(elected(&pair.waiter).await.token() > pair.term.token());
    in_line(&*ground, &pair.election, &["b", "a"]).await;
    close([pair.a, pair.b]).await;
}

/// Any error of the store is a loss: each election among the servers drops all locks at once.
async fn consul_1162_an_election_of_the_store_drops_no_term<G: Networked>(_: Arc<G>) {
    let cluster = G::Cluster::launch(3).await.unwrap();
    let process = || connected::<G>(&cluster.location(), G::LONG);
    let mut pairs = Vec::new();
    let (a, b) = (process(), process());
    for _ in 0..3 {
        pairs.push(pair("1162", a.clone(), b.clone()).await);
    }
    let head = cluster.head().await.unwrap();
    cluster.shoot(head).await.unwrap();
    let shot = now();
    let certain = a.store().limits().certain(G::LONG);
    eventually("every session is renewed by the new head", async || {
        pairs.iter().all(|pair| {
            assert!(!pair.waiter.is_leader(), "somebody else leads");
            let deadline = pair.term.deadline().expect("the term goes on");
            // Later than any renewal sent before reaches.
            deadline > shot + certain
        })
    })
    .await;
    cluster.revive(head).await.unwrap();
    // And whoever waits still waits for the right one.
    for pair in &pairs {
        assert!(pair.term.is_valid());
        soon("stopped", pair.leader.stop()).await;
        assert!(elected(&pair.waiter).await.token() > pair.term.token());
    }
    close([a, b]).await;
}
