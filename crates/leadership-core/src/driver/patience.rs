//! How long a request may take: longer after each in a row that was given up.
//!
//! What was given up is carried out all the same. A store with too much to do, asked anew after too short a time, is
//! given ever more of it and answers nobody in time. Renewals are apart: their deadline does not wait.

use std::time::Duration;

use crate::error::{ErrorKind, StoreError};
use crate::session::Timing;

pub(super) struct Patience {
    least: Duration,
    greatest: Duration,
    given_up: u32,
}

impl Patience {
    pub(super) fn new(timing: &Timing) -> Self {
        Self {
            least: timing.request_timeout,
            greatest: timing.request_timeout.max(timing.ttl / 3),
            given_up: 0,
        }
    }

    /// How long the next request may take.
    pub(super) fn limit(&self) -> Duration {
        let doubled = self.least.saturating_mul(1 << self.given_up.min(16));
        doubled.min(self.greatest)
    }

    /// Notes how a request ended.
    pub(super) fn learn<T>(&mut self, result: &Result<T, StoreError>) {
        self.given_up = match result {
            Err(error) if error.kind() == ErrorKind::Timeout => self.given_up.saturating_add(1),
            _ => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Outcome;
    use crate::fixtures::timing;

    fn ended(kind: ErrorKind) -> Result<(), StoreError> {
        Err(StoreError::new("test", "enter", kind, Outcome::Unknown, ""))
    }

    #[test]
    fn a_request_may_take_twice_as_long_after_each_that_was_given_up() {
        let timing = Timing {
            ttl: Duration::from_secs(15),
            request_timeout: Duration::from_secs(1),
            ..timing()
        };
        let mut patience = Patience::new(&timing);
        let mut limits = Vec::new();
        for _ in 0..40 {
            limits.push(patience.limit().as_secs());
            patience.learn(&ended(ErrorKind::Timeout));
        }
        assert_eq!(limits[..5], [1, 2, 4, 5, 5]);
        assert_eq!(limits.last(), Some(&5));
        patience.learn(&ended(ErrorKind::Unavailable));
        assert_eq!(patience.limit(), timing.request_timeout, "it was answered");
    }

    #[test]
    fn no_request_may_take_less_than_was_asked_for() {
        let timing = Timing {
            ttl: Duration::from_secs(3),
            request_timeout: Duration::from_secs(2),
            ..timing()
        };
        let mut patience = Patience::new(&timing);
        patience.learn(&ended(ErrorKind::Timeout));
        assert_eq!(patience.limit(), Duration::from_secs(2));
    }
}
