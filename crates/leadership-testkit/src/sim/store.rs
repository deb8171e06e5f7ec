//! A store with faults in front of it: one process's way to any [`KvStore`], on which requests and replies are
//! lost, late, refused or repeated, streams stall or break, and everything waits while the process is paused.
//!
//! It needs nothing but a tokio runtime; on virtual time a test with it is exact and takes no time:
//!
//! ```
//! use leadership_core::{Config, Elections, MemoryStore, TokioClock};
//! use leadership_testkit::sim::{Conditions, FaultyStore};
//! use std::{sync::Arc, time::Duration};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), leadership_core::Error> {
//! let clock = TokioClock::shared();
//! let memory = MemoryStore::with_clock(clock.clone());
//! let way = FaultyStore::new(memory.shared());
//! let elections = Elections::new(Arc::new(way.clone()), Config::default().clock(clock))?;
//! let candidate = elections.stand("service/scheduler", "node-1")?;
//! let term = candidate.elected().await?;
//!
//! way.set(Conditions { requests_lost: true, ..Conditions::default() });
//! term.ended().await; // at the deadline, before the store lets another lead
//! way.set(Conditions::default());
//! candidate.elected().await?; // and it stands again by itself
//! # Ok(()) }
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use leadership_core::{
    Contender, DynStore, ElectionName, ErrorKind, KvStore, Leader, Limits, Outcome, Place, Session, Standing,
    StoreError,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use super::random::Random;
use super::stream::pass_on;

/// What the way to the store is like at present. The default is a way on which nothing goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// How long a request is under way. One that its sender gave up meanwhile is applied all the same.
    pub there: Duration,
    /// How long a reply, or an item of a stream, is under way.
    pub back: Duration,
    /// Each way takes up to this much longer, so that replies overtake each other.
    pub jitter: Duration,
    /// Requests do not reach the store, and nobody is told.
    pub requests_lost: bool,
    /// Replies do not come back, though the requests were applied.
    pub replies_lost: bool,
    /// Requests are applied, but answered with an error of unknown outcome.
    pub answers_spoiled: bool,
    /// Requests are refused without having been applied, and streams end with an error.
    pub refused: bool,
    /// Streams tell nothing; afterwards they go on with the latest, and what was in between is skipped.
    pub streams_stalled: bool,
    /// A `leave`, `proclaim` or `renew` is applied once more so much later, as by a client that tried again.
    pub repeated_after: Option<Duration>,
    /// The process is paused: nothing leaves it and nothing reaches it.
    pub paused: bool,
}

