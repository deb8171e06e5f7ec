//! What goes wrong with a real Consul and the way to it, and what becomes of leaders, waiters and followers.
//! What others got wrong is in `known_failures.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use leadership_core::{
    Candidate, Change, Contender, ElectionName, Elections, EndReason, ErrorKind, Standing, State, Term,
};
use leadership_testkit::cluster::{ConsulCluster, Proxy};
use leadership_testkit::worker::Worker;
use support::{
    Shared, always, call, cases, close, connect, destroy, elected, election, ended, eventually,
    eventually_within, handover, handover_within, key, led_by, line, next, nobody, now, process, services,
    sessions, soon, through, waiting,
};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::timeout;

/// Half of it is the check's, half the lock-delay.
const SHORT: Duration = Duration::from_secs(2);
/// For what must not be lost while something is broken for a second or two.
const TTL: Duration = Duration::from_secs(8);
/// The shortest with `liveness=session`.
const SESSION: Duration = Duration::from_secs(10);

#[derive(Default)]
struct World {
    one: Shared,
    /// Broken by one case after the other.
    three: OnceCell<Mutex<ConsulCluster>>,
}

impl World {
    async fn one(&self) -> &ConsulCluster {
        support::plain(&self.one).await
    }

    /// Three healthy servers, for one case at a time.
    async fn three(&self) -> MutexGuard<'_, ConsulCluster> {
        let start = || async { Mutex::new(ConsulCluster::start(3).await.unwrap()) };
        let three = self.three.get_or_init(start).await.lock().await;
        three.wait_all_healthy().await.unwrap();
        three
    }
}

fn main() -> anyhow::Result<()> {
    if leadership_testkit::worker::serve(connect)? {
        return Ok(());
    }
    support::main::<World>(cases![
        a_check_of_a_dead_process_is_removed_by_consul_itself,
        a_leader_whose_agent_is_cut_off_from_the_servers_stops_believing_before_they_elect,
        a_leader_beside_a_server_that_autopilot_removes_stops_believing_before_the_others_elect,
        a_paused_server_costs_a_leader_with_other_addresses_nothing,
        a_restart_of_the_agent_within_the_ttl_keeps_the_leader,
        an_agent_that_lost_its_data_makes_no_two_leaders,
        a_killed_leader_is_followed_within_the_ttl_and_a_half,
        a_resignation_to_a_waiter_that_is_dead_costs_no_more_than_a_failover,
        a_follower_survives_a_restart_and_keeps_no_stale_name,
        a_change_while_the_way_is_cut_is_seen_afterwards,
        an_entry_deleted_by_an_operator_holds_up_nobody_behind_it,
        who_waits_for_a_lock_that_consul_keeps_is_not_said_to_lead,
        a_waiter_whose_entry_is_deleted_stands_again_though_the_leader_proclaims,
        a_leader_whose_entry_is_deleted_leads_on_and_leaves_the_lock_to_others,
        a_session_that_holds_the_lock_without_an_entry_leads_with_a_new_token,
        a_leave_that_was_given_up_halfway_leaves_no_free_lock,
        a_plain_write_to_the_lock_leaves_the_term_and_its_token,
        a_standing_given_up_in_flight_is_found_and_blocks_nobody,
        a_session_that_was_destroyed_is_told_so_when_it_stands_again,
        a_dead_or_hanging_address_among_several_delays_no_election,
        stop_leaves_no_entry_and_close_neither_session_nor_check,
        dropped_handles_leave_no_entry_no_session_and_no_check,
    ]);
    Ok(())
}

/// The same processes with the servers' clocks alone.
fn with_sessions(addresses: &[std::net::SocketAddr], ttl: Duration) -> Elections {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    through(&format!("consul://{}?liveness=session", addresses.join(",")), ttl)
}

fn by_way_of(proxy: &Proxy, ttl: Duration) -> Elections {
    through(&format!("consul://{}", proxy.addr()), ttl)
}

