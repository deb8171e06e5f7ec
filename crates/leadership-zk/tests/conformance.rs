//! The conformance suite on real ZooKeeper: one node, and three.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use leadership_core::{DynStore, KvStore, Place, Session};
use leadership_testkit::cluster::ZkCluster;
use leadership_testkit::conformance::{self, Harness};
use leadership_zk::{ZkConfig, ZkStore};

struct ZkHarness {
    cluster: ZkCluster,
    /// ZooKeeper ends a session only for who has opened it.
    clients: Mutex<Vec<Weak<ZkStore>>>,
}

impl ZkHarness {
    fn new(cluster: ZkCluster) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            clients: Mutex::default(),
        })
    }
}

#[async_trait]
impl Harness for ZkHarness {
    async fn client(&self) -> anyhow::Result<DynStore> {
        let client = Arc::new(ZkStore::connect(ZkConfig::from_url(&self.cluster.url("tests"))?).await?);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|client| client.strong_count() > 0);
        clients.push(Arc::downgrade(&client));
        Ok(client)
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn remove(&self, place: &Place) -> anyhow::Result<()> {
        let client = zookeeper_client::Client::connect(&self.cluster.addr(0)?.to_string()).await?;
        client
            .delete(&place.key, None)
            .await
            .with_context(|| format!("{} was not there", place.key))
    }

    async fn end(&self, session: &Session) -> anyhow::Result<()> {
        let clients = self
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for client in clients.iter().filter_map(Weak::upgrade) {
            if client.close(session).await.is_ok() {
                return Ok(());
            }
        }
        bail!("no client has opened {:?}", session.id)
    }
}

fn main() {
    conformance::main(|| async {
        let (one, three) = tokio::try_join!(ZkCluster::start(1), ZkCluster::start(3))?;
        Ok(vec![
            conformance::suite("zk×1", ZkHarness::new(one)),
            conformance::suite("zk×3", ZkHarness::new(three)),
        ])
    });
}
