//! The endpoints of the cluster: one connection each, made when first used, and the one that is asked now.
//! etcd-client does not fail over between endpoints, so this does: a request that certainly changed nothing
//! goes to the next endpoint at once, any other failure of a path makes the *next* request begin elsewhere.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::{Channel, Client, ConnectOptions, Error as EtcdError, KvClient, LeaseClient, WatchClient};
use leadership_core::address::Tls;
use leadership_core::{ErrorKind, InvalidInput, Outcome, StoreError};
use tokio::sync::{OnceCell, watch};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tracing::debug;

use crate::config::{Credentials, EtcdConfig};
use crate::error::{Failure, Next, STORE, none_took_it};

/// HTTP/2 pings while a request or a stream is open, so that a hung path breaks its streams. etcd closes a
/// connection that pings more often than every 5 s, or while nothing is open
/// (`--grpc-keepalive-min-time`, server/etcdmain/config.go).
const PING_INTERVAL: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(4);
/// A request dropped unanswered after this long tells against its endpoint; sooner it tells nothing.
const SUSPICIOUS: Duration = Duration::from_millis(300);
/// A token younger than this is not replaced: many requests may find theirs refused at once, and every
/// password costs etcd a slow hash.
const FRESH: Duration = Duration::from_secs(1);
/// A line of thousands of contenders does not fit in tonic's default of 4 MiB; Go's client has no limit.
const ANSWER_MAX: usize = 256 << 20;

/// The clients of one endpoint.
pub(crate) struct Clients {
    /// Which endpoint this is.
    pub(crate) index: usize,
    /// When they signed in.
    since: Instant,
    pub(crate) kv: KvClient,
    pub(crate) lease: LeaseClient,
    pub(crate) watch: WatchClient,
}

/// One endpoint.
struct Slot {
    address: String,
    endpoint: Endpoint,
    /// Signing in needs a round trip, which concurrent first requests share. Replaced to sign in again.
    clients: Mutex<Arc<OnceCell<Arc<Clients>>>>,
}

/// All endpoints, and which of them is asked now.
pub(crate) struct Endpoints {
    slots: Vec<Slot>,
    current: watch::Sender<usize>,
    credentials: Option<Credentials>,
    /// What is trusted, to be named when a certificate is not.
    trusted: String,
}

