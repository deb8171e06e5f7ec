//! Names, values and times: what Consul takes, and what it does not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use leadership_consul::{ConsulConfig, ConsulStore, Layout, Liveness};
use leadership_core::{Config, ElectionName, Elections, Error, ErrorKind, Outcome, Standing};

use crate::between::{Way, between};
use crate::foreign::{GO_FLAGS, acquire, foreign_session};
use crate::support::{self, call, elected, election, holder, keys, process, soon, waiting};
use crate::{TTL, World, config, dead, elections, lazy, nothing_left, refuses, says, stopped};

pub(crate) async fn names_that_consul_cannot_hold_are_refused_with_the_rule(world: Arc<World>) {
    let cluster = world.plain().await;
    let all = process(cluster, TTL);
    for (bad, rule) in [
        ("/a", "a /"),
        ("a/", "a /"),
        ("a//b", "two of them"),
        ("a/./b", "a part ."),
        ("..", "a part ."),
    ] {
        let candidate = all.stand(bad, "a").unwrap();
        let parts = ["election name", &format!("{bad:?}"), rule, "service/scheduler"];
        refuses(&stopped(&candidate).await, ErrorKind::InvalidInput, &parts);
        let name = ElectionName::new(bad).unwrap();
        let error = support::store(&all).contenders(&name).await.unwrap_err();
        refuses(&error, ErrorKind::InvalidInput, &parts);
        let told = support::store(&all).leader(&name).next().await.expect("an item");
        refuses(&told.unwrap_err(), ErrorKind::InvalidInput, &parts);
    }
    let control = all.stand("a\tb", "a").expect_err("refused");
    says(&control, &["election name", "control character"]);
    soon("closed", all.close()).await;
}

pub(crate) async fn names_that_have_to_be_escaped_work(world: Arc<World>) {
    let cluster = world.plain().await;
    for prefix in ["", "a b%2F#"] {
        let process = || elections(config(cluster).with_prefix(prefix), TTL);
        let (one, two) = (process(), process());
        for name in [
            "a b",
            "a?x=1&y#z",
            "100%",
            "a%2Fb",
            "ä/ß",
            "..a/b..",
            "a+b",
            "\"a\"\\",
            "recurse",
        ] {
            let name = format!("{}/{name}", election("odd"));
            let leader = one.stand(&*name, "a").unwrap();
            elected(&leader).await;
            let waiter = two.stand(&*name, "b").unwrap();
            waiting(&waiter).await;
            let contenders = two.follow(&*name).unwrap().contenders().await.unwrap();
            assert_eq!(contenders.len(), 2, "{name}");
            soon("stopped", leader.stop()).await;
            elected(&waiter).await;
            soon("stopped", waiter.stop()).await;
        }
        soon("closed", one.close()).await;
        soon("closed", two.close()).await;
        assert_eq!(keys(cluster, "a%20b").await, Vec::<String>::new());
    }
}

pub(crate) async fn an_empty_or_too_long_name_is_refused(world: Arc<World>) {
    let cluster = world.plain().await;
    for layout in [Layout::Key, Layout::LockCommand] {
        let given = config(cluster).with_prefix("some/prefix").with_layout(layout);
        let store = lazy(given);
        let room = store.limits().name_max;
        let all = Elections::new(store, Config::with_ttl(TTL)).unwrap();
        let (too_long, just_too_long) = ("n".repeat(1025), "n".repeat(room + 1));
        for (name, parts) in [
            ("", ["election name", "empty"]),
            (&too_long, ["1025 bytes", "1024"]),
            (&just_too_long, ["election name", &room.to_string()]),
        ] {
            says(&all.stand(name, "a").expect_err("refused"), &parts);
            says(&all.follow(name).expect_err("refused"), &parts);
        }
        // Each of its bytes is three in a URL.
        let longest = format!("{}n", "ä".repeat((room - 1) / 2));
        elected(&all.stand(longest, "a").unwrap()).await;
        soon("closed", all.close()).await;
        nothing_left(cluster, "some/prefix").await;
    }
    let long = config(cluster).with_prefix("p".repeat(513));
    says(
        &ConsulStore::new(long).expect_err("refused"),
        &["prefix", "513 bytes", "512"],
    );
}

