//! The store itself: the trait's requests as etcd transactions. Sessions are in [`session`](crate::session),
//! reads and keys in [`line`], streams in [`follow`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnResponse};
use futures_core::stream::BoxStream;
use leadership_core::{
    Contender, ElectionName, ErrorKind, InvalidInput, KvStore, Leader, Limits, Outcome, Place, Session,
    Standing, StoreError, Token,
};

use crate::client::{Endpoints, lock, within};
use crate::config::EtcdConfig;
use crate::error::STORE;
use crate::follow;
use crate::line::{self, Line, first_come, in_front, last, lease_of, odd, session_of};
use crate::session::Sessions;

/// Everything etcd stores for an entry has to fit in a request of 1.5 MiB (`--max-request-bytes`).
const VALUE_MAX: usize = 1 << 20;
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// etcd looks for expired leases every 500 ms and revokes them through its log (server/lease/lessor.go); the
/// rest is for a slow disk.
const OVERDUE: Duration = Duration::from_secs(3);
/// How many entries second in line are remembered until somebody follows where they stand.
const SECONDS_MAX: usize = 4096;

/// Elections in an etcd v3 cluster.
///
/// Cheap in connections: one per endpoint in use, with one watch stream for all elections and one keep-alive
/// stream per session. Dropping the store ends its tasks and connections; its streams go on while they are
/// held. All methods must be called within a tokio runtime.
pub struct EtcdStore {
    config: EtcdConfig,
    endpoints: Arc<Endpoints>,
    line: Arc<Line>,
    sessions: Sessions,
    /// The fences of entries that were made with only one ahead of them. The trait's `Ahead` has no room to
    /// say so, and it saves the second in line a read when the first one goes.
    seconds: Mutex<VecDeque<u64>>,
}

impl EtcdStore {
    /// How long [`connect`](Self::connect) tries.
    pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);

    /// A store that connects when it is first used. Reads the certificate files and does no other I/O.
    ///
    /// # Errors
    /// When an option cannot be used, or a certificate file cannot be read.
    pub fn new(config: EtcdConfig) -> Result<Self, InvalidInput> {
        let endpoints = Arc::new(Endpoints::new(&config)?);
        Ok(Self {
            line: Arc::new(Line::new(Arc::clone(&endpoints), config.prefix())),
            sessions: Sessions::new(Arc::clone(&endpoints)),
            endpoints,
            config,
            seconds: Mutex::default(),
        })
    }

    /// A store that has been seen to answer, with the credentials accepted and a quorum behind it.
    ///
    /// # Errors
    /// As [`new`](Self::new); and when no endpoint answers within [`CONNECT_LIMIT`](Self::CONNECT_LIMIT), or
    /// refuses the credentials or a certificate. Nothing is changed at the store.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StoreError> {
        let store = Self::new(config).map_err(|e| e.into_store_error(STORE, "connect"))?;
        let options = GetOptions::new().with_prefix().with_limit(1).with_count_only();
        let key = if store.config.prefix().is_empty() {
            "leadership/".to_owned()
        } else {
            format!("{}/", store.config.prefix())
        };
        match within(
            "connect",
            Self::CONNECT_LIMIT,
            store.line.get("connect", &key, options),
        )
        .await
        {
            Ok(_) => Ok(store),
            // The user may be allowed to read single elections only.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(store),
            Err(error) if error.kind() == ErrorKind::Timeout => {
                let text = format!(
                    "no answer within {:?} from {}; are these the client addresses of an etcd cluster, is it \
                     reachable, and does it have a quorum?",
                    Self::CONNECT_LIMIT,
                    store.config.endpoints().join(", "),
                );
                Err(StoreError::new(
                    STORE,
                    "connect",
                    ErrorKind::Timeout,
                    Outcome::NotApplied,
                    text,
                ))
            }
            // What a server with TLS does to a client without; with a cause, no client could tell them apart.
            Err(error) if store.config.tls.is_none() && error.outcome() == Outcome::Unknown => {
                let text = format!("{error}; if these endpoints have TLS, give tls=true or ca=");
                Err(StoreError::new(
                    STORE,
                    "connect",
                    error.kind(),
                    Outcome::NotApplied,
                    text,
                ))
            }
            Err(error) => Err(error),
        }
    }

    async fn txn(&self, operation: &'static str, txn: Txn) -> Result<TxnResponse, StoreError> {
        self.endpoints
            .call(operation, |clients| {
                let txn = txn.clone();
                async move { clients.kv.clone().txn(txn).await }
            })
            .await
    }

    /// Attaches what the transaction makes under `key` to the lease that the session lives by.
    async fn attach(
        &self,
        session: &Session,
        key: &str,
        txn: impl Fn(i64) -> Txn,
    ) -> Result<TxnResponse, StoreError> {
        const ENTER: &str = "enter";
        let leases = &self.sessions.leases;
        let mut tries = 0..2;
        loop {
            let entering = leases.entering(ENTER, &session.id, key)?;
            let lease = entering.lease;
            let answer = self.txn(ENTER, txn(lease)).await;
            match &answer {
                Ok(_) => entering.settled(),
                Err(error) if error.outcome() == Outcome::NotApplied => entering.refused(key),
                // Dropped, it counts for unknown.
                Err(_) => drop(entering),
            }
            match answer {
                // The session lives by another lease meanwhile.
                Err(error)
                    if error.kind() == ErrorKind::SessionGone
                        && tries.next().is_some()
                        && leases.can_do_without(&session.id, lease) => {}
                answer => return answer,
            }
        }
    }

    /// Remembers an entry that is second in line.
    fn remember_second(&self, fence: u64) {
        let mut seconds = lock(&self.seconds);
        if seconds.len() >= SECONDS_MAX {
            seconds.pop_front();
        }
        seconds.push_back(fence);
    }

    /// Whether an entry was made second in line; forgets it.
    fn was_second(&self, fence: u64) -> bool {
        let mut seconds = lock(&self.seconds);
        let found = seconds.iter().position(|second| *second == fence);
        found.is_some_and(|at| seconds.remove(at).is_some())
    }
}

