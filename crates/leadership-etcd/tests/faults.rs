//! What goes wrong with a real etcd and the way to it, and what becomes of leaders, waiters and followers.
//! What others got wrong is in `known_failures.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use leadership_core::{Candidate, Change, Elections, EndReason, State, Term};
use leadership_testkit::cluster::{EtcdCluster, Proxy};
use support::{
    Shared, addresses, always, cases, close, compact, elected, election, ended, eventually, leases, led_by,
    line, names, next, nobody, now, operator, process, soon, through, waiting,
};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// The shortest that etcd grants.
const SHORT: Duration = Duration::from_secs(2);
/// For what must not be lost while something is broken for a second or two.
const TTL: Duration = Duration::from_secs(5);

#[derive(Default)]
struct World {
    one: Shared,
    /// Broken by one case after the other.
    three: OnceCell<Mutex<EtcdCluster>>,
}

impl World {
    async fn one(&self) -> &EtcdCluster {
        support::plain(&self.one).await
    }

    /// Three healthy nodes, for one case at a time.
    async fn three(&self) -> MutexGuard<'_, EtcdCluster> {
        let start = || async { Mutex::new(EtcdCluster::start(3).await.unwrap()) };
        let three = self.three.get_or_init(start).await.lock().await;
        three.wait_all_healthy().await.unwrap();
        three
    }
}

fn main() {
    support::main::<World>(cases![
        a_paused_node_costs_a_leader_with_other_endpoints_nothing,
        a_restart_of_the_store_within_the_ttl_keeps_leader_and_watches,
        a_follower_survives_a_restart_and_keeps_no_stale_name,
        a_compaction_while_the_way_is_cut_hides_no_change,
        a_compaction_while_the_watches_move_hides_no_change,
        a_dead_or_hanging_endpoint_among_several_delays_no_election,
        stop_leaves_no_entry_and_close_no_lease,
        dropped_handles_leave_no_entry_and_no_lease,
        a_session_whose_opening_hung_leaves_no_lease,
    ]);
}

async fn a_paused_node_costs_a_leader_with_other_endpoints_nothing(world: Arc<World>) {
    let cluster = world.three().await;
    let election = election("paused-node");
    let ours = (cluster.leader().await.unwrap() + 1) % 3;
    let mut proxies = Vec::new();
    for i in 0..3 {
        proxies.push(Proxy::start(cluster.addr(i).unwrap()).await.unwrap());
    }
    // At first only one of the three can be reached, so that is the one we talk to.
    for (i, proxy) in proxies.iter().enumerate() {
        if i != ours {
            proxy.cut().await;
        }
    }
    let all: Vec<_> = proxies.iter().map(Proxy::addr).collect();
    let elections = through(&addresses(&all), TTL);
    let candidate = elections.stand(&election, "a").unwrap();
    let term = elected(&candidate).await;
    for (i, proxy) in proxies.iter().enumerate() {
        if i != ours {
            proxy.resume().await.unwrap();
        }
    }
    cluster.pause(ours).await.unwrap();
    always("the same term goes on", 2 * TTL, || term.is_valid()).await;
    // And the watches have moved as well.
    let mut events = candidate.events();
    let (mut client, key) = {
        let others: Vec<_> = (0..3)
            .filter(|i| *i != ours)
            .map(|i| cluster.endpoints().remove(i))
            .collect();
        let client = etcd_client::Client::connect(others, None).await.unwrap();
        let key = line(&client, &election).await.remove(0).key;
        (client, key)
    };
    client.delete(key, None).await.unwrap();
    assert_eq!(
        next("the end of the term", &mut events, ended).await,
        EndReason::EntryRemoved
    );
    assert!(elected(&candidate).await.token() > term.token());
    cluster.unpause(ours).await.unwrap();
    close([elections]).await;
}

