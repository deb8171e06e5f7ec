//! The line of an election: its keys, how they are read, and what they say of who leads and who waits.
//!
//! Consul's lock has no queue of its own, so each contender has an entry in side keys: `<lock key>.line/<session>`,
//! held by its session and removed with it. Its flags tell whether it waits or leads; its create index is its
//! number in the order of arrival. The transaction that takes the lock for a contender writes its entry too: so the
//! entry's modify index *is* that of the lock at that moment, and stays it whatever is proclaimed. That is the token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::{Method, StatusCode};
use leadership_core::{
    Ahead, ElectionName, ErrorKind, InvalidInput, Outcome, Place, SessionId, Standing, StoreError, Token,
};

use tokio::sync::Semaphore;

use crate::answer::Answer;
use crate::client::{Api, Ask, escape};
use crate::config::{ConsulConfig, Layout, check_key};
use crate::error::{Failure, STORE, odd, quoted};
use crate::handover::Seen;
use crate::session::LIMIT;
use crate::watch::OPERATION;
use crate::wire::{Op, Operation, Pair, TxnAnswer, TxnError};

/// In a query: all keys that begin so.
pub(crate) const RECURSE: &str = "&recurse";

/// The operation that errors of places' streams name.
pub(crate) const STANDING: &str = "standing";
/// What every writer of a lock key has to write, or Go's clients refuse the key (`LockFlagValue`, api/lock.go).
pub(crate) const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
/// Flags of an entry whose contender waits: "leadwait" in ASCII.
pub(crate) const WAITING: u64 = 0x6c65_6164_7761_6974;
/// Flags of an entry whose contender has the lock: "leadlead".
pub(crate) const LEADING: u64 = 0x6c65_6164_6c65_6164;

/// No request of a stream takes longer, which nobody else gives up: an address that hangs keeps nobody from becoming
/// leader for longer.
const STREAM_LIMIT: Duration = Duration::from_secs(3);

/// How many leaders of a process look at once who is next.
const LOOKS: usize = 4;

/// How long a request may take.
fn limit(operation: &str) -> Duration {
    match operation {
        STANDING | OPERATION => STREAM_LIMIT,
        _ => LIMIT,
    }
}

/// The keys of one election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The contended key.
    pub(crate) lock: Arc<str>,
    /// What the entries' keys begin with.
    pub(crate) line: Arc<str>,
}

impl Keys {
    /// The key of a session's entry.
    pub(crate) fn entry(&self, session: &str) -> String {
        format!("{}{session}", self.line)
    }
}

/// A contender's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) session: String,
    pub(crate) leading: bool,
    pub(crate) value: Vec<u8>,
    /// Its number in the order of arrival; tells it from an earlier or later one of the same session.
    pub(crate) fence: u64,
    /// Changes with every change of the entry.
    pub(crate) version: u64,
}

impl Entry {
    /// `None` for what is no entry of a contender: a key that somebody put there.
    pub(crate) fn of(pair: Pair, line: &str) -> Option<Self> {
        let leading = match pair.flags {
            LEADING => true,
            WAITING => false,
            _ => return None,
        };
        let ours = !pair.session.is_empty() && pair.key.strip_prefix(line) == Some(&*pair.session);
        ours.then_some(Self {
            leading,
            key: pair.key,
            session: pair.session,
            value: pair.value,
            fence: pair.create_index,
            version: pair.modify_index,
        })
    }
}

/// All entries of an election, in order of arrival.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries(Vec<Entry>);

impl Entries {
    pub(crate) fn of(pairs: impl IntoIterator<Item = Pair>, line: &str) -> Self {
        let mut entries: Vec<_> = pairs
            .into_iter()
            .filter_map(|pair| Entry::of(pair, line))
            .collect();
        entries.sort_by_key(|entry| entry.fence);
        // A transaction that wrote an entry and read the line tells of it twice, and of its value only at last.
        entries.reverse();
        entries.dedup_by(|one, other| one.key == other.key);
        entries.reverse();
        Self(entries)
    }

    /// The very entry of a place.
    pub(crate) fn own(&self, place: &Place) -> Option<&Entry> {
        self.of_session(place.session.as_str())
            .filter(|entry| entry.fence == place.fence)
    }

