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

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::session::{Failure, Ticket, Timing};
use crate::store::{Ahead, Place, Session, SessionId, Standing, Token};
use crate::time::Timestamp;

/// Why a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// [`Candidate::resign`](crate::Candidate::resign) was called.
    Resigned,
    /// The candidate was stopped or dropped.
    Stopped,
    /// The store ended the session.
    SessionLost,
    /// No renewal was acknowledged in time: the store or the way to it is slow or broken.
    DeadlinePassed,
    /// Our entry was removed at the store by somebody else.
    EntryRemoved,
    /// The process did not run for this long (stopped, suspended, or starved), past the deadline.
    Paused(Duration),
}

impl EndReason {
    /// The reason when the deadline has passed: a pause, if we were not run for longer than the margin after
    /// the time at which we had asked to be.
    pub(crate) fn passed(now: Timestamp, due: Option<Timestamp>, margin: Duration) -> Self {
        match due.map(|due| now.saturating_since(due)) {
            Some(lag) if lag > margin && !lag.is_zero() => Self::Paused(lag),
            _ => Self::DeadlinePassed,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resigned => f.write_str("resigned"),
            Self::Stopped => f.write_str("stopped"),
            Self::SessionLost => f.write_str("the store ended the session"),
            Self::DeadlinePassed => f.write_str("no renewal was acknowledged before the deadline"),
            Self::EntryRemoved => f.write_str("the entry was removed at the store"),
            Self::Paused(lag) => write!(f, "the process did not run for {lag:?}"),
        }
    }
}

/// What the driver is to ask of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ElectionAction {
    /// Enter the line with this session.
    Enter(Session),
    /// Look for an entry of this session.
    Find(Session),
    /// Leave this place.
    Leave(Place),
}

/// The store's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ElectionReply {
    /// To `Enter`.
    Entered(Place, Standing),
    /// To `Find`.
    Found(Option<Place>),
    /// To `Leave`: the entry is certainly gone.
    Left,
    /// The session does not live any more.
    SessionGone,
    /// The request failed.
    Failed(Failure),
}

