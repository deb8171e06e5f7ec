//! Inputs that cannot work: each is refused with an error that names it and the remedy, nothing panics,
//! nothing is left at the store, and no password is shown anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use leadership_core::{
    Config, DynStore, ElectionName, Elections, Error, ErrorKind, Event, Outcome, Session, SessionId,
    StoreError,
};
use leadership_testkit::cluster::{Proxy, ZkCluster};
use leadership_testkit::secrets::Traced;
use leadership_zk::{Layout, ZkAcl, ZkConfig, ZkStore};
use support::{
    Shared, cases, elected, election, eventually, line, make, next, operator, process, soon, waiting,
};
use tokio::net::TcpListener;
use zookeeper_client::CreateMode;

const TTL: Duration = Duration::from_secs(5);
/// What must be seen nowhere: the right one, and a wrong one. The short part has nothing to be escaped.
const PASSWORD: &str = "correct-horse@battery/staple?";
const PASSWORD_PART: &str = "correct-horse";
const WRONG: &str = "tr0ub4dor-and-3";

type World = Shared;

fn main() {
    let everything = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(|| &TRACED);
    everything.init();
    support::main::<World>(cases![
        the_right_password_is_accepted_and_never_shown,
        a_wrong_password_is_refused_by_the_acl_and_named,
        a_campaign_that_the_acl_refuses_stops_with_the_reason,
        an_entry_that_may_be_made_but_not_seen_is_not_left,
        an_acl_that_zookeeper_does_not_know_is_refused_by_name,
        servers_that_cannot_be_reached_are_all_named,
        servers_that_hang_are_all_named,
        a_url_that_cannot_be_understood_shows_no_password,
        names_that_zookeeper_cannot_hold_are_refused_with_the_rule,
        a_value_over_the_limit_is_refused_and_the_term_goes_on,
        a_parent_that_is_no_container_works,
        an_ephemeral_parent_is_refused_by_name_and_waited_for,
        a_timeout_that_the_server_shortens_works_as_granted,
        a_timeout_that_the_server_lengthens_works_as_granted,
        a_session_of_another_store_is_refused_by_every_request,
        docker_leader_without_its_layout_is_refused,
        tls_that_this_build_has_not_is_refused_by_name,
        a_leader_tells_dockers_followers_its_value,
        layouts_do_not_mix,
    ]);
}

static TRACED: Traced = Traced::new(&[PASSWORD_PART, WRONG, "%40battery"]);

/// No password in what was traced until now, nor in these.
#[track_caller]
fn nothing_secret(shown: &[&dyn Debug]) {
    TRACED.nothing_secret(shown);
}

/// The error's text has all these parts, and no secret.
#[track_caller]
fn says(error: &(impl Display + Debug), parts: &[&str]) {
    TRACED.says(error, parts);
}

fn config(cluster: &ZkCluster) -> ZkConfig {
    ZkConfig::new([cluster.addr(0).unwrap().to_string()]).unwrap()
}

fn lazy(config: ZkConfig) -> DynStore {
    Arc::new(ZkStore::new(config).unwrap())
}

fn elections(config: ZkConfig) -> Elections {
    Elections::new(lazy(config), Config::with_ttl(TTL)).unwrap()
}

async fn refused(config: ZkConfig) -> StoreError {
    let error = soon("refused", ZkStore::connect(config))
        .await
        .expect_err("refused");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    error
}

/// An address at which nobody listens.
async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The next error that the candidate reports and that is of this kind.
async fn reported(
    events: &mut (impl futures_util::Stream<Item = Event> + Unpin),
    kind: ErrorKind,
) -> StoreError {
    let error = |event: &Event| match event {
        Event::Error(error) if error.kind() == kind => Some(error.clone()),
        _ => None,
    };
    next(&format!("{kind:?}"), events, error).await
}

/// Why a candidate has stopped.
async fn stopped(candidate: &leadership_core::Candidate) -> StoreError {
    match soon("stopped", candidate.elected()).await {
        Err(Error::Stopped(Some(error))) => error,
        other => panic!("{other:?}"),
    }
}

async fn the_right_password_is_accepted_and_never_shown(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let election = election("accepted");
    let config = config(cluster).with_user("us@er", PASSWORD);
    let store: DynStore = Arc::new(ZkStore::connect(config.clone()).await.unwrap());
    let (a, b) = (
        Elections::new(store.clone(), Config::with_ttl(TTL)).unwrap(),
        elections(config.clone()),
    );
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    nothing_secret(&[&config, &store, &leader, &a]);
    a.close().await;
    elected(&waiter).await;
    b.close().await;
    nothing_secret(&[]);
}

