//! Kinds of faults, and in which order a run has them.

use std::time::Duration;

use crate::sim::Random;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `leadership` is killed; its command and the guard are not.
    Killed,
    /// `leadership`, guard and command are killed at once, as when a machine loses its power.
    Crashed,
    /// `leadership` is told to end, as by a deployment.
    Ended,
    /// `leadership` is stopped and continued; its command and the guard go on.
    Stopped,
    /// `leadership`, guard and command are stopped and continued, as when a machine is suspended.
    Frozen,
    /// Nothing passes between a candidate and the store, and no connection ends.
    Silent,
    /// Nothing passes from a candidate to the store; what the store sends arrives.
    SilentThere,
    /// Nothing passes from the store to a candidate; what it sends arrives.
    SilentBack,
    /// A candidate's connections end, and new ones are refused.
    Refused,
    /// The server that leads the store is killed, and started again.
    ServerKilled,
    /// The server that leads the store is stopped and continued.
    ServerPaused,
    /// The server that leads the store is cut off from the others, and not from clients.
    ServerPartitioned,
    /// All servers are stopped and started again, one after the other.
    RollingRestart,
    /// All servers are killed, and started again.
    StoreDown,
    /// The leader's entry is removed by hand.
    EntryRemoved,
    /// The leader's session is ended by hand.
    SessionEnded,
    /// The store forgets its past.
    Compacted,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Killed,
        Self::Crashed,
        Self::Ended,
        Self::Stopped,
        Self::Frozen,
        Self::Silent,
        Self::SilentThere,
        Self::SilentBack,
        Self::Refused,
        Self::ServerKilled,
        Self::ServerPaused,
        Self::ServerPartitioned,
        Self::RollingRestart,
        Self::StoreDown,
        Self::EntryRemoved,
        Self::SessionEnded,
        Self::Compacted,
    ];

    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "process killed",
            Self::Crashed => "machine crashed",
            Self::Ended => "told to end",
            Self::Stopped => "process stopped",
            Self::Frozen => "machine frozen",
            Self::Silent => "cut off",
            Self::SilentThere => "requests cut",
            Self::SilentBack => "replies cut",
            Self::Refused => "refused",
            Self::ServerKilled => "store leader killed",
            Self::ServerPaused => "store leader paused",
            Self::ServerPartitioned => "store leader partitioned",
            Self::RollingRestart => "rolling restart",
            Self::StoreDown => "store down",
            Self::EntryRemoved => "entry removed by hand",
            Self::SessionEnded => "session ended by hand",
            Self::Compacted => "compaction",
        }
    }

    /// Whether it befalls the servers, so that nobody may be able to lead until it is over.
    pub fn hurts_the_store(self) -> bool {
        matches!(
            self,
            Self::ServerKilled
                | Self::ServerPaused
                | Self::ServerPartitioned
                | Self::RollingRestart
                | Self::StoreDown
        )
    }

    /// Whether it stops the program that works as well, so that nothing can end it in time.
    pub fn freezes_the_program(self) -> bool {
        self == Self::Frozen
    }

    /// Whether somebody takes away what a term stands on, who should not.
    pub fn is_by_hand(self) -> bool {
        matches!(self, Self::EntryRemoved | Self::SessionEnded)
    }

    /// Whether it befalls one candidate.
    pub fn befalls_a_candidate(self) -> bool {
        !self.hurts_the_store() && self != Self::Compacted
    }
}

/// A fault that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Its kind.
    pub kind: Kind,
    /// How long it lasts, if it is of a kind that lasts.
    pub lasts: Duration,
    /// Whether it befalls the leader. Otherwise it is the candidate of this number.
    pub leader: bool,
    /// A candidate.
    pub candidate: usize,
    /// How long nothing happens afterwards.
    pub calm: Duration,
}

/// The faults of a seed: all kinds in a random order, then all again in another.
#[derive(Clone, Debug)]
pub struct Faults {
    random: Random,
    kinds: Vec<Kind>,
    left: Vec<Kind>,
    ttl: Duration,
    candidates: usize,
}

impl Faults {
    /// Those of a seed among these kinds.
    pub fn new(seed: u64, kinds: Vec<Kind>, ttl: Duration, candidates: usize) -> Self {
        Self {
            random: Random::new(seed),
            kinds,
            left: Vec::new(),
            ttl,
            candidates,
        }
    }
}

impl Iterator for Faults {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
        }
        if self.left.is_empty() {
            return None;
        }
        let kind = self.left.swap_remove(self.random.below(self.left.len()));
        let ttl = self.ttl.as_millis() as u64;
        // As often shorter than a session lives as longer.
        let lasts = if self.random.once_in(2) {
            self.random.millis(ttl / 10..ttl * 6 / 10)
        } else {
            self.random.millis(ttl * 11 / 10..ttl * 2)
        };
        Some(Next {
            kind,
            lasts,
            leader: kind.is_by_hand() || !self.random.once_in(4),
            candidate: self.random.below(self.candidates),
            calm: self.random.millis(ttl..ttl * 2),
        })
    }
}
