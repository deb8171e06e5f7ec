//! Agents and servers that are not as they have to be for what is asked: checks, datacenters, Consul Enterprise.

use std::sync::Arc;

use leadership_consul::{ConsulConfig, Liveness};
use leadership_core::{Config, Elections, ErrorKind};
use leadership_testkit::cluster::ConsulCluster;

use crate::between::{Way, between};
use crate::support::{elected, election, soon};
use crate::{
    LONG, TTL, World, address, config, elections, lazy, nothing_left, refused, refuses, reported, says,
    stopped,
};

/// A server that grants no session under 20 s, and whose agent takes no checks.
async fn strict() -> ConsulCluster {
    let strict = r#"session_ttl_min = "20s" http_config { block_endpoints = ["/v1/agent"] }"#;
    let started = ConsulCluster::builder().configuration(strict).start();
    started.await.unwrap()
}

pub(crate) async fn an_agent_that_takes_no_registrations_is_named_with_the_remedy(_: Arc<World>) {
    let cluster = strict().await;
    let all = elections(config(&cluster).with_liveness(Liveness::Check), TTL);
    let candidate = all.stand(election("blocked"), "a").unwrap();
    refuses(
        &stopped(&candidate).await,
        ErrorKind::PermissionDenied,
        &[
            "blocked by agent configuration",
            "liveness=session",
            &address(&cluster),
        ],
    );
    soon("closed", all.close()).await;
    cluster.remove().await.unwrap();
}

pub(crate) async fn a_ttl_that_the_servers_refuse_is_named_with_the_remedy(_: Arc<World>) {
    let cluster = strict().await;
    let with_session = || config(&cluster).with_liveness(Liveness::Session);
    let all = elections(with_session(), 3 * LONG);
    let candidate = all.stand(election("refused-ttl"), "a").unwrap();
    refuses(
        &stopped(&candidate).await,
        ErrorKind::InvalidInput,
        &["Invalid Session TTL '10000000000'", "20s", "session_ttl_min"],
    );
    soon("closed", all.close()).await;
    // As the error says: a third of it is enough for the servers.
    let all = elections(with_session(), 6 * LONG);
    elected(&all.stand(election("granted-ttl"), "a").unwrap()).await;
    soon("closed", all.close()).await;
    cluster.remove().await.unwrap();
}

/// The address is that of a balancer before several agents.
pub(crate) async fn a_check_that_the_servers_do_not_know_is_named_with_the_remedy(_: Arc<World>) {
    let mut cluster = ConsulCluster::start(1).await.unwrap();
    let agent = cluster.add_client_agent().await.unwrap();
    let (registers, asks) = (cluster.addr(agent).unwrap(), cluster.addr(0).unwrap());
    let (address, balancing) = between(move |request| {
        let registering = request.contains(" /v1/agent/");
        Way::To(if registering { registers } else { asks })
    })
    .await;
    let given = ConsulConfig::new([&address]).unwrap();
    assert_eq!(given.liveness(), Liveness::Check);
    let parts = ["Missing check", "one agent", "liveness=session", &*address];
    let store = lazy(given);
    let error = store.open(TTL).await.unwrap_err();
    refuses(&error, ErrorKind::Unavailable, &parts);
    // Who stands hears of it too.
    let all = Elections::new(store, Config::with_ttl(TTL)).unwrap();
    let candidate = all.stand(election("balanced"), "a").unwrap();
    let mut events = candidate.events();
    says(&reported(&mut events, ErrorKind::Unavailable).await, &parts);
    soon("closed", all.close()).await;
    let (_, left) = cluster
        .http(agent, "GET", "/v1/agent/services", "")
        .await
        .unwrap();
    assert_eq!(left.trim(), "{}", "no check is left");
    balancing.abort();
    cluster.remove().await.unwrap();
}

pub(crate) async fn a_datacenter_that_is_not_there_is_named(world: Arc<World>) {
    let cluster = world.plain().await;
    let given = || config(cluster).with_datacenter("nowhere");
    let parts = [
        "No path to datacenter",
        "dc=",
        "dc \"nowhere\"",
        &address(cluster),
    ];
    let error = refused(given()).await;
    refuses(&error, ErrorKind::Unavailable, &parts);
    assert!(error.is_transient(), "it may be cut off only");
    for liveness in [Liveness::Check, Liveness::Session] {
        let all = elections(given().with_liveness(liveness), LONG);
        let candidate = all.stand(election("nowhere"), "a").unwrap();
        let error = reported(&mut candidate.events(), ErrorKind::Unavailable).await;
        refuses(&error, ErrorKind::Unavailable, &parts);
        soon("closed", all.close()).await;
    }
    // The one that it is.
    let all = elections(config(cluster).with_datacenter("dc1"), TTL);
    elected(&all.stand(election("dc1"), "a").unwrap()).await;
    soon("closed", all.close()).await;
}

pub(crate) async fn a_namespace_that_consul_has_not_is_refused_by_name(world: Arc<World>) {
    let cluster = world.plain().await;
    let given = config(cluster).with_namespace("team");
    let parts = ["\"ns\"", "Enterprise", "leave out ns=", &address(cluster)];
    refuses(&refused(given.clone()).await, ErrorKind::InvalidInput, &parts);
    for liveness in [Liveness::Check, Liveness::Session] {
        let all = elections(given.clone().with_liveness(liveness), LONG);
        let candidate = all.stand(election("namespace"), "a").unwrap();
        refuses(&stopped(&candidate).await, ErrorKind::InvalidInput, &parts);
        soon("closed", all.close()).await;
    }
}

/// Consul of this version ignores them in queries, so that only who stands is told.
pub(crate) async fn a_partition_that_consul_has_not_is_refused_by_name(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("partition");
    for liveness in [Liveness::Check, Liveness::Session] {
        let given = config(cluster).with_partition("team").with_liveness(liveness);
        let all = elections(given, LONG);
        let candidate = all.stand(&election, "a").unwrap();
        refuses(
            &stopped(&candidate).await,
            ErrorKind::InvalidInput,
            &["no admin partitions", "leave out partition=", &address(cluster)],
        );
        soon("closed", all.close()).await;
    }
    nothing_left(cluster, &election).await;
}