pub(crate) async fn a_value_over_the_limit_is_refused_and_the_term_goes_on(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("value");
    let (one, two) = (process(cluster, TTL), process(cluster, TTL));
    let limit = support::store(&one).limits().value_max;
    let error = one.stand(&election, vec![b'x'; limit + 1]).expect_err("refused");
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

    // What is within the limit, Consul takes: from who comes first, who waits, and who is handed the lock.
    let first = one.stand(&election, vec![b'x'; limit]).unwrap();
    let term = elected(&first).await;
    let error = first.proclaim(vec![b'y'; limit + 1]).await.expect_err("refused");
    says(&error, &[&format!("{} bytes", limit + 1)]);
    assert!(term.is_valid());
    soon("proclaimed", first.proclaim(vec![b'y'; limit]))
        .await
        .unwrap();
    let second = two.stand(&election, vec![b'z'; limit]).unwrap();
    waiting(&second).await;
    soon("proclaimed", second.proclaim(vec![b'w'; limit]))
        .await
        .unwrap();
    soon("resigned", first.resign()).await.unwrap();
    elected(&second).await;
    let seen = soon("led", one.follow(&election).unwrap().led()).await.unwrap();
    assert_eq!((seen.value.len(), seen.value[0]), (limit, b'w'));
    soon("closed", two.close()).await;
    elected(&first).await;
    soon("closed", one.close()).await;
    nothing_left(cluster, &election).await;
}

/// Who takes the lock past somebody who waits gives it back, in the largest transaction of all.
pub(crate) async fn values_at_the_limit_fit_every_transaction(world: Arc<World>) {
    let cluster = world.plain().await;
    let (election, store) = (election("largest"), lazy(config(cluster)));
    let name = ElectionName::new(&election).unwrap();
    let value = vec![b'x'; store.limits().value_max];
    let foreign = foreign_session(cluster, "release").await;
    assert!(acquire(cluster, &election, &foreign, GO_FLAGS, "theirs").await);
    let (early, late) = (store.open(TTL).await.unwrap(), store.open(TTL).await.unwrap());
    let (_, standing) = store.enter(&name, &early, &value).await.unwrap();
    assert!(matches!(standing, Standing::Behind(_)), "{standing:?}");
    // Nobody looks for the one who waits while the lock is removed.
    call(cluster, "DELETE", &format!("/v1/kv/{election}"), "").await;
    let (_, standing) = store.enter(&name, &late, &value).await.unwrap();
    assert!(matches!(standing, Standing::Behind(_)), "{standing:?}");
    assert_eq!(
        holder(cluster, &election).await.as_deref(),
        Some(early.id.as_str())
    );
    store.close(&late).await.unwrap();
    store.close(&early).await.unwrap();
    nothing_left(cluster, &election).await;
}

/// The servers lose their leader between the requests that entering takes. Who was told that nothing has changed would
/// leave an entry in the line that nobody answers for, and that the lock would be handed to.
pub(crate) async fn a_failure_after_the_entry_was_made_does_not_deny_it(world: Arc<World>) {
    let cluster = world.plain().await;
    let (election, target) = (election("half"), cluster.addr(0).unwrap());
    let foreign = foreign_session(cluster, "delete").await;
    assert!(acquire(cluster, &election, &foreign, GO_FLAGS, "theirs").await);
    let (address, going) = between(move |request| {
        if request.starts_with("GET /v1/kv/") {
            Way::Answer("500 Internal Server Error", "No cluster leader")
        } else {
            Way::To(target)
        }
    })
    .await;
    let store = lazy(ConsulConfig::new([&address]).unwrap());
    let session = store.open(TTL).await.unwrap();
    let name = ElectionName::new(&election).unwrap();
    let error = store.enter(&name, &session, b"v").await.expect_err("half done");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let found = lazy(config(cluster)).find(&name, &session).await.unwrap();
    assert!(
        found.is_none() || error.outcome() == Outcome::Unknown,
        "{error:?}, but {found:?}"
    );
    store.close(&session).await.unwrap();
    call(cluster, "PUT", &format!("/v1/session/destroy/{foreign}"), "").await;
    nothing_left(cluster, &election).await;
    going.abort();
}

pub(crate) async fn a_ttl_that_consul_cannot_grant_is_refused(_: Arc<World>) {
    for (liveness, ttl, parts) in [
        (Liveness::Check, Duration::ZERO, ["ttl 0s", "zero"]),
        (
            Liveness::Check,
            Duration::from_millis(999),
            ["ttl 999ms", "at least 1s"],
        ),
        (
            Liveness::Check,
            Duration::from_secs(121),
            ["ttl 121s", "at most 120s"],
        ),
        (
            Liveness::Session,
            Duration::from_millis(9999),
            ["ttl 9.999s", "at least 10s"],
        ),
        (
            Liveness::Session,
            Duration::from_secs(181),
            ["ttl 181s", "at most 180s"],
        ),
    ] {
        let given = ConsulConfig::new([dead().await]).unwrap().with_liveness(liveness);
        says(
            &Elections::new(lazy(given), Config::with_ttl(ttl)).expect_err("refused"),
            &parts,
        );
    }
}

/// Whoever asks for a quick handover is told how to get it.
pub(crate) async fn a_ttl_under_the_least_of_a_session_names_the_check(_: Arc<World>) {
    let given = ConsulConfig::new([dead().await])
        .unwrap()
        .with_liveness(Liveness::Session);
    let error = Elections::new(lazy(given), Config::with_ttl(Duration::from_secs(2))).expect_err("refused");
    says(&error, &["ttl 2s", "10s", "liveness=check"]);
}
