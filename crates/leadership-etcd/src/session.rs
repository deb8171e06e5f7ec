//! Sessions are leases: granting under an id of our own choice, so that one whose grant was not answered can
//! be revoked; keep-alive streams, one per lease and held open; revoking. Which leases a session lives by is in
//! [`leases`](crate::leases).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_client::{
    Error as EtcdError, LeaseGrantOptions, LeaseGrantResponse, LeaseKeepAliveStream, LeaseKeeper,
};
use futures_util::future::{join_all, try_join_all};
use leadership_core::{ErrorKind, Outcome, Session, SessionId, StoreError};
use tokio::task::JoinSet;
use tracing::debug;

use crate::client::{Endpoints, lock, random};
use crate::error::{Failure, STORE};
use crate::leases::Leases;
use crate::line::odd;
use crate::moves::Mover;

/// How long, how often and how far apart an unanswered grant is revoked: the revocation may overtake it.
pub(crate) const REVOKE_LIMIT: Duration = Duration::from_secs(2);
const REVOKE_TRIES: u32 = 3;
const REVOKE_PAUSE: Duration = Duration::from_secs(1);
/// Which part of the TTL a stream that was just opened may take to answer a second time.
const ASKED_AGAIN: u32 = 10;

/// The sessions of a store.
pub(crate) struct Sessions {
    endpoints: Arc<Endpoints>,
    pub(crate) leases: Leases,
    /// Revocations and moves under way; they end with the store.
    tasks: Mutex<JoinSet<()>>,
}

/// A keep-alive stream on which every request has been answered.
pub(crate) struct KeepAlive {
    index: usize,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

/// How etcd answers a keep-alive.
struct Renewed {
    ttl: Duration,
    /// The term of etcd's leader; 0 if it was not told.
    term: u64,
}

impl Sessions {
    pub(crate) fn new(endpoints: Arc<Endpoints>) -> Self {
        Self {
            endpoints,
            leases: Leases::default(),
            tasks: Mutex::default(),
        }
    }

    /// Grants a lease; `ttl` is rounded up to whole seconds, and etcd may grant more than was asked.
    pub(crate) async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let lease = new_lease();
        let before = self.leases.term();
        let mut unanswered = UnansweredGrant {
            sessions: self,
            lease: Some(lease),
        };
        let granted = grant("open", &self.endpoints, lease, seconds).await;
        if granted
            .as_ref()
            .err()
            .is_none_or(|e| e.outcome() == Outcome::NotApplied)
        {
            unanswered.lease = None;
        }
        let granted = granted?;
        match u64::try_from(granted.ttl()) {
            Ok(ttl) if ttl > 0 => {
                let id = SessionId::new(format!("{:x}", granted.id()));
                let ttl = Duration::from_secs(ttl);
                let term = granted.header().map_or(0, |header| header.raft_term());
                self.leases.opened(&id, granted.id(), before, term, ttl);
                Ok(Session { id, ttl })
            }
            _ => Err(odd("open", "a lease was granted for no time")),
        }
    }

