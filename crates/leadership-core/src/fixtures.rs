//! What the tables of both machines are written with: times, a session, and durations that are easy to add up.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::session::Timing;
use crate::store::{Session, SessionId};
use crate::time::Timestamp;

pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::new(Duration::from_secs(secs))
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn timing() -> Timing {
    Timing {
        ttl: secs(10),
        renew_every: secs(3),
        request_timeout: secs(2),
        margin: secs(1),
        drain: secs(5),
        backoff: Backoff {
            least: secs(1),
            greatest: secs(4),
            spread: 0,
        },
        certain_percent: 100,
        overdue: secs(2),
    }
}

pub(crate) fn session(id: &str) -> Session {
    Session {
        id: SessionId::new(id),
        ttl: secs(10),
    }
}
