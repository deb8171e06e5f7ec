//! One of the servers breaks, each in turn, or all of them. Each case has a cluster of its own.

use std::sync::Arc;

use futures_util::future::try_join_all;
use leadership_core::EndReason;
use tokio::time::sleep;

use super::ground::{Ground, SERVERS};
use super::scene::Scene;
use super::verdict::Expected;
use crate::cluster::{Cluster, Server};
use crate::trials::{Case, cases, eventually, now};
use crate::witness::Doing;

/// A store that does not answer, or one that ended the session when it came back.
pub(super) const LOST: &[EndReason] = &[EndReason::DeadlinePassed, EndReason::SessionLost];

pub(super) fn cases<G: Ground>() -> Vec<Case<G>> {
    cases![
        the_death_of_the_stores_leader_leaves_one_of_ours,
        a_pause_of_the_stores_leader_leaves_one_of_ours,
        a_stores_leader_cut_off_from_the_others_makes_no_two_of_ours,
        a_restart_of_one_server_after_the_other_leaves_one_of_ours_each_time,
        a_store_down_for_less_than_the_ttl_makes_no_two_leaders,
        a_store_down_for_longer_than_the_ttl_ends_the_term_and_elects_anew,
    ]
}

/// For stores whose clients talk to the servers themselves: with one whose client has an agent it is the agent that is
/// cut off.
pub(super) fn beside_servers<G: Ground>() -> Vec<Case<G>> {
    cases![
        a_leader_alone_with_the_stores_leader_when_that_is_cut_off_stops_believing_first,
        a_leader_alone_with_another_server_when_that_is_cut_off_stops_believing_first,
    ]
}

async fn the_death_of_the_stores_leader_leaves_one_of_ours<G: Ground>(_: Arc<G>) {
    let kill = async |cluster: &Cluster<G::Server>, node| cluster.kill(node).await;
    let start = async |cluster: &Cluster<G::Server>, node| cluster.start_node(node).await;
    without_head::<G>("stores-leader-killed", kill, start).await;
}

async fn a_pause_of_the_stores_leader_leaves_one_of_ours<G: Ground>(_: Arc<G>) {
    let pause = async |cluster: &Cluster<G::Server>, node| cluster.pause(node).await;
    let unpause = async |cluster: &Cluster<G::Server>, node| cluster.unpause(node).await;
    without_head::<G>("stores-leader-paused", pause, unpause).await;
}

/// Clients still reach it, and it does not know at once that it leads no more.
async fn a_stores_leader_cut_off_from_the_others_makes_no_two_of_ours<G: Ground>(_: Arc<G>) {
    let cut = async |cluster: &Cluster<G::Server>, node| cluster.partition(node).await;
    let heal = async |cluster: &Cluster<G::Server>, node| cluster.heal(node).await;
    without_head::<G>("stores-leader-cut-off", cut, heal).await;
}

/// Takes the store's leader away; the others have to go on without it, and with it when it is back.
async fn without_head<G: Ground>(
    what: &str,
    breaks: impl AsyncFnOnce(&Cluster<G::Server>, usize) -> anyhow::Result<()>,
    mends: impl AsyncFnOnce(&Cluster<G::Server>, usize) -> anyhow::Result<()>,
) {
    let cluster = G::launch().await.unwrap();
    let mut scene = Scene::set::<G>(&cluster, what, G::TTL).await;
    let head = cluster.leader().await.unwrap();
    let fault = now();
    breaks(&cluster, head).await.unwrap();
    scene.settled(now()).await;
    // Who comes now finds a store as well.
    let doors = G::doors(&cluster, 0).unwrap();
    scene.join::<G>("newcomer", &doors, Doing::Waiting).await;
    mends(&cluster, head).await.unwrap();
    cluster.wait_all_healthy().await.unwrap();
    let expected = Expected::ends(LOST).may_go_on().later_by(G::ELECTION);
    scene.verdict(fault, now(), expected).await;
    cluster.remove().await.unwrap();
}

