//! Measurements against a real store, by the benchmark `elections` of its crate.

use crate::{
    images::{self, Source},
    process::{command, run as run_command},
    store::Store,
    test::with_images,
};
use anyhow::Result;
use std::ffi::OsString;

/// Builds and runs the benchmark; `args` go to it.
pub(crate) fn run(store: Store, args: &[OsString]) -> Result<()> {
    images::provide(&[store], Source::Any)?;
    let mut cargo = command("cargo");
    cargo.args(["bench", "--locked", "--bench", "elections", "--package"]);
    cargo.arg(format!("leadership-{}", store.name())).arg("--");
    run_command(with_images(cargo.args(args)))
}