async fn a_restart_of_the_store_within_the_ttl_keeps_leader_and_watches(_: Arc<World>) {
    let ttl = Duration::from_secs(10);
    let cluster = EtcdCluster::start(1).await.unwrap();
    let election = election("restart");
    let (a, b) = (process(&cluster, ttl), process(&cluster, ttl));
    let leader = a.stand(&election, "a").unwrap();
    let first = elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let follower = b.follow(&election).unwrap();
    let mut changes = follower.changes();
    next("a leads", &mut changes, led_by("a")).await;

    cluster.kill(0).await.unwrap();
    cluster.start_node(0).await.unwrap();
    cluster.wait_healthy(0).await.unwrap();
    let healthy = now();
    eventually("the session is renewed at the store that came back", async || {
        let deadline = first.deadline().expect("the term goes on");
        deadline > healthy + ttl * 8 / 10
    })
    .await;
    soon("proclaimed", leader.proclaim("a again")).await.unwrap();
    next("the new value", &mut changes, led_by("a again")).await;
    assert!(!waiter.is_leader());

    // The leader's watch on its entry and the waiter's on the one ahead are there again.
    let mut client = operator(&cluster).await;
    let mut events = leader.events();
    let entry = line(&client, &election).await.remove(0);
    assert_eq!(entry.create_revision, first.token().0);
    client.delete(entry.key, None).await.unwrap();
    assert_eq!(
        next("the end of the term", &mut events, ended).await,
        EndReason::EntryRemoved
    );
    assert!(elected(&waiter).await.token() > first.token());
    next("b leads", &mut changes, led_by("b")).await;
    close([a, b]).await;
    cluster.remove().await.unwrap();
}

async fn a_follower_survives_a_restart_and_keeps_no_stale_name(_: Arc<World>) {
    let cluster = EtcdCluster::start(1).await.unwrap();
    let election = election("follower");
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let (dying, living) = (
        through(&proxy.addr().to_string(), SHORT),
        process(&cluster, SHORT),
    );
    let a = dying.stand(&election, "a").unwrap();
    elected(&a).await;
    let follower = living.follow(&election).unwrap();
    let mut changes = follower.changes();
    next("a leads", &mut changes, led_by("a")).await;

    cluster.kill(0).await.unwrap();
    // Nobody of a's process will ever say that it is over.
    proxy.cut().await;
    let unreachable = |change: &Change| matches!(change, Change::Unreachable(_)).then_some(());
    next("the store is gone", &mut changes, unreachable).await;
    assert!(follower.view().error.is_some(), "what it says may be outdated");
    cluster.start_node(0).await.unwrap();
    next("a's lease is over", &mut changes, nobody).await;
    assert!(
        follower.leader().is_none() && follower.view().error.is_none(),
        "{follower:?}"
    );

    let b = living.stand(&election, "b").unwrap();
    elected(&b).await;
    next("b leads", &mut changes, led_by("b")).await;
    assert_eq!(follower.led().await.unwrap().name(), "b");
    close([living]).await;
    next("b has left", &mut changes, nobody).await;
    drop((a, dying));
    cluster.remove().await.unwrap();
}

async fn a_compaction_while_the_way_is_cut_hides_no_change(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("cut-and-compacted"));
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let (a, b) = (process(cluster, TTL), through(&proxy.addr().to_string(), TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let follower = b.follow(&election).unwrap();
    let mut changes = follower.changes();
    next("a leads", &mut changes, led_by("a")).await;

    proxy.cut().await;
    soon("proclaimed", leader.proclaim("a2")).await.unwrap();
    soon("stopped", leader.stop()).await;
    client.kv_client().put("elsewhere", "2", None).await.unwrap();
    compact(&client).await;
    proxy.resume().await.unwrap();
    elected(&waiter).await;
    next("b leads", &mut changes, led_by("b")).await;
    close([a, b]).await;
}

/// Watches that hang are not ended but moved, and then begin where they were: before the compaction.
async fn a_compaction_while_the_watches_move_hides_no_change(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("moved-and-compacted"));
    let first = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let second = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    second.cut().await;
    let (a, b) = (
        process(cluster, TTL),
        through(&addresses(&[first.addr(), second.addr()]), TTL),
    );
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let entry = line(&client, &election).await.remove(1);
    let follower = b.follow(&election).unwrap();
    let mut changes = follower.changes();
    next("a leads", &mut changes, led_by("a")).await;

    first.stall();
    soon("stopped", leader.stop()).await;
    client.kv_client().put("elsewhere", "3", None).await.unwrap();
    compact(&client).await;
    second.resume().await.unwrap();
    let term = elected(&waiter).await;
    assert_eq!(
        term.token().0,
        entry.create_revision,
        "its session has survived, and its place in line"
    );
    next("b leads", &mut changes, led_by("b")).await;
    close([a, b]).await;
}

