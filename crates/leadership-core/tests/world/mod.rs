//! Processes that stand in elections on virtual time, each with a way of its own to one store in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

pub(crate) mod faulty;

use std::sync::Arc;
use std::time::Duration;

use faulty::FaultyStore;
use futures_util::StreamExt;
use leadership_core::{
    Candidate, Clock, Config, ElectionName, Elections, KvStore, MemoryStore, State, TokioClock,
};
use tokio::time::timeout;

pub(crate) const TTL: Duration = Duration::from_secs(10);
/// Nothing here takes longer, in virtual time, unless it is stuck.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) struct World {
    pub(crate) store: FaultyStore,
    pub(crate) clock: Arc<dyn Clock>,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = TokioClock::shared();
        Self {
            store: FaultyStore::new(MemoryStore::with_clock(clock.clone())),
            clock,
        }
    }

    /// A process of its own, with a way of its own to the same store.
    pub(crate) fn process(&self) -> (Elections, FaultyStore) {
        let store = FaultyStore::new(self.store.memory.clone());
        let config = Config::with_ttl(TTL).clock(self.clock.clone());
        (Elections::new(Arc::new(store.clone()), config).unwrap(), store)
    }

    pub(crate) async fn line(&self) -> Vec<String> {
        let election = ElectionName::new("e").unwrap();
        let contenders = self.store.memory.contenders(&election).await.unwrap();
        contenders
            .iter()
            .map(|contender| contender.name().into_owned())
            .collect()
    }
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.expect("stuck")
}

pub(crate) async fn until(candidate: &Candidate, wanted: impl Fn(&State) -> bool) {
    let mut states = candidate.states();
    soon(async { while !wanted(&states.next().await.unwrap()) {} }).await;
}

pub(crate) fn waiting(state: &State) -> bool {
    matches!(state, State::Waiting(_))
}