    pub(crate) fn of_session(&self, session: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.session == session)
    }

    /// Who waits, in order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(|entry| !entry.leading)
    }

    /// The next in line, apart from one.
    pub(crate) fn next_after(&self, leaving: &Entry) -> Option<&Entry> {
        self.waiting().find(|entry| entry.fence != leaving.fence)
    }

    /// The one who waits immediately ahead of an entry that waits.
    pub(crate) fn ahead_of(&self, own: &Entry) -> Option<&Entry> {
        self.waiting().take_while(|entry| entry.fence < own.fence).last()
    }

    /// Whether somebody waits who came before.
    pub(crate) fn head_before(&self, own: &Entry) -> Option<&Entry> {
        self.waiting().next().filter(|entry| entry.fence < own.fence)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}

/// The contended key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Nobody holds it. The version it has to be taken at; `None` if the key is not there.
    Free(Option<u64>),
    /// A session holds it.
    Held(Pair),
    /// Nobody holds it, and it is no lock: taking it would overwrite what somebody keeps there.
    Foreign(Pair),
}

impl Lock {
    pub(crate) fn of(pair: Option<Pair>) -> Self {
        match pair {
            None => Self::Free(None),
            Some(pair) if !pair.session.is_empty() => Self::Held(pair),
            Some(pair) if pair.flags == LOCK_FLAGS || pair.value.is_empty() => {
                Self::Free(Some(pair.modify_index))
            }
            Some(pair) => Self::Foreign(pair),
        }
    }

    /// What the first of those who wait is behind, as far as one read can tell.
    pub(crate) fn ahead(&self, keys: &Keys) -> Ahead {
        match self {
            Self::Held(pair) if pair.flags == LOCK_FLAGS => Ahead {
                key: keys.entry(&pair.session).into(),
                foreign: false,
            },
            lock => Ahead {
                key: keys.lock.clone(),
                foreign: !matches!(lock, Self::Free(_)),
            },
        }
    }
}

/// How a transaction ended that Consul answered.
pub(crate) enum Committed {
    /// It was applied; what its operations wrote or read.
    Yes(Vec<Pair>),
    /// It changed nothing, because of this operation.
    No(TxnError),
}

/// Reads and transactions of elections.
pub(crate) struct Line {
    pub(crate) api: Arc<Api>,
    prefix: String,
    layout: Layout,
    namespace: Option<String>,
    partition: Option<String>,
    /// What leaders of ours have seen of their lines, by their places' keys.
    pub(crate) seen: Mutex<HashMap<Arc<str>, Seen>>,
    /// Looks that may be under way at once: nobody waits for them, and each takes a connection.
    pub(crate) looks: Semaphore,
}

impl Line {
    pub(crate) fn new(api: Arc<Api>, config: &ConsulConfig) -> Self {
        Self {
            api,
            prefix: config.prefix.clone(),
            layout: config.layout,
            namespace: config.namespace.clone(),
            partition: config.partition.clone(),
            seen: Mutex::default(),
            looks: Semaphore::new(LOOKS),
        }
    }

    /// The keys of an election, if Consul can have them.
    pub(crate) fn keys(&self, operation: &'static str, election: &ElectionName) -> Result<Keys, StoreError> {
        self.check(election)
            .map_err(|error| error.into_store_error(STORE, operation))
    }

    fn check(&self, election: &ElectionName) -> Result<Keys, InvalidInput> {
        check_key("election name", election.as_str())?;
        let mut lock = election.as_str().to_owned();
        if !self.prefix.is_empty() {
            lock = format!("{}/{lock}", self.prefix);
        }
        if self.layout == Layout::LockCommand {
            // command/lock/lock.go, setupLock.
            lock.push_str("/.lock");
        }
        Ok(Keys {
            line: format!("{lock}.line/").into(),
            lock: lock.into(),
        })
    }

    /// A request about keys in the latest state.
    pub(crate) fn read_request(&self, operation: &'static str, key: &str, query: &str) -> Ask {
        Ask {
            operation,
            method: Method::GET,
            path: format!("/v1/kv/{}?consistent{query}", escape(key)),
            body: Vec::new(),
            limit: limit(operation),
        }
    }

