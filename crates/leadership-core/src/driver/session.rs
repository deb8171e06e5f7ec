//! Runs the session machine, and publishes what it knows for the elections that share the session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, watch};
use tracing::{Instrument, debug, info, warn};

use super::patience::Patience;
use super::{failure, in_time, sleep_until};
use crate::election::EndReason;
use crate::error::{ErrorKind, Outcome, StoreError};
use crate::session::{SessionAction, SessionEvent, SessionMachine, SessionReply, Ticket, Timing};
use crate::store::{DynStore, SessionId};
use crate::time::Clock;
use crate::validity::SessionCell;

/// What the elections of a process know of its session.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionStatus {
    /// The session, while it may be relied on (its cell decides).
    pub(crate) current: Option<Arc<SessionCell>>,
    /// The session that was lost last, and why.
    pub(crate) lost: Option<(SessionId, EndReason)>,
    /// Sessions given up that may still live at the store.
    pub(crate) retired: Vec<SessionId>,
    /// The last error and its number, so that each election reports it once.
    pub(crate) error: Option<(u64, StoreError)>,
    /// The last error was one that cannot pass, and no session is being opened.
    pub(crate) failed: bool,
    /// The session was closed and the driver has ended.
    pub(crate) closed: bool,
}

/// The way to the session's task. The task closes the session and ends when the last handle is dropped.
#[derive(Debug)]
pub(crate) struct SessionHandle {
    status: watch::Receiver<SessionStatus>,
    orders: Arc<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    list: Mutex<OrderList>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct OrderList {
    open: bool,
    close: bool,
    /// The session that an election was told is gone. Only the present one matters, so one place is enough.
    gone: Option<SessionId>,
    given_up: Option<SessionId>,
}

impl Orders {
    fn give(&self, change: impl FnOnce(&mut OrderList)) {
        change(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    fn take(&self) -> OrderList {
        std::mem::take(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SessionHandle {
    /// Starts the session's task. It opens a session when [`open`](Self::open) is called first.
    pub(crate) fn start(
        runtime: &tokio::runtime::Handle,
        store: DynStore,
        clock: Arc<dyn Clock>,
        timing: Timing,
    ) -> Arc<Self> {
        let (status, receiver) = watch::channel(SessionStatus::default());
        let orders = Arc::<Orders>::default();
        let limits = store.limits();
        let driver = Driver {
            machine: SessionMachine::new(timing),
            name: limits.store,
            store,
            clock,
            timing,
            patience: Patience::new(&timing),
            orders: orders.clone(),
            status,
            requests: FuturesUnordered::new(),
            errors: 0,
            unreported: None,
        };
        let span = tracing::info_span!("session", store = limits.store);
        runtime.spawn(driver.run().instrument(span));
        Arc::new(Self {
            status: receiver,
            orders,
        })
    }

    pub(crate) fn status(&self) -> watch::Receiver<SessionStatus> {
        self.status.clone()
    }

    pub(crate) fn open(&self) {
        self.orders.give(|list| list.open = true);
    }

    pub(crate) fn gone(&self, id: SessionId) {
        self.orders.give(|list| list.gone = Some(id));
    }

    pub(crate) fn give_up(&self, id: SessionId) {
        self.orders.give(|list| list.given_up = Some(id));
    }

    /// Asks the task to close the session; it has when the status says so.
    pub(crate) fn close(&self) {
        self.orders.give(|list| list.close = true);
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.close();
    }
}

struct Driver {
    machine: SessionMachine,
    name: &'static str,
    store: DynStore,
    clock: Arc<dyn Clock>,
    timing: Timing,
    patience: Patience,
    orders: Arc<Orders>,
    status: watch::Sender<SessionStatus>,
    requests: FuturesUnordered<BoxFuture<'static, (Ticket, Result<SessionReply, StoreError>)>>,
    errors: u64,
    /// The error of the request answered last, until its consequences are published with it.
    unreported: Option<StoreError>,
}

impl Driver {
    async fn run(mut self) {
        let clock = self.clock.clone();
        let orders = self.orders.clone();
        // How late a deadline may be noticed after the machine was suspended.
        let slice = (self.timing.ttl / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
        while !self.machine.is_closed() {
            self.drain();
            if self.machine.is_closed() {
                break;
            }
            let due = self.machine.poll_timeout();
            // In this order, so that the same inputs lead to the same history; each branch is ready rarely.
            tokio::select! {
                biased;
                Some((ticket, result)) = self.requests.next(), if !self.requests.is_empty() => {
                    self.patience.learn(&result);
                    let reply = result.unwrap_or_else(|error| self.reply_to(error));
                    self.machine.handle_reply(clock.now(), ticket, reply);
                }
                () = orders.wake.notified() => self.follow_orders(),
                () = sleep_until(&*clock, due, Some(slice)) => self.machine.handle_timeout(clock.now()),
            }
        }
        self.drain();
        self.status.send_modify(|status| status.closed = true);
        debug!("session closed");
    }

    fn follow_orders(&mut self) {
        let now = self.clock.now();
        let orders = self.orders.take();
        if let Some(id) = orders.gone {
            self.machine.handle_gone(now, &id);
        }
        if let Some(id) = orders.given_up {
            self.machine.handle_given_up(now, &id);
        }
        if orders.open {
            self.status
                .send_if_modified(|status| std::mem::take(&mut status.failed));
            self.machine.open(now);
        }
        if orders.close {
            self.machine.close(now);
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            self.publish(event);
        }
        self.report(false);
        while let Some((ticket, action)) = self.machine.poll_action() {
            self.perform(ticket, action);
        }
    }

    fn publish(&mut self, event: SessionEvent) {
        let retired: Vec<SessionId> = self.machine.retired().cloned().collect();
        match event {
            SessionEvent::Opened { session, deadline } => {
                info!(session = %session.id, ttl = ?session.ttl, "session opened");
                if session.ttl < self.timing.ttl {
                    warn!(asked = ?self.timing.ttl, granted = ?session.ttl, "the store shortened the session");
                }
                let cell = Arc::new(SessionCell::new(session, deadline, self.clock.clone()));
                self.status.send_modify(|status| status.current = Some(cell));
            }
            SessionEvent::Extended { deadline } => {
                // Copied out, so that no borrow of the status is held while it is modified.
                let current = self.status.borrow().current.clone();
                if let Some(cell) = current
                    && !cell.extend(deadline)
                {
                    self.machine.handle_passed(self.clock.now(), cell.id());
                }
            }
            SessionEvent::Lost { id, reason } => {
                if reason == EndReason::Stopped {
                    debug!(session = %id, "closing the session");
                } else {
                    warn!(session = %id, %reason, "session lost");
                }
                self.status.send_modify(|status| {
                    if let Some(cell) = status.current.take() {
                        cell.close();
                    }
                    status.lost = Some((id, reason));
                    status.retired = retired;
                });
            }
            SessionEvent::Ended(id) => {
                debug!(session = %id, "session is gone from the store");
                self.status.send_modify(|status| status.retired = retired);
            }
            SessionEvent::TooShort(session) => {
                let message = format!(
                    "a session was granted for {:?}, too little or too late to renew it in time; is the store slow? \
                     a longer ttl than {:?} helps",
                    session.ttl, self.timing.ttl
                );
                let error = StoreError::new(
                    self.name,
                    "open",
                    ErrorKind::Timeout,
                    Outcome::NotApplied,
                    message,
                );
                warn!(%error);
                self.unreported = Some(error);
            }
            SessionEvent::Failed => {
                self.report(true);
            }
            SessionEvent::Closed => {}
        }
    }

    /// Publishes the last error with whether it is the end of opening sessions, in one piece.
    fn report(&mut self, failed: bool) {
        if let Some(error) = self.unreported.take() {
            self.errors += 1;
            let number = self.errors;
            self.status.send_modify(|status| {
                status.error = Some((number, error));
                status.failed |= failed;
            });
        }
    }

    fn reply_to(&mut self, error: StoreError) -> SessionReply {
        let failure = failure(&error);
        if failure.is_some() {
            warn!(%error, "request of the session failed");
        }
        self.unreported = Some(error);
        failure.map_or(SessionReply::Gone, SessionReply::Failed)
    }

    fn perform(&mut self, ticket: Ticket, action: SessionAction) {
        let store = self.store.clone();
        let ttl = self.timing.ttl;
        let limit = match &action {
            SessionAction::Renew(session) => self.timing.request_timeout(session.ttl),
            _ => self.patience.limit(),
        };
        let request = async move {
            let result = match action {
                SessionAction::Open => in_time(limit, &store, "open", store.open(ttl))
                    .await
                    .map(SessionReply::Opened),
                SessionAction::Renew(session) => in_time(limit, &store, "renew", store.renew(&session))
                    .await
                    .map(SessionReply::Renewed),
                SessionAction::Close(session) => in_time(limit, &store, "close", store.close(&session))
                    .await
                    .map(|()| SessionReply::Closed),
            };
            (ticket, result)
        };
        self.requests.push(request.boxed());
    }
}
