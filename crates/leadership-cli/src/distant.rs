//! A store as far away as one behind a network: each request takes a moment to get there. The demo's lines then
//! come in the order in which things happen.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use leadership::{
    Contender, DynStore, ElectionName, KvStore, Leader, Limits, Place, Session, Standing, StoreError,
};

const WAY: Duration = Duration::from_millis(15);

#[derive(Debug)]
pub(crate) struct Distant(pub(crate) DynStore);

impl Distant {
    async fn reach(&self) -> &DynStore {
        tokio::time::sleep(WAY).await;
        &self.0
    }
}

#[async_trait]
impl KvStore for Distant {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        self.reach().await.open(ttl).await
    }

    async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        self.reach().await.renew(session).await
    }

    async fn close(&self, session: &Session) -> Result<(), StoreError> {
        self.reach().await.close(session).await
    }

    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError> {
        self.reach().await.enter(election, session, value).await
    }

    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError> {
        self.reach().await.find(election, session).await
    }

    fn standing(
        &self,
        place: &Place,
        known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>> {
        self.0.standing(place, known)
    }

    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        self.reach().await.proclaim(place, value).await
    }

    async fn leave(&self, place: &Place) -> Result<(), StoreError> {
        self.reach().await.leave(place).await
    }

    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
        self.0.leader(election)
    }

    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        self.reach().await.contenders(election).await
    }
}

impl fmt::Display for Distant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