/// What happened to the candidate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ElectionEvent {
    /// In line, behind another.
    Waiting(Ahead),
    /// A term began.
    Elected(Token),
    /// Asked to resign or stop: the term goes on until its work has ended, at most for the drain time.
    Ending(Token, EndReason),
    /// The term ended.
    Ended(Token, EndReason),
    /// Not in line any more: the entry of ours is certainly gone.
    Left,
    /// The store told us that this session is gone.
    SessionGone(SessionId),
    /// Standing cannot work; the machine has stopped.
    Failed,
    /// After `stop`: nothing of ours that we know of is left at the store.
    Stopped,
}

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
                _ => self.retry(now),
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
                _ => {
                    let place = place.clone();
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
            ElectionReply::Failed(Failure::Permanent) => {
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

    fn session_gone(&mut self, now: Timestamp) {
        if let Some((session, _)) = &self.session {
            self.events
                .push_back(ElectionEvent::SessionGone(session.id.clone()));
        }
        self.retry(now);
    }

    fn retry(&mut self, now: Timestamp) {
        self.failures += 1;
        self.state = State::Out {
            next: now + self.timing.backoff.delay(self.failures),
        };
    }

    fn out(&mut self, now: Timestamp) {
        self.failures = 0;
        self.state = State::Out { next: now };
    }

    /// Ends a term whose deadline has passed. Comes first in every input.
    fn expire(&mut self, now: Timestamp) {
        let due = self.poll_timeout();
        if let (State::Leading { .. }, Some((_, deadline))) = (&self.state, &self.session)
            && now >= *deadline
        {
            self.end_term(EndReason::passed(now, due, self.timing.margin));
            self.leave(now);
        }
    }

    fn lose_session(&mut self, now: Timestamp, reason: EndReason) {
        self.end_term(reason);
        let may_stand = self.unsettled || !matches!(self.state, State::Out { .. });
        if let Some((session, _)) = self.session.take()
            && may_stand
        {
            self.residue.push(session.id);
        }
        self.unsettled = false;
        self.out(now);
    }

    /// Tells that the term is over, if there is one.
    fn end_term(&mut self, reason: EndReason) {
        if let State::Leading { token, .. } = self.state {
            self.events.push_back(ElectionEvent::Ended(token, reason));
        }
    }

    /// Turns the place we have into one we are leaving.
    fn leave(&mut self, now: Timestamp) {
        if let State::Waiting { place, .. } | State::Leading { place, .. } = &self.state {
            self.failures = 0;
            self.state = State::Leaving {
                place: place.clone(),
                asked: None,
                next: now,
            };
        }
    }

    fn end_when_idle(&mut self, now: Timestamp, reason: EndReason) {
        let drain = self.timing.drain;
        let working = self.working;
        if let State::Leading {
            token,
            ending: ending @ None,
            ..
        } = &mut self.state
        {
            *ending = Some((reason, now + drain));
            if working {
                self.events.push_back(ElectionEvent::Ending(*token, reason));
            }
        }
    }

    fn report_stop(&mut self) {
        if self.goal == Goal::Stop && !self.reported_stop && self.residue.is_empty() {
            self.reported_stop = true;
            self.events.push_back(ElectionEvent::Stopped);
        }
    }

    fn ask(&mut self, action: ElectionAction) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.actions.push_back((ticket, action));
        ticket
    }

    /// Starts whatever is due.
    fn advance(&mut self, now: Timestamp) {
        self.settle(now);
        match &self.state {
            State::Out { next } if now >= *next => match (&self.session, self.goal) {
                (Some((session, deadline)), Goal::Stand) if now < *deadline => {
                    let session = session.clone();
                    let ticket = self.ask(ElectionAction::Enter(session));
                    self.state = State::Entering { ticket };
                }
                (Some((session, _)), Goal::Stop) if self.unsettled => {
                    let session = session.clone();
                    let ticket = self.ask(ElectionAction::Find(session));
                    self.state = State::Finding { ticket };
                }
                // Its loss is about to be told; until then there is nothing to do.
                (Some(_), Goal::Stand) => {
                    self.state = State::Out {
                        next: now + self.timing.renew_every,
                    }
                }
                _ => {}
            },
            State::Leaving {
                place,
                asked: None,
                next,
            } if now >= *next => {
                let (place, next) = (place.clone(), *next);
                let ticket = self.ask(ElectionAction::Leave(place.clone()));
                self.state = State::Leaving {
                    place,
                    asked: Some(ticket),
                    next,
                };
            }
            _ => {}
        }
        if !self.unsettled && matches!(self.state, State::Out { .. }) {
            self.report_stop();
        }
    }

    /// Begins and ends terms as the present state demands.
    fn settle(&mut self, now: Timestamp) {
        match &self.state {
            State::Waiting { .. } if self.goal == Goal::Stop => self.leave(now),
            State::Waiting {
                place,
                standing: Standing::First(token),
            } => {
                // Only while the session is certain to live, and has been all the time: it is the same session.
                if let Some((session, deadline)) = &self.session
                    && now < *deadline
                    && session.id == place.session
                {
                    let (place, token) = (place.clone(), *token);
                    self.events.push_back(ElectionEvent::Elected(token));
                    self.state = State::Leading {
                        place,
                        token,
                        ending: None,
                    };
                }
            }
            State::Leading {
                ending: Some((reason, until)),
                ..
            } if !self.working || now >= *until => {
                let reason = *reason;
                self.end_term(reason);
                self.leave(now);
            }
            _ => {}
        }
    }

    /// The next request to make, if any. Drain the events first: a term ends before its entry is left.
    pub fn poll_action(&mut self) -> Option<(Ticket, ElectionAction)> {
        self.actions.pop_front()
    }

    /// The next event, if any.
    pub fn poll_event(&mut self) -> Option<ElectionEvent> {
        self.events.pop_front()
    }

    /// When `handle_timeout` is to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.state {
            State::Out { next } => {
                let wants = self.goal == Goal::Stand || self.unsettled;
                (wants && self.session.is_some()).then_some(*next)
            }
            State::Leading { ending, .. } => {
                let deadline = self.session.as_ref().map(|(_, deadline)| *deadline);
                let until = ending.as_ref().map(|(_, until)| *until);
                deadline.into_iter().chain(until).min()
            }
            State::Leaving {
                asked: None, next, ..
            } => Some(*next),
            _ => None,
        }
    }

    /// The place whose standing is to be followed, and where it stood last.
    pub fn watching(&self) -> Option<(&Place, Standing)> {
        match &self.state {
            State::Waiting { place, standing } => Some((place, standing.clone())),
            State::Leading { place, token, .. } => Some((place, Standing::First(*token))),
            _ => None,
        }
    }

    /// The token of the term that goes on, as of the last input. Compare the deadline with the clock.
    pub fn leading(&self) -> Option<Token> {
        match self.state {
            State::Leading { token, .. } => Some(token),
            _ => None,
        }
    }

    /// Whether an entry of ours is being removed.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// Until when the term is valid, if the session is not extended.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.leading()
            .and(self.session.as_ref())
            .map(|(_, deadline)| *deadline)
    }

    /// The session the machine was told of last.
    pub fn session(&self) -> Option<&SessionId> {
        self.session.as_ref().map(|(session, _)| &session.id)
    }

    /// Lost sessions under which an entry of ours may still stand.
    pub fn residue(&self) -> &[SessionId] {
        &self.residue
    }

    /// As [`SessionMachine::renumber`](crate::session::SessionMachine::renumber).
    #[doc(hidden)]
    pub fn renumber(&mut self, last: u64) -> u64 {
        let off = self.tickets.saturating_sub(last);
        self.tickets -= off;
        let pending = match &mut self.state {
            State::Entering { ticket } | State::Finding { ticket } => Some(ticket),
            State::Leaving { asked, .. } => asked.as_mut(),
            _ => None,
        };
        let asked = self.actions.iter_mut().map(|(ticket, _)| ticket);
        pending
            .into_iter()
            .chain(asked)
            .for_each(|ticket| ticket.0 -= off);
        off
    }

    /// Whether the machine was stopped and has nothing more to do or to look for.
    pub fn is_finished(&self) -> bool {
        self.goal == Goal::Stop
            && matches!(self.state, State::Out { .. })
            && !self.unsettled
            && self.residue.is_empty()
    }
}

#[cfg(test)]
mod tests;