async fn names(cluster: &ConsulCluster, election: &str) -> Vec<String> {
    line(cluster, election)
        .await
        .into_iter()
        .map(|entry| entry.value)
        .collect()
}

/// `consul lock` on a server that was killed leaves its service for ever where nobody removes it.
async fn a_check_of_a_dead_process_is_removed_by_consul_itself(world: Arc<World>) {
    // Of its own: the others come and go with services meanwhile.
    let cluster = ConsulCluster::start(1).await.unwrap();
    let mut worker = Worker::start(&cluster.url(""), &election("reaped"), SHORT, 1).unwrap();
    worker.expect("elected").await.unwrap();
    assert_eq!(services(&cluster).await.len(), 1);
    worker.kill().await.unwrap();
    // A minute after it became critical, and then when the agent looks, which is each half minute.
    let begin = Instant::now();
    while !services(&cluster).await.is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(105), "it is still there");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(sessions(&cluster).await.is_empty());
    drop(world);
    cluster.remove().await.unwrap();
}

/// What the agent acknowledges proves nothing about the servers: it goes on saying yes to the check.
async fn a_leader_whose_agent_is_cut_off_from_the_servers_stops_believing_before_they_elect(
    world: Arc<World>,
) {
    let mut cluster = world.three().await;
    let agent = cluster.add_client_agent().await.unwrap();
    let election = election("agent");
    let cut_off = through(&cluster.node_url(agent, "").unwrap(), SHORT);
    let others = through(&cluster.node_url(0, "").unwrap(), SHORT);
    let a = cut_off.stand(&election, "a").unwrap();
    let term = elected(&a).await;
    let b = others.stand(&election, "b").unwrap();
    waiting(&b).await;

    // The backstop: twice the least ttl of a session, and the lock-delay.
    let seen = handover_within(3 * SESSION, term.clone(), b.clone());
    let begin = Instant::now();
    cluster.partition(agent).await.unwrap();
    let margin = seen.await.unwrap().margin();
    println!(
        "stopped believing {margin:?} before the servers elected, after {:?}",
        begin.elapsed()
    );
    assert!(elected(&b).await.token() > term.token(), "tokens grow");
    cluster.heal(agent).await.unwrap();
    cluster.wait_healthy(agent).await.unwrap();
    eventually("the old leader is in line again", async || {
        names(&cluster, &election).await == ["b", "a"]
    })
    .await;
    close([cut_off, others]).await;
}

/// Autopilot removes a server that it has not heard of for some seconds, with its node and the sessions of that, long
/// before their TTL; and all the while the server's own agent says yes to the check. hashicorp/consul#6793
async fn a_leader_beside_a_server_that_autopilot_removes_stops_believing_before_the_others_elect(
    _: Arc<World>,
) {
    const LONG: Duration = Duration::from_secs(60);
    let cluster = ConsulCluster::builder().nodes(3).remove_dead_servers().start();
    let cluster = cluster.await.unwrap();
    let election = election("autopilot");
    let minority = (cluster.leader().await.unwrap() + 1) % 3;
    let other = (minority + 1) % 3;
    let cut_off = through(&cluster.node_url(minority, "").unwrap(), LONG);
    let others = through(&cluster.node_url(other, "").unwrap(), LONG);
    let a = cut_off.stand(&election, "a").unwrap();
    let term = elected(&a).await;
    let b = others.stand(&election, "b").unwrap();
    waiting(&b).await;
    // The later it was renewed, the longer it believes.
    let deadline = term.deadline();
    eventually("renewed", async || term.deadline() > deadline).await;

    let seen = handover_within(2 * LONG, term.clone(), b.clone());
    let begin = Instant::now();
    cluster.partition(minority).await.unwrap();
    let margin = seen.await.unwrap().margin();
    println!(
        "stopped believing {margin:?} before the others elected, after {:?}",
        begin.elapsed()
    );
    assert!(elected(&b).await.token() > term.token(), "tokens grow");
    cluster.remove().await.unwrap();
}

