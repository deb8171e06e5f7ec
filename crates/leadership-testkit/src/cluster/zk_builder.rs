//! Starting a ZooKeeper cluster: how many nodes, with or without TLS, and how long its ticks are.

use super::{
    tls::Authority,
    zk::{Zk, ZkCluster},
};
use anyhow::Result;
use std::time::Duration;

/// The shortest session is two ticks.
const TICK: Duration = Duration::from_millis(500);

/// What a [`ZkCluster`] shall be like.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct ZkBuilder {
    nodes: usize,
    tls: bool,
    tick: Duration,
    max_session: Option<Duration>,
    container_check: Option<Duration>,
}

impl ZkBuilder {
    pub(super) fn new() -> Self {
        Self {
            nodes: 1,
            tls: false,
            tick: TICK,
            max_session: None,
            container_check: None,
        }
    }

    /// How many nodes; one if nothing is said.
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

    /// The server's unit of time, in whole milliseconds: sessions are granted from 2 to 20 of them. Half a
    /// second if nothing is said.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// The longest session that is granted; 20 ticks if nothing is said.
    pub fn max_session(mut self, max: Duration) -> Self {
        self.max_session = Some(max);
        self
    }

    /// How often the leader removes empty container nodes; once a minute if nothing is said.
    pub fn container_check(mut self, every: Duration) -> Self {
        self.container_check = Some(every);
        self
    }

    /// Starts all nodes at once and waits until they are healthy.
    pub async fn start(self) -> Result<ZkCluster> {
        let authority = self.tls.then(Authority::generate).transpose()?;
        let server = Zk {
            tls: self.tls,
            tick: self.tick,
            max_session: self.max_session,
            container_check: self.container_check,
        };
        ZkCluster::launch(server, self.nodes, authority).await
    }
}
