//! The way to Consul: one HTTP client for all addresses, and the address that is asked now. A request that
//! certainly changed nothing goes to the next address at once; any other failure of a path makes the *next* request
//! begin elsewhere, and the blocking reads move there.
//!
//! The HTTPS client is of the type that rs-consul defines, with a TLS provider of our own choice: rs-consul takes
//! the process's, and panics where there are two (`Consul::new`). Its requests are not used: reads and deletions
//! take all keys that begin alike, and it knows neither transactions nor sessions.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use leadership_core::{InvalidInput, StoreError};
use rs_consul::HttpsClient;
use tokio::sync::watch;
use tracing::debug;

use crate::config::{Address, ConsulConfig};
use crate::error::{Failure, Next, none_took_it};
use crate::tls;

/// A request dropped unanswered after this long tells against its address.
const SUSPICIOUS: Duration = Duration::from_millis(300);
/// After this long it does if the one before was dropped unanswered as well; sooner it tells nothing.
const ODD: Duration = Duration::from_millis(50);
/// How soon requests move on again from an address that left one of them unanswered, and answered another meanwhile: it
/// has much to do, and every move has all that watch ask it anew. But a connection may hang while others do not.
const MOVE_AGAIN: Duration = Duration::from_secs(10);
/// An unused connection is kept this long: a little longer than the time between two renewals, usually.
const IDLE: Duration = Duration::from_secs(20);
/// How often a request is sent that new connections do not take. More often than once, because a server that refuses
/// our certificate says so after the handshake, and whether that is heard of depends on whose turn comes first.
const UNSENT: u32 = 5;
/// Consul's answer about a line of thousands of contenders is far smaller.
const ANSWER_MAX: usize = 64 << 20;

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;
type UnixClient = Client<hyperlocal::UnixConnector, Body>;

/// An answer of Consul, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// `X-Consul-Index`; 0 where there is none.
    pub(crate) index: u64,
    pub(crate) body: Bytes,
    /// Which address answered.
    pub(crate) from: usize,
}

/// A request; `path` with its query, escaped.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    /// No answer within this time is a failure.
    pub(crate) limit: Duration,
}

/// What is known of the address that is asked now.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    answered: Option<Instant>,
    moved: Option<Instant>,
}

/// All addresses, and which of them is asked now.
pub(crate) struct Api {
    addresses: Vec<Address>,
    scheme: &'static str,
    https: HttpsClient,
    unix: UnixClient,
    /// Counts the changes of the address; it is asked that many places after the first one.
    turn: watch::Sender<usize>,
    /// Whether a request was dropped unanswered since the last answer.
    unanswered: AtomicBool,
    /// When the address that is asked now answered last, and when requests moved last.
    pulse: Mutex<Pulse>,
    token: Option<HeaderValue>,
    /// What every query ends with: datacenter, namespace, partition.
    everywhere: String,
    /// What is trusted, to be named when a certificate is not.
    trusted: String,
    /// To be named when it is not there.
    datacenter: Option<String>,
}

