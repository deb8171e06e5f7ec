//! Until when a session may be relied on, readable from anywhere at the price of one atomic load and one look
//! at the clock.
//!
//! What was once read as passed stays passed: a reader that finds the deadline behind the clock closes the
//! cell, and an extension that was under way then fails. So an ended term stays ended for everybody, without
//! any task having run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::{Session, SessionId};
use crate::time::{Clock, Timestamp};

/// The bit of a closed cell, beside the deadline it had; no clock runs for the 292 years that would set it.
const CLOSED: u64 = 1 << 63;

fn is_closed(deadline: u64) -> bool {
    deadline & CLOSED != 0
}

/// One session's deadline, shared by every term that depends on it.
#[derive(Debug)]
pub(crate) struct SessionCell {
    session: Session,
    deadline: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl SessionCell {
    pub(crate) fn new(session: Session, deadline: Timestamp, clock: Arc<dyn Clock>) -> Self {
        Self {
            session,
            deadline: AtomicU64::new(deadline.as_nanos()),
            clock,
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn id(&self) -> &SessionId {
        &self.session.id
    }

    /// Whether the session is certain to live now. `false` is final.
    pub(crate) fn is_valid(&self) -> bool {
        let mut deadline = self.deadline.load(Ordering::Acquire);
        loop {
            if is_closed(deadline) {
                return false;
            }
            if self.clock.now().as_nanos() < deadline {
                return true;
            }
            match self.deadline.compare_exchange(
                deadline,
                deadline | CLOSED,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return false,
                Err(extended) => deadline = extended,
            }
        }
    }

    /// The deadline; `None` once it was read as passed, or the session was lost.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match self.deadline.load(Ordering::Acquire) {
            closed if is_closed(closed) => None,
            nanos => Some(Timestamp::from_nanos(nanos)),
        }
    }

    /// The deadline, or the one that the session had when it was closed: how long ago it passed tells a pause
    /// from a renewal that was late.
    pub(crate) fn last_deadline(&self) -> Timestamp {
        Timestamp::from_nanos(self.deadline.load(Ordering::Acquire) & !CLOSED)
    }

    /// Moves the deadline on. `false` if somebody has read it as passed before.
    #[must_use]
    pub(crate) fn extend(&self, deadline: Timestamp) -> bool {
        self.deadline
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
                (!is_closed(old)).then(|| old.max(deadline.as_nanos()))
            })
            .is_ok()
    }

    /// Ends the session's validity for good.
    pub(crate) fn close(&self) {
        self.deadline.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    struct Hands(Mutex<Duration>);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::new(*self.0.lock().expect("not poisoned"))
        }
    }

    #[test]
    fn what_was_read_as_passed_is_never_extended() {
        let clock = Arc::new(Hands(Mutex::new(Duration::from_secs(1))));
        let at = |secs| Timestamp::new(Duration::from_secs(secs));
        let session = Session {
            id: SessionId::new("s"),
            ttl: Duration::from_secs(4),
        };
        let cell = SessionCell::new(session, at(5), clock.clone());
        assert!(cell.is_valid());
        assert!(cell.extend(at(6)));
        assert!(cell.extend(at(4)), "an older acknowledgement changes nothing");
        assert_eq!(cell.deadline(), Some(at(6)));

        *clock.0.lock().expect("not poisoned") = Duration::from_secs(6);
        assert!(
            !cell.is_valid(),
            "at the deadline it is over, without anything having run"
        );
        assert!(!cell.extend(at(100)));
        *clock.0.lock().expect("not poisoned") = Duration::from_secs(2);
        assert!(!cell.is_valid(), "and stays over");
        assert_eq!(cell.deadline(), None);
        assert_eq!(cell.last_deadline(), at(6), "how long ago it passed stays known");
    }

    #[test]
    fn the_longest_deadline_is_a_valid_one() {
        let clock = Arc::new(Hands(Mutex::new(Duration::from_secs(1))));
        let session = Session {
            id: SessionId::new("s"),
            ttl: Duration::MAX,
        };
        assert!(SessionCell::new(session, Timestamp::new(Duration::MAX), clock).is_valid());
    }
}
