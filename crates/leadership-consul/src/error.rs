//! What Consul and the way to it answer, as a [`StoreError`] with kind and outcome, and what to do next: stay, or go
//! to another address. Texts are those of Consul's `agent/http.go`, `agent/consul` and `agent/structs/errors.go`.

use std::error::Error as StdError;

use hyper::StatusCode;
use leadership_core::{ErrorKind, Outcome, StoreError};

/// The store's name in errors and its URL scheme.
pub(crate) const STORE: &str = "consul";

/// What the client does after a failure, besides reporting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The address is fine: it answered.
    Stay,
    /// The address or the path to it may be bad: begin the next request at another.
    Rotate,
    /// As before; and this request certainly changed nothing, so another address may be asked at once.
    Retry,
    /// As before; and this request was not even sent, so this address may be asked again at once.
    Again,
}

/// A failed request at one address.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) outcome: Outcome,
    pub(crate) next: Next,
    /// What happened and what to do about it.
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, outcome: Outcome, next: Next, text: impl Into<String>) -> Self {
        Self {
            kind,
            outcome,
            next,
            text: text.into(),
        }
    }

    /// The same of a request that only read: it changed nothing, and another address may answer it.
    pub(crate) fn of_read(&mut self) {
        self.outcome = Outcome::NotApplied;
        if self.next == Next::Rotate {
            self.next = Next::Retry;
        }
    }

    /// As the trait's error; `address` is what was asked.
    pub(crate) fn into_error(self, operation: &'static str, address: &str) -> StoreError {
        StoreError::new(
            STORE,
            operation,
            self.kind,
            self.outcome,
            format!("{} (at {address})", self.text),
        )
    }

    /// A request that could not be sent, or whose answer could not be read.
    pub(crate) fn transport(error: &(dyn StdError + 'static), connecting: bool) -> Self {
        let text = chain(error);
        match (certificate_remedy(&text), connecting) {
            // In TLS 1.3 the server refuses our certificate only after the handshake looked complete to us.
            (Some(remedy), _) => Self::new(
                ErrorKind::Unauthenticated,
                Outcome::NotApplied,
                Next::Retry,
                format!("{text}; {remedy}"),
            ),
            (None, true) => Self::new(
                ErrorKind::Unavailable,
                Outcome::NotApplied,
                Next::Retry,
                cannot_connect(text),
            ),
            // hyper-util says so of requests that it could give back (`TrySendError::Retryable`).
            (None, false) if text.starts_with("client error (Canceled)") => Self::new(
                ErrorKind::Unavailable,
                Outcome::NotApplied,
                Next::Again,
                format!(
                    "{text}; the server closed the connection: if it has TLS, does it want cert= and key=?"
                ),
            ),
            (None, false) => Self::new(ErrorKind::Unavailable, Outcome::Unknown, Next::Rotate, text),
        }
    }

    /// An answer of something else.
    pub(crate) fn not_consul(status: StatusCode) -> Self {
        Self::new(
            ErrorKind::Other,
            Outcome::NotApplied,
            Next::Retry,
            format!("{status}, but not as Consul answers; is this Consul's HTTP address?"),
        )
    }

    /// An answer that goes on after as many bytes as Consul's may have.
    pub(crate) fn too_long(most: usize) -> Self {
        Self::new(
            ErrorKind::Other,
            Outcome::Unknown,
            Next::Rotate,
            format!(
                "an answer of more than {} MiB; is this Consul's HTTP address?",
                most >> 20
            ),
        )
    }

    /// An answer with a status that is no success.
    pub(crate) fn answer(status: StatusCode, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let (kind, outcome, next, remedy) = classify(status, text);
        let shown = quoted(text);
        let text = match (shown.is_empty(), remedy.is_empty()) {
            (true, _) => format!("{status}; {remedy}"),
            (false, true) => format!("{status}: {shown}"),
            (false, false) => format!("{shown}; {remedy}"),
        };
        Self::new(kind, outcome, next, text)
    }
}

