//! The bounds of an exploration, and which faults there are.

use std::time::Duration;

use leadership_core::Backoff;
use leadership_core::session::Timing;

use super::TICK;

/// A fault put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Terms are believed one tick longer than the deadline.
    LateDeadline,
    /// The deadline leaves no margin for clocks that differ.
    MarginIgnored,
    /// The deadline counts from when the acknowledgement came, not from when the renewal was sent.
    CountedFromReceipt,
    /// An acknowledgement that is read after the deadline extends the session all the same.
    LateAcknowledgement,
    /// The store removes whatever entry the session has, not the very one that is named.
    UnfencedLeave,
    /// After a proclaim the token is taken anew, from the version that the entry has now.
    TokenReread,
    /// The store makes entries for sessions that do not live.
    DeadSession,
    /// The watch says first as soon as nobody is ahead, though the waiter's own entry is gone.
    BlindWatch,
    /// The waiter is never told that it is first.
    SilentWatch,
}

/// Bounds of the exploration, and what may happen in it.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What is explored.
    pub name: &'static str,
    /// How many candidates stand.
    pub nodes: usize,
    /// In how many elections, with one session each.
    pub elections: usize,
    /// The TTL, in ticks.
    pub ttl: u32,
    /// How much earlier than the store terms end, in ticks.
    pub margin: u32,
    /// How much a clock may gain or lose against the store's, in ticks.
    pub drift: u32,
    /// Time goes no further than this many ticks.
    pub ticks: u32,
    /// At most this many messages are under way.
    pub wire: usize,
    /// How often each candidate may resign.
    pub resignations: u8,
    /// How often each candidate may change its value.
    pub proclaims: u8,
    /// Whether candidates may be stopped.
    pub stops: bool,
    /// How many requests and replies may be given up. What was given up may still be applied, or be lost.
    pub losses: u8,
    /// How many entries and sessions may be removed by hand.
    pub removals: u8,
    /// A fault to be found.
    pub fault: Option<Fault>,
}

impl Rules {
    /// Sessions: requests are given up and applied late, sessions expire, leaders are paused.
    pub const SESSIONS: Self = Self {
        name: "sessions",
        nodes: 2,
        elections: 1,
        ttl: 3,
        margin: 0,
        drift: 0,
        ticks: 3,
        wire: 2,
        resignations: 0,
        proclaims: 0,
        stops: false,
        losses: u8::MAX,
        removals: 0,
        fault: None,
    };

    /// Renewals: a TTL so short that sessions are renewed, run out and are replaced within the bounds, with any
    /// delay, but nothing given up.
    pub const RENEWALS: Self = Self {
        name: "renewals",
        ttl: 2,
        losses: 0,
        ..Self::SESSIONS
    };

    /// Clocks: each runs faster and slower than the store's, by as much as the margin allows.
    pub const CLOCKS: Self = Self {
        name: "clocks",
        margin: 1,
        drift: 1,
        losses: 0,
        ..Self::SESSIONS
    };

    /// Places: leaders resign, and requests to enter and to leave are repeated and applied late. The TTL is so
    /// long that no renewal is due.
    pub const PLACES: Self = Self {
        name: "places",
        ttl: 9,
        ticks: 2,
        wire: 3,
        resignations: 2,
        ..Self::SESSIONS
    };

    /// As `PLACES`, with candidates that are stopped, and sessions that are closed behind them.
    pub const STOPS: Self = Self {
        name: "stops",
        stops: true,
        resignations: 1,
        losses: 3,
        ..Self::PLACES
    };

    /// As `PLACES`, with values that change.
    pub const PROCLAIMS: Self = Self {
        name: "proclaims",
        proclaims: 1,
        resignations: 1,
        ..Self::PLACES
    };

    /// Two elections of one session, which both lose with it.
    pub const SHARED: Self = Self {
        name: "shared",
        elections: 2,
        ticks: 2,
        ..Self::RENEWALS
    };

    /// Two elections of one session, in which leaders resign.
    pub const SHARED_PLACES: Self = Self {
        name: "shared places",
        elections: 2,
        wire: 2,
        resignations: 1,
        losses: 1,
        ..Self::PLACES
    };

    /// Entries and sessions that somebody removes by hand.
    pub const REMOVALS: Self = Self {
        name: "removals",
        ticks: 2,
        resignations: 1,
        losses: 0,
        removals: 1,
        ..Self::SESSIONS
    };

    /// Larger bounds: more time, more losses, three candidates, and two elections with all that.
    pub const DEEP: [Self; 8] = [
        Self {
            name: "clocks +",
            ticks: 4,
            ..Self::CLOCKS
        },
        Self {
            name: "stops +",
            losses: 4,
            ..Self::STOPS
        },
        Self {
            name: "removals +",
            losses: 1,
            ..Self::REMOVALS
        },
        Self {
            name: "three renew",
            nodes: 3,
            ..Self::RENEWALS
        },
        Self {
            name: "three places",
            nodes: 3,
            losses: 3,
            ..Self::PLACES
        },
        Self {
            name: "three removals",
            nodes: 3,
            ticks: 1,
            ..Self::REMOVALS
        },
        Self {
            name: "three shared",
            nodes: 3,
            ..Self::SHARED
        },
        Self {
            name: "shared +",
            resignations: 1,
            ..Self::SHARED
        },
    ];

    pub(super) fn timing(&self) -> Timing {
        let margin = match self.fault {
            Some(Fault::MarginIgnored) => 0,
            _ => self.margin,
        };
        Timing {
            ttl: TICK * self.ttl,
            renew_every: TICK * self.ttl / 3,
            request_timeout: TICK,
            margin: TICK * margin,
            drain: Duration::ZERO,
            backoff: Backoff {
                least: TICK,
                greatest: TICK,
                spread: 0,
            },
            certain_percent: 100,
            overdue: Duration::ZERO,
        }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}
