//! A cluster of any store: its nodes, and everything that a test may want to do to them.

use super::{
    network::Network,
    node::{Node, Place},
    partition, ports,
    server::{Plan, Server},
    tls::Authority,
    tool::{Output, Tool},
};
use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
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

/// Servers in containers, removed on drop. Nodes are numbered from 0.
#[derive(Debug)]
pub struct Cluster<S> {
    pub(super) server: S,
    /// Dropped before the network that they are on.
    nodes: Vec<Node>,
    network: Network,
    authority: Option<Authority>,
    /// The names of its servers on the network; the first nodes.
    servers: Vec<String>,
    /// Where containers are removed on drop, wherever that happens.
    runtime: Handle,
}

impl<S: Server> Cluster<S> {
    /// Starts `count` servers at once and waits until they are healthy.
    pub(super) async fn launch(server: S, count: usize, authority: Option<Authority>) -> Result<Self> {
        ensure!(
            (1..=9).contains(&count),
            "a cluster of {count} nodes: it takes 1 to 9"
        );
        let network = Network::create().await?;
        // Names of containers are unique on the machine, as the network's is.
        let name = |i| format!("{}-{}{i}", network.name(), S::SCHEME);
        let servers: Vec<_> = (0..count).map(name).collect();
        let mut cluster = Self {
            server,
            nodes: Vec::new(),
            network,
            authority,
            servers,
            runtime: Handle::current(),
        };
        cluster.nodes = cluster.start_nodes(0..count).await?;
        cluster.wait_all_healthy().await?;
        Ok(cluster)
    }

    /// Adds a node that is no server, and waits until it is healthy.
    pub(super) async fn add(&mut self) -> Result<usize> {
        let index = self.nodes.len();
        let added = self.start_nodes(index..index + 1).await?;
        self.nodes.extend(added);
        self.wait_healthy(index).await?;
        Ok(index)
    }

    async fn start_nodes(&self, indexes: std::ops::Range<usize>) -> Result<Vec<Node>> {
        let start = || try_join_all(indexes.clone().map(|index| self.start_one(index)));
        let mut nodes = start().await;
        // Between the choice of a port and its use somebody else may have taken it.
        for _ in 0..3 {
            match nodes {
                Err(error) if port_was_taken(&error) => nodes = start().await,
                _ => break,
            }
        }
        nodes
    }

    async fn start_one(&self, index: usize) -> Result<Node> {
        let published = self.server.ports().into_iter();
        let ports = published
            .map(|port| Ok((port, ports::free()?)))
            .collect::<Result<Vec<_>>>()?;
        let plan = Plan {
            index,
            servers: &self.servers,
            ports: &ports,
            cluster: self.network.name(),
        };
        let request = self.server.request(&plan, self.authority.as_ref())?;
        let name = format!("{}-{}{index}", self.network.name(), S::SCHEME);
        let network = &self.network;
        Node::start(request, Place { name, network, ports }).await
    }

    /// How many nodes it has, running or not.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Where node `i` listens for clients, for instance as the target of a [`Proxy`](super::Proxy).
    pub fn addr(&self, i: usize) -> Result<SocketAddr> {
        self.node(i)?.addr(self.server.client_port())
    }

    /// The cluster as `leadership` names stores: `SCHEME://127.0.0.1:PORT,127.0.0.1:PORT/prefix`, with all its
    /// servers, and with user and password if etcd wants them. The certificate to trust, if it has TLS, is
    /// [`authority`](Self::authority)'s.
    pub fn url(&self, prefix: &str) -> String {
        self.url_of(&self.nodes[..self.servers.len()], prefix)
    }

    /// The same with only node `i`.
    pub fn node_url(&self, i: usize, prefix: &str) -> Result<String> {
        Ok(self.url_of(std::slice::from_ref(self.node(i)?), prefix))
    }

    fn url_of(&self, nodes: &[Node], prefix: &str) -> String {
        let hosts = nodes
            .iter()
            .filter_map(|node| node.addr(self.server.client_port()).ok());
        let hosts = hosts.map(|addr| addr.to_string()).collect::<Vec<_>>().join(",");
        let (scheme, user) = (S::SCHEME, self.server.user());
        format!("{scheme}://{user}{hosts}/{}", prefix.trim_start_matches('/'))
    }

