//! The drivers: tasks that run the pure machines against a store.
//!
//! One task per session, one per election this process stands in. A task drains its machine's events, then its
//! actions, and sleeps until a reply, an order, news of the session, or the machine's own time. Requests are
//! futures inside the task: no spawn per request, no channel between machine and store, no lock across an
//! await.

pub(crate) mod election;
mod patience;
mod place;
pub(crate) mod session;

use std::future::Future;
use std::time::Duration;

use crate::error::{ErrorKind, Outcome, StoreError};
use crate::session::Failure;
use crate::store::DynStore;
use crate::time::{Clock, Timestamp};

/// Gives a request up after `limit`: what becomes of it is then unknown.
async fn in_time<T>(
    limit: Duration,
    store: &DynStore,
    operation: &'static str,
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, request).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::timeout_at(store, operation, limit)),
    }
}

/// What the machines make of an error. `None` stands for a session that is gone.
fn failure(error: &StoreError) -> Option<Failure> {
    if error.kind() == ErrorKind::SessionGone {
        return None;
    }
    Some(match (error.is_transient(), error.outcome()) {
        (false, Outcome::NotApplied) => Failure::Permanent,
        (false, Outcome::Unknown) => Failure::PermanentUnknown,
        (true, Outcome::NotApplied) => Failure::NotApplied,
        (true, Outcome::Unknown) => Failure::Unknown,
    })
}

/// Sleeps until `until` by `clock`, at most for `slice`: the runtime's timers stand still while the machine is
/// suspended, so a long sleep would notice a missed deadline late. Pends for ever without `until`.
async fn sleep_until(clock: &dyn Clock, until: Option<Timestamp>, slice: Option<Duration>) {
    match until {
        Some(until) => {
            let left = until.saturating_since(clock.now());
            tokio::time::sleep(slice.map_or(left, |slice| left.min(slice))).await;
        }
        None => std::future::pending().await,
    }
}
