//! Starting a Consul cluster: how many servers, with or without TLS and access rules.

use super::{
    consul::{Consul, ConsulCluster},
    tls::Authority,
};
use anyhow::Result;

/// Consul's own limit of 200 is less than many candidates in one process need.
const CONNECTIONS: u32 = 2000;
/// Exists for one test only, so it need not be random.
const TOKEN: &str = "6c656164-6572-7368-6970-746f6b656e21";

/// What a [`ConsulCluster`] shall be like.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct ConsulBuilder {
    nodes: usize,
    tls: bool,
    acl: bool,
    max_connections: u32,
    removes_dead_servers: bool,
    more: String,
}

impl ConsulBuilder {
    pub(super) fn new() -> Self {
        Self {
            nodes: 1,
            tls: false,
            acl: false,
            max_connections: CONNECTIONS,
            removes_dead_servers: false,
            more: String::new(),
        }
    }

    /// How many servers; one if nothing is said.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Clients connect with TLS, and show a certificate of a new [`Authority`], whose are those of the servers
    /// too.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Clients need a token for everything. That of the cluster may do everything.
    pub fn acl(mut self) -> Self {
        self.acl = true;
        self
    }

    /// A server that is cut off for a while is removed by the others, with its node and all its sessions: Consul's
    /// own default, but not that of clusters here, which shall be whole again.
    pub fn remove_dead_servers(mut self) -> Self {
        self.removes_dead_servers = true;
        self
    }

    /// How many connections one address may have to an agent. All clients of a test have the same address.
    pub fn max_connections(mut self, count: u32) -> Self {
        self.max_connections = count;
        self
    }

    /// More of the agents' configuration, in HCL, such as `session_ttl_min = "20s"`.
    pub fn configuration(mut self, hcl: &str) -> Self {
        self.more.push_str(hcl);
        self
    }

    /// Starts all servers at once and waits until they are healthy.
    pub async fn start(self) -> Result<ConsulCluster> {
        let authority = self.tls.then(Authority::generate).transpose()?;
        let server = Consul {
            tls: self.tls,
            token: self.acl.then(|| TOKEN.to_owned()),
            max_connections: self.max_connections,
            removes_dead_servers: self.removes_dead_servers,
            more: self.more,
        };
        ConsulCluster::launch(server, self.nodes, authority).await
    }
}
