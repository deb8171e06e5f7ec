//! What etcd and its transport answer, as a [`StoreError`] with kind and outcome, and what to do next: stay,
//! go to another endpoint, sign in again. Texts are those of etcd's `api/v3rpc/rpctypes/error.go`.

use std::error::Error as StdError;

use etcd_client::Error as EtcdError;
use leadership_core::{ErrorKind, Outcome, StoreError};
use tonic::{Code, ConnectError, Status};

/// The store's name in errors and its URL scheme.
pub(crate) const STORE: &str = "etcd";

/// What the connection does after a failure, besides reporting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The endpoint is fine: it answered.
    Stay,
    /// The endpoint or the path to it may be bad: begin the next request at another.
    Rotate,
    /// As before; and this request certainly changed nothing, so another endpoint may be asked at once.
    Retry,
    /// The token is not good any more: sign in, and ask again.
    SignIn,
    /// The channel has ended, with the runtime it was made on: make another, and ask again.
    Reconnect,
}

/// A failed request at one endpoint.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) outcome: Outcome,
    pub(crate) next: Next,
    /// What happened and what to do about it.
    pub(crate) text: String,
}

impl Failure {
    fn new(kind: ErrorKind, outcome: Outcome, next: Next, text: impl Into<String>) -> Self {
        Self {
            kind,
            outcome,
            next,
            text: text.into(),
        }
    }

    /// As the trait's error; `address` is the endpoint that was asked.
    pub(crate) fn into_error(self, operation: &'static str, address: &str) -> StoreError {
        StoreError::new(
            STORE,
            operation,
            self.kind,
            self.outcome,
            format!("{} (at {address})", self.text),
        )
    }
}

impl From<EtcdError> for Failure {
    fn from(error: EtcdError) -> Self {
        use ErrorKind::{InvalidInput, Other, SessionGone, Unavailable};
        use Outcome::{NotApplied, Unknown};
        match error {
            EtcdError::GRpcStatus(status) => Self::from(&status),
            EtcdError::TransportError(e) => connect_failure(&e)
                .unwrap_or_else(|| Self::new(Unavailable, Unknown, Next::Rotate, chain(&e))),
            EtcdError::LeaseKeepAliveError(text) if text.contains("not found") => {
                Self::new(SessionGone, NotApplied, Next::Stay, "the lease has ended")
            }
            // The keep-alive or watch stream ended or does not take requests any more.
            EtcdError::LeaseKeepAliveError(text) | EtcdError::WatchError(text) => Self::new(
                Unavailable,
                Unknown,
                Next::Rotate,
                format!("the stream ended: {text}"),
            ),
            EtcdError::IoError(e) => Self::new(Unavailable, Unknown, Next::Rotate, e.to_string()),
            EtcdError::InvalidArgs(text) => Self::new(InvalidInput, NotApplied, Next::Stay, text),
            e @ (EtcdError::InvalidUri(_) | EtcdError::InvalidMetadataValue(_)) => {
                Self::new(InvalidInput, NotApplied, Next::Stay, e.to_string())
            }
            e => Self::new(Other, Unknown, Next::Stay, e.to_string()),
        }
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        if let Some(failure) = connect_failure(status) {
            return failure;
        }
        // For a failed transport the status says little ("transport error") and its sources say why.
        let text = with_sources(status.message().to_owned(), status.source());
        answer(status.code(), &text)
    }
}

/// The failure if no connection could be made: then nothing was sent.
fn connect_failure(error: &(dyn StdError + 'static)) -> Option<Failure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<ConnectError>() {
            let text = chain(error);
            return Some(match certificate_remedy(&text) {
                Some(remedy) => Failure::new(
                    ErrorKind::Unauthenticated,
                    Outcome::NotApplied,
                    Next::Retry,
                    format!("{text}; {remedy}"),
                ),
                None => Failure::new(
                    ErrorKind::Unavailable,
                    Outcome::NotApplied,
                    Next::Retry,
                    cannot_connect(text),
                ),
            });
        }
        next = error.source();
    }
    None
}

fn cannot_connect(text: String) -> String {
    if text.contains("InvalidContentType") || text.contains("handshake eof") {
        return format!("cannot connect: {text}; if this endpoint has no TLS, leave out tls= and ca=");
    }
    format!("cannot connect: {text}")
}

/// What to do about a certificate that one side did not accept. Texts are those of rustls.
fn certificate_remedy(text: &str) -> Option<&'static str> {
    if text.contains("not valid for name") || text.contains("NotValidForName") {
        return Some("give server_name= with a name that is in the server's certificate");
    }
    if text.contains("invalid peer certificate") {
        return Some("give ca= with the authority that signed the server's certificate");
    }
    // An alert is what the server sent about our certificate.
    if text.contains("fatal alert") && (text.contains("ertificate") || text.contains("UnknownCA")) {
        return Some("give cert= and key= with a client certificate that the server accepts");
    }
    None
}

