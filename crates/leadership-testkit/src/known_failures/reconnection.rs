//! What becomes of a leader that is away for a while and comes back.

use std::sync::Arc;
use std::time::Duration;

use leadership_core::{Contender, EndReason, Event};

use super::ground::{Networked, TTL, behind_proxy, in_line, line, pair, process};
use crate::trials::{Case, always, cases, close, elected, ended, eventually, handover, next, now, soon};

/// A blip: long enough to fail requests, shorter than anybody's patience.
const BLIP: Duration = Duration::from_millis(1500);

pub(super) fn cases<G: Networked>() -> Vec<Case<G>> {
    cases![
        curator_644_a_leader_that_comes_back_is_not_stuck_and_stands_once,
        curator_653_696_a_leader_that_reconnects_again_and_again_never_makes_two,
        docker_leadership_9_a_disconnected_leader_is_told_though_the_store_cannot_be,
        patroni_522_a_short_network_blip_costs_nobody_the_leadership,
    ]
}

/// After a reconnection the latch finds or removes the wrong node: its own old one leads for nobody, or it waits for
/// ever.
async fn curator_644_a_leader_that_comes_back_is_not_stuck_and_stands_once<G: Networked>(ground: Arc<G>) {
    let ttl = ground.ttl();
    let (way, a) = behind_proxy(&*ground, ttl).await;
    let pair = pair("644", a, process(&*ground, ttl).await).await;
    let mut term = pair.term.clone();
    for _ in 0..3 {
        let seen = handover(term.clone(), pair.waiter.clone());
        way.cut().await;
        let margin = soon("elected", seen).await.unwrap().margin();
        assert!(margin > Duration::ZERO);
        let second = elected(&pair.waiter).await;
        assert!(second.token() > term.token(), "tokens grow");
        way.resume().await.unwrap();
        in_line(&*ground, &pair.election, &["b", "a"]).await;
        always("one leads", ttl / 4, || {
            second.is_valid() && !pair.leader.is_leader() && !term.is_valid()
        })
        .await;
        soon("resigned", pair.waiter.resign()).await.unwrap();
        term = elected(&pair.leader).await;
        assert!(term.token() > second.token(), "tokens grow");
        in_line(&*ground, &pair.election, &["a", "b"]).await;
    }
    close([pair.a, pair.b]).await;
}

/// Two latches lead when answers of before a reconnection are taken for the present, or when a reset runs beside a
/// check that began earlier.
async fn curator_653_696_a_leader_that_reconnects_again_and_again_never_makes_two<G: Networked>(
    ground: Arc<G>,
) {
    let ttl = ground.ttl();
    let (way, a) = behind_proxy(&*ground, ttl).await;
    let pair = pair("653-696", a, process(&*ground, ttl).await).await;
    let (leader, waiter) = (pair.leader.clone(), pair.waiter.clone());
    let over = Arc::new(());
    let alive = Arc::downgrade(&over);
    // A thread of its own looks all the time. That one led when it was asked and the other a moment later is no
    // overlap, so the first is asked again.
    let watch = tokio::task::spawn_blocking(move || {
        while alive.upgrade().is_some() {
            let terms = (leader.term(), waiter.term(), leader.term());
            if let (Some(before), Some(_), Some(after)) = &terms {
                assert!(before.token() != after.token(), "two lead: {terms:?}");
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    // For ever longer, until it is longer than the session lives.
    for away in 1..=6 {
        way.cut().await;
        tokio::time::sleep(ttl * away / 5).await;
        way.resume().await.unwrap();
        eventually("one leads", async || {
            pair.leader.is_leader() || pair.waiter.is_leader()
        })
        .await;
    }
    drop(over);
    watch.await.unwrap();
    eventually("both are in line, each once", async || {
        let mut line = line(&*ground, &pair.election).await;
        line.sort_by_key(|contender| contender.value.clone());
        line.iter().map(Contender::name).eq(["a", "b"])
    })
    .await;
    let last = pair.leader.term().or_else(|| pair.waiter.term()).unwrap();
    assert!(last.token() >= pair.term.token(), "tokens grow");
    close([pair.a, pair.b]).await;
}

/// The old master gets no event, and the other becomes master.
async fn docker_leadership_9_a_disconnected_leader_is_told_though_the_store_cannot_be<G: Networked>(
    ground: Arc<G>,
) {
    let ttl = ground.ttl();
    let (way, a) = behind_proxy(&*ground, ttl).await;
    let pair = pair("9", a, process(&*ground, ttl).await).await;
    let mut events = pair.leader.events();
    let seen = handover(pair.term.clone(), pair.waiter.clone());
    way.cut().await;
    let reason = next("the end of the term", &mut events, ended).await;
    assert!(
        matches!(reason, EndReason::DeadlinePassed | EndReason::SessionLost),
        "{reason}"
    );
    assert!(!pair.term.is_valid() && !pair.leader.is_leader());
    soon("elected", seen).await.unwrap().margin();
    way.resume().await.unwrap();
    // It is told of its next term as well.
    soon("stopped", pair.waiter.stop()).await;
    let won = |event: &Event| match event {
        Event::Elected(term) => Some(term.token()),
        _ => None,
    };
    let token = next("elected again", &mut events, won).await;
    assert!(token > pair.term.token(), "tokens grow");
    close([pair.a, pair.b]).await;
}

/// A network that is away for some seconds costs the leadership, whatever the TTL is.
async fn patroni_522_a_short_network_blip_costs_nobody_the_leadership<G: Networked>(ground: Arc<G>) {
    let (way, a) = behind_proxy(&*ground, TTL).await;
    let pair = pair("522", a, process(&*ground, TTL).await).await;
    let certain = pair.a.store().limits().certain(TTL);
    for cut in [true, false] {
        if cut {
            way.cut().await;
        } else {
            way.stall();
        }
        always("it leads on", BLIP, || pair.term.is_valid()).await;
        way.resume().await.unwrap();
        let resumed = now();
        let deadline = || pair.term.deadline().expect("the term goes on");
        // What was granted before the blip may reach as far by itself.
        let before = deadline();
        eventually("renewed", async || deadline() > before.max(resumed + certain / 2)).await;
        assert!(!pair.waiter.is_leader());
    }
    in_line(&*ground, &pair.election, &["a", "b"]).await;
    soon("stopped", pair.leader.stop()).await;
    elected(&pair.waiter).await;
    close([pair.a, pair.b]).await;
}
