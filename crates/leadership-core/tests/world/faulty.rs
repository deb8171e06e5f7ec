//! A memory store whose way can be blocked, before or after a request takes effect.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use leadership_core::{
    Contender, ElectionName, ErrorKind, KvStore, Leader, Limits, MemoryStore, Outcome, Place, Session,
    Standing, StoreError,
};

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// It never reaches the store.
    Blocked,
    /// It takes effect, but the answer is lost.
    ReplyLost,
    /// It takes effect this much later, though nobody waits for it any more.
    Late(Duration),
    /// The store refuses it with this kind of error.
    Refused(ErrorKind),
}

#[derive(Clone, Default)]
pub(crate) struct FaultyStore {
    pub(crate) memory: MemoryStore,
    ways: Arc<Mutex<HashMap<&'static str, Way>>>,
    calls: Arc<Mutex<HashMap<&'static str, Arc<AtomicUsize>>>>,
}

impl FaultyStore {
    pub(crate) fn new(memory: MemoryStore) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }

    pub(crate) fn set(&self, operation: &'static str, way: Way) {
        self.ways.lock().unwrap().insert(operation, way);
    }

    pub(crate) fn heal(&self) {
        self.ways.lock().unwrap().clear();
    }

    pub(crate) fn calls(&self, operation: &'static str) -> usize {
        self.count(operation).load(Ordering::Relaxed)
    }

    fn count(&self, operation: &'static str) -> Arc<AtomicUsize> {
        self.calls.lock().unwrap().entry(operation).or_default().clone()
    }

    fn way(&self, operation: &'static str) -> Option<Way> {
        self.ways.lock().unwrap().get(operation).copied()
    }

    async fn pass<T, F, R>(&self, operation: &'static str, request: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(MemoryStore) -> R + Send + 'static,
        R: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.count(operation).fetch_add(1, Ordering::Relaxed);
        match self.way(operation) {
            None => request(self.memory.clone()).await,
            Some(Way::Blocked) => std::future::pending().await,
            Some(Way::ReplyLost) => {
                let _ = request(self.memory.clone()).await;
                std::future::pending().await
            }
            Some(Way::Late(by)) => {
                let memory = self.memory.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(by).await;
                    let _ = request(memory).await;
                });
                std::future::pending().await
            }
            Some(Way::Refused(kind)) => Err(StoreError::new(
                "faulty",
                operation,
                kind,
                Outcome::NotApplied,
                "refused by the test",
            )),
        }
    }

    fn stream_error(&self, operation: &'static str) -> Option<StoreError> {
        match self.way(operation) {
            Some(Way::Refused(kind)) => Some(StoreError::new(
                "faulty",
                operation,
                kind,
                Outcome::NotApplied,
                "refused by the test",
            )),
            _ => None,
        }
    }
}

#[async_trait]
impl KvStore for FaultyStore {
    fn limits(&self) -> Limits {
        self.memory.limits()
    }

    async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        self.pass("open", move |memory| async move { memory.open(ttl).await })
            .await
    }

    async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        let session = session.clone();
        self.pass("renew", move |memory| async move { memory.renew(&session).await })
            .await
    }

    async fn close(&self, session: &Session) -> Result<(), StoreError> {
        let session = session.clone();
        self.pass("close", move |memory| async move { memory.close(&session).await })
            .await
    }

    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError> {
        let (election, session, value) = (election.clone(), session.clone(), value.to_vec());
        self.pass("enter", move |memory| async move {
            memory.enter(&election, &session, &value).await
        })
        .await
    }

    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError> {
        let (election, session) = (election.clone(), session.clone());
        self.pass("find", move |memory| async move {
            memory.find(&election, &session).await
        })
        .await
    }

    fn standing(
        &self,
        place: &Place,
        known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>> {
        self.count("standing").fetch_add(1, Ordering::Relaxed);
        match self.stream_error("standing") {
            Some(error) => Box::pin(futures_util::stream::iter([Err(error)])),
            None => self.memory.standing(place, known),
        }
    }

    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        let (place, value) = (place.clone(), value.to_vec());
        self.pass("proclaim", move |memory| async move {
            memory.proclaim(&place, &value).await
        })
        .await
    }

    async fn leave(&self, place: &Place) -> Result<(), StoreError> {
        let place = place.clone();
        self.pass("leave", move |memory| async move { memory.leave(&place).await })
            .await
    }

    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
        match self.stream_error("leader") {
            Some(error) => Box::pin(futures_util::stream::iter([Err(error)])),
            None => self.memory.leader(election),
        }
    }

    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        self.memory.contenders(election).await
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}
