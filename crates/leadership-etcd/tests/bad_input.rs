//! Inputs that cannot work: each is refused with an error that names it and the remedy, nothing panics,
//! nothing is left at the store, and no password is shown anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use leadership_core::{Config, DynStore, Elections, Error, ErrorKind, Event, Outcome, State, StoreError};
use leadership_etcd::{EtcdConfig, EtcdStore, Pem};
use leadership_testkit::cluster::{Authority, EtcdCluster, Proxy};
use leadership_testkit::secrets::Traced;
use support::{
    Shared, cases, elected, election, leases, line, next, operator, process, revoke, soon, waiting,
};
use tokio::net::TcpListener;

const TTL: Duration = Duration::from_secs(5);
/// What must be seen nowhere: the right one, and a wrong one. The short part has nothing to be escaped.
const PASSWORD: &str = "correct-horse@battery/staple?";
const PASSWORD_PART: &str = "correct-horse";
const WRONG: &str = "tr0ub4dor-and-3";

#[derive(Default)]
struct World {
    plain: Shared,
    secure: Shared,
}

impl World {
    async fn plain(&self) -> &EtcdCluster {
        support::plain(&self.plain).await
    }

    /// With TLS and a password.
    async fn secure(&self) -> &EtcdCluster {
        self.secure
            .started(EtcdCluster::builder().tls().auth(PASSWORD).start())
            .await
    }
}