async fn a_paused_server_costs_a_leader_with_other_addresses_nothing(world: Arc<World>) {
    let cluster = world.three().await;
    let election = election("paused-server");
    let ours = (cluster.leader().await.unwrap() + 1) % 3;
    let all: Vec<_> = (0..3).map(|i| cluster.addr((ours + i) % 3).unwrap()).collect();
    let elections = with_sessions(&all, 2 * SESSION);
    let candidate = elections.stand(&election, "a").unwrap();
    let term = elected(&candidate).await;
    cluster.pause(ours).await.unwrap();
    always("the same term goes on", SESSION, || term.is_valid()).await;
    // And the watch has moved as well.
    let mut events = candidate.events();
    let other = (ours + 1) % 3;
    let path = format!("/v1/kv/{election}");
    let (status, _) = cluster.http(other, "DELETE", &path, "").await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        next("the end of the term", &mut events, ended).await,
        EndReason::EntryRemoved
    );
    cluster.unpause(ours).await.unwrap();
    assert!(elected(&candidate).await.token() > term.token());
    close([elections]).await;
}

/// The check comes back with the expiry of its last update, and the session lives on: of one that is not yet renewed
/// as well.
async fn a_restart_of_the_agent_within_the_ttl_keeps_the_leader(_: Arc<World>) {
    let ttl = Duration::from_secs(30);
    let cluster = ConsulCluster::start(1).await.unwrap();
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
    eventually("the session is renewed at the agent that came back", async || {
        let Some(deadline) = first.deadline() else {
            panic!("the term ended: {}", first.ended().await)
        };
        deadline > healthy + ttl / 3
    })
    .await;
    soon("proclaimed", leader.proclaim("a again")).await.unwrap();
    next("the new value", &mut changes, led_by("a again")).await;
    assert!(!waiter.is_leader());
    // The waiter's watch is there again.
    soon("stopped", leader.stop()).await;
    assert!(elected(&waiter).await.token() > first.token());
    next("b leads", &mut changes, led_by("b")).await;
    close([a, b]).await;
    cluster.remove().await.unwrap();
}

/// It knows no check, and tells the servers so, which end the session early: then the lock-delay covers what is left
/// of the deadline.
async fn an_agent_that_lost_its_data_makes_no_two_leaders(_: Arc<World>) {
    let mut cluster = ConsulCluster::start(1).await.unwrap();
    let agent = cluster.add_client_agent().await.unwrap();
    let election = election("lost-data");
    let ours = through(&cluster.node_url(agent, "").unwrap(), TTL);
    let others = process(&cluster, TTL);
    let a = ours.stand(&election, "a").unwrap();
    let term = elected(&a).await;
    let b = others.stand(&election, "b").unwrap();
    waiting(&b).await;

    let seen = handover(term.clone(), b.clone());
    cluster.kill(agent).await.unwrap();
    cluster.wipe_data(agent).await.unwrap();
    // Consul takes the new one for the old only when that is known to be gone.
    let gone = format!("/v1/agent/force-leave/{}", cluster.node_name(agent));
    call(&cluster, "PUT", &gone, "").await;
    cluster.start_node(agent).await.unwrap();
    let margin = soon("elected", seen).await.unwrap().margin();
    println!("stopped believing {margin:?} before the successor was elected");
    assert!(elected(&b).await.token() > term.token(), "tokens grow");
    close([ours, others]).await;
    cluster.remove().await.unwrap();
}

/// docker/leadership takes 17 s here, Go's `api.Lock` half a minute.
async fn a_killed_leader_is_followed_within_the_ttl_and_a_half(world: Arc<World>) {
    let cluster = world.one().await;
    // So that what a busy machine adds is little in proportion.
    let ttl = 2 * SHORT;
    for round in 0..2 {
        let election = election("killed");
        let mut leader = Worker::start(&cluster.url(""), &election, ttl, 1).unwrap();
        leader.expect("elected").await.unwrap();
        let elections = process(cluster, ttl);
        let waiter = elections.stand(&election, "b").unwrap();
        waiting(&waiter).await;
        let seen = Instant::now();
        leader.kill().await.unwrap();
        elected(&waiter).await;
        let took = seen.elapsed();
        println!("round {round}: {took:?}");
        assert!(took < ttl * 3 / 2, "{took:?}");
        elections.close().await;
    }
}

