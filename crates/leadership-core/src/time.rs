//! Time as the machines see it.
//!
//! [`Timestamp`] is a plain number, so that it can be written in a test, hashed by a model checker and driven
//! by paused time. It comes from a [`Clock`]; the one used in production counts the time that a machine was
//! suspended, because a lease at the store goes on running then (`std::time::Instant` stands still on Linux).

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

/// Time since an arbitrary start, the same for everything that shares one [`Clock`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The start of the clock.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// A timestamp `since_start` after the clock's start.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Time since the clock's start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Time from `earlier` until `self`; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Nanoseconds since the clock's start, for storing in an atomic: 64 bits last 584 years.
    pub(crate) const fn as_nanos(self) -> u64 {
        let nanos = self.0.as_nanos();
        // The highest bit is left to whoever stores it.
        if nanos > (u64::MAX >> 1) as u128 {
            u64::MAX >> 1
        } else {
            nanos as u64
        }
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{:?}", self.0)
    }
}

/// Where timestamps come from.
///
/// A clock never goes back and counts suspended time. Its *rate* may differ from the store's by no more than
/// the configured margin allows (by default a tenth of what the store is certain of); its absolute value means nothing.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine, counting suspended time: `CLOCK_BOOTTIME` on Linux and Android.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    #[cfg(unix)]
    fn now(&self) -> Timestamp {
        use rustix::time::{ClockId, clock_gettime};
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const CLOCK: ClockId = ClockId::Boottime;
        // On the Apple systems CLOCK_MONOTONIC goes on during sleep.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let t = clock_gettime(CLOCK);
        // Both fields are never negative for these clocks.
        Timestamp(Duration::new(
            t.tv_sec.unsigned_abs(),
            t.tv_nsec.unsigned_abs() as u32,
        ))
    }

    #[cfg(not(unix))]
    fn now(&self) -> Timestamp {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        Timestamp(START.get_or_init(Instant::now).elapsed())
    }
}

/// The runtime's clock, which stands still or jumps with `tokio::time::pause` and `advance`. For tests.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }

    /// The same as a shared clock, as [`Config`](crate::Config) takes it.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self::new())
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        // One second on, so that a test may subtract a margin from "the start" without hitting zero.
        Timestamp(self.start.elapsed() + Duration::from_secs(1))
    }
}
