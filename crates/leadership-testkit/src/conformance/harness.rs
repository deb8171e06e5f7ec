//! What the suite needs from a store that is not in the trait: clients of their own, and an operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use leadership_core::{
    Candidate, Config, DynStore, ElectionName, Elections, ErrorKind, MemoryStore, Place, Session, Standing,
    StoreError, Token,
};

/// A store under test.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// A client of its own of the one store.
    async fn client(&self) -> anyhow::Result<DynStore>;

    /// The shortest TTL worth waiting for.
    fn ttl(&self) -> Duration;

    /// Removes an entry as an operator would, past every fence.
    async fn remove(&self, place: &Place) -> anyhow::Result<()>;

    /// Ends a session that some client has opened, as an operator would. Any client can, unless the store asks
    /// for something that only the one has which opened it.
    async fn end(&self, session: &Session) -> anyhow::Result<()> {
        self.client().await?.close(session).await?;
        Ok(())
    }
}

/// The memory store under test.
pub struct MemoryHarness {
    store: MemoryStore,
}

impl MemoryHarness {
    /// An empty store on the machine's clock.
    pub fn new() -> Self {
        Self {
            store: MemoryStore::new(),
        }
    }
}

impl Default for MemoryHarness {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Harness for MemoryHarness {
    async fn client(&self) -> anyhow::Result<DynStore> {
        Ok(self.store.shared())
    }

    fn ttl(&self) -> Duration {
        Duration::from_millis(600)
    }

    async fn remove(&self, place: &Place) -> anyhow::Result<()> {
        self.store.shared().leave(place).await?;
        Ok(())
    }
}

/// What a case works with: the store, and elections that no other case uses.
pub(crate) struct Bench {
    pub(crate) harness: Arc<dyn Harness>,
    case: &'static str,
    run: u128,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

pub(crate) type StandingStream = BoxStream<'static, Result<Standing, StoreError>>;

impl Bench {
    pub(crate) fn new(harness: Arc<dyn Harness>, case: &'static str) -> Self {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            harness,
            case,
            run: since.as_nanos(),
        }
    }

    pub(crate) fn election(&self) -> anyhow::Result<ElectionName> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(ElectionName::new(format!(
            "conformance/{}-{}-{number}",
            self.case, self.run
        ))?)
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.harness.ttl()
    }

    pub(crate) async fn client(&self) -> anyhow::Result<DynStore> {
        self.harness.client().await
    }

    /// A client with a session, long enough not to expire in any case.
    pub(crate) async fn session(&self) -> anyhow::Result<(DynStore, Session)> {
        let store = self.client().await?;
        let session = store.open(Duration::from_secs(60)).await?;
        Ok((store, session))
    }

    /// A process with a client and a session of its own.
    pub(crate) async fn process(&self) -> anyhow::Result<Elections> {
        Ok(Elections::new(
            self.client().await?,
            Config::with_ttl(self.ttl().max(Duration::from_secs(2))),
        )?)
    }
}

/// The next standing of a stream, which must come.
pub(crate) async fn next(stream: &mut StandingStream) -> anyhow::Result<Standing> {
    Ok(stream.next().await.context("the stream ended")??)
}

/// Waits until a stream says what is wanted; what comes before must not be `never`.
pub(crate) async fn until(
    stream: &mut StandingStream,
    wanted: impl Fn(&Standing) -> bool,
    never: impl Fn(&Standing) -> bool,
) -> anyhow::Result<Standing> {
    loop {
        let standing = next(stream).await?;
        if wanted(&standing) {
            return Ok(standing);
        }
        if never(&standing) {
            bail!("told {standing:?}");
        }
    }
}

pub(crate) fn first(standing: &Standing) -> Option<Token> {
    match standing {
        Standing::First(token) => Some(*token),
        _ => None,
    }
}

pub(crate) fn kind<T>(result: Result<T, StoreError>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Waits until the candidate stands in line.
pub(crate) async fn in_line(candidate: &Candidate) -> anyhow::Result<()> {
    let mut states = candidate.states();
    loop {
        match states.next().await.context("the candidate is gone")? {
            leadership_core::State::Waiting(_) | leadership_core::State::Leading(_) => return Ok(()),
            leadership_core::State::Stopped(error) => bail!("stopped: {error:?}"),
            _ => {}
        }
    }
}
