//! A cluster of etcd servers.

use super::{
    EtcdBuilder, docker, http,
    node::Node,
    nodes::Cluster,
    server::{Plan, Server},
    tls::{self, Authority},
    tool::{Output, Tool},
};
use anyhow::{Context, Result, bail};
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
/// Health and counters, without TLS and passwords.
const METRICS: u16 = 2381;

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
pub type EtcdCluster = Cluster<Etcd>;

/// An `etcdctl` that runs in a container of its own until it is ended; removed on drop.
pub type Etcdctl = Tool;

/// What is special about etcd.
#[derive(Debug)]
pub struct Etcd {
    pub(super) tls: bool,
    pub(super) password: Option<String>,
}

impl Server for Etcd {
    const SCHEME: &'static str = "etcd";

    fn ports(&self) -> Vec<u16> {
        vec![CLIENTS, METRICS]
    }

    fn client_port(&self) -> u16 {
        CLIENTS
    }

    fn user(&self) -> String {
        let password = self.password.as_ref();
        password
            .map(|password| format!("root:{password}@"))
            .unwrap_or_default()
    }

    fn request(
        &self,
        plan: &Plan<'_>,
        authority: Option<&Authority>,
    ) -> Result<ContainerRequest<GenericImage>> {
        let scheme = self.scheme();
        let name = &plan.servers[plan.index];
        let members = plan.servers.iter().enumerate();
        let members: Vec<_> = members
            .map(|(i, name)| format!("etcd{i}=http://{name}:{PEERS}"))
            .collect();
        let image = docker::image("LEADERSHIP_ETCD_IMAGE", "leadership/etcd:3.5.16");
        let request = ContainerRequest::from(image)
            .with_env_var("ETCD_NAME", format!("etcd{}", plan.index))
            .with_env_var("ETCD_LISTEN_CLIENT_URLS", format!("{scheme}://0.0.0.0:{CLIENTS}"))
            .with_env_var(
                "ETCD_ADVERTISE_CLIENT_URLS",
                format!("{scheme}://127.0.0.1:{}", plan.published(CLIENTS)),
            )
            .with_env_var("ETCD_LISTEN_METRICS_URLS", format!("http://0.0.0.0:{METRICS}"))
            .with_env_var("ETCD_LISTEN_PEER_URLS", format!("http://0.0.0.0:{PEERS}"))
            .with_env_var(
                "ETCD_INITIAL_ADVERTISE_PEER_URLS",
                format!("http://{name}:{PEERS}"),
            )
            .with_env_var("ETCD_INITIAL_CLUSTER", members.join(","))
            .with_env_var("ETCD_INITIAL_CLUSTER_TOKEN", plan.cluster)
            .with_env_var("ETCD_INITIAL_CLUSTER_STATE", "new");
        match authority {
            Some(authority) => Ok(authority
                .install(request)?
                .with_env_var("ETCD_CERT_FILE", tls::CERTIFICATE)
                .with_env_var("ETCD_KEY_FILE", tls::KEY)),
            None => Ok(request),
        }
    }

    async fn is_healthy(&self, node: &Node) -> bool {
        let Ok(metrics) = node.addr(METRICS) else {
            return false;
        };
        let health = http::get(metrics, "/health").await;
        health.is_ok_and(|(status, body)| status == 200 && body.contains(r#""health":"true""#))
    }

    async fn leads(&self, node: &Node) -> bool {
        let leads = counter(node, "etcd_server_is_leader").await;
        leads.is_ok_and(|value| value == 1.0)
    }
}

impl Etcd {
    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Options as arguments rather than variables: of both, etcdctl takes only one.
    fn etcdctl(&self, args: &[&str]) -> Vec<String> {
        let mut command = vec![
            "etcdctl".to_owned(),
            format!("--endpoints={}://127.0.0.1:{CLIENTS}", self.scheme()),
        ];
        if self.tls {
            command.push(format!("--cacert={}", tls::CA));
        }
        let password = self.password.iter();
        command.extend(password.map(|password| format!("--user=root:{password}")));
        command.extend(args.iter().map(|arg| (*arg).to_owned()));
        command
    }
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

    /// What a client of etcd connects to, by node: `http://127.0.0.1:PORT`, or https.
    pub fn endpoints(&self) -> Vec<String> {
        let addrs = (0..self.size()).filter_map(|i| self.addr(i).ok());
        addrs
            .map(|addr| format!("{}://{addr}", self.server.scheme()))
            .collect()
    }

    /// All counters of node `i`, in the text format of Prometheus.
    pub async fn metrics(&self, i: usize) -> Result<String> {
        metrics(self.node(i)?).await
    }

    /// One counter of node `i`, by its full name with labels.
    pub async fn counter(&self, i: usize, name: &str) -> Result<f64> {
        counter(self.node(i)?, name).await
    }

    /// Runs `etcdctl` in the first node that runs, against that node, as root if there are passwords.
    pub async fn etcdctl(&self, args: &[&str]) -> Result<Output> {
        let node = self.node(self.running().await?)?;
        node.exec(self.server.etcdctl(args)).await
    }

    /// Starts an `etcdctl` that goes on by itself, such as `elect`, beside node 0 and against it.
    pub async fn spawn_etcdctl(&self, args: &[&str]) -> Result<Etcdctl> {
        let command = self.server.etcdctl(args);
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        self.spawn(0, &command).await
    }
}

async fn metrics(node: &Node) -> Result<String> {
    let (status, body) = http::get(node.addr(METRICS)?, "/metrics").await?;
    if status != 200 {
        bail!("{} answers {status} when asked for its counters", node.name());
    }
    Ok(body)
}

async fn counter(node: &Node, name: &str) -> Result<f64> {
    let metrics = metrics(node).await?;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.with_context(|| format!("{} has no counter {name}", node.name()))?;
    Ok(value.parse()?)
}