impl Api {
    /// Reads the certificates and the token; connects to nothing.
    pub(crate) fn new(config: &ConsulConfig) -> Result<Self, InvalidInput> {
        config.check()?;
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(config.connect_timeout));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new());
        let tls = config.tls.clone().unwrap_or_default();
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(&tls, config.tls.is_some())?)
            .https_or_http();
        let https = match &tls.server_name {
            None => https,
            Some(name) => {
                https.with_server_name_resolver(FixedServerNameResolver::new(tls::server_name(name)?))
            }
        };
        let token = config.token.as_ref().map(|token| token.read()).transpose()?;
        let token = token
            .map(|token| {
                let mut header = HeaderValue::from_str(&token).map_err(|_| {
                    InvalidInput::new(
                        "token (not shown)",
                        "it is not printable",
                        "give an ACL token's SecretID",
                    )
                })?;
                header.set_sensitive(true);
                Ok::<_, InvalidInput>(header)
            })
            .transpose()?;
        let mut everywhere = String::new();
        for (name, value) in [
            ("dc", &config.datacenter),
            ("ns", &config.namespace),
            ("partition", &config.partition),
        ] {
            if let Some(value) = value {
                everywhere.push_str(&format!("&{name}={}", escape(value)));
            }
        }
        // Not the first one for all, lest every process of a fleet ask the same server.
        let start = RandomState::new().hash_one(Instant::now()) as usize % config.addresses.len();
        Ok(Self {
            addresses: config.addresses.clone(),
            scheme: if config.tls.is_some() { "https" } else { "http" },
            https: builder.build(https.enable_http1().wrap_connector(http)),
            unix: builder.build(hyperlocal::UnixConnector),
            turn: watch::Sender::new(start),
            unanswered: AtomicBool::new(false),
            pulse: Mutex::default(),
            token,
            everywhere,
            trusted: tls.ca.as_ref().map_or_else(
                || "the system's authorities".to_owned(),
                |ca| format!("ca {}", ca.origin()),
            ),
            datacenter: config.datacenter.clone(),
        })
    }

    /// Tells when requests begin at another address, or on another connection.
    pub(crate) fn turns(&self) -> watch::Receiver<usize> {
        self.turn.subscribe()
    }

    /// How many addresses there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.addresses.len()).unwrap_or(u32::MAX)
    }

    /// The addresses, as in the URL.
    pub(crate) fn addresses(&self) -> String {
        let shown: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        shown.join(", ")
    }

    /// Asks until an address takes the request.
    ///
    /// # Cancel safety
    /// Dropped, the outcome is unknown; the next request may begin at another address.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Answer, StoreError> {
        let mut failed = Vec::new();
        for _ in 0..self.addresses.len() {
            let turn = *self.turn.borrow();
            match self.ask_at(turn, ask, true).await {
                Ok(answer) => return Ok(answer),
                Err(failure) if matches!(failure.next, Next::Again | Next::Retry) => {
                    failed.push((self.shown(turn), self.explain(failure)));
                }
                Err(failure) => {
                    return Err(self.explain(failure).into_error(ask.operation, &self.shown(turn)));
                }
            }
        }
        Err(none_took_it(ask.operation, failed))
    }

    /// Asks one address only: what a check at an agent needs.
    pub(crate) async fn ask_only(&self, address: usize, ask: &Ask) -> Result<Answer, StoreError> {
        let answer = self.ask_at(address, ask, false).await;
        answer.map_err(|failure| {
            self.explain(failure)
                .into_error(ask.operation, &self.shown(address))
        })
    }

    /// Asks for what Consul may hold back until something changes.
    ///
    /// # Cancel safety
    /// Dropped, it ends at once, and tells nothing against the address.
    pub(crate) async fn ask_blocking(&self, ask: &Ask) -> Result<Answer, StoreError> {
        let turn = *self.turn.borrow();
        let asked = tokio::time::timeout(ask.limit, self.send(turn, ask));
        let answer = asked.await.unwrap_or_else(|_| Err(late(ask.limit)));
        if answer.is_ok() {
            self.answered(turn);
        }
        answer.map_err(|failure| {
            if failure.next != Next::Stay {
                self.rotate(turn);
            }
            self.explain(failure).into_error(ask.operation, &self.shown(turn))
        })
    }

    async fn ask_at(&self, turn: usize, ask: &Ask, moves: bool) -> Result<Answer, Failure> {
        let since = Instant::now();
        let pending = Pending {
            api: moves.then_some(self),
            turn,
            since,
        };
        let answer = tokio::time::timeout(ask.limit, self.send(turn, ask)).await;
        std::mem::forget(pending);
        self.unanswered.store(false, Ordering::Relaxed);
        let is_late = answer.is_err();
        let mut answer = answer.unwrap_or_else(|_| Err(late(ask.limit)));
        match &mut answer {
            Ok(_) if moves => self.answered(turn),
            Ok(_) => {}
            Err(failure) => {
                if ask.method == Method::GET {
                    failure.of_read();
                }
                if is_late && moves {
                    self.leave_silent(turn, since);
                } else if failure.next != Next::Stay && moves {
                    self.rotate(turn);
                }
            }
        }
        answer
    }

    async fn send(&self, turn: usize, ask: &Ask) -> Result<Answer, Failure> {
        let mut tries = 1;
        loop {
            match self.send_once(turn, ask).await {
                Err(failure) if failure.next == Next::Again && tries < UNSENT => tries += 1,
                answer => return answer,
            }
        }
    }

    async fn send_once(&self, turn: usize, ask: &Ask) -> Result<Answer, Failure> {
        let from = turn % self.addresses.len();
        let mark = if ask.path.contains('?') { "" } else { "?" };
        let path = format!("{}{mark}{}", ask.path, self.everywhere);
        let sent = match &self.addresses[from] {
            Address::Tcp(address) => {
                let uri: Uri = format!("{}://{address}{path}", self.scheme)
                    .parse()
                    .map_err(no_uri)?;
                self.https.request(self.request(uri, ask)?)
            }
            Address::Unix(socket) => {
                let uri: Uri = hyperlocal::Uri::new(socket, &path).into();
                self.unix.request(self.request(uri, ask)?)
            }
        };
        let answer = sent
            .await
            .map_err(|error| Failure::transport(&error, error.is_connect()))?;
        let answer = read(answer, from).await?;
        if is_consuls(&answer, &ask.path) {
            Ok(answer)
        } else {
            Err(Failure::not_consul(answer.status))
        }
    }

    fn request(&self, uri: Uri, ask: &Ask) -> Result<Request<Body>, Failure> {
        let mut request = Request::builder().method(ask.method.clone()).uri(uri);
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token.clone());
        }
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request
            .body(Full::new(Bytes::from(ask.body.clone())).boxed())
            .map_err(no_uri)
    }

    /// Moves on from an address, unless another request did already. With a single address the blocking reads
    /// still move, to a connection that does not hang.
    fn rotate(&self, from: usize) {
        let moved = self.turn.send_if_modified(|turn| {
            let moves = *turn == from;
            if moves {
                *turn = turn.wrapping_add(1);
            }
            moves
        });
        if !moved {
            return;
        }
        *lock(&self.pulse) = Pulse {
            answered: None,
            moved: Some(Instant::now()),
        };
        if self.addresses.len() > 1 {
            debug!(
                from = self.shown(from),
                to = self.shown(from.wrapping_add(1)),
                "going to another address"
            );
        }
    }

    /// Moves on from an address that left a request of `since` unanswered.
    fn leave_silent(&self, turn: usize, since: Instant) {
        let pulse = *lock(&self.pulse);
        let alive = pulse.answered.is_some_and(|answered| answered >= since);
        let moved = pulse.moved.is_some_and(|moved| moved.elapsed() < MOVE_AGAIN);
        if !(alive && moved) {
            self.rotate(turn);
        }
    }

    fn answered(&self, turn: usize) {
        if *self.turn.borrow() == turn {
            lock(&self.pulse).answered = Some(Instant::now());
        }
    }

    fn shown(&self, turn: usize) -> String {
        self.addresses[turn % self.addresses.len()].to_string()
    }

    /// Says which part of the configuration a failure is about: what was trusted when a certificate was not, the
    /// datacenter that is not there, that there is no token.
    fn explain(&self, mut failure: Failure) -> Failure {
        let about = if failure.text.contains("invalid peer certificate") {
            format!("trusted: {}", self.trusted)
        } else if let Some(datacenter) = &self.datacenter
            && (failure.text.contains("No path to datacenter") || failure.text.contains("Missing node"))
        {
            format!("dc {datacenter:?}")
        } else if self.token.is_none() && failure.kind == leadership_core::ErrorKind::PermissionDenied {
            "no token is given: give token= or token_file=".to_owned()
        } else {
            return failure;
        };
        failure.text = format!("{} ({about})", failure.text);
        failure
    }
}

