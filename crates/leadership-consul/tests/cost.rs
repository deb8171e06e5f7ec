//! What elections cost Consul: the same few requests however long the line is, one session and one check for many
//! elections, and hardly more time than the one write that they cannot do without.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use leadership_core::{Candidate, Elections};
use leadership_testkit::cluster::ConsulCluster;
use support::{Shared, cases, close, elected, election, line, process, services, sessions, soon, waiting};

/// Longer than any of this takes, so that few renewals come in between.
const TTL: Duration = Duration::from_secs(60);
const ELECTIONS: usize = 300;

fn main() {
    support::main::<Shared>(cases![
        a_handover_costs_the_same_few_requests_however_long_the_line_is,
        many_elections_of_a_process_cost_one_session_and_one_check,
    ]);
}

/// Requests that the agent has answered, once they stand still.
async fn settled(cluster: &ConsulCluster) -> f64 {
    let mut last = cluster.requests(0).await.unwrap();
    soon("the requests stand still", async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = cluster.requests(0).await.unwrap();
            if now == last {
                return now;
            }
            last = now;
        }
    })
    .await
}

async fn join(cluster: &ConsulCluster, election: &str, name: usize) -> (Elections, Candidate) {
    let process = process(cluster, TTL);
    let candidate = process.stand(election, format!("n{name}")).unwrap();
    if name == 0 {
        elected(&candidate).await;
    } else {
        waiting(&candidate).await;
    }
    (process, candidate)
}

/// The most that one of several handovers took while so many wait. The first leader, who was alone when it was
/// elected, may look at the line once more, so it is left out.
async fn handover(cluster: &ConsulCluster, waiting: usize) -> f64 {
    let election = election("handover");
    let mut standing = Vec::new();
    for name in 0..=waiting {
        standing.push(join(cluster, &election, name).await);
    }
    let mut most: f64 = 0.0;
    soon("stopped", standing[0].1.stop()).await;
    elected(&standing[1].1).await;
    for pair in standing.windows(2).skip(1).take(2) {
        // It has seen who is next, and looks again much later.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = settled(cluster).await;
        soon("stopped", pair[0].1.stop()).await;
        elected(&pair[1].1).await;
        most = most.max(settled(cluster).await - before);
    }
    close(standing.into_iter().map(|(process, _)| process)).await;
    most
}

/// Go's `api.Lock` takes three for each that waits.
async fn a_handover_costs_the_same_few_requests_however_long_the_line_is(_: Arc<Shared>) {
    let cluster = ConsulCluster::start(1).await.unwrap();
    let (few, many) = (handover(&cluster, 3).await, handover(&cluster, 100).await);
    println!("a handover costs {few} requests with 3 waiting, {many} with 100");
    assert!(few <= 5.0 && many <= 5.0, "{few}, {many}");
    cluster.remove().await.unwrap();
}

async fn many_elections_of_a_process_cost_one_session_and_one_check(_: Arc<Shared>) {
    let cluster = ConsulCluster::start(1).await.unwrap();
    let elections = process(&cluster, TTL);
    let candidates: Vec<_> = (0..ELECTIONS)
        .map(|i| elections.stand(format!("many/{i:04}"), "one").unwrap())
        .collect();
    soon("all led", join_all(candidates.iter().map(elected))).await;
    assert_eq!(
        (sessions(&cluster).await.len(), services(&cluster).await.len()),
        (1, 1)
    );
    soon("closed", elections.close()).await;
    assert!(sessions(&cluster).await.is_empty(), "no session is left");
    assert!(services(&cluster).await.is_empty(), "no check is left");
    assert!(line(&cluster, "many").await.is_empty(), "no entry is left");
    cluster.remove().await.unwrap();
}
