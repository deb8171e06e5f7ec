//! What goes wrong with a real ZooKeeper and the way to it, and what becomes of leaders, waiters and followers.
//! What others got wrong is in `known_failures.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{join, join_all};
use leadership_core::{
    Candidate, Change, ElectionName, Elections, EndReason, ErrorKind, Event, KvStore, Standing, State, Term,
};
use leadership_testkit::cluster::{Proxy, ZkCluster};
use leadership_zk::{ZkConfig, ZkStore};
use support::{
    Shared, addresses, always, cases, close, create_as, elected, election, ended, eventually, handover,
    led_by, line, make, names, next, nobody, now, operator, process, sessions, soon, through, waiting,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::time::timeout;
use zookeeper_client::{Client, CreateMode};

/// Four ticks of the servers here.
const SHORT: Duration = Duration::from_secs(2);
/// For what must not be lost while something is broken for a second or two.
const TTL: Duration = Duration::from_secs(6);

#[derive(Default)]
struct World {
    one: Shared,
    /// Broken by one case after the other.
    three: OnceCell<Mutex<ZkCluster>>,
}

impl World {
    async fn one(&self) -> &ZkCluster {
        support::plain(&self.one).await
    }

    /// Three healthy nodes, for one case at a time.
    async fn three(&self) -> MutexGuard<'_, ZkCluster> {
        let start = || async { Mutex::new(ZkCluster::start(3).await.unwrap()) };
        let three = self.three.get_or_init(start).await.lock().await;
        three.wait_all_healthy().await.unwrap();
        three
    }
}

fn main() {
    support::main::<World>(cases![
        a_leader_that_hears_no_answers_keeps_its_session_no_longer_than_its_belief,
        a_paused_node_costs_a_leader_with_other_servers_nothing,
        a_restart_of_the_store_within_the_timeout_keeps_leader_and_watches,
        a_follower_survives_a_restart_and_keeps_no_stale_name,
        a_change_while_the_way_is_cut_is_seen_afterwards,
        a_waiter_whose_entry_went_unseen_with_the_head_never_wins_without_it,
        a_foreign_child_holds_up_nobody,
        ten_thousand_foreign_children_hold_up_nobody,
        a_contender_that_no_session_removes_is_waited_behind_and_named,
        a_creation_given_up_while_disconnected_leaves_nothing,
        a_creation_given_up_in_flight_is_found_and_blocks_nobody,
        an_entry_of_ours_that_turns_up_late_does_not_block_our_own_place,
        a_dead_or_hanging_server_among_several_delays_no_election,
        as_many_elections_as_a_session_takes_survive_a_reconnection_and_more_are_refused,
        more_followers_than_one_connection_can_watch_for_survive_a_reconnection,
        a_reader_that_is_never_connected_again_is_replaced,
        streams_over_a_connection_that_was_given_up_say_so,
        a_session_that_nobody_renews_ends_although_the_client_lives,
        stop_leaves_no_entry_and_close_no_session,
        dropped_handles_leave_no_entry_and_no_session,
        containers_that_the_server_removes_in_between_are_made_again,
    ]);
}

/// A store of its own for what is below candidates.
fn store(address: impl std::fmt::Display) -> ZkStore {
    ZkStore::new(ZkConfig::from_url(&format!("zk://{address}")).unwrap()).unwrap()
}

/// Its requests arrive, and so would its tries to connect anew, each of which keeps a session alive.
async fn a_leader_that_hears_no_answers_keeps_its_session_no_longer_than_its_belief(world: Arc<World>) {
    let (cluster, election) = (world.one().await, election("unheard"));
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let (deaf, healthy) = (through(&proxy.addr().to_string(), TTL), process(cluster, TTL));
    let a = deaf.stand(&election, "a").unwrap();
    let term = elected(&a).await;
    let b = healthy.stand(&election, "b").unwrap();
    waiting(&b).await;
    let seen = handover(term.clone(), b.clone());
    proxy.stall_replies();
    assert_eq!(soon("ended", term.ended()).await, EndReason::DeadlinePassed);
    let begin = Instant::now();
    let margin = soon("elected", seen).await.unwrap().margin();
    // A server keeps a session for its timeout and a tick; before that, it has to be given up.
    let limit = TTL + TTL / 4;
    assert!(begin.elapsed() < limit, "{:?}", begin.elapsed());
    println!("elected {:?} later, {margin:?}", begin.elapsed());
    proxy.resume().await.unwrap();
    close([deaf, healthy]).await;
}

