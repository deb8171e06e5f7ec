//! A store that can be held at any of the points at which whoever asks it waits: before a request is sent, and after
//! it was answered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use leadership_core::{
    Contender, DynStore, ElectionName, KvStore, Leader, Limits, Place, Session, Standing, StoreError,
};
use tokio::sync::watch;

/// Where a store is held, and how it is let go.
#[derive(Debug)]
pub(super) struct Steps {
    taken: AtomicUsize,
    held_at: usize,
    reached: watch::Sender<bool>,
    let_go: watch::Sender<bool>,
}

impl Steps {
    /// Holds the store at the step of this number, counted from 0.
    pub(super) fn held_at(step: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            held_at: step,
            reached: watch::Sender::new(false),
            let_go: watch::Sender::new(false),
        })
    }

    /// How many there were.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Waits until the store is held.
    pub(super) async fn reached(&self) {
        // It is not closed: the sender is here.
        let _ = self.reached.subscribe().wait_for(|reached| *reached).await;
    }

    /// Lets the store go on.
    pub(super) fn let_go(&self) {
        self.let_go.send_replace(true);
    }

    async fn step(&self) {
        if self.taken.fetch_add(1, Ordering::Relaxed) == self.held_at {
            self.reached.send_replace(true);
            let _ = self.let_go.subscribe().wait_for(|gone| *gone).await;
        }
    }
}

/// A store behind such steps.
pub(super) struct Stepping {
    pub(super) store: DynStore,
    pub(super) steps: Arc<Steps>,
}

impl Stepping {
    async fn pass<T>(&self, request: impl Future<Output = T>) -> T {
        self.steps.step().await;
        let answer = request.await;
        self.steps.step().await;
        answer
    }

    fn follow<T: Send + 'static>(&self, stream: BoxStream<'static, T>) -> BoxStream<'static, T> {
        let steps = Arc::clone(&self.steps);
        let told = stream.then(move |item| {
            let steps = Arc::clone(&steps);
            async move {
                steps.step().await;
                item
            }
        });
        told.boxed()
    }
}

#[async_trait]
impl KvStore for Stepping {
    fn limits(&self) -> Limits {
        self.store.limits()
    }

    async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        self.pass(self.store.open(ttl)).await
    }

    async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        self.pass(self.store.renew(session)).await
    }

    async fn close(&self, session: &Session) -> Result<(), StoreError> {
        self.pass(self.store.close(session)).await
    }

    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError> {
        self.pass(self.store.enter(election, session, value)).await
    }

    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError> {
        self.pass(self.store.find(election, session)).await
    }

    fn standing(
        &self,
        place: &Place,
        known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>> {
        self.follow(self.store.standing(place, known))
    }

    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        self.pass(self.store.proclaim(place, value)).await
    }

    async fn leave(&self, place: &Place) -> Result<(), StoreError> {
        self.pass(self.store.leave(place)).await
    }

    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
        self.follow(self.store.leader(election))
    }

    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        self.pass(self.store.contenders(election)).await
    }
}

impl fmt::Display for Stepping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl fmt::Debug for Stepping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepping")
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}
