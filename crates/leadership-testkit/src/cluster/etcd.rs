//! A cluster of etcd servers, and everything that a test may want to do to it.

use super::{
    etcd_builder::EtcdBuilder,
    etcdctl::{Etcdctl, Output},
    http,
    network::Network,
    node::Node,
    partition,
    tls::Authority,
};
use anyhow::{Context, Result, bail};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// How long a cluster may take to become healthy, on a busy machine.
const HEALTHY: Duration = Duration::from_secs(60);
/// How often it is asked whether it is.
const POLL: Duration = Duration::from_millis(25);
/// How long a node may take to stop before it is killed.
const STOP: i32 = 5;

/// etcd servers in containers, removed on drop. Nodes are numbered from 0.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use leadership_testkit::cluster::EtcdCluster;
///
/// let cluster = EtcdCluster::start(3).await?;
/// println!("{}", cluster.url("my/prefix"));
/// let leader = cluster.leader().await?;
/// cluster.partition(leader).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EtcdCluster {
    /// Dropped before the network that they are on.
    pub(super) nodes: Vec<EtcdNode>,
    pub(super) network: Network,
    pub(super) authority: Option<Authority>,
    pub(super) password: Option<String>,
    /// Where containers are removed on drop, wherever that happens.
    pub(super) runtime: Handle,
}

/// A server and where it is reached.
#[derive(Debug)]
pub(super) struct EtcdNode {
    pub(super) node: Node,
    pub(super) client: SocketAddr,
    /// Health and counters, without TLS and passwords.
    pub(super) metrics: SocketAddr,
}

impl EtcdCluster {
    /// Starts a healthy cluster: plain HTTP, no passwords.
    pub async fn start(nodes: usize) -> Result<Self> {
        Self::builder().nodes(nodes).start().await
    }

    /// A cluster with TLS or passwords.
    pub fn builder() -> EtcdBuilder {
        EtcdBuilder::new()
    }

