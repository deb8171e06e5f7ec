//! What only etcd does to its clients: it forgets what was, and its former leaders have leases revoked.

use std::sync::Arc;
use std::time::Duration;

use leadership_core::Event;
use tokio::time::sleep;

use super::ground::{Networked, TTL, behind_proxy, connected, in_line, pair, process};
use crate::cluster::EtcdCluster;
use crate::trials::{Case, cases, close, elected, eventually, led_by, next, nobody, now, soon, waiting};

/// An etcd.
pub trait OnEtcd: Networked<Cluster = EtcdCluster> {}

impl<G: Networked<Cluster = EtcdCluster>> OnEtcd for G {}

/// Cases for etcd.
pub fn on_etcd<G: OnEtcd>() -> Vec<Case<G>> {
    cases![
        etcd_7815_a_compaction_ends_no_observation,
        etcd_21128_a_compaction_fails_no_campaign_and_leaves_no_entry_of_one,
        etcd_15247_a_leader_that_was_frozen_revokes_no_lease_that_entries_are_on,
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

/// The lease that the only entry of an election is on, and the one that it is named after.
async fn leases(cluster: &EtcdCluster, election: &str) -> (String, String) {
    let (of, json) = (format!("{election}/"), "-w=json");
    let entries = cluster.etcdctl(&["get", &of, "--prefix", json]).await.unwrap();
    let entries: serde_json::Value = serde_json::from_str(&entries.stdout).unwrap();
    let named = cluster
        .etcdctl(&["get", &of, "--prefix", "--keys-only"])
        .await
        .unwrap();
    let named = named.stdout.trim().strip_prefix(&of).unwrap().to_owned();
    (
        format!("{:x}", entries["kvs"][0]["lease"].as_i64().unwrap()),
        named,
    )
}

/// A leader of etcd that stood still for longer than leases last finds them expired when it goes on, and has its
/// successor revoke them, which were renewed there all the time: two lead until the notification arrives.
async fn etcd_15247_a_leader_that_was_frozen_revokes_no_lease_that_entries_are_on<G: OnEtcd>(_: Arc<G>) {
    /// Longer than etcd's elections take.
    const TTL: Duration = Duration::from_secs(4);
    let cluster = EtcdCluster::start(3).await.unwrap();
    let elections = connected::<G>(&cluster.url(""), TTL);
    let election = crate::trials::election("15247");
    let candidate = elections.stand(&*election, "a").unwrap();
    let term = elected(&candidate).await;
    // The same session stands elsewhere too.
    let elsewhere = crate::trials::election("15247-elsewhere");
    let other = elections.stand(&*elsewhere, "a").unwrap();
    let beside = elected(&other).await;
    let mut before = leases(&cluster, &election).await;
    assert_eq!(before.0, before.1);
    for _ in 0..2 {
        let head = cluster.leader().await.unwrap();
        cluster.pause(head).await.unwrap();
        eventually(
            "the entry is on a lease that the frozen one does not know",
            async || leases(&cluster, &election).await.0 != before.0,
        )
        .await;
        // What the frozen one knows of has expired by then.
        sleep(TTL + Duration::from_secs(1)).await;
        cluster.unpause(head).await.unwrap();
        cluster.wait_all_healthy().await.unwrap();
        let whole = now();
        eventually("renewed since", async || {
            assert!(term.is_valid(), "the term has ended");
            term.deadline()
                .is_some_and(|deadline| deadline > whole + TTL * 9 / 10)
        })
        .await;
        let after = leases(&cluster, &election).await;
        assert_ne!(after.0, before.0);
        assert_eq!(after.1, before.1, "it is the same entry");
        assert!(beside.is_valid());
        assert_eq!(leases(&cluster, &elsewhere).await, after);
        let granted = cluster.etcdctl(&["lease", "list"]).await.unwrap().stdout;
        assert!(
            granted.contains(&after.0) && !granted.contains(&before.0),
            "{granted}"
        );
        before = after;
    }
    // What is told of it, and what a proclamation leaves it on.
    let follower = elections.follow(&*election).unwrap();
    assert_eq!(soon("led", follower.led()).await.unwrap().name(), "a");
    soon("proclaimed", candidate.proclaim("a2")).await.unwrap();
    assert_eq!(leases(&cluster, &election).await, before);
    soon("closed", elections.close()).await;
    let granted = cluster.etcdctl(&["lease", "list"]).await.unwrap().stdout;
    assert!(granted.contains("found 0 leases"), "{granted}");
    cluster.remove().await.unwrap();
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