async fn a_resignation_to_a_waiter_that_is_dead_costs_no_more_than_a_failover(world: Arc<World>) {
    let cluster = world.one().await;
    let election = election("dead-next");
    let (a, c) = (process(cluster, SHORT), process(cluster, SHORT));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let dead = Worker::start(&cluster.url(""), &election, SHORT, 1).unwrap();
    eventually("it waits", async || names(cluster, &election).await.len() == 2).await;
    let last = c.stand(&election, "c").unwrap();
    waiting(&last).await;
    dead.kill().await.unwrap();
    let begin = Instant::now();
    soon("stopped", leader.stop()).await;
    elected(&last).await;
    let took = begin.elapsed();
    assert!(took < SHORT * 3 / 2, "{took:?}");
    close([a, c]).await;
}

async fn a_follower_survives_a_restart_and_keeps_no_stale_name(_: Arc<World>) {
    let cluster = ConsulCluster::start(1).await.unwrap();
    let election = election("follower");
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let (dying, living) = (by_way_of(&proxy, SHORT), process(&cluster, SHORT));
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
    next("a's session is over", &mut changes, nobody).await;
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

async fn a_change_while_the_way_is_cut_is_seen_afterwards(world: Arc<World>) {
    let cluster = world.one().await;
    let election = election("cut");
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let (a, b) = (process(cluster, TTL), by_way_of(&proxy, TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let session = line(cluster, &election).await[1].session.clone();
    let follower = b.follow(&election).unwrap();
    let mut changes = follower.changes();
    next("a leads", &mut changes, led_by("a")).await;

    proxy.cut().await;
    soon("proclaimed", leader.proclaim("a2")).await.unwrap();
    soon("stopped", leader.stop()).await;
    proxy.resume().await.unwrap();
    elected(&waiter).await;
    assert_eq!(
        line(cluster, &election).await[0].session,
        session,
        "its session has survived, and its place in line"
    );
    next("b leads", &mut changes, led_by("b")).await;
    close([a, b]).await;
}

async fn an_entry_deleted_by_an_operator_holds_up_nobody_behind_it(world: Arc<World>) {
    let cluster = world.one().await;
    let election = election("deleted-entry");
    let processes = [
        process(cluster, TTL),
        process(cluster, TTL),
        process(cluster, TTL),
    ];
    let mut candidates = Vec::new();
    for (process, name) in processes.iter().zip(["a", "b", "c"]) {
        candidates.push(process.stand(&election, name).unwrap());
        eventually("in line", async || {
            names(cluster, &election).await.last().map(String::as_str) == Some(name)
        })
        .await;
    }
    let first = elected(&candidates[0]).await;
    let deleted = line(cluster, &election).await.remove(1);
    call(cluster, "DELETE", &format!("/v1/kv/{}", deleted.key), "").await;
    soon("stopped", candidates[0].stop()).await;
    let second = elected(&candidates[2]).await;
    assert!(second.token() > first.token());
    assert!(!candidates[1].is_leader());
    close(processes).await;
}

/// Consul keeps the lock of a session that was ended from everybody for a while.
async fn who_waits_for_a_lock_that_consul_keeps_is_not_said_to_lead(world: Arc<World>) {
    let cluster = world.one().await;
    let election = ElectionName::new(election("kept")).unwrap();
    let store = connect(&cluster.url("")).unwrap();
    let (a, b) = (store.open(TTL).await.unwrap(), store.open(TTL).await.unwrap());
    let (_, standing) = store.enter(&election, &a, b"a").await.unwrap();
    let Standing::First(token) = standing else {
        panic!("{standing:?}")
    };
    store.enter(&election, &b, b"b").await.unwrap();
    let line = store.contenders(&election).await.unwrap();
    let seen = |line: &[Contender]| -> Vec<_> {
        let seen = line
            .iter()
            .map(|one| (one.name().into_owned(), one.leads, one.token));
        seen.collect()
    };
    assert_eq!(
        seen(&line),
        [("a".to_owned(), true, Some(token)), ("b".to_owned(), false, None)]
    );
    destroy(cluster, a.id.as_str()).await;
    let line = store.contenders(&election).await.unwrap();
    assert_eq!(seen(&line), [("b".to_owned(), false, None)]);
    soon("closed", store.close(&b)).await.unwrap();
}

/// What the leader proclaims is heard by whoever watches the lock, and tells nothing of the own entry.
async fn a_waiter_whose_entry_is_deleted_stands_again_though_the_leader_proclaims(world: Arc<World>) {
    let cluster = world.one().await;
    let election = election("deleted-unheard");
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let place = line(cluster, &election).await.pop().unwrap();
    let path = format!("/v1/kv/{}", place.key);
    call(cluster, "DELETE", &path, "").await;
    let mut times = 0;
    let stands_again = async || {
        times += 1;
        soon("proclaimed", leader.proclaim(format!("a, {times} times")))
            .await
            .unwrap();
        names(cluster, &election).await.len() == 2
    };
    eventually_within(Duration::from_secs(40), "stands again", stands_again).await;
    close([a, b]).await;
}

async fn a_leader_whose_entry_is_deleted_leads_on_and_leaves_the_lock_to_others(world: Arc<World>) {
    let cluster = world.one().await;
    let election = election("deleted-leading");
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let leader = a.stand(&election, "a").unwrap();
    let first = elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let deleted = line(cluster, &election).await.remove(0);
    call(cluster, "DELETE", &format!("/v1/kv/{}", deleted.key), "").await;
    assert!(leader.is_leader(), "it has the lock");
    soon("resigned", leader.resign()).await.unwrap();
    let second = elected(&waiter).await;
    assert!(second.token() > first.token(), "tokens grow");
    soon("stopped", waiter.stop()).await;
    // And alone, by a session that holds the lock without an entry.
    let third = elected(&leader).await;
    let deleted = line(cluster, &election).await.remove(0);
    call(cluster, "DELETE", &format!("/v1/kv/{}", deleted.key), "").await;
    soon("resigned", leader.resign()).await.unwrap();
    assert!(elected(&leader).await.token() > third.token(), "tokens grow");
    close([a, b]).await;
    assert!(key(cluster, &election).await.is_none(), "nothing is left");
}

/// Whoever cleans up by hand removes entries and leaves the lock.
async fn a_session_that_holds_the_lock_without_an_entry_leads_with_a_new_token(world: Arc<World>) {
    let cluster = world.one().await;
    let name = ElectionName::new(election("no-entry")).unwrap();
    let store = connect(&cluster.url("")).unwrap();
    let session = store.open(TTL).await.unwrap();
    let (place, standing) = store.enter(&name, &session, b"v").await.unwrap();
    let Standing::First(first) = standing else {
        panic!("{standing:?}")
    };
    call(cluster, "DELETE", &format!("/v1/kv/{}", place.key), "").await;
    let (again, standing) = store.enter(&name, &session, b"v").await.unwrap();
    assert!(
        matches!(standing, Standing::First(token) if token > first),
        "{standing:?} after {first:?}"
    );
    store.leave(&again).await.unwrap();
    assert!(key(cluster, name.as_str()).await.is_none(), "nothing is left");
    store.close(&session).await.unwrap();
}

/// Leaving frees the lock first, and then removes it if nobody has taken it.
async fn a_leave_that_was_given_up_halfway_leaves_no_free_lock(world: Arc<World>) {
    /// What Go's clients and we write to a lock.
    const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
    let cluster = world.one().await;
    let name = ElectionName::new(election("halfway")).unwrap();
    let store = connect(&cluster.url("")).unwrap();
    let session = store.open(TTL).await.unwrap();
    let (place, _) = store.enter(&name, &session, b"v").await.unwrap();
    // As if the first of both requests had been all.
    let release = format!("/v1/kv/{name}?release={}&flags={LOCK_FLAGS}", session.id);
    call(cluster, "PUT", &release, "v").await;
    call(cluster, "DELETE", &format!("/v1/kv/{}", place.key), "").await;
    store.leave(&place).await.unwrap();
    assert!(key(cluster, name.as_str()).await.is_none(), "nothing is left");
    // What is no lock of ours stays.
    call(cluster, "PUT", &format!("/v1/kv/{name}"), "theirs").await;
    store.leave(&place).await.unwrap();
    assert!(key(cluster, name.as_str()).await.is_some(), "it is somebody's");
    store.close(&session).await.unwrap();
}

/// It resets the LockIndex, which others take for a token, and the flags.
async fn a_plain_write_to_the_lock_leaves_the_term_and_its_token(world: Arc<World>) {
    let cluster = world.one().await;
    let election = election("written");
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let leader = a.stand(&election, "a").unwrap();
    let first = elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let follower = b.follow(&election).unwrap();
    let mut changes = follower.changes();
    next("a leads", &mut changes, led_by("a")).await;
    call(cluster, "PUT", &format!("/v1/kv/{election}"), "x").await;
    next("the new value", &mut changes, led_by("x")).await;
    assert_eq!(key(cluster, &election).await.unwrap()["LockIndex"], 0);
    assert!(first.is_valid() && leader.is_leader());
    assert_eq!(leader.term().unwrap().token(), first.token());
    soon("resigned", leader.resign()).await.unwrap();
    let second = elected(&waiter).await;
    assert!(second.token() > first.token(), "tokens grow");
    soon("stopped", waiter.stop()).await;
    assert!(elected(&leader).await.token() > second.token(), "tokens grow");
    close([a, b]).await;
}

async fn a_standing_given_up_in_flight_is_found_and_blocks_nobody(world: Arc<World>) {
    let cluster = world.one().await;
    let election = election("in-flight");
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let store = connect(&format!("consul://{}", proxy.addr())).unwrap();
    let session = store.open(TTL).await.unwrap();
    let name = ElectionName::new(&election).unwrap();
    proxy.stall();
    let entering = timeout(TTL / 20, store.enter(&name, &session, b"v")).await;
    assert!(entering.is_err(), "no answer");
    proxy.resume().await.unwrap();
    eventually("it was applied", async || {
        store.find(&name, &session).await.unwrap().is_some()
    })
    .await;
    let ghost = store.find(&name, &session).await.unwrap().unwrap();
    let (place, standing) = store.enter(&name, &session, b"v").await.unwrap();
    assert_eq!(place, ghost, "it is used, not made again");
    assert!(matches!(standing, Standing::First(_)));
    assert_eq!(names(cluster, &election).await.len(), 1);
    store.leave(&place).await.unwrap();
    assert!(store.find(&name, &session).await.unwrap().is_none());
    assert!(names(cluster, &election).await.is_empty());
    store.close(&session).await.unwrap();
}

/// Consul looks for the lock-delay, which its end began, before it looks for the session.
async fn a_session_that_was_destroyed_is_told_so_when_it_stands_again(_: Arc<World>) {
    // Of its own, so that all requests are ours.
    let cluster = ConsulCluster::start(1).await.unwrap();
    let name = ElectionName::new(election("destroyed-again")).unwrap();
    let store = connect(&cluster.url("")).unwrap();
    let session = store.open(TTL).await.unwrap();
    store.enter(&name, &session, b"v").await.unwrap();
    destroy(&cluster, session.id.as_str()).await;
    let before = cluster.requests(0).await.unwrap();
    let error = soon("refused", store.enter(&name, &session, b"v"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionGone, "{error}");
    let asked = cluster.requests(0).await.unwrap() - before;
    assert!(asked <= 4.0, "{asked} requests");
    cluster.remove().await.unwrap();
}

async fn a_dead_or_hanging_address_among_several_delays_no_election(world: Arc<World>) {
    let cluster = world.one().await;
    let good = cluster.addr(0).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let hanging = Proxy::start(good).await.unwrap();
    hanging.stall();
    for bad in [dead, hanging.addr()] {
        let begin = Instant::now();
        let processes: Vec<Elections> = (0..4)
            .map(|i| {
                let both = if i % 2 == 0 { [bad, good] } else { [good, bad] };
                with_sessions(&both, SESSION)
            })
            .collect();
        let candidates = processes
            .iter()
            .map(|process| process.stand(election("addresses"), "a").unwrap());
        let candidates: Vec<Candidate> = candidates.collect();
        soon("all elected", join_all(candidates.iter().map(elected))).await;
        println!("{bad}: {:?}", begin.elapsed());
        assert!(begin.elapsed() < SESSION, "{bad}: {:?}", begin.elapsed());
        let terms: Vec<Term> = candidates.iter().filter_map(Candidate::term).collect();
        always("all lead", SESSION / 2, || terms.iter().all(Term::is_valid)).await;
        assert_eq!(terms.len(), 4);
        close(processes).await;
    }
}

async fn stop_leaves_no_entry_and_close_neither_session_nor_check(_: Arc<World>) {
    // Of its own, so that all sessions and services are ours.
    let cluster = ConsulCluster::start(1).await.unwrap();
    let election = election("stopped");
    let (a, b) = (process(&cluster, TTL), process(&cluster, TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;

    // While waiting, while leading, and before anything was asked of the store.
    soon("stopped", waiter.stop()).await;
    assert_eq!(names(&cluster, &election).await, ["a"]);
    soon("stopped", leader.stop()).await;
    assert!(names(&cluster, &election).await.is_empty());
    assert!(
        key(&cluster, &election).await.is_none(),
        "not even a free lock is left"
    );
    let hasty = a.stand(&election, "hasty").unwrap();
    soon("stopped", hasty.stop()).await;
    assert!(matches!(hasty.state(), State::Stopped(None)));
    assert!(names(&cluster, &election).await.is_empty());
    assert_eq!(
        sessions(&cluster).await.len(),
        2,
        "the sessions go on until they are closed"
    );
    assert_eq!(services(&cluster).await.len(), 2, "each with its check");
    // One that has candidates and one that has none; and once more.
    let again = a.stand(&election, "again").unwrap();
    elected(&again).await;
    soon("closed", a.close()).await;
    assert!(matches!(again.state(), State::Stopped(None)));
    soon("closed", b.close()).await;
    soon("closed", a.close()).await;
    assert!(sessions(&cluster).await.is_empty(), "a session was left");
    assert!(services(&cluster).await.is_empty(), "a check was left");
    assert!(names(&cluster, &election).await.is_empty(), "an entry was left");
    cluster.remove().await.unwrap();
}

async fn dropped_handles_leave_no_entry_no_session_and_no_check(_: Arc<World>) {
    let cluster = ConsulCluster::start(1).await.unwrap();
    let election = election("dropped");
    let (a, b) = (process(&cluster, TTL), process(&cluster, TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let begin = Instant::now();
    drop((leader, a));
    elected(&waiter).await;
    eventually("session and check are gone", async || {
        sessions(&cluster).await.len() == 1 && services(&cluster).await.len() == 1
    })
    .await;
    assert!(
        begin.elapsed() < TTL / 4,
        "they were left to expire: {:?}",
        begin.elapsed()
    );
    close([b]).await;
    assert!(sessions(&cluster).await.is_empty() && services(&cluster).await.is_empty());
    cluster.remove().await.unwrap();
}
