//! Sessions: made, renewed and ended, in the two ways of [`Liveness`].
//!
//! With `session` Consul's servers keep the time: a session ends at twice its TTL (`SessionTTLMultiplier`,
//! agent/consul/session_ttl.go), and ten seconds is the least TTL. With `check` a local agent keeps it, by a TTL
//! check that the session is bound to; the session's own TTL is the backstop for an agent that dies.
//!
//! Either way Consul can end a session early (an agent that lost its data, a node that left the catalogue, a server
//! that autopilot removed: hashicorp/consul#6793), and then only the lock-delay keeps others out. So no session is
//! certain for longer than its lock-delay after the *servers* acknowledged it, and both parts together, the time to
//! the end of a silent session and the delay after it, are the TTL that was asked for.
//!
//! | asked: ttl | certain, and lock-delay | time to the end of the session |
//! |---|---|---|
//! | `check` | ttl / 2 | ttl / 2 |
//! | `session`, from 30 s on | ttl / 3 | 2 × ttl / 3 |
//! | `session`, 10 s to 30 s | ttl / 3 | 20 s |

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join;
use hyper::{Method, StatusCode};
use leadership_core::{BootClock, Clock, ElectionName, ErrorKind, Session, SessionId, StoreError};
use tracing::debug;
use uuid::Uuid;

use crate::answer::Answer;
use crate::check::{Check, Checks, UNKNOWN_CHECK};
use crate::client::{Api, Ask, escape, lock};
use crate::config::Liveness;
use crate::error::{Failure, odd};
use crate::line::{json, session_gone};
use crate::wire::{NewSession, ServiceCheck, SessionMade};

/// The least TTL of a session (`SessionTTLMin`, agent/consul/config.go).
pub(crate) const SESSION_TTL_MIN: Duration = Duration::from_secs(10);
/// The longest lock-delay (`MaxLockDelay`, agent/structs/structs.go).
pub(crate) const LOCK_DELAY_MAX: Duration = Duration::from_secs(60);
/// The name of our sessions, and of the services that their checks belong to.
pub(crate) const NAME: &str = "leadership";
/// Between tries to make a session whose check the agent is just telling the servers of: at first, and at most.
const CHECK_POLL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How servers and agents say that they know no such session or check: they are heard.
const ANSWERS: [&str; 4] = [
    "Unknown session",
    MISSING_CHECK,
    UNKNOWN_CHECK[0],
    UNKNOWN_CHECK[1],
];
/// How servers say that no agent has told them of a check.
const MISSING_CHECK: &str = "Missing check";
/// No request takes longer, whoever waits for it; core gives up sooner.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// The sessions of a store.
pub(crate) struct Sessions {
    api: Arc<Api>,
    liveness: Liveness,
    clock: BootClock,
    known: Mutex<HashMap<SessionId, Known>>,
    checks: Checks,
    /// Whether the servers did not answer the last request about sessions, or none was made. While they do not, an agent
    /// that has something to tell them waits for one of them, up to half a minute, and answers nobody meanwhile; and it
    /// refuses tokens, about which it cannot ask. So it is given no checks to make or remove, and none runs out, before
    /// they are seen to answer.
    silent: AtomicBool,
}

/// What a store knows of a session that it made.
struct Known {
    check: Option<Check>,
    /// Where it may have entries.
    elections: HashSet<ElectionName>,
}

/// The durations that follow from the TTL that was asked for. See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Durations {
    certain: Duration,
    session: Duration,
}

impl Durations {
    fn of(liveness: Liveness, ttl: Duration) -> Self {
        match liveness {
            Liveness::Check => Self {
                certain: ttl / 2,
                session: ttl.max(SESSION_TTL_MIN),
            },
            Liveness::Session => Self {
                certain: ttl / 3,
                session: (ttl / 3).max(SESSION_TTL_MIN),
            },
        }
    }
}

impl Sessions {
    pub(crate) fn new(api: Arc<Api>, liveness: Liveness) -> Self {
        Self {
            checks: Checks::new(Arc::clone(&api)),
            api,
            liveness,
            clock: BootClock,
            known: Mutex::default(),
            silent: AtomicBool::new(true),
        }
    }

