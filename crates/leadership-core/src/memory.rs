//! The reference implementation of [`KvStore`]: a store in memory, complete with several sessions, their
//! expiry, and watches.
//!
//! For tests, demonstrations, and for reading what the contract means. It lives in one process, so it elects a
//! leader among that process's tasks only.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::stream::{self, StreamExt};
use tokio::sync::Notify;

use crate::error::{ErrorKind, Outcome, StoreError};
use crate::name::ElectionName;
use crate::store::{
    Ahead, Contender, DynStore, KvStore, Leader, Limits, Place, Session, SessionId, Standing, Token,
};
use crate::time::{BootClock, Clock, Timestamp};

const STORE: &str = "memory";

/// A store in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    state: Mutex<Contents>,
    /// Wakes in the order of waiting, so that on virtual time the same inputs lead to the same history.
    changes: Notify,
}

#[derive(Default)]
struct Contents {
    /// Counts every change; an entry's is its place in the order of arrival.
    revision: u64,
    sessions: BTreeMap<SessionId, Lease>,
    elections: BTreeMap<ElectionName, BTreeMap<u64, Entry>>,
}

struct Lease {
    ttl: Duration,
    expires: Timestamp,
}

#[derive(Clone)]
struct Entry {
    session: SessionId,
    key: Arc<str>,
    value: Vec<u8>,
}

impl MemoryStore {
    /// An empty store on the machine's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(BootClock))
    }

    /// An empty store on a clock of your own, such as [`TokioClock`](crate::TokioClock) for virtual time.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                state: Mutex::default(),
                changes: Notify::new(),
            }),
        }
    }

    /// The same store as the trait object that [`Elections`](crate::Elections) takes.
    pub fn shared(&self) -> DynStore {
        Arc::new(self.clone())
    }

    /// Ends a session at once, as if its TTL had passed. `false` if there is none of that name.
    pub fn expire(&self, session: &SessionId) -> bool {
        self.change(|contents| contents.end(session))
    }

    /// Removes the entry at the head of an election, as an operator might. `false` if there is none.
    pub fn remove_head(&self, election: &ElectionName) -> bool {
        self.change(|contents| {
            contents
                .elections
                .get_mut(election)
                .is_some_and(|line| line.pop_first().is_some())
        })
    }

    /// How many sessions live.
    pub fn sessions(&self) -> usize {
        self.contents().sessions.len()
    }

    /// The contents, after what has expired is gone.
    fn contents(&self) -> MutexGuard<'_, Contents> {
        let mut contents = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        if contents.expire(self.inner.clock.now()) {
            self.inner.changes.notify_waiters();
        }
        contents
    }

    fn change<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        let result = change(&mut self.contents());
        self.inner.changes.notify_waiters();
        result
    }

    /// Yields what `look` sees, now and whenever it has changed.
    fn follow<T, F>(&self, look: F) -> BoxStream<'static, Result<T, StoreError>>
    where
        T: Clone + PartialEq + Send + Sync + 'static,
        F: Fn(&Contents) -> T + Send + Sync + 'static,
    {
        let start = (self.clone(), look, None::<T>);
        stream::unfold(start, |(store, look, last)| async move {
            loop {
                // Before the look, so that no change is missed after it.
                let changed = store.inner.changes.notified();
                let (seen, expires) = {
                    let contents = store.contents();
                    (
                        look(&contents),
                        contents.sessions.values().map(|lease| lease.expires).min(),
                    )
                };
                if last.as_ref() != Some(&seen) {
                    drop(changed);
                    return Some((Ok(seen.clone()), (store, look, Some(seen))));
                }
                let expiry = async {
                    match expires {
                        Some(at) => {
                            let left = at.saturating_since(store.inner.clock.now());
                            tokio::time::sleep(left).await;
                        }
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = expiry => {}
                }
            }
        })
        .boxed()
    }
}

