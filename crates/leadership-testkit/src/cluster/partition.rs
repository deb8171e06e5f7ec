//! Cutting a node off from the other nodes while clients still reach it.
//!
//! A container that joins the node's network stack adds routes that swallow everything for the cluster's
//! network, except for its gateway, through which clients come. The whole network rather than each of the
//! others: a node that is killed and started again may come back with another address.

use super::{docker, network::Network};
use anyhow::{Context, Result};
use std::time::Duration;
use testcontainers::{
    ImageExt,
    bollard::models::HostConfig,
    core::{WaitFor, wait::ExitWaitStrategy},
    runners::AsyncRunner,
};

/// Cuts the container off from everybody on `network`.
pub(super) async fn cut(container: &str, network: &Network) -> Result<()> {
    let [lower, upper] = network.subnet.halves();
    let gateway = network.gateway;
    route(
        container,
        format!(
            "ip route add {gateway} dev eth0 && \
             ip route add blackhole {lower} && ip route add blackhole {upper}"
        ),
    )
    .await
}

/// Undoes [`cut`].
pub(super) async fn heal(container: &str, network: &Network) -> Result<()> {
    let [lower, upper] = network.subnet.halves();
    let gateway = network.gateway;
    route(
        container,
        format!("ip route del {lower} && ip route del {upper} && ip route del {gateway} dev eth0"),
    )
    .await
}

async fn route(container: &str, commands: String) -> Result<()> {
    docker::engine().await?;
    let joined = format!("container:{container}");
    let join = move |config: &mut HostConfig| {
        config.network_mode = Some(joined.clone());
        // A container without a network of its own has no ports to publish.
        config.publish_all_ports = Some(false);
        config.port_bindings = None;
    };
    let ended = ExitWaitStrategy::new()
        .with_exit_code(0)
        .with_poll_interval(Duration::from_millis(20));
    let sidecar = docker::image("LEADERSHIP_BUSYBOX_IMAGE", "leadership/busybox:1.37.0")
        .with_wait_for(WaitFor::exit(ended))
        .with_cmd(["sh", "-c", &commands])
        .with_labels(docker::labels())
        .with_cap_add("NET_ADMIN")
        .with_host_config_modifier(join);
    let sidecar = sidecar
        .start()
        .await
        .with_context(|| format!("cannot run `{commands}` beside {container}"))?;
    Ok(sidecar.rm().await?)
}