async fn a_wrong_password_is_refused_by_the_acl_and_named(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let election = election("wrong-password");
    let right = elections(config(cluster).with_user("root", PASSWORD));
    let leader = right.stand(&election, "a").unwrap();
    elected(&leader).await;
    for wrong in [
        config(cluster).with_user("root", WRONG),
        config(cluster).with_user("toor", PASSWORD),
        config(cluster),
    ] {
        let store = lazy(wrong);
        let name = ElectionName::new(&election).unwrap();
        let session = store.open(TTL).await.unwrap();
        for error in [
            store.enter(&name, &session, b"v").await.unwrap_err(),
            store.contenders(&name).await.unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::PermissionDenied, Outcome::NotApplied)
            );
            says(&error, &[&election, "user and password", "getAcl"]);
        }
        store.close(&session).await.unwrap();
    }
    assert!(leader.is_leader());
    right.close().await;
}

async fn a_campaign_that_the_acl_refuses_stops_with_the_reason(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let election = election("refused");
    let right = elections(config(cluster).with_user("root", PASSWORD));
    let leader = right.stand(&election, "a").unwrap();
    elected(&leader).await;
    let wrong = elections(config(cluster).with_user("root", WRONG));
    let candidate = wrong.stand(&election, "b").unwrap();
    let error = stopped(&candidate).await;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    says(&error, &["zk enter", "getAcl"]);
    assert!(leader.is_leader());
    soon("closed", wrong.close()).await;
    right.close().await;
}

/// It would hold up everybody until its session ends.
async fn an_entry_that_may_be_made_but_not_seen_is_not_left(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("blind"));
    make(&client, &format!("/{election}"), "", CreateMode::Persistent).await;
    let blind = zookeeper_client::Acl::new(
        zookeeper_client::Permission::CREATE
            | zookeeper_client::Permission::DELETE
            | zookeeper_client::Permission::ADMIN,
        zookeeper_client::AuthId::anyone(),
    );
    client
        .set_acl(&format!("/{election}"), &[blind], None)
        .await
        .unwrap();
    let store = lazy(config(cluster));
    let session = store.open(TTL).await.unwrap();
    let name = ElectionName::new(&election).unwrap();
    let error = store.enter(&name, &session, b"v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    says(&error, &["getAcl"]);
    client
        .set_acl(
            &format!("/{election}"),
            &zookeeper_client::Acls::anyone_all(),
            None,
        )
        .await
        .unwrap();
    assert!(line(&client, &election).await.is_empty());
    store.close(&session).await.unwrap();
}

async fn an_acl_that_zookeeper_does_not_know_is_refused_by_name(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let entry =
        |scheme: &str, id: &str| ZkAcl::List(vec![(scheme.to_owned(), id.to_owned(), "cdrwa".to_owned())]);
    for acl in [entry("nosuch", "x"), entry("ip", "no-address")] {
        let wrong = elections(config(cluster).with_acl(acl));
        let candidate = wrong.stand(election("acl"), "a").unwrap();
        let error = stopped(&candidate).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        says(&error, &["refuses the ACL", "acl="]);
        soon("closed", wrong.close()).await;
    }
    let right = elections(config(cluster).with_acl(entry("world", "anyone")));
    elected(&right.stand(election("acl"), "a").unwrap()).await;
    right.close().await;
}

async fn servers_that_cannot_be_reached_are_all_named(_: Arc<World>) {
    let (one, two) = (dead().await, dead().await);
    let error = refused(ZkConfig::new([&one, &two]).unwrap()).await;
    assert!(error.is_transient());
    says(&error, &[&one, &two, "refused", "quorum"]);
    let error = refused(ZkConfig::new(["no-such-host.invalid"]).unwrap()).await;
    says(&error, &["no-such-host.invalid:2181"]);
}

async fn servers_that_hang_are_all_named(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let hanging = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    hanging.stall();
    let address = hanging.addr().to_string();
    let error = refused(ZkConfig::new([&address]).unwrap()).await;
    assert!(matches!(
        error.kind(),
        ErrorKind::Timeout | ErrorKind::Unavailable
    ));
    says(&error, &[&address, "opens no session", "quorum"]);
}

