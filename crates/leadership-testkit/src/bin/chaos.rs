//! `cargo xtask chaos`: `leadership` under random faults on real servers, judged, with a report.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use leadership_testkit::chaos::{self, Options};

/// Hurts real candidates on a real cluster, and judges what they did.
#[derive(Parser)]
struct Cli {
    /// etcd, consul or zk
    #[arg(long)]
    store: String,
    /// For how many minutes faults go on
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Which faults, in which order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The TTL of the sessions, in seconds
    #[arg(long, default_value_t = 3.0)]
    ttl: f64,
    /// The command `leadership`
    #[arg(long)]
    leadership: PathBuf,
    /// Where the report goes
    #[arg(long, default_value = "report.html")]
    report: PathBuf,
}

fn main() -> ExitCode {
    let result = chaos::serve().and_then(|served| if served { Ok(true) } else { hurt(Cli::parse()) });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn hurt(cli: Cli) -> Result<bool> {
    let options = Options {
        store: cli.store,
        lasts: Duration::try_from_secs_f64(cli.minutes * 60.0).context("--minutes")?,
        seed: cli.seed,
        ttl: Duration::try_from_secs_f64(cli.ttl).context("--ttl")?,
        leadership: cli.leadership,
        progress: |line| println!("{line}"),
    };
    let outcome = tokio::runtime::Runtime::new()?.block_on(chaos::run(options))?;
    std::fs::write(&cli.report, chaos::report(&outcome))
        .with_context(|| format!("cannot write {}", cli.report.display()))?;
    println!("{}", outcome.verdict);
    println!("the report is in {}", cli.report.display());
    Ok(outcome.verdict.passed())
}
