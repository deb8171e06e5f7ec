//! The store itself: the trait's requests. Sessions are in [`session`](crate::session), keys and reads in
//! [`line`](crate::line), the transactions that change a line in [`handover`](crate::handover), streams in
//! [`follow`](crate::follow) and [`lead`](crate::lead).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::stream;
use leadership_core::{
    Contender, ElectionName, ErrorKind, InvalidInput, KvStore, Leader, Limits, Outcome, Place, Session,
    SessionId, Standing, StoreError, Token,
};
use tracing::debug;

use crate::client::Api;
use crate::config::{ConsulConfig, Liveness};
use crate::error::STORE;
use crate::follow;
use crate::lead;
use crate::line::{Entries, Entry, Keys, Line, Lock, one};
use crate::session::{LOCK_DELAY_MAX, SESSION_TTL_MIN, Sessions};
use crate::wire::Pair;

/// A transaction has to fit in 512 KiB (`limits.txn_max_req_len`), and holds up to three values, in base 64.
const VALUE_MAX: usize = 96 << 10;
/// The agent tells the servers of a check that ran out at once; the rest is for slow disks.
const OVERDUE_CHECK: Duration = Duration::from_secs(2);
/// At the least TTL a session ends after twenty seconds, and the lock-delay follows.
const OVERDUE_SESSION: Duration = Duration::from_secs(15);
/// How often the parts of a line are read anew that changed between the reads.
const READS: u32 = 3;

/// Elections in Consul.
///
/// One connection for each election that is waited in, led or followed, and a few for requests. Dropping the store
/// ends its connections; its streams go on while they are held. All methods must be called within a tokio runtime.
pub struct ConsulStore {
    config: ConsulConfig,
    liveness: Liveness,
    api: Arc<Api>,
    line: Arc<Line>,
    sessions: Sessions,
}

impl ConsulStore {
    /// How long [`connect`](Self::connect) tries.
    pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);

    /// A store that connects when it is first used. Reads the files with certificates and token, and does no other
    /// I/O.
    ///
    /// # Errors
    /// When an option cannot be used, or a file cannot be read.
    pub fn new(config: ConsulConfig) -> Result<Self, InvalidInput> {
        let api = Arc::new(Api::new(&config)?);
        let liveness = config.liveness();
        Ok(Self {
            line: Arc::new(Line::new(Arc::clone(&api), &config)),
            sessions: Sessions::new(Arc::clone(&api), liveness),
            liveness,
            api,
            config,
        })
    }

    /// A store that has been seen to answer, with the token accepted and a leader among the servers.
    ///
    /// # Errors
    /// As [`new`](Self::new); and when no address answers within [`CONNECT_LIMIT`](Self::CONNECT_LIMIT), or refuses
    /// the token or a certificate. Nothing is changed at the store.
    pub async fn connect(config: ConsulConfig) -> Result<Self, StoreError> {
        const CONNECT: &str = "connect";
        let store = Self::new(config).map_err(|e| e.into_store_error(STORE, CONNECT))?;
        let key = if store.config.prefix().is_empty() {
            "leadership"
        } else {
            store.config.prefix()
        };
        let mut ask = store.line.read_request(CONNECT, key, "");
        // Each address has its share, or one that hangs would leave no time for the others.
        ask.limit = Self::CONNECT_LIMIT / store.api.turns().count();
        let look = async { one(CONNECT, &store.api.ask(&ask).await?) };
        match tokio::time::timeout(Self::CONNECT_LIMIT, look).await {
            Ok(Ok(_)) => Ok(store),
            // The token may be good for single elections only.
            Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => Ok(store),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let text = format!(
                    "no answer within {:?} from {}; is this the HTTP address of a Consul agent, is it reachable, and \
                     do the servers have a leader?",
                    Self::CONNECT_LIMIT,
                    store.api.turns().all(),
                );
                let (kind, outcome) = (ErrorKind::Timeout, Outcome::NotApplied);
                Err(StoreError::new(STORE, CONNECT, kind, outcome, text))
            }
        }
    }

    fn check(
        &self,
        operation: &'static str,
        election: &ElectionName,
        value: &[u8],
    ) -> Result<Keys, StoreError> {
        self.limits()
            .check_entry(election, value)
            .map_err(|e| e.into_store_error(STORE, operation))?;
        self.line.keys(operation, election)
    }
}

fn place(election: &ElectionName, entry: &Entry) -> Place {
    Place {
        election: election.clone(),
        session: SessionId::new(&*entry.session),
        key: entry.key.as_str().into(),
        fence: entry.fence,
    }
}

#[async_trait]
impl KvStore for ConsulStore {
    fn limits(&self) -> Limits {
        // See `session` for the proportions.
        let (ttl_min, ttl_max, certain_percent, overdue) = match self.liveness {
            Liveness::Check => (Duration::from_secs(1), 2 * LOCK_DELAY_MAX, 50, OVERDUE_CHECK),
            Liveness::Session => (SESSION_TTL_MIN, 3 * LOCK_DELAY_MAX, 33, OVERDUE_SESSION),
        };
        Limits {
            store: STORE,
            ttl_min,
            shorter: match self.liveness {
                Liveness::Check => None,
                Liveness::Session => Some("liveness=check with the address of a local agent"),
            },
            ttl_max,
            certain_percent,
            renewals: Limits::RENEWALS,
            overdue,
            value_max: VALUE_MAX,
            name_max: self.config.name_max(),
        }
    }