    /// Renews a session: every lease that it lives by. If etcd has another leader than when the last one was granted,
    /// the session's entries begin to move to a new one.
    pub(crate) async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        let leases = self.leases.of("renew", &session.id)?;
        let renewals = leases.iter().map(|lease| self.renew_lease(session, *lease));
        let renewed = match try_join_all(renewals).await {
            Ok(renewed) => renewed,
            Err(error) => {
                if error.kind() == ErrorKind::SessionGone {
                    // Of two leases the other one may live, with entries on it. It is not revoked: whoever holds them
                    // has not been told yet.
                    self.leases.forget(&session.id);
                }
                return Err(error);
            }
        };
        let answers = || renewed.iter().flatten();
        let term = answers().map(|answer| answer.term).max().unwrap_or(0);
        if self.leases.renewed(&session.id, term, session.ttl) {
            self.move_entries(session.clone());
        }
        Ok(answers()
            .map(|answer| answer.ttl)
            .fold(session.ttl, Duration::min))
    }

    /// Renews a lease, unless the session lives by another one meanwhile. An answer counts only for the request it
    /// answers: a stream is taken out while it is in use and put back when it has answered, so one with an answer
    /// outstanding is never used again.
    async fn renew_lease(&self, session: &Session, lease: i64) -> Result<Option<Renewed>, StoreError> {
        let held = self.leases.take_stream(&session.id, lease);
        // Requests left an endpoint because it fails them.
        if let Some(held) = held.filter(|held| held.index == self.endpoints.current())
            && let Some(answer) = self.ask_on(session, lease, held).await
        {
            return answer;
        }
        let opened = self
            .endpoints
            .call("renew", |clients| async move {
                let (keeper, answers) = clients.lease.clone().keep_alive(lease).await?;
                Ok((clients.index, keeper, answers))
            })
            .await;
        let (index, keeper, answers) = match opened {
            Err(error)
                if error.kind() == ErrorKind::SessionGone
                    && self.leases.goes_on_without(&session.id, lease) =>
            {
                return Ok(None);
            }
            opened => opened?,
        };
        let held = KeepAlive {
            index,
            keeper,
            answers,
        };
        // Opening the stream renews the lease, but etcd-client keeps the answer to itself, and with it the term. So it is
        // asked for, which need not be answered.
        let limit = session.ttl / ASKED_AGAIN;
        if let Ok(Some(answer)) = tokio::time::timeout(limit, self.ask_on(session, lease, held)).await {
            return answer;
        }
        // The TTL is the granted one: etcd never changes that of a lease (server/lease/lessor.go, Renew).
        Ok(Some(Renewed {
            ttl: session.ttl,
            term: 0,
        }))
    }

    /// Renews a lease by its stream; none if that broke.
    async fn ask_on(
        &self,
        session: &Session,
        lease: i64,
        mut held: KeepAlive,
    ) -> Option<Result<Option<Renewed>, StoreError>> {
        let guard = self.endpoints.unanswered(held.index);
        let answer = held.ask().await;
        guard.answered();
        match answer {
            Ok(Some(renewed)) => {
                self.leases.keep_stream(&session.id, lease, held);
                Some(Ok(Some(renewed)))
            }
            Ok(None) if self.leases.goes_on_without(&session.id, lease) => Some(Ok(None)),
            Ok(None) => Some(Err(ended("renew", session))),
            // Perhaps long ago: only a new one can tell.
            Err(error) => {
                let text = self.endpoints.blame(held.index, error).text;
                debug!(%session.id, text, "etcd keep-alive stream broke");
                None
            }
        }
    }

    /// Revokes a session's leases, and with them deletes its entries.
    pub(crate) async fn close(&self, session: &Session) -> Result<(), StoreError> {
        let leases = self.leases.closing("close", &session.id)?;
        self.leases.sweep();
        let revoked = join_all(leases.iter().map(|lease| revoke(&self.endpoints, *lease))).await;
        for answer in revoked {
            match answer {
                Err(error) if error.kind() == ErrorKind::SessionGone => {}
                answer => answer?,
            }
        }
        self.leases.forget(&session.id);
        Ok(())
    }

    /// Revokes a lease that may have been granted, in the background and as well as can be.
    fn revoke_unanswered(&self, lease: i64) {
        let endpoints = Arc::clone(&self.endpoints);
        self.spawn(async move { revoke_surely(&endpoints, lease).await });
    }

    /// Moves a session's entries in the background. What cannot be done now is tried again with the next renewal.
    fn move_entries(&self, session: Session) {
        let mover = Mover::new(Arc::clone(&self.endpoints), self.leases.clone(), session);
        self.spawn(async move {
            let (endpoints, unneeded) = mover.run().await;
            if let Some(lease) = unneeded {
                revoke_surely(&endpoints, lease).await;
            }
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &runtime);
    }
}

/// An id that nobody else has: etcd takes 0 as a request for one of its own choice, and ids are positive.
pub(crate) fn new_lease() -> i64 {
    (random() >> 1).max(1) as i64
}

pub(crate) async fn grant(
    operation: &'static str,
    endpoints: &Endpoints,
    lease: i64,
    seconds: u64,
) -> Result<LeaseGrantResponse, StoreError> {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    endpoints
        .call(operation, |clients| async move {
            let options = LeaseGrantOptions::new().with_id(lease);
            clients.lease.clone().grant(seconds, Some(options)).await
        })
        .await
}

/// Revokes a lease whose grant may still be under way, as well as can be; it ends by itself otherwise.
async fn revoke_surely(endpoints: &Endpoints, lease: i64) {
    for _ in 0..REVOKE_TRIES {
        // Not found may mean not granted yet.
        if let Ok(Ok(())) = tokio::time::timeout(REVOKE_LIMIT, revoke(endpoints, lease)).await {
            debug!(
                lease = format!("{lease:x}"),
                "revoked an etcd lease that nobody needs"
            );
            return;
        }
        tokio::time::sleep(REVOKE_PAUSE).await;
    }
}

pub(crate) async fn revoke(endpoints: &Endpoints, lease: i64) -> Result<(), StoreError> {
    endpoints
        .call("close", |clients| async move {
            clients.lease.clone().revoke(lease).await.map(drop)
        })
        .await
}

impl KeepAlive {
    /// One request and its answer; none if the lease has ended.
    async fn ask(&mut self) -> Result<Option<Renewed>, Failure> {
        self.keeper.keep_alive().await?;
        match self.answers.message().await? {
            Some(answer) => {
                let ttl = u64::try_from(answer.ttl()).unwrap_or(0);
                Ok((ttl > 0).then(|| Renewed {
                    ttl: Duration::from_secs(ttl),
                    term: answer.header().map_or(0, |header| header.raft_term()),
                }))
            }
            None => Err(EtcdError::LeaseKeepAliveError("no more answers".to_owned()).into()),
        }
    }
}

fn ended(operation: &'static str, session: &Session) -> StoreError {
    let text = format!("the lease {} has ended", session.id);
    StoreError::new(
        STORE,
        operation,
        ErrorKind::SessionGone,
        Outcome::NotApplied,
        text,
    )
}

/// Revokes the lease of a grant that was dropped or failed without telling whether it was applied.
struct UnansweredGrant<'a> {
    sessions: &'a Sessions,
    lease: Option<i64>,
}

impl Drop for UnansweredGrant<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease {
            self.sessions.revoke_unanswered(lease);
        }
    }
}