    /// One key, exactly.
    pub(crate) async fn read(&self, operation: &'static str, key: &str) -> Result<Option<Pair>, StoreError> {
        let answer = self.api.ask(&self.read_request(operation, key, "")).await?;
        one(operation, &answer)
    }

    /// Everybody's entry.
    pub(crate) async fn entries(&self, operation: &'static str, keys: &Keys) -> Result<Entries, StoreError> {
        let ask = self.read_request(operation, &keys.line, RECURSE);
        let answer = self.api.ask(&ask).await?;
        Ok(Entries::of(pairs(operation, &answer)?, &keys.line))
    }

    /// One session's entry.
    pub(crate) async fn entry(
        &self,
        operation: &'static str,
        keys: &Keys,
        session: &SessionId,
    ) -> Result<Option<Entry>, StoreError> {
        let pair = self.read(operation, &keys.entry(session.as_str())).await?;
        Ok(pair.and_then(|pair| Entry::of(pair, &keys.line)))
    }

    /// All or nothing of these operations.
    pub(crate) async fn txn(
        &self,
        operation: &'static str,
        mut ops: Vec<Op>,
    ) -> Result<Committed, StoreError> {
        for op in &mut ops {
            op.namespace.clone_from(&self.namespace);
            op.partition.clone_from(&self.partition);
        }
        let ops: Vec<Operation<'_>> = ops.iter().map(|kv| Operation { kv }).collect();
        let ask = Ask {
            operation,
            method: Method::PUT,
            path: "/v1/txn?consistent".to_owned(),
            body: serde_json::to_vec(&ops).map_err(|error| odd(operation, error.to_string()))?,
            limit: limit(operation),
        };
        let answer = self.api.ask(&ask).await?;
        let read: TxnAnswer = json(operation, &answer)?;
        match (answer.status, read.results, read.errors.unwrap_or_default()) {
            (StatusCode::OK, results, errors) if errors.is_empty() => Ok(Committed::Yes(
                results
                    .unwrap_or_default()
                    .into_iter()
                    .map(|result| result.kv)
                    .collect(),
            )),
            (StatusCode::CONFLICT, _, errors) => match errors.into_iter().next() {
                // A dead session, or no permission: nothing that another look at the line would change.
                Some(refused) if refused.what.contains("invalid session") => Ok(Committed::No(refused)),
                Some(refused) if refused.what.contains("Permission denied") => {
                    let failure = Failure::answer(StatusCode::FORBIDDEN, refused.what.as_bytes());
                    Err(failure.into_error(operation, &self.api.turns().all()))
                }
                Some(refused) => Ok(Committed::No(refused)),
                None => Err(odd(operation, "a transaction was refused without a reason")),
            },
            _ => Err(odd(operation, "a transaction was answered as Consul does not")),
        }
    }
}

/// Why a transaction was refused, as far as its callers care.
impl TxnError {
    /// The lock was taken from a dead session a moment ago, and Consul keeps it for that one's last acts.
    pub(crate) fn is_delay(&self) -> bool {
        self.what.contains("lock delay")
    }

    /// The session that a key was to be locked for does not live.
    pub(crate) fn is_dead_session(&self) -> bool {
        self.what.contains("invalid session") || self.what.contains("failed session lookup")
    }
}

/// Where the place of an entry stands, if the lock says so too.
pub(crate) fn leads(entry: &Entry, lock: &Lock) -> Option<Standing> {
    let held = matches!(lock, Lock::Held(pair) if pair.session == entry.session);
    (entry.leading && held).then_some(Standing::First(Token(entry.version)))
}

/// The key of an answer about one key.
pub(crate) fn one(operation: &'static str, answer: &Answer) -> Result<Option<Pair>, StoreError> {
    Ok(pairs(operation, answer)?.into_iter().next())
}

pub(crate) fn pairs(operation: &'static str, answer: &Answer) -> Result<Vec<Pair>, StoreError> {
    match answer.status {
        // With an index it is about the key; without, there is no such API here.
        StatusCode::NOT_FOUND if answer.index > 0 => Ok(Vec::new()),
        StatusCode::NOT_FOUND => {
            Err(Failure::answer(answer.status, &answer.body).into_error(operation, "/v1/kv"))
        }
        _ => json(operation, answer),
    }
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(
    operation: &'static str,
    answer: &Answer,
) -> Result<T, StoreError> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        // It quotes the text that it did not expect, whole.
        let (line, column) = (error.line(), error.column());
        let error = quoted(&error.to_string());
        odd(
            operation,
            format!("the answer is not Consul's, at line {line} column {column}: {error}"),
        )
    })
}