/// A failure by gRPC code and text.
fn answer(code: Code, text: &str) -> Failure {
    use ErrorKind::{
        InvalidInput, Other, PermissionDenied, SessionGone, Timeout, Unauthenticated, Unavailable,
    };
    use Outcome::{NotApplied, Unknown};
    let has = |part: &str| text.contains(part);
    let (kind, outcome, next, remedy) = match code {
        _ if certificate_remedy(text).is_some() => {
            let remedy = certificate_remedy(text).unwrap_or_default();
            // In TLS 1.3 the server refuses our certificate only after the handshake looked complete to us.
            (Unauthenticated, NotApplied, Next::Retry, remedy)
        }
        Code::NotFound if has("lease not found") => (
            SessionGone,
            NotApplied,
            Next::Stay,
            "the lease of this session has ended",
        ),
        _ if has("authentication failed") => {
            (Unauthenticated, NotApplied, Next::Stay, "check user and password")
        }
        _ if has("user name is empty") => (
            Unauthenticated,
            NotApplied,
            Next::Stay,
            "this etcd wants a user and a password",
        ),
        // Not permanent: a token expires, or changes with the users, while the credentials stay right.
        Code::Unauthenticated => (Unavailable, NotApplied, Next::SignIn, "signing in again"),
        _ if has("invalid auth token") || has("revision of auth store is old") => {
            (Unavailable, NotApplied, Next::SignIn, "signing in again")
        }
        _ if code == Code::PermissionDenied || has("etcdserver: permission denied") => (
            PermissionDenied,
            NotApplied,
            Next::Stay,
            "grant the user's role readwrite on the elections' prefix",
        ),
        _ if has("space exceeded") => (
            Unavailable,
            NotApplied,
            Next::Stay,
            "compact and defragment etcd, then disarm the alarm: etcdctl alarm disarm",
        ),
        _ if has("too many requests") => (Unavailable, NotApplied, Next::Stay, "etcd is overloaded"),
        Code::InvalidArgument | Code::ResourceExhausted if has("too large") || has("larger than max") => (
            InvalidInput,
            NotApplied,
            Next::Stay,
            "publish a reference instead of a large value",
        ),
        Code::OutOfRange if has("too large lease TTL") => {
            (InvalidInput, NotApplied, Next::Stay, "use a shorter ttl")
        }
        Code::InvalidArgument => (InvalidInput, NotApplied, Next::Stay, ""),
        // Refused before it is handled, when asked for with `hasleader` (api/v3rpc/interceptor.go); a
        // proposal without a leader does not fail so but waits and times out.
        _ if has("etcdserver: no leader") => (
            Unavailable,
            NotApplied,
            Next::Retry,
            "this member has lost its cluster",
        ),
        // Every answer but a refusal before the handling leaves it open whether the request was proposed.
        Code::Unavailable => (Unavailable, Unknown, Next::Rotate, ""),
        Code::DeadlineExceeded => (Timeout, Unknown, Next::Rotate, ""),
        Code::Cancelled if has("Timeout expired") => (Timeout, Unknown, Next::Rotate, ""),
        Code::Unknown if has("Service was not ready") => (Unavailable, NotApplied, Next::Reconnect, ""),
        Code::Cancelled | Code::Internal | Code::Unknown | Code::Aborted => {
            (Unavailable, Unknown, Next::Rotate, "")
        }
        Code::Unimplemented => (
            Other,
            NotApplied,
            Next::Stay,
            "is this an etcd of version 3.4 or later?",
        ),
        Code::FailedPrecondition if has("lease already exists") => (Other, NotApplied, Next::Stay, ""),
        _ => (Other, Unknown, Next::Stay, ""),
    };
    let text = match (text.is_empty(), remedy.is_empty()) {
        (true, _) => format!("{code:?}; {remedy}"),
        (false, true) => text.to_owned(),
        (false, false) => format!("{text}; {remedy}"),
    };
    Failure::new(kind, outcome, next, text)
}

/// The reason a watch was cancelled for, which comes in band and without a code.
pub(crate) fn watch_cancelled(reason: &str) -> Failure {
    let mut failure = answer(Code::Unavailable, reason);
    if reason.is_empty() {
        failure.text = "etcd cancelled the watch without a reason".to_owned();
    }
    failure
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    with_sources(error.to_string(), error.source())
}

