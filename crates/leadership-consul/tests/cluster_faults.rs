//! Faults of candidates, of their network and of the servers, on three real servers of Consul, and an agent beside each
//! candidate.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unused_imports, reason = "each test binary uses its part")]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use leadership_core::{Place, Session};
use leadership_testkit::cluster::{Consul, ConsulCluster};
use leadership_testkit::cluster_faults::{self, CANDIDATES, Ground, SERVERS};
use leadership_testkit::worker::Connect;
use support::{Shared, connect, destroy, remove_held};

#[derive(Default)]
struct World {
    three: Shared,
}

#[async_trait(?Send)]
impl Ground for World {
    type Server = Consul;
    const CONNECT: Connect = connect;
    /// Half of it is certain: a pause of a fifth, and an interval between two renewals, have to fit.
    const TTL: Duration = Duration::from_secs(3);
    const LONG: Duration = Duration::from_secs(30);
    /// A second or two without the old one, and as long for a vote that is split. Then the agent of the one that led has
    /// to leave the server that was killed or cut off, before it can end the session: the server holds its requests for
    /// 7 s while it knows no leader (`RPCHoldTimeout`, agent/consul/config.go), and the agent tries it again.
    const ELECTION: Duration = Duration::from_secs(4 + 10);

    fn shared(&self) -> &Shared {
        &self.three
    }

    /// The agents are no servers; their checks take a ttl of seconds.
    async fn launch() -> anyhow::Result<ConsulCluster> {
        let mut cluster = ConsulCluster::start(SERVERS).await?;
        for _ in 0..CANDIDATES {
            cluster.add_client_agent().await?;
        }
        Ok(cluster)
    }

    fn doors(cluster: &ConsulCluster, candidate: usize) -> anyhow::Result<Vec<SocketAddr>> {
        Ok(vec![cluster.addr(SERVERS + candidate)?])
    }

    async fn delete(cluster: &ConsulCluster, place: &Place) -> anyhow::Result<()> {
        remove_held(cluster, place).await;
        Ok(())
    }

    async fn end(cluster: &ConsulCluster, session: &Session) -> anyhow::Result<()> {
        destroy(cluster, session.id.as_str()).await;
        Ok(())
    }
}

fn main() {
    let mut cases = cluster_faults::everywhere::<World>();
    cases.extend(cluster_faults::on_consul());
    cluster_faults::main(cases);
}
