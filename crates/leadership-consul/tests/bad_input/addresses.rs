//! Addresses: none that answers, some that do not, unix sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use leadership_consul::{ConsulConfig, ConsulStore, Liveness};
use leadership_core::{ErrorKind, State};
use leadership_testkit::cluster::{ConsulCluster, Proxy};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;

use crate::between::{Way, between};
use crate::support::{self, elected, election, eventually, soon, waiting};
use crate::{
    LONG, TTL, WRONG, World, address, dead, elections, lazy, nothing_left, refused, refuses, reported, says,
    temporary,
};

pub(crate) async fn addresses_that_cannot_be_reached_are_all_named(_: Arc<World>) {
    let (a, b) = (dead().await, dead().await);
    let given = ConsulConfig::new([&a, &b]).unwrap().with_token(WRONG);
    let error = refused(given.clone()).await;
    refuses(
        &error,
        ErrorKind::Unavailable,
        &[&a, &b, "cannot connect", "refused"],
    );
    assert!(error.is_transient(), "they may come up");

    // A campaign goes on trying, says why, and can be stopped.
    let all = elections(given, LONG);
    let candidate = all.stand(election("nowhere"), "a").unwrap();
    let mut events = candidate.events();
    refuses(
        &reported(&mut events, ErrorKind::Unavailable).await,
        ErrorKind::Unavailable,
        &[&a, &b],
    );
    reported(&mut events, ErrorKind::Unavailable).await;
    assert!(
        matches!(candidate.state(), State::Joining),
        "{:?}",
        candidate.state()
    );
    soon("stopped", candidate.stop()).await;
    soon("closed", all.close()).await;

    let error = refused(ConsulConfig::new(["no-such-host.invalid"]).unwrap()).await;
    refuses(
        &error,
        ErrorKind::Unavailable,
        &["no-such-host.invalid:8500", "cannot connect", "dns"],
    );
}

pub(crate) async fn addresses_that_hang_are_all_named(world: Arc<World>) {
    let target = world.plain().await.addr(0).unwrap();
    let (a, b) = (
        Proxy::start(target).await.unwrap(),
        Proxy::start(target).await.unwrap(),
    );
    a.stall();
    b.stall();
    let addresses = [a.addr().to_string(), b.addr().to_string()];
    let error = refused(ConsulConfig::new(&addresses).unwrap()).await;
    refuses(
        &error,
        ErrorKind::Timeout,
        &[&addresses[0], &addresses[1], "no answer", "leader"],
    );
    assert!(error.is_transient());
}

pub(crate) async fn an_address_that_is_no_consul_is_named(world: Arc<World>) {
    let good = address(world.plain().await);
    for (status, body) in [
        ("404 Not Found", "404 page not found"),
        ("200 OK", "<html>hello</html>"),
    ] {
        let (other, serving) = between(move |_| Way::Answer(status, body)).await;
        let error = refused(ConsulConfig::new([&other]).unwrap()).await;
        refuses(
            &error,
            ErrorKind::Other,
            &[&other, "is this Consul's HTTP address?"],
        );
        // Others are asked instead.
        for _ in 0..6 {
            let both = ConsulConfig::new([&other, &good]).unwrap();
            soon("connected", ConsulStore::connect(both)).await.unwrap();
        }
        serving.abort();
    }
}

/// A page for maintenance, or a balancer whose backends are being replaced.
pub(crate) async fn an_answer_that_is_not_consuls_neither_renews_nor_ends_a_session(world: Arc<World>) {
    let cluster = world.plain().await;
    let (election, server) = (election("not-renewed"), cluster.addr(0).unwrap());
    for liveness in ["check", "session"] {
        for answer in [
            ("200 OK", "<html>hello</html>"),
            ("200 OK", ""),
            ("200 OK", "[]"),
            ("404 Not Found", "404 page not found"),
            ("404 Not Found", ""),
        ] {
            let others = Arc::new(AtomicBool::new(false));
            let answers = Arc::clone(&others);
            let (address, going) = between(move |_| match answers.load(Ordering::Relaxed) {
                true => Way::Answer(answer.0, answer.1),
                false => Way::To(server),
            })
            .await;
            let given = ConsulConfig::from_url(&format!("consul://{address}?liveness={liveness}")).unwrap();
            let store = lazy(given);
            let session = soon("opened", store.open(LONG)).await.unwrap();
            others.store(true, Ordering::Relaxed);
            let error = soon("answered", store.renew(&session))
                .await
                .expect_err("not renewed");
            says(&error, &[&address, "is this Consul's HTTP address?"]);
            assert_eq!(error.kind(), ErrorKind::Other, "{answer:?} {error}");
            let error = soon("answered", store.close(&session))
                .await
                .expect_err("not closed");
            says(&error, &[&address]);
            others.store(false, Ordering::Relaxed);
            soon("renewed", store.renew(&session)).await.unwrap();
            soon("closed", store.close(&session)).await.unwrap();
            going.abort();
        }
    }
    nothing_left(cluster, &election).await;
}

/// It takes checks by itself, as long as it lives.
pub(crate) async fn an_agent_that_is_cut_off_is_passed_over_with_its_check(world: Arc<World>) {
    let cluster = world.plain().await;
    let (cut, going) = between(|request| match request.contains(" /v1/agent/") {
        true => Way::Answer("200 OK", ""),
        false => Way::Answer("500 Internal Server Error", "No known Consul servers"),
    })
    .await;
    // They begin at any of the addresses.
    for _ in 0..4 {
        let both = format!("consul://{cut},{}?liveness=check", address(cluster));
        let store = lazy(ConsulConfig::from_url(&both).unwrap());
        let mut opened = store.open(TTL).await;
        for _ in 0..2 {
            if opened.is_err() {
                opened = store.open(TTL).await;
            }
        }
        let session = opened.expect("the other address works");
        soon("closed", store.close(&session)).await.unwrap();
    }
    going.abort();
}

