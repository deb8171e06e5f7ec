//! Keys and sessions of others.

use std::sync::Arc;
use std::time::Duration;

use leadership_consul::{Layout, Liveness};
use leadership_core::{Candidate, Change, ElectionName, Elections, ErrorKind, Session, SessionId};
use leadership_testkit::cluster::ConsulCluster;

use crate::support::{
    self, call, elected, election, eventually, holder, key, keys, next, process, sessions, soon, waiting,
};
use crate::{LONG, TOKEN, TTL, World, config, elections, lazy, nothing_left, refuses, reported, says};

pub(crate) const GO_FLAGS: &str = "3304740253564472344";

/// A session of somebody else's, whose end does this to its keys. Without a lock-delay, for these cases are about who
/// may lead and not for how long.
pub(crate) async fn foreign_session(cluster: &ConsulCluster, behavior: &str) -> String {
    let asked = serde_json::json!({
        "Name": "theirs", "TTL": "60s", "Behavior": behavior, "LockDelay": "1ms", "NodeChecks": [],
    });
    let made = call(cluster, "PUT", "/v1/session/create", &asked.to_string()).await;
    made["ID"].as_str().unwrap().to_owned()
}

pub(crate) async fn acquire(
    cluster: &ConsulCluster,
    name: &str,
    session: &str,
    flags: &str,
    value: &str,
) -> bool {
    let path = format!("/v1/kv/{name}?acquire={session}&flags={flags}");
    call(cluster, "PUT", &path, value).await.as_bool().unwrap()
}

/// A key as it is, without what changes by itself.
async fn kept(cluster: &ConsulCluster, name: &str) -> [serde_json::Value; 4] {
    let key = key(cluster, name).await.expect("it is there");
    ["Value", "Flags", "Session", "ModifyIndex"].map(|part| key[part].clone())
}

/// The candidate waits behind the foreign key, says so, and leaves it as it is. Then it is removed, and the campaign
/// goes on.
async fn waited_behind(
    all: Elections,
    cluster: &ConsulCluster,
    election: &str,
    lock: &str,
    remove: impl AsyncFn(),
) {
    let before = kept(cluster, lock).await;
    let candidate = all.stand(election, "a").unwrap();
    let mut events = candidate.events();
    let error = reported(&mut events, ErrorKind::ForeignEntry).await;
    refuses(
        &error,
        ErrorKind::ForeignEntry,
        &[&format!("{lock:?}"), election, "delete it", "another name"],
    );
    assert_eq!(waiting(&candidate).await, lock);
    support::always("it waits", Duration::from_millis(500), || !candidate.is_leader()).await;
    assert_eq!(kept(cluster, lock).await, before, "it is not overwritten");
    remove().await;
    elected(&candidate).await;
    let follower = all.follow(election).unwrap();
    assert_eq!(soon("led", follower.led()).await.unwrap().name(), "a");
    soon("closed", all.close()).await;
    nothing_left(cluster, election).await;
}

pub(crate) async fn a_foreign_key_is_waited_behind_and_named_with_the_remedy(world: Arc<World>) {
    let cluster = world.plain().await;
    for flags in ["0", "42", "16210313421097356768"] {
        let election = election("foreign");
        let path = format!("/v1/kv/{election}");
        let put = format!("{path}?flags={flags}");
        call(cluster, "PUT", &put, "port = 80").await;
        let all = process(cluster, TTL);
        let follower = all.follow(&election).unwrap();
        let nobody = |change: &Change| matches!(change, Change::NoLeader).then_some(());
        next("nobody leads", &mut follower.changes(), nobody).await;
        let line = follower.contenders().await.unwrap();
        assert!(
            matches!(&line[..], [it] if it.session.is_none() && !it.leads),
            "{line:?}"
        );
        let remove = async || {
            call(cluster, "DELETE", &path, "").await;
        };
        waited_behind(all, cluster, &election, &election, remove).await;
    }
}

