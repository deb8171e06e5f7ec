//! When a command has to be told to end and when it has to be killed, so that it is dead by the deadline of the
//! term it runs in. Pure: the supervisor and the guard both follow it.

use std::time::Duration;

use leadership::{BootClock, Clock, Timestamp};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before this time.
    Wait(Timestamp),
    /// Ask the command to end.
    Terminate,
    /// Kill it.
    Kill,
}

/// How a command is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// How long the command has between the request to end and being killed.
    pub(crate) grace: Duration,
    /// How long before the deadline it is killed.
    pub(crate) lead: Duration,
}

impl Plan {
    /// What is due at `now`, if the term is valid until `deadline` and the command was asked to end at `asked`.
    ///
    /// A later deadline puts the killing off, but not beyond the grace of a command that was asked to end.
    pub(crate) fn step(&self, now: Timestamp, deadline: Timestamp, asked: Option<Timestamp>) -> Step {
        let last = deadline - self.lead;
        let due = match asked {
            Some(asked) => last.min(asked + self.grace),
            None => last - self.grace,
        };
        if now >= last {
            Step::Kill
        } else if now < due {
            Step::Wait(due)
        } else if asked.is_some() {
            Step::Kill
        } else {
            Step::Terminate
        }
    }

    /// The guard's plan: the same a little later, so that it acts only if the supervisor did not.
    pub(crate) fn for_guard(self) -> Self {
        Self {
            lead: self.lead / 2,
            ..self
        }
    }
}

/// The machine's clock, which the supervisor and its guard share.
pub(crate) fn now() -> Timestamp {
    BootClock.now()
}

/// Sleeps until a time of that clock; a machine that was suspended meanwhile is not late.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) async fn sleep_until(at: Timestamp) {
    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
    use tokio::io::{Interest, unix::AsyncFd};

    let timer = async {
        // Zero would mean never.
        let at = at.since_start().max(Duration::from_nanos(1));
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Boottime, flags)?;
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: at.subsec_nanos().into(),
            },
        };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once)?;
        #[expect(
            deprecated,
            reason = "sound for an OwnedFd; what replaces it is unsafe to call"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        timer.readable().await.map(|_| ())
    };
    if std::io::Result::<()>::is_err(&timer.await) {
        sleep_slice(at).await;
    }
}

/// Sleeps until a time of that clock, or for a while: the caller looks at the clock anyway.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) async fn sleep_until(at: Timestamp) {
    sleep_slice(at).await;
}

/// The runtime's clock stands still while the machine is suspended, so it is not trusted for long.
async fn sleep_slice(at: Timestamp) {
    let left = at.saturating_since(now());
    tokio::time::sleep(left.min(Duration::from_millis(250))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::new(Duration::from_millis(millis))
    }

    const PLAN: Plan = Plan {
        grace: Duration::from_millis(300),
        lead: Duration::from_millis(20),
    };

    #[test]
    fn a_command_is_asked_to_end_a_grace_before_it_is_killed_before_the_deadline() {
        for (now, expected) in [
            (0, Step::Wait(at(680))),
            (679, Step::Wait(at(680))),
            (680, Step::Terminate),
            (979, Step::Terminate),
            (980, Step::Kill),
            (5000, Step::Kill),
        ] {
            assert_eq!(PLAN.step(at(now), at(1000), None), expected, "at {now}");
        }
    }

    #[test]
    fn a_command_that_was_asked_has_its_grace_but_never_beyond_the_deadline() {
        for (now, deadline, asked, expected) in [
            (680, 1000, 680, Step::Wait(at(980))),
            (800, 1000, 800, Step::Wait(at(980))),
            (980, 1000, 800, Step::Kill),
            // The deadline has moved on: it ends all the same.
            (900, 9000, 680, Step::Wait(at(980))),
            (980, 9000, 680, Step::Kill),
        ] {
            assert_eq!(
                PLAN.step(at(now), at(deadline), Some(at(asked))),
                expected,
                "at {now}"
            );
        }
    }

    #[test]
    fn a_deadline_in_the_past_or_too_near_means_killing_at_once() {
        assert_eq!(PLAN.step(at(1000), Timestamp::ZERO, None), Step::Kill);
        assert_eq!(PLAN.step(at(5), at(10), None), Step::Kill);
        assert_eq!(PLAN.step(at(5), at(100), None), Step::Terminate);
    }

    #[test]
    fn the_guard_acts_later_than_the_supervisor_and_still_before_the_deadline() {
        let guard = PLAN.for_guard();
        assert_eq!(PLAN.step(at(680), at(1000), None), Step::Terminate);
        assert_eq!(guard.step(at(680), at(1000), None), Step::Wait(at(690)));
        assert_eq!(guard.step(at(990), at(1000), None), Step::Kill);
    }

    #[tokio::test]
    async fn sleeping_ends_at_the_time_and_at_once_for_a_past_one() {
        let until = now() + Duration::from_millis(30);
        while now() < until {
            sleep_until(until).await;
        }
        let late = now().saturating_since(until);
        assert!(late < Duration::from_millis(500), "{late:?}");
        sleep_until(Timestamp::ZERO).await;
    }
}
