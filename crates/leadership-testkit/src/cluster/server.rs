//! What a cluster has to know of the server that it consists of: all that differs from store to store.

use super::{node::Node, tls::Authority};
use anyhow::Result;
use std::{fmt::Debug, future::Future};
use testcontainers::{ContainerRequest, GenericImage};

/// A kind of server, with the settings that all nodes of a cluster share.
pub trait Server: Debug + Send + Sync {
    /// What comes before `://` in its URLs.
    const SCHEME: &'static str;

    /// The ports of a container that are published.
    fn ports(&self) -> Vec<u16>;

    /// The one of them that clients connect to.
    fn client_port(&self) -> u16;

    /// What comes before the hosts in a URL, with the `@`.
    fn user(&self) -> String {
        String::new()
    }

    /// Image, command, environment and files of one node.
    fn request(
        &self,
        plan: &Plan<'_>,
        authority: Option<&Authority>,
    ) -> Result<ContainerRequest<GenericImage>>;

    /// Whether the node answers, and is part of a cluster that has a leader.
    fn is_healthy(&self, node: &Node) -> impl Future<Output = bool> + Send;

    /// Whether the node leads the cluster, as far as it knows itself.
    fn leads(&self, node: &Node) -> impl Future<Output = bool> + Send;

    /// Called when the node reaches `servers` again.
    fn healed(&self, _node: &Node, _servers: &[String]) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A node that is about to be started.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Its number. Beyond the servers, it is a client that is a node of its own.
    pub(super) index: usize,
    /// The servers of the cluster, by the names that they find each other by.
    pub(super) servers: &'a [String],
    /// Ports of its container, and those of this host that lead to them.
    pub(super) ports: &'a [(u16, u16)],
    /// Unique on the machine.
    pub(super) cluster: &'a str,
}

impl Plan<'_> {
    /// The port of this host that leads to `port` of the container; `port` itself when none does.
    pub(super) fn published(&self, port: u16) -> u16 {
        let found = self.ports.iter().find(|(container, _)| *container == port);
        found.map_or(port, |(_, host)| *host)
    }
}
