//! What has to be green before a merge.

use crate::{
    features, fuzz,
    process::{command, run as run_command},
    test,
};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// A step and its name.
type Step = (&'static str, fn() -> Result<()>);

/// How long each fuzz target runs, in seconds.
const FUZZED: u32 = 60;

/// Runs every step even after one has failed, then lists them with their durations.
pub(crate) fn run() -> Result<()> {
    let steps: [Step; 6] = [
        ("formatting", formatting),
        ("features", features::check),
        ("clippy", clippy),
        ("documentation", documentation),
        ("fuzzing", fuzzing),
        ("tests", tests),
    ];
    let mut report = Vec::<(&str, Duration, Option<anyhow::Error>)>::new();
    for (name, step) in steps {
        println!("==> {name}");
        let begin = Instant::now();
        let error = step().err();
        if let Some(error) = &error {
            println!("{error:#}");
        }
        report.push((name, begin.elapsed(), error));
    }
    // Once more, where they are found: what a step said itself is a thousand lines up.
    for (name, _, error) in &report {
        if let Some(error) = error {
            println!("\n==> {name} failed\n{error:#}");
        }
    }
    println!();
    for (name, took, error) in &report {
        println!(
            "{name:<15}{:>7.1} s  {}",
            took.as_secs_f64(),
            if error.is_none() { "ok" } else { "FAILED" }
        );
    }
    let failed: Vec<_> = report
        .iter()
        .filter(|(.., error)| error.is_some())
        .map(|(name, ..)| *name)
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn formatting() -> Result<()> {
    run_command(command("cargo").args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let mut cargo = command("cargo");
    cargo.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
    ]);
    run_command(cargo.args(["--", "--deny", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut cargo = command("cargo");
    cargo.args(["doc", "--workspace", "--no-deps", "--all-features", "--locked"]);
    run_command(cargo.env("RUSTDOCFLAGS", "--deny warnings"))
}

fn fuzzing() -> Result<()> {
    fuzz::run(&[], FUZZED, false)
}

fn tests() -> Result<()> {
    test::run_tests(&[])
}
