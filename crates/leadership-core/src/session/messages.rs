//! What the session machine is told and what it says, and the durations that it works with.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::election::EndReason;
use crate::store::{Limits, Session, SessionId};
use crate::time::Timestamp;

/// Names a request, so that a late reply is never taken for the reply to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// How a request failed, as far as the machines care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It changed nothing; trying again may help.
    NotApplied,
    /// It may have taken effect, or may yet.
    Unknown,
    /// Trying again cannot help, and it changed nothing.
    Permanent,
    /// Trying again cannot help, but it may have taken effect.
    PermanentUnknown,
}

impl Failure {
    /// Whether trying again cannot help.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Permanent | Self::PermanentUnknown)
    }
}

/// The durations that the machines work with. Made and checked by [`Config`](crate::Config).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// The TTL to ask for.
    pub ttl: Duration,
    /// Time between renewals.
    pub renew_every: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How much earlier than the store we stop believing.
    pub margin: Duration,
    /// How long work may go on after it was asked to end.
    pub drain: Duration,
    /// Delays between tries of a request that failed.
    pub backoff: Backoff,
    /// [`Limits::certain_percent`] of the store.
    pub certain_percent: u32,
    /// [`Limits::overdue`] of the store.
    pub overdue: Duration,
}

impl Timing {
    /// Until when a session is certain to live, if a renewal sent at `sent` was acknowledged with `granted`.
    pub fn deadline(&self, sent: Timestamp, granted: Duration) -> Timestamp {
        let certain = granted.saturating_mul(self.certain_percent) / 100;
        sent + certain - self.in_proportion(self.margin, granted)
    }

    /// Time between renewals of a session granted for `granted`, which may be shorter than what was asked.
    pub(super) fn renew_every(&self, granted: Duration) -> Duration {
        self.in_proportion(self.renew_every, granted)
    }

    /// How long a request may take that renews a session granted for `granted`.
    pub(crate) fn request_timeout(&self, granted: Duration) -> Duration {
        self.in_proportion(self.request_timeout, granted)
    }

    /// What a duration chosen for the TTL that was asked for comes to for a shorter one. So does the margin: it is for
    /// clocks whose *rates* differ, and these drift apart in proportion.
    fn in_proportion(&self, duration: Duration, granted: Duration) -> Duration {
        if granted >= self.ttl {
            return duration;
        }
        let nanos = duration.as_nanos() * granted.as_nanos() / self.ttl.as_nanos().max(1);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes over what the store says of itself.
    #[must_use]
    pub fn with_limits(mut self, limits: &Limits) -> Self {
        self.certain_percent = limits.certain_percent;
        self.overdue = limits.overdue;
        self
    }
}

/// What the driver is to ask of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionAction {
    /// Open a session.
    Open,
    /// Renew this session.
    Renew(Session),
    /// Close this session.
    Close(Session),
}

/// The store's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionReply {
    /// To `Open`.
    Opened(Session),
    /// To `Renew`: the TTL granted anew.
    Renewed(Duration),
    /// To `Close`.
    Closed,
    /// The session does not live any more.
    Gone,
    /// The request failed.
    Failed(Failure),
}

/// What happened to the session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SessionEvent {
    /// A session is open and certain to live until `deadline`.
    Opened {
        /// The session.
        session: Session,
        /// Until when it is certain to live.
        deadline: Timestamp,
    },
    /// It is certain to live longer.
    Extended {
        /// The new, later deadline.
        deadline: Timestamp,
    },
    /// It must not be relied on any more. It may still live at the store until `Ended`.
    Lost {
        /// Which session.
        id: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// A lost or closed session, and so every entry of it, is certainly gone from the store.
    Ended(SessionId),
    /// A session was granted for so little, or its grant came so late, that it could not be relied on: it is closed
    /// and another one asked for.
    TooShort(Session),
    /// Opening or renewing cannot work; the machine is idle until `open` is called again.
    Failed,
    /// After `close`: no session of ours is left at the store.
    Closed,
}
