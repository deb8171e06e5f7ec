//! The session machine: keeps one session at the store alive and knows until when it is certain to live.
//!
//! Pure: no clock, no I/O, no async, no randomness. Four kinds of methods, as in quinn-proto:
//! commands (`open`, `close`), inputs (`handle_*`, with the time), outputs (`poll_action`, `poll_event`,
//! `poll_timeout`) and getters. After each command or input, drain the outputs and call `handle_timeout` when
//! the time that `poll_timeout` gives has come. Every action is answered by exactly one reply; a request that
//! timed out or was dropped is answered by [`Failure::Unknown`].
//!
//! ```text
//! Idle ──open──▶ Opening ──opened──▶ Open ──deadline passed, gone──▶ Opening …
//!                  ▲ └─failed─▶ Pausing ┘     └─ the lost session is retired: closed until that is certain
//! ```

mod messages;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::election::EndReason;
use crate::store::{Session, SessionId};
use crate::time::Timestamp;

pub use messages::{Failure, SessionAction, SessionEvent, SessionReply, Ticket, Timing};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    Opening { ticket: Ticket, sent: Timestamp },
    Pausing { until: Timestamp },
    Open(Open),
    Closing { opening: Option<Ticket> },
    Closed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Open {
    session: Session,
    deadline: Timestamp,
    renewal: Option<(Ticket, Timestamp)>,
    renew_at: Timestamp,
}

/// A session we gave up, until the store has answered that it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Retired {
    session: Session,
    /// When it has ended by itself, at a healthy store. Nobody waits for longer, but a store that was down begins its
    /// TTL anew, and its entries would keep others from leading.
    certain_end: Timestamp,
    /// Whether that was told.
    ended: bool,
    gone: bool,
    asked: Option<Ticket>,
    ask_at: Timestamp,
    failures: u32,
}

/// The machine. See the module's text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionMachine {
    timing: Timing,
    state: State,
    failures: u32,
    retired: Vec<Retired>,
    tickets: u64,
    actions: VecDeque<(Ticket, SessionAction)>,
    events: VecDeque<SessionEvent>,
}

impl SessionMachine {
    /// An idle machine.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            state: State::Idle,
            failures: 0,
            retired: Vec::new(),
            tickets: 0,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Opens a session and keeps one open from now on. No effect if it does already, or after `close`.
    pub fn open(&mut self, now: Timestamp) {
        self.expire(now);
        if self.state == State::Idle {
            self.failures = 0;
            self.state = State::Pausing { until: now };
        }
        self.advance(now);
    }

    /// Ends the session for good.
    pub fn close(&mut self, now: Timestamp) {
        self.expire(now);
        let opening = match &self.state {
            State::Opening { ticket, .. } => Some(*ticket),
            State::Closing { .. } | State::Closed => return,
            State::Idle | State::Pausing { .. } => None,
            State::Open(_) => {
                self.lose(now, EndReason::Stopped, true);
                None
            }
        };
        self.state = State::Closing { opening };
        self.advance(now);
    }

    /// Somebody else was told by the store that this session does not live any more.
    pub fn handle_gone(&mut self, now: Timestamp, id: &SessionId) {
        self.expire(now);
        if matches!(&self.state, State::Open(open) if open.session.id == *id) {
            self.lose(now, EndReason::SessionLost, false);
        }
        self.advance(now);
    }

    /// Somebody read the clock past the deadline before an extension of it could be published. Whoever saw
    /// that may have told others, so the session is given up.
    pub fn handle_passed(&mut self, now: Timestamp, id: &SessionId) {
        self.expire(now);
        if matches!(&self.state, State::Open(open) if open.session.id == *id) {
            self.lose(now, EndReason::DeadlinePassed, true);
        }
        self.advance(now);
    }

    /// An election cannot get its entry out of the line: the session's end is the only way left.
    pub fn handle_given_up(&mut self, now: Timestamp, id: &SessionId) {
        self.expire(now);
        if matches!(&self.state, State::Open(open) if open.session.id == *id) {
            self.lose(now, EndReason::SessionLost, true);
        }
        self.advance(now);
    }

