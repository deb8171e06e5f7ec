//! The conformance suite on real etcd: one node, and three.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use leadership_core::{DynStore, Place};
use leadership_etcd::{EtcdConfig, EtcdStore};
use leadership_testkit::cluster::EtcdCluster;
use leadership_testkit::conformance::{self, Harness};

struct EtcdHarness {
    cluster: EtcdCluster,
}

#[async_trait]
impl Harness for EtcdHarness {
    async fn client(&self) -> anyhow::Result<DynStore> {
        Ok(Arc::new(
            EtcdStore::connect(EtcdConfig::from_url(&self.cluster.url("tests"))?).await?,
        ))
    }

    fn ttl(&self) -> Duration {
        // etcd's own least: one and a half election timeouts, in whole seconds.
        Duration::from_secs(2)
    }

    async fn remove(&self, place: &Place) -> anyhow::Result<()> {
        let mut client = etcd_client::Client::connect(self.cluster.endpoints(), None).await?;
        let removed = client.delete(&*place.key, None).await?;
        ensure!(removed.deleted() == 1, "{} was not there", place.key);
        Ok(())
    }
}

fn main() {
    conformance::main(|| async {
        let (one, three) = tokio::try_join!(EtcdCluster::start(1), EtcdCluster::start(3))?;
        Ok(vec![
            conformance::suite("etcd×1", Arc::new(EtcdHarness { cluster: one })),
            conformance::suite("etcd×3", Arc::new(EtcdHarness { cluster: three })),
        ])
    });
}
