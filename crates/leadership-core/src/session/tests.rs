//! Tables: a sequence of inputs, and exactly what comes out.

use std::time::Duration;

use super::*;
use crate::fixtures::{at, secs, session, timing};

fn actions(machine: &mut SessionMachine) -> Vec<SessionAction> {
    std::iter::from_fn(|| machine.poll_action())
        .map(|(_, action)| action)
        .collect()
}

fn events(machine: &mut SessionMachine) -> Vec<SessionEvent> {
    std::iter::from_fn(|| machine.poll_event()).collect()
}

fn only(machine: &mut SessionMachine) -> Ticket {
    let (ticket, _) = machine.poll_action().expect("an action");
    assert_eq!(machine.poll_action(), None);
    ticket
}

/// A machine whose session "s" was asked for at 100 and granted at 101.
fn open() -> SessionMachine {
    let mut machine = SessionMachine::new(timing());
    machine.open(at(100));
    let ticket = only(&mut machine);
    machine.handle_reply(at(101), ticket, SessionReply::Opened(session("s")));
    assert_eq!(
        events(&mut machine),
        [SessionEvent::Opened {
            session: session("s"),
            deadline: at(109)
        }],
        "the deadline counts from when the request was sent, less the margin"
    );
    machine
}

#[test]
fn a_renewal_extends_from_when_it_was_sent() {
    let mut machine = open();
    assert_eq!(machine.poll_timeout(), Some(at(103)));
    machine.handle_timeout(at(103));
    let ticket = only(&mut machine);
    assert_eq!(machine.poll_timeout(), Some(at(109)), "one renewal at a time");
    machine.handle_reply(at(105), ticket, SessionReply::Renewed(secs(10)));
    assert_eq!(
        events(&mut machine),
        [SessionEvent::Extended { deadline: at(112) }]
    );
    assert_eq!(machine.poll_timeout(), Some(at(106)));
}

#[test]
fn an_acknowledgement_after_the_deadline_extends_nothing() {
    let mut machine = open();
    machine.handle_timeout(at(103));
    let ticket = only(&mut machine);
    machine.handle_reply(at(109), ticket, SessionReply::Renewed(secs(10)));
    assert_eq!(
        events(&mut machine),
        [SessionEvent::Lost {
            id: SessionId::new("s"),
            reason: EndReason::DeadlinePassed
        }]
    );
    assert_eq!(
        actions(&mut machine),
        [SessionAction::Open, SessionAction::Close(session("s"))]
    );
}

#[test]
fn a_renewal_that_failed_is_tried_again_while_there_is_time() {
    let mut machine = open();
    machine.handle_timeout(at(103));
    let ticket = only(&mut machine);
    machine.handle_reply(at(105), ticket, SessionReply::Failed(Failure::Unknown));
    assert_eq!(machine.poll_timeout(), Some(at(106)));
    machine.handle_timeout(at(106));
    let ticket = only(&mut machine);
    machine.handle_reply(at(107), ticket, SessionReply::Renewed(secs(10)));
    assert_eq!(
        events(&mut machine),
        [SessionEvent::Extended { deadline: at(115) }]
    );
}

#[test]
fn not_having_run_past_the_deadline_is_told_as_a_pause() {
    let mut machine = open();
    machine.handle_timeout(at(163));
    assert_eq!(
        events(&mut machine),
        [SessionEvent::Lost {
            id: SessionId::new("s"),
            reason: EndReason::Paused(secs(60))
        }]
    );
}

#[test]
fn a_session_the_store_ended_is_replaced_at_once_and_needs_no_closing() {
    let mut machine = open();
    machine.handle_timeout(at(103));
    let ticket = only(&mut machine);
    machine.handle_reply(at(104), ticket, SessionReply::Gone);
    let id = SessionId::new("s");
    assert_eq!(
        events(&mut machine),
        [
            SessionEvent::Lost {
                id: id.clone(),
                reason: EndReason::SessionLost
            },
            SessionEvent::Ended(id)
        ]
    );
    assert_eq!(actions(&mut machine), [SessionAction::Open]);
}

#[test]
fn a_lost_session_counts_as_gone_only_when_that_is_certain() {
    let mut machine = open();
    machine.handle_timeout(at(109));
    let asked: Vec<_> = std::iter::from_fn(|| machine.poll_action()).collect();
    events(&mut machine);
    let (close, _) = asked
        .iter()
        .find(|(_, a)| matches!(a, SessionAction::Close(_)))
        .expect("closing");
    machine.handle_reply(at(111), *close, SessionReply::Failed(Failure::Unknown));
    assert_eq!(machine.retired().count(), 1);
    assert_eq!(events(&mut machine), []);
    machine.handle_timeout(at(121));
    assert_eq!(events(&mut machine), []);
    // Lost at 109, the TTL may have started then; the store's clock may be slower, and the store late.
    machine.handle_timeout(at(122));
    assert_eq!(events(&mut machine), [SessionEvent::Ended(SessionId::new("s"))]);
}

/// A machine without an open session, whose lost one counts as gone though the store never answered that it is closed.
fn outlasted() -> SessionMachine {
    let mut machine = open();
    for second in 109..123 {
        machine.handle_timeout(at(second));
        while let Some((ticket, _)) = machine.poll_action() {
            machine.handle_reply(at(second), ticket, SessionReply::Failed(Failure::Unknown));
        }
    }
    assert_eq!(
        events(&mut machine)[1..],
        [SessionEvent::Ended(SessionId::new("s"))]
    );
    machine
}

