//! Starting an etcd cluster: how many nodes, with or without TLS and passwords.

use super::{
    docker,
    etcd::{EtcdCluster, EtcdNode},
    etcdctl::ETCD_IMAGE,
    network::Network,
    node::{Node, Place, local},
    ports,
    tls::{self, Authority},
};
use anyhow::{Result, bail, ensure};
use futures_util::future::try_join_all;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};
use tokio::runtime::Handle;

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
const METRICS: u16 = 2381;

/// What an [`EtcdCluster`] shall be like.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct EtcdBuilder {
    nodes: usize,
    tls: bool,
    password: Option<String>,
}

impl EtcdBuilder {
    pub(super) fn new() -> Self {
        Self {
            nodes: 1,
            tls: false,
            password: None,
        }
    }

    /// How many nodes; one if nothing is said.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Clients connect with TLS. The certificates are those of a new [`Authority`].
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Clients need a password; there is one user, `root`.
    pub fn auth(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Starts all nodes at once and waits until they are healthy.
    pub async fn start(self) -> Result<EtcdCluster> {
        ensure!(
            (1..=9).contains(&self.nodes),
            "a cluster of {} nodes: it takes 1 to 9",
            self.nodes
        );
        let network = Network::create().await?;
        let authority = if self.tls {
            Some(Authority::generate()?)
        } else {
            None
        };
        let mut nodes = self.start_nodes(&network, authority.as_ref()).await;
        // Between the choice of a port and its use somebody else may have taken it.
        for _ in 0..3 {
            match nodes {
                Err(error) if port_was_taken(&error) => {
                    nodes = self.start_nodes(&network, authority.as_ref()).await
                }
                _ => break,
            }
        }
        let runtime = Handle::current();
        let mut cluster = EtcdCluster {
            nodes: nodes?,
            network,
            authority,
            password: None,
            runtime,
        };
        cluster.wait_all_healthy().await?;
        if let Some(password) = self.password {
            require_password(&cluster, &password).await?;
            cluster.password = Some(password);
        }
        Ok(cluster)
    }

    async fn start_nodes(&self, network: &Network, authority: Option<&Authority>) -> Result<Vec<EtcdNode>> {
        // Names of containers are unique on the machine, as the network's is.
        let name = |i: usize| format!("{}-etcd{i}", network.name());
        let members = (0..self.nodes).map(|i| format!("etcd{i}=http://{}:{PEERS}", name(i)));
        let members = members.collect::<Vec<_>>().join(",");
        try_join_all((0..self.nodes).map(|i| {
            let (name, members) = (name(i), members.as_str());
            async move {
                let (client, metrics) = (ports::free()?, ports::free()?);
                let scheme = if authority.is_some() { "https" } else { "http" };
                let request = with_tls(docker::image(ETCD_IMAGE.0, ETCD_IMAGE.1).into(), authority)?
                    .with_env_var("ETCD_NAME", format!("etcd{i}"))
                    .with_env_var("ETCD_LISTEN_CLIENT_URLS", format!("{scheme}://0.0.0.0:{CLIENTS}"))
                    .with_env_var(
                        "ETCD_ADVERTISE_CLIENT_URLS",
                        format!("{scheme}://127.0.0.1:{client}"),
                    )
                    .with_env_var("ETCD_LISTEN_METRICS_URLS", format!("http://0.0.0.0:{METRICS}"))
                    .with_env_var("ETCD_LISTEN_PEER_URLS", format!("http://0.0.0.0:{PEERS}"))
                    .with_env_var(
                        "ETCD_INITIAL_ADVERTISE_PEER_URLS",
                        format!("http://{name}:{PEERS}"),
                    )
                    .with_env_var("ETCD_INITIAL_CLUSTER", members)
                    .with_env_var("ETCD_INITIAL_CLUSTER_TOKEN", network.name())
                    .with_env_var("ETCD_INITIAL_CLUSTER_STATE", "new");
                let place = Place {
                    name,
                    network,
                    ports: vec![(CLIENTS, client), (METRICS, metrics)],
                };
                let node = Node::start(request, place).await?;
                Ok(EtcdNode {
                    node,
                    client: local(client),
                    metrics: local(metrics),
                })
            }
        }))
        .await
    }
}

fn with_tls(
    request: ContainerRequest<GenericImage>,
    authority: Option<&Authority>,
) -> Result<ContainerRequest<GenericImage>> {
    let Some(authority) = authority else {
        return Ok(request);
    };
    let identity = authority.identity()?;
    Ok(request
        .with_copy_to(tls::CA, authority.certificate().into_bytes())
        .with_copy_to(tls::CERTIFICATE, identity.certificate.into_bytes())
        .with_copy_to(tls::KEY, identity.key.into_bytes())
        .with_env_var("ETCD_CERT_FILE", tls::CERTIFICATE)
        .with_env_var("ETCD_KEY_FILE", tls::KEY))
}

fn port_was_taken(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["port is already allocated", "address already in use"]
        .iter()
        .any(|reason| text.contains(reason))
}

/// From here on every client needs it.
async fn require_password(cluster: &EtcdCluster, password: &str) -> Result<()> {
    let user = format!("root:{password}");
    for args in [
        &["user", "add", &user][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        let output = cluster.etcdctl(args).await?;
        if !output.success() {
            bail!("etcdctl {} failed: {}", args[..2].join(" "), output.stderr);
        }
    }
    Ok(())
}
