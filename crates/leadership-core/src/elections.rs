//! A process's part in the elections of one store: one session, any number of candidates and followers.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use tracing::Instrument;

use crate::candidate::{Candidate, check_value};
use crate::config::Config;
use crate::driver;
use crate::driver::session::SessionHandle;
use crate::error::{Error, InvalidInput};
use crate::follower::Follower;
use crate::name::ElectionName;
use crate::post::Post;
use crate::registry::Registry;
use crate::session::Timing;
use crate::store::{DynStore, Limits};

/// This process's part in the elections of one store.
///
/// It holds one session, opened when the first candidate stands, for any number of elections. Clones share it.
/// When the last clone and the last candidate are dropped, the session is closed in the background.
#[derive(Clone)]
pub struct Elections {
    inner: Arc<Inner>,
}

struct Inner {
    store: DynStore,
    config: Config,
    limits: Limits,
    timing: Timing,
    session: Arc<SessionHandle>,
    registry: Registry,
    runtime: tokio::runtime::Handle,
}

impl Elections {
    /// Checks the configuration against the store's limits, and starts the session's task. Asks nothing of
    /// the store yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the setting that cannot work; [`Error::NoRuntime`] outside of tokio.
    pub fn new(store: DynStore, config: Config) -> Result<Self, Error> {
        let limits = store.limits();
        config.check_with(&limits)?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let timing = config.timing(&limits, config.spread.unwrap_or_else(random_byte));
        let session = SessionHandle::start(&runtime, store.clone(), config.clock.clone(), timing);
        let registry = Registry::default();
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                config,
                limits,
                timing,
                session,
                registry,
                runtime,
            }),
        })
    }

    /// Stands in an election, until the candidate is stopped or dropped. `id` is what followers see: the
    /// node's name or address.
    ///
    /// Returns at once; entering the line and everything after goes on in the background.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name or id that is empty or too long for the store, and
    /// [`Error::AlreadyStanding`] if this session has a candidate in that election; [`Error::Closed`].
    pub fn stand<N>(&self, election: N, id: impl Into<Vec<u8>>) -> Result<Candidate, Error>
    where
        N: TryInto<ElectionName>,
        N::Error: Into<InvalidInput>,
    {
        let inner = &self.inner;
        let election = election.try_into().map_err(Into::into)?;
        let id = id.into();
        check_value(&inner.limits, &election, &id)?;
        let shown = String::from_utf8_lossy(&id).into_owned();
        let post = Post::new(election.clone(), id);
        if inner.registry.take_place(&election, &post, &inner.session)? {
            let timing = Timing {
                backoff: crate::Backoff {
                    spread: inner.config.spread.unwrap_or_else(random_byte),
                    ..inner.timing.backoff
                },
                ..inner.timing
            };
            let driver = driver::election::Driver::new(
                election.clone(),
                inner.store.clone(),
                inner.config.clock.clone(),
                timing,
                inner.session.clone(),
                inner.registry.clone(),
                post.clone(),
            );
            let span = tracing::info_span!("candidate", %election, id = %shown);
            inner.runtime.spawn(driver.run().instrument(span));
        }
        Ok(Candidate::new(post, inner.limits.clone()))
    }

    /// Follows who leads an election. Needs no session.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that the store cannot take.
    pub fn follow<N>(&self, election: N) -> Result<Follower, Error>
    where
        N: TryInto<ElectionName>,
        N::Error: Into<InvalidInput>,
    {
        Follower::new(
            &self.inner.runtime,
            self.inner.store.clone(),
            &self.inner.config,
            election,
        )
    }

    /// Stops all candidates, once their work has ended, and closes the session. Returns when nothing of this
    /// process is left at the store, or can be: without the store that takes up to twice the TTL. (A session whose
    /// opening had an unknown outcome holds no entry, and runs out by itself.)
    ///
    /// Cancel safe: dropped, it goes on in the background.
    pub async fn close(&self) {
        let posts: Vec<Arc<Post>> = self.inner.registry.close();
        let candidates: Vec<Candidate> = posts
            .into_iter()
            .map(|post| Candidate::new(post, self.inner.limits.clone()))
            .collect();
        let session = self.inner.session.clone();
        // A task of its own, so that it goes on when this future is dropped.
        let closing = self.inner.runtime.spawn(async move {
            futures_util::future::join_all(candidates.iter().map(Candidate::stop_leading)).await;
            // Removes what cannot be removed one by one.
            session.close();
            futures_util::future::join_all(candidates.iter().map(Candidate::stop)).await;
            let mut status = session.status();
            let _ = status.wait_for(|status| status.closed).await;
        });
        // An error means that the runtime is gone, and the tasks with it; nothing is left to wait for.
        let _ = closing.await;
    }

    /// The store that the elections are held on.
    pub fn store(&self) -> &DynStore {
        &self.inner.store
    }
}

impl fmt::Debug for Elections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elections")
            .field("store", &format_args!("{}", self.inner.store))
            .field("ttl", &self.inner.config.ttl)
            .finish_non_exhaustive()
    }
}

/// A byte that differs from process to process and from call to call. Only delays depend on it.
fn random_byte() -> u8 {
    let hash = RandomState::new().build_hasher().finish();
    hash.to_le_bytes()[0]
}
