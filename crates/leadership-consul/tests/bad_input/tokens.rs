//! ACL tokens: what the right one may do, and what becomes of others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use leadership_consul::{ConsulConfig, ConsulStore, Liveness};
use leadership_core::{Config, DynStore, ElectionName, Elections, ErrorKind, Event, State};
use leadership_testkit::cluster::{ConsulCluster, Proxy};
use tokio::time::timeout;

use crate::support::{
    self, call, elected, election, eventually_within, next, services, sessions, soon, waiting,
};
use crate::{
    LESS, LONG, TOKEN, TRACED, TTL, WRONG, World, address, config, elections, lazy, nothing_left,
    nothing_secret, refused, refuses, reported, says, stopped, temporary,
};

/// What the documentation asks for.
const RULES: &str = r#"key_prefix "tests/" { policy = "write" } session_prefix "" { policy = "write" }
                       service "leadership" { policy = "write" }"#;

pub(crate) async fn guarded() -> anyhow::Result<ConsulCluster> {
    let cluster = ConsulCluster::builder().acl().start().await?;
    permit(&cluster, TOKEN, RULES).await;
    Ok(cluster)
}

/// Gives a token with these permissions.
async fn permit(cluster: &ConsulCluster, token: &str, rules: &str) {
    let name = format!("policy-{token}");
    let policy = serde_json::json!({ "Name": name, "Rules": rules });
    call(cluster, "PUT", "/v1/acl/policy", &policy.to_string()).await;
    let asked = serde_json::json!({ "SecretID": token, "Policies": [{ "Name": name }] });
    call(cluster, "PUT", "/v1/acl/token", &asked.to_string()).await;
}

pub(crate) async fn the_right_token_is_accepted_and_never_shown(world: Arc<World>) {
    let cluster = world.guarded().await;
    let election = election("accepted");
    let url = format!("{}?token={TOKEN}", cluster.url(""));
    let config = ConsulConfig::from_url(&url).unwrap();
    let store: DynStore = Arc::new(ConsulStore::connect(config.clone()).await.unwrap());
    let a = Elections::new(store.clone(), Config::with_ttl(TTL)).unwrap();
    let b = elections(config.clone().with_liveness(Liveness::Session), LONG);
    let leader = a.stand(&election, "a").unwrap();
    let term = elected(&leader).await;
    let waiter = b.stand(&election, "b").unwrap();
    waiting(&waiter).await;
    let follower = a.follow(&election).unwrap();
    let seen = soon("led", follower.led()).await.unwrap();
    soon("proclaimed", leader.proclaim("a2")).await.unwrap();
    let text = format!("{config} {store}");
    nothing_secret(&[&config, &store, &leader, &a, &term, &follower, &seen, &text]);
    soon("closed", a.close()).await;
    elected(&waiter).await;
    soon("closed", b.close()).await;
    assert!(
        TRACED.has("elected") && TRACED.has(&election),
        "what is looked through is what we trace"
    );
    nothing_secret(&[]);
    nothing_left(cluster, &election).await;
}

pub(crate) async fn a_token_in_a_file_is_read(world: Arc<World>) {
    let cluster = world.guarded().await;
    let path = temporary("token");
    std::fs::write(&path.0, format!("{TOKEN}\n")).unwrap();
    let given = config(cluster).with_token_file(&path.0);
    let all = elections(given.clone(), TTL);
    elected(&all.stand(election("file"), "a").unwrap()).await;
    soon("closed", all.close()).await;
    let shown = path.0.to_str().unwrap().to_owned();
    nothing_secret(&[&given]);
    // What cannot be a token is named by its file, and not repeated.
    for text in ["", "\n", &format!("{WRONG} x"), &format!("{WRONG}\u{e9}")] {
        std::fs::write(&path.0, text).unwrap();
        says(
            &ConsulStore::new(given.clone()).expect_err("refused"),
            &["token_file", &shown, "SecretID"],
        );
    }
    drop(path);
    says(
        &ConsulStore::new(given).expect_err("refused"),
        &["token_file", &shown, "cannot be read"],
    );
}

