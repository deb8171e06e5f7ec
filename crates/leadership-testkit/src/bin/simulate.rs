//! `cargo xtask sim`: many seeds of the simulation, and what they came to; the first that fails is shrunk.

use std::num::NonZero;
use std::process::ExitCode;

use clap::Parser;
use leadership_core::{DynStore, MemoryStore};
use leadership_testkit::sim::{Failure, Summary, many, run, shrink};

/// So many seeds between two lines that tell how far it is.
const PORTION: u64 = 50_000;

/// Runs the simulation with many seeds.
#[derive(Parser)]
struct Cli {
    /// How many seeds to run
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them; a failing one is replayed with `--seeds 1`
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// On so many threads; on all cores if it is not given
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// Print the whole history of each run that went well, too
    #[arg(long)]
    history: bool,
}

fn main() -> ExitCode {
    match simulate(&Cli::parse()) {
        Ok(summary) => {
            print!("{summary}");
            println!("PASSED: no promise was broken");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("FAILED with seed {}:\n{failure}", failure.plan.seed);
            let smallest = shrink(failure, &plain);
            println!("\nshrunk to:\n{smallest}");
            ExitCode::FAILURE
        }
    }
}

fn plain(memory: MemoryStore) -> DynStore {
    memory.shared()
}

fn simulate(cli: &Cli) -> Result<Summary, Box<Failure>> {
    if cli.history {
        for index in 0..cli.seeds {
            let report = run(cli.seed.wrapping_add(index))?;
            println!("seed {}", report.seed);
            report.history.iter().for_each(|note| println!("{note}"));
        }
    }
    let threads = cli
        .threads
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZero::get);
    let mut total = Summary::default();
    while total.runs < cli.seeds {
        let portion = PORTION.min(cli.seeds - total.runs);
        total.merge(many(cli.seed.wrapping_add(total.runs), portion, threads, &plain)?);
        if cli.seeds > PORTION {
            println!("{} of {} in {:.0?}", total.runs, cli.seeds, total.took);
        }
    }
    Ok(total)
}
