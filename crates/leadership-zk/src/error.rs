//! What ZooKeeper and its client answer, as a [`StoreError`] with kind, outcome and remedy.

use leadership_core::{ErrorKind, Outcome, StoreError};
use zookeeper_client::Error as ZkError;

/// The store's name in errors and its URL scheme.
pub(crate) const STORE: &str = "zk";

/// Whether a request can change anything at the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

/// The trait's error for what the client answered; `path` is the node that was asked about.
///
/// An error code of the server is an answer: the request was refused and changed nothing (ZooKeeper's
/// `KeeperException`). Anything that happened to the connection, of which the client has several spellings,
/// leaves a write unknown.
pub(crate) fn failed(operation: &'static str, path: &str, effect: Effect, error: &ZkError) -> StoreError {
    use ErrorKind::{
        ForeignEntry, InvalidInput, Other, PermissionDenied, SessionGone, Unauthenticated, Unavailable,
    };
    let (kind, refused, remedy) = match error {
        ZkError::SessionExpired | ZkError::ClientClosed => (SessionGone, true, "the session has ended"),
        ZkError::AuthFailed => (
            Unauthenticated,
            true,
            "check user and password, and whether the server wants another scheme than digest",
        ),
        ZkError::NoAuth => (
            PermissionDenied,
            true,
            "check user and password, and the node's ACL: zkCli.sh getAcl; it must allow cdrw",
        ),
        ZkError::InvalidAcl => (
            InvalidInput,
            true,
            "the server refuses the ACL; give acl= with a scheme that it knows and an id of that scheme's form",
        ),
        ZkError::BadArguments(_) => (InvalidInput, true, "use another name or prefix"),
        ZkError::NoChildrenForEphemerals => (
            ForeignEntry,
            true,
            "a node on the way is ephemeral and cannot have entries below it; remove it, or use another name or \
             prefix",
        ),
        ZkError::QuotaExceeded => (
            Unavailable,
            true,
            "raise the quota on the elections' prefix: zkCli.sh setquota",
        ),
        ZkError::Throttled => (Unavailable, true, "the server is overloaded"),
        ZkError::NotReadOnly => (Unavailable, true, "the server has no quorum"),
        ZkError::SessionMoved => (
            Unavailable,
            true,
            "the session has moved to another server; trying again",
        ),
        ZkError::NoHosts => (Unavailable, true, "is a server reachable?"),
        ZkError::Unimplemented => (
            Other,
            true,
            "the server does not know this request; ZooKeeper 3.5 or later is needed",
        ),
        ZkError::NoNode | ZkError::NodeExists | ZkError::BadVersion | ZkError::NotEmpty => {
            (Other, true, "the node was changed meanwhile")
        }
        ZkError::ConnectionLoss | ZkError::Timeout | ZkError::Custom(_) => (
            Unavailable,
            false,
            "is the server reachable, and does it have a quorum?",
        ),
        // Also code -7 (operation timeout) and whatever else the server does not say clearly.
        _ => (Unavailable, false, "an unclear answer"),
    };
    let outcome = if refused || effect == Effect::Read {
        Outcome::NotApplied
    } else {
        Outcome::Unknown
    };
    StoreError::new(
        STORE,
        operation,
        kind,
        outcome,
        format!("{path}: {error}; {remedy}"),
    )
}

/// The same for a request over the reader, whose session's end is nobody's loss.
pub(crate) fn of_reader(operation: &'static str, path: &str, effect: Effect, error: &ZkError) -> StoreError {
    if !is_ended(error) || matches!(error, ZkError::AuthFailed) {
        return failed(operation, path, effect, error);
    }
    let outcome = match effect {
        Effect::Read => Outcome::NotApplied,
        Effect::Write => Outcome::Unknown,
    };
    unavailable(
        operation,
        format!("{path}: the reader's session has ended; trying again"),
    )
    .with_outcome(outcome)
}

/// Whether the error says that the client's session has ended, for whatever reason.
pub(crate) fn is_ended(error: &ZkError) -> bool {
    matches!(
        error,
        ZkError::SessionExpired | ZkError::ClientClosed | ZkError::AuthFailed
    )
}

/// Whether the request may have been applied, or may yet be.
pub(crate) fn is_unknown(error: &ZkError) -> bool {
    failed("", "", Effect::Write, error).outcome() == Outcome::Unknown
}

pub(crate) fn unavailable(operation: &'static str, text: impl Into<String>) -> StoreError {
    StoreError::new(
        STORE,
        operation,
        ErrorKind::Unavailable,
        Outcome::NotApplied,
        text,
    )
}

/// The session has ended, or was never this store's.
pub(crate) fn session_gone(operation: &'static str, session: &str) -> StoreError {
    StoreError::new(
        STORE,
        operation,
        ErrorKind::SessionGone,
        Outcome::NotApplied,
        format!("the session {session} has ended, or was not opened by this store"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_kind_outcome_and_remedy() {
        use ErrorKind::*;
        use Outcome::*;
        for (error, kind, outcome, remedy) in [
            (ZkError::SessionExpired, SessionGone, NotApplied, "ended"),
            (ZkError::ClientClosed, SessionGone, NotApplied, "ended"),
            (ZkError::AuthFailed, Unauthenticated, NotApplied, "password"),
            (ZkError::NoAuth, PermissionDenied, NotApplied, "getAcl"),
            (ZkError::InvalidAcl, InvalidInput, NotApplied, "acl="),
            (
                ZkError::BadArguments(&"bad"),
                InvalidInput,
                NotApplied,
                "another name",
            ),
            (
                ZkError::NoChildrenForEphemerals,
                ForeignEntry,
                NotApplied,
                "ephemeral",
            ),
            (ZkError::QuotaExceeded, Unavailable, NotApplied, "setquota"),
            (ZkError::Throttled, Unavailable, NotApplied, "overloaded"),
            (ZkError::SessionMoved, Unavailable, NotApplied, "moved"),
            (ZkError::Unimplemented, Other, NotApplied, "3.5"),
            (ZkError::ConnectionLoss, Unavailable, Unknown, "quorum"),
            (ZkError::Timeout, Unavailable, Unknown, "quorum"),
            (ZkError::UnexpectedErrorCode(-7), Unavailable, Unknown, "unclear"),
            (
                ZkError::UnexpectedError("BUG".into()),
                Unavailable,
                Unknown,
                "unclear",
            ),
        ] {
            let failure = failed("enter", "/a", Effect::Write, &error);
            assert_eq!((failure.kind(), failure.outcome()), (kind, outcome), "{error}");
            let text = failure.to_string();
            assert!(text.contains(remedy) && text.contains("/a"), "{text}");
            let read = failed("find", "/a", Effect::Read, &error);
            assert_eq!(read.outcome(), NotApplied, "a read changes nothing: {error}");
        }
    }

    #[test]
    fn only_a_lost_connection_leaves_a_write_unknown() {
        assert!(is_unknown(&ZkError::ConnectionLoss) && !is_unknown(&ZkError::NoNode));
        assert!(is_ended(&ZkError::SessionExpired) && !is_ended(&ZkError::ConnectionLoss));
    }
}
