//! What is asked of every case when its fault is over.

use std::time::Duration;

use leadership_core::{EndReason, Timestamp};

use super::scene::Scene;
use crate::trials::{eventually, now};
use crate::witness::Testimony;

/// A notification, and the time that a busy machine takes to act on it. Much shorter than the time between two renewals
/// of those who have to be notified.
const NOTIFIED: Duration = Duration::from_secs(1);
/// For processes and threads to be run at all, on a busy machine.
const BUSY: Duration = Duration::from_secs(1);
/// For a follower to notice that the server which should notify it hangs, to ask another one, and to hear of it.
const FOLLOWED: Duration = Duration::from_secs(10 + 1);
/// From a stop to the next leader: a request or two, and a notification.
const HANDOVER: Duration = Duration::from_secs(3);

/// What a fault may do.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Why the first term may end.
    reasons: &'static [EndReason],
    /// Whether it may, or has to, go on.
    stays: Stays,
    /// How much later than a session's end the next one may lead.
    within: Duration,
    /// Whether somebody removed what the leader has: then two may believe until it is notified.
    by_hand: bool,
    /// Whether only the first term may end: what is mended later takes nothing from who leads then.
    once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    Never,
    Perhaps,
    Always,
}

impl Expected {
    /// The first term ends for one of these reasons, and its session by itself; or its process is dead and says nothing.
    pub(super) fn ends(reasons: &'static [EndReason]) -> Self {
        Self {
            reasons,
            stays: Stays::Never,
            within: BUSY,
            by_hand: false,
            once: false,
        }
    }

    /// The first term goes on.
    pub(super) fn goes_on() -> Self {
        Self {
            stays: Stays::Always,
            ..Self::ends(&[])
        }
    }

    /// The first term may go on.
    pub(super) fn may_go_on(self) -> Self {
        Self {
            stays: Stays::Perhaps,
            ..self
        }
    }

    /// The session lives longer by this, as when the servers elect a leader of their own before.
    pub(super) fn later_by(self, delay: Duration) -> Self {
        Self {
            within: self.within + delay,
            ..self
        }
    }

    /// Somebody has removed what the leader has by the time from which the verdict counts, and it is notified.
    pub(super) fn by_hand(self) -> Self {
        Self {
            by_hand: true,
            ..self
        }
    }

    /// The second term goes on.
    pub(super) fn once(self) -> Self {
        Self { once: true, ..self }
    }
}

impl Scene {
    /// Judges what became of the election, and ends it and everybody in it. The next leader had to be there in time
    /// after `since`: the fault, or when the store served again. By `whole` all is mended.
    pub(super) async fn verdict(mut self, since: Timestamp, whole: Timestamp, expected: Expected) {
        let leading = self.settled(whole).await;
        self.is_followed(leading).await;
        let terms = self.terms();
        let (first, succession) = (&terms[0], terms.get(1));
        assert_eq!(first.0, 0, "the first candidate was the first to lead");
        self.told_why(&first.1, &expected);
        assert!(
            !expected.once || terms.len() <= 2,
            "more than one handover: {terms:?}"
        );
        if expected.by_hand {
            let believed = self.believed_until(0, &first.1).saturating_since(since);
            assert!(believed < NOTIFIED, "not notified for {believed:?}");
        }
        let report = match succession {
            None => {
                assert_ne!(expected.stays, Stays::Never, "the same term goes on");
                "the term went on".to_owned()
            }
            Some((next, term)) => {
                assert_ne!(expected.stays, Stays::Always, "another term began");
                let name = self.members[*next].name;
                let after = self.in_time(since, term.first, &expected);
                let until = self.believed_until(0, &first.1);
                // It may have seen it before the one who leads.
                let told = self.told.of(name, until - BUSY).unwrap_or_else(now);
                format!(
                    "{name} led after {after:.2?}, nobody for {:.2?} before, two for {:.2?}; \
                     the follower knew {:.2?} later",
                    term.first.saturating_since(until),
                    until.saturating_since(term.first),
                    told.saturating_since(term.first),
                )
            }
        };
        println!("{}: {report}", self.election);
        self.followed_in_time(&terms);
        self.nobody_is_stuck(leading).await;
        self.in_order(&expected);
        let left = self.follower.contenders().await.unwrap();
        assert!(left.is_empty(), "left in line: {left:?}");
        self.clear().await;
    }

