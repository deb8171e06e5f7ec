//! What follows from every input: terms that end by the clock, terms that begin, requests that are due.

use super::{ElectionAction, ElectionEvent, ElectionMachine, EndReason, Goal, State};
use crate::session::Ticket;
use crate::store::Standing;
use crate::time::Timestamp;

impl ElectionMachine {
    pub(super) fn retry(&mut self, now: Timestamp) {
        self.failures += 1;
        self.state = State::Out {
            next: now + self.timing.backoff.delay(self.failures),
        };
    }

    pub(super) fn out(&mut self, now: Timestamp) {
        self.failures = 0;
        self.state = State::Out { next: now };
    }

    /// Ends a term whose deadline has passed. Comes first in every input.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let due = self.poll_timeout();
        if let (State::Leading { .. }, Some((_, deadline))) = (&self.state, &self.session)
            && now >= *deadline
        {
            self.end_term(EndReason::passed(now, due, self.timing.margin));
            self.leave(now);
        }
    }

    pub(super) fn lose_session(&mut self, now: Timestamp, reason: EndReason) {
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
    pub(super) fn end_term(&mut self, reason: EndReason) {
        if let State::Leading { token, .. } = self.state {
            self.events.push_back(ElectionEvent::Ended(token, reason));
        }
    }

    /// Turns the place we have into one we are leaving.
    pub(super) fn leave(&mut self, now: Timestamp) {
        if let State::Waiting { place, .. } | State::Leading { place, .. } = &self.state {
            self.failures = 0;
            self.state = State::Leaving {
                place: place.clone(),
                asked: None,
                next: now,
            };
        }
    }

    pub(super) fn end_when_idle(&mut self, now: Timestamp, reason: EndReason) {
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

    pub(super) fn report_stop(&mut self) {
        if self.goal == Goal::Stop && !self.reported_stop && self.residue.is_empty() {
            self.reported_stop = true;
            self.events.push_back(ElectionEvent::Stopped);
        }
    }

    pub(super) fn ask(&mut self, action: ElectionAction) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.actions.push_back((ticket, action));
        ticket
    }

    /// Starts whatever is due.
    pub(super) fn advance(&mut self, now: Timestamp) {
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
    pub(super) fn settle(&mut self, now: Timestamp) {
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
}
