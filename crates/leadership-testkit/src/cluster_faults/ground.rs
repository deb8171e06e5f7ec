//! What the cases stand on: a store's servers, and an operator beside them.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use leadership_core::{Place, Session};

use crate::cluster::{Cluster, Server};
use crate::trials::Shared;
use crate::worker::Connect;

/// How many servers there are.
pub const SERVERS: usize = 3;
/// How many candidates stand in each case, each a process of its own.
pub const CANDIDATES: usize = 3;

/// A store on three real servers.
#[async_trait(?Send)]
pub trait Ground: Default + Send + Sync + 'static {
    /// What kind of servers.
    type Server: Server + 'static;
    /// How a client is made.
    const CONNECT: Connect;
    /// Of the sessions in most cases: short, so that a case is.
    const TTL: Duration;
    /// For sessions that may outlive a restart of all servers.
    const LONG: Duration;
    /// How long the servers may take at worst to elect a leader of their own, on a busy machine, and to serve sessions
    /// again.
    const ELECTION: Duration;

    /// The cluster that no case breaks.
    fn shared(&self) -> &Shared<Cluster<Self::Server>>;

    /// Starts healthy servers, and whatever else candidates need to reach them.
    async fn launch() -> anyhow::Result<Cluster<Self::Server>>;

    /// Where this candidate finds the store. All servers, unless the store has agents beside its clients.
    fn doors(cluster: &Cluster<Self::Server>, candidate: usize) -> anyhow::Result<Vec<SocketAddr>> {
        let _ = candidate;
        (0..cluster.size()).map(|i| cluster.addr(i)).collect()
    }

    /// Deletes what the leader has, as an operator does, past every fence.
    async fn delete(cluster: &Cluster<Self::Server>, place: &Place) -> anyhow::Result<()>;

    /// Ends a session as an operator does.
    async fn end(cluster: &Cluster<Self::Server>, session: &Session) -> anyhow::Result<()>;
}
