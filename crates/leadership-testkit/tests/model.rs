//! The model of `leadership_testkit::model`, exhausted within small bounds, and with deliberate faults that must
//! be found.

use std::time::Duration;

use leadership_testkit::model::{Fault, Rules, explore, look_for};

/// Longer than any of these takes. A run that reaches it has failed: it was not exhausted.
const BUDGET: Duration = Duration::from_secs(110);

/// As `BUDGET`, for one of the large bounds.
const DEEP_BUDGET: Duration = Duration::from_secs(30 * 60);

fn exhaust(rules: Rules) {
    let report = explore(rules, BUDGET);
    println!("{report}");
    assert!(report.passed(), "{report}");
}

fn find(fault: Fault, property: &'static str, rules: Rules) {
    let rules = Rules {
        fault: Some(fault),
        ..rules
    };
    let report = look_for(property, rules, BUDGET);
    let found = report.broken.iter().find(|(name, _)| *name == property);
    let (_, steps) = found.unwrap_or_else(|| panic!("{fault:?} does not break {property:?}: {report}"));
    println!(
        "found among {} states, {} steps away",
        report.states,
        steps.lines().count()
    );
}

const ONE_TERM: &str = "at most one valid term";
const TOKENS: &str = "tokens grow from term to term";
const ENDED: &str = "an ended term stays ended";
const ENTRY: &str = "a valid term has an entry and a session";
const REACHED: &str = "once faults stop, everybody in line leads";

#[test]
fn lost_and_late_requests_of_sessions_never_make_two_valid_terms() {
    exhaust(Rules::SESSIONS);
}

#[test]
fn delayed_renewals_never_make_two_valid_terms() {
    exhaust(Rules::RENEWALS);
}

#[test]
fn clocks_that_differ_within_the_margin_never_make_two_valid_terms() {
    exhaust(Rules::CLOCKS);
}

#[test]
fn repeated_and_late_requests_never_free_or_share_a_later_place() {
    exhaust(Rules::PLACES);
}

#[test]
fn stopped_candidates_leave_nothing() {
    exhaust(Rules::STOPS);
}

#[test]
fn proclaiming_changes_no_token_and_no_order() {
    exhaust(Rules::PROCLAIMS);
}

#[test]
fn two_elections_of_one_session_have_one_valid_term_each() {
    exhaust(Rules::SHARED);
}

#[test]
fn resigning_from_one_election_of_a_session_leaves_the_other_alone() {
    exhaust(Rules::SHARED_PLACES);
}

#[test]
fn tokens_stay_in_order_when_entries_and_sessions_are_removed_by_hand() {
    exhaust(Rules::REMOVALS);
}

#[test]
fn a_deadline_one_tick_late_is_found() {
    find(Fault::LateDeadline, ONE_TERM, Rules::SESSIONS);
}

#[test]
fn a_margin_that_is_ignored_is_found() {
    find(Fault::MarginIgnored, ONE_TERM, Rules::CLOCKS);
}

#[test]
fn a_deadline_counted_from_receipt_is_found() {
    find(Fault::CountedFromReceipt, ONE_TERM, Rules::RENEWALS);
}

#[test]
fn an_acknowledgement_that_revives_an_ended_term_is_found() {
    find(Fault::LateAcknowledgement, ENDED, Rules::RENEWALS);
}

#[test]
fn a_leave_that_is_not_fenced_is_found() {
    find(Fault::UnfencedLeave, ONE_TERM, Rules::PLACES);
}

#[test]
fn a_token_reread_after_a_proclaim_is_found() {
    find(Fault::TokenReread, TOKENS, Rules::PROCLAIMS);
}

#[test]
fn standing_with_a_dead_session_is_found() {
    find(Fault::DeadSession, ENTRY, Rules::REMOVALS);
}

#[test]
fn a_waiter_that_wins_without_an_entry_is_found() {
    find(Fault::BlindWatch, REACHED, Rules::REMOVALS);
}

#[test]
fn a_waiter_that_is_never_told_is_found() {
    find(Fault::SilentWatch, REACHED, Rules::PLACES);
}

#[test]
fn a_run_that_is_out_of_time_is_no_pass() {
    let report = explore(Rules::SESSIONS, Duration::from_millis(100));
    assert!(
        report.broken.is_empty() && !report.exhausted && !report.passed(),
        "{report}"
    );
}

#[test]
#[ignore = "takes many minutes: cargo xtask model --deep"]
fn larger_bounds_are_exhausted() {
    let reports = Rules::DEEP.map(|rules| {
        let report = explore(rules, DEEP_BUDGET);
        println!("{report}");
        report
    });
    assert!(reports.iter().all(|report| report.passed()), "see above");
}
