//! The way to Consul: one HTTP client for all addresses. A request that certainly changed nothing goes to the next
//! address at once; any other failure of a path makes the *next* request begin elsewhere, see [`Turns`].
//!
//! The HTTPS client is of the type that rs-consul defines, with a TLS provider of our own choice: rs-consul takes
//! the process's, and panics where there are two (`Consul::new`). Its requests are not used: reads and deletions
//! take all keys that begin alike, and it knows neither transactions nor sessions.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use leadership_core::{InvalidInput, StoreError};
use rs_consul::HttpsClient;

use crate::access::Access;
use crate::answer::Answer;
use crate::config::{Address, ConsulConfig};
use crate::error::{Failure, Next, none_took_it};
use crate::tls;
use crate::turns::Turns;

/// An unused connection is kept this long: a little longer than the time between two renewals, usually.
const IDLE: Duration = Duration::from_secs(20);
/// How often a request is sent that new connections do not take. More often than once, because a server that refuses
/// our certificate says so after the handshake, and whether that is heard of depends on whose turn comes first.
const UNSENT: u32 = 5;

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;
type UnixClient = Client<hyperlocal::UnixConnector, Body>;

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

/// Consul's HTTP API at all its addresses.
pub(crate) struct Api {
    turns: Turns,
    access: Access,
    scheme: &'static str,
    https: HttpsClient,
    unix: UnixClient,
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
        Ok(Self {
            turns: Turns::new(config.addresses.clone()),
            access: Access::default(),
            scheme: if config.tls.is_some() { "https" } else { "http" },
            https: builder.build(https.enable_http1().wrap_connector(http)),
            unix: builder.build(hyperlocal::UnixConnector),
            token,
            everywhere,
            trusted: tls.ca.as_ref().map_or_else(
                || "the system's authorities".to_owned(),
                |ca| format!("ca {}", ca.origin()),
            ),
            datacenter: config.datacenter.clone(),
        })
    }

    /// The addresses, and which of them is asked now.
    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Asks until an address takes the request.
    ///
    /// # Cancel safety
    /// Dropped, the outcome is unknown; the next request may begin at another address.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Answer, StoreError> {
        let mut failed = Vec::new();
        for _ in 0..self.turns.count() {
            let turn = self.turns.now();
            match self.ask_at(turn, ask, true).await {
                Ok(answer) => return Ok(answer),
                Err(failure) if matches!(failure.next, Next::Again | Next::Retry) => {
                    failed.push((self.turns.shown(turn), self.explain(failure)));
                }
                Err(failure) => {
                    return Err(self
                        .explain(failure)
                        .into_error(ask.operation, &self.turns.shown(turn)));
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
                .into_error(ask.operation, &self.turns.shown(address))
        })
    }

    /// Asks for what Consul may hold back until something changes.
    ///
    /// # Cancel safety
    /// Dropped, it ends at once, and tells nothing against the address.
    pub(crate) async fn ask_blocking(&self, ask: &Ask) -> Result<Answer, StoreError> {
        let turn = self.turns.now();
        let asked = tokio::time::timeout(ask.limit, self.send(turn, ask));
        let answer = asked.await.unwrap_or_else(|_| Err(late(ask.limit)));
        if answer.is_ok() {
            self.turns.answered(turn);
        }
        answer.map_err(|failure| {
            if failure.next != Next::Stay {
                self.turns.leave(turn);
            }
            self.explain(failure)
                .into_error(ask.operation, &self.turns.shown(turn))
        })
    }

    async fn ask_at(&self, turn: usize, ask: &Ask, moves: bool) -> Result<Answer, Failure> {
        let since = Instant::now();
        let pending = self.turns.ask(turn, moves);
        let answer = tokio::time::timeout(ask.limit, self.send(turn, ask)).await;
        pending.answered();
        let is_late = answer.is_err();
        let mut answer = answer.unwrap_or_else(|_| Err(late(ask.limit)));
        match &mut answer {
            Ok(_) if moves => self.turns.answered(turn),
            Ok(_) => {}
            Err(failure) => {
                if ask.method == Method::GET {
                    failure.of_read();
                }
                if is_late && moves {
                    self.turns.leave_silent(turn, since);
                } else if failure.next != Next::Stay && moves {
                    self.turns.leave(turn);
                }
            }
        }
        answer
    }

    async fn send(&self, turn: usize, ask: &Ask) -> Result<Answer, Failure> {
        let asked = self.access.ask(ask);
        let mut tries = 1;
        loop {
            match self.send_once(turn, ask).await {
                Err(failure) if failure.next == Next::Again && tries < UNSENT => tries += 1,
                answer => return asked.answered(answer),
            }
        }
    }

    async fn send_once(&self, turn: usize, ask: &Ask) -> Result<Answer, Failure> {
        let mark = if ask.path.contains('?') { "" } else { "?" };
        let path = format!("{}{mark}{}", ask.path, self.everywhere);
        let (from, address) = self.turns.address(turn);
        let sent = match address {
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
        Answer::read(answer, &ask.path, from).await
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
