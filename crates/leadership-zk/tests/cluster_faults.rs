//! Faults of candidates, of their network and of the servers, on three real nodes of ZooKeeper.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unused_imports, reason = "each test binary uses its part")]
mod support;

use std::time::Duration;

use async_trait::async_trait;
use leadership_core::{Place, Session};
use leadership_testkit::cluster::{Zk, ZkCluster};
use leadership_testkit::cluster_faults::{self, Ground, OnZk, SERVERS};
use leadership_testkit::worker::Connect;
use support::{Shared, connect, end_session, number, operator, take_over};

#[derive(Default)]
struct World {
    three: Shared,
}

#[async_trait(?Send)]
impl Ground for World {
    type Server = Zk;
    const CONNECT: Connect = connect;
    /// Six ticks of the servers here.
    const TTL: Duration = Duration::from_secs(3);
    /// The servers take ten seconds to find each other again when all have been away.
    const LONG: Duration = Duration::from_secs(30);
    /// Two seconds until the followers give up the old one, and as long for a vote and for learning from the new one.
    const ELECTION: Duration = Duration::from_secs(5);

    fn shared(&self) -> &Shared {
        &self.three
    }

    async fn launch() -> anyhow::Result<ZkCluster> {
        let three = ZkCluster::builder().nodes(SERVERS);
        three.max_session(Self::LONG).start().await
    }

    async fn delete(cluster: &ZkCluster, place: &Place) -> anyhow::Result<()> {
        Ok(operator(cluster).await.delete(&place.key, None).await?)
    }

    async fn end(cluster: &ZkCluster, session: &Session) -> anyhow::Result<()> {
        end_session(cluster, number(session)).await;
        Ok(())
    }
}

#[async_trait(?Send)]
impl OnZk for World {
    async fn take_over(cluster: &ZkCluster, session: &Session) -> anyhow::Result<()> {
        take_over(cluster, number(session)).await;
        Ok(())
    }
}

fn main() {
    let mut cases = cluster_faults::everywhere::<World>();
    cases.extend(cluster_faults::beside_servers());
    cases.extend(cluster_faults::on_zk());
    cluster_faults::main(cases);
}
