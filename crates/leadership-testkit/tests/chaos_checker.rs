//! The checker of chaos: what is wrong in a history is found, and nothing else.

use std::ops::Range;
use std::time::Duration;

use leadership_testkit::chaos::{
    Bounds, Change, Entry, Fault, History, Kind, Sight, Verdict, Work, Write, check,
};

const TTL: Duration = Duration::from_secs(3);

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn work(candidate: &str, token: u64, sent: Range<u64>) -> Work {
    let write = |millis| Write {
        sent: at(millis),
        arrived: at(millis),
        accepted: true,
    };
    Work {
        candidate: candidate.to_owned(),
        token,
        writes: sent.step_by(10).map(write).collect(),
    }
}

fn saw(millis: u64, name: &str, token: u64) -> Entry {
    let sight = Sight::Leader {
        name: name.to_owned(),
        token: Some(token),
    };
    Entry {
        at: at(millis),
        what: Change::Saw {
            follower: "f1".to_owned(),
            sight,
        },
    }
}

fn elected(millis: u64, candidate: &str, token: u64) -> Entry {
    Entry {
        at: at(millis),
        what: Change::Elected {
            candidate: candidate.to_owned(),
            token,
        },
    }
}

fn fault(kind: Kind, candidate: Option<&str>, time: Range<u64>) -> Fault {
    Fault {
        kind,
        candidate: candidate.map(str::to_owned),
        what: kind.name().to_owned(),
        began: at(time.start),
        over: Some(at(time.end)),
    }
}

/// One leads, is killed, and the other leads.
fn sound() -> History {
    let mut entries = vec![elected(90, "n1", 5), saw(95, "n1", 5)];
    entries.extend([saw(12_900, "n2", 8), elected(12_950, "n2", 8)]);
    History {
        entries,
        works: vec![work("n1", 5, 100..10_000), work("n2", 8, 13_000..20_000)],
        faults: vec![fault(Kind::Killed, Some("n1"), 10_000..10_000)],
        line: vec!["n2".to_owned(), "n1".to_owned()],
        left: Vec::new(),
        over: at(19_980),
        took: at(25_000),
    }
}

fn judged(history: &History) -> Verdict {
    check(history, &["n1".to_owned(), "n2".to_owned()], Bounds::of(TTL))
}

/// The names of what was found.
fn found(history: &History) -> Vec<&'static str> {
    let verdict = judged(history);
    let found = verdict.findings().filter(|(_, found)| !found.is_empty());
    found.map(|(what, _)| what).collect()
}

#[test]
fn a_sound_history_passes_and_its_gap_is_split_by_cause() {
    let verdict = judged(&sound());
    assert!(verdict.passed(), "{verdict}");
    let gap = &verdict.gaps[1];
    assert_eq!((gap.from, gap.to), (at(9_990), at(13_000)));
    assert_eq!((gap.detect, gap.acquire, gap.start), (at(2_910), at(50), at(50)));
    assert_eq!(gap.unhindered, at(3_000));
    assert_eq!(gap.cause, "process killed");
}

#[test]
fn work_beside_a_later_leader_is_an_overlap_even_where_it_was_refused() {
    let mut history = sound();
    for millis in [13_010, 13_020] {
        history.works[0].writes.push(Write {
            sent: at(millis),
            arrived: at(millis),
            accepted: false,
        });
    }
    assert_eq!(found(&history), ["overlapping terms"]);
    // Nobody could end a program that was frozen, but that lasts only so long.
    history.faults = vec![fault(Kind::Frozen, Some("n1"), 10_000..13_005)];
    let verdict = judged(&history);
    assert!(verdict.passed() && verdict.fenced == 2, "{verdict}");
    history.faults = vec![fault(Kind::Frozen, Some("n1"), 10_000..12_500)];
    assert_eq!(found(&history), ["overlapping terms"]);
    history.faults = vec![fault(Kind::Frozen, Some("n2"), 10_000..13_005)];
    assert_eq!(found(&history), ["overlapping terms"]);
}

#[test]
fn an_old_token_that_the_resource_takes_is_found() {
    let mut history = sound();
    history.works[0] = work("n1", 5, 100..13_100);
    history.faults = vec![fault(Kind::Frozen, Some("n1"), 10_000..13_005)];
    assert_eq!(found(&history), ["old tokens accepted"]);
}

#[test]
fn tokens_that_do_not_grow_are_found_but_a_program_may_start_again_in_a_term() {
    let mut history = sound();
    history.works[1].token = 4;
    history
        .entries
        .retain(|entry| !matches!(entry.what, Change::Saw { .. }));
    assert_eq!(found(&history), ["tokens out of order"]);
    history.works[1].token = 5;
    assert_eq!(found(&history), ["tokens out of order"]);
    history.works[1].candidate = "n1".to_owned();
    assert!(found(&history).is_empty());
    history.works[1]
        .writes
        .splice(0..0, work("n1", 5, 9_000..9_010).writes);
    assert_eq!(found(&history), ["overlapping terms"]);
}

#[test]
fn a_stretch_without_a_leader_is_measured_from_the_end_of_what_hurts_the_store() {
    let mut history = sound();
    history.works[1] = work("n2", 8, 16_000..20_000);
    assert_eq!(found(&history), ["leaderless beyond the bound"]);
    history.faults = vec![fault(Kind::ServerKilled, None, 9_000..12_000)];
    assert!(found(&history).is_empty());
    // A fault of one candidate holds the others up no longer than a session lives.
    history.faults = vec![fault(Kind::Silent, Some("n1"), 9_000..15_900)];
    assert_eq!(found(&history), ["leaderless beyond the bound"]);
}

#[test]
fn nobody_at_all_for_the_rest_of_the_run_is_found() {
    let mut history = sound();
    history.works.pop();
    assert_eq!(found(&history), ["leaderless beyond the bound"]);
}

#[test]
fn a_follower_that_does_not_know_is_found_unless_the_store_was_hurt() {
    let mut history = sound();
    history.entries.retain(|entry| entry.at != at(12_900));
    assert_eq!(found(&history), ["stale followers"]);
    history.faults.push(fault(Kind::StoreDown, None, 12_900..18_500));
    assert!(found(&history).is_empty());
}

#[test]
fn who_is_not_in_line_or_leaves_an_entry_is_found() {
    let mut history = sound();
    history.line.pop();
    assert_eq!(found(&history), ["stuck or left behind"]);
    let mut history = sound();
    history.left.push("n1".to_owned());
    assert_eq!(found(&history), ["stuck or left behind"]);
}