    async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        self.sessions.open(ttl).await
    }

    async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        let renewed = self.sessions.renew(session).await;
        if renewed
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::SessionGone)
        {
            self.line.forget(&session.id);
        }
        renewed
    }

    /// Leaves the elections first: what a session still holds when it is ended is kept from all others for the
    /// lock-delay.
    async fn close(&self, session: &Session) -> Result<(), StoreError> {
        let end = async {
            for election in self.sessions.noted(&session.id) {
                let left = async {
                    match self.find(&election, session).await? {
                        Some(place) => self.leave(&place).await,
                        None => Ok(()),
                    }
                };
                if let Err(error) = left.await {
                    debug!(%election, %error, "not left; the session's end removes the entry");
                }
            }
            self.line.forget(&session.id);
            self.sessions.close(session).await
        };
        self.sessions.ending(session, end).await
    }

    /// One transaction that takes the lock, if it is free and nobody waits; else one more to the end of the line.
    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError> {
        let keys = self.check("enter", election, value)?;
        self.sessions.note(&session.id, election);
        match self.line.stand(&keys, &session.id, value).await {
            Ok((entry, standing)) => Ok((place(election, &entry), standing)),
            Err(error) => {
                if error.kind() == ErrorKind::SessionGone {
                    self.line.forget(&session.id);
                    self.sessions.forget(session).await;
                }
                Err(error)
            }
        }
    }

    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError> {
        let keys = self.line.keys("find", election)?;
        let entry = self.line.entry("find", &keys, &session.id).await?;
        Ok(entry.map(|entry| place(election, &entry)))
    }

    /// Watches the one ahead, or the lock, which it takes when it is free.
    fn standing(
        &self,
        place: &Place,
        known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>> {
        match self.line.keys("standing", &place.election) {
            Ok(keys) => follow::standing(Arc::clone(&self.line), keys, place.clone(), known),
            Err(error) => Box::pin(stream::iter([Err(error)])),
        }
    }

    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        let keys = self.check("proclaim", &place.election, value)?;
        self.line.proclaim(&keys, place, value).await
    }

    /// Hands the lock to the next in line in the transaction that removes the entry; reads the line before, unless
    /// that was seen a while ago and is as it was.
    async fn leave(&self, place: &Place) -> Result<(), StoreError> {
        let keys = self.line.keys("leave", &place.election)?;
        self.line.leave(&keys, place).await?;
        self.sessions.unnote(&place.session, &place.election);
        Ok(())
    }

    /// Watches the lock.
    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
        match self.line.keys("leader", election) {
            Ok(keys) => lead::leader(Arc::clone(&self.line), keys),
            Err(error) => Box::pin(stream::iter([Err(error)])),
        }
    }

    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        const CONTENDERS: &str = "contenders";
        let keys = self.line.keys(CONTENDERS, election)?;
        let mut reads = 0;
        loop {
            reads += 1;
            let lock = self.line.read(CONTENDERS, &keys.lock).await?;
            let entries = self.line.entries(CONTENDERS, &keys).await?;
            let lock = Lock::of(lock);
            let holder = match &lock {
                Lock::Held(holder) => Some(holder),
                Lock::Free(_) | Lock::Foreign(_) => None,
            };
            let leading = entries.iter().find(|entry| entry.leading);
            let agree = match (&holder, leading) {
                (Some(holder), Some(leading)) => holder.session == leading.session,
                (_, leading) => leading.is_none(),
            };
            // The lock changed hands between the two reads.
            if agree || reads == READS {
                return Ok(in_order(&keys, lock, &entries));
            }
        }
    }
}

/// Who holds the lock, then those who wait.
fn in_order(keys: &Keys, lock: Lock, entries: &Entries) -> Vec<Contender> {
    let first_waiting = entries.waiting().map(|entry| entry.fence).next();
    // One that knows no line, such as Go's api.Lock, came first, since it leads; so did what is no lock, for who waits.
    let before_all = |pair: &Pair| first_waiting.unwrap_or(u64::MAX).min(pair.create_index);
    let head = match lock {
        Lock::Free(_) => None,
        Lock::Foreign(pair) => Some(Contender {
            order: before_all(&pair),
            value: pair.value,
            key: keys.lock.clone(),
            session: None,
            leads: false,
            token: None,
        }),
        Lock::Held(holder) => {
            let entry = entries.of_session(&holder.session);
            Some(Contender {
                key: entry.map_or_else(|| keys.lock.clone(), |entry| entry.key.as_str().into()),
                order: entry.map_or_else(|| before_all(&holder), |entry| entry.fence),
                token: entry
                    .filter(|entry| entry.leading)
                    .map(|entry| Token(entry.version)),
                value: holder.value,
                session: Some(SessionId::new(holder.session)),
                leads: true,
            })
        }
    };
    let headed = head.as_ref().and_then(|head| head.session.clone());
    let waiting = entries
        .waiting()
        .filter(|entry| headed.as_ref().is_none_or(|head| head.as_str() != entry.session));
    let waiting = waiting.map(|entry| Contender {
        value: entry.value.clone(),
        key: entry.key.as_str().into(),
        session: Some(SessionId::new(&*entry.session)),
        order: entry.fence,
        leads: false,
        token: None,
    });
    head.into_iter().chain(waiting).collect()
}

impl fmt::Display for ConsulStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl fmt::Debug for ConsulStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulStore")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
