//! The store itself: the trait's requests as ZooKeeper's. Sessions are in [`session`](crate::session), entries in
//! [`line`](crate::line), streams in [`follow`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use leadership_core::{
    Contender, ElectionName, ErrorKind, InvalidInput, KvStore, Leader, Limits, Outcome, Place, Session,
    Standing, StoreError,
};
use tracing::warn;
use zookeeper_client::Error as ZkError;

use crate::certain::{CERTAIN_PERCENT, RENEWALS};
use crate::client::{Servers, within};
use crate::config::ZkConfig;
use crate::error::{self, Effect, STORE};
use crate::follow;
use crate::layout::NAME_BYTES;
use crate::line::{Line, Stands};
use crate::reader::Reader;
use crate::session::{Live, Sessions};

/// A request must fit in `jute.maxbuffer`, 1 MiB less one byte by default, with its path and its ACL.
const VALUE_MAX: usize = (1 << 20) - (16 << 10);
/// The server grants at most twenty ticks by default (`maxSessionTimeout`); what it grants counts.
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// A server looks for expired sessions once per tick and rounds their timeouts up to it (`ExpiryQueue.java`).
/// A client does not learn how long a tick is: these are two of the default one, and a second for a slow disk.
const OVERDUE: Duration = Duration::from_secs(5);

/// Elections in a ZooKeeper ensemble.
///
/// Each session is a connection of its own, and what is read for others than its own sessions goes over one
/// more, made when first needed. Dropping the store closes its sessions; the streams of who leads go on while
/// they are held. All methods must be called within a tokio runtime.
pub struct ZkStore {
    config: ZkConfig,
    sessions: Sessions,
    line: Arc<Line>,
    servers: Arc<Servers>,
}

impl ZkStore {
    /// How long [`connect`](Self::connect) tries.
    pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);

    /// A store that connects when it is first used. Reads the certificate files and does no other I/O.
    ///
    /// # Errors
    /// When an option cannot be used, or a certificate file cannot be read.
    pub fn new(config: ZkConfig) -> Result<Self, InvalidInput> {
        config.check()?;
        let servers = Arc::new(Servers::new(&config)?);
        let reader = Reader::new(Arc::clone(&servers));
        Ok(Self {
            line: Arc::new(Line::new(&config, reader)?),
            sessions: Sessions::new(Arc::clone(&servers)),
            servers,
            config,
        })
    }

    /// A store that has been seen to answer, with a quorum behind it.
    ///
    /// ZooKeeper takes any user and any password of the scheme `digest`; a wrong one shows as
    /// [`ErrorKind::PermissionDenied`] where an ACL names the right one.
    ///
    /// # Errors
    /// As [`new`](Self::new); and when no server opens a session within [`CONNECT_LIMIT`](Self::CONNECT_LIMIT),
    /// or refuses the credentials. Nothing is changed at the store.
    pub async fn connect(config: ZkConfig) -> Result<Self, StoreError> {
        let store = Self::new(config).map_err(|e| e.into_store_error(STORE, "connect"))?;
        match within("connect", Self::CONNECT_LIMIT, store.line.reader.link("connect")).await {
            Ok(_) => Ok(store),
            Err(error) if error.kind() == ErrorKind::Timeout => {
                let text = format!(
                    "no session within {:?}: {}",
                    Self::CONNECT_LIMIT,
                    store.servers.why().await.0,
                );
                Err(StoreError::new(
                    STORE,
                    "connect",
                    ErrorKind::Timeout,
                    Outcome::NotApplied,
                    text,
                ))
            }
            // All that may be left is a session with nothing in it.
            Err(error) => Err(error.with_outcome(Outcome::NotApplied)),
        }
    }

    /// Remembers what follows from where a place stood when it was entered.
    fn entered(&self, live: &Live, place: Place, stands: &Stands) -> (Place, Standing) {
        live.note(&place.election, |made| {
            made.first = *stands == Stands::First;
            made.second_to = match stands {
                Stands::Behind(before) if before.leads => Some(Arc::clone(&before.key)),
                _ => None,
            };
        });
        let standing = stands.standing(&place);
        (place, standing)
    }
}

#[async_trait]
impl KvStore for ZkStore {
    fn limits(&self) -> Limits {
        let prefix = self.config.prefix().len();
        Limits {
            store: STORE,
            // Two ticks by default; what the server grants counts.
            ttl_min: Duration::from_secs(1),
            shorter: None,
            ttl_max: TTL_MAX,
            certain_percent: CERTAIN_PERCENT,
            renewals: RENEWALS,
            overdue: OVERDUE,
            value_max: VALUE_MAX,
            name_max: ElectionName::MAX_BYTES.saturating_sub(prefix + 1),
        }
    }

