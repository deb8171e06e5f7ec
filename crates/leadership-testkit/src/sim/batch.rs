//! Many seeds on several threads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use leadership_core::{DynStore, MemoryStore};

use super::plan::Plan;
use super::{Failure, Report, run_plan};

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs that went well.
    pub runs: u64,
    /// Terms that began.
    pub terms: u64,
    /// Requests that the store applied.
    pub requests: u64,
    /// How often everybody was asked whether they lead. Two at a time would have been a failure.
    pub looks: u64,
    /// Virtual time.
    pub simulated: Duration,
    /// Real time.
    pub took: Duration,
    /// The longest from the end of the faults until somebody led, and its seed.
    pub leaderless: (Duration, u64),
    /// The longest until everybody was in line and every follower knew, and its seed.
    pub whole: (Duration, u64),
    /// The longest from a resignation until another led, and its seed.
    pub handover: (Duration, u64),
    /// Incidents by kind.
    pub incidents: BTreeMap<&'static str, u64>,
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.terms += report.terms as u64;
        self.requests += report.requests;
        self.looks += report.looks;
        self.simulated += report.took;
        self.leaderless = self.leaderless.max((report.leaderless, report.seed));
        self.whole = self.whole.max((report.whole, report.seed));
        self.handover = self.handover.max((report.handover, report.seed));
        for (kind, count) in &report.incidents {
            *self.incidents.entry(kind).or_default() += count;
        }
    }

    /// Adds what other runs came to, made before or after these.
    pub fn merge(&mut self, other: Self) {
        self.took += other.took;
        self.runs += other.runs;
        self.terms += other.terms;
        self.requests += other.requests;
        self.looks += other.looks;
        self.simulated += other.simulated;
        self.leaderless = self.leaderless.max(other.leaderless);
        self.whole = self.whole.max(other.whole);
        self.handover = self.handover.max(other.handover);
        for (kind, count) in other.incidents {
            *self.incidents.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} runs in {:.1?} ({:.0?} simulated): {} terms, {} requests",
            self.runs, self.took, self.simulated, self.terms, self.requests
        )?;
        let incidents: Vec<String> = self
            .incidents
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        writeln!(f, "incidents: {}", incidents.join(", "))?;
        writeln!(f, "overlaps: 0 in {} looks", self.looks)?;
        for (what, (longest, seed)) in [
            ("leaderless after healing", self.leaderless),
            ("until all were in line and knew", self.whole),
            ("handover", self.handover),
        ] {
            writeln!(f, "longest {what}: {longest:?} (seed {seed})")?;
        }
        Ok(())
    }
}

/// Runs the plans of `count` seeds from `first` on, on so many threads, over what `store` makes of the memory
/// store.
///
/// # Errors
/// The failure with the lowest seed among those found before the threads stopped; not shrunk.
pub fn many(
    first: u64,
    count: u64,
    threads: usize,
    store: &(dyn Fn(MemoryStore) -> DynStore + Sync),
) -> Result<Summary, Box<Failure>> {
    let start = Instant::now();
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        let mut summary = Summary::default();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            match run_plan(&Plan::new(first.wrapping_add(index)), store) {
                Ok(report) => summary.add(&report),
                Err(failure) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(failure);
                }
            }
        }
        Ok(summary)
    };
    let results: Vec<Result<Summary, Box<Failure>>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut total = Summary::default();
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(summary) => total.merge(summary),
            Err(failure) => failures.push(failure),
        }
    }
    // Those of the threads are zero.
    total.took = start.elapsed();
    failures
        .into_iter()
        .min_by_key(|failure| failure.plan.seed.wrapping_sub(first))
        .map_or(Ok(total), Err)
}
