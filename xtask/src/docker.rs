//! What the chores ask of Docker, through its command line.

use crate::{
    owner::{LABEL, Owner},
    process::{command, output},
};
use anyhow::{Context, Result};
use std::process::Command;

pub(crate) fn docker(args: &[&str]) -> Command {
    let mut docker = command("docker");
    docker.args(args);
    docker
}

/// Fails, with the remedy, when no Docker engine answers.
pub(crate) fn require() -> Result<()> {
    output(&mut docker(&["version", "--format", "{{.Server.Version}}"])).map(drop).context(
        "Docker does not answer, and tests, benchmarks and clusters run real servers in containers. Start the engine \
         (`systemctl start docker`, or `dockerd` as root), or point DOCKER_HOST at one that runs",
    )
}

/// A field of an image, in the format of `docker image inspect`; `None` when there is no such image.
pub(crate) fn image(name: &str, field: &str) -> Option<String> {
    output(&mut docker(&["image", "inspect", "--format", field, name])).ok()
}

/// Removes containers and networks of test runs that are no more: a killed test cannot remove its own.
pub(crate) fn sweep() -> Result<()> {
    let filter = format!("label={LABEL}");
    let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
    let stale = |listing: &str| -> Vec<String> {
        let ids = listing.lines().filter_map(|line| {
            let (id, owner) = line.split_once(' ')?;
            Owner::parse(owner)?.is_gone().then(|| id.to_owned())
        });
        ids.collect()
    };
    let containers = stale(&output(&mut docker(&[
        "ps", "-a", "--filter", &filter, "--format", &format,
    ]))?);
    for id in &containers {
        output(&mut docker(&["rm", "--force", "--volumes", id]))?;
    }
    let networks = stale(&output(&mut docker(&[
        "network", "ls", "--filter", &filter, "--format", &format,
    ]))?);
    for id in &networks {
        output(&mut docker(&["network", "rm", id]))?;
    }
    if !containers.is_empty() || !networks.is_empty() {
        println!(
            "removed {} containers and {} networks of test runs that were killed",
            containers.len(),
            networks.len()
        );
    }
    Ok(())
}