    /// Connects with fifteen sixteenths of the TTL as the session's timeout, because the server ends it up to a tick
    /// later. If it grants another one, that is the TTL.
    async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        self.sessions.open(ttl).await
    }

    /// A `sync`. The TTL that is returned may be shorter than what was granted, for the reasons that are
    /// written where it is reckoned; the next renewals make up for it.
    async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        self.sessions.renew(session).await
    }

    /// Only for sessions that this store has opened: ZooKeeper asks for a password that nobody else has.
    async fn close(&self, session: &Session) -> Result<(), StoreError> {
        self.sessions.close(session).await
    }

    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError> {
        self.limits()
            .check_entry(election, value)
            .map_err(|e| e.into_store_error(STORE, "enter"))?;
        let node = self.line.node("enter", election)?;
        let Some(live) = self.sessions.get(&session.id) else {
            return Err(error::session_gone("enter", session.id.as_str()));
        };
        live.take_room(election, node.len() + NAME_BYTES)
            .map_err(|e| e.into_store_error(STORE, "enter"))?;
        let (place, stands) = match self.line.look("enter", &live, election).await? {
            Some(found) => found,
            None => self.line.make(&live, election, value).await?,
        };
        Ok(self.entered(&live, place, &stands))
    }

    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError> {
        self.line.node("find", election)?;
        if let Some(live) = self.sessions.get(&session.id) {
            match self.line.look("find", &live, election).await {
                Err(error) if error.kind() == ErrorKind::SessionGone => {}
                found => return Ok(found?.map(|(place, _)| place)),
            }
        }
        // Its entries may stand until the server knows that it has ended.
        let contenders = self.line.contenders(election).await?;
        let own = contenders
            .into_iter()
            .find(|contender| contender.session.as_ref() == Some(&session.id));
        Ok(own.map(|contender| Place {
            election: election.clone(),
            session: session.id.clone(),
            key: contender.key,
            fence: contender.order,
        }))
    }

    /// Watches the own entry and the one ahead. When that one goes and was the head, the place is first: without
    /// another request on ZooKeeper 3.9 and later, with an unbroken connection, and after a look at the own entry
    /// elsewhere. Otherwise the children are listed once.
    fn standing(
        &self,
        place: &Place,
        known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>> {
        let live = self.sessions.get(&place.session);
        follow::standing(Arc::clone(&self.line), live, place.clone(), known)
    }

    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        self.limits()
            .check_entry(&place.election, value)
            .map_err(|e| e.into_store_error(STORE, "proclaim"))?;
        let Some(live) = self.sessions.get(&place.session) else {
            return Err(error::session_gone("proclaim", place.session.as_str()));
        };
        // Known before it is asked for, as with entries.
        if self.line.beside() {
            live.note(&place.election, |made| made.proclaimed = true);
        }
        let version = self.line.proclaim(&live.link, place, value).await?;
        if let Some(version) = version
            && self.line.docker_leader
            && live.made(&place.election).first
        {
            let told = self.line.tell_docker(&live.link, &place.key, value, version);
            match told.await {
                // A later value is there, and told by who has proclaimed it.
                Ok(()) | Err(ZkError::BadVersion) => {}
                Err(error) => return Err(error::failed("proclaim", &place.key, Effect::Write, &error)),
            }
        }
        Ok(())
    }

    async fn leave(&self, place: &Place) -> Result<(), StoreError> {
        let failed = |error: ZkError| error::failed("leave", &place.key, Effect::Write, &error);
        if let Some(live) = self.sessions.get(&place.session) {
            let value = live.made(&place.election).proclaimed;
            match self.line.remove(&live.link, &place.key).await {
                Ok(()) => {
                    if value && let Err(error) = self.line.remove_value(&live.link, &place.key).await {
                        warn!(key = %place.key, %error, "its value is left until the session ends");
                    }
                    self.line.left(&live, place);
                    return Ok(());
                }
                Err(error) if error::is_ended(&error) => {
                    warn!(key = %place.key, %error, "the session ended while its entry was to be removed");
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let reader = self.line.reader.link("leave").await?;
        let removed = self.line.remove(&reader, &place.key).await;
        removed.map_err(|error| error::of_reader("leave", &place.key, Effect::Write, &error))
    }

    /// Watches the head of the line only, or an empty line for its first entry.
    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
        follow::leader(Arc::clone(&self.line), election)
    }

    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        self.line.contenders(election).await
    }
}

impl fmt::Display for ZkStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl fmt::Debug for ZkStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZkStore")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
