//! What there is in the model at one instant: the nodes, the abstract store, and what is on the wire.

use std::collections::{BTreeMap, BTreeSet};

use leadership_core::election::{ElectionAction, ElectionMachine, ElectionReply};
use leadership_core::session::{SessionAction, SessionMachine, SessionReply, Ticket};
use leadership_core::{Ahead, ElectionName, Place, SessionId, Standing, Token};

/// Everything there is at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The store's clock.
    pub(super) now: u32,
    pub(super) nodes: Vec<Node>,
    pub(super) store: Store,
    pub(super) wire: Vec<Message>,
    pub(super) losses: u8,
    pub(super) removals: u8,
    /// For each election, the highest token of a term whose entry nobody removed by hand.
    pub(super) highest: Vec<u64>,
    /// What must never happen has.
    pub(super) breach: Option<Breach>,
}

/// What the nodes did at some time and must never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Breach {
    /// A term began with a token no higher than that of an earlier one.
    TokenOrder,
    /// A term that was over was believed again.
    Revived,
    /// A term went on after its node was told that its entry is gone.
    Deaf,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) session: SessionMachine,
    /// Its part in each election; all of them share the session.
    pub(super) stands: Vec<Stand>,
    /// How far its clock is behind the store's.
    pub(super) behind: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stand {
    pub(super) election: ElectionMachine,
    pub(super) resignations: u8,
    pub(super) proclaims: u8,
    pub(super) stopped: bool,
    /// It has told that it has stopped, and holds the session no more.
    pub(super) released: bool,
    pub(super) terms: u8,
    /// The token of its last term.
    pub(super) last: u64,
    /// The term that a reader would have believed at the last look.
    pub(super) believed: Option<u64>,
    /// The last term that a reader has seen end.
    pub(super) over: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub(super) owner: usize,
    /// When it may be expired.
    pub(super) expires: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) revision: u64,
    pub(super) opened: u64,
    pub(super) sessions: BTreeMap<SessionId, Lease>,
    /// The line of each election: fence and session of each entry.
    pub(super) lines: Vec<BTreeMap<u64, SessionId>>,
    /// Fences of entries that were removed by hand, as long as their nodes do not know.
    pub(super) removed: BTreeSet<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Lane {
    Session(Ticket),
    Election(Ticket),
    /// Nobody waits for the reply: given up by its sender, or of no interest to the machines.
    Orphan,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Message {
    pub(super) node: usize,
    pub(super) lane: Lane,
    pub(super) body: Body,
}

/// The number is the election's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Body {
    AskSession(SessionAction),
    AskElection(usize, ElectionAction),
    AskProclaim(usize, Place),
    TellSession(SessionReply),
    TellElection(usize, ElectionReply),
    Standing(usize, Place, Standing),
}

impl Store {
    pub(super) fn new(elections: usize) -> Self {
        Self {
            revision: 0,
            opened: 0,
            sessions: BTreeMap::new(),
            lines: vec![BTreeMap::new(); elections],
            removed: BTreeSet::new(),
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    pub(super) fn end(&mut self, id: &SessionId) {
        self.sessions.remove(id);
        for line in &mut self.lines {
            line.retain(|_, session| session != id);
        }
    }

    /// A session removed by hand, and with it its entries.
    pub(super) fn remove_session(&mut self, id: &SessionId) {
        let entries = self.lines.iter().flatten();
        let theirs = entries.filter(|(_, session)| *session == id);
        self.removed.extend(theirs.map(|(fence, _)| *fence));
        self.end(id);
    }

    pub(super) fn remove_entry(&mut self, election: usize, fence: u64) {
        if self.lines[election].remove(&fence).is_some() {
            self.removed.insert(fence);
        }
    }

    pub(super) fn find(&self, election: usize, id: &SessionId) -> Option<Place> {
        let (fence, _) = self.lines[election].iter().find(|(_, session)| *session == id)?;
        Some(Place {
            election: ElectionName::new(["a", "b", "c"][election]).ok()?,
            session: id.clone(),
            key: "".into(),
            fence: *fence,
        })
    }

    /// `dead_too` is a fault: an entry is made for a session that does not live.
    pub(super) fn enter(&mut self, election: usize, id: &SessionId, dead_too: bool) -> ElectionReply {
        if !self.sessions.contains_key(id) && !dead_too {
            return ElectionReply::SessionGone;
        }
        if self.find(election, id).is_none() {
            let fence = self.next();
            self.lines[election].insert(fence, id.clone());
        }
        match self.find(election, id) {
            Some(place) => {
                let standing = self.standing(election, &place, false);
                ElectionReply::Entered(place, standing)
            }
            None => ElectionReply::SessionGone,
        }
    }

    /// `blind` is a fault: who has nobody ahead is first, though his own entry is gone.
    pub(super) fn standing(&self, election: usize, place: &Place, blind: bool) -> Standing {
        let line = &self.lines[election];
        if !line.contains_key(&place.fence) && !blind {
            Standing::Gone
        } else if line.range(..place.fence).next().is_some() {
            Standing::Behind(Ahead {
                key: "".into(),
                foreign: false,
            })
        } else {
            Standing::First(Token(place.fence))
        }
    }

    /// Who leads when the first one leaves.
    pub(super) fn next_in_line(&self, election: usize) -> Option<usize> {
        self.owner(self.lines[election].values().nth(1)?)
    }

    /// Whether the entry with this fence stands, and its session lives.
    pub(super) fn stands(&self, election: usize, fence: u64) -> bool {
        self.lines[election]
            .get(&fence)
            .is_some_and(|session| self.sessions.contains_key(session))
    }

    /// Whose session this is.
    pub(super) fn owner(&self, id: &SessionId) -> Option<usize> {
        self.sessions.get(id).map(|lease| lease.owner)
    }
}