async fn a_paused_node_costs_a_leader_with_other_servers_nothing(world: Arc<World>) {
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
    let client = Client::connect(&cluster.addr((ours + 1) % 3).unwrap().to_string())
        .await
        .unwrap();
    let path = line(&client, &election).await.remove(0).path;
    client.delete(&path, None).await.unwrap();
    assert_eq!(
        next("the end of the term", &mut events, ended).await,
        EndReason::EntryRemoved
    );
    assert!(elected(&candidate).await.token() > term.token());
    cluster.unpause(ours).await.unwrap();
    close([elections]).await;
}

async fn a_restart_of_the_store_within_the_timeout_keeps_leader_and_watches(_: Arc<World>) {
    // The client tries again after 0.1, 0.3, 0.7, 1.5, 3.1, 6.3 s: a shorter session may be over before.
    let ttl = Duration::from_secs(20);
    let slow = ZkCluster::builder().tick(Duration::from_secs(1)).start();
    let cluster = slow.await.unwrap();
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
        deadline > healthy + ttl / 2
    })
    .await;
    soon("proclaimed", leader.proclaim("a again")).await.unwrap();
    next("the new value", &mut changes, led_by("a again")).await;
    assert!(!waiter.is_leader());

    // The leader's watch on its entry and the waiter's on the one ahead are there again.
    let client = operator(&cluster).await;
    let mut events = leader.events();
    let entry = line(&client, &election).await.remove(0);
    assert_eq!(entry.czxid, first.token().0);
    client.delete(&entry.path, None).await.unwrap();
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
    let cluster = ZkCluster::start(1).await.unwrap();
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
    let (a, b) = (process(cluster, TTL), through(&proxy.addr().to_string(), TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let client = operator(cluster).await;
    let entry = line(&client, &election).await.remove(1);
    let follower = b.follow(&election).unwrap();
    let mut changes = follower.changes();
    next("a leads", &mut changes, led_by("a")).await;

    proxy.cut().await;
    soon("proclaimed", leader.proclaim("a2")).await.unwrap();
    soon("stopped", leader.stop()).await;
    proxy.resume().await.unwrap();
    let term = elected(&waiter).await;
    assert_eq!(
        term.token().0,
        entry.czxid,
        "its session has survived, and its place in line"
    );
    next("b leads", &mut changes, led_by("b")).await;
    close([a, b]).await;
}

fn won(event: &Event) -> Option<u64> {
    match event {
        Event::Elected(term) => Some(term.token().0),
        _ => None,
    }
}

/// After a reconnection ZooKeeper tells of both, in no order.
async fn a_waiter_whose_entry_went_unseen_with_the_head_never_wins_without_it(world: Arc<World>) {
    let cluster = world.one().await;
    let client = operator(cluster).await;
    for cut in [true, false] {
        let election = election("no-entry");
        let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
        let (a, b) = (process(cluster, TTL), through(&proxy.addr().to_string(), TTL));
        let leader = a.stand(&election, "a").unwrap();
        elected(&leader).await;
        let waiter = b.stand(&election, "b").unwrap();
        waiting(&waiter).await;
        let mut events = waiter.events();
        let lost = line(&client, &election).await.remove(1);
        if cut {
            proxy.cut().await;
        } else {
            proxy.stall();
        }
        client.delete(&lost.path, None).await.unwrap();
        soon("stopped", leader.stop()).await;
        proxy.resume().await.unwrap();

        let token = next("elected", &mut events, won).await;
        assert_ne!(token, lost.czxid, "won with an entry that is gone");
        let entries = line(&client, &election).await;
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (entries[0].czxid, entries[0].owner),
            (token, lost.owner),
            "in the same session"
        );
        close([a, b]).await;
    }
}

async fn a_foreign_child_holds_up_nobody(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("foreign"));
    let unique = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    for child in ["config".to_owned(), format!("_c_{unique}-lock-0000000000")] {
        make(
            &client,
            &format!("/{election}/{child}"),
            "",
            CreateMode::Persistent,
        )
        .await;
    }
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let follower = b.follow(&election).unwrap();
    let mut changes = follower.changes();
    next("nobody leads yet", &mut changes, nobody).await;
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    next("a leads", &mut changes, led_by("a")).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    assert_eq!(follower.contenders().await.unwrap().len(), 2);
    soon("stopped", leader.stop()).await;
    elected(&waiter).await;
    close([a, b]).await;
}

