//! How long after a renewal a session is certain to live.
//!
//! A session's timer runs at the ensemble's leader. A server that is not the leader keeps the signs of life of
//! its clients to itself and hands them over with its answer to the leader's next ping, which comes every half
//! tick (`Leader.java`, `LearnerHandler.java`, `LearnerSessionTracker.java`). So the answer to a request, even
//! one that the leader has answered, does not show that the timer was reset: the server may die before it says
//! so. But it shows that everything the server said *before* it passed the request on has arrived, and that
//! includes every sign of life older than half a tick. In short: a renewal is a proof for those before it.
//!
//! - Opening a session resets the timer itself: that is certain for the whole timeout.
//! - With the answer to a renewal, an earlier one that is old enough is certain for the whole timeout.
//!
//! How long a tick is, a client is not told, but a timeout is at least two (`minSessionTimeout`), so half a tick
//! is at most a quarter of it. At the usual pace, four renewals in the time that is certain or one every 0.163 of the
//! timeout, the last but one is too recent, and the one before it, 0.325 of the timeout old, is the proof. With three
//! renewals it would be 0.43 old, and the session certain until 0.57 of the timeout after the last one, not two thirds.
//!
//! What is left: a leader that was deposed without noticing might answer a renewal after its successor has begun
//! to count. It gives up when it has not heard of a quorum for `syncLimit` ticks, no later than those elect the
//! successor, who begins with the whole timeout for everybody; so the margin is a third of the timeout there.

use std::collections::VecDeque;
use std::time::Duration;

use leadership_core::{BootClock, Clock, Timestamp};

/// What [`Limits::certain_percent`](leadership_core::Limits) says of a TTL: two thirds of the [timeout](timeout_for).
pub(crate) const CERTAIN_PERCENT: u32 = 61;

/// What [`Limits::renewals`](leadership_core::Limits) says.
pub(crate) const RENEWALS: u32 = 4;

