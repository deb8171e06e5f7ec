//! Starting an etcd cluster: how many nodes, with or without TLS and passwords.

use super::{
    etcd::{Etcd, EtcdCluster},
    tls::Authority,
};
use anyhow::{Result, bail};

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
        let authority = self.tls.then(Authority::generate).transpose()?;
        let server = Etcd {
            tls: self.tls,
            password: None,
        };
        let mut cluster = EtcdCluster::launch(server, self.nodes, authority).await?;
        if let Some(password) = self.password {
            require_password(&cluster, &password).await?;
            cluster.server.password = Some(password);
        }
        Ok(cluster)
    }
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
