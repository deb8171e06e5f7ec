//! What the cases stand on: a store with an operator beside it, and for some of them its servers.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;
use leadership_core::{Candidate, Config, Contender, ElectionName, Elections, Event, Place, Session, Term};

use crate::cluster::{ConsulCluster, EtcdCluster, Proxy, ZkCluster};
use crate::conformance::Harness;
use crate::trials::{Shared, elected, election, eventually, next, waiting};
use crate::worker::Connect;

/// For what must not be lost while something is broken for a second or two, on any store.
pub(crate) const TTL: Duration = Duration::from_secs(8);
/// At once: because it was told, and not because it renewed or a session expired.
pub(super) const AT_ONCE: Duration = Duration::from_secs(1);

/// A store that all cases of a file share. It starts with the first case that needs it.
pub trait Ground: Harness + Default {}

impl<H: Harness + Default> Ground for H {}

/// A store on real servers.
pub trait Networked: Ground {
    /// Its servers.
    type Cluster: Nodes;
    /// How a client is made.
    const CONNECT: Connect;
    /// Long enough for a session to survive an election among the servers.
    const LONG: Duration;

    /// One server, which no case breaks.
    fn one(&self) -> &Shared<Self::Cluster>;
}

/// The servers of a store, as much as the cases need of them.
#[async_trait(?Send)]
pub trait Nodes: Send + Sync + Sized + 'static {
    /// What comes before `://` in the store's URLs.
    const SCHEME: &'static str;

    /// Starts a healthy cluster.
    async fn launch(nodes: usize) -> anyhow::Result<Self>;
    /// Where node `i` listens for clients.
    fn address(&self, i: usize) -> anyhow::Result<SocketAddr>;
    /// How a client connects to all of them.
    fn location(&self) -> String;
    /// Which node leads the store.
    async fn head(&self) -> anyhow::Result<usize>;
    /// Kills a node without warning.
    async fn shoot(&self, i: usize) -> anyhow::Result<()>;
    /// Starts a killed node again, and waits until all are healthy.
    async fn revive(&self, i: usize) -> anyhow::Result<()>;
}

macro_rules! nodes {
    ($($cluster:ty: $scheme:literal),+ $(,)?) => {$(
        #[async_trait(?Send)]
        impl Nodes for $cluster {
            const SCHEME: &'static str = $scheme;

            async fn launch(nodes: usize) -> anyhow::Result<Self> {
                Self::start(nodes).await
            }

            fn address(&self, i: usize) -> anyhow::Result<SocketAddr> {
                self.addr(i)
            }

            fn location(&self) -> String {
                self.url("")
            }

            async fn head(&self) -> anyhow::Result<usize> {
                self.leader().await
            }

            async fn shoot(&self, i: usize) -> anyhow::Result<()> {
                self.kill(i).await
            }

            async fn revive(&self, i: usize) -> anyhow::Result<()> {
                self.start_node(i).await?;
                self.wait_all_healthy().await
            }
        }
    )+};
}

nodes!(EtcdCluster: "etcd", ConsulCluster: "consul", ZkCluster: "zk");

/// A process's part in the elections of the shared store.
pub(crate) async fn process<G: Ground>(ground: &G, ttl: Duration) -> Elections {
    Elections::new(ground.client().await.unwrap(), Config::with_ttl(ttl)).unwrap()
}

/// A process whose way to the store can be broken.
pub(crate) async fn behind_proxy<G: Networked>(ground: &G, ttl: Duration) -> (Proxy, Elections) {
    let cluster = ground.one().started(G::Cluster::launch(1)).await;
    let proxy = Proxy::start(cluster.address(0).unwrap()).await.unwrap();
    let url = format!("{}://{}", G::Cluster::SCHEME, proxy.addr());
    let elections = connected::<G>(&url, ttl);
    (proxy, elections)
}

/// A process by a URL of its own.
pub(super) fn connected<G: Networked>(url: &str, ttl: Duration) -> Elections {
    Elections::new((G::CONNECT)(url).unwrap(), Config::with_ttl(ttl)).unwrap()
}

/// One that leads as `a`, and one that waits behind it as `b`.
pub(crate) struct Pair {
    pub(crate) election: String,
    pub(crate) a: Elections,
    pub(crate) b: Elections,
    pub(crate) leader: Candidate,
    pub(crate) waiter: Candidate,
    /// The leader's.
    pub(crate) term: Term,
}

/// Has two processes stand.
pub(crate) async fn pair(what: &str, a: Elections, b: Elections) -> Pair {
    let election = election(what);
    let leader = a.stand(&*election, "a").unwrap();
    let term = elected(&leader).await;
    let waiter = b.stand(&*election, "b").unwrap();
    waiting(&waiter).await;
    Pair {
        election,
        a,
        b,
        leader,
        waiter,
        term,
    }
}

/// Everybody in line, as a client sees it whose way is never broken.
pub(super) async fn line<G: Ground>(ground: &G, election: &str) -> Vec<Contender> {
    let store = ground.client().await.unwrap();
    store.contenders(&named(election)).await.unwrap()
}

/// Waits until these stand in line, each once and in this order.
pub(crate) async fn in_line<G: Ground>(ground: &G, election: &str, wanted: &[&str]) {
    let store = ground.client().await.unwrap();
    let election = named(election);
    eventually(&format!("{wanted:?} in line"), async || {
        let line = store.contenders(&election).await.unwrap();
        line.iter().map(Contender::name).eq(wanted.iter().copied())
    })
    .await;
}

pub(crate) fn named(election: &str) -> ElectionName {
    ElectionName::new(election).unwrap()
}

/// Ends a contender's session as an operator does.
pub(super) async fn end<G: Ground>(ground: &G, contender: &Contender) {
    let id = contender.session.clone().unwrap();
    ground.end(&Session { id, ttl: TTL }).await.unwrap();
}

/// Removes what a contender has as an operator does.
pub(super) async fn remove<G: Ground>(ground: &G, election: &str, contender: &Contender) {
    let place = Place {
        election: named(election),
        session: contender.session.clone().unwrap(),
        key: contender.key.clone(),
        fence: contender.order,
    };
    ground.remove(&place).await.unwrap();
}

/// Waits until the store does not answer a candidate.
pub(super) async fn unanswered(events: &mut (impl Stream<Item = Event> + Unpin)) {
    let failed = |event: &Event| matches!(event, Event::Error(_)).then_some(());
    next("a request that fails", events, failed).await;
}
