//! Sessions are leases: granting under an id of our own choice, so that one whose grant was not answered can
//! be revoked; keep-alive streams, one per session and held open; revoking.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::{Error as EtcdError, LeaseGrantOptions, LeaseKeepAliveStream, LeaseKeeper};
use leadership_core::{ErrorKind, Outcome, Session, SessionId, StoreError};
use tokio::task::JoinSet;
use tracing::debug;

use crate::client::{Endpoints, lock, random};
use crate::error::{Failure, STORE};
use crate::line::{lease_of, odd};

/// How long, how often and how far apart an unanswered grant is revoked: the revocation may overtake it.
const REVOKE_LIMIT: Duration = Duration::from_secs(2);
const REVOKE_TRIES: u32 = 3;
const REVOKE_PAUSE: Duration = Duration::from_secs(1);

/// The sessions of a store.
pub(crate) struct Sessions {
    endpoints: Arc<Endpoints>,
    /// The keep-alive streams that are not in use, by lease.
    streams: Mutex<HashMap<i64, KeepAlive>>,
    /// Revocations under way; they end with the store.
    revocations: Mutex<JoinSet<()>>,
}

/// A keep-alive stream on which every request has been answered.
struct KeepAlive {
    index: usize,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    /// When the session is over unless it is renewed, after which nobody asks for this stream.
    over: Instant,
}

impl Sessions {
    pub(crate) fn new(endpoints: Arc<Endpoints>) -> Self {
        Self {
            endpoints,
            streams: Mutex::default(),
            revocations: Mutex::default(),
        }
    }

    /// Grants a lease; `ttl` is rounded up to whole seconds, and etcd may grant more than was asked.
    pub(crate) async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        // etcd takes 0 as a request for an id of its own choice, and ids are positive.
        let lease = (random() >> 1).max(1) as i64;
        let mut unanswered = UnansweredGrant {
            sessions: self,
            lease: Some(lease),
        };
        let granted = self
            .endpoints
            .call("open", |clients| async move {
                let options = LeaseGrantOptions::new().with_id(lease);
                clients.lease.clone().grant(seconds, Some(options)).await
            })
            .await;
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
                Ok(Session {
                    id,
                    ttl: Duration::from_secs(ttl),
                })
            }
            _ => Err(odd("open", "a lease was granted for no time")),
        }
    }

    /// Renews a lease. An answer counts only for the request it answers: a stream is taken out while it is in
    /// use and put back when it has answered, so one with an answer outstanding is never used again.
    pub(crate) async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        let lease = lease_of("renew", &session.id)?;
        let held = lock(&self.streams).remove(&lease);
        // Requests left an endpoint because it fails them.
        if let Some(mut held) = held.filter(|held| held.index == self.endpoints.current()) {
            let guard = self.endpoints.unanswered(held.index);
            let answer = held.ask().await;
            guard.answered();
            match answer {
                Ok(Some(ttl)) => {
                    held.over = Instant::now() + ttl;
                    lock(&self.streams).insert(lease, held);
                    return Ok(ttl);
                }
                Ok(None) => return Err(ended("renew", session)),
                // The stream broke, perhaps long ago: only a new one can tell.
                Err(error) => {
                    let text = self.endpoints.blame(held.index, error).text;
                    debug!(%session.id, text, "etcd keep-alive stream broke");
                }
            }
        }
        let (index, keeper, answers) = self
            .endpoints
            .call("renew", |clients| async move {
                let (keeper, answers) = clients.lease.clone().keep_alive(lease).await?;
                Ok((clients.index, keeper, answers))
            })
            .await?;
        // Opening the stream renews the lease, but etcd-client keeps the answer's TTL to itself. It is the
        // granted one: etcd never changes the TTL of a lease (server/lease/lessor.go, Renew).
        let over = Instant::now() + session.ttl;
        lock(&self.streams).insert(
            lease,
            KeepAlive {
                index,
                keeper,
                answers,
                over,
            },
        );
        Ok(session.ttl)
    }

    /// Revokes a lease, and with it deletes the session's entries.
    pub(crate) async fn close(&self, session: &Session) -> Result<(), StoreError> {
        let lease = lease_of("close", &session.id)?;
        let now = Instant::now();
        // With it go the streams of sessions that ended without being closed.
        lock(&self.streams).retain(|id, stream| *id != lease && stream.over > now);
        match revoke(&self.endpoints, lease).await {
            Err(error) if error.kind() == ErrorKind::SessionGone => Ok(()),
            answer => answer,
        }
    }

    /// Revokes a lease that may have been granted, in the background and as well as can be.
    fn revoke_unanswered(&self, lease: i64) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let endpoints = Arc::clone(&self.endpoints);
        let mut revocations = lock(&self.revocations);
        while revocations.try_join_next().is_some() {}
        revocations.spawn_on(
            async move {
                for _ in 0..REVOKE_TRIES {
                    // Not found may mean not granted yet.
                    if let Ok(Ok(())) = tokio::time::timeout(REVOKE_LIMIT, revoke(&endpoints, lease)).await {
                        debug!(
                            lease = format!("{lease:x}"),
                            "revoked an etcd lease whose grant was unanswered"
                        );
                        return;
                    }
                    tokio::time::sleep(REVOKE_PAUSE).await;
                }
            },
            &runtime,
        );
    }
}

async fn revoke(endpoints: &Endpoints, lease: i64) -> Result<(), StoreError> {
    endpoints
        .call("close", |clients| async move {
            clients.lease.clone().revoke(lease).await.map(drop)
        })
        .await
}

impl KeepAlive {
    /// One request and its answer: the TTL, or none if the lease has ended.
    async fn ask(&mut self) -> Result<Option<Duration>, Failure> {
        self.keeper.keep_alive().await?;
        match self.answers.message().await? {
            Some(answer) => {
                let ttl = u64::try_from(answer.ttl()).unwrap_or(0);
                Ok((ttl > 0).then(|| Duration::from_secs(ttl)))
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
