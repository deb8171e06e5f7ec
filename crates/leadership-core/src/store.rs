//! The store as core sees it: the trait [`KvStore`] and the words it speaks in.
//!
//! The trait is at the level where etcd, Consul and ZooKeeper agree: sessions, and ephemeral entries that form
//! a line in an election. It holds no election logic; that is in [`election`](crate::election), once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;

use crate::error::{InvalidInput, StoreError};
use crate::name::ElectionName;

/// Identifies a session at its store: an etcd lease, a Consul or a ZooKeeper session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Wraps the store's own identifier, in the store's usual spelling.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The store's identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}", self.0)
    }
}

/// A session as the store granted it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// Its name at the store.
    pub id: SessionId,
    /// How long the store keeps it without a renewal: what was granted, which may differ from what was asked.
    pub ttl: Duration,
}

/// Fencing token of a term: it grows strictly from term to term of an election.
///
/// Hand it to whatever the leader writes to, and have that refuse a token lower than one it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Our entry in the line of an election.
///
/// A place is used once: an entry made after this one was left is another place with a greater `fence`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The election it stands in.
    pub election: ElectionName,
    /// The session it lives and dies with.
    pub session: SessionId,
    /// The entry's key at the store.
    pub key: Arc<str>,
    /// What tells this entry from an earlier or later one under the same key (etcd: its create revision).
    pub fence: u64,
}

/// Where a place stands in its line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// At the head, with the token of the term this begins.
    First(Token),
    /// Behind another.
    Behind(Ahead),
    /// The entry is not there any more.
    Gone,
}

/// The entry immediately ahead of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ahead {
    /// Its key at the store.
    pub key: Arc<str>,
    /// Whether it is no contender (a key that somebody put there), so that only a person can end the wait.
    pub foreign: bool,
}

/// Who leads, as anybody can read it from the store.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Leader {
    /// What the leader proclaims: by custom its name or address.
    pub value: Vec<u8>,
    /// The fencing token of its term, where the store lets others read it.
    pub token: Option<Token>,
    /// Its entry's key at the store.
    pub key: Arc<str>,
}

impl Leader {
    /// The value as text; bytes that are no UTF-8 are replaced.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }
}

impl fmt::Debug for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader")
            .field("value", &self.name())
            .field("token", &self.token)
            .field("key", &self.key)
            .finish()
    }
}

/// An entry in the line of an election.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Contender {
    /// What it proclaims: by custom its name or address.
    pub value: Vec<u8>,
    /// Its key at the store.
    pub key: Arc<str>,
    /// The session it lives with. `None` for a foreign entry, which no session's end removes.
    pub session: Option<SessionId>,
    /// Its number in the order of arrival.
    pub order: u64,
    /// Whether it leads; only the first one can. It does not if it is foreign, nor while Consul gives the lock to
    /// nobody.
    pub leads: bool,
    /// The token of its term, if it leads and has one: see [`Leader::token`].
    pub token: Option<Token>,
}

impl Contender {
    /// The value as text; bytes that are no UTF-8 are replaced.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }
}

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender")
            .field("value", &self.name())
            .field("key", &self.key)
            .field("session", &self.session)
            .field("order", &self.order)
            .field("leads", &self.leads)
            .field("token", &self.token)
            .finish()
    }
}

/// What a store can do, against which a configuration is checked before anything is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The store's name, as in its URL scheme.
    pub store: &'static str,
    /// The shortest TTL it grants.
    pub ttl_min: Duration,
    /// What else to do for a shorter one, if anything can be done; ends a sentence that begins with "use".
    pub shorter: Option<&'static str>,
    /// The longest.
    pub ttl_max: Duration,
    /// How much of a granted TTL, in percent, the store is certain to wait after it received a renewal.
    pub certain_percent: u32,
    /// How many renewals are sent, at the usual pace, in the time that is certain: [three](Self::RENEWALS) where an
    /// answer is good for the renewal that it answers, more where it only proves those before.
    pub renewals: u32,
    /// How much longer than the TTL an entry of a dead session may stand, at worst, with the store healthy.
    pub overdue: Duration,
    /// The longest value, in bytes.
    pub value_max: usize,
    /// The longest election name, in bytes, after whatever the store puts before it.
    pub name_max: usize,
}

impl Limits {
    /// The usual [`renewals`](Self::renewals): two may be lost.
    pub const RENEWALS: u32 = 3;

    /// How long after the send time of an acknowledged renewal the store is certain to keep the session.
    pub fn certain(&self, granted: Duration) -> Duration {
        granted.saturating_mul(self.certain_percent) / 100
    }