/// Something that happened on the way.
#[derive(Clone, Debug)]
pub enum Passing {
    /// The store has applied a request, with this outcome.
    Applied {
        /// The operation of [`KvStore`].
        operation: &'static str,
        /// Whether it succeeded, in words.
        outcome: String,
    },
    /// A reply reached the process.
    Answered(&'static str),
    /// A request or a reply was lost, or a request refused.
    Failed(&'static str),
    /// A stream told something.
    Told {
        /// The operation of [`KvStore`].
        operation: &'static str,
        /// What it told.
        item: String,
    },
}

type Onlooker = Arc<dyn Fn(Passing) + Send + Sync>;

/// One process's way to a store. Clones are the same way; for another process make another.
#[derive(Clone)]
pub struct FaultyStore {
    inner: DynStore,
    way: Arc<Way>,
}

pub(super) struct Way {
    present: Mutex<Present>,
    /// Wakes in the order of waiting, so that a seed replays; a `watch` channel does not.
    pub(super) changed: Notify,
    jitter: Mutex<Random>,
    onlooker: Option<Onlooker>,
}

#[derive(Clone, Debug, Default)]
struct Present {
    conditions: Conditions,
    /// How often all streams were broken.
    broken: u64,
}

impl FaultyStore {
    /// A way to `store` on which nothing goes wrong yet.
    pub fn new(store: DynStore) -> Self {
        Self::with_onlooker(store, 0, None)
    }

    /// A way whose jitter comes from `seed`, and which tells `onlooker` of everything that passes.
    pub fn watched(store: DynStore, seed: u64, onlooker: impl Fn(Passing) + Send + Sync + 'static) -> Self {
        Self::with_onlooker(store, seed, Some(Arc::new(onlooker)))
    }

    fn with_onlooker(inner: DynStore, seed: u64, onlooker: Option<Onlooker>) -> Self {
        let way = Way {
            present: Mutex::default(),
            changed: Notify::new(),
            jitter: Mutex::new(Random::new(seed)),
            onlooker,
        };
        Self {
            inner,
            way: Arc::new(way),
        }
    }

    /// Changes what the way is like. What is under way is lost if the way is cut before it arrives.
    pub fn set(&self, conditions: Conditions) {
        let mut present = self.way.present();
        let differs = present.conditions != conditions;
        present.conditions = conditions;
        drop(present);
        if differs {
            self.way.changed.notify_waiters();
        }
    }

    /// What the way is like.
    pub fn conditions(&self) -> Conditions {
        self.way.conditions()
    }

    /// Ends all streams that are open with an error, as a lost connection or a compacted history does.
    pub fn break_streams(&self) {
        self.way.present().broken += 1;
        self.way.changed.notify_waiters();
    }

    /// Takes a request to the store and its reply back. What becomes of it does not depend on whether anybody
    /// still waits for it.
    async fn ask<T, F, R>(&self, operation: &'static str, request: F) -> Result<T, StoreError>
    where
        T: fmt::Debug + Send + 'static,
        F: Fn(DynStore) -> R + Send + 'static,
        R: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let way = self.way.clone();
        way.running().await;
        let start = way.conditions();
        if start.refused {
            way.travel(start.there + start.back).await;
            way.running().await;
            way.tell(|| Passing::Failed(operation));
            return Err(error(operation, Outcome::NotApplied));
        }
        let (reply, answer) = oneshot::channel();
        let (store, under_way) = (self.inner.clone(), way.clone());
        let repeatable = matches!(operation, "leave" | "proclaim" | "renew");
        tokio::spawn(async move {
            under_way.travel(start.there).await;
            let arrival = under_way.conditions();
            if start.requests_lost || arrival.requests_lost {
                return under_way.tell(|| Passing::Failed(operation));
            }
            let result = request(store.clone()).await;
            under_way.tell(|| applied(operation, &result));
            if let Some(after) = arrival.repeated_after.filter(|_| repeatable) {
                let under_way = under_way.clone();
                tokio::spawn(async move {
                    sleep(after).await;
                    let again = request(store).await;
                    under_way.tell(|| applied(operation, &again));
                });
            }
            under_way.travel(arrival.back).await;
            let end = under_way.conditions();
            if arrival.replies_lost || end.replies_lost || end.requests_lost {
                return under_way.tell(|| Passing::Failed(operation));
            }
            let spoiled = arrival.answers_spoiled || end.answers_spoiled;
            let told = if spoiled {
                Err(error(operation, Outcome::Unknown))
            } else {
                result
            };
            // Whoever asked may have given up.
            let _ = reply.send(told);
        });
        match answer.await {
            Ok(result) => {
                way.running().await;
                way.tell(|| Passing::Answered(operation));
                result
            }
            // Lost: nobody will ever tell.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Way {
    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn conditions(&self) -> Conditions {
        self.present().conditions.clone()
    }

    pub(super) fn broken(&self) -> u64 {
        self.present().broken
    }

    /// Waits until the process runs.
    pub(super) async fn running(&self) {
        loop {
            // Before the look, so that no change is missed after it.
            let changed = self.changed.notified();
            if !self.present().conditions.paused {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn delay(&self, least: Duration) -> Duration {
        let jitter = self.present().conditions.jitter.as_millis() as u64;
        let mut random = self.jitter.lock().unwrap_or_else(PoisonError::into_inner);
        least + random.millis(0..jitter + 1)
    }

    async fn travel(&self, least: Duration) {
        let delay = self.delay(least);
        // Virtual time has ticks of a millisecond, and even a sleep of zero may take one.
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }

    pub(super) fn tell(&self, passing: impl FnOnce() -> Passing) {
        if let Some(onlooker) = &self.onlooker {
            onlooker(passing());
        }
    }
}

fn applied<T: fmt::Debug>(operation: &'static str, result: &Result<T, StoreError>) -> Passing {
    let outcome = match result {
        Ok(reply) => format!("{reply:?}"),
        Err(error) => error.to_string(),
    };
    Passing::Applied { operation, outcome }
}

pub(super) fn error(operation: &'static str, outcome: Outcome) -> StoreError {
    let message = "a simulated fault; it passes when the conditions change";
    StoreError::new("faulty", operation, ErrorKind::Unavailable, outcome, message)
}

#[async_trait]
impl KvStore for FaultyStore {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        self.ask("open", move |store| async move { store.open(ttl).await })
            .await
    }

    async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        let session = session.clone();
        self.ask("renew", move |store| {
            let session = session.clone();
            async move { store.renew(&session).await }
        })
        .await
    }

    async fn close(&self, session: &Session) -> Result<(), StoreError> {
        let session = session.clone();
        self.ask("close", move |store| {
            let session = session.clone();
            async move { store.close(&session).await }
        })
        .await
    }

    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError> {
        let input = (election.clone(), session.clone(), value.to_vec());
        self.ask("enter", move |store| {
            let (election, session, value) = input.clone();
            async move { store.enter(&election, &session, &value).await }
        })
        .await
    }

    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError> {
        let input = (election.clone(), session.clone());
        self.ask("find", move |store| {
            let (election, session) = input.clone();
            async move { store.find(&election, &session).await }
        })
        .await
    }

    fn standing(
        &self,
        place: &Place,
        known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>> {
        let (store, place) = (self.inner.clone(), place.clone());
        pass_on(self.way.clone(), "standing", move || {
            store.standing(&place, known.clone())
        })
    }

    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        let input = (place.clone(), value.to_vec());
        self.ask("proclaim", move |store| {
            let (place, value) = input.clone();
            async move { store.proclaim(&place, &value).await }
        })
        .await
    }

    async fn leave(&self, place: &Place) -> Result<(), StoreError> {
        let place = place.clone();
        self.ask("leave", move |store| {
            let place = place.clone();
            async move { store.leave(&place).await }
        })
        .await
    }

    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
        let (store, election) = (self.inner.clone(), election.clone());
        pass_on(self.way.clone(), "leader", move || store.leader(&election))
    }

    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        let election = election.clone();
        self.ask("contenders", move |store| {
            let election = election.clone();
            async move { store.contenders(&election).await }
        })
        .await
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with faults", self.inner)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore")
            .field("conditions", &self.way.conditions())
            .finish_non_exhaustive()
    }
}