#[test]
fn a_lost_session_is_closed_even_when_a_healthy_store_would_have_ended_it() {
    let mut machine = outlasted();
    let close = |machine: &mut SessionMachine| {
        machine.handle_timeout(at(200));
        let asked: Vec<_> = std::iter::from_fn(|| machine.poll_action()).collect();
        let close = SessionAction::Close(session("s"));
        asked.into_iter().find(|(_, action)| *action == close)
    };
    let (ticket, _) = close(&mut machine).expect("closed again");
    machine.handle_reply(at(201), ticket, SessionReply::Closed);
    assert_eq!(close(&mut machine), None, "the store has answered");
    assert_eq!(events(&mut machine), [], "it was told before");
}

#[test]
fn closing_waits_for_no_session_that_a_healthy_store_would_have_ended() {
    let mut machine = outlasted();
    machine.close(at(200));
    machine.handle_timeout(at(200));
    let opening = machine.poll_action();
    if let Some((ticket, SessionAction::Open)) = opening {
        machine.handle_reply(at(201), ticket, SessionReply::Failed(Failure::NotApplied));
    }
    assert_eq!(events(&mut machine), [SessionEvent::Closed]);
    assert_eq!(machine.poll_timeout(), None, "nothing of it is left");
}

#[test]
fn a_renewal_under_way_when_the_session_is_lost_may_keep_it_from_ending() {
    let mut machine = open();
    machine.handle_timeout(at(103));
    let renewal = only(&mut machine);
    machine.close(at(104));
    events(&mut machine);
    let close = only(&mut machine);
    machine.handle_reply(at(104), renewal, SessionReply::Failed(Failure::Unknown));
    machine.handle_reply(at(105), close, SessionReply::Failed(Failure::Unknown));
    // It was sent at 103, and may arrive as late as we would have waited for it, at 105.
    machine.handle_timeout(at(117));
    assert_eq!(events(&mut machine), []);
    machine.handle_timeout(at(118));
    let id = SessionId::new("s");
    assert_eq!(
        events(&mut machine),
        [SessionEvent::Ended(id), SessionEvent::Closed]
    );
}

#[test]
fn closing_ends_validity_at_once_and_is_done_when_the_store_says_so() {
    let mut machine = open();
    machine.close(at(102));
    assert_eq!(machine.current(), None);
    let ticket = only(&mut machine);
    assert!(!machine.is_closed());
    machine.handle_reply(at(103), ticket, SessionReply::Closed);
    assert!(machine.is_closed());
    let id = SessionId::new("s");
    assert_eq!(
        events(&mut machine),
        [
            SessionEvent::Lost {
                id: id.clone(),
                reason: EndReason::Stopped
            },
            SessionEvent::Ended(id),
            SessionEvent::Closed
        ]
    );
}

#[test]
fn closing_while_opening_closes_what_comes_of_it() {
    let mut machine = SessionMachine::new(timing());
    machine.open(at(100));
    let ticket = only(&mut machine);
    machine.close(at(101));
    assert!(!machine.is_closed());
    machine.handle_reply(at(102), ticket, SessionReply::Opened(session("late")));
    assert_eq!(actions(&mut machine), [SessionAction::Close(session("late"))]);
}

#[test]
fn refused_credentials_are_not_tried_again() {
    let mut machine = SessionMachine::new(timing());
    machine.open(at(100));
    let ticket = only(&mut machine);
    machine.handle_reply(at(101), ticket, SessionReply::Failed(Failure::Permanent));
    assert_eq!(events(&mut machine), [SessionEvent::Failed]);
    assert_eq!(machine.poll_timeout(), None);
    machine.open(at(200));
    assert_eq!(
        actions(&mut machine),
        [SessionAction::Open],
        "until somebody stands anew"
    );
}

#[test]
fn a_grant_whose_answer_leaves_no_time_to_renew_is_told_and_not_used() {
    let mut machine = SessionMachine::new(timing());
    machine.open(at(100));
    let ticket = only(&mut machine);
    let short = Session {
        ttl: secs(2),
        ..session("short")
    };
    machine.handle_reply(at(102), ticket, SessionReply::Opened(short.clone()));
    assert_eq!(events(&mut machine), [SessionEvent::TooShort(short.clone())]);
    assert_eq!(actions(&mut machine), [SessionAction::Close(short)]);
}

#[test]
fn a_session_granted_for_a_tenth_is_renewed_and_believed_in_proportion() {
    let mut machine = SessionMachine::new(timing());
    machine.open(at(100));
    let ticket = only(&mut machine);
    let short = Session {
        ttl: secs(1),
        ..session("short")
    };
    machine.handle_reply(at(100), ticket, SessionReply::Opened(short.clone()));
    let millis = |millis| at(100) + Duration::from_millis(millis);
    let deadline = millis(900);
    assert_eq!(
        events(&mut machine),
        [SessionEvent::Opened {
            session: short,
            deadline
        }]
    );
    assert_eq!(machine.poll_timeout(), Some(millis(300)));
}

#[test]
fn a_renewal_granted_for_less_ends_the_session_rather_than_believe_the_old_deadline() {
    let mut machine = open();
    machine.handle_timeout(at(103));
    let ticket = only(&mut machine);
    machine.handle_reply(at(104), ticket, SessionReply::Renewed(secs(4)));
    assert!(machine.current().is_none());
}

#[test]
fn the_longest_grant_does_not_panic() {
    let mut machine = SessionMachine::new(timing());
    machine.open(at(100));
    let ticket = only(&mut machine);
    let long = Session {
        ttl: secs(u64::MAX),
        ..session("long")
    };
    machine.handle_reply(at(101), ticket, SessionReply::Opened(long));
    assert!(machine.current().is_some());
}
