//! How long to wait before trying again: doubling from a least to a greatest delay.
//!
//! Pure and without randomness: each candidate gets its own `spread` once, which keeps many of them from
//! trying at the same moments.

use std::time::Duration;

/// Delays between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// Delay after the first failure.
    pub least: Duration,
    /// No delay is longer.
    pub greatest: Duration,
    /// How much of each delay this candidate leaves out: 0 (nothing) to 255 (half of it).
    pub spread: u8,
}

impl Backoff {
    /// The delay after `failures` failures in a row (1 for the first).
    pub fn delay(&self, failures: u32) -> Duration {
        let doubled = self.least.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let full = doubled.min(self.greatest);
        full - (full / 512) * u32::from(self.spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_greatest() {
        let b = Backoff {
            least: Duration::from_millis(100),
            greatest: Duration::from_secs(1),
            spread: 0,
        };
        let delays: Vec<u128> = (1..=6).map(|n| b.delay(n).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(b.delay(u32::MAX), Duration::from_secs(1));
    }

    #[test]
    fn spread_takes_away_at_most_half() {
        let b = Backoff {
            least: Duration::from_secs(1),
            greatest: Duration::from_secs(1),
            spread: 255,
        };
        assert!(b.delay(1) > Duration::from_millis(500) && b.delay(1) < Duration::from_millis(503));
    }
}