pub(crate) async fn a_wrong_token_is_refused_by_name(world: Arc<World>) {
    let cluster = world.guarded().await;
    for liveness in [Liveness::Check, Liveness::Session] {
        let wrong = config(cluster).with_token(WRONG).with_liveness(liveness);
        let parts = ["ACL not found", "token= or token_file=", &address(cluster)];
        let error = refused(wrong.clone()).await;
        refuses(&error, ErrorKind::Unauthenticated, &parts);
        assert!(!error.is_transient(), "trying again cannot help");
        let (store, name) = (lazy(wrong), ElectionName::new(election("wrong")).unwrap());
        for error in [
            store.open(LONG).await.unwrap_err(),
            store.contenders(&name).await.unwrap_err(),
            store.leader(&name).next().await.expect("an item").unwrap_err(),
        ] {
            refuses(&error, ErrorKind::Unauthenticated, &parts);
        }
    }
}

/// Before anything is made the servers have to be heard again, who say of a session that never was what access rules
/// have them say.
pub(crate) async fn servers_that_were_silent_are_heard_again_with_access_rules(world: Arc<World>) {
    let cluster = world.guarded().await;
    let election = election("silent");
    let way = Proxy::start(cluster.addr(0).unwrap()).await.unwrap();
    let given = ConsulConfig::new([way.addr().to_string()]).unwrap();
    assert_eq!(given.liveness(), Liveness::Check);
    let store = lazy(given.with_token(TOKEN));
    let first = soon("opened", store.open(LONG)).await.unwrap();
    way.stall();
    let renewed = timeout(Duration::from_millis(300), store.renew(&first)).await;
    assert!(renewed.is_err(), "they are silent: {renewed:?}");
    way.resume().await.unwrap();
    let second = soon("opened again", store.open(LONG)).await.unwrap();
    for session in [first, second] {
        soon("closed", store.close(&session)).await.unwrap();
    }
    nothing_left(cluster, &election).await;
}

/// Consul takes who has none for somebody who may do nothing.
pub(crate) async fn a_missing_token_is_asked_for(world: Arc<World>) {
    let cluster = world.guarded().await;
    let election = election("missing");
    let parts = ["no token is given", "token= or token_file=", &address(cluster)];
    for liveness in [Liveness::Check, Liveness::Session] {
        let all = elections(config(cluster).with_liveness(liveness), LONG);
        let name = ElectionName::new(&election).unwrap();
        let error = support::store(&all).contenders(&name).await.unwrap_err();
        refuses(&error, ErrorKind::PermissionDenied, &parts);
        let candidate = all.stand(&election, "a").unwrap();
        refuses(&stopped(&candidate).await, ErrorKind::PermissionDenied, &parts);
        soon("closed", all.close()).await;
    }
    nothing_left(cluster, &election).await;
}

pub(crate) async fn a_campaign_with_a_wrong_token_stops_with_the_reason(world: Arc<World>) {
    let cluster = world.guarded().await;
    let election = election("wrong-token");
    let right = elections(config(cluster).with_token(TOKEN), TTL);
    let leader = right.stand(&election, "a").unwrap();
    elected(&leader).await;
    let wrong = elections(config(cluster).with_token(WRONG), TTL);
    let candidate = wrong.stand(&election, "b").unwrap();
    let error = soon("stopped", candidate.elected()).await.expect_err("stopped");
    says(&error, &["stopped", "ACL not found", "token="]);
    let State::Stopped(Some(cause)) = candidate.state() else {
        panic!("{:?}", candidate.state())
    };
    refuses(&cause, ErrorKind::Unauthenticated, &[]);
    nothing_secret(&[&candidate, &wrong, &cause]);
    soon("stopped", candidate.stop()).await;
    soon("closed", wrong.close()).await;
    assert!(leader.is_leader());
    soon("closed", right.close()).await;
    nothing_left(cluster, &election).await;
}