async fn ten_thousand_foreign_children_hold_up_nobody(_: Arc<World>) {
    // Of its own: the others have to renew in a fraction of a second.
    let cluster = ZkCluster::start(1).await.unwrap();
    let (client, election) = (operator(&cluster).await, election("crowd"));
    make(&client, &format!("/{election}/f"), "", CreateMode::Persistent).await;
    let options = CreateMode::Persistent.with_acls(zookeeper_client::Acls::anyone_all());
    for chunk in (0..10_000).collect::<Vec<u32>>().chunks(500) {
        let paths: Vec<_> = chunk.iter().map(|i| format!("/{election}/f{i}")).collect();
        let made = paths.iter().map(|path| client.create(path, b"", &options));
        assert!(join_all(made).await.iter().all(Result::is_ok));
    }
    let (a, b) = (process(&cluster, TTL), process(&cluster, TTL));
    let begin = Instant::now();
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    assert_eq!(b.follow(&election).unwrap().contenders().await.unwrap().len(), 2);
    soon("stopped", leader.stop()).await;
    elected(&waiter).await;
    println!("elected twice among ten thousand in {:?}", begin.elapsed());
    assert!(begin.elapsed() < TTL, "{:?}", begin.elapsed());
    close([a, b]).await;
    cluster.remove().await.unwrap();
}

async fn a_contender_that_no_session_removes_is_waited_behind_and_named(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("stuck"));
    let path = format!("/{election}/_c_1b4e28ba-2fa1-11d2-883f-0016d3cca427-latch-");
    make(&client, &format!("{path}0000000000"), "", CreateMode::Persistent).await;
    let a = process(cluster, TTL);
    let candidate = a.stand(&election, "a").unwrap();
    let mut events = candidate.events();
    let named = |event: &Event| match event {
        Event::Error(error) if error.kind() == leadership_core::ErrorKind::ForeignEntry => {
            Some(error.to_string())
        }
        _ => None,
    };
    let text = next("told why it waits", &mut events, named).await;
    assert!(text.contains(&path) && text.contains("delete it"), "{text}");
    let follower = a.follow(&election).unwrap();
    next("nobody leads", &mut follower.changes(), nobody).await;
    client.delete(&format!("{path}0000000000"), None).await.unwrap();
    elected(&candidate).await;
    close([a]).await;
}

/// As go-zookeeper#229 and the lock of zookeeper-client: an orphan that holds up everybody.
async fn a_creation_given_up_while_disconnected_leaves_nothing(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("given-up"));
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let store = store(proxy.addr());
    let session = store.open(TTL).await.unwrap();
    let name = ElectionName::new(&election).unwrap();
    proxy.cut().await;
    // Until the client has noticed, what is asked fails; from then on it waits.
    eventually("it waits for the connection", async || {
        timeout(TTL / 30, store.enter(&name, &session, b"v"))
            .await
            .is_err()
    })
    .await;
    proxy.resume().await.unwrap();
    soon("connected again", store.renew(&session)).await.unwrap();
    assert!(
        names(&client, &election).await.is_empty(),
        "a creation was kept for later"
    );
    assert!(store.find(&name, &session).await.unwrap().is_none());
    store.close(&session).await.unwrap();
}

async fn a_creation_given_up_in_flight_is_found_and_blocks_nobody(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("in-flight"));
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let store = store(proxy.addr());
    let session = store.open(TTL).await.unwrap();
    let name = ElectionName::new(&election).unwrap();
    // So that the node is there, and it is one request that makes the entry.
    make(&client, &format!("/{election}"), "", CreateMode::Persistent).await;
    proxy.stall();
    let entering = timeout(TTL / 20, store.enter(&name, &session, b"v")).await;
    assert!(entering.is_err(), "no answer");
    proxy.resume().await.unwrap();
    let ghost = soon("found", store.find(&name, &session))
        .await
        .unwrap()
        .expect("it was applied");
    let (place, standing) = store.enter(&name, &session, b"v").await.unwrap();
    assert_eq!(place, ghost, "it is used, not made again");
    assert!(matches!(standing, Standing::First(_)));
    assert_eq!(names(&client, &election).await.len(), 1);
    store.leave(&place).await.unwrap();
    assert!(store.find(&name, &session).await.unwrap().is_none());
    assert!(names(&client, &election).await.is_empty());
    store.close(&session).await.unwrap();
}