pub(crate) async fn a_dead_address_among_others_is_passed_over(world: Arc<World>) {
    let cluster = world.plain().await;
    // They begin at any of the addresses.
    for _ in 0..4 {
        let addresses = [dead().await, dead().await, address(cluster), dead().await];
        let given = ConsulConfig::new(&addresses).unwrap();
        assert_eq!(given.liveness(), Liveness::Session);
        soon("connected", ConsulStore::connect(given.clone()))
            .await
            .unwrap();
        let all = elections(given, LONG);
        elected(&all.stand(election("some-dead"), "a").unwrap()).await;
        soon("closed", all.close()).await;
    }
}

/// Takes connections and says nothing; counts them.
async fn hanging() -> (String, Arc<AtomicUsize>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let hanging = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((client, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            held.push(client);
        }
    });
    (address, count, hanging)
}

pub(crate) async fn a_hanging_address_among_others_is_passed_over_by_a_campaign(world: Arc<World>) {
    let cluster = world.plain().await;
    let (bad, count, hanging) = hanging().await;
    // They begin at either address.
    while count.load(Ordering::Relaxed) < 2 {
        let all = elections(ConsulConfig::new([&bad, &address(cluster)]).unwrap(), LONG);
        elected(&all.stand(election("some-hang"), "a").unwrap()).await;
        soon("closed", all.close()).await;
    }
    hanging.abort();
}

pub(crate) async fn a_hanging_address_among_others_is_passed_over_when_connecting(world: Arc<World>) {
    let cluster = world.plain().await;
    let (bad, count, hangs) = hanging().await;
    let (worse, also, hangs_too) = hanging().await;
    // Both of them before the one that answers.
    let mut asked = (0, 0);
    while asked.0 == 0 || asked.1 == 0 {
        count.store(0, Ordering::Relaxed);
        also.store(0, Ordering::Relaxed);
        let all = ConsulConfig::new([&bad, &worse, &address(cluster)]).unwrap();
        soon("connected", ConsulStore::connect(all)).await.unwrap();
        asked = (count.load(Ordering::Relaxed), also.load(Ordering::Relaxed));
    }
    hangs.abort();
    hangs_too.abort();
}

pub(crate) async fn a_leader_stays_when_the_address_that_it_asks_dies(_: Arc<World>) {
    let cluster = ConsulCluster::start(3).await.unwrap();
    // Two of three, so that one of them dies while the servers go on under the same leader.
    let leader = cluster.leader().await.unwrap();
    let asked: Vec<usize> = (0..3).filter(|i| *i != leader).collect();
    let addresses: Vec<_> = asked
        .iter()
        .map(|i| cluster.addr(*i).unwrap().to_string())
        .collect();
    let all = elections(ConsulConfig::new(&addresses).unwrap(), Duration::from_secs(15));
    let candidate = all.stand(election("survives"), "a").unwrap();
    let term = elected(&candidate).await;
    // Either is the one that is asked, at latest when the other has died.
    for i in asked {
        cluster.kill(i).await.unwrap();
        let mut least = term.remaining();
        eventually("it is renewed elsewhere", async || {
            assert!(term.is_valid(), "the term has ended");
            least = least.min(term.remaining());
            term.remaining() > least + Duration::from_millis(200)
        })
        .await;
        cluster.start_node(i).await.unwrap();
        cluster.wait_healthy(i).await.unwrap();
    }
    assert!(term.is_valid() && candidate.is_leader());
    soon("closed", all.close()).await;
    cluster.remove().await.unwrap();
}

/// The agent's own socket is in a container, so another leads to it.
pub(crate) async fn a_unix_socket_works(world: Arc<World>) {
    let cluster = world.plain().await;
    let (path, target) = (temporary("socket"), cluster.addr(0).unwrap());
    let listener = UnixListener::bind(&path.0).unwrap();
    let relaying = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(target).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let election = election("socket");
    let url = format!("consul:///?socket={}", path.0.display());
    let config = ConsulConfig::from_url(&url).unwrap();
    assert_eq!(config.liveness(), Liveness::Check, "it is a local agent's");
    ConsulStore::connect(config).await.unwrap();
    let (a, b) = (support::through(&url, TTL), support::through(&url, TTL));
    let leader = a.stand(&election, "a").unwrap();
    let first = elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    soon("resigned", leader.resign()).await.unwrap();
    assert!(elected(&waiter).await.token() > first.token());
    soon("closed", a.close()).await;
    soon("closed", b.close()).await;
    nothing_left(cluster, &election).await;
    relaying.abort();
}

pub(crate) async fn a_unix_socket_that_is_not_there_is_named(_: Arc<World>) {
    let path = temporary("no-socket");
    let error = refused(ConsulConfig::new_unix(&path.0)).await;
    let shown = format!("unix:{}", path.0.display());
    refuses(
        &error,
        ErrorKind::Unavailable,
        &[&shown, "cannot connect", "No such file"],
    );
    let error = ConsulConfig::from_url("consul:///p?socket=/run/consul.sock&tls=true").unwrap_err();
    says(&error, &["socket", "TLS", "leave out"]);
}