impl Contents {
    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn expire(&mut self, now: Timestamp) -> bool {
        let ended: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, lease)| now >= lease.expires)
            .map(|(id, _)| id.clone())
            .collect();
        ended.iter().for_each(|id| {
            self.end(id);
        });
        !ended.is_empty()
    }

    fn end(&mut self, session: &SessionId) -> bool {
        for line in self.elections.values_mut() {
            line.retain(|_, entry| entry.session != *session);
        }
        self.elections.retain(|_, line| !line.is_empty());
        self.sessions.remove(session).is_some()
    }

    fn entry(&self, place: &Place) -> Option<&Entry> {
        self.elections.get(&place.election)?.get(&place.fence)
    }

    fn standing(&self, place: &Place) -> Standing {
        if self.entry(place).is_none() {
            return Standing::Gone;
        }
        let line = self.elections.get(&place.election);
        match line.and_then(|line| line.range(..place.fence).next_back()) {
            Some((_, entry)) => Standing::Behind(Ahead {
                key: entry.key.clone(),
                foreign: false,
            }),
            None => Standing::First(Token(place.fence)),
        }
    }

    fn find(&self, election: &ElectionName, session: &SessionId) -> Option<Place> {
        let line = self.elections.get(election)?;
        let (fence, entry) = line.iter().find(|(_, entry)| entry.session == *session)?;
        Some(Place {
            election: election.clone(),
            session: session.clone(),
            key: entry.key.clone(),
            fence: *fence,
        })
    }

    fn leader(&self, election: &ElectionName) -> Option<Leader> {
        let (fence, entry) = self.elections.get(election)?.first_key_value()?;
        Some(Leader {
            value: entry.value.clone(),
            token: Some(Token(*fence)),
            key: entry.key.clone(),
        })
    }
}

fn session_gone(operation: &'static str, session: &SessionId) -> StoreError {
    let message = format!("session {session} has ended");
    StoreError::new(
        STORE,
        operation,
        ErrorKind::SessionGone,
        Outcome::NotApplied,
        message,
    )
}

#[async_trait]
impl KvStore for MemoryStore {
    fn limits(&self) -> Limits {
        Limits {
            store: STORE,
            ttl_min: Duration::from_millis(10),
            shorter: None,
            ttl_max: Duration::from_secs(24 * 3600),
            certain_percent: 100,
            renewals: Limits::RENEWALS,
            overdue: Duration::ZERO,
            value_max: 1 << 20,
            name_max: ElectionName::MAX_BYTES,
        }
    }

    async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        let expires = self.inner.clock.now() + ttl;
        Ok(self.change(|contents| {
            let id = SessionId::new(format!("{:016x}", contents.next_revision()));
            contents.sessions.insert(id.clone(), Lease { ttl, expires });
            Session { id, ttl }
        }))
    }

    async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        let now = self.inner.clock.now();
        let mut contents = self.contents();
        let lease = contents
            .sessions
            .get_mut(&session.id)
            .ok_or_else(|| session_gone("renew", &session.id))?;
        lease.expires = now + lease.ttl;
        Ok(lease.ttl)
    }

    async fn close(&self, session: &Session) -> Result<(), StoreError> {
        self.expire(&session.id);
        Ok(())
    }

    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError> {
        self.change(|contents| {
            if !contents.sessions.contains_key(&session.id) {
                return Err(session_gone("enter", &session.id));
            }
            if contents.find(election, &session.id).is_none() {
                let entry = Entry {
                    session: session.id.clone(),
                    key: format!("{election}/{}", session.id).into(),
                    value: value.to_vec(),
                };
                let fence = contents.next_revision();
                contents
                    .elections
                    .entry(election.clone())
                    .or_default()
                    .insert(fence, entry);
            }
            let place = contents.find(election, &session.id);
            let place = place.ok_or_else(|| session_gone("enter", &session.id))?;
            let standing = contents.standing(&place);
            Ok((place, standing))
        })
    }

    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError> {
        Ok(self.contents().find(election, &session.id))
    }

    fn standing(
        &self,
        place: &Place,
        _known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>> {
        let place = place.clone();
        self.follow(move |contents| contents.standing(&place))
    }

    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        self.change(|contents| {
            let line = contents.elections.get_mut(&place.election);
            match line.and_then(|line| line.get_mut(&place.fence)) {
                Some(entry) => {
                    entry.value = value.to_vec();
                    Ok(())
                }
                None => {
                    let message = format!("the entry {} is not there any more", place.key);
                    Err(StoreError::new(
                        STORE,
                        "proclaim",
                        ErrorKind::EntryGone,
                        Outcome::NotApplied,
                        message,
                    ))
                }
            }
        })
    }

    async fn leave(&self, place: &Place) -> Result<(), StoreError> {
        self.change(|contents| {
            if let Some(line) = contents.elections.get_mut(&place.election) {
                line.remove(&place.fence);
            }
        });
        Ok(())
    }

    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
        let election = election.clone();
        self.follow(move |contents| contents.leader(&election))
    }

    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        let contents = self.contents();
        let line = contents.elections.get(election);
        Ok(line
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(place, (fence, entry))| Contender {
                value: entry.value.clone(),
                key: entry.key.clone(),
                session: Some(entry.session.clone()),
                order: *fence,
                leads: place == 0,
                token: (place == 0).then_some(Token(*fence)),
            })
            .collect())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