/// The timeout to ask for. A server ends a session when its timeout has gone by *and* the next tick comes
/// (`ExpiryQueue.java`), and zookeeper-client's pings make it count from a moment before the client died. With a timeout
/// of the whole TTL, and a tick of a quarter of it, a dead leader was followed an eighth of the TTL too late.
pub(crate) fn timeout_for(ttl: Duration) -> Duration {
    // Whole milliseconds, as they are sent.
    let millis = (ttl / 16 * 15).as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// The TTL to tell: what was asked for where the server agrees, else the timeout that it grants.
pub(crate) fn ttl_of(asked: Duration, granted: Duration) -> Duration {
    if granted == timeout_for(asked) {
        asked
    } else {
        granted
    }
}

/// The renewals of a session that were answered.
#[derive(Debug)]
pub(crate) struct Renewals {
    timeout: Duration,
    ttl: Duration,
    /// The last moment from which the session is certain to live for its timeout.
    proven: Timestamp,
    /// When those were sent that prove nothing yet.
    recent: VecDeque<Timestamp>,
    last: Timestamp,
    /// Until when the session was last said to be certain.
    told: Timestamp,
}

impl Renewals {
    pub(crate) fn new(timeout: Duration, ttl: Duration, opened: Timestamp) -> Self {
        Self {
            timeout,
            ttl,
            proven: opened,
            recent: VecDeque::new(),
            last: opened,
            told: opened + Self::certain(ttl),
        }
    }

    /// The TTL to report for a renewal that was asked for, sent and answered: what of it is certain is proven. `None`
    /// if that is not longer than what was reported before.
    pub(crate) fn acknowledged(&mut self, asked: Timestamp, sent: Timestamp) -> Option<Duration> {
        // Those that come close to one another prove the same.
        if self
            .recent
            .back()
            .is_none_or(|last| *last + self.timeout / 64 <= sent)
        {
            self.recent.push_back(sent);
        }
        self.last = self.last.max(sent);
        // Half a tick, and what a ping and its answer take to arrive.
        let settled = self.timeout / 10 * 3;
        while let Some(first) = self
            .recent
            .front()
            .copied()
            .filter(|first| *first + settled <= sent)
        {
            self.proven = self.proven.max(first);
            self.recent.pop_front();
        }
        let whole = sent + Self::certain(self.ttl);
        let proven = self.proven + self.timeout;
        if proven >= whole {
            self.told = self.told.max(whole);
            return Some(self.ttl);
        }
        // A little more than before, because who asked reckons from a moment earlier than ours.
        if proven < self.told + self.timeout / 50 {
            return None;
        }
        self.told = proven;
        // Who asked reckons from then, also if there was no connection for a while.
        let left = proven.saturating_since(asked);
        Some((left * 100 / CERTAIN_PERCENT).min(self.ttl))
    }

    /// Since when nobody has renewed.
    pub(crate) fn silent_for(&self) -> Duration {
        BootClock.now().saturating_since(self.last)
    }

    fn certain(ttl: Duration) -> Duration {
        ttl * CERTAIN_PERCENT / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_secs(100);
    const TTL: Duration = Duration::from_micros(106_666_667);

    fn at(secs: u64) -> Timestamp {
        Timestamp::new(Duration::from_secs(1000 + secs))
    }

    /// Until when the session is certain, as the caller reckons it.
    fn certain(renewals: &mut Renewals, sent: u64) -> Option<u64> {
        let granted = renewals.acknowledged(at(sent), at(sent))?;
        Some(sent + (granted * CERTAIN_PERCENT / 100).as_millis().div_ceil(1000) as u64)
    }

    #[test]
    fn what_is_certain_of_a_ttl_is_no_more_than_two_thirds_of_the_timeout() {
        for millis in [1000, 1001, 2000, 4000, 15_000, 86_400_000] {
            let asked = Duration::from_millis(millis);
            let timeout = timeout_for(asked);
            assert!(timeout < asked && timeout >= asked / 16 * 15, "{timeout:?}");
            for granted in [timeout, asked, asked / 2, asked * 2] {
                let ttl = ttl_of(asked, granted);
                assert!(
                    Renewals::certain(ttl) * 3 <= granted * 2,
                    "{asked:?}, {granted:?}"
                );
            }
            assert_eq!(ttl_of(asked, timeout), asked);
            assert_eq!(
                ttl_of(asked, asked / 2),
                asked / 2,
                "what a server grants is told"
            );
        }
    }

    #[test]
    fn at_the_usual_pace_each_renewal_is_good_for_all_that_is_certain() {
        for (timeout, ttl) in [(T, TTL), (T, T)] {
            let every = Renewals::certain(ttl) / RENEWALS;
            let mut renewals = Renewals::new(timeout, ttl, at(0));
            for number in 1..50 {
                let sent = at(0) + every * number;
                assert_eq!(renewals.acknowledged(sent, sent), Some(ttl), "{number}");
            }
        }
    }

    #[test]
    fn opening_is_a_proof_by_itself() {
        let mut renewals = Renewals::new(T, TTL, at(0));
        assert_eq!(renewals.acknowledged(at(1), at(1)), Some(TTL));
    }

    #[test]
    fn a_renewal_proves_those_before_it() {
        let mut renewals = Renewals::new(T, TTL, at(0));
        assert_eq!(
            certain(&mut renewals, 22),
            Some(88),
            "the opening is a proof until 100"
        );
        assert_eq!(
            certain(&mut renewals, 44),
            Some(100),
            "22 is too recent to be proven"
        );
        assert_eq!(certain(&mut renewals, 66), Some(122), "22 is proven");
        assert_eq!(certain(&mut renewals, 88), Some(144));
    }

    #[test]
    fn at_a_third_of_the_timeout_all_of_it_is_proven() {
        let mut renewals = Renewals::new(T, TTL, at(0));
        for sent in [33, 66, 99, 132] {
            assert_eq!(certain(&mut renewals, sent), Some(sent + 66));
        }
    }

    #[test]
    fn after_a_gap_a_renewal_is_good_for_less_and_never_for_less_than_before() {
        let mut renewals = Renewals::new(T, TTL, at(0));
        assert_eq!(certain(&mut renewals, 30), Some(96));
        assert_eq!(certain(&mut renewals, 90), Some(130), "proven by 30");
        assert_eq!(
            renewals.acknowledged(at(91), at(91)),
            None,
            "nothing new is proven"
        );
        assert_eq!(renewals.acknowledged(at(100), at(100)), None);
        assert_eq!(
            certain(&mut renewals, 121),
            Some(187),
            "proven by 91 at the latest"
        );
    }

    #[test]
    fn at_the_shortest_pace_of_a_timeout_that_was_lengthened_all_renewals_are_good() {
        // Asked for a second and granted four: a renewal every 0.055 of the timeout.
        let t = Duration::from_secs(4);
        let mut renewals = Renewals::new(t, t, at(0));
        for number in 1..200 {
            let sent = at(0) + Duration::from_millis(220) * number;
            assert!(renewals.acknowledged(sent, sent).is_some(), "{number}");
        }
    }

    #[test]
    fn what_is_left_is_reckoned_from_when_it_was_asked_for() {
        let mut renewals = Renewals::new(T, TTL, at(0));
        assert_eq!(certain(&mut renewals, 30), Some(96));
        let granted = renewals.acknowledged(at(70), at(80)).expect("proven by 30");
        let until = at(70) + granted * CERTAIN_PERCENT / 100;
        assert!(until <= at(130) && until > at(129), "{until:?}");
    }

    #[test]
    fn many_renewals_keep_little() {
        let mut renewals = Renewals::new(T, TTL, at(0));
        for number in 0..1000 {
            renewals.acknowledged(at(number / 5), at(number / 5));
            assert!(renewals.recent.len() <= 24);
        }
    }
}