/// What others said, for an error: they may say megabytes.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn classify(status: StatusCode, text: &str) -> (ErrorKind, Outcome, Next, &'static str) {
    use ErrorKind::{InvalidInput, Other, PermissionDenied, SessionGone, Unauthenticated, Unavailable};
    use Outcome::{NotApplied, Unknown};
    let has = |part: &str| text.contains(part);
    match status {
        _ if has("invalid session")
            || has("failed session lookup")
            || (has("Session id") && has("not found")) =>
        {
            (SessionGone, NotApplied, Next::Stay, "the session has ended")
        }
        _ if has("Invalid Session TTL") => (
            InvalidInput,
            NotApplied,
            Next::Stay,
            "this TTL is the ttl with liveness=check, and a third of it with liveness=session: give a longer ttl, or \
             lower session_ttl_min at the servers",
        ),
        // Said at every try until the servers know what the agent was just told.
        _ if has("Missing check") => (
            Unavailable,
            NotApplied,
            Next::Stay,
            "the servers do not know the check that the agent has: give the address of one agent that reaches them, \
             not of several behind one address, or liveness=session",
        ),
        _ if has("Missing node registration") => (
            Unavailable,
            NotApplied,
            Next::Stay,
            "the servers do not know the agent: has it joined them, and is it of the datacenter that dc= names?",
        ),
        _ if has("ACL not found") || status == StatusCode::UNAUTHORIZED => (
            Unauthenticated,
            NotApplied,
            Next::Stay,
            "give token= or token_file= with a valid ACL token",
        ),
        // `http_config` of the agent (agent/http.go): no token helps.
        _ if has("blocked by agent configuration") => (
            PermissionDenied,
            NotApplied,
            Next::Stay,
            "give another address, or liveness=session where http_config.block_endpoints has only /v1/agent",
        ),
        _ if has("Access is restricted") => (
            PermissionDenied,
            NotApplied,
            Next::Stay,
            "http_config.allow_write_http_from of the agent leaves out this machine: add it, or give another address",
        ),
        _ if has("Permission denied") || status == StatusCode::FORBIDDEN => (
            PermissionDenied,
            NotApplied,
            Next::Stay,
            "the token needs key:write on all keys that begin with the election's, session:write on the node, and \
             service:write on \"leadership\" (not with liveness=session)",
        ),
        _ if has("Client sent an HTTP request to an HTTPS server") => (
            InvalidInput,
            NotApplied,
            Next::Stay,
            "this address has TLS: give tls=true or ca=",
        ),
        // Said before the request is handed to anybody (agent/consul/rpc.go).
        _ if has("No cluster leader") => (
            Unavailable,
            NotApplied,
            Next::Retry,
            "the servers have no quorum, or are electing",
        ),
        _ if has("No known Consul servers") => (
            Unavailable,
            NotApplied,
            Next::Retry,
            "the agent has not joined a cluster",
        ),
        _ if has("No path to datacenter") => (
            Unavailable,
            NotApplied,
            Next::Retry,
            "the agent knows no server of the datacenter that dc= names",
        ),
        _ if has("Namespaces are a Consul Enterprise feature") => {
            (InvalidInput, NotApplied, Next::Stay, "leave out ns=")
        }
        // Consul before 1.11 knows no partitions: it ignores them in queries, and refuses them in transactions.
        _ if has("Partitions are a Consul Enterprise feature") || has("unknown field \"Partition\"") => (
            InvalidInput,
            NotApplied,
            Next::Stay,
            "this Consul has no admin partitions: leave out partition=",
        ),
        // Newer Consul takes some keys for mistakes (agent/kvs_endpoint.go), as a failure of the server.
        _ if has("invalid key name") => (
            InvalidInput,
            NotApplied,
            Next::Stay,
            "use letters, digits and / - _ . , only in the election's name and the prefix",
        ),
        _ if has("issuing too many concurrent connections") || status == StatusCode::TOO_MANY_REQUESTS => (
            Unavailable,
            NotApplied,
            Next::Stay,
            "raise limits.http_max_conns_per_client: every election takes a connection or two",
        ),
        StatusCode::BAD_REQUEST | StatusCode::MOVED_PERMANENTLY => (InvalidInput, NotApplied, Next::Stay, ""),
        StatusCode::PAYLOAD_TOO_LARGE => (
            InvalidInput,
            NotApplied,
            Next::Stay,
            "publish a reference instead of a large value",
        ),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            (Unavailable, Unknown, Next::Rotate, "")
        }
        StatusCode::NOT_FOUND => (Other, NotApplied, Next::Stay, "is this Consul's HTTP address?"),
        // A server that fails may have handed the request to another one before.
        status if status.is_server_error() => (Unavailable, Unknown, Next::Rotate, ""),
        _ => (Other, Unknown, Next::Stay, ""),
    }
}

fn cannot_connect(text: String) -> String {
    if text.contains("InvalidContentType") || text.contains("corrupt message") {
        return format!("cannot connect: {text}; if this address has no TLS, leave out tls= and ca=");
    }
    format!("cannot connect: {text}")
}