    /// The time that `poll_timeout` gave has come. Harmless at any other time.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.expire(now);
        self.advance(now);
    }

    /// The store answered, or the request was given up ([`Failure::Unknown`]).
    pub fn handle_reply(&mut self, now: Timestamp, ticket: Ticket, reply: SessionReply) {
        // The clock decides first: an acknowledgement read after the deadline extends nothing.
        self.expire(now);
        if let Some(index) = self.retired.iter().position(|r| r.asked == Some(ticket)) {
            self.handle_farewell(now, index, &reply);
        } else {
            match &mut self.state {
                State::Opening {
                    ticket: pending,
                    sent,
                } if *pending == ticket => {
                    let sent = *sent;
                    self.handle_opened(now, sent, reply);
                }
                State::Closing { opening } if *opening == Some(ticket) => {
                    *opening = None;
                    if let SessionReply::Opened(session) = reply {
                        self.retire(now, session, None);
                    }
                }
                State::Open(open) if open.renewal.is_some_and(|(pending, _)| pending == ticket) => {
                    self.handle_renewed(now, reply);
                }
                _ => {}
            }
        }
        self.advance(now);
    }

    fn handle_opened(&mut self, now: Timestamp, sent: Timestamp, reply: SessionReply) {
        match reply {
            SessionReply::Opened(session) => {
                let deadline = self.timing.deadline(sent, session.ttl);
                let renew_at = sent + self.timing.renew_every(session.ttl);
                if now + self.timing.request_timeout(session.ttl) < deadline {
                    self.failures = 0;
                    self.events.push_back(SessionEvent::Opened {
                        session: session.clone(),
                        deadline,
                    });
                    self.state = State::Open(Open {
                        session,
                        deadline,
                        renewal: None,
                        renew_at,
                    });
                } else {
                    // The answer came too late to be of use, or the store granted too little to renew in.
                    self.events.push_back(SessionEvent::TooShort(session.clone()));
                    self.retire(now, session, None);
                    self.pause(now);
                }
            }
            SessionReply::Failed(failure) if failure.is_permanent() => {
                self.state = State::Idle;
                self.events.push_back(SessionEvent::Failed);
            }
            _ => self.pause(now),
        }
    }

    fn handle_renewed(&mut self, now: Timestamp, reply: SessionReply) {
        let State::Open(open) = &mut self.state else {
            return;
        };
        let Some((_, sent)) = open.renewal.take() else {
            return;
        };
        match reply {
            SessionReply::Renewed(granted) => {
                self.failures = 0;
                open.renew_at = sent + self.timing.renew_every(granted);
                let deadline = self.timing.deadline(sent, granted);
                if deadline < open.deadline {
                    // The store shortened the session: what we told of its deadline holds no more.
                    self.lose(now, EndReason::SessionLost, true);
                } else if deadline > open.deadline {
                    open.deadline = deadline;
                    self.events.push_back(SessionEvent::Extended { deadline });
                }
            }
            SessionReply::Gone => self.lose(now, EndReason::SessionLost, false),
            SessionReply::Failed(failure) if failure.is_permanent() => {
                self.lose(now, EndReason::SessionLost, true);
                self.state = State::Idle;
                self.events.push_back(SessionEvent::Failed);
            }
            _ => {
                self.failures += 1;
                open.renew_at = now + self.timing.backoff.delay(self.failures);
            }
        }
    }

    fn handle_farewell(&mut self, now: Timestamp, index: usize, reply: &SessionReply) {
        let Some(retired) = self.retired.get_mut(index) else {
            return;
        };
        retired.gone = match reply {
            SessionReply::Closed | SessionReply::Gone => true,
            SessionReply::Failed(failure) => retired.ended && failure.is_permanent(),
            _ => false,
        };
        if !retired.gone {
            retired.failures += 1;
            retired.asked = None;
            retired.ask_at = now + self.timing.backoff.delay(retired.failures);
        }
    }

    /// Ends a session whose deadline has passed. Comes first in every input.
    fn expire(&mut self, now: Timestamp) {
        let due = self.poll_timeout();
        if let State::Open(open) = &self.state
            && now >= open.deadline
        {
            let reason = EndReason::passed(now, due, self.timing.margin);
            self.lose(now, reason, true);
        }
    }

    /// Gives up the open session and makes for another one.
    fn lose(&mut self, now: Timestamp, reason: EndReason, may_live: bool) {
        let state = std::mem::replace(&mut self.state, State::Pausing { until: now });
        let State::Open(open) = state else {
            self.state = state;
            return;
        };
        self.failures = 0;
        let id = open.session.id.clone();
        self.events.push_back(SessionEvent::Lost {
            id: id.clone(),
            reason,
        });
        if may_live {
            let renewal = open.renewal.map(|(_, sent)| sent);
            self.retire(now, open.session, renewal);
        } else {
            self.events.push_back(SessionEvent::Ended(id));
        }
    }

    /// Has the session closed until it has certainly ended. A renewal that was sent and not answered may still reach
    /// the store, as late as we would have waited for it, and start its TTL anew; and the store's clock may be slower.
    fn retire(&mut self, now: Timestamp, session: Session, renewal: Option<Timestamp>) {
        let arrives = renewal.map_or(now, |sent| {
            now.max(sent + self.timing.request_timeout(session.ttl))
        });
        let certain_end = arrives + session.ttl + self.timing.margin + self.timing.overdue;
        // At most one that nobody waits for.
        self.retired.retain(|r| !r.ended);
        self.retired.push(Retired {
            session,
            certain_end,
            ended: false,
            gone: false,
            asked: None,
            ask_at: now,
            failures: 0,
        });
    }

    fn pause(&mut self, now: Timestamp) {
        self.failures += 1;
        self.state = State::Pausing {
            until: now + self.timing.backoff.delay(self.failures),
        };
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Starts whatever is due.
    fn advance(&mut self, now: Timestamp) {
        match &self.state {
            State::Pausing { until } if now >= *until => {
                let ticket = self.ticket();
                self.actions.push_back((ticket, SessionAction::Open));
                self.state = State::Opening { ticket, sent: now };
            }
            State::Open(open) if open.renewal.is_none() && now >= open.renew_at => {
                let session = open.session.clone();
                let ticket = self.ticket();
                self.actions.push_back((ticket, SessionAction::Renew(session)));
                if let State::Open(open) = &mut self.state {
                    open.renewal = Some((ticket, now));
                }
            }
            _ => {}
        }
        for index in 0..self.retired.len() {
            if self.retired[index].asked.is_none() && now >= self.retired[index].ask_at {
                let ticket = self.ticket();
                let retired = &mut self.retired[index];
                retired.asked = Some(ticket);
                self.actions
                    .push_back((ticket, SessionAction::Close(retired.session.clone())));
            }
        }
        let events = &mut self.events;
        self.retired.retain_mut(|r| {
            if !r.ended && (r.gone || now >= r.certain_end) {
                r.ended = true;
                events.push_back(SessionEvent::Ended(r.session.id.clone()));
            }
            !r.gone
        });
        if self.state == (State::Closing { opening: None }) && self.retired.iter().all(|r| r.ended) {
            self.retired.clear();
            self.state = State::Closed;
            self.events.push_back(SessionEvent::Closed);
        }
    }

    /// The next request to make, if any. A renewal's send time is the time of the input that caused it.
    pub fn poll_action(&mut self) -> Option<(Ticket, SessionAction)> {
        self.actions.pop_front()
    }

    /// The next event, if any.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// When `handle_timeout` is to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let own = match &self.state {
            State::Pausing { until } => Some(*until),
            State::Open(open) => Some(match open.renewal {
                Some(_) => open.deadline,
                None => open.deadline.min(open.renew_at),
            }),
            _ => None,
        };
        let retired = self.retired.iter().flat_map(|r| {
            let end = (!r.ended).then_some(r.certain_end);
            let ask = r.asked.is_none().then_some(r.ask_at);
            end.into_iter().chain(ask)
        });
        retired.chain(own).min()
    }

    /// The open session and its deadline. Compare the deadline with the clock before relying on it.
    pub fn current(&self) -> Option<(&Session, Timestamp)> {
        match &self.state {
            State::Open(open) => Some((&open.session, open.deadline)),
            _ => None,
        }
    }

    /// Sessions that were given up and may still live at the store.
    pub fn retired(&self) -> impl Iterator<Item = &SessionId> {
        self.retired.iter().filter(|r| !r.ended).map(|r| &r.session.id)
    }

    /// Renumbers the tickets so that the last one is `last`, and returns what was taken off each. Behaviour
    /// does not depend on the numbers; a model checker calls worlds the same that differ in nothing else.
    #[doc(hidden)]
    pub fn renumber(&mut self, last: u64) -> u64 {
        let off = self.tickets.saturating_sub(last);
        self.tickets -= off;
        let pending = match &mut self.state {
            State::Opening { ticket, .. } => Some(ticket),
            State::Open(open) => open.renewal.as_mut().map(|(ticket, _)| ticket),
            State::Closing { opening } => opening.as_mut(),
            _ => None,
        };
        let retired = self.retired.iter_mut().filter_map(|r| r.asked.as_mut());
        let asked = self.actions.iter_mut().map(|(ticket, _)| ticket);
        pending
            .into_iter()
            .chain(retired)
            .chain(asked)
            .for_each(|ticket| ticket.0 -= off);
        off
    }

    /// Whether the machine was closed and nothing of it is left.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}
