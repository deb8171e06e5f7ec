//! What only etcd does to its clients: it forgets what was.

use std::sync::Arc;

use leadership_core::Event;

use super::ground::{Networked, TTL, behind_proxy, in_line, pair, process};
use crate::cluster::EtcdCluster;
use crate::trials::{Case, cases, close, elected, led_by, next, nobody, soon, waiting};

/// An etcd.
pub trait OnEtcd: Networked<Cluster = EtcdCluster> {}

impl<G: Networked<Cluster = EtcdCluster>> OnEtcd for G {}

/// Cases for etcd.
pub fn on_etcd<G: OnEtcd>() -> Vec<Case<G>> {
    cases![
        etcd_7815_a_compaction_ends_no_observation,
        etcd_21128_a_compaction_fails_no_campaign_and_leaves_no_entry_of_one,
    ]
}

/// Forgets all that was, as etcd does every few minutes or hours.
pub(crate) async fn compact(cluster: &EtcdCluster) {
    // So that it forgets what the watches began from.
    let put = cluster
        .etcdctl(&["put", "elsewhere", "1", "-w=json"])
        .await
        .unwrap();
    let (_, rest) = put.stdout.split_once("\"revision\":").unwrap();
    let revision: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let compacted = cluster.etcdctl(&["compact", &revision]).await.unwrap();
    // Another case may have compacted further meanwhile.
    assert!(
        compacted.code == 0 || compacted.stderr.contains("has been compacted"),
        "{compacted:?}"
    );
}

/// `Observe` closes its channel without a word when what it watches from is forgotten, and so does every later one that
/// begins there.
async fn etcd_7815_a_compaction_ends_no_observation<G: OnEtcd>(ground: Arc<G>) {
    let (way, cut_off) = behind_proxy(&*ground, TTL).await;
    let pair = pair("7815", process(&*ground, TTL).await, process(&*ground, TTL).await).await;
    let cluster = ground.one().started(EtcdCluster::start(1)).await;
    // One that sees it happen, and one that finds it when it comes back.
    let (seeing, absent) = (
        pair.b.follow(&*pair.election).unwrap(),
        cut_off.follow(&*pair.election).unwrap(),
    );
    let (mut seen, mut found) = (seeing.changes(), absent.changes());
    next("a leads", &mut seen, led_by("a")).await;
    next("a leads", &mut found, led_by("a")).await;
    way.cut().await;
    compact(cluster).await;
    soon("proclaimed", pair.leader.proclaim("a2")).await.unwrap();
    next("the new value", &mut seen, led_by("a2")).await;
    compact(cluster).await;
    soon("stopped", pair.leader.stop()).await;
    next("b leads", &mut seen, led_by("b")).await;
    compact(cluster).await;
    way.resume().await.unwrap();
    next("b leads", &mut found, led_by("b")).await;
    soon("stopped", pair.waiter.stop()).await;
    next("nobody leads", &mut seen, nobody).await;
    next("nobody leads", &mut found, nobody).await;
    close([pair.a, pair.b, cut_off]).await;
}

/// `Campaign` returns an error when its watch is compacted and leaves its key in line: nobody owns it, and when its turn
/// comes nobody leads for as long as the lease is kept alive.
async fn etcd_21128_a_compaction_fails_no_campaign_and_leaves_no_entry_of_one<G: OnEtcd>(ground: Arc<G>) {
    let pair = pair(
        "21128",
        process(&*ground, TTL).await,
        process(&*ground, TTL).await,
    )
    .await;
    let cluster = ground.one().started(EtcdCluster::start(1)).await;
    let mut events = pair.waiter.events();
    compact(cluster).await;
    soon("resigned", pair.leader.resign()).await.unwrap();
    let elected_first = |event: &Event| match event {
        Event::Elected(term) => Some(Ok(term.token())),
        Event::Stopped => Some(Err(())),
        _ => None,
    };
    let token = next("elected", &mut events, elected_first).await.unwrap();
    assert!(token > pair.term.token());
    waiting(&pair.leader).await;
    compact(cluster).await;
    soon("stopped", pair.leader.stop()).await;
    in_line(&*ground, &pair.election, &["b"]).await;
    compact(cluster).await;
    soon("stopped", pair.waiter.stop()).await;
    in_line(&*ground, &pair.election, &[]).await;
    let again = pair.a.stand(&*pair.election, "c").unwrap();
    elected(&again).await;
    close([pair.a, pair.b]).await;
}
