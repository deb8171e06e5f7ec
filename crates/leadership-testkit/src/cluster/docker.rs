//! The Docker engine: its client, the images that tests use, and the removal of what killed test runs left
//! behind.

use super::owner::{LABEL, Owner};
use anyhow::{Context, Result};
use std::collections::HashMap;
use testcontainers::{
    GenericImage,
    bollard::{
        Docker,
        query_parameters::{
            ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
        },
    },
    core::client::docker_client_instance,
};
use tokio::sync::OnceCell;

/// The engine that testcontainers uses. The first call of a process sweeps.
pub(super) async fn engine() -> Result<Docker> {
    static SWEPT: OnceCell<()> = OnceCell::const_new();
    let docker = docker_client_instance().await?;
    docker.ping().await.context(
        "Docker does not answer, and this test runs real servers in containers: start it, or point DOCKER_HOST at one",
    )?;
    SWEPT
        .get_or_try_init(|| sweep(&docker))
        .await
        .context("cannot remove what killed test runs left behind")?;
    Ok(docker)
}

/// The labels of everything that this process creates.
pub(super) fn labels() -> HashMap<String, String> {
    HashMap::from([(LABEL.to_owned(), Owner::current().to_string())])
}

/// The image named in an environment variable, else the one that `cargo xtask images` makes.
pub(super) fn image(variable: &str, default: &str) -> GenericImage {
    let chosen = std::env::var(variable).ok().filter(|name| !name.is_empty());
    let (name, tag) = name_and_tag(chosen.as_deref().unwrap_or(default));
    GenericImage::new(name, tag)
}

/// A colon before a slash belongs to the port of a registry.
fn name_and_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

async fn sweep(docker: &Docker) -> Result<()> {
    let ours = HashMap::from([("label".to_owned(), vec![LABEL.to_owned()])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&ours)
        .build();
    for container in docker.list_containers(Some(options)).await? {
        if let Some(id) = container.id.filter(|_| is_stale(container.labels.as_ref())) {
            tracing::info!(%id, "removing the container of a test run that is gone");
            let force = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            forgive(docker.remove_container(&id, Some(force)).await, &id);
        }
    }
    let options = ListNetworksOptionsBuilder::new().filters(&ours).build();
    for network in docker.list_networks(Some(options)).await? {
        if let Some(id) = network.id.filter(|_| is_stale(network.labels.as_ref())) {
            tracing::info!(%id, "removing the network of a test run that is gone");
            forgive(docker.remove_network(&id).await, &id);
        }
    }
    Ok(())
}

fn is_stale(labels: Option<&HashMap<String, String>>) -> bool {
    labels
        .and_then(|labels| Owner::parse(labels.get(LABEL)?))
        .is_some_and(|owner| owner.is_gone())
}

/// Another test run may be sweeping the same things; whatever remains, the next run removes.
fn forgive(removed: Result<(), testcontainers::bollard::errors::Error>, id: &str) {
    if let Err(error) = removed {
        tracing::info!(%id, %error, "not removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_told_from_the_port_of_a_registry() {
        for (image, name, tag) in [
            ("leadership/etcd:3.5.16", "leadership/etcd", "3.5.16"),
            ("leadership/etcd", "leadership/etcd", "latest"),
            ("registry.test:5000/etcd", "registry.test:5000/etcd", "latest"),
            ("registry.test:5000/etcd:v3", "registry.test:5000/etcd", "v3"),
        ] {
            assert_eq!(name_and_tag(image), (name, tag));
        }
    }
}
