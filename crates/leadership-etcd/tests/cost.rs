//! What a thousand elections of one process cost it and the store. A program of its own, with an etcd of its
//! own, so that nobody else counts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use leadership_testkit::cluster::EtcdCluster;
use support::{Shared, cases, elected, leases, names, operator, process, soon};

const ELECTIONS: usize = 1000;
const TTL: Duration = Duration::from_secs(6);
const MIB: u64 = 1 << 20;

fn main() {
    support::main::<Shared>(cases![
        a_thousand_elections_cost_one_lease_one_keep_alive_and_one_watch_stream
    ]);
}

/// Resident memory of this process.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// How many streams of this method were ever opened.
async fn opened(cluster: &EtcdCluster, service: &str, method: &str) -> f64 {
    let name = format!(
        r#"grpc_server_started_total{{grpc_method="{method}",grpc_service="etcdserverpb.{service}",grpc_type="bidi_stream"}}"#
    );
    cluster.counter(0, &name).await.unwrap()
}

async fn streams(cluster: &EtcdCluster) -> (f64, f64) {
    (
        opened(cluster, "Lease", "LeaseKeepAlive").await,
        opened(cluster, "Watch", "Watch").await,
    )
}

async fn a_thousand_elections_cost_one_lease_one_keep_alive_and_one_watch_stream(world: Arc<Shared>) {
    let cluster = support::plain(&world).await;
    let client = operator(cluster).await;
    let (memory_before, streams_before) = (memory(), streams(cluster).await);
    let elections = process(cluster, TTL);
    let candidates: Vec<_> = (0..ELECTIONS)
        .map(|i| elections.stand(format!("many/{i:04}"), "one").unwrap())
        .collect();
    soon("all led", join_all(candidates.iter().map(elected))).await;
    // Renewals and all that comes late are in it.
    let renewed = r#"grpc_server_msg_received_total{grpc_method="LeaseKeepAlive",grpc_service="etcdserverpb.Lease",grpc_type="bidi_stream"}"#;
    support::eventually("the session was renewed twice", async || {
        cluster.counter(0, renewed).await.unwrap() >= 2.0
    })
    .await;
    assert!(candidates.iter().all(|candidate| candidate.is_leader()));

    let growth = memory().saturating_sub(memory_before);
    let streams_after = streams(cluster).await;
    let (keep_alives, watches) = (
        streams_after.0 - streams_before.0,
        streams_after.1 - streams_before.1,
    );
    println!(
        "{ELECTIONS} elections: {keep_alives} keep-alive and {watches} watch stream, {} KiB",
        growth / 1024
    );
    assert_eq!((keep_alives, watches), (1.0, 1.0), "keep-alive and watch streams");
    assert_eq!(
        cluster
            .counter(0, "etcd_debugging_mvcc_watch_stream_total")
            .await
            .unwrap(),
        1.0,
        "etcd has one watch stream"
    );
    assert_eq!(
        cluster
            .counter(0, "etcd_debugging_mvcc_watcher_total")
            .await
            .unwrap(),
        ELECTIONS as f64,
        "one watch for each"
    );
    assert_eq!(leases(&client).await.len(), 1, "one lease");
    assert!(growth < 64 * MIB, "{} MiB", growth / MIB);

    soon("closed", elections.close()).await;
    assert!(leases(&client).await.is_empty(), "no lease is left");
    assert!(names(&client, "many").await.is_empty(), "no entry is left");
    support::eventually("no watch is left", async || {
        cluster
            .counter(0, "etcd_debugging_mvcc_watcher_total")
            .await
            .unwrap()
            == 0.0
    })
    .await;
}
