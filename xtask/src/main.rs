//! The chores of this workspace: `cargo xtask images | test | fuzz | model | sim | chaos | ci | cluster | bench`.
//!
//! Everything that a check needs and that cargo cannot build is made here first: server images from a
//! registry, or from Debian packages where no registry is in reach; libraries of other languages that tests meet;
//! clusters by compose. One file per chore; what they share is in `process` (running commands) and `docker`.

mod bench;
mod chaos;
mod ci;
mod cluster;
mod debian;
mod docker;
mod features;
mod fuzz;
mod images;
mod interop;
mod model;
mod process;
mod scratch;
mod sim;
mod store;
mod test;

// The test clusters put the labels on which `docker::sweep` goes by.
#[path = "../../crates/leadership-testkit/src/cluster/owner.rs"]
#[allow(dead_code)]
mod owner;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf, process::ExitCode};
use store::Store;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The chores of this workspace",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Provide the images of the store servers: pulled, or built from Debian packages without a registry
    Images {
        /// Which stores; all when none is named
        stores: Vec<Store>,
        /// Where they come from
        #[arg(long, value_enum, default_value_t = images::Source::Any)]
        from: images::Source,
    },
    /// Run every test, after building what they need
    Test {
        /// Passed to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Feed what others may write to all that reads it: URLs, names, keys, answers
    Fuzz {
        /// Which target; all when none is named
        #[arg(long = "target")]
        targets: Vec<String>,
        /// How long each runs
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Add what was found to the inputs that are kept
        #[arg(long)]
        keep: bool,
    },
    /// What has to be green before a merge: formatting, clippy, documentation, fuzzing, then every test
    Ci,
    /// Explore the model of elections within small bounds, and have it find faults put in on purpose
    Model {
        /// Larger bounds instead: many minutes
        #[arg(long)]
        deep: bool,
    },
    /// Run elections on virtual time under random faults, decided by a seed each
    Sim {
        /// How many seeds
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first of them
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Passed to the simulation: `--threads N`, `--history`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Hurt candidates that are real processes on a real cluster, judge what they did, and write a report
    Chaos {
        /// On which store
        #[arg(long)]
        store: Store,
        /// For how many minutes faults go on
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
        /// Which faults, in which order
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the report goes; into the target folder if it is not given
        #[arg(long)]
        report: Option<PathBuf>,
    },
    /// A three-node cluster on this machine, to try things out
    #[command(subcommand)]
    Cluster(Cluster),
    /// Measure against a real store
    Bench {
        #[arg(default_value = "etcd")]
        store: Store,
        /// Passed to the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[derive(Subcommand)]
enum Cluster {
    /// Start it, wait until it is healthy, print its URL
    Up {
        #[arg(default_value = "etcd")]
        store: Store,
    },
    /// Stop it and remove its data
    Down {
        /// Which store; all when none is named
        store: Option<Store>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        // Causes below each other, and never a backtrace: what failed is nearly always a program that we
        // called.
        Err(error) => {
            eprintln!("error: {error}");
            error
                .chain()
                .skip(1)
                .for_each(|cause| eprintln!("  because: {cause}"));
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Images { stores, from } => images::provide(Store::or_all(&stores), from),
        Chore::Test { args } => test::run_tests(&args),
        Chore::Fuzz {
            targets,
            seconds,
            keep,
        } => fuzz::run(&targets, seconds, keep),
        Chore::Model { deep } => model::run(deep),
        Chore::Sim { seeds, seed, args } => sim::run(seeds, seed, &args),
        Chore::Chaos {
            store,
            minutes,
            seed,
            report,
        } => chaos::run(store, minutes, seed, report),
        Chore::Ci => ci::run(),
        Chore::Cluster(Cluster::Up { store }) => cluster::up(store),
        Chore::Cluster(Cluster::Down { store }) => cluster::down(store),
        Chore::Bench { store, args } => bench::run(store, &args),
    }
}
