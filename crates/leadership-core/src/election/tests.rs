//! Tables: a sequence of inputs, and exactly what comes out.

use super::*;
use crate::fixtures::{at, session, timing};
use crate::name::ElectionName;
use crate::store::Ahead;

fn place(session: &str, fence: u64) -> Place {
    Place {
        election: ElectionName::new("e").expect("a name"),
        session: SessionId::new(session),
        key: "k".into(),
        fence,
    }
}

fn first(fence: u64) -> Standing {
    Standing::First(Token(fence))
}

fn behind() -> Standing {
    Standing::Behind(ahead())
}

fn ahead() -> Ahead {
    Ahead {
        key: "a".into(),
        foreign: false,
    }
}

fn actions(machine: &mut ElectionMachine) -> Vec<ElectionAction> {
    std::iter::from_fn(|| machine.poll_action())
        .map(|(_, action)| action)
        .collect()
}

fn events(machine: &mut ElectionMachine) -> Vec<ElectionEvent> {
    std::iter::from_fn(|| machine.poll_event()).collect()
}

fn only(machine: &mut ElectionMachine) -> Ticket {
    let (ticket, _) = machine.poll_action().expect("an action");
    assert_eq!(machine.poll_action(), None);
    ticket
}

/// A machine with session "s" until 109, which has asked to enter at 100.
fn entering() -> (ElectionMachine, Ticket) {
    let mut machine = ElectionMachine::new(timing());
    machine.handle_session(at(100), &session("s"), at(109));
    let ticket = only(&mut machine);
    (machine, ticket)
}

/// A machine that leads term 7 since 101.
fn leading() -> ElectionMachine {
    let (mut machine, ticket) = entering();
    machine.handle_reply(at(101), ticket, ElectionReply::Entered(place("s", 7), first(7)));
    assert_eq!(events(&mut machine), [ElectionEvent::Elected(Token(7))]);
    machine
}

#[test]
fn the_one_behind_leads_when_it_is_first() {
    let (mut machine, ticket) = entering();
    machine.handle_reply(at(101), ticket, ElectionReply::Entered(place("s", 7), behind()));
    assert_eq!(events(&mut machine), [ElectionEvent::Waiting(ahead())]);
    machine.handle_standing(at(102), &place("s", 7), first(7));
    assert_eq!(events(&mut machine), [ElectionEvent::Elected(Token(7))]);
    assert_eq!(machine.deadline(), Some(at(109)));
    assert_eq!(actions(&mut machine), []);
}

#[test]
fn nobody_is_elected_after_the_deadline() {
    let (mut machine, ticket) = entering();
    machine.handle_reply(at(101), ticket, ElectionReply::Entered(place("s", 7), behind()));
    events(&mut machine);
    machine.handle_standing(at(109), &place("s", 7), first(7));
    assert_eq!(events(&mut machine), []);
    assert_eq!(machine.leading(), None);
}

#[test]
fn a_term_ends_at_the_deadline_before_its_place_is_left() {
    let mut machine = leading();
    assert_eq!(machine.poll_timeout(), Some(at(109)));
    machine.handle_timeout(at(109));
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::Ended(Token(7), EndReason::DeadlinePassed)]
    );
    assert_eq!(actions(&mut machine), [ElectionAction::Leave(place("s", 7))]);
}

#[test]
fn an_extension_keeps_the_term() {
    let mut machine = leading();
    machine.handle_session(at(108), &session("s"), at(115));
    machine.handle_timeout(at(109));
    assert_eq!(machine.leading(), Some(Token(7)));
    assert_eq!(events(&mut machine), []);
}

#[test]
fn resigning_waits_for_the_entry_to_be_gone_before_standing_again() {
    let mut machine = leading();
    machine.resign(at(102), Token(6));
    assert_eq!(
        machine.leading(),
        Some(Token(7)),
        "a late resignation of an old term does nothing"
    );
    machine.resign(at(102), Token(7));
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::Ended(Token(7), EndReason::Resigned)]
    );
    let leave = only(&mut machine);
    machine.handle_reply(at(104), leave, ElectionReply::Failed(Failure::Unknown));
    assert_eq!(
        actions(&mut machine),
        [],
        "its outcome is unknown: it may yet free what we would enter"
    );
    machine.handle_timeout(at(105));
    let leave = only(&mut machine);
    machine.handle_reply(at(106), leave, ElectionReply::Left);
    assert_eq!(events(&mut machine), [ElectionEvent::Left]);
    assert_eq!(actions(&mut machine), [ElectionAction::Enter(session("s"))]);
}

#[test]
fn an_ending_term_waits_for_its_work() {
    let mut machine = leading();
    machine.handle_working(at(101), true);
    machine.stop(at(102));
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::Ending(Token(7), EndReason::Stopped)]
    );
    assert_eq!(
        (machine.leading(), actions(&mut machine)),
        (Some(Token(7)), vec![])
    );
    machine.handle_working(at(104), false);
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::Ended(Token(7), EndReason::Stopped)]
    );
    assert_eq!(actions(&mut machine), [ElectionAction::Leave(place("s", 7))]);
}

#[test]
fn work_that_does_not_end_is_waited_for_no_longer_than_the_drain_time() {
    let mut machine = leading();
    machine.handle_working(at(101), true);
    machine.resign(at(102), Token(7));
    events(&mut machine);
    assert_eq!(machine.poll_timeout(), Some(at(107)));
    machine.handle_timeout(at(107));
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::Ended(Token(7), EndReason::Resigned)]
    );
}