    /// How many nodes it has, running or not.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// What a client of etcd connects to, by node: `http://127.0.0.1:PORT`, or https.
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        self.nodes
            .iter()
            .map(|node| format!("{scheme}://{}", node.client))
            .collect()
    }

    /// Where node `i` listens for clients, for instance as the target of a [`Proxy`](super::Proxy).
    pub fn addr(&self, i: usize) -> Result<SocketAddr> {
        Ok(self.node(i)?.client)
    }

    /// The cluster as `leadership` names stores: `etcd://127.0.0.1:PORT,127.0.0.1:PORT/prefix`, with user and
    /// password if it wants them. The certificate to trust, if it has TLS, is
    /// [`authority`](Self::authority)'s.
    pub fn url(&self, prefix: &str) -> String {
        let user = self
            .password
            .as_ref()
            .map(|password| format!("root:{password}@"))
            .unwrap_or_default();
        let nodes = self
            .nodes
            .iter()
            .map(|node| node.client.to_string())
            .collect::<Vec<_>>()
            .join(",");
        format!("etcd://{user}{nodes}/{}", prefix.trim_start_matches('/'))
    }

    /// Who signed the certificates of its nodes, if it has TLS.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// Freezes node `i`: connections to it succeed and then hang.
    pub async fn pause(&self, i: usize) -> Result<()> {
        self.node(i)?.node.pause().await
    }

    /// Lets a paused node go on.
    pub async fn unpause(&self, i: usize) -> Result<()> {
        self.node(i)?.node.unpause().await
    }

    /// Kills node `i` without warning. Its data stay.
    pub async fn kill(&self, i: usize) -> Result<()> {
        self.node(i)?.node.kill().await
    }

    /// Stops node `i` in good order.
    pub async fn stop(&self, i: usize) -> Result<()> {
        self.node(i)?.node.stop(STOP).await
    }

    /// Starts a killed or stopped node again, with its data and on its old port; a partition is forgotten.
    /// Returns without waiting for it to be [healthy](Self::wait_healthy).
    pub async fn start_node(&self, i: usize) -> Result<()> {
        self.node(i)?.node.start_again().await
    }

    /// Cuts node `i` off from the other nodes. Clients still reach it.
    pub async fn partition(&self, i: usize) -> Result<()> {
        partition::cut(self.node(i)?.node.id(), &self.network).await
    }

    /// Undoes [`partition`](Self::partition).
    pub async fn heal(&self, i: usize) -> Result<()> {
        partition::heal(self.node(i)?.node.id(), &self.network).await
    }

    /// Whether node `i` answers and has a leader.
    pub async fn is_healthy(&self, i: usize) -> Result<bool> {
        let health = http::get(self.node(i)?.metrics, "/health").await;
        Ok(health.is_ok_and(|(status, body)| status == 200 && body.contains(r#""health":"true""#)))
    }

    /// Waits until node `i` is healthy; fails after a minute.
    pub async fn wait_healthy(&self, i: usize) -> Result<()> {
        let begin = Instant::now();
        while !self.is_healthy(i).await? {
            if begin.elapsed() > HEALTHY {
                let node = &self.node(i)?.node;
                let logs = node.last_logs().await;
                bail!(
                    "{} is not healthy after {HEALTHY:?}. Its last words:\n{logs}",
                    node.name()
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until every node is healthy.
    pub async fn wait_all_healthy(&self) -> Result<()> {
        for i in 0..self.nodes.len() {
            self.wait_healthy(i).await?;
        }
        Ok(())
    }

    /// Which node leads the cluster, as far as the nodes know themselves; waits for one to be elected. A
    /// leader that was just cut off may still think so for a second.
    pub async fn leader(&self) -> Result<usize> {
        let begin = Instant::now();
        loop {
            for i in 0..self.nodes.len() {
                if self
                    .counter(i, "etcd_server_is_leader")
                    .await
                    .is_ok_and(|value| value == 1.0)
                {
                    return Ok(i);
                }
            }
            if begin.elapsed() > HEALTHY {
                bail!("no node leads after {HEALTHY:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// All counters of node `i`, in the text format of Prometheus.
    pub async fn metrics(&self, i: usize) -> Result<String> {
        let (status, body) = http::get(self.node(i)?.metrics, "/metrics").await?;
        if status != 200 {
            bail!("node {i} answers {status} when asked for its counters");
        }
        Ok(body)
    }

    /// One counter of node `i`, by its full name with labels.
    pub async fn counter(&self, i: usize, name: &str) -> Result<f64> {
        let metrics = self.metrics(i).await?;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("node {i} has no counter {name}"))?;
        Ok(value.parse()?)
    }

    /// Runs `etcdctl` in the first node that runs, against that node, as root if there are passwords.
    pub async fn etcdctl(&self, args: &[&str]) -> Result<Output> {
        for EtcdNode { node, .. } in &self.nodes {
            if node.is_running().await? {
                return node.exec(self.etcdctl_command(args)).await;
            }
        }
        bail!(
            "no node of the cluster runs, so there is nowhere to run etcdctl {}",
            args.join(" ")
        )
    }

    /// Starts an `etcdctl` that goes on by itself, such as `elect`, beside node 0 and against it.
    pub async fn spawn_etcdctl(&self, args: &[&str]) -> Result<Etcdctl> {
        let beside = self.node(0)?.node.id();
        Etcdctl::spawn(
            self.etcdctl_command(args),
            beside,
            self.authority.as_ref(),
            self.runtime.clone(),
        )
        .await
    }

    /// Removes containers and network, and says when something goes wrong with that.
    pub async fn remove(mut self) -> Result<()> {
        for node in std::mem::take(&mut self.nodes) {
            node.node.remove().await?;
        }
        Ok(())
    }

    fn node(&self, i: usize) -> Result<&EtcdNode> {
        let count = self.nodes.len();
        self.nodes
            .get(i)
            .with_context(|| format!("no node {i}: the {count} nodes are numbered from 0"))
    }

    /// Options as arguments rather than variables: of both, etcdctl takes only one.
    fn etcdctl_command(&self, args: &[&str]) -> Vec<String> {
        let mut command = vec!["etcdctl".to_owned()];
        match self.authority {
            Some(_) => {
                command.extend([
                    "--endpoints=https://127.0.0.1:2379".to_owned(),
                    format!("--cacert={}", super::tls::CA),
                ]);
            }
            None => command.push("--endpoints=http://127.0.0.1:2379".to_owned()),
        }
        command.extend(
            self.password
                .iter()
                .map(|password| format!("--user=root:{password}")),
        );
        command.extend(args.iter().map(|arg| (*arg).to_owned()));
        command
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        // testcontainers removes containers with the runtime of the thread that drops them; not every thread
        // has one.
        let _runtime = self.runtime.enter();
        self.nodes.clear();
    }
}