impl Endpoints {
    /// Reads the certificates; connects to nothing.
    pub(crate) fn new(config: &EtcdConfig) -> Result<Self, InvalidInput> {
        config.check()?;
        let tls = config
            .tls
            .as_ref()
            .map(|tls| tls_config(tls, config.connect_timeout))
            .transpose()?;
        let slots = config
            .endpoints
            .iter()
            .map(|address| slot(address, config, tls.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        // Not the first one for all, lest every process of a fleet ask the same member.
        let start = RandomState::new().hash_one(Instant::now()) as usize % slots.len();
        let ca = config.tls.as_ref().and_then(|tls| tls.ca.as_ref());
        Ok(Self {
            slots,
            current: watch::Sender::new(start),
            credentials: config.credentials.clone(),
            trusted: ca.map_or_else(
                || "the system's authorities".to_owned(),
                |ca| format!("ca {}", ca.origin()),
            ),
        })
    }

    /// The endpoint that requests begin at, now.
    pub(crate) fn current(&self) -> usize {
        *self.current.borrow()
    }

    /// Tells of changes of the endpoint that requests begin at.
    pub(crate) fn subscribe(&self) -> watch::Receiver<usize> {
        self.current.subscribe()
    }

    /// An endpoint's `host:port`.
    pub(crate) fn address(&self, index: usize) -> &str {
        self.slots.get(index).map_or("", |slot| &slot.address)
    }

    /// Moves on from an endpoint, unless another request did already.
    pub(crate) fn rotate(&self, from: usize) {
        let next = (from + 1) % self.slots.len();
        let moved = self.current.send_if_modified(|current| {
            let moves = *current == from && next != from;
            if moves {
                *current = next;
            }
            moves
        });
        if moved {
            debug!(
                from = self.address(from),
                to = self.address(next),
                "going to another etcd endpoint"
            );
        }
    }

    /// Blames the endpoint if the guard is dropped before the answer is there.
    pub(crate) fn unanswered(&self, index: usize) -> Unanswered<'_> {
        Unanswered {
            endpoints: self,
            index,
            since: Some(Instant::now()),
        }
    }

    /// Draws the consequence of a failure at an endpoint, and completes its text.
    pub(crate) fn blame(&self, index: usize, error: impl Into<Failure>) -> Failure {
        let mut failure: Failure = error.into();
        match failure.next {
            Next::Stay => {}
            Next::Rotate | Next::Retry => self.rotate(index),
            Next::SignIn => self.sign_out(index, FRESH),
            Next::Reconnect => self.sign_out(index, Duration::ZERO),
        }
        if failure.kind == ErrorKind::Unauthenticated {
            if failure.text.contains("peer certificate") {
                failure.text.push_str("; trusted is ");
                failure.text.push_str(&self.trusted);
            } else if let Some(Credentials { user, .. }) = &self.credentials {
                failure.text.push_str(&format!("; the user is {user:?}"));
            }
        }
        failure
    }

    /// Asks the current endpoint; and the others, each once, as long as nothing can have been changed.
    ///
    /// Dropping the future is an unknown outcome, and tells against the endpoint if it took long.
    pub(crate) async fn call<T, F, Fut>(&self, operation: &'static str, request: F) -> Result<T, StoreError>
    where
        F: Fn(Arc<Clients>) -> Fut,
        Fut: Future<Output = Result<T, EtcdError>>,
    {
        let start = self.current();
        let mut failed: Vec<(String, Failure)> = Vec::new();
        for step in 0..self.slots.len() {
            let index = (start + step) % self.slots.len();
            let failure = match self.ask(index, &request).await {
                Ok(answer) => return Ok(answer),
                // The token or the channel was of no use any more: once more, with a new one.
                Err(Failure {
                    next: Next::SignIn | Next::Reconnect,
                    ..
                }) => match self.ask(index, &request).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            debug!(
                endpoint = self.address(index),
                operation,
                failure = failure.text,
                "etcd request failed"
            );
            if failure.next != Next::Retry {
                return Err(failure.into_error(operation, self.address(index)));
            }
            failed.push((self.address(index).to_owned(), failure));
        }
        Err(none_took_it(operation, failed))
    }

    async fn ask<T, F, Fut>(&self, index: usize, request: &F) -> Result<T, Failure>
    where
        F: Fn(Arc<Clients>) -> Fut,
        Fut: Future<Output = Result<T, EtcdError>>,
    {
        let guard = self.unanswered(index);
        let answer = match self.clients(index).await {
            Ok(clients) => request(clients).await,
            // Signing in comes before the request, so nothing was asked for yet.
            Err(error) => {
                guard.answered();
                return Err(sign_in_failure(self.blame(index, error)));
            }
        };
        guard.answered();
        answer.map_err(|error| self.blame(index, error))
    }

    /// The clients of an endpoint, signed in.
    async fn clients(&self, index: usize) -> Result<Arc<Clients>, EtcdError> {
        let Some(slot) = self.slots.get(index) else {
            return Err(EtcdError::InvalidArgs(format!("there is no endpoint {index}")));
        };
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(EtcdError::InvalidArgs(
                "not called from within a tokio runtime".to_owned(),
            ));
        }
        let cell = Arc::clone(&lock(&slot.clients));
        let clients = cell.get_or_try_init(|| self.sign_in(index, slot)).await?;
        Ok(Arc::clone(clients))
    }

    async fn sign_in(&self, index: usize, slot: &Slot) -> Result<Arc<Clients>, EtcdError> {
        let channel = || Channel::Tonic(slot.endpoint.connect_lazy());
        // A member that is cut off answers with an error instead of hanging or telling old news.
        let options = ConnectOptions::new()
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        let client = match &self.credentials {
            None => Client::from_channel(channel(), Some(options)).await?,
            Some(Credentials { user, password }) => {
                let with_user = options.clone().with_user(user, password);
                match Client::from_channel(channel(), Some(with_user)).await {
                    Err(EtcdError::GRpcStatus(status))
                        if status.message().contains("authentication is not enabled") =>
                    {
                        // As Go's client: credentials do not matter where nobody asks for them.
                        debug!(
                            endpoint = slot.address,
                            "etcd asks for no password; signing in without"
                        );
                        Client::from_channel(channel(), Some(options)).await?
                    }
                    client => client?,
                }
            }
        };
        debug!(endpoint = slot.address, "etcd endpoint is in use");
        Ok(Arc::new(Clients {
            index,
            since: Instant::now(),
            kv: client.kv_client().max_decoding_message_size(ANSWER_MAX),
            lease: client.lease_client(),
            watch: client.watch_client().max_decoding_message_size(ANSWER_MAX),
        }))
    }

    /// Makes the next request at an endpoint sign in, on a new connection; unless one did that within `fresh`.
    fn sign_out(&self, index: usize, fresh: Duration) {
        if let Some(slot) = self.slots.get(index) {
            let mut cell = lock(&slot.clients);
            if cell.get().is_some_and(|clients| clients.since.elapsed() >= fresh) {
                *cell = Arc::default();
            }
        }
    }
}

/// A failure before the request: it changed nothing, and another endpoint may do better unless it was refused.
fn sign_in_failure(mut failure: Failure) -> Failure {
    failure.outcome = Outcome::NotApplied;
    if failure.next == Next::Rotate {
        failure.next = Next::Retry;
    }
    failure
}

/// See [`Endpoints::unanswered`].
pub(crate) struct Unanswered<'a> {
    endpoints: &'a Endpoints,
    index: usize,
    since: Option<Instant>,
}

impl Unanswered<'_> {
    pub(crate) fn answered(mut self) {
        self.since = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= SUSPICIOUS) {
            self.endpoints.rotate(self.index);
        }
    }
}

