//! Chaos: `leadership` as it is installed, as real processes on three real servers, hurt at random while a guarded
//! resource, followers and one clock keep a [`History`], which a [checker](check) judges and a [report] shows.
//!
//! Four candidates run `leadership run -- PROGRAM`, each over ways of its own to the servers, and two followers run
//! `leadership watch`. The program writes to the resource all the time. A [seed](Options::seed) decides which
//! [faults](Kind) come in which order, whom they befall and how long they last; when exactly something happens is
//! up to the machine, so that a seed does not go the same way twice.
//!
//! The checker is for any history, such as one of your own system's.

mod checker;
mod faults;
mod history;
mod processes;
mod report;
mod resource;
mod run;
mod servers;
mod timeline;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

pub use checker::{Bounds, Gap, Verdict, check};
pub use faults::{Faults, Kind, Next};
pub use history::{Change, Entry, Fault, History, Sight, Work, Write};
pub use report::report;
pub use resource::serve;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// `etcd`, `consul` or `zk`.
    pub store: String,
    /// How long faults go on. A fault that has begun goes on to its end, and healing comes on top.
    pub lasts: Duration,
    /// Which faults.
    pub seed: u64,
    /// The TTL of the candidates' sessions.
    pub ttl: Duration,
    /// The command `leadership`.
    pub leadership: PathBuf,
    /// Told what happens, as it happens.
    pub progress: fn(&str),
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was run.
    pub options: Options,
    /// Who stood.
    pub candidates: Vec<String>,
    /// What happened.
    pub history: History,
    /// By what it was judged.
    pub bounds: Bounds,
    /// The judgement.
    pub verdict: Verdict,
}

/// Runs it. The program that calls this is started anew as the one that works: its `main` begins with [`serve`].
///
/// # Errors
/// When the servers or processes cannot be started or hurt; what the checker finds is no error, but in the verdict.
pub async fn run(options: Options) -> Result<Outcome> {
    let run = run::Run::start(&options).await?;
    let history = run.go(options.seed, options.lasts).await?;
    let (candidates, bounds) = (run::names(), Bounds::of(options.ttl));
    let verdict = check(&history, &candidates, bounds);
    Ok(Outcome {
        options,
        candidates,
        history,
        bounds,
        verdict,
    })
}
