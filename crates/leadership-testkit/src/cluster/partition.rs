//! Cutting a node off from the other nodes while clients still reach it.
//!
//! A container that joins the node's network stack adds routes that swallow everything for the cluster's
//! network, except for its gateway, through which clients come.

use super::{network::Network, sidecar};
use anyhow::Result;

/// Cuts the container off from everybody on `network`.
pub(super) async fn cut(container: &str, network: &Network) -> Result<()> {
    let [lower, upper] = network.subnet.halves();
    let gateway = network.gateway;
    sidecar::in_network(
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
    sidecar::in_network(
        container,
        format!("ip route del {lower} && ip route del {upper} && ip route del {gateway} dev eth0"),
    )
    .await
}
