//! A cluster of ZooKeeper servers.

use super::{
    ZkBuilder, docker, four_letters,
    node::Node,
    nodes::Cluster,
    server::{Plan, Server},
    tls::{self, Authority},
    tool::Output,
};
use anyhow::{Context, Result};
use std::time::Duration;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

/// Without TLS, whether or not clients shall use it: tests look into the store here.
const PLAIN: u16 = 2181;
const SECURE: u16 = 2281;
/// Between the servers: for following the leader, and for electing it.
const PEERS: &str = "2888:3888";

/// ZooKeeper servers in containers, removed on drop. Nodes are numbered from 0.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use leadership_testkit::cluster::ZkCluster;
///
/// let cluster = ZkCluster::start(3).await?;
/// println!("{}", cluster.url("my/prefix"));
/// let leader = cluster.leader().await?;
/// let packets = cluster.counter(leader, "zk_packets_received").await?;
/// # Ok(())
/// # }
/// ```
pub type ZkCluster = Cluster<Zk>;

/// What is special about ZooKeeper.
#[derive(Debug)]
pub struct Zk {
    pub(super) tls: bool,
    pub(super) tick: Duration,
    pub(super) max_session: Option<Duration>,
    /// How often empty container nodes are looked for.
    pub(super) container_check: Option<Duration>,
}

impl Server for Zk {
    const SCHEME: &'static str = "zk";

    fn ports(&self) -> Vec<u16> {
        if self.tls {
            vec![PLAIN, SECURE]
        } else {
            vec![PLAIN]
        }
    }

    fn client_port(&self) -> u16 {
        if self.tls { SECURE } else { PLAIN }
    }

    fn request(
        &self,
        plan: &Plan<'_>,
        authority: Option<&Authority>,
    ) -> Result<ContainerRequest<GenericImage>> {
        let servers = plan.servers.iter().zip(1..);
        let servers: Vec<_> = servers
            .map(|(name, number)| format!("server.{number}={name}:{PEERS};{PLAIN}"))
            .collect();
        let image = docker::image("LEADERSHIP_ZK_IMAGE", "leadership/zookeeper:3.9.3");
        let request = ContainerRequest::from(image)
            .with_env_var("ZOO_MY_ID", (plan.index + 1).to_string())
            .with_env_var("ZOO_SERVERS", servers.join(" "))
            .with_env_var("ZOO_TICK_TIME", self.tick.as_millis().to_string())
            .with_env_var("ZOO_INIT_LIMIT", "10")
            .with_env_var("ZOO_SYNC_LIMIT", "4")
            .with_env_var("ZOO_MAX_CLIENT_CNXNS", "0")
            .with_env_var("ZOO_ADMINSERVER_ENABLED", "false")
            .with_env_var("ZOO_4LW_COMMANDS_WHITELIST", "*")
            .with_env_var("ZOO_CFG_EXTRA", self.configuration());
        let request = match self.container_check {
            Some(every) => request.with_env_var(
                "SERVER_JVMFLAGS",
                format!("-Dznode.container.checkIntervalMs={}", every.as_millis()),
            ),
            None => request,
        };
        match authority {
            Some(authority) => authority.install(request),
            None => Ok(request),
        }
    }

    async fn is_healthy(&self, node: &Node) -> bool {
        ask(node, "srvr")
            .await
            .is_ok_and(|answer| answer.contains("Mode: "))
    }

    async fn leads(&self, node: &Node) -> bool {
        let answer = ask(node, "srvr").await;
        let mode = |mode| answer.as_ref().is_ok_and(|answer| answer.contains(mode));
        mode("Mode: leader") || mode("Mode: standalone")
    }
}

impl Zk {
    /// Lines of zoo.cfg that the image has no variables for.
    fn configuration(&self) -> String {
        // TTL nodes are refused otherwise.
        let mut lines = vec!["extendedTypesEnabled=true".to_owned()];
        if let Some(max) = self.max_session {
            lines.push(format!("maxSessionTimeout={}", max.as_millis()));
        }
        if self.tls {
            lines.extend([
                format!("secureClientPort={SECURE}"),
                // The other one has no TLS.
                "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory".to_owned(),
                format!("ssl.keyStore.location={}", tls::KEY_AND_CERTIFICATE),
                "ssl.keyStore.type=PEM".to_owned(),
                format!("ssl.trustStore.location={}", tls::CA),
                "ssl.trustStore.type=PEM".to_owned(),
            ]);
        }
        lines.join(" ")
    }
}

impl ZkCluster {
    /// Starts a healthy cluster without TLS. Sessions may be as short as one second.
    pub async fn start(nodes: usize) -> Result<Self> {
        Self::builder().nodes(nodes).start().await
    }

    /// A cluster with TLS or with other times.
    pub fn builder() -> ZkBuilder {
        ZkBuilder::new()
    }

    /// What node `i` answers to one of ZooKeeper's commands of four letters, such as `srvr`.
    pub async fn four_letters(&self, i: usize, command: &str) -> Result<String> {
        ask(self.node(i)?, command).await
    }

    /// One counter of node `i` that `mntr` shows, such as `zk_packets_received`.
    pub async fn counter(&self, i: usize, name: &str) -> Result<f64> {
        let counters = self.four_letters(i, "mntr").await?;
        let value = counters
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
        let value = value.with_context(|| format!("node {i} has no counter {name}"))?;
        Ok(value.parse()?)
    }

    /// Runs ZooKeeper's own client in the first node that runs, against that node: `zk_cli(&["create", "/n"])`.
    pub async fn zk_cli(&self, args: &[&str]) -> Result<Output> {
        let server = format!("127.0.0.1:{PLAIN}");
        let command = ["zkCli.sh", "-server", &server];
        self.exec(self.running().await?, &[&command[..], args].concat())
            .await
    }
}

async fn ask(node: &Node, command: &str) -> Result<String> {
    four_letters::ask(node.addr(PLAIN)?, command).await
}
