//! The conformance suite on real Consul: one node, and three.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use leadership_consul::{ConsulConfig, ConsulStore};
use leadership_core::{DynStore, Place};
use leadership_testkit::cluster::ConsulCluster;
use leadership_testkit::conformance::{self, Harness};

struct ConsulHarness {
    cluster: ConsulCluster,
}

#[async_trait]
impl Harness for ConsulHarness {
    async fn client(&self) -> anyhow::Result<DynStore> {
        let url = format!("{}?liveness=check", self.cluster.url("tests"));
        Ok(Arc::new(
            ConsulStore::connect(ConsulConfig::from_url(&url)?).await?,
        ))
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(3)
    }

    /// Whoever leads has the lock, and is removed with it; whoever waits has an entry only.
    async fn remove(&self, place: &Place) -> anyhow::Result<()> {
        let election = place.election.as_str();
        let lock = format!("/v1/kv/tests/{election}");
        let (_, held) = self.cluster.http(0, "GET", &lock, "").await?;
        let key = if held.contains(place.session.as_str()) {
            lock
        } else {
            format!("/v1/kv/{}", place.key)
        };
        let (status, body) = self.cluster.http(0, "DELETE", &key, "").await?;
        ensure!(status == 200, "{key}: {status} {body}");
        Ok(())
    }
}

fn main() {
    conformance::main(|| async {
        let (one, three) = tokio::try_join!(ConsulCluster::start(1), ConsulCluster::start(3))?;
        Ok(vec![
            conformance::suite("consul×1", Arc::new(ConsulHarness { cluster: one })),
            conformance::suite("consul×3", Arc::new(ConsulHarness { cluster: three })),
        ])
    });
}