/// What no look could find any more: it is noticed by its owner.
async fn an_entry_of_ours_that_turns_up_late_does_not_block_our_own_place(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("late"));
    let unique = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    let path = format!("/{election}/_c_{unique}-latch-");
    let ours = store(cluster.addr(0).unwrap());
    let session = ours.open(TTL).await.unwrap();
    let name = ElectionName::new(&election).unwrap();
    make(&client, &format!("/{election}/first"), "", CreateMode::Persistent).await;
    // An entry of this session that this store knows nothing of: made by one that took the session over.
    let number = i64::from_str_radix(&session.id.as_str()[2..], 16).unwrap();
    eventually("it is there", async || {
        create_as(cluster, number, &path).await;
        line(&client, &election)
            .await
            .iter()
            .any(|entry| entry.owner == number)
    })
    .await;
    let (place, standing) = soon("entered", ours.enter(&name, &session, b"v")).await.unwrap();
    assert!(matches!(standing, Standing::Behind(_)), "{standing:?}");
    let mut stream = ours.standing(&place, Some(standing));
    soon("first", async {
        while !matches!(stream.next().await.unwrap().unwrap(), Standing::First(_)) {}
    })
    .await;
    ours.close(&session).await.unwrap();
}

/// The client tries the servers in random order, so several are tried.
async fn a_dead_or_hanging_server_among_several_delays_no_election(world: Arc<World>) {
    let cluster = world.one().await;
    let good = cluster.addr(0).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap();
    drop(listener);
    let hanging = Proxy::start(good).await.unwrap();
    hanging.stall();
    for (bad, limit) in [
        (dead, Duration::from_secs(2)),
        // Openings that are given up, until one begins at the other server.
        (hanging.addr(), 2 * TTL),
    ] {
        let begin = Instant::now();
        let processes: Vec<Elections> = (0..6).map(|_| through(&addresses(&[bad, good]), TTL)).collect();
        let candidates = processes
            .iter()
            .map(|process| process.stand(election("servers"), "a").unwrap());
        let candidates: Vec<Candidate> = candidates.collect();
        soon("all elected", join_all(candidates.iter().map(elected))).await;
        println!("{bad}: {:?}", begin.elapsed());
        assert!(begin.elapsed() < limit, "{bad}: {:?}", begin.elapsed());
        let terms: Vec<Term> = candidates.iter().filter_map(Candidate::term).collect();
        always("all lead", TTL, || terms.iter().all(Term::is_valid)).await;
        assert_eq!(terms.len(), 6);
        close(processes).await;
    }
}

/// After a reconnection zookeeper-client sets its watches anew, and is never connected again if they are too many.
async fn as_many_elections_as_a_session_takes_survive_a_reconnection_and_more_are_refused(_: Arc<World>) {
    let ttl = Duration::from_secs(20);
    let slow = ZkCluster::builder().tick(Duration::from_secs(1)).start();
    let cluster = slow.await.unwrap();
    let client = operator(&cluster).await;
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let [a, b] = [0, 1].map(|_| through(&proxy.addr().to_string(), ttl));
    let mut leading = Vec::new();
    let refused = loop {
        let more = (0..100).map(|i| {
            let name = format!("many/{:05}", leading.len() + i);
            (name.clone(), a.stand(name, "a").unwrap())
        });
        let more: Vec<_> = more.collect();
        let stood = more
            .iter()
            .map(|(_, candidate)| soon("decided", candidate.elected()));
        let stood = join_all(stood).await;
        let refused = stood.iter().find_map(|stood| stood.as_ref().err().cloned());
        for ((name, candidate), stood) in more.into_iter().zip(stood) {
            leading.extend(stood.ok().map(|term| (name, candidate, term)));
        }
        if let Some(refused) = refused {
            break refused;
        }
        assert!(leading.len() < 3000, "nothing is refused");
    };
    let text = refused.to_string();
    assert!(
        text.contains("many/") && text.contains("Elections of their own"),
        "{text}"
    );
    assert!(leading.len() >= 1000, "only {}", leading.len());
    // Who waits watches the one ahead as well, and stands in all of them at once.
    let behind: Vec<_> = leading
        .iter()
        .map(|(name, ..)| b.stand(name.as_str(), "b").unwrap())
        .collect();
    join_all(behind.iter().map(waiting)).await;
    let last = leading.len() - 1;
    let places = [0, last].map(|i| line(&client, &leading[i].0));
    let places: Vec<u64> = join_all(places).await.iter().map(|line| line[1].czxid).collect();
    proxy.cut().await;
    proxy.resume().await.unwrap();
    let resumed = now();
    eventually("the session is renewed", async || {
        leading.iter().all(|(_, _, term)| {
            let deadline = term.deadline().expect("the term goes on");
            deadline > resumed + ttl / 2
        })
    })
    .await;
    // And the watches are there, of who leads and of who waits.
    for (i, place) in [0, last].into_iter().zip(places) {
        let (name, _, term) = &leading[i];
        let path = line(&client, name).await.remove(0).path;
        client.delete(&path, None).await.unwrap();
        soon("told", term.ended()).await;
        assert_eq!(elected(&behind[i]).await.token().0, place, "in the same session");
    }
    // Where it has led once it is never refused, also if it waits from now on.
    let mut again = Vec::new();
    for (name, candidate, _) in leading.iter().take(last).skip(1).take(150) {
        soon("stopped", candidate.stop()).await;
        again.push(a.stand(name.as_str(), "a").unwrap());
        waiting(&again[again.len() - 1]).await;
    }
    close([a, b]).await;
    cluster.remove().await.unwrap();
}

