//! Clusters for trying things out, by the docker-compose.yml at the top.

use crate::{
    docker::{docker, require},
    images::{self, Source},
    process::{command, output, run},
    store::Store,
};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// How long a cluster may take to become healthy.
const HEALTHY: Duration = Duration::from_secs(60);

pub(crate) fn up(store: Store) -> Result<()> {
    images::provide(&[store], Source::Any)?;
    run(compose()?.args(["up", "--detach"]).args(store.nodes()))?;
    let begin = Instant::now();
    loop {
        let health = health(store)?;
        let sick: Vec<_> = health.iter().filter(|(_, health)| health != "healthy").collect();
        if sick.is_empty() {
            break;
        }
        if begin.elapsed() > HEALTHY {
            let sick = sick
                .iter()
                .map(|(node, health)| format!("{node} is {health}"))
                .collect::<Vec<_>>();
            bail!(
                "not healthy after {HEALTHY:?}: {}. See `docker logs {}`",
                sick.join(", "),
                store.nodes()[0]
            );
        }
        thread::sleep(Duration::from_millis(100));
    }
    println!("{}", store.url());
    Ok(())
}

pub(crate) fn down(store: Option<Store>) -> Result<()> {
    require()?;
    match store {
        Some(store) => run(compose()?
            .args(["rm", "--stop", "--force", "-v"])
            .args(store.nodes())),
        None => run(compose()?.args(["down", "--volumes", "--remove-orphans"])),
    }
}

/// What the health checks of the compose file found, by node.
fn health(store: Store) -> Result<Vec<(&'static str, String)>> {
    let nodes = store.nodes().iter();
    nodes
        .map(|node| {
            Ok((
                *node,
                output(&mut docker(&[
                    "inspect",
                    "--format",
                    "{{.State.Health.Status}}",
                    node,
                ]))?,
            ))
        })
        .collect()
}

/// Compose, version 2 if it is there, else 1.29.
fn compose() -> Result<Command> {
    let mut compose = if output(&mut docker(&["compose", "version"])).is_ok() {
        docker(&["compose"])
    } else if output(command("docker-compose").arg("version")).is_ok() {
        command("docker-compose")
    } else {
        bail!(
            "neither `docker compose` nor `docker-compose` is here: install one (Debian's package is docker-compose)"
        );
    };
    // Named here, since the two versions derive different names from the folder.
    compose.args(["--project-name", "leadership"]);
    for store in Store::value_variants() {
        let image = store.image();
        compose.env(image.variable, image.name());
    }
    Ok(compose)
}