/// Of all servers this one answers for longest.
async fn a_leader_alone_with_the_stores_leader_when_that_is_cut_off_stops_believing_first<G: Ground>(
    _: Arc<G>,
) {
    alone::<G>("alone-with-head", 0).await;
}

/// One that has lost its leader may go on answering for a while.
async fn a_leader_alone_with_another_server_when_that_is_cut_off_stops_believing_first<G: Ground>(_: Arc<G>) {
    alone::<G>("alone-with-other", 1).await;
}

/// Cuts off the server that is so far from the store's leader, which is the only one that ours reaches.
async fn alone<G: Ground>(what: &str, from_head: usize) {
    let cluster = G::launch().await.unwrap();
    let alone = (cluster.leader().await.unwrap() + from_head) % SERVERS;
    let doors = |candidate: usize| {
        let of_it = (0..SERVERS).filter(|node| (*node == alone) == (candidate == 0));
        of_it.map(|node| cluster.addr(node)).collect()
    };
    let scene = Scene::set_at::<G>(&cluster, what, G::TTL, doors).await;
    let fault = now();
    cluster.partition(alone).await.unwrap();
    scene.succeeded(fault).await;
    cluster.heal(alone).await.unwrap();
    cluster.wait_all_healthy().await.unwrap();
    let expected = Expected::ends(LOST).later_by(G::ELECTION);
    scene.verdict(fault, now(), expected.once()).await;
    cluster.remove().await.unwrap();
}

async fn a_restart_of_one_server_after_the_other_leaves_one_of_ours_each_time<G: Ground>(_: Arc<G>) {
    let cluster = G::launch().await.unwrap();
    let scene = Scene::set::<G>(&cluster, "rolling-restart", G::TTL).await;
    let expected = Expected::ends(LOST).may_go_on().later_by(G::ELECTION);
    let mut whole = now();
    for node in 0..cluster.size() {
        cluster.stop(node).await.unwrap();
        cluster.start_node(node).await.unwrap();
        cluster.wait_all_healthy().await.unwrap();
        whole = now();
        scene.settled(whole).await;
        scene.in_time(whole, now(), &expected);
    }
    scene.verdict(whole, whole, expected).await;
    cluster.remove().await.unwrap();
}

async fn a_store_down_for_less_than_the_ttl_makes_no_two_leaders<G: Ground>(_: Arc<G>) {
    let cluster = G::launch().await.unwrap();
    let scene = Scene::set::<G>(&cluster, "short-outage", G::LONG).await;
    let fault = now();
    kill_all(&cluster).await;
    start_all(&cluster).await;
    let whole = now();
    let outage = whole.saturating_since(fault);
    assert!(outage < G::LONG, "no short outage: {outage:?}");
    let expected = Expected::ends(LOST).may_go_on().later_by(G::ELECTION);
    scene.verdict(whole, whole, expected).await;
    cluster.remove().await.unwrap();
}

async fn a_store_down_for_longer_than_the_ttl_ends_the_term_and_elects_anew<G: Ground>(_: Arc<G>) {
    let cluster = G::launch().await.unwrap();
    let scene = Scene::set::<G>(&cluster, "long-outage", G::TTL).await;
    let fault = now();
    kill_all(&cluster).await;
    eventually("the leader is told", async || {
        scene.members[0].witness.record().leads().is_none()
    })
    .await;
    sleep((fault + 2 * G::TTL).saturating_since(now())).await;
    start_all(&cluster).await;
    let whole = now();
    let expected = Expected::ends(&[EndReason::DeadlinePassed]).later_by(G::ELECTION);
    scene.verdict(whole, whole, expected).await;
    cluster.remove().await.unwrap();
}

async fn kill_all<S: Server>(cluster: &Cluster<S>) {
    try_join_all((0..cluster.size()).map(|node| cluster.kill(node)))
        .await
        .unwrap();
}

async fn start_all<S: Server>(cluster: &Cluster<S>) {
    try_join_all((0..cluster.size()).map(|node| cluster.start_node(node)))
        .await
        .unwrap();
    cluster.wait_all_healthy().await.unwrap();
}