    /// Who signed the certificates of its nodes, if it has TLS.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// Freezes node `i`: connections to it succeed and then hang.
    pub async fn pause(&self, i: usize) -> Result<()> {
        self.node(i)?.pause().await
    }

    /// Lets a paused node go on.
    pub async fn unpause(&self, i: usize) -> Result<()> {
        self.node(i)?.unpause().await
    }

    /// Kills node `i` without warning. Its data stay.
    pub async fn kill(&self, i: usize) -> Result<()> {
        self.node(i)?.kill().await
    }

    /// Stops node `i` in good order.
    pub async fn stop(&self, i: usize) -> Result<()> {
        self.node(i)?.stop(STOP).await
    }

    /// Starts a killed or stopped node again, with its data, its old port and its old address; a partition is
    /// forgotten. Returns without waiting for it to be [healthy](Self::wait_healthy).
    pub async fn start_node(&self, i: usize) -> Result<()> {
        self.node(i)?.start_again(&self.network).await
    }

    /// Cuts node `i` off from the other nodes. Clients still reach it.
    pub async fn partition(&self, i: usize) -> Result<()> {
        partition::cut(self.node(i)?.id(), &self.network).await
    }

    /// Undoes [`partition`](Self::partition).
    pub async fn heal(&self, i: usize) -> Result<()> {
        let node = self.node(i)?;
        partition::heal(node.id(), &self.network).await?;
        self.server.healed(node, &self.servers).await;
        Ok(())
    }

    /// Whether node `i` answers and has a leader.
    pub async fn is_healthy(&self, i: usize) -> Result<bool> {
        Ok(self.server.is_healthy(self.node(i)?).await)
    }

    /// Waits until node `i` is healthy; fails after a minute.
    pub async fn wait_healthy(&self, i: usize) -> Result<()> {
        let begin = Instant::now();
        while !self.is_healthy(i).await? {
            if begin.elapsed() > HEALTHY {
                let node = self.node(i)?;
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
            for (i, node) in self.nodes.iter().enumerate() {
                if self.server.leads(node).await {
                    return Ok(i);
                }
            }
            if begin.elapsed() > HEALTHY {
                bail!("no node leads after {HEALTHY:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Runs a command in node `i` to its end.
    pub async fn exec(&self, i: usize, command: &[&str]) -> Result<Output> {
        let command = command.iter().map(|word| (*word).to_owned());
        self.node(i)?.exec(command.collect()).await
    }

    /// Starts a program of the server's image that goes on by itself, beside node `i`: it reaches the node at
    /// 127.0.0.1, and outlives it.
    pub async fn spawn(&self, i: usize, command: &[&str]) -> Result<Tool> {
        let command = command.iter().map(|word| (*word).to_owned());
        let beside = self.node(i)?;
        Tool::spawn(
            command.collect(),
            beside,
            self.authority.as_ref(),
            self.runtime.clone(),
        )
        .await
    }

    /// Removes containers and network, and says when something goes wrong with that.
    pub async fn remove(mut self) -> Result<()> {
        for node in std::mem::take(&mut self.nodes) {
            node.remove().await?;
        }
        Ok(())
    }

    pub(super) fn node(&self, i: usize) -> Result<&Node> {
        let count = self.nodes.len();
        self.nodes
            .get(i)
            .with_context(|| format!("no node {i}: the {count} nodes are numbered from 0"))
    }

    /// The first node that runs.
    pub(super) async fn running(&self) -> Result<usize> {
        for (i, node) in self.nodes.iter().enumerate() {
            if node.is_running().await? {
                return Ok(i);
            }
        }
        bail!("no node of the cluster runs: start one again")
    }
}

impl<S> Drop for Cluster<S> {
    fn drop(&mut self) {
        // testcontainers removes containers with the runtime of the thread that drops them; not every thread
        // has one.
        let _runtime = self.runtime.enter();
        self.nodes.clear();
    }
}

fn port_was_taken(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["port is already allocated", "address already in use"]
        .iter()
        .any(|reason| text.contains(reason))
}
