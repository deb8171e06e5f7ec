//! The election machine: one candidate's part in one election.
//!
//! Pure, with the same four kinds of methods as the [session machine](crate::session). It never touches the
//! session; it is told of it, and reads the deadline from what it was told last.
//!
//! ```text
//!            ┌────────────────── left, or its session is gone ──────────────────┐
//!            ▼                                                                  │
//! Out ──▶ Entering ──▶ Waiting ──first, deadline ahead──▶ Leading ──▶ Leaving ──┘
//!  ▲         │ unknown     │ gone                            │ resigned, stopped, deadline passed
//!  └─────────┴─────────────┴──────────── gone ───────────────┘
//! ```
//!
//! Two rules keep it safe. *A term is valid only before the deadline*: every input first lets the clock end it.
//! *A place we asked to leave is never used again*: nothing enters while the outcome of a `leave` is unknown,
//! because an idempotent `enter` could hand back the very place that a late `leave` is about to free.

mod advance;
mod messages;
mod outputs;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::session::{Failure, Ticket, Timing};
use crate::store::{Place, Session, SessionId, Standing, Token};
use crate::time::Timestamp;

pub use messages::{ElectionAction, ElectionEvent, ElectionReply, EndReason};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Goal {
    Stand,
    Stop,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Not in line, as far as we know.
    Out {
        next: Timestamp,
    },
    Entering {
        ticket: Ticket,
    },
    Finding {
        ticket: Ticket,
    },
    Waiting {
        place: Place,
        standing: Standing,
    },
    Leading {
        place: Place,
        token: Token,
        ending: Option<(EndReason, Timestamp)>,
    },
    Leaving {
        place: Place,
        asked: Option<Ticket>,
        next: Timestamp,
    },
}

/// The machine. See the module's text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ElectionMachine {
    timing: Timing,
    goal: Goal,
    state: State,
    session: Option<(Session, Timestamp)>,
    /// An `enter` under the current session has an unknown outcome: it may be applied at any time while the
    /// session lives, so an entry that nobody owns is looked for once we are out of the line.
    unsettled: bool,
    /// Lost sessions under which an entry of ours may still stand.
    residue: Vec<SessionId>,
    working: bool,
    reported_stop: bool,
    failures: u32,
    tickets: u64,
    actions: VecDeque<(Ticket, ElectionAction)>,
    events: VecDeque<ElectionEvent>,
}

impl ElectionMachine {
    /// A machine that stands as soon as it is told of a session.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            goal: Goal::Stand,
            state: State::Out {
                next: Timestamp::ZERO,
            },
            session: None,
            unsettled: false,
            residue: Vec::new(),
            working: false,
            reported_stop: false,
            failures: 0,
            tickets: 0,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Stands again after `stop`, in the same session.
    pub fn stand(&mut self, now: Timestamp) {
        self.expire(now);
        self.goal = Goal::Stand;
        self.reported_stop = false;
        self.failures = 0;
        if let State::Out { next } = &mut self.state {
            *next = now;
        }
        self.advance(now);
    }

    /// Leaves the line for good, once the work has ended.
    pub fn stop(&mut self, now: Timestamp) {
        self.expire(now);
        self.goal = Goal::Stop;
        self.end_when_idle(now, EndReason::Stopped);
        self.advance(now);
    }

    /// Ends the term `token`, once its work has ended, and goes to the end of the line. No effect on a later
    /// term.
    pub fn resign(&mut self, now: Timestamp, token: Token) {
        self.expire(now);
        if self.leading() == Some(token) {
            self.end_when_idle(now, EndReason::Resigned);
        }
        self.advance(now);
    }

    /// Whether work of a leader is going on, for which an ending term has to wait.
    pub fn handle_working(&mut self, now: Timestamp, working: bool) {
        self.expire(now);
        self.working = working;
        self.advance(now);
    }

    /// The session is open, or its deadline was extended.
    pub fn handle_session(&mut self, now: Timestamp, session: &Session, deadline: Timestamp) {
        match &mut self.session {
            Some((known, until)) if known.id == session.id => *until = deadline,
            Some(_) => {
                self.lose_session(now, EndReason::SessionLost);
                self.session = Some((session.clone(), deadline));
            }
            None => self.session = Some((session.clone(), deadline)),
        }
        self.expire(now);
        self.advance(now);
    }

    /// The session must not be relied on any more.
    pub fn handle_session_lost(&mut self, now: Timestamp, id: &SessionId, reason: EndReason) {
        if self.session.as_ref().is_some_and(|(known, _)| known.id == *id) {
            self.lose_session(now, reason);
        }
        self.advance(now);
    }