    /// Checks an election's name and a value against the store's limits.
    ///
    /// # Errors
    /// When one of them is too long.
    pub fn check_entry(&self, election: &ElectionName, value: &[u8]) -> Result<(), InvalidInput> {
        if election.as_str().len() > self.name_max {
            return Err(InvalidInput::new(
                format!("election name {election}"),
                format!("it has {} bytes", election.as_str().len()),
                format!("{} takes at most {} here", self.store, self.name_max),
            ));
        }
        if value.len() > self.value_max {
            return Err(InvalidInput::new(
                format!("value of {} bytes for election {election}", value.len()),
                "it is too long",
                format!(
                    "{} takes at most {} bytes; publish a reference instead",
                    self.store, self.value_max
                ),
            ));
        }
        Ok(())
    }
}

/// A store that elections are held on.
///
/// # Contract
/// Written for implementors; the conformance suite in `leadership-testkit` has a case for each clause.
///
/// 1. **Sessions.** An entry lives as long as its session. The store keeps a session for at least
///    [`Limits::certain`] of the granted TTL after it *received* the last renewal that it acknowledged, and
///    ends it at latest [`Limits::overdue`] after the TTL while healthy.
/// 2. **Unknown is not failed.** Every error says [`Outcome::NotApplied`](crate::Outcome) or `Unknown`. A
///    request whose outcome is unknown may still be applied at any later time while its session lives.
/// 3. **All futures are cancel safe** in this sense: dropping one is an unknown outcome and nothing else.
/// 4. **`enter` is idempotent** for a session: if the session already has an entry in the election, that entry
///    is returned, with its value unchanged. An entry of a dead session is never made (`SessionGone`).
/// 5. **First come, first served.** An entry is behind all that were there when it was made.
/// 6. **Tokens grow** strictly from one [`Standing::First`] to that of the next entry at the head.
/// 7. **Changes are fenced.** `leave` and `proclaim` touch the very entry the place names, never a later one
///    under the same key, however late or often they are applied.
/// 8. **Streams are level-triggered**: the first item is the present, later items are whole states that may
///    have been coalesced and never go back in time. A stream ends only after it yielded an error, and holds
///    nothing at the store once dropped.
/// 9. **A place that is first stays first** until it is `Gone`.
///
/// Methods need no timeout of their own: the caller drops a request that takes too long.
#[async_trait]
pub trait KvStore: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// What this store can do.
    fn limits(&self) -> Limits;

    /// Opens a session. `ttl` lies within the limits; the store may grant another, which is what counts.
    ///
    /// # Errors
    /// After an unknown outcome a session may be left at the store; it ends by itself after its TTL.
    async fn open(&self, ttl: Duration) -> Result<Session, StoreError>;

    /// Renews a session and returns the TTL granted anew, counted from when this request was *sent*: an answer
    /// to an earlier renewal is never taken for the answer to this one.
    ///
    /// # Errors
    /// [`ErrorKind::SessionGone`](crate::ErrorKind) when it has ended.
    async fn renew(&self, session: &Session) -> Result<Duration, StoreError>;

    /// Ends a session and with it all its entries. Ending one that is gone already succeeds.
    ///
    /// # Errors
    /// The session may live on until its TTL is over.
    async fn close(&self, session: &Session) -> Result<(), StoreError>;

    /// Puts an entry at the end of the line, and tells where it stands. Idempotent for a session.
    ///
    /// # Errors
    /// [`ErrorKind::SessionGone`](crate::ErrorKind) when the session has ended.
    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError>;

    /// Looks for the entry that a session has in an election, in the store's latest state.
    ///
    /// # Errors
    /// Nothing is changed.
    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError>;

    /// Follows where a place stands. `known` is where it stood when it was entered, so that a store need not
    /// ask again; the stream still yields it first.
    fn standing(
        &self,
        place: &Place,
        known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>>;

    /// Changes the value of an entry, fenced by the place.
    ///
    /// # Errors
    /// [`ErrorKind::EntryGone`](crate::ErrorKind) when this entry is not there any more.
    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError>;

    /// Removes an entry, fenced by the place. Removing one that is gone already succeeds.
    ///
    /// # Errors
    /// After an unknown outcome it may yet be removed at any later time.
    async fn leave(&self, place: &Place) -> Result<(), StoreError>;

    /// Follows who leads. `None` is *nobody leads*, an item like any other.
    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>>;

    /// Everybody in line, in order, and whether the first one leads.
    ///
    /// # Errors
    /// Nothing is changed.
    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError>;
}

/// A store of any kind, shared.
pub type DynStore = Arc<dyn KvStore>;
