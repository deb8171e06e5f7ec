//! One uninterrupted leadership.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::election::EndReason;
use crate::name::ElectionName;
use crate::store::Token;
use crate::time::Timestamp;
use crate::validity::SessionCell;

/// A term: one uninterrupted leadership of one election.
///
/// Whether it is valid is computed from the clock when you ask, so a process that was stopped for a minute gets
/// `false` at its first instruction. It is cheap to clone and to ask; once `false`, it stays `false`.
///
/// What protects you from a leader that does not ask in time is the [token](Self::token): send it along with
/// every write, and have the resource refuse one lower than it has seen.
#[derive(Clone)]
pub struct Term {
    inner: Arc<Inner>,
}

struct Inner {
    election: ElectionName,
    token: Token,
    session: Arc<SessionCell>,
    margin: Duration,
    over: AtomicBool,
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Running,
    Ending(EndReason),
    Over(EndReason),
}

impl Term {
    pub(crate) fn new(
        election: ElectionName,
        token: Token,
        session: Arc<SessionCell>,
        margin: Duration,
    ) -> Self {
        let stage = watch::Sender::new(Stage::Running);
        let over = AtomicBool::new(false);
        Self {
            inner: Arc::new(Inner {
                election,
                token,
                session,
                margin,
                over,
                stage,
            }),
        }
    }

    /// The election this is a term of.
    pub fn election(&self) -> &ElectionName {
        &self.inner.election
    }

    /// The fencing token: greater than that of every earlier term of this election.
    pub fn token(&self) -> Token {
        self.inner.token
    }

    /// Whether this is the leader now. `false` is final.
    pub fn is_valid(&self) -> bool {
        !self.inner.over.load(Ordering::Acquire) && self.inner.session.is_valid()
    }

    /// Until when the term is valid if no further renewal is acknowledged; `None` when it is over.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.is_valid() {
            self.inner.session.deadline()
        } else {
            None
        }
    }

    /// Time until the deadline; zero when the term is over. Grows again with each acknowledged renewal.
    pub fn remaining(&self) -> Duration {
        self.deadline()
            .map_or(Duration::ZERO, |d| d.saturating_since(self.inner.session.now()))
    }

    /// Completes when the term is over, at latest at the deadline, with the reason.
    ///
    /// Cancel safe.
    pub async fn ended(&self) -> EndReason {
        let mut stage = self.inner.stage.subscribe();
        loop {
            if let Stage::Over(reason) = *stage.borrow_and_update() {
                return reason;
            }
            let (now, deadline) = (self.inner.session.now(), self.inner.session.last_deadline());
            if now >= deadline && !self.is_valid() {
                let reason = EndReason::passed(now, Some(deadline), self.inner.margin);
                // The driver may know better, and has said so if it has run.
                return self.reason().unwrap_or(reason);
            }
            // If the session was lost before its deadline, the driver is about to say why.
            tokio::select! {
                // The sender lives in this very term.
                _ = stage.changed() => {}
                () = tokio::time::sleep(deadline.saturating_since(now)) => {}
            }
        }
    }

    /// Completes when work should come to its end: somebody asked the candidate to resign or stop, or the term
    /// is over. In the first case the term goes on, renewed, until the work of
    /// [`lead`](crate::Candidate::lead) has ended, at most for [`Config::drain`](crate::Config::drain).
    ///
    /// Cancel safe.
    pub async fn ending(&self) -> EndReason {
        let mut stage = self.inner.stage.subscribe();
        tokio::select! {
            reason = self.ended() => reason,
            found = stage.wait_for(|stage| !matches!(stage, Stage::Running)) => match found.as_deref() {
                Ok(Stage::Ending(reason) | Stage::Over(reason)) => *reason,
                _ => EndReason::Stopped,
            },
        }
    }

    /// Why the term ended, once the candidate has noticed; [`Term::is_valid`] may be `false` before that.
    pub fn reason(&self) -> Option<EndReason> {
        match *self.inner.stage.borrow() {
            Stage::Over(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether it was asked to end, and waits for its work.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(*self.inner.stage.borrow(), Stage::Ending(_))
    }

    pub(crate) fn asked_to_end(&self, reason: EndReason) {
        self.inner.stage.send_if_modified(|stage| {
            let running = matches!(stage, Stage::Running);
            if running {
                *stage = Stage::Ending(reason);
            }
            running
        });
    }

    /// Ends the term for everybody who holds it.
    pub(crate) fn end(&self, reason: EndReason) {
        self.inner.over.store(true, Ordering::Release);
        self.inner.stage.send_if_modified(|stage| {
            let first = !matches!(stage, Stage::Over(_));
            if first {
                *stage = Stage::Over(reason);
            }
            first
        });
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term")
            .field("election", &self.inner.election)
            .field("token", &self.inner.token.0)
            .field("remaining", &self.remaining())
            .field("ended", &self.reason())
            .finish()
    }
}