async fn read(answer: Response<Incoming>, from: usize) -> Result<Answer, Failure> {
    let (head, body) = answer.into_parts();
    let body = http_body_util::Limited::new(body, ANSWER_MAX).collect().await;
    let body = body
        .map_err(|error| Failure::transport(&*error, false))?
        .to_bytes();
    let index = head
        .headers
        .get("x-consul-index")
        .and_then(|index| index.to_str().ok()?.parse().ok());
    let answer = Answer {
        status: head.status,
        index: index.unwrap_or(0),
        body,
        from,
    };
    match answer.status {
        // The callers know what these mean.
        status if status.is_success() => Ok(answer),
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(answer),
        status => Err(Failure::answer(status, &answer.body)),
    }
}

/// Whether Consul answers so. With every key it tells an index, even with one that is not there; without, it says
/// 404 only of sessions and checks.
fn is_consuls(answer: &Answer, path: &str) -> bool {
    let may_be_missing = ["/v1/session/renew/", "/v1/agent/check/pass/"]
        .iter()
        .any(|start| path.starts_with(start));
    answer.index > 0
        || !path.starts_with("/v1/kv/") && (answer.status != StatusCode::NOT_FOUND || may_be_missing)
}

fn late(limit: Duration) -> Failure {
    use leadership_core::{ErrorKind::Timeout, Outcome::Unknown};
    Failure::new(
        Timeout,
        Unknown,
        Next::Rotate,
        format!(
            "no answer within {limit:?}; is this Consul's HTTP address, and do the servers have a leader?"
        ),
    )
}

