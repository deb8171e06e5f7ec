//! The clock of one process: it may run at a rate of its own, and stand still while the process is paused.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leadership_core::{Clock, Timestamp};
use tokio::time::Instant;

/// A clock over the runtime's virtual time, with a rate of its own and pauses.
///
/// A pause is that of a process which is stopped and continued, or of a machine that is suspended: meanwhile
/// nobody there reads the clock, and the first to read it afterwards finds it later by the whole pause.
pub struct DriftingClock {
    start: Instant,
    /// In millionths: 1_000_000 goes as fast as the store's.
    rate: u32,
    paused: Mutex<Option<Timestamp>>,
}

impl DriftingClock {
    /// A clock that starts now and goes at `rate` millionths of the store's.
    pub fn new(rate: u32) -> Self {
        Self {
            start: Instant::now(),
            rate,
            paused: Mutex::default(),
        }
    }

    /// Stands still from now on.
    pub fn pause(&self) {
        let now = self.now();
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Leaps to where it would be without the pause.
    pub fn resume(&self) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Clock for DriftingClock {
    fn now(&self) -> Timestamp {
        if let Some(stood) = *self.paused.lock().unwrap_or_else(PoisonError::into_inner) {
            return stood;
        }
        let nanos = self.start.elapsed().as_nanos() as u64;
        let own = u128::from(nanos) * u128::from(self.rate) / 1_000_000;
        // One second on, so that subtracting a margin from the start does not hit zero.
        Timestamp::new(Duration::from_secs(1) + Duration::from_nanos(own as u64))
    }
}

impl fmt::Debug for DriftingClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriftingClock")
            .field("rate", &self.rate)
            .field("now", &self.now())
            .finish()
    }
}
