//! Elections on one real ZooKeeper, as ratios to one creation: `cargo xtask bench zk`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use leadership_core::DynStore;
use leadership_testkit::bench::{self, Failover, Goals, Peer, Subject};
use leadership_testkit::cluster::{Proxy, ZkCluster, ZkRequests};
use leadership_zk::{ZkConfig, ZkStore};
use zookeeper_client::{Acls, Client, CreateMode, LockOptions, LockPrefix};

struct Zk {
    cluster: ZkCluster,
    /// ZooKeeper's own counters do not tell requests from pings.
    counting: Proxy,
    client: Client,
    created: AtomicU64,
}

impl Zk {
    async fn start() -> anyhow::Result<Box<dyn Subject>> {
        let cluster = ZkCluster::start(1).await?;
        let client = client(&cluster).await?;
        let counting = Proxy::counting(cluster.addr(0)?, || Box::<ZkRequests>::default()).await?;
        Ok(Box::new(Self {
            cluster,
            counting,
            client,
            created: AtomicU64::new(0),
        }))
    }
}

/// A client whose session no pause of the measurement ends.
async fn client(cluster: &ZkCluster) -> anyhow::Result<Client> {
    let connector = Client::connector().with_session_timeout(Duration::from_secs(10));
    Ok(connector.connect(&cluster.addr(0)?.to_string()).await?)
}

#[async_trait]
impl Subject for Zk {
    fn name(&self) -> &'static str {
        "zk"
    }

    fn url(&self) -> String {
        self.cluster.url("bench")
    }

    fn addr(&self) -> SocketAddr {
        self.cluster
            .addr(0)
            .unwrap_or_else(|_| ([127, 0, 0, 1], 0).into())
    }

    fn url_at(&self, addr: SocketAddr) -> String {
        format!("zk://{addr}/bench")
    }

    fn goals(&self) -> Goals {
        Goals {
            standing: 1.4,
            handover: 1.5,
            requests: 3.0,
        }
    }

    async fn write(&self) -> anyhow::Result<()> {
        let path = format!("/bench-floor-{}", self.created.fetch_add(1, Ordering::Relaxed));
        let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        self.client.create(&path, b"value", &options).await?;
        Ok(())
    }

    fn counted_url(&self) -> String {
        self.url_at(self.counting.addr())
    }

    async fn requests(&self) -> anyhow::Result<f64> {
        Ok(self.counting.counted() as f64)
    }

    fn renewed(&self) -> &'static str {
        "sessions"
    }

    async fn renewals(&self) -> anyhow::Result<f64> {
        self.cluster.counter(0, "zk_global_sessions").await
    }

    fn failovers(&self) -> Vec<Failover> {
        // Two seconds are rounded up by as much as a tick of the server, half a second here; four are the least that
        // ZooKeeper grants with its default tick.
        [2, 4]
            .map(|seconds| Failover {
                name: "",
                url: self.url(),
                ttl: Duration::from_secs(seconds),
                kills: 12,
            })
            .to_vec()
    }

    async fn peers(&self) -> anyhow::Result<Vec<Peer>> {
        let clients = [client(&self.cluster).await?, client(&self.cluster).await?];
        let options = LockOptions::new(Acls::anyone_all())
            .with_ancestor_options(CreateMode::Persistent.with_acls(Acls::anyone_all()))?;
        let mut peer = Peer {
            name: "zookeeper-client lock",
            standing: Vec::new(),
            handover: Vec::new(),
        };
        let node = CreateMode::Persistent.with_acls(Acls::anyone_all());
        for round in 0..40 {
            let path = format!("/peer-{round}");
            clients[0].create(&path, b"", &node).await?;
            bench::pace().await;
            let start = Instant::now();
            let prefix = LockPrefix::new_curator(&path, "latch-")?;
            let led = clients[0].lock(prefix, b"v", options.clone()).await?;
            peer.standing.push(start.elapsed());
            let (other, options) = (clients[1].clone(), options.clone());
            let waiting = tokio::spawn(async move {
                let prefix = LockPrefix::new_curator(&path, "latch-")?;
                let led = other.lock(prefix, b"v", options).await?;
                let elected = Instant::now();
                drop(led);
                Ok::<_, zookeeper_client::Error>(elected)
            });
            bench::pace().await;
            let start = Instant::now();
            drop(led);
            peer.handover
                .push(waiting.await??.saturating_duration_since(start));
        }
        Ok(vec![peer])
    }
}

fn connect(url: &str) -> anyhow::Result<DynStore> {
    Ok(Arc::new(ZkStore::new(ZkConfig::from_url(url)?)?))
}

fn main() -> anyhow::Result<()> {
    bench::main(connect, Zk::start)
}
