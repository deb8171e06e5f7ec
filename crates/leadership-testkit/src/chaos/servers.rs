//! The servers of a run, whatever their kind: how they are hurt, and what an operator can do to an election there.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use async_trait::async_trait;

use super::faults::Kind;
use crate::cluster::{ConsulCluster, EtcdCluster, ZkCluster};

/// How many servers a run has.
const NODES: usize = 3;

/// Who is first in line, as `leadership status` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) name: String,
    /// Its entry at the store.
    pub(super) key: String,
    pub(super) session: String,
}

/// A cluster.
#[async_trait(?Send)]
pub(super) trait Servers {
    /// The addresses of its servers.
    fn addresses(&self) -> Result<Vec<SocketAddr>>;
    /// Where the candidate of this number connects to.
    fn addresses_for(&self, candidate: usize) -> Result<Vec<SocketAddr>>;
    /// What an operator cannot do here.
    fn impossible(&self) -> &'static [Kind];
    /// Which node leads the store.
    async fn leader(&self) -> Result<usize>;
    /// Kills a node without warning.
    async fn kill(&self, node: usize) -> Result<()>;
    /// Stops a node in good order.
    async fn stop(&self, node: usize) -> Result<()>;
    /// Starts a node again.
    async fn start(&self, node: usize) -> Result<()>;
    async fn pause(&self, node: usize) -> Result<()>;
    async fn unpause(&self, node: usize) -> Result<()>;
    /// Cuts a node off from the others.
    async fn partition(&self, node: usize) -> Result<()>;
    async fn heal(&self, node: usize) -> Result<()>;
    /// Waits until every node is healthy.
    async fn healthy(&self) -> Result<()>;
    /// Removes the entry of whoever is first in line.
    async fn remove_entry(&self, election: &str, head: &Head) -> Result<()>;
    /// Ends the session of whoever is first in line.
    async fn end_session(&self, head: &Head) -> Result<()>;
    /// Has the store forget its past.
    async fn compact(&self) -> Result<()>;
    /// Removes it all.
    async fn remove(self: Box<Self>) -> Result<()>;
}

/// Three servers of the store with this scheme in its URLs, for so many candidates.
pub(super) async fn start(scheme: &str, candidates: usize) -> Result<Box<dyn Servers>> {
    Ok(match scheme {
        "etcd" => Box::new(EtcdCluster::start(NODES).await?),
        "consul" => {
            // Each on a machine with an agent, as Consul is run.
            let mut cluster = ConsulCluster::start(NODES).await?;
            for _ in 0..candidates {
                cluster.add_client_agent().await?;
            }
            Box::new(cluster)
        }
        "zk" => Box::new(ZkCluster::start(NODES).await?),
        other => anyhow::bail!("no store {other:?}; there are etcd, consul and zk"),
    })
}

/// All servers, but each candidate begins with another.
fn all(servers: &impl Servers, candidate: usize) -> Result<Vec<SocketAddr>> {
    let mut addresses = servers.addresses()?;
    addresses.rotate_left(candidate % NODES);
    Ok(addresses)
}

/// The candidate's own agent.
fn agent(cluster: &ConsulCluster, candidate: usize) -> Result<Vec<SocketAddr>> {
    Ok(vec![cluster.addr(NODES + candidate)?])
}

/// What every cluster does in the same way; what is particular follows it.
macro_rules! servers {
    ($cluster:ty, $addresses_for:expr, $impossible:expr, $($particular:tt)+) => {
        #[async_trait(?Send)]
        impl Servers for $cluster {
            fn addresses(&self) -> Result<Vec<SocketAddr>> {
                (0..NODES).map(|node| self.addr(node)).collect()
            }
            fn addresses_for(&self, candidate: usize) -> Result<Vec<SocketAddr>> {
                $addresses_for(self, candidate)
            }
            fn impossible(&self) -> &'static [Kind] {
                $impossible
            }
            async fn leader(&self) -> Result<usize> {
                self.leader().await
            }
            async fn kill(&self, node: usize) -> Result<()> {
                self.kill(node).await
            }
            async fn stop(&self, node: usize) -> Result<()> {
                self.stop(node).await
            }
            async fn start(&self, node: usize) -> Result<()> {
                self.start_node(node).await
            }
            async fn pause(&self, node: usize) -> Result<()> {
                self.pause(node).await
            }
            async fn unpause(&self, node: usize) -> Result<()> {
                self.unpause(node).await
            }
            async fn partition(&self, node: usize) -> Result<()> {
                self.partition(node).await
            }
            async fn heal(&self, node: usize) -> Result<()> {
                self.heal(node).await
            }
            async fn healthy(&self) -> Result<()> {
                self.wait_all_healthy().await
            }
            async fn remove(self: Box<Self>) -> Result<()> {
                (*self).remove().await
            }
            $($particular)+
        }
    };
}

servers! { EtcdCluster, all, &[],
    async fn remove_entry(&self, _: &str, head: &Head) -> Result<()> {
        done(self.etcdctl(&["del", &head.key]).await?)
    }
    async fn end_session(&self, head: &Head) -> Result<()> {
        // Named after its first lease, it may live by another one.
        let entry = self.etcdctl(&["get", &head.key, "--write-out=json"]).await?;
        let entry: serde_json::Value = serde_json::from_str(&entry.stdout)?;
        match entry["kvs"][0]["lease"].as_i64() {
            Some(lease) => done(self.etcdctl(&["lease", "revoke", &format!("{lease:x}")]).await?),
            // It has just ended.
            None => Ok(()),
        }
    }
    async fn compact(&self) -> Result<()> {
        let status = self.etcdctl(&["endpoint", "status", "--write-out=json"]).await?;
        let json: serde_json::Value = serde_json::from_str(&status.stdout)?;
        let revision = json[0]["Status"]["header"]["revision"].to_string();
        done(self.etcdctl(&["compact", &revision]).await?)
    }
}

servers! { ConsulCluster, agent, &[Kind::Compacted],
    async fn remove_entry(&self, election: &str, _: &Head) -> Result<()> {
        let (status, body) = self.http(0, "DELETE", &format!("/v1/kv/{election}"), "").await?;
        ensure!(status == 200, "cannot delete {election}: {status} {body}");
        Ok(())
    }
    async fn end_session(&self, head: &Head) -> Result<()> {
        let path = format!("/v1/session/destroy/{}", head.session);
        let (status, body) = self.http(0, "PUT", &path, "").await?;
        ensure!(status == 200, "cannot destroy session {}: {status} {body}", head.session);
        Ok(())
    }
    async fn compact(&self) -> Result<()> {
        Ok(())
    }
}

// No command of ZooKeeper ends the session of another.
servers! { ZkCluster, all, &[Kind::Compacted, Kind::SessionEnded],
    async fn remove_entry(&self, _: &str, head: &Head) -> Result<()> {
        done(self.zk_cli(&["delete", &head.key]).await?)
    }
    async fn end_session(&self, _: &Head) -> Result<()> {
        Ok(())
    }
    async fn compact(&self) -> Result<()> {
        Ok(())
    }
}

fn done(output: crate::cluster::Output) -> Result<()> {
    ensure!(output.success(), "{} {}", output.stdout, output.stderr);
    Ok(())
}