fn no_uri(error: impl std::fmt::Display) -> Failure {
    use leadership_core::{ErrorKind::InvalidInput, Outcome::NotApplied};
    Failure::new(
        InvalidInput,
        NotApplied,
        Next::Stay,
        format!("no request can be made: {error}"),
    )
}

/// A request under way: dropped unanswered after a while, it tells against its address.
struct Pending<'a> {
    api: Option<&'a Api>,
    turn: usize,
    since: Instant,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let Some(api) = self.api else { return };
        let waited = self.since.elapsed();
        let again = waited >= ODD && api.unanswered.swap(true, Ordering::Relaxed);
        if again || waited >= SUSPICIOUS {
            api.unanswered.store(false, Ordering::Relaxed);
            api.leave_silent(self.turn, self.since);
        }
    }
}

/// Percent-encodes what goes into a path or a query; the `/` between the parts of a key stays.
pub(crate) fn escape(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b'/');
    utf8_percent_encode(text, KEPT).to_string()
}

/// The lock; what it guards is whole at any time.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_and_keep_their_slashes() {
        assert_eq!(escape("a/b c?d=e#%ä"), "a/b%20c%3Fd%3De%23%25%C3%A4");
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over_at_once() {
        // Nobody listens on these ports of our own machine: they were free a moment ago.
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("bound").to_string()
        };
        let config = ConsulConfig::new([free(), free()]).expect("accepted");
        let api = Api::new(&config).expect("made");
        let ask = Ask {
            operation: "test",
            method: Method::GET,
            path: "/v1/status/leader".to_owned(),
            body: Vec::new(),
            limit: Duration::from_secs(5),
        };
        let error = api.ask(&ask).await.err().expect("refused");
        assert_eq!(error.outcome(), leadership_core::Outcome::NotApplied);
        assert!(
            error.to_string().matches("cannot connect").count() == 2,
            "{error}"
        );
        assert_eq!(error.store(), "consul");
    }

    #[test]
    fn an_address_that_answers_others_is_left_once_for_one_that_it_did_not_answer() {
        let config = ConsulConfig::new(["a:1", "b:1"]).expect("accepted");
        let api = Api::new(&config).expect("made");
        let turn = || *api.turn.borrow();
        let silent = |since| {
            let before = turn();
            api.leave_silent(before, since);
            turn() != before
        };
        let since = Instant::now();
        assert!(silent(since), "nothing was answered");
        assert!(silent(since), "nothing was answered there either");
        let since = Instant::now();
        api.answered(turn());
        assert!(!silent(since), "it is alive, and requests have just moved");
        assert!(silent(Instant::now()), "not since then");
        let since = Instant::now();
        api.answered(turn().wrapping_sub(1));
        assert!(silent(since), "another one has answered");
        *lock(&api.pulse) = Pulse {
            answered: Some(Instant::now()),
            moved: Instant::now().checked_sub(MOVE_AGAIN),
        };
        assert!(silent(since), "it is alive, but this connection may not be");
    }

    #[test]
    fn certificates_are_checked_before_anything_is_asked() {
        use leadership_core::address::Pem;
        let config = || ConsulConfig::new(["h"]).expect("config");
        for (bad, part) in [
            (
                config().with_ca(Pem::file("/no/such/ca.pem")),
                "ca /no/such/ca.pem",
            ),
            (config().with_ca(Pem::text("nothing")), "no certificate"),
            (
                config().with_identity(Pem::file("/no/such.pem"), Pem::text("x")),
                "cert /no/such.pem",
            ),
            (config().with_server_name("not a name"), "server_name"),
            (
                config().with_token_file("/no/such/token"),
                "token_file /no/such/token",
            ),
        ] {
            let error = Api::new(&bad).err().expect("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
