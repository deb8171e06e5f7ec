//! A cluster of Consul servers, and agents that are clients of it.

use super::{
    ConsulBuilder, docker, http,
    node::Node,
    nodes::Cluster,
    server::{Plan, Server},
    sidecar,
    tls::{self, Authority},
    tool::{Output, Tool},
};
use anyhow::{Result, ensure};
use std::fmt::Write as _;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

/// Without TLS, whether or not clients shall use it: tests look into the store here.
const HTTP: u16 = 8500;
const HTTPS: u16 = 8501;
/// Where an agent keeps what survives a restart.
const DATA: &str = "/consul/data";

/// Consul agents in containers, removed on drop. Nodes are numbered from 0, servers first.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use leadership_testkit::cluster::ConsulCluster;
///
/// let mut cluster = ConsulCluster::start(3).await?;
/// println!("{}", cluster.url("my/prefix"));
/// let agent = cluster.add_client_agent().await?;
/// println!("{}", cluster.node_url(agent, "my/prefix")?);
/// let (status, nodes) = cluster.http(agent, "GET", "/v1/catalog/nodes", "").await?;
/// # Ok(())
/// # }
/// ```
pub type ConsulCluster = Cluster<Consul>;

/// What is special about Consul.
#[derive(Debug)]
pub struct Consul {
    pub(super) tls: bool,
    /// The token that may do everything, if there are access rules.
    pub(super) token: Option<String>,
    /// How many connections a client may have.
    pub(super) max_connections: u32,
    /// Whether a server that was cut off for a while is one of the cluster no more.
    pub(super) removes_dead_servers: bool,
    /// More of the agents' configuration, in HCL.
    pub(super) more: String,
}

impl Server for Consul {
    const SCHEME: &'static str = "consul";

    fn ports(&self) -> Vec<u16> {
        if self.tls { vec![HTTP, HTTPS] } else { vec![HTTP] }
    }

    fn client_port(&self) -> u16 {
        if self.tls { HTTPS } else { HTTP }
    }

    fn request(
        &self,
        plan: &Plan<'_>,
        authority: Option<&Authority>,
    ) -> Result<ContainerRequest<GenericImage>> {
        let mut command = vec![
            "agent".to_owned(),
            format!("-node={}", node_name(plan.index)),
            "-client=0.0.0.0".to_owned(),
            "-retry-interval=1s".to_owned(),
            format!("-hcl={}", self.configuration()),
        ];
        if plan.index < plan.servers.len() {
            command.push("-server".to_owned());
            command.push(format!("-bootstrap-expect={}", plan.servers.len()));
        }
        let servers = plan.servers.iter();
        command.extend(servers.map(|name| format!("-retry-join={name}")));
        let image = docker::image("LEADERSHIP_CONSUL_IMAGE", "leadership/consul:1.8.7");
        let request = ContainerRequest::from(image).with_cmd(command);
        match authority {
            Some(authority) => authority.install(request),
            None => Ok(request),
        }
    }