/// A text with the sources behind it, each once: one often repeats the next.
fn with_sources(mut text: String, mut source: Option<&(dyn StdError + 'static)>) -> String {
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

/// Failures of several endpoints as one error: none of them took the request.
pub(crate) fn none_took_it(operation: &'static str, mut failed: Vec<(String, Failure)>) -> StoreError {
    if failed.len() == 1
        && let Some((address, failure)) = failed.pop()
    {
        return failure.into_error(operation, &address);
    }
    // Permanent only if every endpoint says so; one that is down may yet take us.
    let first = failed.first().map_or(ErrorKind::Unavailable, |(_, f)| f.kind);
    let kind = if failed.iter().all(|(_, f)| f.kind == first) {
        first
    } else {
        ErrorKind::Unavailable
    };
    let texts: Vec<String> = failed
        .iter()
        .map(|(address, f)| format!("{address}: {}", f.text))
        .collect();
    let text = format!(
        "none of {} endpoints took the request: {}",
        failed.len(),
        texts.join(", ")
    );
    StoreError::new(STORE, operation, kind, Outcome::NotApplied, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::*;
    use Outcome::*;

    #[test]
    fn answers_have_kind_outcome_and_consequence() {
        for (code, text, kind, outcome, next) in [
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                SessionGone,
                NotApplied,
                Next::Stay,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                Unauthenticated,
                NotApplied,
                Next::Stay,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: user name is empty",
                Unauthenticated,
                NotApplied,
                Next::Stay,
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                Unavailable,
                NotApplied,
                Next::SignIn,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
                Unavailable,
                NotApplied,
                Next::SignIn,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                PermissionDenied,
                NotApplied,
                Next::Stay,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                InvalidInput,
                NotApplied,
                Next::Stay,
            ),
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (3 vs. 2)",
                InvalidInput,
                NotApplied,
                Next::Stay,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                Unavailable,
                NotApplied,
                Next::Stay,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                Unavailable,
                NotApplied,
                Next::Stay,
            ),
            (
                Code::Unavailable,
                "etcdserver: no leader",
                Unavailable,
                NotApplied,
                Next::Retry,
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                Unavailable,
                Unknown,
                Next::Rotate,
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                Unavailable,
                Unknown,
                Next::Rotate,
            ),
            (Code::Cancelled, "Timeout expired", Timeout, Unknown, Next::Rotate),
            (
                Code::DeadlineExceeded,
                "context deadline exceeded",
                Timeout,
                Unknown,
                Next::Rotate,
            ),
            (
                Code::Unknown,
                "h2 protocol error: error reading a body",
                Unavailable,
                Unknown,
                Next::Rotate,
            ),
            (
                Code::Internal,
                "stream terminated by RST_STREAM",
                Unavailable,
                Unknown,
                Next::Rotate,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future",
                Other,
                Unknown,
                Next::Stay,
            ),
        ] {
            let failure = answer(code, text);
            assert_eq!(
                (failure.kind, failure.outcome, failure.next),
                (kind, outcome, next),
                "{text}"
            );
            assert!(failure.text.contains(text), "{}", failure.text);
        }
    }

    #[test]
    fn a_watch_is_cancelled_in_band() {
        assert_eq!(
            watch_cancelled("rpc error: etcdserver: invalid auth token").next,
            Next::SignIn
        );
        assert_eq!(
            watch_cancelled("etcdserver: permission denied").kind,
            PermissionDenied
        );
        assert_eq!(watch_cancelled("").kind, Unavailable);
    }

    #[test]
    fn a_refused_connection_sent_nothing() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let mut status = Status::unavailable("tcp connect error");
        status.set_source(std::sync::Arc::new(ConnectError(Box::new(refused))));
        let failure = Failure::from(&status);
        assert_eq!(
            (failure.kind, failure.outcome, failure.next),
            (Unavailable, NotApplied, Next::Retry)
        );
        // The same text without the source might have come from a proxy, about a request it had passed on.
        let failure = Failure::from(&Status::unavailable("tcp connect error"));
        assert_eq!((failure.outcome, failure.next), (Unknown, Next::Rotate));
    }

    #[test]
    fn a_certificate_that_is_not_trusted_names_the_remedy() {
        let error = std::io::Error::other("invalid peer certificate: UnknownIssuer");
        let failure = connect_failure(&ConnectError(Box::new(error))).expect("a connect failure");
        assert_eq!((failure.kind, failure.outcome), (Unauthenticated, NotApplied));
        assert!(failure.text.contains("ca="), "{}", failure.text);
    }

    #[test]
    fn several_endpoints_are_all_named_and_permanent_only_together() {
        let failed = |kind| {
            (
                format!("{kind:?}:1"),
                Failure::new(kind, NotApplied, Next::Retry, "why"),
            )
        };
        let error = none_took_it("enter", vec![failed(Unauthenticated), failed(Unavailable)]);
        assert!(error.is_transient() && error.outcome() == NotApplied, "{error}");
        assert!(
            error
                .to_string()
                .contains("Unauthenticated:1: why, Unavailable:1: why"),
            "{error}"
        );
        let error = none_took_it("enter", vec![failed(Unauthenticated), failed(Unauthenticated)]);
        assert!(!error.is_transient());
    }
}