/// Holds if the very entry of a place is there.
fn is_there(place: &Place) -> Compare {
    Compare::create_revision(&*place.key, CompareOp::Equal, place.fence as i64)
}

#[async_trait]
impl KvStore for EtcdStore {
    fn limits(&self) -> Limits {
        Limits {
            store: STORE,
            // etcd's own minimum follows from its election timeout (2 s by default); what it grants counts.
            ttl_min: Duration::from_secs(1),
            shorter: None,
            ttl_max: TTL_MAX,
            // A lease lives its whole TTL from when the renewal is handled; a new etcd leader starts all
            // leases afresh and adds an election timeout (server/lease/lessor.go, Promote).
            certain_percent: 100,
            renewals: Limits::RENEWALS,
            overdue: OVERDUE,
            value_max: VALUE_MAX,
            name_max: ElectionName::MAX_BYTES.saturating_sub(self.config.prefix().len() + 1),
        }
    }

    async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        self.sessions.open(ttl).await
    }

    async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        self.sessions.renew(session).await
    }

    async fn close(&self, session: &Session) -> Result<(), StoreError> {
        self.sessions.close(session).await
    }

    /// One transaction that makes the entry, if there is none, and reads the last in line.
    async fn enter(
        &self,
        election: &ElectionName,
        session: &Session,
        value: &[u8],
    ) -> Result<(Place, Standing), StoreError> {
        let named = lease_of("enter", &session.id)?;
        self.limits()
            .check_entry(election, value)
            .map_err(|e| e.into_store_error(STORE, "enter"))?;
        let (range, key) = (self.line.range(election), self.line.key(election, named));
        let own = TxnOp::get(key.clone(), Some(GetOptions::new().with_keys_only()));
        // Our own, the one ahead of it, and one more that tells whether that one leads.
        let last = TxnOp::get(range.clone(), Some(last(3)));
        let txn = Txn::new().when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)]);
        let txn = |lease| {
            let put = TxnOp::put(key.clone(), value, Some(PutOptions::new().with_lease(lease)));
            let (own, last) = (own.clone(), last.clone());
            txn.clone().and_then([put, last.clone()]).or_else([own, last])
        };
        let before = self.sessions.leases.of("enter", &session.id)?;
        let answer = self.attach(session, &key, txn).await?;
        let mut gets = answer.op_responses().into_iter().filter_map(line::get);
        let fence = if answer.succeeded() {
            answer.header().map(|header| header.revision())
        } else {
            let own = gets.next();
            let own = own.as_ref().and_then(|own| own.kvs().first());
            let after = self.sessions.leases.of("enter", &session.id)?;
            let is_ours = |lease| before.contains(&lease) || after.contains(&lease);
            if let Some(own) = own.filter(|own| !is_ours(own.lease())) {
                let text = format!(
                    "the key {key} is there and has {}; remove it: etcdctl del {key}",
                    if own.lease() == 0 {
                        "no lease"
                    } else {
                        "another lease"
                    },
                );
                let (kind, outcome) = (ErrorKind::ForeignEntry, Outcome::NotApplied);
                return Err(StoreError::new(STORE, "enter", kind, outcome, text));
            }
            own.map(|own| own.create_revision())
        };
        let (Some(fence), Some(last)) = (fence.filter(|fence| *fence > 0), gets.next()) else {
            return Err(odd("enter", "the transaction was answered without an entry"));
        };
        let fence = fence.unsigned_abs();
        self.sessions.leases.made(&session.id, &key, fence);
        let place = Place {
            election: election.clone(),
            session: session.id.clone(),
            key: key.into(),
            fence,
        };
        // A new entry is the last one. With an old one there may be many behind it, so that the last ones
        // tell nothing about what is ahead.
        let is_last = last
            .kvs()
            .first()
            .is_some_and(|kv| kv.create_revision().unsigned_abs() == fence);
        if !is_last {
            let stands = self.line.stands(&place, Some(revision_of(&answer))).await?;
            let standing = stands.standing(&place);
            return Ok((place, standing));
        }
        let standing = match in_front(&range, last.kvs(), fence) {
            Some(in_front) => {
                if in_front.leads {
                    self.remember_second(fence);
                }
                Standing::Behind(in_front.ahead)
            }
            None => Standing::First(Token(fence)),
        };
        Ok((place, standing))
    }

    async fn find(&self, election: &ElectionName, session: &Session) -> Result<Option<Place>, StoreError> {
        let lease = lease_of("find", &session.id)?;
        let key = self.line.key(election, lease);
        let answer = self
            .line
            .get("find", &key, GetOptions::new().with_keys_only())
            .await?;
        Ok(answer.kvs().first().map(|kv| {
            let fence = kv.create_revision().unsigned_abs();
            self.sessions.leases.made(&session.id, &key, fence);
            Place {
                election: election.clone(),
                session: session.id.clone(),
                key: key.into(),
                fence,
            }
        }))
    }

    /// Watches the own entry and the one ahead. Costs a read only where the watches cannot tell: after an
    /// error, after a compaction, or when the one ahead goes and there may be others ahead of it.
    fn standing(
        &self,
        place: &Place,
        known: Option<Standing>,
    ) -> BoxStream<'static, Result<Standing, StoreError>> {
        let leads = self.was_second(place.fence);
        follow::standing(Arc::clone(&self.line), place.clone(), known, leads)
    }

    async fn proclaim(&self, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        lease_of("proclaim", &place.session)?;
        self.limits()
            .check_entry(&place.election, value)
            .map_err(|e| e.into_store_error(STORE, "proclaim"))?;
        // Or the put would detach the entry from its lease, which may have become another one.
        let put = TxnOp::put(&*place.key, value, Some(PutOptions::new().with_ignore_lease()));
        if self
            .txn("proclaim", Txn::new().when([is_there(place)]).and_then([put]))
            .await?
            .succeeded()
        {
            return Ok(());
        }
        let text = format!(
            "the entry {} of revision {} is not there any more",
            place.key, place.fence
        );
        Err(StoreError::new(
            STORE,
            "proclaim",
            ErrorKind::EntryGone,
            Outcome::NotApplied,
            text,
        ))
    }

    async fn leave(&self, place: &Place) -> Result<(), StoreError> {
        // Whoever left does not ask where it stands.
        self.was_second(place.fence);
        let delete = TxnOp::delete(&*place.key, None);
        self.txn("leave", Txn::new().when([is_there(place)]).and_then([delete]))
            .await?;
        self.sessions.leases.left(&place.session, &place.key, place.fence);
        Ok(())
    }

    /// Watches the head of the line only, or an empty line for its first entry. While a foreign key is at the
    /// head nobody leads.
    fn leader(&self, election: &ElectionName) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
        follow::leader(Arc::clone(&self.line), election)
    }

    async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        let range = self.line.range(election);
        let mut answer = self.line.get("contenders", &range, first_come()).await?;
        let contender = |(place, kv): (usize, etcd_client::KeyValue)| {
            let session = session_of(&range, kv.key(), kv.lease());
            let (leads, order) = (
                place == 0 && session.is_some(),
                kv.create_revision().unsigned_abs(),
            );
            Contender {
                key: String::from_utf8_lossy(kv.key()).into(),
                session,
                order,
                leads,
                token: leads.then_some(Token(order)),
                value: kv.into_key_value().1,
            }
        };
        let line = answer.take_kvs().into_iter().enumerate();
        Ok(line.map(contender).collect())
    }
}

fn revision_of(answer: &TxnResponse) -> i64 {
    answer.header().map_or(0, |header| header.revision())
}

impl fmt::Display for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
