//! The simulation: whole elections on virtual time under faults, a seed each.

use crate::process::{command, run as run_command};
use anyhow::Result;
use std::ffi::OsString;

/// Runs `seeds` seeds from `seed` on.
pub(crate) fn run(seeds: u64, seed: u64, args: &[OsString]) -> Result<()> {
    let mut cargo = command("cargo");
    // As the tests are built: their artefacts serve, and what counts is optimised there.
    cargo.args(["run", "--locked", "--profile", "test"]);
    cargo.args(["--package", "leadership-testkit", "--bin", "simulate", "--"]);
    cargo
        .arg(format!("--seeds={seeds}"))
        .arg(format!("--seed={seed}"));
    run_command(cargo.args(args))
}
