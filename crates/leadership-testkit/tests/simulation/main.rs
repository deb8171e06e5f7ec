//! The simulator: thousands of seeds without a broken promise, faults in a store that must be found, and seeds
//! that replay.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod planted;

use std::time::{Duration, Instant};

use leadership_testkit::sim::{Failure, Plan, Promise, many, run, run_plan, shrink};
use planted::{Fault, Planted};

/// Ten times as long as it takes: longer means that it would not do for every test run.
const BUDGET: Duration = Duration::from_secs(180);

#[test]
fn ten_thousand_seeds_break_no_promise() {
    let start = Instant::now();
    let sound = many(0, 10_000, 2, &|memory| memory.shared());
    let summary = sound.unwrap_or_else(|failure| panic!("{}", shrink(failure, &|memory| memory.shared())));
    println!("{summary}");
    assert!(
        summary.terms > 2 * summary.runs,
        "leadership hardly changes hands"
    );
    assert!(
        summary.incidents.len() == 16,
        "a kind of incident is never drawn: {:?}",
        summary.incidents
    );
    assert!(start.elapsed() < BUDGET, "{:?}", start.elapsed());
}

#[test]
fn a_seed_replays_to_the_identical_history() {
    for seed in 0..500 {
        let (first, second) = (run(seed).unwrap(), run(seed).unwrap());
        assert!(first.history.len() > 50, "seed {seed}");
        for (one, other) in first.history.iter().zip(&second.history) {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!(first, second, "seed {seed}");
    }
}

/// Finds what is planted and shrinks it. A fault shows in one of several broken promises.
fn find(fault: Fault, promises: &[Promise]) -> Box<Failure> {
    let start = Instant::now();
    let store = move |memory| Planted::over(memory, fault);
    let failures = (0..2_000).filter_map(|seed| run_plan(&Plan::new(seed), &store).err());
    let found = failures
        .take(20)
        .find(|failure| promises.contains(&failure.violation.promise));
    let found = found.unwrap_or_else(|| panic!("{fault:?} was not found"));
    let (seed, incidents) = (found.plan.seed, found.plan.incidents.len());
    let smallest = shrink(found, &store);
    println!(
        "{fault:?}: found with seed {seed}, {incidents} incidents shrunk to {}, {:.1?}\n{smallest}\n",
        smallest.plan.incidents.len(),
        start.elapsed()
    );
    assert!(smallest.plan.incidents.len() <= incidents.min(4), "{smallest}");
    assert_eq!(smallest.plan.seed, seed);
    let again = run_plan(&smallest.plan, &store).expect_err("fails again");
    assert_eq!(again, smallest, "a shrunk failure replays");
    smallest
}

#[test]
fn sessions_that_live_shorter_than_promised_are_found_and_shrunk() {
    let smallest = find(Fault::ShortSessions, &[Promise::OneValidTerm]);
    let shown = smallest.to_string();
    assert!(
        shown.contains(&format!("--seed {}", smallest.plan.seed)),
        "it prints its seed"
    );
    assert!(shown.contains("ELECTED"), "and what happened");
}

#[test]
fn a_leave_that_is_not_fenced_is_found() {
    find(Fault::UnfencedLeave, &[Promise::OneValidTerm]);
}

#[test]
fn an_entry_that_stays_is_found() {
    // Who resigned enters again, finds the entry that it left, and leads on with the token of before.
    find(Fault::IdleLeave, &[Promise::TokensGrow]);
}

#[test]
fn tokens_that_do_not_grow_are_found() {
    find(Fault::TokensOfSessions, &[Promise::TokensGrow]);
}

#[test]
fn followers_that_are_not_told_that_nobody_leads_are_found() {
    find(Fault::NobodyUntold, &[Promise::FollowersSee]);
}

#[test]
fn a_clock_slower_than_the_margin_covers_is_found() {
    let store = |memory: leadership_core::MemoryStore| memory.shared();
    let found = (0..2_000).find_map(|seed| {
        let mut plan = Plan::new(seed);
        for process in &mut plan.candidates {
            process.rate = 800_000;
        }
        run_plan(&plan, &store).err()
    });
    let found = found.expect("found");
    assert_eq!(found.violation.promise, Promise::OneValidTerm, "{found}");
}
