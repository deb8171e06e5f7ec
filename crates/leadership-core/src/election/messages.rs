//! What the election machine is told and what it says.

use std::fmt;
use std::time::Duration;

use crate::session::Failure;
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
    /// The store refuses for good to tell of or to remove our entry: only the end of this session does.
    GivenUp(SessionId),
    /// Standing cannot work; the machine has stopped.
    Failed,
    /// After `stop`: nothing of ours that we know of is left at the store.
    Stopped,
}