/// As with a session: a reader that watches too much is never connected again, so more followers have another one.
async fn more_followers_than_one_connection_can_watch_for_survive_a_reconnection(_: Arc<World>) {
    let cluster = ZkCluster::start(1).await.unwrap();
    let client = operator(&cluster).await;
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let store = store(proxy.addr());
    let unique = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    let names = (0..900).map(|i| ElectionName::new(format!("followed/{i:05}")).unwrap());
    let names: Vec<_> = names.collect();
    join_all(names.iter().map(async |name| {
        let path = format!("/{name}/_c_{unique}-latch-0000000000");
        make(&client, &path, "a", CreateMode::Ephemeral).await;
    }))
    .await;
    for _ in 0..2 {
        let mut streams: Vec<_> = names.iter().map(|name| store.leader(name)).collect();
        let told = soon("told", join_all(streams.iter_mut().map(StreamExt::next))).await;
        for leader in told {
            assert_eq!(leader.unwrap().unwrap().unwrap().name(), "a");
        }
        let (lost, ()) = join(join_all(streams.iter_mut().map(StreamExt::next)), proxy.cut()).await;
        assert!(lost.iter().flatten().all(Result::is_err));
        drop(streams);
        proxy.resume().await.unwrap();
    }
    cluster.remove().await.unwrap();
}

