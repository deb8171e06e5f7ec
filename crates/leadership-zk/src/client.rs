//! Connections: one client is one session at ZooKeeper. A [`Link`] is such a client, which can be ended while
//! others still ask through it.
//!
//! zookeeper-client queues what is asked while it is disconnected and carries it out later, even if nobody waits
//! for it any more. So a link waits until it is connected *before* it asks: a request dropped while it is known that
//! there is no connection leaves nothing behind. It may be known late: a client that a server takes back, and then
//! answers nothing, says that it is connected until it is. So whoever makes an entry remembers it from before it asks.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use leadership_core::{BootClock, Clock, ErrorKind, InvalidInput, Outcome, StoreError, Timestamp};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use zookeeper_client::{Client, Connector, Error as ZkError, SessionState};

use crate::config::ZkConfig;
use crate::error::{self, Effect, STORE};
use crate::states::States;
use crate::tasks::Tasks;

/// A connection that is silent for less is no worse than a server that pauses to collect its garbage.
const PATIENCE_MIN: Duration = Duration::from_millis(300);
/// How long each server is asked why it cannot be reached.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// How many bytes of paths a link may watch. After a reconnection zookeeper-client (0.11) sets its watches anew in
/// requests of 128 KiB, and of several it understands one answer only: it would never be connected again.
pub(crate) const WATCHED_MAX: usize = 112 << 10;
/// How many of them are for what waiting entries are behind. The rest is for the entries themselves: each can be watched
/// at any time, once it is made.
pub(crate) const AHEAD_MAX: usize = 28 << 10;
/// What a path takes there beside its bytes.
pub(crate) const PATH_COST: usize = 4;

/// Locks a mutex that is never held across an await; a panic elsewhere does no harm to what is behind it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes clients as configured.
pub(crate) struct Servers {
    addresses: String,
    connect_timeout: Duration,
    connector: Connector,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::TlsClient>,
}

