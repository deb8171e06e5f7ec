//! The simulator: candidates and followers as they are, on virtual time, over a store with faults, all of it
//! decided by one seed.
//!
//! [`run`] draws a [`Plan`] from a seed: three to seven processes that stand in an election, each with a clock
//! of its own rate, one or two that follow it, and incidents: requests and replies lost, late, refused or
//! repeated, streams stalled or broken, processes paused or dead, entries and sessions removed by hand. At every
//! step it asks everybody whether they lead. When the incidents are over somebody has to lead, everybody has to
//! be in line and every follower to know; then a leader resigns, all stop in one of three ways, and nothing may
//! be left at the store. Which promises that checks is written on [`Promise`].
//!
//! The same seed gives the same history, to the last reply. A seed that fails is [shrunk](shrink) to a plan with
//! as few incidents as still fail.
//!
//! ```
//! let report = leadership_testkit::sim::run(7).unwrap_or_else(|failure| panic!("{failure}"));
//! assert!(report.terms > 0);
//! ```
//!
//! [`FaultyStore`] and [`DriftingClock`] stand for themselves, for the tests of applications.

mod batch;
mod checker;
mod clock;
mod healing;
mod member;
mod plan;
mod random;
mod run;
mod shrinking;
mod store;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use leadership_core::{DynStore, MemoryStore};

pub use batch::{Summary, many};
pub use checker::{Note, Promise, Violation};
pub use clock::DriftingClock;
pub use healing::HEALING;
pub use plan::{Incident, Kind, Plan, Process, TTL, Whom};
pub use random::Random;
pub use shrinking::shrink;
pub use store::{Conditions, FaultyStore, Passing};

/// A run that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed of its plan.
    pub seed: u64,
    /// Terms that began.
    pub terms: usize,
    /// Requests that the store applied.
    pub requests: u64,
    /// How often everybody was asked.
    pub looks: u64,
    /// Virtual time it took.
    pub took: Duration,
    /// From the end of the faults until somebody led.
    pub leaderless: Duration,
    /// From the end of the faults until everybody was in line and every follower knew.
    pub whole: Duration,
    /// From a resignation until another led.
    pub handover: Duration,
    /// Incidents by kind.
    pub incidents: BTreeMap<&'static str, u64>,
    /// All that happened.
    pub history: Vec<Note>,
}

/// A run in which a promise was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its plan, with the seed.
    pub plan: Plan,
    /// What was broken.
    pub violation: Violation,
    /// All that happened up to then.
    pub history: Vec<Note>,
}

/// How many of the last lines of a history are printed.
const SHOWN: usize = 80;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        write!(f, "{}", self.plan)?;
        let left_out = self.history.len().saturating_sub(SHOWN);
        if left_out > 0 {
            writeln!(f, "  … {left_out} lines left out")?;
        }
        for note in &self.history[left_out..] {
            writeln!(f, "{note}")?;
        }
        write!(
            f,
            "replay it with `cargo xtask sim --seeds 1 --seed {}`",
            self.plan.seed
        )
    }
}

impl std::error::Error for Failure {}

/// Runs the plan of a seed.
///
/// # Errors
/// When a promise was broken.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    run_plan(&Plan::new(seed), &|memory| memory.shared())
}

/// Runs a plan over what `store` makes of the memory store: itself, or one with a fault that has to be found.
///
/// # Errors
/// When a promise was broken.
pub fn run_plan(plan: &Plan, store: &dyn Fn(MemoryStore) -> DynStore) -> Result<Report, Box<Failure>> {
    let fail = |violation, history| {
        Box::new(Failure {
            plan: plan.clone(),
            violation,
            history,
        })
    };
    let unable = |error: &dyn fmt::Display| {
        let violation = Violation {
            promise: Promise::OrdersEnd,
            at: Duration::ZERO,
            how: format!("cannot begin: {error}"),
        };
        fail(violation, Vec::new())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| unable(&error))?;
    runtime.block_on(async {
        let run = run::Run::new(plan, store).map_err(|error| unable(&error))?;
        let checker = run.checker.clone();
        let outcome = run.go().await;
        let took = checker.elapsed();
        let (history, terms, requests, looks) = checker.finish();
        let healed = match outcome {
            Ok(healed) => healed,
            Err(violation) => return Err(fail(violation, history)),
        };
        let mut incidents = BTreeMap::new();
        for incident in &plan.incidents {
            *incidents.entry(incident.kind.name()).or_default() += 1;
        }
        Ok(Report {
            seed: plan.seed,
            terms,
            requests,
            looks,
            took,
            leaderless: healed.leaderless,
            whole: healed.whole,
            handover: healed.handover,
            incidents,
            history,
        })
    })
}
