//! How elections are held: the durations, with the relations between them checked when they are built.

use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::error::InvalidInput;
use crate::session::Timing;
use crate::store::Limits;
use crate::time::{BootClock, Clock};

/// Durations of an election. [`Config::default`] has a TTL of 15 seconds; [`Config::with_ttl`] scales all of
/// them to another TTL.
///
/// A leader renews its session every `renew_every`. It believes itself leader until the store is no longer
/// certain to keep the session: the send time of the last acknowledged renewal, plus the TTL, minus `margin`.
///
/// Not every store is certain of the whole TTL ([`Limits::certain_percent`]): the part that it is certain of is what
/// counts, and what is not set is in proportion to that part. So that one slow renewal costs nobody the leadership,
/// `renew_every + request_timeout` has to be less than it without the margin.
///
/// ```
/// use leadership_core::Config;
/// use std::time::Duration;
///
/// let config = Config::with_ttl(Duration::from_secs(5)).request_timeout(Duration::from_millis(800));
/// assert!(config.check().is_ok());
/// let wrong = config.renew_every(Duration::from_secs(4));
/// assert!(wrong.check().unwrap_err().to_string().contains("renew_every"));
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) ttl: Duration,
    renew_every: Option<Duration>,
    request_timeout: Option<Duration>,
    margin: Option<Duration>,
    pub(crate) drain: Duration,
    pub(crate) retry_least: Duration,
    pub(crate) retry_greatest: Duration,
    pub(crate) spread: Option<u8>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// How often a session is renewed, and how cautiously: what [`Config::pace`] makes of a configuration for one
/// store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// Time between renewals.
    pub renew_every: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How much earlier than the store a leader stops believing.
    pub margin: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self::with_ttl(Duration::from_secs(15))
    }
}

impl Config {
    /// All durations in their usual proportion to `ttl`: renewals every third of what the store is certain of (more
    /// often where the store [says so](Limits::renewals)), a fifth of that for a request, a tenth as margin; retries from a hundredth to a tenth of the TTL, and as long
    /// as the TTL for work to end.
    #[must_use]
    pub fn with_ttl(ttl: Duration) -> Self {
        Self {
            ttl,
            renew_every: None,
            request_timeout: None,
            margin: None,
            drain: ttl,
            retry_least: ttl / 100,
            retry_greatest: ttl / 10,
            spread: None,
            clock: Arc::new(BootClock),
        }
    }

    /// Time between renewals.
    #[must_use]
    pub fn renew_every(mut self, every: Duration) -> Self {
        self.renew_every = Some(every);
        self
    }

