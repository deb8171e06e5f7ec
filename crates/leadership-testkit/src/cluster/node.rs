//! One server in a container, and what can be done to it. Knows nothing of a particular store.

use super::{docker, network::Network, tool::Output};
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt,
    bollard::{Docker, models::HostConfig, query_parameters::KillContainerOptionsBuilder},
    core::{ContainerPort, ExecCommand},
    runners::AsyncRunner,
};

/// A container, removed on drop.
#[derive(Debug)]
pub struct Node {
    docker: Docker,
    container: ContainerAsync<GenericImage>,
    name: String,
    /// Where the other nodes reach it.
    address: Ipv4Addr,
    /// Ports of the container, and those of 127.0.0.1 that lead to them.
    ports: Vec<(u16, u16)>,
}

/// What to start a node from, apart from its image and environment.
pub(super) struct Place<'a> {
    /// Name of the container, by which other nodes on the network find it.
    pub(super) name: String,
    pub(super) network: &'a Network,
    /// Ports of the container, and those of 127.0.0.1 that lead to them.
    pub(super) ports: Vec<(u16, u16)>,
}

impl Node {
    pub(super) async fn start(request: ContainerRequest<GenericImage>, place: Place<'_>) -> Result<Self> {
        let docker = docker::engine().await?;
        let name = place.name;
        let request = request
            .with_container_name(&name)
            .with_network(place.network.name())
            .with_labels(docker::labels());
        let container = with_ports(request, &place.ports).start().await;
        let container = container.with_context(|| {
            format!("cannot start {name}; if its image is missing, `cargo xtask images` makes it")
        })?;
        let address = place.network.address_of(container.id()).await?;
        Ok(Self {
            docker,
            container,
            name,
            address,
            ports: place.ports,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn id(&self) -> &str {
        self.container.id()
    }

    pub(super) fn image(&self) -> &GenericImage {
        self.container.image()
    }

    /// Where `port` of the container is reached.
    pub(super) fn addr(&self, port: u16) -> Result<SocketAddr> {
        let found = self.ports.iter().find(|(container, _)| *container == port);
        let (_, host) = found.with_context(|| format!("port {port} of {} is not published", self.name))?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, *host)))
    }

    pub(super) async fn pause(&self) -> Result<()> {
        self.container
            .pause()
            .await
            .with_context(|| format!("cannot pause {}", self.name))
    }

    pub(super) async fn unpause(&self) -> Result<()> {
        self.container
            .unpause()
            .await
            .with_context(|| format!("cannot unpause {}", self.name))
    }

    /// SIGKILL. Its data stay.
    pub(super) async fn kill(&self) -> Result<()> {
        self.signal("SIGKILL").await?;
        let mut exit = self.docker.wait_container(self.id(), None);
        // Reports an exit by a signal as an error; either way it has ended.
        let _ = futures_util::StreamExt::next(&mut exit).await;
        Ok(())
    }

    /// SIGTERM, and SIGKILL if it has not ended after `seconds`.
    pub(super) async fn stop(&self, seconds: i32) -> Result<()> {
        let stopped = self.container.stop_with_timeout(Some(seconds)).await;
        stopped.with_context(|| format!("cannot stop {}", self.name))
    }

    /// Starts it again after a stop or a kill, on the same ports and address, with its data.
    pub(super) async fn start_again(&self, network: &Network) -> Result<()> {
        network.pin(self.id(), self.address).await?;
        self.container
            .start()
            .await
            .with_context(|| format!("cannot start {} again", self.name))
    }

    pub(super) async fn signal(&self, signal: &str) -> Result<()> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        let sent = self.docker.kill_container(self.id(), Some(options)).await;
        sent.with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Whether it runs and is not paused.
    pub(super) async fn is_running(&self) -> Result<bool> {
        let state = self
            .docker
            .inspect_container(self.id(), None)
            .await?
            .state
            .unwrap_or_default();
        Ok(state.running.unwrap_or_default() && !state.paused.unwrap_or_default())
    }

    /// Whether it runs, paused or not.
    pub(super) async fn is_alive(&self) -> Result<bool> {
        let state = self.docker.inspect_container(self.id(), None).await?.state;
        Ok(state.unwrap_or_default().running.unwrap_or_default())
    }

    /// Runs a command in the container to its end.
    pub(super) async fn exec(&self, command: Vec<String>) -> Result<Output> {
        let context = || format!("cannot run {command:?} in {}", self.name);
        let mut exec = self
            .container
            .exec(ExecCommand::new(command.clone()))
            .await
            .with_context(context)?;
        // The exit code is known only after the output has been read to its end.
        let stdout = exec.stdout_to_vec().await.with_context(context)?;
        let stderr = exec.stderr_to_vec().await.with_context(context)?;
        let code = exec.exit_code().await?.with_context(context)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output {
            code,
            stdout: text(stdout),
            stderr: text(stderr),
        })
    }

    pub(super) async fn remove(self) -> Result<()> {
        let Self { container, name, .. } = self;
        container
            .rm()
            .await
            .with_context(|| format!("cannot remove {name}"))
    }

    /// The last lines of what the server has logged.
    pub(super) async fn last_logs(&self) -> String {
        let logs = self.container.stderr_to_vec().await.unwrap_or_default();
        let logs = String::from_utf8_lossy(&logs);
        let lines: Vec<_> = logs.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// Publishes ports on 127.0.0.1 only; testcontainers by itself does so on all addresses.
fn with_ports(
    request: ContainerRequest<GenericImage>,
    ports: &[(u16, u16)],
) -> ContainerRequest<GenericImage> {
    let mapped = |request: ContainerRequest<GenericImage>, (container, host): &(u16, u16)| {
        request.with_mapped_port(*host, ContainerPort::Tcp(*container))
    };
    let local = |config: &mut HostConfig| {
        let bindings = config
            .port_bindings
            .iter_mut()
            .flat_map(|bindings| bindings.values_mut().flatten());
        bindings
            .flatten()
            .for_each(|binding| binding.host_ip = Some(Ipv4Addr::LOCALHOST.to_string()));
    };
    ports
        .iter()
        .fold(request, mapped)
        .with_host_config_modifier(local)
}