/// What to do about a certificate that one side did not accept. Texts are those of rustls.
fn certificate_remedy(text: &str) -> Option<&'static str> {
    if text.contains("not valid for name") || text.contains("NotValidForName") {
        return Some("give server_name= with a name that is in the server's certificate");
    }
    if text.contains("invalid peer certificate")
        && (text.contains("xpired") || text.contains("not valid yet"))
    {
        return Some("give the server a certificate that is not expired, or set the clock of this machine");
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

/// An error with the sources behind it, each once: one often repeats the next.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

/// Failures of several addresses as one error: none of them took the request.
pub(crate) fn none_took_it(operation: &'static str, mut failed: Vec<(String, Failure)>) -> StoreError {
    // What cannot pass by itself is the thing to tell; else the last one stands for all.
    let telling = failed
        .iter()
        .position(|(_, failure)| failure.kind != ErrorKind::Unavailable)
        .unwrap_or_else(|| failed.len().saturating_sub(1));
    if telling >= failed.len() {
        return odd(operation, "there is no address to ask");
    }
    let all_alike = failed
        .iter()
        .all(|(_, failure)| failure.kind == failed[telling].1.kind);
    let (address, mut failure) = failed.swap_remove(telling);
    // One bad address among good ones is no reason to give up for good.
    if !all_alike {
        failure.kind = ErrorKind::Unavailable;
    }
    let others: Vec<String> = failed
        .iter()
        .map(|(address, failure)| format!("{address}: {}", failure.text))
        .collect();
    if !others.is_empty() {
        failure.text = format!("{}; also {}", failure.text, others.join("; "));
    }
    failure.into_error(operation, &address)
}

/// An answer that Consul's API does not allow.
pub(crate) fn odd(operation: &'static str, text: impl Into<String>) -> StoreError {
    StoreError::new(STORE, operation, ErrorKind::Other, Outcome::Unknown, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, text: &str) -> Failure {
        Failure::answer(StatusCode::from_u16(status).expect("status"), text.as_bytes())
    }

    #[test]
    fn answers_are_told_apart_by_what_can_be_done() {
        use ErrorKind::{InvalidInput, PermissionDenied, SessionGone, Unauthenticated, Unavailable};
        for (status, text, kind, outcome) in [
            (500, "No cluster leader", Unavailable, Outcome::NotApplied),
            (500, "rpc error making call: EOF", Unavailable, Outcome::Unknown),
            (
                500,
                "rpc error making call: leadership lost while committing log",
                Unavailable,
                Outcome::Unknown,
            ),
            (403, "Permission denied", PermissionDenied, Outcome::NotApplied),
            (
                500,
                "rpc error making call: Permission denied",
                PermissionDenied,
                Outcome::NotApplied,
            ),
            (403, "ACL not found", Unauthenticated, Outcome::NotApplied),
            (500, "invalid session \"x\"", SessionGone, Outcome::NotApplied),
            (404, "Session id 'x' not found", SessionGone, Outcome::NotApplied),
            (413, "Request body too large", InvalidInput, Outcome::NotApplied),
            (503, "", Unavailable, Outcome::Unknown),
            (
                500,
                "Invalid Session TTL '10000000000', must be between [20s=24h0m0s]",
                InvalidInput,
                Outcome::NotApplied,
            ),
            (
                500,
                "Missing check 'service:x' registration",
                Unavailable,
                Outcome::NotApplied,
            ),
            (500, "Missing node registration", Unavailable, Outcome::NotApplied),
            (500, "No path to datacenter", Unavailable, Outcome::NotApplied),
            (
                500,
                "failed session lookup: index error: UUID must be 36 characters",
                SessionGone,
                Outcome::NotApplied,
            ),
            (
                400,
                "Failed to parse body: json: unknown field \"Partition\"",
                InvalidInput,
                Outcome::NotApplied,
            ),
        ] {
            let failure = answered(status, text);
            assert_eq!(
                (failure.kind, failure.outcome),
                (kind, outcome),
                "{status} {text}"
            );
        }
    }

    #[test]
    fn remedies_follow_from_the_texts_of_rustls() {
        for (text, remedy) in [
            ("invalid peer certificate: UnknownIssuer", "ca="),
            (
                "invalid peer certificate: certificate expired: verification time 2",
                "not expired",
            ),
            (
                "invalid peer certificate: certificate not valid yet: verification time 1",
                "clock",
            ),
            (
                "invalid peer certificate: certificate not valid for name \"h\"",
                "server_name=",
            ),
            ("received fatal alert: CertificateRequired", "cert="),
        ] {
            assert!(certificate_remedy(text).expect(text).contains(remedy), "{text}");
        }
    }

    #[test]
    fn one_bad_address_among_others_is_not_for_good() {
        let refused = || Failure::new(ErrorKind::Unauthenticated, Outcome::NotApplied, Next::Retry, "ca");
        let away = || Failure::new(ErrorKind::Unavailable, Outcome::NotApplied, Next::Retry, "away");
        let both = none_took_it("enter", vec![("a".into(), away()), ("b".into(), refused())]);
        assert!(
            both.is_transient() && both.to_string().contains("ca (at b)")
                || both.to_string().contains("away")
        );
        let all = none_took_it("enter", vec![("a".into(), refused()), ("b".into(), refused())]);
        assert!(!all.is_transient());
    }
}
