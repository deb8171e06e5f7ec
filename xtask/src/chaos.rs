//! Chaos: `leadership` as processes on a real cluster, under random faults.

use crate::{
    docker, images,
    images::Source,
    process::{command, run as run_command, target},
    store::Store,
    test::with_images,
};
use anyhow::Result;
use std::path::PathBuf;

/// Runs it against a store, and writes the report.
pub(crate) fn run(store: Store, minutes: f64, seed: u64, report: Option<PathBuf>) -> Result<()> {
    // Commands run in the top folder, and whoever called us may be elsewhere.
    let report = report.unwrap_or_else(|| target().join("report.html"));
    let report = std::path::absolute(report)?;
    docker::require()?;
    docker::sweep()?;
    images::provide(&[store], Source::Any)?;
    // As the tests are built, so that their artefacts serve.
    let build = |arguments: &[&str]| {
        let mut cargo = command("cargo");
        run_command(
            cargo
                .args(["build", "--locked", "--profile", "test"])
                .args(arguments),
        )
    };
    build(&["--package", "leadership-cli", "--bin", "leadership"])?;
    build(&["--package", "leadership-testkit", "--bin", "chaos"])?;
    let built = target().join("debug");
    let mut chaos = command(&built.join("chaos").display().to_string());
    chaos.arg("--store").arg(store.name());
    chaos
        .arg(format!("--minutes={minutes}"))
        .arg(format!("--seed={seed}"));
    chaos.arg("--leadership").arg(built.join("leadership"));
    chaos.arg("--report").arg(report);
    run_command(with_images(&mut chaos))
}