async fn a_url_that_cannot_be_understood_shows_no_password(_: Arc<World>) {
    for url in [
        format!("zk://root:{PASSWORD}@h"),
        format!("zk://root:{WRONG}@h:x"),
        format!("zk://root:{WRONG}@h?layout={WRONG}"),
        format!("zk://root:{WRONG}@h//p"),
        format!("zk://{WRONG}@h"),
    ] {
        says(&ZkConfig::from_url(&url).unwrap_err(), &[]);
    }
}

async fn names_that_zookeeper_cannot_hold_are_refused_with_the_rule(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let all = process(cluster, TTL);
    for (bad, rule) in [
        ("/a", "slash"),
        ("a/", "slash"),
        ("a//b", "one slash"),
        ("a/./b", "another name"),
        ("..", "another name"),
        ("a\u{e000}", "U+E000"),
        ("zookeeper/quota", "ZooKeeper's own"),
    ] {
        let candidate = all.stand(bad, "a").unwrap();
        let error = stopped(&candidate).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        says(&error, &["election name", rule]);
        let name = ElectionName::new(bad).unwrap();
        let error = support::store(&all).contenders(&name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let mut leader = support::store(&all).leader(&name);
        let told = futures_util::StreamExt::next(&mut leader).await.expect("an item");
        assert_eq!(told.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    soon("closed", all.close()).await;
}

async fn a_value_over_the_limit_is_refused_and_the_term_goes_on(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let election = election("large");
    let all = process(cluster, TTL);
    let limit = support::store(&all).limits().value_max;
    let candidate = all.stand(&election, "a").unwrap();
    let term = elected(&candidate).await;
    let error = candidate.proclaim(vec![b'x'; limit + 1]).await.unwrap_err();
    says(&error, &["too long", "reference"]);
    soon("proclaimed", candidate.proclaim(vec![b'x'; limit]))
        .await
        .unwrap();
    assert!(term.is_valid());
    all.close().await;
}

async fn a_parent_that_is_no_container_works(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("persistent"));
    make(
        &client,
        &format!("/{election}"),
        "somebody's data",
        CreateMode::Persistent,
    )
    .await;
    let all = process(cluster, TTL);
    elected(&all.stand(&election, "a").unwrap()).await;
    all.close().await;
    let (data, stat) = client.get_data(&format!("/{election}")).await.unwrap();
    assert_eq!((&data[..], stat.version), (&b"somebody's data"[..], 0));
}

async fn an_ephemeral_parent_is_refused_by_name_and_waited_for(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let client = operator(cluster).await;
    for below in ["", "/deeper"] {
        let node = election("ephemeral");
        make(&client, &format!("/{node}"), "", CreateMode::Ephemeral).await;
        let all = process(cluster, TTL);
        let candidate = all.stand(format!("{node}{below}"), "a").unwrap();
        let mut events = candidate.events();
        let error = reported(&mut events, ErrorKind::ForeignEntry).await;
        says(&error, &[&node, "ephemeral", "remove it"]);
        client.delete(&format!("/{node}"), None).await.unwrap();
        elected(&candidate).await;
        all.close().await;
    }
}

async fn a_timeout_that_the_server_shortens_works_as_granted(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    // The servers here grant twenty ticks of half a second.
    let store: DynStore = lazy(config(cluster));
    let session = store.open(Duration::from_secs(60)).await.unwrap();
    assert_eq!(session.ttl, Duration::from_secs(10));
    store.close(&session).await.unwrap();
    for asked in [30, 600] {
        let all = Elections::new(store.clone(), Config::with_ttl(Duration::from_secs(asked))).unwrap();
        let candidate = all.stand(election("shortened"), "a").unwrap();
        let term = elected(&candidate).await;
        let left = term.remaining();
        assert!(left < Duration::from_secs(7), "{left:?}");
        // As instants: what is left right after a renewal need not be more than what was left before it.
        let until = Instant::now() + left;
        let renewed = async || Instant::now() + term.remaining() > until + Duration::from_secs(1);
        eventually("it is renewed in time", renewed).await;
        all.close().await;
    }
}

async fn a_timeout_that_the_server_lengthens_works_as_granted(_: Arc<World>) {
    let slow = ZkCluster::builder().tick(Duration::from_secs(2)).start();
    let cluster = slow.await.unwrap();
    let store: DynStore = lazy(config(&cluster));
    let session = store.open(Duration::from_secs(1)).await.unwrap();
    assert_eq!(session.ttl, Duration::from_secs(4));
    store.close(&session).await.unwrap();
    let all = Elections::new(store, Config::with_ttl(Duration::from_secs(2))).unwrap();
    elected(&all.stand(election("lengthened"), "a").unwrap()).await;
    all.close().await;
    cluster.remove().await.unwrap();
}

async fn a_session_of_another_store_is_refused_by_every_request(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (ours, theirs) = (lazy(config(cluster)), lazy(config(cluster)));
    let session = theirs.open(TTL).await.unwrap();
    let name = ElectionName::new(election("theirs")).unwrap();
    let (place, _) = theirs.enter(&name, &session, b"v").await.unwrap();
    for error in [
        ours.renew(&session).await.unwrap_err(),
        ours.enter(&name, &session, b"v").await.unwrap_err(),
        ours.proclaim(&place, b"w").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::SessionGone);
        says(&error, &[session.id.as_str(), "not opened by this store"]);
    }
    let error = ours.close(&session).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    says(&error, &[session.id.as_str(), "where it was opened"]);
    let never = Session {
        id: SessionId::new("0x0"),
        ttl: TTL,
    };
    assert!(ours.close(&never).await.is_err());
    // Anybody can see it.
    assert_eq!(ours.find(&name, &session).await.unwrap(), Some(place));
    theirs.close(&session).await.unwrap();
    assert_eq!(ours.find(&name, &session).await.unwrap(), None);
}

async fn docker_leader_without_its_layout_is_refused(_: Arc<World>) {
    let error = ZkConfig::from_url("zk://h?docker_leader=true").unwrap_err();
    says(&error, &["docker_leader", "layout=lock"]);
}

async fn tls_that_this_build_has_not_is_refused_by_name(_: Arc<World>) {
    let config = ZkConfig::from_url("zk://h?tls=true").unwrap();
    let made = ZkStore::new(config);
    if cfg!(feature = "tls") {
        // It has; what the system's authorities are is not ours to say.
        return;
    }
    says(&made.unwrap_err(), &["TLS to ZooKeeper", "feature zk-tls"]);
}

async fn a_leader_tells_dockers_followers_its_value(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("docker"));
    let docker = || elections(config(cluster).with_layout(Layout::Lock).with_docker_leader(true));
    let (a, b) = (docker(), docker());
    let told = async |value: &str| {
        eventually(value, async || {
            let read = client.get_data(&format!("/{election}")).await;
            read.is_ok_and(|(data, _)| data == value.as_bytes())
        })
        .await;
    };
    let leader = a.stand(&election, "a").unwrap();
    elected(&leader).await;
    told("a").await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    soon("proclaimed", leader.proclaim("a2")).await.unwrap();
    told("a2").await;
    // One who waits says nothing there.
    soon("proclaimed", waiter.proclaim("b2")).await.unwrap();
    eventually("b2 is in its own entry", async || {
        line(&client, &election)
            .await
            .iter()
            .any(|entry| entry.value == "b2")
    })
    .await;
    told("a2").await;
    a.close().await;
    elected(&waiter).await;
    told("b2").await;
    b.close().await;
    // As docker/leadership leaves it.
    told("b2").await;
}

async fn layouts_do_not_mix(world: Arc<World>) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("layouts"));
    let layouts = [Layout::Latch, Layout::Lock, Layout::Kazoo];
    let all = layouts.map(|layout| elections(config(cluster).with_layout(layout)));
    let mut candidates = Vec::new();
    for elections in &all {
        let candidate = elections.stand(&election, "a").unwrap();
        elected(&candidate).await;
        candidates.push(candidate);
    }
    let mut children: Vec<_> = line(&client, &election)
        .await
        .into_iter()
        .map(|entry| entry.path.rsplit_once('/').unwrap().1.to_owned())
        .collect();
    children.sort_by_key(|child| child[child.len() - 10..].to_owned());
    let unique = |child: &str| child.bytes().filter(u8::is_ascii_hexdigit).count();
    for (number, (child, base)) in children.iter().zip(["-latch-", "-lock-", "__lock__"]).enumerate() {
        assert!(unique(child) >= 32, "{child}");
        let known = ["_c_", base, "000000000"]
            .iter()
            .filter(|part| child.contains(**part))
            .count();
        assert_eq!(known, if number == 2 { 2 } else { 3 }, "{child}");
    }
    for elections in all {
        elections.close().await;
    }
}