/// It refuses it meanwhile; this version of Consul goes on for half a minute after it has found the servers.
pub(crate) async fn an_agent_that_cannot_ask_the_servers_about_a_token_ends_no_campaign(_: Arc<World>) {
    let mut cluster = guarded().await.unwrap();
    let agent = cluster.add_client_agent().await.unwrap();
    let given = ConsulConfig::new([cluster.addr(agent).unwrap().to_string()]).unwrap();
    let (given, election) = (given.with_token(TOKEN), election("unasked"));
    let first = elections(given.clone(), TTL);
    let leader = first.stand(&election, "a").unwrap();
    elected(&leader).await;
    let mut events = leader.events();
    cluster.kill(agent).await.unwrap();
    cluster.kill(0).await.unwrap();
    cluster.start_node(agent).await.unwrap();
    let alone = |event: &Event| match event {
        Event::Error(error) => error
            .to_string()
            .contains("has not joined a cluster")
            .then_some(()),
        _ => None,
    };
    next("the agent is there again, alone", &mut events, alone).await;
    let later = elections(given, TTL);
    let candidate = later.stand(format!("{election}-later"), "b").unwrap();
    reported(&mut candidate.events(), ErrorKind::Unavailable).await;
    cluster.start_node(0).await.unwrap();
    cluster.wait_all_healthy().await.unwrap();
    for candidate in [&leader, &candidate] {
        let is_leader = async || match candidate.state() {
            State::Stopped(error) => panic!("{error:?}"),
            _ => candidate.is_leader(),
        };
        eventually_within(Duration::from_secs(60), "elected", is_leader).await;
    }
    for all in [first, later] {
        soon("closed", all.close()).await;
    }
    cluster.remove().await.unwrap();
}

pub(crate) async fn a_token_that_is_revoked_ends_the_campaign_in_the_end(_: Arc<World>) {
    let cluster = guarded().await.unwrap();
    let token = format!("{LESS}7");
    permit(&cluster, &token, RULES).await;
    let all = elections(config(&cluster).with_token(&token), TTL);
    let leader = all.stand(election("revoked"), "a").unwrap();
    let term = elected(&leader).await;
    let tokens = call(&cluster, "GET", "/v1/acl/tokens", "").await;
    let its = tokens
        .as_array()
        .unwrap()
        .iter()
        .find(|listed| listed["Policies"][0]["Name"].as_str() == Some(&*format!("policy-{token}")));
    let accessor = its.unwrap()["AccessorID"].as_str().unwrap().to_owned();
    call(&cluster, "DELETE", &format!("/v1/acl/token/{accessor}"), "").await;
    let begin = Instant::now();
    soon("the term ends", term.ended()).await;
    let is_stopped = async || matches!(leader.state(), State::Stopped(_));
    eventually_within(Duration::from_secs(120), "stopped", is_stopped).await;
    assert!(
        begin.elapsed() > Duration::from_secs(30),
        "an agent may say so for half a minute, wrongly: {:?}",
        begin.elapsed()
    );
    refuses(
        &stopped(&leader).await,
        ErrorKind::Unauthenticated,
        &["ACL not found", "token="],
    );
    soon("closed", all.close()).await;
    cluster.remove().await.unwrap();
}

pub(crate) async fn a_token_that_may_not_write_is_told_which_permission_is_missing(_: Arc<World>) {
    let cluster = guarded().await.unwrap();
    let election = election("reads-only");
    let readers = [
        // Nothing but to read.
        r#"key_prefix "tests/" { policy = "read" }"#.to_owned(),
        // All but to write.
        RULES.replacen("write", "read", 1),
        // All but to write to the line.
        RULES
            .replacen("key_prefix", "key", 1)
            .replacen("tests/", &election, 1),
    ];
    for (number, rules) in readers.iter().enumerate() {
        let token = format!("{LESS}{number}");
        permit(&cluster, &token, rules).await;
        for liveness in [Liveness::Check, Liveness::Session] {
            let given = config(&cluster).with_token(&token).with_liveness(liveness);
            let store = ConsulStore::connect(given).await.expect("it is a token");
            let all = Elections::new(Arc::new(store), Config::with_ttl(LONG)).unwrap();
            let candidate = all.stand(&election, "a").unwrap();
            let error = stopped(&candidate).await;
            refuses(
                &error,
                ErrorKind::PermissionDenied,
                &["Permission denied", "key:write", "begin with", &address(&cluster)],
            );
            assert!(!error.to_string().contains("no token is given"), "{error}");
            soon("closed", all.close()).await;
            assert_eq!(sessions(&cluster).await, Vec::<String>::new(), "{rules}");
            assert_eq!(services(&cluster).await, Vec::<String>::new(), "{rules}");
            nothing_left(&cluster, &election).await;
        }
    }
    cluster.remove().await.unwrap();
}