impl Servers {
    pub(crate) fn new(config: &ZkConfig) -> Result<Self, InvalidInput> {
        // Once round, so that why nobody answered is told before whoever asked gives up. It is tried again by core.
        let mut connector = Client::connector().with_fail_eagerly();
        if let Some(credentials) = &config.credentials {
            let auth = format!("{}:{}", credentials.user, credentials.password);
            connector = connector.with_auth("digest", auth.as_bytes());
        }
        #[cfg(feature = "tls")]
        let tls = match &config.tls {
            Some(tls) => Some(crate::tls::TlsClient::new(tls, &config.servers)?),
            None => None,
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &tls {
            connector = connector.with_tls(tls.options.clone());
        }
        #[cfg(not(feature = "tls"))]
        if config.tls.is_some() {
            return Err(InvalidInput::new(
                "TLS to ZooKeeper",
                "this build has none",
                "build with the feature zk-tls of leadership or leadership-cli (tls of leadership-zk), or leave out \
                 tls=, ca=, cert=, key= and server_name=",
            ));
        }
        let scheme = if config.tls.is_some() { "tcp+tls://" } else { "" };
        let addresses: Vec<_> = config
            .servers
            .iter()
            .map(|server| format!("{scheme}{server}"))
            .collect();
        Ok(Self {
            addresses: addresses.join(","),
            connect_timeout: config.connect_timeout,
            connector,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Opens a session at the first server that takes us, beginning with any of them.
    pub(crate) async fn connect(
        &self,
        operation: &'static str,
        timeout: Duration,
    ) -> Result<Link, StoreError> {
        // A session is certain for half its timeout after the last renewal at worst. In that time a hung server
        // has to be noticed and left, and perhaps another one as well; and when a session is opened, within the
        // time that a request has: 0.13 of the timeout, at the usual pace.
        let patience = (timeout / 8).clamp(PATIENCE_MIN, self.connect_timeout.max(PATIENCE_MIN));
        let connector = self
            .connector
            .clone()
            .with_session_timeout(timeout)
            .with_connection_timeout(patience);
        let tasks = Tasks::new();
        match tasks.of(connector.connect(&self.addresses)).await {
            Ok(client) => Ok(Link::new(client, tasks, patience)),
            Err(ZkError::Timeout | ZkError::ConnectionLoss | ZkError::NoHosts) => {
                let (why, certificates) = self.why().await;
                let text = format!("no server has opened a session: {why}");
                let kind = if certificates {
                    ErrorKind::Unauthenticated
                } else {
                    ErrorKind::Unavailable
                };
                // A session that was not answered may be there, but nothing is in it.
                Err(StoreError::new(STORE, operation, kind, Outcome::Unknown, text))
            }
            Err(error) => Err(error::failed(operation, &self.addresses, Effect::Write, &error)),
        }
    }

    /// Why no server took us, which zookeeper-client does not tell; and whether all of it is about certificates,
    /// so that trying again is of no use.
    pub(crate) async fn why(&self) -> (String, bool) {
        let problems = join_all(self.addresses.split(',').map(|address| async move {
            let server = address.trim_start_matches("tcp+tls://");
            let problem = match timeout(PROBE_LIMIT, self.problem(server)).await {
                Ok(problem) => problem,
                Err(_) => "no answer".to_owned(),
            };
            format!("{server}: {problem}")
        }))
        .await;
        #[cfg(feature = "tls")]
        let certificates = problems
            .iter()
            .all(|problem| crate::tls::certificate_remedy(problem).is_some());
        #[cfg(not(feature = "tls"))]
        let certificates = false;
        let mut text = problems.join(", ");
        if !certificates {
            text.push_str("; are these the client addresses of a ZooKeeper ensemble, and has it a quorum?");
        }
        (text, certificates)
    }

    async fn problem(&self, server: &str) -> String {
        let stream = match TcpStream::connect(server).await {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return match tls.problem(server, stream).await {
                Some(problem) => problem,
                None => "takes connections with TLS, but opens no session".to_owned(),
            };
        }
        drop(stream);
        "takes connections, but opens no session (not ZooKeeper, or TLS only)".to_owned()
    }
}

/// A client and its session, which end together.
pub(crate) struct Link {
    /// ZooKeeper's number of the session: the `ephemeralOwner` of its nodes.
    pub(crate) number: i64,
    /// What was granted.
    pub(crate) timeout: Duration,
    /// None once ended. The session is closed when the last clone is dropped, so none is kept for long.
    client: Mutex<Option<Client>>,
    state: States,
    tasks: Tasks,
    /// How long a server may take to answer that the session is closed.
    patience: Duration,
    ended: watch::Sender<bool>,
    /// When no server had answered that the session is closed, and we fell silent.
    silenced: Arc<watch::Sender<Option<Timestamp>>>,
    /// Bytes of paths for which there is a [`Room`](crate::reader::Room).
    pub(crate) taken: AtomicUsize,
}

impl Link {
    fn new(client: Client, tasks: Tasks, patience: Duration) -> Self {
        Self {
            number: client.session_id().0,
            timeout: client.session_timeout(),
            state: States::new(client.state_watcher(), tasks.runtime()),
            client: Mutex::new(Some(client)),
            tasks,
            patience,
            ended: watch::Sender::new(false),
            silenced: Arc::new(watch::Sender::new(None)),
            taken: AtomicUsize::new(0),
        }
    }

    /// The session's name, as ZooKeeper prints it.
    pub(crate) fn name(&self) -> String {
        session_name(self.number)
    }

    /// The client, as soon as it is connected. To be dropped after the request. Cancel safe.
    pub(crate) async fn client(&self) -> Result<Client, ZkError> {
        let mut state = self.state.clone();
        loop {
            match state.state() {
                SessionState::SyncConnected => {
                    return lock(&self.client).clone().ok_or(ZkError::ClientClosed);
                }
                SessionState::Expired => return Err(ZkError::SessionExpired),
                SessionState::AuthFailed => return Err(ZkError::AuthFailed),
                SessionState::Closed => return Err(ZkError::ClientClosed),
                _ => {}
            }
            tokio::select! {
                _ = state.changed() => {}
                () = self.ended() => return Err(ZkError::ClientClosed),
            }
        }
    }

    /// Asks, unless the link is ended meanwhile: then whoever asks lets go of its client.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, ZkError>>,
    ) -> Result<T, ZkError> {
        let answer = tokio::select! {
            biased;
            answer = request => answer,
            () = self.ended() => Err(ZkError::ClientClosed),
        };
        // Its task has died: no answer will ever come.
        if matches!(answer, Err(ZkError::UnexpectedError(_))) {
            self.end();
        }
        answer
    }

    /// Whether the session has ended, or is being closed.
    pub(crate) fn is_over(&self) -> bool {
        *self.ended.borrow() || self.state.peek_state().is_terminated()
    }

    /// Whether the session has certainly ended: closed, expired, or not heard of for longer than servers keep it.
    pub(crate) fn is_gone(&self) -> bool {
        let expired = |silenced: Timestamp| BootClock.now().saturating_since(silenced) > kept(self.timeout);
        self.state.peek_state().is_terminated() || self.silenced.borrow().is_some_and(expired)
    }

    /// Waits until the connection is lost, or the session over.
    pub(crate) async fn interrupted(&self) {
        let mut state = self.state.clone();
        while state.state() == SessionState::SyncConnected {
            tokio::select! {
                _ = state.changed() => {}
                () = self.ended() => return,
            }
        }
    }

    /// Begins to close the session, in the background. If no server answers that it is closed, the client is
    /// silenced: it would go on to look for one for longer than the timeout, and while our requests arrive and only
    /// the answers are lost, each try would keep the session alive that nobody holds any more.
    pub(crate) fn end(&self) {
        let ending = self.ended.send_replace(true);
        lock(&self.client).take();
        if ending {
            return;
        }
        let (mut state, tasks, patience) = (self.state.clone(), self.tasks.clone(), self.patience);
        let silenced = Arc::clone(&self.silenced);
        // Ends by itself, soon.
        self.tasks.runtime().spawn(async move {
            let closed = async {
                while !state.state().is_terminated() {
                    state.changed().await;
                }
            };
            if timeout(patience, closed).await.is_err() {
                tasks.abort();
                silenced.send_replace(Some(BootClock.now()));
            }
        });
    }

    /// Closes the session. `false` if no server has answered in time: then it ends by itself. Cancel safe: it goes on
    /// by itself.
    pub(crate) async fn close(&self) -> bool {
        self.end();
        let mut state = self.state.clone();
        let mut silenced = self.silenced.subscribe();
        // The client says Closed when the server has answered, Expired when it was too late to ask.
        while !self.is_gone() {
            tokio::select! {
                _ = state.changed() => {}
                // The sender is ours, so it is there.
                _ = silenced.wait_for(Option::is_some) => return self.is_gone(),
            }
        }
        true
    }

    /// Waits until it is ended, also for who does not hold it.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.ended.subscribe();
        // Without its sender it is gone altogether.
        async move { drop(ended.wait_for(|ended| *ended).await) }
    }
}

/// How long servers may keep a session that is silent: its timeout, rounded up to the next tick (`ExpiryQueue.java`),
/// and half a tick more if a follower passed on its last sign of life. A timeout is two ticks or more.
fn kept(timeout: Duration) -> Duration {
    timeout * 7 / 4
}

/// ZooKeeper's spelling of a session's number.
pub(crate) fn session_name(number: i64) -> String {
    format!("{number:#x}")
}

/// Gives a request up after `limit`.
pub(crate) async fn within<T>(
    operation: &'static str,
    limit: Duration,
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(limit, request).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::new(
            STORE,
            operation,
            ErrorKind::Timeout,
            Outcome::Unknown,
            format!("no answer within {limit:?}; is the store reachable and does it have a quorum?"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_session_is_said_to_be_gone_while_a_server_may_keep_it() {
        let tick = Duration::from_secs(2);
        for ticks in 2..=20 {
            let timeout = tick * ticks;
            let rounded = timeout + tick;
            assert!(kept(timeout) >= rounded + tick / 2, "{ticks} ticks");
        }
    }
}
