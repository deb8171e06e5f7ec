//! The network of one cluster: its nodes find each other by name there, and nobody else is on it.
//!
//! Nodes keep their addresses. Docker gives an address to whoever starts next, so that servers that were killed together
//! would come back with each other's: no fault of the kinds that tests are about, and one that Consul's servers need a
//! minute to recover from.

use super::docker::{engine, labels};
use anyhow::{Context, Result, bail};
use std::{
    fmt,
    net::Ipv4Addr,
    sync::atomic::{AtomicU32, Ordering},
};
use testcontainers::bollard::{
    Docker,
    models::{
        EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
        NetworkDisconnectRequest,
    },
};

/// How often a range of addresses is chosen that somebody else takes before we do.
const TRIES: u32 = 10;

/// A network, removed on drop. Containers on it have to be dropped before.
#[derive(Debug)]
pub(super) struct Network {
    docker: Docker,
    name: String,
    /// Address of the host on it, through which clients come.
    pub(super) gateway: Ipv4Addr,
    /// The range of addresses of its nodes.
    pub(super) subnet: Subnet,
}

/// A range of addresses such as 172.18.0.0/16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    base: Ipv4Addr,
    prefix: u32,
}

impl Network {
    pub(super) async fn create() -> Result<Self> {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("leadership-test-{}-{number}", std::process::id());
        let docker = engine().await?;
        // From here on it is removed on drop, whatever happens.
        let unknown = Subnet {
            base: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
        };
        let mut network = Self {
            docker,
            name,
            gateway: Ipv4Addr::UNSPECIFIED,
            subnet: unknown,
        };
        for _ in 0..TRIES {
            // The choice of a free range is Docker's. But addresses on it can be asked for only if it was asked for.
            network.add(None).await?;
            (network.subnet, network.gateway) = network.addresses().await?;
            network.docker.remove_network(&network.name).await?;
            let chosen = IpamConfig {
                subnet: Some(network.subnet.to_string()),
                gateway: Some(network.gateway.to_string()),
                ..Default::default()
            };
            match network.add(Some(chosen)).await {
                Err(error) if format!("{error:#}").contains("overlaps") => {}
                added => return added.map(|()| network),
            }
        }
        bail!(
            "others took each of {TRIES} ranges of addresses before the network {}",
            network.name
        )
    }

    async fn add(&self, range: Option<IpamConfig>) -> Result<()> {
        let request = NetworkCreateRequest {
            name: self.name.clone(),
            labels: Some(labels()),
            ipam: range.map(|range| Ipam {
                config: Some(vec![range]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let added = self.docker.create_network(request).await;
        added.with_context(|| format!("cannot create the network {}", self.name))?;
        Ok(())
    }

    /// The address of a container that runs.
    pub(super) async fn address_of(&self, container: &str) -> Result<Ipv4Addr> {
        let container = self.docker.inspect_container(container, None).await?;
        let networks = container.network_settings.and_then(|settings| settings.networks);
        let ours = networks.and_then(|mut networks| networks.remove(&self.name));
        let address = ours.and_then(|endpoint| endpoint.ip_address?.parse().ok());
        address.with_context(|| format!("a container has no address on the network {}", self.name))
    }

    /// Gives this address to a container that does not run, for when it starts again.
    pub(super) async fn pin(&self, container: &str, address: Ipv4Addr) -> Result<()> {
        let leave = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: None,
        };
        self.docker.disconnect_network(&self.name, leave).await?;
        let join = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(EndpointSettings {
                ipam_config: Some(EndpointIpamConfig {
                    ipv4_address: Some(address.to_string()),
                    ..Default::default()
                }),
                ..Default::default()
            }),
        };
        let joined = self.docker.connect_network(&self.name, join).await;
        joined.with_context(|| format!("cannot give {address} on the network {}", self.name))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    async fn addresses(&self) -> Result<(Subnet, Ipv4Addr)> {
        let network = self.docker.inspect_network(&self.name, None).await?;
        let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let found = configs.iter().find_map(|config| {
            let subnet = Subnet::parse(config.subnet.as_deref()?)?;
            Some((subnet, config.gateway.as_deref()?.parse().ok()?))
        });
        found.with_context(|| format!("Docker gave the network {} no IPv4 addresses", self.name))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // On a thread and runtime of its own: we may be inside a runtime, or after its end. Whatever cannot
        // be removed now, the next test run sweeps.
        let (docker, name) = (self.docker.clone(), self.name.clone());
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime
                .block_on(docker.remove_network(&name))
                .map_err(std::io::Error::other)
        });
        match removal.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(network = self.name, %error, "not removed"),
            Err(_) => tracing::info!(network = self.name, "not removed"),
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl Subnet {
    fn parse(cidr: &str) -> Option<Self> {
        let (base, prefix) = cidr.split_once('/')?;
        let subnet = Self {
            base: base.parse().ok()?,
            prefix: prefix.parse().ok()?,
        };
        // It has to have two halves.
        (subnet.prefix < 32).then_some(subnet)
    }

    /// Both halves, as `ip route` reads them. Routes to them win over the one to the whole.
    pub(super) fn halves(self) -> [String; 2] {
        let prefix = self.prefix + 1;
        let upper = self.base.to_bits() | (1 << (32 - prefix));
        [
            format!("{}/{prefix}", self.base),
            format!("{}/{prefix}", Ipv4Addr::from_bits(upper)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_has_two_halves() {
        for (cidr, halves) in [
            ("172.18.0.0/16", ["172.18.0.0/17", "172.18.128.0/17"]),
            ("192.168.16.0/20", ["192.168.16.0/21", "192.168.24.0/21"]),
            ("10.0.0.0/31", ["10.0.0.0/32", "10.0.0.1/32"]),
        ] {
            assert_eq!(
                Subnet::parse(cidr).map(Subnet::halves),
                Some(halves.map(str::to_owned))
            );
        }
        for cidr in ["", "172.18.0.0", "172.18.0.0/32", "fd00::/64"] {
            assert_eq!(Subnet::parse(cidr), None, "{cidr:?}");
        }
    }
}
