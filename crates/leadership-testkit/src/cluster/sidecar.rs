//! Commands for a container that it cannot run itself: in a container of busybox that joins it for a moment.

use super::docker;
use anyhow::{Context, Result};
use std::time::Duration;
use testcontainers::{
    ImageExt,
    bollard::models::HostConfig,
    core::{WaitFor, wait::ExitWaitStrategy},
    runners::AsyncRunner,
};

/// Runs `commands` in the network stack of a container, with the right to change it.
pub(super) async fn in_network(container: &str, commands: String) -> Result<()> {
    let joined = format!("container:{container}");
    run(container, commands, move |config| {
        config.network_mode = Some(joined.clone());
    })
    .await
}

/// Runs `commands` on the volumes of a container, which need not run.
pub(super) async fn on_volumes(container: &str, commands: String) -> Result<()> {
    let joined = container.to_owned();
    run(container, commands, move |config| {
        config.volumes_from = Some(vec![joined.clone()]);
    })
    .await
}

async fn run(
    container: &str,
    commands: String,
    join: impl Fn(&mut HostConfig) + Send + Sync + 'static,
) -> Result<()> {
    docker::engine().await?;
    let join = move |config: &mut HostConfig| {
        // It may have no network of its own, and so no ports to publish.
        config.publish_all_ports = Some(false);
        config.port_bindings = None;
        join(config);
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
