//! The model of `leadership_testkit::model`, exhausted within small bounds, and with deliberate faults that must
//! be found.

use std::time::{Duration, Instant};

use leadership_testkit::model::{Fault, Rules};
use stateright::{Checker, HasDiscoveries, Model};

/// Longer than any of these takes. A run that reaches it has failed: it was not exhausted.
const BUDGET: Duration = Duration::from_secs(110);

fn exhaust(rules: Rules) {
    let start = Instant::now();
    let shown = format!("{rules:?}");
    let checker = rules
        .checker()
        .threads(2)
        .timeout(BUDGET)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let took = start.elapsed();
    println!(
        "{} states, depth {}, {took:.1?}: {shown}",
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
    assert!(took < BUDGET, "not exhausted within {BUDGET:?}");
}

fn find(fault: Fault, property: &'static str, rules: Rules) {
    let start = Instant::now();
    let rules = Rules {
        fault: Some(fault),
        ..rules
    };
    let checker = rules
        .checker()
        .threads(2)
        .timeout(BUDGET)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "{fault:?}: {} states, {:.1?}",
        checker.unique_state_count(),
        start.elapsed()
    );
    checker.assert_any_discovery(property);
}

#[test]
fn lost_and_late_requests_of_sessions_never_make_two_valid_terms() {
    exhaust(Rules::sessions());
}

#[test]
fn delayed_renewals_never_make_two_valid_terms() {
    exhaust(Rules::renewals());
}

#[test]
fn repeated_and_late_requests_never_free_or_share_a_later_place() {
    exhaust(Rules::places());
}

#[test]
fn stopped_candidates_leave_nothing() {
    exhaust(Rules::stops());
}

#[test]
fn a_deadline_one_tick_late_is_found() {
    find(Fault::LateDeadline, "at most one valid term", Rules::sessions());
}

#[test]
fn a_deadline_counted_from_receipt_is_found() {
    find(
        Fault::CountedFromReceipt,
        "at most one valid term",
        Rules::renewals(),
    );
}

#[test]
fn a_leave_that_is_not_fenced_is_found() {
    find(Fault::UnfencedLeave, "at most one valid term", Rules::places());
}