/// The error of a session that does not live any more.
pub(crate) fn session_gone(operation: &'static str, session: &SessionId) -> StoreError {
    StoreError::new(
        STORE,
        operation,
        ErrorKind::SessionGone,
        Outcome::NotApplied,
        format!("{session:?} has ended"),
    )
}

/// Others changed the line again and again while we tried; nothing was changed by us.
pub(crate) fn contended(operation: &'static str, keys: &Keys) -> StoreError {
    StoreError::new(
        STORE,
        operation,
        ErrorKind::Unavailable,
        Outcome::NotApplied,
        format!("the line of {} changed at every try", keys.lock),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_a_long_answer_is_short_and_says_where_it_is_wrong() {
        let answer = Answer {
            status: StatusCode::OK,
            index: 1,
            body: format!("\"{}\"", "ä".repeat(5000)).into(),
            from: 0,
        };
        let error = json::<TxnAnswer>("test", &answer)
            .expect_err("no transaction")
            .to_string();
        assert!(error.len() < 1000, "{error}");
        assert!(
            error.contains("invalid type: string") && error.contains("line 1 column"),
            "{error}"
        );
    }

    fn pair(session: &str, flags: u64, index: u64) -> Pair {
        Pair {
            key: format!("e.line/{session}"),
            flags,
            session: session.to_owned(),
            create_index: index,
            modify_index: index + 100,
            ..Pair::default()
        }
    }

    #[test]
    fn the_line_is_in_order_of_arrival_and_knows_no_foreign_keys() {
        let mut odd = pair("x", WAITING, 1);
        odd.key = "e.line/other".to_owned();
        let mut free = pair("y", WAITING, 2);
        free.session.clear();
        let entries = Entries::of(
            [
                pair("c", WAITING, 30),
                pair("a", LEADING, 10),
                pair("b", WAITING, 20),
                pair("d", 0, 5),
                odd,
                free,
            ],
            "e.line/",
        );
        let sessions: Vec<_> = entries.iter().map(|entry| &*entry.session).collect();
        assert_eq!(sessions, ["a", "b", "c"]);
        let (a, b, c) = (&entries.0[0], &entries.0[1], &entries.0[2]);
        assert_eq!(entries.next_after(a), Some(b));
        assert_eq!(entries.next_after(b), Some(c));
        assert_eq!(entries.ahead_of(c), Some(b));
        assert_eq!(entries.ahead_of(b), None, "who leads does not wait");
        assert_eq!(entries.head_before(c), Some(b));
        assert_eq!(entries.head_before(b), None);
    }

    #[test]
    fn a_key_that_keeps_something_else_is_not_taken() {
        let key = |flags, value: &[u8], session: &str| {
            Lock::of(Some(Pair {
                flags,
                value: value.to_owned(),
                session: session.to_owned(),
                modify_index: 7,
                ..Pair::default()
            }))
        };
        assert_eq!(Lock::of(None), Lock::Free(None));
        assert_eq!(key(LOCK_FLAGS, b"old leader", ""), Lock::Free(Some(7)));
        assert_eq!(key(0, b"", ""), Lock::Free(Some(7)));
        assert!(matches!(key(0, b"port = 80", ""), Lock::Foreign(_)));
        assert!(matches!(key(0, b"v", "s"), Lock::Held(_)));
    }

    #[test]
    fn an_entry_leads_only_with_the_lock() {
        let entries = Entries::of([pair("a", LEADING, 1), pair("b", WAITING, 2)], "e.line/");
        let held_by = |session: &str| {
            Lock::of(Some(Pair {
                session: session.to_owned(),
                ..Pair::default()
            }))
        };
        let (a, b) = (&entries.0[0], &entries.0[1]);
        assert_eq!(leads(a, &held_by("a")), Some(Standing::First(Token(101))));
        assert_eq!(leads(a, &held_by("b")), None);
        assert_eq!(leads(a, &Lock::Free(None)), None);
        assert_eq!(leads(b, &held_by("b")), None);
    }
}