pub(crate) async fn a_key_held_with_other_flags_is_waited_behind_and_not_overwritten(world: Arc<World>) {
    let cluster = world.plain().await;
    // Whose session removes its key, the campaign goes on by itself.
    let (election, session) = (election("held"), foreign_session(cluster, "delete").await);
    assert!(acquire(cluster, &election, &session, "0", "theirs").await);
    let end = async || {
        call(cluster, "PUT", &format!("/v1/session/destroy/{session}"), "").await;
    };
    waited_behind(process(cluster, TTL), cluster, &election, &election, end).await;

    // Whose session leaves it, somebody has to remove it.
    let (election, session) = (
        support::election("left"),
        foreign_session(cluster, "release").await,
    );
    assert!(acquire(cluster, &election, &session, "0", "theirs").await);
    let all = process(cluster, TTL);
    let candidate = all.stand(&election, "a").unwrap();
    reported(&mut candidate.events(), ErrorKind::ForeignEntry).await;
    call(cluster, "PUT", &format!("/v1/session/destroy/{session}"), "").await;
    eventually("it is free", async || holder(cluster, &election).await.is_none()).await;
    let waits = || !candidate.is_leader();
    support::always("what they keep there stays", Duration::from_millis(500), waits).await;
    assert_eq!(kept(cluster, &election).await[0], "dGhlaXJz");
    call(cluster, "DELETE", &format!("/v1/kv/{election}"), "").await;
    elected(&candidate).await;
    soon("closed", all.close()).await;
    nothing_left(cluster, &election).await;
}

/// `consul lock -n=2` keeps its semaphore where without it the lock would be.
pub(crate) async fn a_semaphore_of_consul_lock_is_waited_behind_and_not_overwritten(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("semaphore");
    let command = ["lock", "-n=2", &election, "echo leading; exec sleep 1000"];
    let mut theirs = cluster.spawn_consul(&command).await.unwrap();
    let line = theirs.next_line(support::PATIENCE).await.unwrap();
    assert_eq!(line.as_deref(), Some("leading"));
    let lock = format!("{election}/.lock");
    let all = elections(config(cluster).with_layout(Layout::LockCommand), TTL);
    // It removes its semaphore when its last holder goes.
    waited_behind(all, cluster, &election, &lock, async || {
        theirs.interrupt().await.unwrap();
    })
    .await;
}

pub(crate) async fn foreign_keys_in_the_line_are_passed_over(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("line");
    let foreign: Vec<String> = ["note", "a/b", "5ec2e753-0000-4000-8000-000000000001"]
        .iter()
        .map(|name| format!("{election}.line/{name}"))
        .collect();
    for key in &foreign {
        call(cluster, "PUT", &format!("/v1/kv/{key}"), "x").await;
    }
    let (one, two) = (process(cluster, TTL), process(cluster, TTL));
    let first = one.stand(&election, "a").unwrap();
    elected(&first).await;
    let second = two.stand(&election, "b").unwrap();
    waiting(&second).await;
    assert_eq!(
        one.follow(&election).unwrap().contenders().await.unwrap().len(),
        2
    );
    soon("closed", one.close()).await;
    elected(&second).await;
    soon("closed", two.close()).await;
    let mut left = keys(cluster, &election).await;
    left.sort();
    let mut expected = foreign;
    expected.sort();
    assert_eq!(left, expected, "theirs, and nothing of ours");
}

pub(crate) async fn the_entries_of_a_nested_election_are_no_entries_of_the_outer_one(world: Arc<World>) {
    let cluster = world.plain().await;
    let outer = election("outer");
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let mut inner = Vec::new();
    for name in [format!("{outer}/inner"), format!("{outer}.line/inner")] {
        let candidate = a.stand(&*name, "a").unwrap();
        elected(&candidate).await;
        inner.push(candidate);
    }
    let candidate = b.stand(&*outer, "b").unwrap();
    elected(&candidate).await;
    assert_eq!(b.follow(&*outer).unwrap().contenders().await.unwrap().len(), 1);
    assert!(inner.iter().all(Candidate::is_leader));
    soon("closed", b.close()).await;
    assert!(inner.iter().all(Candidate::is_leader));
    soon("closed", a.close()).await;
    nothing_left(cluster, &outer).await;
}

