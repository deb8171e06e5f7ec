//! The real `etcdctl elect` in the same elections as ours: each waits for the other, in order of arrival.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use leadership_core::{Candidate, Change};
use leadership_testkit::cluster::{EtcdCluster, Etcdctl};
use support::{
    PATIENCE, Shared, cases, elected, election, line, names, next, operator, process, revoke, soon, waiting,
};

const TTL: Duration = Duration::from_secs(5);

type World = Shared;

fn main() {
    support::main::<World>(cases![
        we_lead_when_an_interrupted_etcdctl_resigns,
        we_lead_when_the_lease_of_a_killed_etcdctl_ends,
        etcdctl_leads_when_we_resign_and_we_wait_behind_it,
        etcdctl_leads_when_we_stop,
        etcdctl_listens_to_us,
        we_follow_etcdctl,
    ]);
}

/// An `etcdctl` that stands as `name`.
async fn stand(cluster: &EtcdCluster, election: &str, name: &str) -> Etcdctl {
    cluster.spawn_etcdctl(&["elect", election, name]).await.unwrap()
}

async fn printed(etcdctl: &mut Etcdctl) -> String {
    etcdctl.next_line(PATIENCE).await.unwrap().unwrap()
}

/// What an `etcdctl` prints when it leads: its key, then its value. Nobody of ours leads then.
async fn etcdctl_leads(etcdctl: &mut Etcdctl, name: &str, ours: &[&Candidate]) -> String {
    let key = printed(etcdctl).await;
    for candidate in ours {
        assert!(!candidate.is_leader(), "two at once: etcdctl and {candidate:?}");
    }
    assert_eq!(printed(etcdctl).await, name);
    key
}

async fn we_lead_when_an_interrupted_etcdctl_resigns(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("interrupted"));
    let mut etcdctl = stand(cluster, &election, "theirs").await;
    let key = etcdctl_leads(&mut etcdctl, "theirs", &[]).await;

    let elections = process(cluster, TTL);
    let ours = elections.stand(&election, "ours").unwrap();
    assert_eq!(waiting(&ours).await, key, "behind the entry that etcdctl printed");
    let entries = line(&client, &election).await;
    assert_eq!(names(&client, &election).await, ["theirs", "ours"]);

    etcdctl.interrupt().await.unwrap();
    let term = elected(&ours).await;
    assert_eq!(
        term.token().0,
        entries[1].create_revision,
        "the token is our create revision"
    );
    assert!(term.token().0 > entries[0].create_revision);
    assert_eq!(
        names(&client, &election).await,
        ["ours"],
        "etcdctl was gone from the line when we led"
    );
    elections.close().await;
}

/// Its lease of a minute is revoked by hand, as it would end by itself.
async fn we_lead_when_the_lease_of_a_killed_etcdctl_ends(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("killed"));
    let mut etcdctl = stand(cluster, &election, "theirs").await;
    etcdctl_leads(&mut etcdctl, "theirs", &[]).await;
    let elections = process(cluster, TTL);
    let ours = elections.stand(&election, "ours").unwrap();
    waiting(&ours).await;

    etcdctl.kill().await.unwrap();
    assert_eq!(etcdctl.next_line(PATIENCE).await.unwrap(), None, "it is dead");
    support::always("its entry stands, so we wait", Duration::from_millis(500), || {
        !ours.is_leader()
    })
    .await;
    let theirs = line(&client, &election).await.remove(0);
    assert_eq!(theirs.value, "theirs");
    revoke(&client, theirs.lease).await;
    assert!(elected(&ours).await.token().0 > theirs.create_revision);
    elections.close().await;
}

async fn etcdctl_leads_when_we_resign_and_we_wait_behind_it(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("resigned"));
    let elections = process(cluster, TTL);
    let ours = elections.stand(&election, "ours").unwrap();
    let first = elected(&ours).await;
    let mut etcdctl = stand(cluster, &election, "theirs").await;
    support::eventually("etcdctl stands behind us", async || {
        names(&client, &election).await == ["ours", "theirs"]
    })
    .await;
    assert!(first.is_valid(), "etcdctl standing takes nothing from us");

    soon("resigned", ours.resign()).await.unwrap();
    assert!(!first.is_valid());
    let key = etcdctl_leads(&mut etcdctl, "theirs", &[&ours]).await;
    assert_eq!(
        waiting(&ours).await,
        key,
        "we went to the end of the line, behind etcdctl"
    );
    let entries = line(&client, &election).await;
    assert_eq!(entries[0].key, key);
    assert!(first.token().0 < entries[0].create_revision);

    etcdctl.interrupt().await.unwrap();
    let second = elected(&ours).await;
    assert!(entries[0].create_revision < second.token().0, "tokens grow");
    elections.close().await;
    assert!(
        line(&client, &election).await.is_empty(),
        "nobody has left anything"
    );
}

async fn etcdctl_leads_when_we_stop(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("stopped"));
    let elections = process(cluster, TTL);
    let ours = elections.stand(&election, "ours").unwrap();
    elected(&ours).await;
    let mut etcdctl = stand(cluster, &election, "theirs").await;
    support::eventually("etcdctl stands behind us", async || {
        names(&client, &election).await == ["ours", "theirs"]
    })
    .await;
    soon("stopped", ours.stop()).await;
    let key = etcdctl_leads(&mut etcdctl, "theirs", &[&ours]).await;
    assert_eq!(line(&client, &election).await[0].key, key);

    // Two of ours behind one of theirs: in order of arrival.
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let second = a.stand(&election, "second").unwrap();
    assert_eq!(waiting(&second).await, key);
    let third = b.stand(&election, "third").unwrap();
    waiting(&third).await;
    etcdctl.interrupt().await.unwrap();
    let term = elected(&second).await;
    assert!(!third.is_leader());
    soon("stopped", second.stop()).await;
    assert!(elected(&third).await.token() > term.token());
    for elections in [elections, a, b] {
        elections.close().await;
    }
}

async fn etcdctl_listens_to_us(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("listened"));
    let elections = process(cluster, TTL);
    let ours = elections.stand(&election, "before").unwrap();
    elected(&ours).await;
    let key = line(&client, &election).await.remove(0).key;
    let mut listener = cluster.spawn_etcdctl(&["elect", "-l", &election]).await.unwrap();
    assert_eq!(printed(&mut listener).await, key);
    assert_eq!(printed(&mut listener).await, "before");

    soon("proclaimed", ours.proclaim("after")).await.unwrap();
    assert_eq!(printed(&mut listener).await, key, "the same entry");
    assert_eq!(printed(&mut listener).await, "after");
    elections.close().await;
}

async fn we_follow_etcdctl(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let election = election("followed");
    let elections = process(cluster, TTL);
    let follower = elections.follow(&election).unwrap();
    let mut changes = follower.changes();
    let nobody = |change: &Change| matches!(change, Change::NoLeader).then_some(());
    next("nobody leads", &mut changes, nobody).await;

    let mut etcdctl = stand(cluster, &election, "theirs").await;
    let key = etcdctl_leads(&mut etcdctl, "theirs", &[]).await;
    let leader = |change: &Change| match change {
        Change::Leader(leader) => Some(leader.clone()),
        _ => None,
    };
    let told = next("etcdctl leads", &mut changes, leader).await;
    assert_eq!((&*told.name(), &*told.key), ("theirs", key.as_str()));
    etcdctl.interrupt().await.unwrap();
    next("nobody leads", &mut changes, nobody).await;
}