#[test]
fn an_entry_removed_by_somebody_ends_the_term_and_is_made_anew() {
    let mut machine = leading();
    machine.handle_standing(at(102), &place("s", 6), Standing::Gone);
    assert_eq!(
        machine.leading(),
        Some(Token(7)),
        "news of another place is not ours"
    );
    machine.handle_standing(at(102), &place("s", 7), Standing::Gone);
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::Ended(Token(7), EndReason::EntryRemoved)]
    );
    assert_eq!(actions(&mut machine), [ElectionAction::Enter(session("s"))]);
}

#[test]
fn a_lost_session_ends_the_term_and_the_next_session_stands() {
    let mut machine = leading();
    machine.handle_session_lost(at(103), &SessionId::new("s"), EndReason::SessionLost);
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::Ended(Token(7), EndReason::SessionLost)]
    );
    assert_eq!(actions(&mut machine), []);
    machine.handle_session(at(104), &session("t"), at(113));
    assert_eq!(actions(&mut machine), [ElectionAction::Enter(session("t"))]);
}

#[test]
fn the_answer_to_an_enter_under_a_lost_session_is_ignored() {
    let (mut machine, ticket) = entering();
    machine.handle_session_lost(at(101), &SessionId::new("s"), EndReason::SessionLost);
    machine.handle_session(at(101), &session("t"), at(110));
    machine.handle_reply(at(102), ticket, ElectionReply::Entered(place("s", 7), first(7)));
    assert_eq!(events(&mut machine), []);
    assert_eq!(machine.leading(), None);
}

#[test]
fn a_ghost_is_looked_for_while_the_session_lives() {
    let (mut machine, ticket) = entering();
    machine.handle_reply(at(102), ticket, ElectionReply::Failed(Failure::Unknown));
    machine.stop(at(102));
    assert!(!machine.is_finished(), "the enter may yet be applied");
    machine.handle_timeout(at(103));
    let find = only(&mut machine);
    machine.handle_reply(at(103), find, ElectionReply::Found(None));
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::Stopped],
        "nothing of ours that we know of"
    );
    assert_eq!(
        machine.poll_timeout(),
        Some(at(106)),
        "looked for again with the next renewal"
    );
    machine.handle_timeout(at(106));
    let find = only(&mut machine);
    machine.handle_reply(at(106), find, ElectionReply::Found(Some(place("s", 9))));
    assert_eq!(actions(&mut machine), [ElectionAction::Leave(place("s", 9))]);
    machine.handle_session_lost(at(107), &SessionId::new("s"), EndReason::SessionLost);
    machine.handle_session_ended(at(107), &SessionId::new("s"));
    assert!(machine.is_finished());
}

#[test]
fn a_candidate_that_stands_again_adopts_a_ghost_only_when_nobody_is_removing_it() {
    let (mut machine, ticket) = entering();
    machine.handle_reply(at(102), ticket, ElectionReply::Failed(Failure::Unknown));
    machine.stop(at(102));
    machine.handle_timeout(at(103));
    let find = only(&mut machine);
    machine.stand(at(103));
    assert_eq!(actions(&mut machine), [], "first the outcome of the search");
    machine.handle_reply(at(104), find, ElectionReply::Found(Some(place("s", 9))));
    let leave = only(&mut machine);
    machine.stand(at(104));
    assert_eq!(actions(&mut machine), [], "then that of the removal");
    machine.handle_reply(at(105), leave, ElectionReply::Left);
    assert_eq!(actions(&mut machine), [ElectionAction::Enter(session("s"))]);
}

#[test]
fn stopping_while_the_old_session_may_live_waits_for_its_certain_end() {
    let mut machine = leading();
    machine.handle_session_lost(at(109), &SessionId::new("s"), EndReason::DeadlinePassed);
    machine.stop(at(110));
    assert!(!machine.is_finished());
    machine.handle_session_ended(at(121), &SessionId::new("s"));
    assert!(machine.is_finished());
}

#[test]
fn refused_input_ends_the_campaign() {
    let (mut machine, ticket) = entering();
    machine.handle_reply(at(101), ticket, ElectionReply::Failed(Failure::Permanent));
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::Failed, ElectionEvent::Stopped]
    );
    assert!(machine.is_finished());
}

#[test]
fn refused_input_that_may_have_left_an_entry_is_looked_for_before_the_campaign_ends() {
    let (mut machine, ticket) = entering();
    machine.handle_reply(at(101), ticket, ElectionReply::Failed(Failure::PermanentUnknown));
    assert_eq!(events(&mut machine), [ElectionEvent::Failed]);
    let (ticket, action) = machine.poll_action().expect("an action");
    assert!(matches!(action, ElectionAction::Find(_)), "{action:?}");
    machine.handle_reply(at(102), ticket, ElectionReply::Found(None));
    assert_eq!(events(&mut machine), [ElectionEvent::Stopped]);
}

#[test]
fn a_session_that_the_store_calls_gone_is_reported() {
    let (mut machine, ticket) = entering();
    machine.handle_reply(at(101), ticket, ElectionReply::SessionGone);
    assert_eq!(
        events(&mut machine),
        [ElectionEvent::SessionGone(SessionId::new("s"))]
    );
}

#[test]
fn nothing_spins_when_the_session_has_passed_unnoticed() {
    let mut machine = ElectionMachine::new(timing());
    machine.handle_session(at(110), &session("s"), at(109));
    assert_eq!(actions(&mut machine), []);
    assert!(machine.poll_timeout().is_none_or(|due| due > at(110)));
}