fn main() {
    let everything = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(|| &TRACED);
    everything.init();
    support::main::<World>(cases![
        the_right_password_and_authority_are_accepted_and_never_shown,
        a_wrong_password_or_an_unknown_user_is_refused_by_name,
        a_campaign_with_a_wrong_password_stops_with_the_reason,
        a_user_without_the_role_is_told_which_permission_is_missing,
        a_missing_password_is_asked_for,
        an_authority_that_did_not_sign_is_refused_by_name,
        a_client_with_tls_is_told_that_the_server_has_none,
        a_client_without_tls_is_told_that_the_server_may_have_it,
        endpoints_that_cannot_be_reached_are_all_named,
        endpoints_that_hang_are_all_named,
        a_url_that_cannot_be_understood_shows_no_password,
        a_value_over_the_limit_is_refused_and_the_term_goes_on,
        an_empty_or_too_long_name_is_refused,
        an_empty_id_is_refused,
        a_second_candidate_of_a_session_is_refused,
        a_ttl_that_etcd_cannot_grant_is_refused,
        a_renewal_that_cannot_fit_is_refused,
        a_ttl_that_etcd_lengthens_works_as_granted,
        a_foreign_key_is_waited_behind_and_named_with_the_remedy,
        the_entries_of_a_nested_election_are_foreign,
        a_key_of_ours_without_our_lease_is_named_with_the_remedy,
        a_lease_that_vanished_is_named_by_every_request,
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

/// How to reach the cluster with TLS and a password, as its user.
fn credentials(cluster: &EtcdCluster, user: &str, password: &str) -> EtcdConfig {
    EtcdConfig::new([cluster.addr(0).unwrap().to_string()])
        .unwrap()
        .with_ca(Pem::text(cluster.authority().unwrap().certificate()))
        .with_user(user, password)
}

fn lazy(config: EtcdConfig) -> DynStore {
    Arc::new(EtcdStore::new(config).unwrap())
}

async fn refused(config: EtcdConfig) -> StoreError {
    let connecting = EtcdStore::connect(config);
    let error = soon("refused", connecting).await.expect_err("refused");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    error
}

/// An address at which nobody listens.
async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Nothing under an election: neither an entry nor anything else.
async fn nothing_left(cluster: &EtcdCluster, election: &str) {
    let output = cluster
        .etcdctl(&["get", "--prefix", "--keys-only", election])
        .await
        .unwrap();
    assert!(output.success(), "{output:?}");
    assert_eq!(output.stdout.trim(), "", "something was left");
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

async fn the_right_password_and_authority_are_accepted_and_never_shown(world: Arc<World>) {
    let cluster = world.secure().await;
    let election = election("accepted");
    let config = credentials(cluster, "root", PASSWORD);
    let store: DynStore = Arc::new(EtcdStore::connect(config.clone()).await.unwrap());
    let elections = Elections::new(store.clone(), Config::with_ttl(TTL)).unwrap();
    let candidate = elections.stand(&election, "a").unwrap();
    let term = elected(&candidate).await;
    let follower = elections.follow(&election).unwrap();
    let leader = soon("led", follower.led()).await.unwrap();
    let text = format!("{config} {store} {}", config.user().unwrap());
    nothing_secret(&[
        &config, &store, &elections, &candidate, &term, &follower, &leader, &text,
    ]);
    soon("closed", elections.close()).await;
    assert!(
        TRACED.has("elected") && TRACED.has(&election),
        "what is looked through is what we trace"
    );
    nothing_left(cluster, &election).await;
}

async fn a_wrong_password_or_an_unknown_user_is_refused_by_name(world: Arc<World>) {
    let cluster = world.secure().await;
    for (user, password) in [("root", WRONG), ("nobody", PASSWORD)] {
        let error = refused(credentials(cluster, user, password)).await;
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(!error.is_transient(), "trying again cannot help");
        says(&error, &["check user and password", &format!("{user:?}")]);
    }
}

async fn a_campaign_with_a_wrong_password_stops_with_the_reason(world: Arc<World>) {
    let cluster = world.secure().await;
    let election = election("wrong-password");
    let store = lazy(credentials(cluster, "root", WRONG));
    let elections = Elections::new(store, Config::with_ttl(TTL)).unwrap();
    let candidate = elections.stand(&election, "a").unwrap();
    let error = soon("stopped", candidate.elected()).await.expect_err("stopped");
    says(&error, &["stopped", "check user and password", "\"root\""]);
    let State::Stopped(Some(cause)) = candidate.state() else {
        panic!("{:?}", candidate.state())
    };
    assert_eq!(cause.kind(), ErrorKind::Unauthenticated);
    nothing_secret(&[&candidate, &elections, &cause]);
    soon("stopped", candidate.stop()).await;
    soon("closed", elections.close()).await;
    nothing_left(cluster, &election).await;
}

async fn a_user_without_the_role_is_told_which_permission_is_missing(world: Arc<World>) {
    let cluster = world.secure().await;
    let election = election("no-role");
    let output = cluster
        .etcdctl(&["user", "add", &format!("guest:{PASSWORD}")])
        .await
        .unwrap();
    assert!(output.success(), "{output:?}");
    let store = EtcdStore::connect(credentials(cluster, "guest", PASSWORD))
        .await
        .unwrap();
    let elections = Elections::new(Arc::new(store), Config::with_ttl(TTL)).unwrap();
    let candidate = elections.stand(&election, "a").unwrap();
    let error = soon("stopped", candidate.elected()).await.expect_err("stopped");
    says(&error, &["permission denied", "readwrite", "prefix"]);
    soon("closed", elections.close()).await;
    nothing_left(cluster, &election).await;
}

async fn a_missing_password_is_asked_for(world: Arc<World>) {
    let cluster = world.secure().await;
    let config = EtcdConfig::new([cluster.addr(0).unwrap().to_string()])
        .unwrap()
        .with_ca(Pem::text(cluster.authority().unwrap().certificate()));
    let error = refused(config).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    says(&error, &["wants a user and a password"]);
}

async fn an_authority_that_did_not_sign_is_refused_by_name(world: Arc<World>) {
    let cluster = world.secure().await;
    let address = cluster.addr(0).unwrap().to_string();
    let other = Authority::generate().unwrap().certificate();
    let config = credentials(cluster, "root", PASSWORD).with_ca(Pem::text(other.clone()));
    let error = refused(config.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    says(
        &error,
        &[
            "invalid peer certificate",
            "give ca=",
            &format!("trusted is ca PEM of {} bytes", other.len()),
            &address,
        ],
    );
    // With nothing given, the system's authorities are asked, who have not signed it either.
    let config = EtcdConfig::new([&address]).unwrap().with_tls();
    says(&refused(config).await, &["the system's authorities", "give ca="]);
    // The right authority, and another name than is in the certificate.
    let config = credentials(cluster, "root", PASSWORD).with_server_name("other.test");
    says(&refused(config).await, &["server_name="]);
}

async fn a_client_with_tls_is_told_that_the_server_has_none(world: Arc<World>) {
    let address = world.plain().await.addr(0).unwrap().to_string();
    let config = EtcdConfig::new([&address]).unwrap().with_tls();
    says(
        &refused(config).await,
        &[&address, "if this endpoint has no TLS, leave out tls= and ca="],
    );
}

async fn a_client_without_tls_is_told_that_the_server_may_have_it(world: Arc<World>) {
    let address = world.secure().await.addr(0).unwrap().to_string();
    let config = EtcdConfig::new([&address]).unwrap();
    says(&refused(config).await, &[&address, "give tls=true or ca="]);
}

async fn endpoints_that_cannot_be_reached_are_all_named(_: Arc<World>) {
    let (a, b) = (dead().await, dead().await);
    let config = EtcdConfig::new([&a, &b]).unwrap().with_user("root", PASSWORD);
    let error = refused(config.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient(), "they may come up");
    says(&error, &[&a, &b, "cannot connect", "refused"]);

    // A campaign goes on trying, says why, and can be stopped.
    let elections = Elections::new(lazy(config), Config::with_ttl(TTL)).unwrap();
    let candidate = elections.stand(election("nowhere"), "a").unwrap();
    let mut events = candidate.events();
    says(&reported(&mut events, ErrorKind::Unavailable).await, &[&a, &b]);
    reported(&mut events, ErrorKind::Unavailable).await;
    assert!(
        matches!(candidate.state(), State::Joining),
        "{:?}",
        candidate.state()
    );
    soon("stopped", candidate.stop()).await;
    soon("closed", elections.close()).await;
}

async fn endpoints_that_hang_are_all_named(world: Arc<World>) {
    let target = world.plain().await.addr(0).unwrap();
    let (a, b) = (
        Proxy::start(target).await.unwrap(),
        Proxy::start(target).await.unwrap(),
    );
    a.stall();
    b.stall();
    let addresses = [a.addr().to_string(), b.addr().to_string()];
    let error = refused(EtcdConfig::new(&addresses).unwrap()).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    says(&error, &[&addresses[0], &addresses[1], "quorum"]);
}

async fn a_url_that_cannot_be_understood_shows_no_password(_: Arc<World>) {
    for (url, part) in [
        (format!("consul://root:{WRONG}@h"), "etcd://"),
        (format!("root:{WRONG}@h"), "etcd://"),
        (format!("etcd://root:{WRONG}@"), "endpoint"),
        (format!("etcd://root:{WRONG}@h:0"), "port"),
        (format!("etcd://root:{WRONG}/x@h"), "%2F"),
        (format!("etcd://root:{WRONG}#x@h"), "%23"),
        (format!("etcd://root:{WRONG}@h?tsl=true"), "tsl"),
        (format!("etcd://root:{WRONG}@h?tls=yes"), "tls"),
        (format!("etcd://root:{WRONG}%zz@h"), "password"),
        ("etcd://root@h".to_owned(), "password"),
    ] {
        let error = EtcdConfig::from_url(&url).expect_err(&url);
        says(&error, &[part]);
    }
}

async fn a_value_over_the_limit_is_refused_and_the_term_goes_on(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("value");
    let elections = process(cluster, TTL);
    let limit = support::store(&elections).limits().value_max;
    let error = elections
        .stand(&election, vec![b'x'; limit + 1])
        .expect_err("refused");
    assert!(matches!(error, Error::Invalid(_)));
    says(
        &error,
        &[
            &format!("{} bytes", limit + 1),
            &election,
            &limit.to_string(),
            "reference",
        ],
    );
    nothing_left(cluster, &election).await;

    // What is within the limit, etcd takes.
    let candidate = elections.stand(&election, vec![b'x'; limit]).unwrap();
    let term = elected(&candidate).await;
    let error = candidate
        .proclaim(vec![b'y'; limit + 1])
        .await
        .expect_err("refused");
    says(&error, &[&format!("{} bytes", limit + 1)]);
    assert!(term.is_valid());
    soon("proclaimed", candidate.proclaim("small")).await.unwrap();
    soon("closed", elections.close()).await;
    nothing_left(cluster, &election).await;
}

async fn an_empty_or_too_long_name_is_refused(world: Arc<World>) {
    let cluster = world.plain().await;
    let url = format!("etcd://{}/some/prefix", cluster.addr(0).unwrap());
    let store = lazy(EtcdConfig::from_url(&url).unwrap());
    let room = store.limits().name_max;
    let elections = Elections::new(store, Config::with_ttl(TTL)).unwrap();
    let (too_long, just_too_long) = ("n".repeat(1025), "n".repeat(room + 1));
    for (name, parts) in [
        ("", ["election name", "empty"]),
        (&too_long, ["1025 bytes", "1024"]),
        (&just_too_long, ["election name", &room.to_string()]),
        ("a\nb", ["election name", "control character"]),
    ] {
        says(&elections.stand(name, "a").expect_err("refused"), &parts);
        says(&elections.follow(name).expect_err("refused"), &parts);
    }
    let longest = elections.stand("n".repeat(room), "a").unwrap();
    elected(&longest).await;
    soon("closed", elections.close()).await;
    nothing_left(cluster, "some/prefix").await;
}

async fn an_empty_id_is_refused(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("id");
    let elections = process(cluster, TTL);
    let error = elections.stand(&election, "").expect_err("refused");
    says(&error, &["id \"\"", &election, "name or address"]);
    nothing_left(cluster, &election).await;
    elections
        .stand(&election, "a")
        .expect("the refusal has left nothing");
    soon("closed", elections.close()).await;
}

async fn a_second_candidate_of_a_session_is_refused(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("twice");
    let elections = process(cluster, TTL);
    let first = elections.stand(&election, "a").unwrap();
    let term = elected(&first).await;
    let error = elections.stand(&election, "b").expect_err("refused");
    says(&error, &[&election, "already", "stop that one first"]);
    assert!(term.is_valid());
    soon("closed", elections.close()).await;
}

async fn a_ttl_that_etcd_cannot_grant_is_refused(_: Arc<World>) {
    let day = Duration::from_secs(24 * 3600);
    for (ttl, parts) in [
        (Duration::ZERO, ["ttl 0s", "zero"]),
        (Duration::from_millis(999), ["ttl 999ms", "at least 1s"]),
        (day + Duration::from_secs(1), ["ttl 86401s", "at most 86400s"]),
        (400 * day, ["ttl", "year"]),
    ] {
        let store = lazy(EtcdConfig::new([dead().await]).unwrap());
        says(
            &Elections::new(store, Config::with_ttl(ttl)).expect_err("refused"),
            &parts,
        );
    }
}

async fn a_renewal_that_cannot_fit_is_refused(_: Arc<World>) {
    let store = lazy(EtcdConfig::new([dead().await]).unwrap());
    let config = || Config::with_ttl(Duration::from_secs(10));
    for (config, part) in [
        (config().renew_every(Duration::from_secs(8)), "renew_every 8s"),
        (
            config().request_timeout(Duration::from_secs(7)),
            "request_timeout 7s",
        ),
        (config().margin(Duration::from_secs(5)), "margin 5s"),
        (config().margin(Duration::from_secs(11)), "margin 11s"),
        (config().renew_every(Duration::ZERO), "renew_every 0s"),
        (config().request_timeout(Duration::ZERO), "request_timeout 0s"),
    ] {
        let error = Elections::new(store.clone(), config).expect_err(part);
        says(&error, &[part]);
    }
}

/// etcd grants no less than one and a half election timeouts, and what it grants is what counts.
async fn a_ttl_that_etcd_lengthens_works_as_granted(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("lengthened");
    let elections = process(cluster, Duration::from_secs(1));
    let candidate = elections.stand(&election, "a").unwrap();
    let term = elected(&candidate).await;
    assert!(term.remaining() > Duration::from_secs(1), "{term:?}");
    support::always("it leads", Duration::from_secs(3), || term.is_valid()).await;
    soon("closed", elections.close()).await;
    nothing_left(cluster, &election).await;
}

async fn a_foreign_key_is_waited_behind_and_named_with_the_remedy(world: Arc<World>) {
    let cluster = world.plain().await;
    let (mut client, election) = (operator(cluster).await, election("foreign"));
    let foreign = format!("{election}/config");
    client.put(&*foreign, "x", None).await.unwrap();
    let elections = process(cluster, TTL);
    let candidate = elections.stand(&election, "a").unwrap();
    let mut events = candidate.events();
    let error = reported(&mut events, ErrorKind::ForeignEntry).await;
    says(&error, &[&foreign, &election, "delete it", "another name"]);
    assert_eq!(waiting(&candidate).await, foreign);
    let follower = elections.follow(&election).unwrap();
    let nobody =
        |change: &leadership_core::Change| matches!(change, leadership_core::Change::NoLeader).then_some(());
    next("nobody leads", &mut follower.changes(), nobody).await;
    let contenders = follower.contenders().await.unwrap();
    assert_eq!(contenders.len(), 2);
    assert!(contenders[0].session.is_none(), "no session's end removes it");

    client.delete(&*foreign, None).await.unwrap();
    elected(&candidate).await;
    assert_eq!(soon("led", follower.led()).await.unwrap().name(), "a");
    soon("closed", elections.close()).await;
    nothing_left(cluster, &election).await;
}

async fn the_entries_of_a_nested_election_are_foreign(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("outer");
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let inner = a.stand(format!("{election}/inner"), "a").unwrap();
    elected(&inner).await;
    let outer = b.stand(&election, "b").unwrap();
    let mut events = outer.events();
    let error = reported(&mut events, ErrorKind::ForeignEntry).await;
    says(&error, &[&format!("{election}/inner/"), "another name"]);
    soon("closed", a.close()).await;
    elected(&outer).await;
    soon("closed", b.close()).await;
    nothing_left(cluster, &election).await;
}

/// Somebody has put our key before we came, or copied it from a backup.
async fn a_key_of_ours_without_our_lease_is_named_with_the_remedy(world: Arc<World>) {
    let cluster = world.plain().await;
    let (mut client, election) = (operator(cluster).await, election("copied"));
    let elections = process(cluster, TTL);
    let store = elections.store().clone();
    let session = store.open(TTL).await.unwrap();
    let key = format!("{election}/{}", session.id);
    client.put(&*key, "x", None).await.unwrap();
    let name = leadership_core::ElectionName::new(&election).unwrap();
    let error = store.enter(&name, &session, b"a").await.expect_err("refused");
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::ForeignEntry, Outcome::NotApplied)
    );
    says(&error, &[&key, "no lease", "etcdctl del"]);
    client.delete(&*key, None).await.unwrap();
    store.enter(&name, &session, b"a").await.unwrap();
    store.close(&session).await.unwrap();
    nothing_left(cluster, &election).await;
}

async fn a_lease_that_vanished_is_named_by_every_request(world: Arc<World>) {
    let cluster = world.plain().await;
    let (client, election) = (operator(cluster).await, election("vanished"));
    let elections = process(cluster, TTL);
    let store = elections.store().clone();
    let name = leadership_core::ElectionName::new(&election).unwrap();
    let session = store.open(TTL).await.unwrap();
    // With a keep-alive stream that is open when it vanishes.
    store.renew(&session).await.unwrap();
    let (place, _) = store.enter(&name, &session, b"a").await.unwrap();
    let lease = line(&client, &election).await[0].lease;
    revoke(&client, lease).await;
    for _ in 0..2 {
        let renewed = store.renew(&session).await.expect_err("it is gone");
        let entered = store.enter(&name, &session, b"a").await.expect_err("it is gone");
        for error in [renewed, entered] {
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::SessionGone, Outcome::NotApplied),
                "{error}"
            );
            says(&error, &["lease", "has ended"]);
        }
    }
    let error = store.proclaim(&place, b"b").await.expect_err("the entry is gone");
    assert!(
        matches!(error.kind(), ErrorKind::EntryGone | ErrorKind::SessionGone),
        "{error}"
    );
    says(&error, &[&place.key]);
    store.leave(&place).await.expect("left already");
    store.close(&session).await.expect("closed already");
    assert!(!leases(&client).await.contains(&lease));
    nothing_left(cluster, &election).await;
}