/// A way to a server on which a client never learns that its watches were set anew, so that it is never connected
/// again and does not say so. It lasts as long as the test.
async fn without_watches_set_anew(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut from_client, mut to_client) = client.into_split();
            let server = TcpStream::connect(server).await.unwrap();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                while let Ok(length) = from_server.read_i32().await {
                    let mut answer = vec![0; usize::try_from(length).unwrap()];
                    from_server.read_exact(&mut answer).await?;
                    // The number of the request is -8.
                    if !answer.starts_with(&(-8_i32).to_be_bytes()) {
                        to_client.write_i32(length).await?;
                        to_client.write_all(&answer).await?;
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    address
}

async fn a_reader_that_is_never_connected_again_is_replaced(world: Arc<World>) {
    let cluster = world.one().await;
    let proxy = Proxy::start(without_watches_set_anew(cluster.addr(0).unwrap()).await)
        .await
        .unwrap();
    let store = store(proxy.addr());
    let name = ElectionName::new(election("never-again")).unwrap();
    let mut stream = store.leader(&name);
    assert!(soon("told", stream.next()).await.unwrap().unwrap().is_none());
    let (lost, ()) = join(stream.next(), proxy.cut()).await;
    lost.unwrap().unwrap_err();
    drop(stream);
    proxy.resume().await.unwrap();
    // By who has asked it in vain, long before zookeeper-client gives it up.
    let error = soon("given up", store.leader(&name).next())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let told = soon("told", store.leader(&name).next()).await.unwrap();
    assert!(told.unwrap().is_none());
}

/// Of a client that no server has answered nothing is left that could tell, nor may it fail whoever asks.
async fn streams_over_a_connection_that_was_given_up_say_so(world: Arc<World>) {
    let cluster = world.one().await;
    let proxy = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let store = store(proxy.addr());
    let name = ElectionName::new(election("silenced")).unwrap();
    // As patient as the reader, which is given up first.
    let session = store.open(Duration::from_secs(10)).await.unwrap();
    let (place, _) = store.enter(&name, &session, b"a").await.unwrap();
    let mut standing = store.standing(&place, None);
    let first = soon("told", standing.next()).await.unwrap().unwrap();
    assert!(matches!(first, Standing::First(_)), "{first:?}");
    let mut leader = store.leader(&name);
    assert!(soon("told", leader.next()).await.unwrap().unwrap().is_some());

    proxy.cut().await;
    soon("answered", store.contenders(&name)).await.unwrap_err();
    soon("answered", store.close(&session)).await.unwrap_err();
    let last = soon("told", standing.next()).await.unwrap().unwrap();
    assert!(matches!(last, Standing::Gone), "{last:?}");
    let error = soon("told", leader.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

/// Or whoever is stuck would keep its place for as long as its process lives.
async fn a_session_that_nobody_renews_ends_although_the_client_lives(world: Arc<World>) {
    let cluster = world.one().await;
    let store = store(cluster.addr(0).unwrap());
    let session = store.open(SHORT).await.unwrap();
    assert!(sessions(cluster).await.contains(&session.id.to_string()));
    let begin = Instant::now();
    eventually("it has ended", async || {
        !sessions(cluster).await.contains(&session.id.to_string())
    })
    .await;
    let after = begin.elapsed();
    assert!(
        after > SHORT * 9 / 10 && after < SHORT + store.limits().overdue,
        "{after:?}"
    );
}

async fn stop_leaves_no_entry_and_close_no_session(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("stopped"));
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let entries = line(&client, &election).await;
    let ours = [entries[0].owner, entries[1].owner].map(|owner| format!("{owner:#x}"));

    // While waiting, while leading, and before anything was asked of the store.
    soon("stopped", waiter.stop()).await;
    assert_eq!(names(&client, &election).await, ["a"]);
    soon("stopped", leader.stop()).await;
    assert!(names(&client, &election).await.is_empty());
    let hasty = a.stand(&election, "hasty").unwrap();
    soon("stopped", hasty.stop()).await;
    assert!(matches!(hasty.state(), State::Stopped(None)));
    assert!(names(&client, &election).await.is_empty());
    let left = sessions(cluster).await;
    assert!(
        ours.iter().all(|session| left.contains(session)),
        "the sessions go on until they are closed"
    );
    // One that has candidates and one that has none; and once more.
    let again = a.stand(&election, "again").unwrap();
    elected(&again).await;
    soon("closed", a.close()).await;
    assert!(matches!(again.state(), State::Stopped(None)));
    soon("closed", b.close()).await;
    soon("closed", a.close()).await;
    let left = sessions(cluster).await;
    assert!(
        !ours.iter().any(|session| left.contains(session)),
        "a session was left"
    );
    assert!(names(&client, &election).await.is_empty(), "an entry was left");
}

async fn dropped_handles_leave_no_entry_and_no_session(world: Arc<World>) {
    let cluster = world.one().await;
    let (client, election) = (operator(cluster).await, election("dropped"));
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let session = format!("{:#x}", line(&client, &election).await[0].owner);
    let begin = Instant::now();
    drop((leader, a));
    elected(&waiter).await;
    eventually("the session is closed", async || {
        !sessions(cluster).await.contains(&session)
    })
    .await;
    assert!(
        begin.elapsed() < TTL / 2,
        "it was left to expire: {:?}",
        begin.elapsed()
    );
    close([b]).await;
}

async fn containers_that_the_server_removes_in_between_are_made_again(_: Arc<World>) {
    let often = ZkCluster::builder()
        .container_check(Duration::from_millis(50))
        .start();
    let cluster = often.await.unwrap();
    let client = operator(&cluster).await;
    let store = store(cluster.addr(0).unwrap());
    let session = store.open(TTL).await.unwrap();
    let name = ElectionName::new("deep/down/below").unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let (place, standing) = store.enter(&name, &session, b"v").await.unwrap();
        assert!(
            matches!(standing, Standing::First(token) if token.0 > last),
            "tokens grow"
        );
        last = place.fence;
        store.leave(&place).await.unwrap();
        eventually("the server has removed them all", async || {
            store.renew(&session).await.ok();
            client.check_stat("/deep").await.unwrap().is_none()
        })
        .await;
    }
    store.close(&session).await.unwrap();
    cluster.remove().await.unwrap();
}
