//! Programs of a server's own image, for looking into the store and for standing in elections from outside:
//! `etcdctl`, `consul`, `zkCli.sh`.

use super::{docker, node::Node, tls::Authority};
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

/// A program that runs in a container of its own until it is ended; removed on drop.
pub struct Tool {
    /// What it is called.
    program: String,
    /// `Some` until the drop.
    container: Option<ContainerAsync<GenericImage>>,
    lines: Lines<Pin<Box<dyn AsyncBufRead + Send>>>,
    runtime: Handle,
}

impl Tool {
    /// Runs `command`, of the image of `beside`, in the network stack of that node.
    pub(super) async fn spawn(
        command: Vec<String>,
        beside: &Node,
        authority: Option<&Authority>,
        runtime: Handle,
    ) -> Result<Self> {
        docker::engine().await?;
        let program = command.first().cloned().context("no program to run")?;
        let joined = format!("container:{}", beside.id());
        let join = move |config: &mut HostConfig| {
            config.network_mode = Some(joined.clone());
            config.publish_all_ports = Some(false);
            config.port_bindings = None;
        };
        let mut request = ContainerRequest::from(beside.image().clone())
            .with_cmd(&command)
            .with_labels(docker::labels())
            .with_host_config_modifier(join);
        if let Some(authority) = authority {
            request = authority.install(request)?;
        }
        let started = request.start().await;
        let container = started.with_context(|| format!("cannot start {program}"))?;
        let lines = container.stdout(true).lines();
        Ok(Self {
            program,
            container: Some(container),
            lines,
            runtime,
        })
    }

    /// The next line that it prints; `None` once it has ended.
    pub async fn next_line(&mut self, patience: Duration) -> Result<Option<String>> {
        let line = timeout(patience, self.lines.next_line()).await;
        Ok(line.with_context(|| format!("{} printed nothing within {patience:?}", self.program))??)
    }

    /// Ctrl-C: it resigns, ends its session and then itself.
    pub async fn interrupt(&self) -> Result<()> {
        self.signal("SIGINT").await
    }

    /// Kills it without warning: its session has to expire.
    pub async fn kill(&self) -> Result<()> {
        self.signal("SIGKILL").await
    }

    /// Sends a signal, such as `SIGSTOP`.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let Some(container) = &self.container else {
            bail!("{} is gone", self.program)
        };
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent = docker::engine()
            .await?
            .kill_container(container.id(), Some(options))
            .await;
        sent.with_context(|| format!("cannot send {signal} to {}", self.program))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _runtime = self.runtime.enter();
        self.container = None;
    }
}

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tool")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}
