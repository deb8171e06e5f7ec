//! Every test there is, with what it needs built before.

use crate::{
    docker,
    images::{self, Source},
    interop,
    process::{command, run},
    store::Store,
};
use anyhow::Result;
use clap::ValueEnum;
use std::{ffi::OsString, process::Command};

/// Runs `cargo test` over the workspace; `args` go to it.
pub(crate) fn run_tests(args: &[OsString]) -> Result<()> {
    docker::require()?;
    docker::sweep()?;
    images::provide(Store::value_variants(), Source::Any)?;
    let libraries = interop::provide()?;
    let mut cargo = command("cargo");
    cargo
        .args([
            "test",
            "--workspace",
            "--all-features",
            "--locked",
            "--no-fail-fast",
        ])
        .args(args)
        .envs(libraries);
    run(with_images(&mut cargo))
}

/// Tells `command` which images there are.
pub(crate) fn with_images(command: &mut Command) -> &mut Command {
    let servers = Store::value_variants().iter().map(|store| store.image());
    command.envs(
        servers
            .chain([&images::busybox::IMAGE])
            .map(|image| (image.variable, image.name())),
    )
}