    /// How long a request to the store may take before its outcome counts as unknown. One that is no renewal may take
    /// twice as long after each that was given up, up to a third of the TTL: a store that has too much to do is not
    /// helped by being asked ever again.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = Some(timeout);
        self
    }

    /// How much earlier than the store a leader stops believing. It covers the difference between the rates
    /// of our clock and the store's, and the time it takes to act on the end of a term.
    #[must_use]
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// How long work may go on after it was asked to end (by resignation or stop), while the session lives.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// The least and the greatest delay between tries of a request that failed. Each candidate shortens them
    /// by a share of its own, up to a half, so that many do not try at the same moments. A follower waits for a
    /// second at most, or for the least delay if that is longer.
    #[must_use]
    pub fn retry(mut self, least: Duration, greatest: Duration) -> Self {
        (self.retry_least, self.retry_greatest) = (least, greatest);
        self
    }

    /// This process's share to leave out of delays between tries: 0 (nothing) to 255 (half of them). Drawn at
    /// random for each candidate unless it is set. For tests that have to go the same way each time.
    #[must_use]
    pub fn spread(mut self, spread: u8) -> Self {
        self.spread = Some(spread);
        self
    }

    /// Where timestamps come from. For tests on virtual time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The TTL to ask the store for.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The durations that this configuration means on a store.
    pub fn pace(&self, limits: &Limits) -> Pace {
        self.pace_within(limits.certain(self.ttl), limits.renewals)
    }

    fn pace_within(&self, certain: Duration, renewals: u32) -> Pace {
        Pace {
            renew_every: self.renew_every.unwrap_or_else(|| certain / renewals.max(1)),
            request_timeout: self.request_timeout.unwrap_or(certain / 5),
            margin: self.margin.unwrap_or(certain / 10),
        }
    }

    /// Checks the durations against each other.
    ///
    /// # Errors
    /// Names the duration that does not fit, and what would.
    pub fn check(&self) -> Result<(), InvalidInput> {
        let pace = self.pace_within(self.ttl, Limits::RENEWALS);
        for (name, value) in [
            ("ttl", self.ttl),
            ("renew_every", pace.renew_every),
            ("request_timeout", pace.request_timeout),
            ("retry", self.retry_least),
        ] {
            if value.is_zero() {
                return Err(InvalidInput::new(
                    format!("{name} 0s"),
                    "it is zero",
                    "give a duration such as 15s",
                ));
            }
        }
        if self.ttl > Duration::from_secs(365 * 24 * 3600) {
            return Err(InvalidInput::new(
                format!("ttl {:?}", self.ttl),
                "it is longer than a year",
                "a crashed leader is replaced only after the ttl; use seconds",
            ));
        }
        if self.retry_least > self.retry_greatest {
            return Err(InvalidInput::new(
                format!("retry {:?} to {:?}", self.retry_least, self.retry_greatest),
                "the least delay is longer than the greatest",
                "swap them",
            ));
        }
        self.check_fit("ttl", self.ttl, &pace)
    }

    /// `renew_every + request_timeout` has to fit before the deadline of a session that is certain for
    /// `certain`.
    fn check_fit(&self, what: &str, certain: Duration, pace: &Pace) -> Result<(), InvalidInput> {
        let ttl = self.ttl;
        let believed = certain.saturating_sub(pace.margin);
        if pace.renew_every.saturating_add(pace.request_timeout) < believed {
            return Ok(());
        }
        Err(InvalidInput::new(
            format!(
                "{what} {ttl:?} with renew_every {:?}, request_timeout {:?}, margin {:?}",
                pace.renew_every, pace.request_timeout, pace.margin
            ),
            format!("a renewal cannot be sent and answered within {believed:?}"),
            format!("keep the sum of renew_every and request_timeout below {believed:?}, or leave them out"),
        ))
    }

    /// Checks the configuration against what a store can do.
    ///
    /// # Errors
    /// Names the store's limit.
    pub fn check_with(&self, limits: &Limits) -> Result<(), InvalidInput> {
        self.check()?;
        let store = limits.store;
        if self.ttl < limits.ttl_min {
            return Err(InvalidInput::new(
                format!("ttl {:?}", self.ttl),
                format!("{store} grants no session shorter than {:?}", limits.ttl_min),
                match limits.shorter {
                    Some(shorter) => format!("use a ttl of at least {:?}, or {shorter}", limits.ttl_min),
                    None => format!("use a ttl of at least {:?}", limits.ttl_min),
                },
            ));
        }
        if self.ttl > limits.ttl_max {
            return Err(InvalidInput::new(
                format!("ttl {:?}", self.ttl),
                format!("{store} grants no session longer than {:?}", limits.ttl_max),
                format!("use a ttl of at most {:?}", limits.ttl_max),
            ));
        }
        self.check_fit(
            &format!("ttl ({}% of it certain on {store})", limits.certain_percent),
            limits.certain(self.ttl),
            &self.pace(limits),
        )
    }

    /// The machines' part of it. `spread` is this process's own share to leave out of delays.
    pub(crate) fn timing(&self, limits: &Limits, spread: u8) -> Timing {
        let pace = self.pace(limits);
        Timing {
            ttl: self.ttl,
            renew_every: pace.renew_every,
            request_timeout: pace.request_timeout,
            margin: pace.margin,
            drain: self.drain,
            backoff: Backoff {
                least: self.retry_least,
                greatest: self.retry_greatest,
                spread,
            },
            certain_percent: limits.certain_percent,
            overdue: limits.overdue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            store: "test",
            ttl_min: Duration::from_secs(2),
            shorter: None,
            ttl_max: Duration::from_secs(60),
            certain_percent: 66,
            renewals: Limits::RENEWALS,
            overdue: Duration::from_secs(1),
            value_max: 10,
            name_max: 10,
        }
    }

    #[test]
    fn usual_proportions_fit_any_ttl_and_store() {
        for (ttl, certain_percent) in [(2, 66), (5, 33), (15, 50), (60, 100)] {
            let limits = Limits {
                certain_percent,
                ..limits()
            };
            Config::with_ttl(Duration::from_secs(ttl))
                .check_with(&limits)
                .expect("fits");
        }
    }

    #[test]
    fn what_is_not_set_is_in_proportion_to_what_the_store_is_certain_of() {
        let pace = Config::with_ttl(Duration::from_secs(50))
            .margin(Duration::from_secs(1))
            .pace(&limits());
        assert_eq!(pace.renew_every, Duration::from_secs(11));
        assert_eq!(pace.request_timeout, Duration::from_millis(6600));
        assert_eq!(pace.margin, Duration::from_secs(1));
        let more = Limits {
            renewals: 4,
            ..limits()
        };
        let pace = Config::with_ttl(Duration::from_secs(50)).pace(&more);
        assert_eq!(pace.renew_every, Duration::from_millis(8250));
    }

    #[test]
    fn a_renewal_that_cannot_fit_is_refused() {
        let config = Config::default().renew_every(Duration::from_secs(12));
        let error = config.check().expect_err("refused").to_string();
        assert!(
            error.contains("renew_every 12s") && error.contains("13.5s"),
            "{error}"
        );
        let fits_only_elsewhere = Config::default().renew_every(Duration::from_secs(8));
        fits_only_elsewhere
            .check()
            .expect("fits a store that is certain for the whole ttl");
        fits_only_elsewhere
            .check_with(&limits())
            .expect_err("does not fit two thirds of it");
    }

    #[test]
    fn the_longest_durations_are_refused_and_do_not_panic() {
        let longest = Duration::MAX;
        Config::default()
            .renew_every(longest)
            .check()
            .expect_err("refused");
        Config::default().margin(longest).check().expect_err("refused");
        Config::with_ttl(longest)
            .check_with(&limits())
            .expect_err("refused");
    }

    #[test]
    fn ttls_the_store_cannot_grant_are_refused_naming_its_limit() {
        for (ttl, limit) in [(1, "2s"), (61, "60s")] {
            let error = Config::with_ttl(Duration::from_secs(ttl))
                .check_with(&limits())
                .expect_err("refused");
            assert!(error.to_string().contains(&format!("ttl {ttl}s")), "{error}");
            assert!(error.to_string().contains(limit), "{error}");
        }
        let error = Config::with_ttl(Duration::ZERO).check().expect_err("refused");
        assert!(error.to_string().contains("zero"), "{error}");
    }
}