pub(crate) async fn a_token_that_may_open_no_session_leaves_no_check(_: Arc<World>) {
    let cluster = guarded().await.unwrap();
    let rules = RULES.replacen(r#"session_prefix "" { policy = "write" }"#, "", 1);
    let token = format!("{LESS}5");
    permit(&cluster, &token, &rules).await;
    let all = elections(config(&cluster).with_token(&token), TTL);
    let candidate = all.stand(election("no-session"), "a").unwrap();
    refuses(
        &stopped(&candidate).await,
        ErrorKind::PermissionDenied,
        &["session:write"],
    );
    soon("closed", all.close()).await;
    assert_eq!(sessions(&cluster).await, Vec::<String>::new());
    assert_eq!(services(&cluster).await, Vec::<String>::new());
    cluster.remove().await.unwrap();
}

pub(crate) async fn a_token_that_may_register_no_check_works_with_sessions(world: Arc<World>) {
    let cluster = world.guarded().await;
    let election = election("no-check");
    let rules = RULES.replacen("service \"leadership\" { policy = \"write\" }", "", 1);
    let token = format!("{LESS}6");
    permit(cluster, &token, &rules).await;
    let with_check = elections(config(cluster).with_token(&token), TTL);
    let candidate = with_check.stand(&election, "a").unwrap();
    refuses(
        &stopped(&candidate).await,
        ErrorKind::PermissionDenied,
        &["service:write on \"leadership\"", "liveness=session"],
    );
    soon("closed", with_check.close()).await;
    let given = config(cluster)
        .with_token(&token)
        .with_liveness(Liveness::Session);
    let with_session = elections(given, LONG);
    elected(&with_session.stand(&election, "a").unwrap()).await;
    soon("closed", with_session.close()).await;
    nothing_left(cluster, &election).await;
}

pub(crate) async fn a_url_that_cannot_be_understood_shows_no_token(_: Arc<World>) {
    for (url, part) in [
        (format!("etcd://h?token={WRONG}"), "consul://"),
        (format!("h?token={WRONG}"), "consul://"),
        (format!("consul://?token={WRONG}"), "endpoint"),
        (format!("consul://h:0?token={WRONG}"), "port"),
        (format!("consul://{WRONG}@h"), "URL of consul"),
        (format!("consul://root:{WRONG}@h"), "token="),
        (format!("consul://h?token={WRONG}#x"), "%23"),
        (format!("consul://h?token={WRONG}%zz"), "token"),
        // It may be a part of the token.
        (format!("consul://h?token={WRONG}&tokn=x"), "%26"),
        (format!("consul://h?tokn=x&token={WRONG}"), "known are"),
        (format!("consul://h?token={WRONG}&tls=yes"), "tls"),
        (format!("consul://h?token={WRONG}&token_file=/f"), "one of them"),
        (
            format!("consul://h?token={WRONG}&liveness=ttl"),
            "check or session",
        ),
        (format!("consul://h//p?token={WRONG}"), "prefix"),
        (format!("consul://h/p/?token={WRONG}&cert=/c"), "cert and key"),
    ] {
        let error = ConsulConfig::from_url(&url).expect_err(&url);
        says(&error, &[part]);
    }
    let config = ConsulConfig::new(["h"]).unwrap().with_token(format!("{WRONG} x"));
    let error = ConsulStore::new(config).expect_err("refused");
    says(&error, &["token (not shown)", "SecretID"]);
}