    async fn is_healthy(&self, node: &Node) -> bool {
        // The leader answers this, after it has asked the others; and without a registration that passes its
        // checks a node can have no sessions.
        let name = node.name().rsplit('-').next().unwrap_or_default();
        let path = format!("/v1/health/node/{name}?consistent");
        let answer = self.http(node, "GET", &path, "").await;
        answer.is_ok_and(|(status, body)| {
            status == 200 && body.contains(r#""serfHealth""#) && body.contains(r#""Status":"passing""#)
        })
    }

    async fn leads(&self, node: &Node) -> bool {
        let answer = self.http(node, "GET", "/v1/agent/self", "").await;
        answer.is_ok_and(|(_, body)| body.contains(r#""leader":"true""#))
    }

    /// By themselves, Consul's nodes look only every half minute for one that they have given up.
    async fn healed(&self, node: &Node, servers: &[String]) {
        for server in servers.iter().filter(|name| *name != node.name()) {
            let join = format!("/v1/agent/join/{server}");
            let answer = self.http(node, "PUT", &join, "").await;
            if answer.is_ok_and(|(status, _)| status == 200) {
                break;
            }
        }
    }
}

impl Consul {
    fn configuration(&self) -> String {
        // The fastest elections.
        let mut hcl = format!(
            "performance {{ raft_multiplier = 1 }} \
             autopilot {{ cleanup_dead_servers = {} }} \
             limits {{ http_max_conns_per_client = {} }} \
             telemetry {{ prometheus_retention_time = \"24h\" }}",
            self.removes_dead_servers, self.max_connections
        );
        // Writing to a string cannot fail.
        if let Some(token) = &self.token {
            let _ = write!(
                hcl,
                " acl {{ enabled = true default_policy = \"deny\" \
                 tokens {{ master = \"{token}\" agent = \"{token}\" }} }}"
            );
        }
        if self.tls {
            let _ = write!(
                hcl,
                " ports {{ https = {HTTPS} }} verify_incoming_https = true \
                 ca_file = \"{}\" cert_file = \"{}\" key_file = \"{}\"",
                tls::CA,
                tls::CERTIFICATE,
                tls::KEY
            );
        }
        let _ = write!(hcl, " {}", self.more);
        hcl
    }

    async fn http(&self, node: &Node, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let token = self.token.as_ref();
        let header = token.map(|token| format!("X-Consul-Token: {token}\r\n"));
        http::request(node.addr(HTTP)?, method, path, &header.unwrap_or_default(), body).await
    }

    /// The token as a variable: an option would have to stand after the names of commands.
    fn command(&self, args: &[&str]) -> Vec<String> {
        let mut command = Vec::new();
        if let Some(token) = &self.token {
            command.extend(["env".to_owned(), format!("CONSUL_HTTP_TOKEN={token}")]);
        }
        command.push("consul".to_owned());
        command.extend(args.iter().map(|arg| (*arg).to_owned()));
        command
    }
}

impl ConsulCluster {
    /// Starts a healthy cluster: plain HTTP, no access rules.
    pub async fn start(nodes: usize) -> Result<Self> {
        Self::builder().nodes(nodes).start().await
    }

    /// A cluster with TLS, access rules or a limit of connections.
    pub fn builder() -> ConsulBuilder {
        ConsulBuilder::new()
    }

    /// The token that may do everything, if there are access rules.
    pub fn token(&self) -> Option<&str> {
        self.server.token.as_deref()
    }

    /// What node `i` is called in the catalog.
    pub fn node_name(&self, i: usize) -> String {
        node_name(i)
    }

    /// Adds an agent that is no server, and waits until it is healthy. It is a node like the others, except
    /// that [`url`](Self::url) does not name it.
    pub async fn add_client_agent(&mut self) -> Result<usize> {
        self.add().await
    }

    /// Removes what node `i` has stored, which has to be killed or stopped: started again, it is a new node of
    /// the old name. Consul does not register it as long as it takes the old one for alive.
    pub async fn wipe_data(&self, i: usize) -> Result<()> {
        let node = self.node(i)?;
        ensure!(
            !node.is_alive().await?,
            "{} still runs, and would write its data again: kill it first",
            node.name()
        );
        sidecar::on_volumes(node.id(), format!("rm -rf {DATA}/*")).await
    }

    /// Status and body of a request to node `i`, which may do everything: `http(0, "PUT", "/v1/kv/k", "v")`.
    pub async fn http(&self, i: usize, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        self.server.http(self.node(i)?, method, path, body).await
    }

    /// HTTP requests that node `i` has answered so far, by its own counters: each query that is held back counts
    /// when its answer comes, or when nobody waits for it any more. Without renewals of sessions and checks.
    pub async fn requests(&self, i: usize) -> Result<f64> {
        const LEFT_OUT: [&str; 3] = ["v1_session_renew", "v1_agent_check_pass", "v1_agent_metrics"];
        let (status, counters) = self
            .http(i, "GET", "/v1/agent/metrics?format=prometheus", "")
            .await?;
        ensure!(status == 200, "no counters: {status} {counters}");
        let counts = counters.lines().filter_map(|line| {
            let (name, count) = line.strip_prefix("consul_http_")?.split_once("_count ")?;
            let counts = !LEFT_OUT.iter().any(|left_out| name.contains(left_out));
            counts.then(|| count.parse::<f64>().ok())?
        });
        Ok(counts.sum())
    }

    /// Runs `consul` in the first node that runs, against that node, with the token if there is one.
    pub async fn consul(&self, args: &[&str]) -> Result<Output> {
        let node = self.node(self.running().await?)?;
        node.exec(self.server.command(args)).await
    }

    /// Starts a `consul` that goes on by itself, such as `lock`, beside node 0 and against it.
    pub async fn spawn_consul(&self, args: &[&str]) -> Result<Tool> {
        let command = self.server.command(args);
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        self.spawn(0, &command).await
    }
}

fn node_name(i: usize) -> String {
    format!("consul{i}")
}
