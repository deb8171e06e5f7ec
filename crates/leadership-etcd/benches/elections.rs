//! Elections on one real etcd, as ratios to one put: `cargo xtask bench etcd`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use etcd_client::{Client, LeaderKey, ResignOptions};
use leadership_core::DynStore;
use leadership_etcd::{EtcdConfig, EtcdStore};
use leadership_testkit::bench::{self, Goals, Peer, Subject};
use leadership_testkit::cluster::EtcdCluster;

struct Etcd {
    cluster: EtcdCluster,
    client: Client,
}

impl Etcd {
    async fn start() -> anyhow::Result<Box<dyn Subject>> {
        let cluster = EtcdCluster::start(1).await?;
        let client = Client::connect(cluster.endpoints(), None).await?;
        Ok(Box::new(Self { cluster, client }))
    }

    /// Adds up a counter over all methods that are not apart.
    async fn sum(&self, counter: &str, counts: impl Fn(&str) -> bool) -> anyhow::Result<f64> {
        let metrics = self.cluster.metrics(0).await?;
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with(counter) && counts(line));
        Ok(lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }
}

#[async_trait]
impl Subject for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
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
        format!("etcd://{addr}/bench")
    }

    async fn write(&self) -> anyhow::Result<()> {
        self.client.kv_client().put("bench-floor", "value", None).await?;
        Ok(())
    }

    async fn requests(&self) -> anyhow::Result<f64> {
        // Every message that a client sends counts, those on streams too.
        self.sum("grpc_server_msg_received_total", |line| {
            !line.contains("LeaseKeepAlive")
        })
        .await
    }

    fn renewed(&self) -> &'static str {
        "keep-alive streams"
    }

    fn goals(&self) -> Goals {
        Goals {
            standing: 1.25,
            handover: 1.3,
            requests: 3.0,
        }
    }

    async fn renewals(&self) -> anyhow::Result<f64> {
        self.sum("grpc_server_started_total", |line| {
            line.contains("LeaseKeepAlive")
        })
        .await
    }

    async fn peers(&self) -> anyhow::Result<Vec<Peer>> {
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = Client::connect(self.cluster.endpoints(), None).await?;
            let lease = client.lease_grant(60, None).await?.id();
            clients.push((client, lease));
        }
        let resign = |key: LeaderKey| Some(ResignOptions::new().with_leader(key));
        let mut peer = Peer {
            name: "etcd-client campaign",
            standing: Vec::new(),
            handover: Vec::new(),
        };
        for round in 0..40 {
            let (mut one, mut two) = (clients[0].clone(), clients[1].clone());
            let election = format!("peer-{round}");
            bench::pace().await;
            let start = Instant::now();
            let mut led = one.0.campaign(election.clone(), "v", one.1).await?;
            peer.standing.push(start.elapsed());
            let waiting = tokio::spawn(async move {
                let mut led = two.0.campaign(election, "v", two.1).await?;
                let elected = Instant::now();
                two.0
                    .resign(led.take_leader().map(|key| ResignOptions::new().with_leader(key)))
                    .await?;
                Ok::<_, etcd_client::Error>(elected)
            });
            bench::pace().await;
            let key = led
                .take_leader()
                .ok_or_else(|| anyhow::anyhow!("no leader key"))?;
            let start = Instant::now();
            one.0.resign(resign(key)).await?;
            peer.handover
                .push(waiting.await??.saturating_duration_since(start));
        }
        for (client, lease) in &mut clients {
            client.lease_revoke(*lease).await?;
        }
        peer.handover.retain(|time| *time > Duration::ZERO);
        Ok(vec![peer])
    }
}

fn connect(url: &str) -> anyhow::Result<DynStore> {
    Ok(Arc::new(EtcdStore::new(EtcdConfig::from_url(url)?)?))
}

fn main() -> anyhow::Result<()> {
    bench::main(connect, Etcd::start)
}