    /// A lost session is certainly gone from the store.
    pub fn handle_session_ended(&mut self, now: Timestamp, id: &SessionId) {
        self.expire(now);
        self.residue.retain(|residue| residue != id);
        self.advance(now);
    }

    /// The store told where `place` stands.
    pub fn handle_standing(&mut self, now: Timestamp, place: &Place, standing: Standing) {
        self.expire(now);
        match &mut self.state {
            State::Waiting {
                place: own,
                standing: known,
            } if own == place => {
                if standing == Standing::Gone {
                    self.out(now);
                    self.events.push_back(ElectionEvent::Left);
                } else {
                    if let Standing::Behind(ahead) = &standing
                        && *known != standing
                    {
                        self.events.push_back(ElectionEvent::Waiting(ahead.clone()));
                    }
                    *known = standing;
                }
            }
            State::Leading {
                place: own, token, ..
            } if own == place => {
                let token = *token;
                match standing {
                    Standing::First(_) => {}
                    Standing::Gone => {
                        self.end_term(EndReason::EntryRemoved);
                        self.out(now);
                    }
                    // The store went back on its word: end the term, and have nothing more to do with the place.
                    Standing::Behind(_) => {
                        self.events
                            .push_back(ElectionEvent::Ended(token, EndReason::EntryRemoved));
                        self.leave(now);
                    }
                }
            }
            _ => {}
        }
        self.advance(now);
    }

    /// The time that `poll_timeout` gave has come. Harmless at any other time.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.expire(now);
        self.advance(now);
    }

    /// The store answered, or the request was given up ([`Failure::Unknown`]).
    pub fn handle_reply(&mut self, now: Timestamp, ticket: Ticket, reply: ElectionReply) {
        self.expire(now);
        match &self.state {
            State::Entering { ticket: pending } if *pending == ticket => self.handle_entered(now, reply),
            State::Finding { ticket: pending } if *pending == ticket => match reply {
                ElectionReply::Found(Some(place)) => {
                    self.state = State::Leaving {
                        place,
                        asked: None,
                        next: now,
                    };
                }
                ElectionReply::Found(None) => {
                    self.failures = 0;
                    self.state = State::Out {
                        next: now + self.timing.renew_every,
                    };
                    self.report_stop();
                }
                ElectionReply::SessionGone => self.session_gone(now),
                reply => {
                    self.give_up_if_permanent(&reply);
                    self.retry(now);
                }
            },
            State::Leaving {
                place,
                asked: Some(pending),
                ..
            } if *pending == ticket => match reply {
                ElectionReply::Left => {
                    self.out(now);
                    self.events.push_back(ElectionEvent::Left);
                }
                // Its entries went with the session.
                ElectionReply::SessionGone => {
                    self.events.push_back(ElectionEvent::Left);
                    self.session_gone(now);
                }
                reply => {
                    let place = place.clone();
                    self.give_up_if_permanent(&reply);
                    self.failures += 1;
                    let next = now + self.timing.backoff.delay(self.failures);
                    self.state = State::Leaving {
                        place,
                        asked: None,
                        next,
                    };
                }
            },
            _ => {}
        }
        self.advance(now);
    }

    fn handle_entered(&mut self, now: Timestamp, reply: ElectionReply) {
        match reply {
            ElectionReply::Entered(place, standing) => {
                self.failures = 0;
                match standing {
                    Standing::Gone => self.retry(now),
                    Standing::First(_) => self.state = State::Waiting { place, standing },
                    Standing::Behind(ref ahead) => {
                        self.events.push_back(ElectionEvent::Waiting(ahead.clone()));
                        self.state = State::Waiting { place, standing };
                    }
                }
            }
            ElectionReply::SessionGone => self.session_gone(now),
            ElectionReply::Failed(failure) if failure.is_permanent() => {
                self.unsettled |= failure == Failure::PermanentUnknown;
                self.goal = Goal::Stop;
                self.state = State::Out { next: now };
                self.events.push_back(ElectionEvent::Failed);
            }
            ElectionReply::Failed(Failure::NotApplied) => self.retry(now),
            _ => {
                self.unsettled = true;
                self.retry(now);
            }
        }
    }

    fn give_up_if_permanent(&mut self, reply: &ElectionReply) {
        if let (ElectionReply::Failed(failure), Some((session, _))) = (reply, &self.session)
            && failure.is_permanent()
        {
            self.events.push_back(ElectionEvent::GivenUp(session.id.clone()));
        }
    }

    fn session_gone(&mut self, now: Timestamp) {
        if let Some((session, _)) = &self.session {
            self.events
                .push_back(ElectionEvent::SessionGone(session.id.clone()));
        }
        self.retry(now);
    }
}
