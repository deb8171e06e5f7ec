//! A store with a fault in it that the simulator has to find: what a bad implementation of `KvStore` might do.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt};
use leadership_core::{
    Contender, DynStore, ElectionName, KvStore, Leader, Limits, MemoryStore, Place, Session, Standing,
    StoreError, Token,
};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Sessions live for two thirds of what was granted.
    ShortSessions,
    /// A `leave` that comes late removes whatever entry the session has by then.
    UnfencedLeave,
    /// A `leave` is acknowledged and not done.
    IdleLeave,
    /// Tokens are those of the session: the second term in a session has that of the first.
    TokensOfSessions,
    /// Followers are not told that nobody leads.
    NobodyUntold,
}

#[derive(Debug)]
pub(crate) struct Planted {
    memory: MemoryStore,
    fault: Fault,
}

impl Planted {
    pub(crate) fn over(memory: MemoryStore, fault: Fault) -> DynStore {
        std::sync::Arc::new(Self { memory, fault })
    }
}

/// What a place's token would be if it were made of the session.
fn misread(standing: Standing, session: &Session) -> Standing {
    match standing {
        Standing::First(token) => {
            let number = u64::from_str_radix(session.id.as_str(), 16);
            Standing::First(number.map_or(token, Token))
        }
        other => other,
    }
}

#[async_trait]
impl KvStore for Planted {
    fn limits(&self) -> Limits {
        self.memory.limits()
    }

    async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        if self.fault == Fault::ShortSessions {
            let session = self.memory.open(ttl * 2 / 3).await?;
            return Ok(Session { ttl, ..session });
        }
        self.memory.open(ttl).await
    }

    async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        self.memory.renew(session).await?;
        Ok(session.ttl)
    }

    async fn close(&self, session: &Session) -> Result<(), StoreError> {
        self.memory.close(session).await
    }

    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError> {
        let (place, standing) = self.memory.enter(election, session, value).await?;
        if self.fault == Fault::TokensOfSessions {
            return Ok((place, misread(standing, session)));
        }
        Ok((place, standing))
    }

    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError> {
        self.memory.find(election, session).await
    }

    fn standing(
        &self,
        place: &Place,
        known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>> {
        let standing = self.memory.standing(place, known);
        if self.fault == Fault::TokensOfSessions {
            let session = Session {
                id: place.session.clone(),
                ttl: Duration::ZERO,
            };
            return standing
                .map(move |item| item.map(|standing| misread(standing, &session)))
                .boxed();
        }
        standing
    }

    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        self.memory.proclaim(place, value).await
    }

    async fn leave(&self, place: &Place) -> Result<(), StoreError> {
        match self.fault {
            Fault::IdleLeave => Ok(()),
            Fault::UnfencedLeave => {
                let session = Session {
                    id: place.session.clone(),
                    ttl: Duration::ZERO,
                };
                match self.memory.find(&place.election, &session).await? {
                    Some(found) => self.memory.leave(&found).await,
                    None => Ok(()),
                }
            }
            _ => self.memory.leave(place).await,
        }
    }

    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
        let leaders = self.memory.leader(election);
        if self.fault == Fault::NobodyUntold {
            return leaders
                .filter(|item| std::future::ready(!matches!(item, Ok(None))))
                .boxed();
        }
        leaders
    }

    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        self.memory.contenders(election).await
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory with {:?}", self.fault)
    }
}
