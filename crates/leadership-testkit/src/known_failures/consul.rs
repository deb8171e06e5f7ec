//! What only Consul does to its clients: sessions that end with a node's health, locks that outlive who holds them, and
//! keys with flags.

use std::sync::Arc;
use std::time::{Duration, Instant};

use leadership_core::EndReason;

use super::ground::{Networked, TTL, connected, in_line, pair, process};
use crate::cluster::{ConsulCluster, Proxy};
use crate::trials::{Case, always, cases, close, elected, eventually, handover, now, soon};

/// The flags of a lock, as Go's `api.Lock` demands them.
const LOCK_FLAGS: &str = "\"Flags\":3304740253564472344,";

/// A Consul.
pub trait OnConsul: Networked<Cluster = ConsulCluster> {}

impl<G: Networked<Cluster = ConsulCluster>> OnConsul for G {}

/// Cases for Consul.
pub fn on_consul<G: OnConsul>() -> Vec<Case<G>> {
    cases![
        consul_2371_a_session_that_outlives_its_term_keeps_nobody_from_leading,
        patroni_522_an_agent_that_is_taken_for_failed_costs_no_term,
        traefik_6961_a_leader_whose_flags_were_overwritten_leaves_a_lock_for_everybody,
    ]
}

async fn call(cluster: &ConsulCluster, method: &str, path: &str, body: &str) -> String {
    let (status, answer) = cluster.http(0, method, path, body).await.unwrap();
    assert!(
        status == 200 || status == 404,
        "{method} {path}: {status} {answer}"
    );
    answer
}

/// Without a check a session lives for twice its TTL, long after its leader has given up.
async fn consul_2371_a_session_that_outlives_its_term_keeps_nobody_from_leading<G: OnConsul>(ground: Arc<G>) {
    const LEAST: Duration = Duration::from_secs(10);
    let cluster = ground.one().started(ConsulCluster::start(1)).await;
    let way = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let to = |addr| connected::<G>(&format!("consul://{addr}?liveness=session"), LEAST);
    let pair = pair("2371", to(way.addr()), to(cluster.addr(0).unwrap())).await;
    let seen = handover(pair.term.clone(), pair.waiter.clone());
    way.stall();
    let reason = soon("given up", pair.term.ended()).await;
    way.resume().await.unwrap();
    let begin = Instant::now();
    assert_eq!(reason, EndReason::DeadlinePassed);
    soon("another leads", seen).await.unwrap().margin();
    let took = begin.elapsed();
    assert!(took < LEAST / 2, "the session was left to expire: {took:?}");
    in_line(&*ground, &pair.election, &["b", "a"]).await;
    close([pair.a, pair.b]).await;
}

/// Sessions are bound to `serfHealth` unless one asks for something else: whoever is away for longer than the gossip is
/// patient loses them, whatever their TTL.
async fn patroni_522_an_agent_that_is_taken_for_failed_costs_no_term<G: OnConsul>(_: Arc<G>) {
    const LONG: Duration = Duration::from_secs(90);
    let mut cluster = ConsulCluster::start(1).await.unwrap();
    let agent = cluster.add_client_agent().await.unwrap();
    let here = format!("{}?liveness=session", cluster.node_url(agent, "").unwrap());
    let there = format!("{}?liveness=session", cluster.node_url(0, "").unwrap());
    let pair = pair("522", connected::<G>(&here, LONG), connected::<G>(&there, LONG)).await;
    let health = format!("/v1/health/node/{}?consistent", cluster.node_name(agent));
    cluster.partition(agent).await.unwrap();
    eventually("the agent is taken for failed", async || {
        assert!(pair.term.is_valid() && !pair.waiter.is_leader());
        call(&cluster, "GET", &health, "").await.contains("\"critical\"")
    })
    .await;
    cluster.heal(agent).await.unwrap();
    cluster.wait_healthy(agent).await.unwrap();
    let healed = now();
    let certain = pair.a.store().limits().certain(LONG);
    eventually("renewed", async || {
        let deadline = pair.term.deadline().expect("the term goes on");
        deadline > healed + certain / 2
    })
    .await;
    assert!(!pair.waiter.is_leader());
    soon("stopped", pair.leader.stop()).await;
    elected(&pair.waiter).await;
    close([pair.a, pair.b]).await;
}

/// A key whose flags are not a lock's is refused by every Go client for ever: nobody leads until a person deletes it.
/// Ours come and go without leaving one, whatever was written over it. (A foreign key that was there before is waited
/// behind and named: `a_foreign_key_is_waited_behind_and_named_with_the_remedy` in `leadership-consul`.)
async fn traefik_6961_a_leader_whose_flags_were_overwritten_leaves_a_lock_for_everybody<G: OnConsul>(
    ground: Arc<G>,
) {
    let cluster = ground.one().started(ConsulCluster::start(1)).await;
    let pair = pair(
        "6961",
        connected::<G>(&cluster.url(""), TTL),
        connected::<G>(&cluster.url(""), TTL),
    )
    .await;
    let lock = format!("/v1/kv/{}", pair.election);
    assert!(call(cluster, "GET", &lock, "").await.contains(LOCK_FLAGS));
    // A plain write has flags of its own: none.
    call(cluster, "PUT", &lock, "x").await;
    assert!(!call(cluster, "GET", &lock, "").await.contains(LOCK_FLAGS));
    always("it leads on", Duration::from_millis(500), || {
        pair.term.is_valid() && !pair.waiter.is_leader()
    })
    .await;
    soon("resigned", pair.leader.resign()).await.unwrap();
    let second = elected(&pair.waiter).await;
    assert!(second.token() > pair.term.token(), "tokens grow");
    assert!(call(cluster, "GET", &lock, "").await.contains(LOCK_FLAGS));
    close([pair.a, pair.b]).await;
    assert_eq!(call(cluster, "GET", &lock, "").await, "", "no key is left");
    let other = process(&*ground, TTL).await;
    elected(&other.stand(&*pair.election, "c").unwrap()).await;
    close([other]).await;
}