    pub(crate) async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        const OPEN: &str = "open";
        let durations = Durations::of(self.liveness, ttl);
        if self.liveness == Liveness::Check && self.is_silent() {
            self.hear_servers(OPEN).await?;
        }
        let spare = match self.liveness {
            Liveness::Check => Some(self.checks.take(durations.certain).await?),
            Liveness::Session => None,
        };
        let check = spare.as_ref().map(|spare| spare.check().clone());
        let session = NewSession {
            name: NAME,
            ttl: go_duration(durations.session),
            lock_delay: go_duration(durations.certain),
            behavior: "delete",
            node_checks: [],
            service_checks: check
                .iter()
                .map(|check| ServiceCheck { id: check.id() })
                .collect(),
        };
        let body = serde_json::to_vec(&session).map_err(|error| odd(OPEN, error.to_string()))?;
        let ask = put(OPEN, "/v1/session/create", body);
        // An agent remembers of a check only what it was told of it since: one that was not, and is restarted, lets it
        // begin as critical, and the session would end.
        let tell = async {
            if let Some(check) = &check
                && let Err(error) = self.checks.touch(OPEN, check).await
            {
                debug!(%error, "a restart of the agent would end the session");
            }
        };
        let (made, ()) = join(self.make(&ask, check.as_ref(), durations.certain), tell).await;
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                if let Some(spare) = spare
                    && !self.is_silent()
                {
                    spare.give_back().await;
                }
                return Err(error);
            }
        };
        if let Some(spare) = spare {
            spare.used();
        }
        let id = SessionId::new(made.id);
        let known = Known {
            check,
            elections: HashSet::new(),
        };
        lock(&self.known).insert(id.clone(), known);
        Ok(Session { id, ttl })
    }

    /// Makes a session, as soon as the servers know its check.
    async fn make(
        &self,
        ask: &Ask,
        check: Option<&Check>,
        certain: Duration,
    ) -> Result<SessionMade, StoreError> {
        let begin = self.clock.now();
        let mut pause = CHECK_POLL.0;
        loop {
            let asked = match check {
                None => self.heard(self.api.ask(ask)).await,
                Some(check) => self.heard(self.api.ask_only(check.agent, ask)).await,
            };
            match asked {
                Ok(answer) => return json(ask.operation, &answer),
                // Told before whoever asks gives up, which is after a fifth.
                Err(error)
                    if error.to_string().contains(MISSING_CHECK)
                        && self.clock.now().saturating_since(begin) < certain / 10 => {}
                Err(error) => return Err(error),
            }
            // Each try is an entry in the log of the servers.
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(CHECK_POLL.1);
        }
    }

    /// Renews at the servers, and at the agent if it has a check. Neither is enough alone: the agent says yes while
    /// it is cut off from the servers, and these end a session whose node they take for gone, whatever its TTL.
    pub(crate) async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        let known = lock(&self.known)
            .get(&session.id)
            .map(|known| known.check.clone());
        // Whose check it has, nobody here knows.
        if known.is_none() && self.liveness == Liveness::Check {
            return Err(session_gone("renew", &session.id));
        }
        let check = known.flatten();
        let pass = async {
            match &check {
                Some(check) => self.pass(session, check).await,
                None => Ok(()),
            }
        };
        let (renewed, passed) = join(self.renew_at_servers(session), pass).await;
        let is_gone = |result: &Result<(), StoreError>| {
            result
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::SessionGone)
        };
        if is_gone(&renewed) || is_gone(&passed) {
            self.forget(session).await;
            return Err(session_gone("renew", &session.id));
        }
        renewed?;
        passed?;
        Ok(session.ttl)
    }

    async fn renew_at_servers(&self, session: &Session) -> Result<(), StoreError> {
        const RENEW: &str = "renew";
        let path = format!("/v1/session/renew/{}", escape(session.id.as_str()));
        let answer = self.heard(self.api.ask(&put(RENEW, &path, Vec::new()))).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(session_gone(RENEW, &session.id));
        }
        expect_ok(RENEW, &answer)
    }

    /// Tells the agent that we live.
    async fn pass(&self, session: &Session, check: &Check) -> Result<(), StoreError> {
        const RENEW: &str = "renew";
        if self.checks.touch(RENEW, check).await? {
            return Ok(());
        }
        // An agent that lost its data will soon tell the servers that there is no such check, and they end the
        // session. Until then it holds its keys for nobody.
        self.destroy(RENEW, session).await?;
        Err(session_gone(RENEW, &session.id))
    }

    /// An error unless the servers, whichever leads them, answer now. Changes nothing.
    async fn hear_servers(&self, operation: &'static str) -> Result<(), StoreError> {
        let path = format!("/v1/session/renew/{}", Uuid::nil());
        let ask = put(operation, &path, Vec::new());
        match self.heard(self.api.ask(&ask)).await {
            Err(error) if self.is_silent() => Err(error),
            // Whatever they say of a session that never was.
            _ => Ok(()),
        }
    }

    /// Notes whether the servers answer a request.
    async fn heard(
        &self,
        request: impl Future<Output = Result<Answer, StoreError>>,
    ) -> Result<Answer, StoreError> {
        heard(&self.silent, request).await
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Carries out what ends a session, which is not renewed any more. Its check passes on meanwhile if the servers are
    /// silent and its agent is not, or the agent would have to tell them that it ran out. Where nothing is heard at all,
    /// what we say may arrive all the same, and the session has to end.
    pub(crate) async fn ending<T>(&self, session: &Session, end: impl Future<Output = T>) -> T {
        let check = lock(&self.known)
            .get(&session.id)
            .and_then(|known| known.check.clone());
        let check = check.filter(|_| self.is_silent() && !self.checks.is_silent());
        let pass = async {
            if let Some(check) = check
                && let Err(error) = self.checks.touch("close", &check).await
            {
                debug!(%error, "the check runs out before the session is closed");
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            ended = end => ended,
            never = pass => never,
        }
    }

    /// Ends a session; its keys are removed with it.
    pub(crate) async fn close(&self, session: &Session) -> Result<(), StoreError> {
        self.destroy("close", session).await?;
        self.forget(session).await;
        Ok(())
    }

    async fn destroy(&self, operation: &'static str, session: &Session) -> Result<(), StoreError> {
        let path = format!("/v1/session/destroy/{}", escape(session.id.as_str()));
        match self.heard(self.api.ask(&put(operation, &path, Vec::new()))).await {
            // Where there are access rules, Consul has to know whose it is.
            Err(error) if error.to_string().contains("Unknown session") => Ok(()),
            answer => expect_ok(operation, &answer?),
        }
    }

    /// Removes what is left of a session that is gone.
    pub(crate) async fn forget(&self, session: &Session) {
        let known = lock(&self.known).remove(&session.id);
        let Some(check) = known.and_then(|known| known.check) else {
            return;
        };
        if let Err(error) = self.checks.deregister(&check).await {
            debug!(%error, "Consul removes the check by itself, a minute after it became critical");
        }
    }

    /// Notes that a session may have an entry in an election.
    pub(crate) fn note(&self, session: &SessionId, election: &ElectionName) {
        if let Some(known) = lock(&self.known).get_mut(session) {
            known.elections.insert(election.clone());
        }
    }

    /// Notes that a session has none.
    pub(crate) fn unnote(&self, session: &SessionId, election: &ElectionName) {
        if let Some(known) = lock(&self.known).get_mut(session) {
            known.elections.remove(election);
        }
    }

    /// Where a session may have entries.
    pub(crate) fn noted(&self, session: &SessionId) -> Vec<ElectionName> {
        let known = lock(&self.known);
        let elections = known.get(session).map(|known| &known.elections);
        elections.into_iter().flatten().cloned().collect()
    }
}

/// Notes whether a request is answered; one that is dropped was not.
pub(crate) async fn heard(
    silent: &AtomicBool,
    request: impl Future<Output = Result<Answer, StoreError>>,
) -> Result<Answer, StoreError> {
    let unanswered = Unanswered(silent);
    let answer = request.await;
    std::mem::forget(unanswered);
    // Refusals of servers and agents that come as their failures do.
    let refused = |error: &str| ANSWERS.iter().any(|text| error.contains(text));
    let unheard = |error: &StoreError| {
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable) && !refused(&error.to_string())
    };
    silent.store(answer.as_ref().is_err_and(unheard), Ordering::Relaxed);
    answer
}

