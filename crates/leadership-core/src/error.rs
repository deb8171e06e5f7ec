//! What can go wrong, told so that a program can act on it and a person knows what to do.
//!
//! A [`StoreError`] says three things: what happened ([`ErrorKind`]), whether it can pass by itself
//! ([`StoreError::is_transient`]), and whether anything may have changed at the store ([`Outcome`]).

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::election::EndReason;
use crate::name::ElectionName;

/// Whether a failed request changed anything at the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It certainly changed nothing, now or later.
    NotApplied,
    /// It may have taken effect, or may yet: a timeout, a lost connection, a dropped future.
    Unknown,
}

/// What kind of failure a [`StoreError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The session named in the request does not live any more.
    SessionGone,
    /// The entry the request is fenced by is not there any more.
    EntryGone,
    /// The store cannot be reached or has no quorum.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// Wrong user, password, token or certificate.
    Unauthenticated,
    /// The credentials are right, but do not permit this.
    PermissionDenied,
    /// A name, value, TTL or option that the store cannot take.
    InvalidInput,
    /// Something that is not a contender stands in the election.
    ForeignEntry,
    /// The store answered something that its protocol does not allow, or an error of no other kind.
    Other,
}

/// A failed request to a store. Cheap to clone: several waiters may each get a copy.
#[derive(Clone)]
pub struct StoreError {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    store: &'static str,
    operation: &'static str,
    kind: ErrorKind,
    outcome: Outcome,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl StoreError {
    /// An error of `store` ("etcd") in `operation` ("enter"). `message` names the input and the remedy.
    pub fn new(
        store: &'static str,
        operation: &'static str,
        kind: ErrorKind,
        outcome: Outcome,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self {
            inner: Arc::new(Inner {
                store,
                operation,
                kind,
                outcome,
                message,
                source: None,
            }),
        }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.inner);
        inner.source = Some(source.into().into());
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same error, by one who knows better whether anything may have changed.
    #[must_use]
    pub fn with_outcome(self, outcome: Outcome) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.inner);
        inner.outcome = outcome;
        Self {
            inner: Arc::new(inner),
        }
    }

    /// No answer within `limit`: the outcome is unknown.
    pub fn timeout(store: &'static str, operation: &'static str, limit: std::time::Duration) -> Self {
        Self::unanswered(store, operation, format_args!("within {limit:?}"))
    }

    /// No answer within `limit` from where the store was asked: the outcome is unknown.
    pub(crate) fn timeout_at(
        store: &crate::DynStore,
        operation: &'static str,
        limit: std::time::Duration,
    ) -> Self {
        let name = store.limits().store;
        Self::unanswered(name, operation, format_args!("from {store} within {limit:?}"))
    }

    fn unanswered(store: &'static str, operation: &'static str, where_and_when: fmt::Arguments<'_>) -> Self {
        Self::new(
            store,
            operation,
            ErrorKind::Timeout,
            Outcome::Unknown,
            format!("no answer {where_and_when}; is the store reachable and does it have a quorum?"),
        )
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether anything may have changed at the store.
    pub fn outcome(&self) -> Outcome {
        self.inner.outcome
    }

    /// The store, as in its URL scheme.
    pub fn store(&self) -> &'static str {
        self.inner.store
    }

    /// The operation of [`KvStore`](crate::KvStore) that failed.
    pub fn operation(&self) -> &'static str {
        self.inner.operation
    }

    /// Whether trying again can help without anybody changing something.
    ///
    /// What is not transient (refused credentials, an input the store cannot take) ends a campaign.
    pub fn is_transient(&self) -> bool {
        !matches!(
            self.inner.kind,
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied | ErrorKind::InvalidInput
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let i = &*self.inner;
        write!(f, "{} {}: {}", i.store, i.operation, i.message)?;
        if let Some(source) = &i.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.inner.kind)
            .field("outcome", &self.inner.outcome)
            .field("text", &self.to_string())
            .finish()
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_ref()
            .map(|s| &**s as &(dyn StdError + 'static))
    }
}

/// An input that can never work, found before anything was asked of a store.
///
/// Its `Debug` is the sentence too: a `main` that returns it prints that.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem}; {remedy}")]
pub struct InvalidInput {
    what: String,
    problem: String,
    remedy: String,
}

impl InvalidInput {
    /// `what` names the input with its value (`ttl 500ms`), `problem` what is wrong with it, `remedy` what to
    /// do about it.
    pub fn new(what: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// The input this is about, with its value.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// As an error of a store's operation. Nothing was changed.
    pub fn into_store_error(self, store: &'static str, operation: &'static str) -> StoreError {
        StoreError::new(
            store,
            operation,
            ErrorKind::InvalidInput,
            Outcome::NotApplied,
            self.to_string(),
        )
    }
}

impl fmt::Debug for InvalidInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<std::convert::Infallible> for InvalidInput {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// What a call on [`Elections`](crate::Elections), a [`Candidate`](crate::Candidate) or a
/// [`Follower`](crate::Follower) can fail with.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input that can never work. Nothing was asked of the store.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// This session has a candidate in that election already. Nothing was changed.
    #[error(
        "election {0}: this session has a candidate in it already; stop that one first, \
         or use Elections of its own for the second"
    )]
    AlreadyStanding(ElectionName),
    /// Only a leader can do that. Nothing was changed.
    #[error("not the leader")]
    NotLeading,
    /// The term ended before the work did.
    #[error("the term ended: {0}")]
    Ended(EndReason),
    /// The candidate has stopped, because of an error that cannot pass if there is one.
    #[error("the candidate has stopped{}", .0.as_ref().map_or_else(String::new, |error| format!(": {error}")))]
    Stopped(Option<StoreError>),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// These elections were closed. Nothing was changed.
    #[error("these elections were closed; make new ones to stand again")]
    Closed,
    /// There is no tokio runtime to run the tasks on.
    #[error("no tokio runtime: call this from within one, such as under #[tokio::main]")]
    NoRuntime,
}
