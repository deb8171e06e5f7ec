//! Elections on one real Consul, as ratios to one acquire: `cargo xtask bench consul`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use leadership_consul::{ConsulConfig, ConsulStore};
use leadership_core::DynStore;
use leadership_testkit::bench::{self, Failover, Goals, SHORT, Subject};
use leadership_testkit::cluster::ConsulCluster;
use rs_consul::types::CreateOrUpdateKeyRequest;
use rs_consul::{Config, ConsulBuilder};

struct Consul {
    cluster: ConsulCluster,
    client: rs_consul::Consul,
    session: String,
    acquired: AtomicU64,
}

impl Consul {
    async fn start() -> anyhow::Result<Box<dyn Subject>> {
        let cluster = ConsulCluster::start(1).await?;
        let asked = r#"{"TTL":"3600s","Behavior":"delete","NodeChecks":[]}"#;
        let (_, made) = cluster.http(0, "PUT", "/v1/session/create", asked).await?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let session = made["ID"].as_str().context("a session")?.to_owned();
        Ok(Box::new(Self {
            client: client(&cluster)?,
            cluster,
            session,
            acquired: AtomicU64::new(0),
        }))
    }
}

fn client(cluster: &ConsulCluster) -> anyhow::Result<rs_consul::Consul> {
    let config = Config {
        address: format!("http://{}", cluster.addr(0)?),
        ..Config::default()
    };
    // Explicitly: rs-consul's own choice panics where there are two providers.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    let https = Client::builder(TokioExecutor::new()).build(connector);
    Ok(ConsulBuilder::new(config).with_https_client(https).build())
}

#[async_trait]
impl Subject for Consul {
    fn name(&self) -> &'static str {
        "consul"
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
        format!("consul://{addr}/bench")
    }

    fn goals(&self) -> Goals {
        Goals {
            standing: 1.5,
            handover: 1.8,
            requests: 5.0,
        }
    }

    async fn write(&self) -> anyhow::Result<()> {
        let key = format!("bench-floor/{}", self.acquired.fetch_add(1, Ordering::Relaxed));
        let acquire = CreateOrUpdateKeyRequest {
            key: &key,
            acquire: &self.session,
            ..CreateOrUpdateKeyRequest::default()
        };
        let (acquired, _) = self
            .client
            .create_or_update_key(acquire, b"value".to_vec())
            .await?;
        anyhow::ensure!(acquired);
        Ok(())
    }

    async fn requests(&self) -> anyhow::Result<f64> {
        self.cluster.requests(0).await
    }

    fn renewed(&self) -> &'static str {
        "sessions"
    }

    async fn renewals(&self) -> anyhow::Result<f64> {
        let (_, sessions) = self.cluster.http(0, "GET", "/v1/session/list", "").await?;
        let sessions: Vec<serde_json::Value> = serde_json::from_str(&sessions)?;
        Ok(sessions.len() as f64)
    }

    fn failovers(&self) -> Vec<Failover> {
        vec![
            Failover {
                name: " with check",
                url: self.url(),
                ttl: SHORT,
                kills: 12,
            },
            // Consul lets a session of ten seconds, the shortest there is, live for twenty.
            Failover {
                name: " with session",
                url: format!("{}?liveness=session", self.url()),
                ttl: Duration::from_secs(30),
                kills: 6,
            },
        ]
    }
}

fn connect(url: &str) -> anyhow::Result<DynStore> {
    Ok(Arc::new(ConsulStore::new(ConsulConfig::from_url(url)?)?))
}

fn main() -> anyhow::Result<()> {
    bench::main(connect, Consul::start)
}