/// A request that was not answered, if it is dropped.
struct Unanswered<'a>(&'a AtomicBool);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn put(operation: &'static str, path: &str, body: Vec<u8>) -> Ask {
    Ask {
        operation,
        method: Method::PUT,
        path: path.to_owned(),
        body,
        limit: LIMIT,
    }
}

pub(crate) fn expect_ok(operation: &'static str, answer: &Answer) -> Result<(), StoreError> {
    if answer.status.is_success() {
        return Ok(());
    }
    Err(Failure::answer(answer.status, &answer.body).into_error(operation, "/v1/agent, /v1/session"))
}

/// As Go reads it. Consul refuses no fraction of a second, and rounds none away.
pub(crate) fn go_duration(time: Duration) -> String {
    format!("{}ms", time.as_micros().div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_session_is_certain_for_longer_than_its_lock_delay_and_its_ttl() {
        for liveness in [Liveness::Check, Liveness::Session] {
            for seconds in [1, 2, 10, 15, 30, 60, 120] {
                let ttl = Duration::from_secs(seconds);
                let durations = Durations::of(liveness, ttl);
                assert!(durations.certain <= LOCK_DELAY_MAX);
                assert!(durations.session >= durations.certain.max(SESSION_TTL_MIN));
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_is_heard_and_a_request_that_was_dropped_is_not() {
        use leadership_core::Outcome;
        let silent = AtomicBool::new(false);
        let fails = |kind, text: &str| {
            let error = StoreError::new("consul", "open", kind, Outcome::Unknown, text);
            std::future::ready(Err::<Answer, _>(error))
        };
        for (kind, text, expected) in [
            (ErrorKind::Timeout, "no answer", true),
            (
                ErrorKind::Unavailable,
                "500: Missing check 'x' registration",
                false,
            ),
            (ErrorKind::Unavailable, "500: No cluster leader", true),
            (ErrorKind::Unavailable, "500: Unknown session \"x\"", false),
            (ErrorKind::PermissionDenied, "403", false),
        ] {
            heard(&silent, fails(kind, text)).await.err().expect("it fails");
            assert_eq!(silent.load(Ordering::Relaxed), expected, "{text}");
        }
        let never = heard(&silent, std::future::pending());
        tokio::time::timeout(Duration::from_millis(1), never)
            .await
            .err()
            .expect("dropped");
        assert!(silent.load(Ordering::Relaxed));
    }

    #[test]
    fn durations_are_written_as_go_reads_them() {
        assert_eq!(go_duration(Duration::from_secs(10)), "10000ms");
        assert_eq!(go_duration(Duration::from_micros(333_334)), "334ms");
    }
}