/// Of another Consul: this one knows nothing of it.
pub(crate) async fn a_session_of_another_store_is_refused_by_every_request(world: Arc<World>) {
    let (cluster, other) = (world.plain().await, world.guarded().await);
    for liveness in [Liveness::Check, Liveness::Session] {
        let ours = lazy(config(cluster).with_liveness(liveness));
        let theirs = lazy(config(other).with_liveness(liveness).with_token(TOKEN));
        let election = election("theirs");
        let session = theirs.open(LONG).await.unwrap();
        let name = ElectionName::new(&election).unwrap();
        let (place, _) = theirs.enter(&name, &session, b"v").await.unwrap();
        for error in [
            ours.renew(&session).await.unwrap_err(),
            ours.enter(&name, &session, b"v").await.unwrap_err(),
        ] {
            refuses(&error, ErrorKind::SessionGone, &[session.id.as_str()]);
        }
        let error = ours.proclaim(&place, b"w").await.unwrap_err();
        refuses(&error, ErrorKind::EntryGone, &[&place.key]);
        assert_eq!(ours.find(&name, &session).await.unwrap(), None);
        ours.leave(&place).await.expect("it is not there");
        ours.close(&session).await.expect("it is not there");
        theirs
            .renew(&session)
            .await
            .expect("it lives where it was opened");
        theirs.close(&session).await.unwrap();
        nothing_left(cluster, &election).await;
        nothing_left(other, &election).await;
    }
    let never = Session {
        id: SessionId::new("0x0"),
        ttl: LONG,
    };
    let store = lazy(config(cluster));
    let name = ElectionName::new(election("never")).unwrap();
    for error in [
        store.renew(&never).await.unwrap_err(),
        store.enter(&name, &never, b"v").await.unwrap_err(),
    ] {
        refuses(&error, ErrorKind::SessionGone, &[]);
    }
}

/// Only the store that has made a check can keep it from running out.
pub(crate) async fn a_check_of_another_store_is_not_taken_for_renewed(world: Arc<World>) {
    let cluster = world.plain().await;
    let (ours, theirs) = (lazy(config(cluster)), lazy(config(cluster)));
    let session = theirs.open(TTL).await.unwrap();
    let error = ours.renew(&session).await.expect_err("it keeps no check alive");
    says(&error, &[session.id.as_str()]);
    theirs.close(&session).await.unwrap();
}

pub(crate) async fn a_session_that_vanished_is_named_by_every_request(world: Arc<World>) {
    let cluster = world.plain().await;
    for liveness in [Liveness::Check, Liveness::Session] {
        let (store, election) = (
            lazy(config(cluster).with_liveness(liveness)),
            election("vanished"),
        );
        let name = ElectionName::new(&election).unwrap();
        let session = store.open(LONG).await.unwrap();
        store.renew(&session).await.unwrap();
        let (place, _) = store.enter(&name, &session, b"a").await.unwrap();
        call(cluster, "PUT", &format!("/v1/session/destroy/{}", session.id), "").await;
        for _ in 0..2 {
            // The agent's check says nothing of the session: it is asked for when it is due.
            if liveness == Liveness::Session {
                let error = store.renew(&session).await.expect_err("it is gone");
                refuses(
                    &error,
                    ErrorKind::SessionGone,
                    &[session.id.as_str(), "has ended"],
                );
            }
            let error = store.enter(&name, &session, b"a").await.expect_err("it is gone");
            refuses(
                &error,
                ErrorKind::SessionGone,
                &[session.id.as_str(), "has ended"],
            );
        }
        let error = store.proclaim(&place, b"b").await.expect_err("the entry is gone");
        refuses(&error, ErrorKind::EntryGone, &[&place.key]);
        store.leave(&place).await.expect("left already");
        store.close(&session).await.expect("closed already");
        assert!(
            !sessions(cluster)
                .await
                .iter()
                .any(|id| *id == *session.id.as_str())
        );
        nothing_left(cluster, &election).await;
    }
}
