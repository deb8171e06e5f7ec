//! What the election machine puts out, and what can be read off it.

use super::{ElectionAction, ElectionEvent, ElectionMachine, Goal, State};
use crate::session::Ticket;
use crate::store::{Place, SessionId, Standing, Token};
use crate::time::Timestamp;

impl ElectionMachine {
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

    /// Whether an earlier `enter` may have made, or may yet make, the entry.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled
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
