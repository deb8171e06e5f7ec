//! Faults of candidates, of their network and of the servers, on three real nodes of etcd.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unused_imports, reason = "each test binary uses its part")]
mod support;

use std::time::Duration;

use async_trait::async_trait;
use leadership_core::{Place, Session};
use leadership_testkit::cluster::{Etcd, EtcdCluster};
use leadership_testkit::cluster_faults::{self, Ground, SERVERS};
use leadership_testkit::worker::Connect;
use support::{Shared, connect, remove_entry, revoke_session};

#[derive(Default)]
struct World {
    three: Shared,
}

#[async_trait(?Send)]
impl Ground for World {
    type Server = Etcd;
    const CONNECT: Connect = connect;
    const TTL: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(10);
    /// A second or two without the old one, and as long for a vote that is split.
    const ELECTION: Duration = Duration::from_secs(4);

    fn shared(&self) -> &Shared {
        &self.three
    }

    async fn launch() -> anyhow::Result<EtcdCluster> {
        EtcdCluster::start(SERVERS).await
    }

    async fn delete(cluster: &EtcdCluster, place: &Place) -> anyhow::Result<()> {
        remove_entry(cluster, place).await
    }

    async fn end(cluster: &EtcdCluster, session: &Session) -> anyhow::Result<()> {
        revoke_session(cluster, session).await
    }
}

fn main() {
    let mut cases = cluster_faults::everywhere::<World>();
    cases.extend(cluster_faults::beside_servers());
    cases.extend(cluster_faults::on_etcd());
    cluster_faults::main(cases);
}
