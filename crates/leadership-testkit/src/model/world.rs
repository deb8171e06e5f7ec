//! What there is in the model at one instant: the nodes, the abstract store, and what is on the wire.

use std::collections::BTreeMap;

use leadership_core::election::{ElectionAction, ElectionMachine, ElectionReply};
use leadership_core::session::{SessionAction, SessionMachine, SessionReply, Ticket};
use leadership_core::{Ahead, ElectionName, Place, SessionId, Standing, Token};

/// Everything there is at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub(super) now: u32,
    pub(super) nodes: Vec<Node>,
    pub(super) store: Store,
    pub(super) wire: Vec<Message>,
    pub(super) losses: u8,
    pub(super) highest: u64,
    pub(super) out_of_order: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) session: SessionMachine,
    pub(super) election: ElectionMachine,
    pub(super) resignations: u8,
    pub(super) stopped: bool,
    pub(super) terms: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) revision: u64,
    pub(super) opened: u64,
    /// When each session may be expired.
    pub(super) sessions: BTreeMap<SessionId, u32>,
    /// The line: fence and session of each entry.
    pub(super) line: BTreeMap<u64, SessionId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Lane {
    Session(Ticket),
    Election(Ticket),
    /// Given up by its sender; nobody waits for the reply.
    Orphan,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Message {
    pub(super) node: usize,
    pub(super) lane: Lane,
    pub(super) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Body {
    AskSession(SessionAction),
    AskElection(ElectionAction),
    TellSession(SessionReply),
    TellElection(ElectionReply),
    Standing(Place, Standing),
}

impl Store {
    pub(super) fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    pub(super) fn end(&mut self, id: &SessionId) {
        self.sessions.remove(id);
        self.line.retain(|_, session| session != id);
    }

    pub(super) fn find(&self, id: &SessionId) -> Option<Place> {
        let (fence, _) = self.line.iter().find(|(_, session)| *session == id)?;
        let election = ElectionName::new("e").ok()?;
        Some(Place {
            election,
            session: id.clone(),
            key: "".into(),
            fence: *fence,
        })
    }

    pub(super) fn enter(&mut self, id: &SessionId) -> ElectionReply {
        if !self.sessions.contains_key(id) {
            return ElectionReply::SessionGone;
        }
        if self.find(id).is_none() {
            let fence = self.next();
            self.line.insert(fence, id.clone());
        }
        match self.find(id) {
            Some(place) => {
                let standing = self.standing(&place);
                ElectionReply::Entered(place, standing)
            }
            None => ElectionReply::SessionGone,
        }
    }

    pub(super) fn standing(&self, place: &Place) -> Standing {
        if !self.line.contains_key(&place.fence) {
            Standing::Gone
        } else if self.line.range(..place.fence).next().is_some() {
            Standing::Behind(Ahead {
                key: "".into(),
                foreign: false,
            })
        } else {
            Standing::First(Token(place.fence))
        }
    }
}
