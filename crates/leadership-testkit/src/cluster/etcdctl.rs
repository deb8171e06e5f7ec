//! `etcdctl`, for looking into the store and for standing in elections from outside.

use super::{
    docker,
    tls::{self, Authority},
};
use anyhow::{Context, Result, bail};
use std::{pin::Pin, time::Duration};
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt,
    bollard::{models::HostConfig, query_parameters::KillContainerOptionsBuilder},
    runners::AsyncRunner,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, Lines},
    runtime::Handle,
    time::timeout,
};

/// The image of etcd: variable and default.
pub(super) const ETCD_IMAGE: (&str, &str) = ("LEADERSHIP_ETCD_IMAGE", "leadership/etcd:3.5.16");

/// What a command that has ended left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit code.
    pub code: i64,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Whether the command succeeded.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

/// An `etcdctl` that runs in a container of its own until it is ended; removed on drop.
pub struct Etcdctl {
    /// `Some` until the drop.
    container: Option<ContainerAsync<GenericImage>>,
    lines: Lines<Pin<Box<dyn AsyncBufRead + Send>>>,
    runtime: Handle,
}

impl Etcdctl {
    /// Runs `command` in the network stack of the container `beside`.
    pub(super) async fn spawn(
        command: Vec<String>,
        beside: &str,
        authority: Option<&Authority>,
        runtime: Handle,
    ) -> Result<Self> {
        docker::engine().await?;
        let joined = format!("container:{beside}");
        let join = move |config: &mut HostConfig| {
            config.network_mode = Some(joined.clone());
            config.publish_all_ports = Some(false);
            config.port_bindings = None;
        };
        let mut request = ContainerRequest::from(docker::image(ETCD_IMAGE.0, ETCD_IMAGE.1))
            .with_cmd(&command)
            .with_labels(docker::labels())
            .with_host_config_modifier(join);
        if let Some(authority) = authority {
            request = request.with_copy_to(tls::CA, authority.certificate().into_bytes());
        }
        let container = request.start().await.context("cannot start etcdctl")?;
        let lines = container.stdout(true).lines();
        Ok(Self {
            container: Some(container),
            lines,
            runtime,
        })
    }

    /// The next line that it prints; `None` once it has ended.
    pub async fn next_line(&mut self, patience: Duration) -> Result<Option<String>> {
        let line = timeout(patience, self.lines.next_line()).await;
        Ok(line.with_context(|| format!("etcdctl printed nothing within {patience:?}"))??)
    }

    /// Ctrl-C: it resigns, revokes its lease and ends.
    pub async fn interrupt(&self) -> Result<()> {
        self.signal("SIGINT").await
    }

    /// Kills it without warning: its lease has to expire.
    pub async fn kill(&self) -> Result<()> {
        self.signal("SIGKILL").await
    }

    /// Sends a signal, such as `SIGSTOP`.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let Some(container) = &self.container else {
            bail!("etcdctl is gone")
        };
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent = docker::engine()
            .await?
            .kill_container(container.id(), Some(options))
            .await;
        sent.with_context(|| format!("cannot send {signal} to etcdctl"))
    }
}

impl Drop for Etcdctl {
    fn drop(&mut self) {
        let _runtime = self.runtime.enter();
        self.container = None;
    }
}

impl std::fmt::Debug for Etcdctl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcdctl").finish_non_exhaustive()
    }
}