/// Each process begins at an endpoint of its own choice, so several are tried.
async fn a_dead_or_hanging_endpoint_among_several_delays_no_election(world: Arc<World>) {
    let cluster = world.one().await;
    let good = cluster.addr(0).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let hanging = Proxy::start(good).await.unwrap();
    hanging.stall();
    for (bad, limit) in [
        (dead, Duration::from_secs(1)),
        // One request that is given up, and the next one goes elsewhere.
        (hanging.addr(), TTL / 5 + Duration::from_secs(2)),
    ] {
        let begin = Instant::now();
        let processes: Vec<Elections> = (0..6).map(|_| through(&addresses(&[bad, good]), TTL)).collect();
        let candidates = processes
            .iter()
            .map(|process| process.stand(election("endpoints"), "a").unwrap());
        let candidates: Vec<Candidate> = candidates.collect();
        soon("all elected", join_all(candidates.iter().map(elected))).await;
        assert!(begin.elapsed() < limit, "{bad}: {:?}", begin.elapsed());
        // Whatever went to the bad one at first, terms go on.
        let terms: Vec<Term> = candidates.iter().filter_map(Candidate::term).collect();
        always("all lead", TTL, || terms.iter().all(Term::is_valid)).await;
        assert_eq!(terms.len(), 6);
        close(processes).await;
    }
}

async fn stop_leaves_no_entry_and_close_no_lease(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("stopped"));
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let entries = line(&client, &election).await;
    let ours = [entries[0].lease, entries[1].lease];

    // While waiting, while leading, and before anything was asked of the store.
    soon("stopped", waiter.stop()).await;
    assert_eq!(names(&client, &election).await, ["a"]);
    soon("stopped", leader.stop()).await;
    assert!(names(&client, &election).await.is_empty());
    let hasty = a.stand(&election, "hasty").unwrap();
    soon("stopped", hasty.stop()).await;
    assert!(matches!(hasty.state(), State::Stopped(None)));
    assert!(names(&client, &election).await.is_empty());
    let left = leases(&client).await;
    assert!(
        ours.iter().all(|lease| left.contains(lease)),
        "the sessions go on until they are closed"
    );
    // One that has candidates and one that has none; and once more.
    let again = a.stand(&election, "again").unwrap();
    elected(&again).await;
    soon("closed", a.close()).await;
    assert!(matches!(again.state(), State::Stopped(None)));
    soon("closed", b.close()).await;
    soon("closed", a.close()).await;
    let left = leases(&client).await;
    assert!(!ours.iter().any(|lease| left.contains(lease)), "a lease was left");
    assert!(names(&client, &election).await.is_empty(), "an entry was left");
}

async fn dropped_handles_leave_no_entry_and_no_lease(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("dropped"));
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let lease = line(&client, &election).await[0].lease;
    let begin = Instant::now();
    drop((leader, a));
    elected(&waiter).await;
    eventually("the lease is revoked", async || {
        !leases(&client).await.contains(&lease)
    })
    .await;
    assert!(
        begin.elapsed() < TTL / 2,
        "it was left to expire: {:?}",
        begin.elapsed()
    );
    close([b]).await;
}

async fn a_session_whose_opening_hung_leaves_no_lease(_: Arc<World>) {
    let cluster = EtcdCluster::start(1).await.unwrap();
    let client = operator(&cluster).await;
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    // Long enough that no lease ends by itself.
    let elections = through(&proxy.addr().to_string(), Duration::from_secs(6));
    let before = elections.stand("before", "a").unwrap();
    elected(&before).await;
    soon("closed", elections.close()).await;
    assert!(leases(&client).await.is_empty());

    let store = elections.store().clone();
    proxy.stall();
    let opening = tokio::time::timeout(Duration::from_millis(500), store.open(Duration::from_secs(600)));
    assert!(opening.await.is_err(), "it hangs");
    proxy.resume().await.unwrap();
    let granted = r#"grpc_server_started_total{grpc_method="LeaseRevoke",grpc_service="etcdserverpb.Lease",grpc_type="unary"}"#;
    eventually("it was revoked in case it was granted", async || {
        cluster.counter(0, granted).await.unwrap() >= 2.0
    })
    .await;
    eventually("no lease is left", async || leases(&client).await.is_empty()).await;
    cluster.remove().await.unwrap();
}