/// No code panics while it holds one of our locks, so what a poisoned one guards is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number nobody else has: its seed comes from the operating system.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

/// Asks within a limit, for what has no caller that would give up on it.
pub(crate) async fn within<T>(
    operation: &'static str,
    limit: Duration,
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    // Timers panic without one; a request tells what is wrong.
    if tokio::runtime::Handle::try_current().is_err() {
        return request.await;
    }
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::timeout(STORE, operation, limit)),
    }
}

fn slot(address: &str, config: &EtcdConfig, tls: Option<&ClientTlsConfig>) -> Result<Slot, InvalidInput> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let refuse = |what: String, e: &dyn std::fmt::Display| {
        InvalidInput::new(
            what,
            e.to_string(),
            "give host:port, and certificates and a key in PEM",
        )
    };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|e| refuse(format!("endpoint {address:?}"), &e))?
        .connect_timeout(config.connect_timeout)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(false);
    let endpoint = match (tls, &config.tls) {
        (Some(tls), Some(options)) => endpoint.tls_config(tls.clone()).map_err(|e| {
            let source = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
            let remedy =
                "give certificates in PEM, the key that belongs to cert, and a host name as server_name";
            InvalidInput::new(format!("TLS options {options:?}"), source, remedy)
        })?,
        _ => endpoint,
    };
    Ok(Slot {
        address: address.to_owned(),
        endpoint,
        clients: Mutex::default(),
    })
}

fn tls_config(tls: &Tls, handshake_limit: Duration) -> Result<ClientTlsConfig, InvalidInput> {
    let mut config = ClientTlsConfig::new().timeout(handshake_limit);
    config = match &tls.ca {
        Some(ca) => {
            let pem = ca.read("ca")?;
            // An empty list of authorities would only show as a server that nobody vouches for.
            if !String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE") {
                return Err(InvalidInput::new(
                    format!("ca {}", ca.origin()),
                    "there is no certificate in it",
                    "give the authority's certificate in PEM",
                ));
            }
            config.ca_certificate(Certificate::from_pem(pem))
        }
        None => config.with_native_roots(),
    };
    if let Some((cert, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(cert.read("cert")?, key.read("key")?));
    }
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadership_core::address::Pem;

    fn endpoints(addresses: &[&str]) -> Endpoints {
        Endpoints::new(&EtcdConfig::new(addresses).expect("config")).expect("endpoints")
    }

    #[test]
    fn several_failures_of_one_endpoint_move_on_once() {
        let endpoints = endpoints(&["a", "b", "c"]);
        let start = endpoints.current();
        endpoints.rotate(start);
        endpoints.rotate(start);
        assert_eq!(endpoints.current(), (start + 1) % 3);
        let alone = self::endpoints(&["a"]);
        let seen = alone.subscribe();
        alone.rotate(0);
        assert!(
            !seen.has_changed().expect("open"),
            "there is no other endpoint to go to"
        );
    }

    #[test]
    fn a_request_dropped_late_and_unanswered_moves_on() {
        let endpoints = endpoints(&["a", "b"]);
        let start = endpoints.current();
        drop(endpoints.unanswered(start));
        assert_eq!(endpoints.current(), start, "dropped at once");
        let long_ago = Instant::now().checked_sub(SUSPICIOUS);
        drop(Unanswered {
            endpoints: &endpoints,
            index: start,
            since: long_ago,
        });
        assert_ne!(endpoints.current(), start);
    }

    #[test]
    fn certificates_are_checked_before_anything_is_asked() {
        let config = || EtcdConfig::new(["h"]).expect("config");
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
            (config().with_server_name("not a name"), "TLS options"),
        ] {
            let error = Endpoints::new(&bad).err().expect("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