    /// The old leader has a reason, and a right one; unless it is dead.
    fn told_why(&self, term: &Testimony, expected: &Expected) {
        match term.over {
            Some((_, reason)) => {
                let kind = std::mem::discriminant(&reason);
                let mut known = expected.reasons.iter().map(std::mem::discriminant);
                assert!(
                    known.any(|known| known == kind),
                    "{reason:?}, not one of {expected:?}"
                );
            }
            None => {
                let excused = self.members[0].killed.is_some() || expected.stays != Stays::Never;
                assert!(excused, "it was never told that its term is over");
            }
        }
    }

    /// The follower was told of the last one that led, and not too late; perhaps long before that one knew. Those between
    /// it may have missed.
    fn followed_in_time(&self, terms: &[(usize, Testimony)]) {
        let [.., (before, ended), (last, term)] = terms else {
            return;
        };
        let name = self.members[*last].name;
        let told = self.told.of(name, self.believed_until(*before, ended) - BUSY);
        let late = told.map(|told| told.saturating_since(term.first));
        assert!(
            late.is_some_and(|late| late < FOLLOWED),
            "the follower was told of {name} after {late:?}, not within {FOLLOWED:?}"
        );
    }

    /// How long it took until one led, which must not have been too long.
    pub(super) fn in_time(&self, since: Timestamp, led: Timestamp, expected: &Expected) -> Duration {
        // So long after its last renewal a session ends at latest, while the servers serve.
        let within = self.ttl + self.limits.overdue + expected.within;
        let after = led.saturating_since(since);
        assert!(after < within, "led after {after:?}, not within {within:?}");
        after
    }

    /// One after the other leaves, and each time the next one leads at once, until nobody is left; the follower sees
    /// each of them. Whoever only seems to wait is found here.
    async fn nobody_is_stuck(&mut self, mut leading: usize) {
        loop {
            let begin = now();
            self.members[leading].stop().await;
            if self.living().next().is_none() {
                break;
            }
            leading = self.settled(Timestamp::ZERO).await;
            let term = self.members[leading].witness.record().leads().cloned().unwrap();
            let after = term.first.saturating_since(begin);
            assert!(
                after < HANDOVER,
                "{} led {after:?} after a stop",
                self.members[leading].name
            );
            self.is_followed(leading).await;
        }
        eventually("the follower knows that nobody leads", async || {
            let view = self.follower.view();
            view.error.is_none() && view.leader.is_none()
        })
        .await;
    }

    /// No two terms were valid at once, and tokens grew.
    fn in_order(&self, expected: &Expected) {
        let excused = if expected.by_hand {
            NOTIFIED
        } else {
            Duration::ZERO
        };
        let terms = self.terms();
        for (at, (member, earlier)) in terms.iter().enumerate() {
            let until = self.believed_until(*member, earlier);
            for (other, later) in &terms[at + 1..] {
                let overlap = until.saturating_since(later.first);
                assert!(
                    overlap <= excused,
                    "{} believed for {overlap:?} while {} led: {terms:?}",
                    self.members[*member].name,
                    self.members[*other].name
                );
                assert!(later.token > earlier.token, "tokens grow: {terms:?}");
            }
        }
    }

    /// Until when a term surely was valid to its process.
    fn believed_until(&self, member: usize, term: &Testimony) -> Timestamp {
        let killed = self.members[member].killed;
        let over = term.over.map(|(last, _)| last);
        over.or(killed).unwrap_or_else(now)
    }
}
