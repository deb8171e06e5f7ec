//! Runs the election machine of one candidate: asks the store, follows where its place stands, publishes the
//! state, and carries out what the [`Candidate`](crate::Candidate) orders.

use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::patience::Patience;
use super::place::{Watch, next_standing, pending};
use super::session::{SessionHandle, SessionStatus};
use super::{failure, in_time, sleep_until};
use crate::candidate::{Event, State};
use crate::election::{ElectionAction, ElectionEvent, ElectionMachine, ElectionReply, EndReason};
use crate::error::StoreError;
use crate::name::ElectionName;
use crate::post::Post;
use crate::registry::Registry;
use crate::session::{Ticket, Timing};
use crate::store::{Ahead, DynStore, SessionId};
use crate::term::Term;
use crate::time::{Clock, Timestamp};
use crate::validity::SessionCell;

pub(crate) struct Driver {
    pub(super) machine: ElectionMachine,
    pub(super) name: &'static str,
    pub(super) election: ElectionName,
    pub(super) store: DynStore,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) timing: Timing,
    patience: Patience,
    /// Kept until the candidate has stopped: looking for ghosts keeps no session open.
    pub(super) session: Option<Arc<SessionHandle>>,
    pub(super) session_task: Weak<SessionHandle>,
    pub(super) status: watch::Receiver<SessionStatus>,
    pub(super) registry: Registry,
    pub(super) post: Arc<Post>,
    pub(super) term: Option<Term>,
    pub(super) requests: FuturesUnordered<BoxFuture<'static, (Ticket, Result<ElectionReply, StoreError>)>>,
    pub(super) watch: Option<Watch>,
    pub(super) failures: u32,
    /// The session as last learnt: the one the machine decides by.
    pub(super) cell: Option<Arc<SessionCell>>,
    /// Number of the last error of the session that was reported.
    pub(super) reported: u64,
    pub(super) failed: Option<StoreError>,
    /// The version of the value that our entry has at least.
    pub(super) entered_with: u64,
    pub(super) proclaiming: Option<BoxFuture<'static, (u64, Result<(), StoreError>)>>,
    pub(super) proclaim_at: Timestamp,
}

impl Driver {
    pub(crate) fn new(
        election: ElectionName,
        store: DynStore,
        clock: Arc<dyn Clock>,
        timing: Timing,
        session: Arc<SessionHandle>,
        registry: Registry,
        post: Arc<Post>,
    ) -> Self {
        let status = session.status();
        let reported = status.borrow().error.as_ref().map_or(0, |(number, _)| *number);
        Self {
            machine: ElectionMachine::new(timing),
            name: store.limits().store,
            election,
            store,
            clock,
            timing,
            patience: Patience::new(&timing),
            session_task: Arc::downgrade(&session),
            session: Some(session),
            status,
            registry,
            post,
            term: None,
            requests: FuturesUnordered::new(),
            watch: None,
            failures: 0,
            cell: None,
            reported,
            failed: None,
            entered_with: 0,
            proclaiming: None,
            proclaim_at: Timestamp::ZERO,
        }
    }

    pub(crate) async fn run(mut self) {
        let clock = self.clock.clone();
        if let Some(session) = &self.session {
            session.open();
        }
        loop {
            self.learn_session();
            self.drain();
            if self.machine.is_finished() {
                self.stopped();
                if self.registry.finish(&self.election, &self.post) {
                    break;
                }
                // Somebody stood again before the registry was locked: the order is there.
                self.follow_orders();
                continue;
            }
            let mut due = self.machine.poll_timeout();
            if self.proclaiming.is_none() && self.post.value().0 > self.entered_with && self.watch.is_some() {
                due = due.into_iter().chain([self.proclaim_at]).min();
            }
            let post = self.post.clone();
            // In this order, so that the same inputs lead to the same history. Nothing starves what comes after it:
            // the news of the session and our replies are few, and every input does first what the time demands.
            tokio::select! {
                biased;
                // An error means that the session's task is gone with its runtime, and so is this one.
                changed = self.status.changed() => if changed.is_err() { break },
                Some((ticket, result)) = self.requests.next(), if !self.requests.is_empty() => {
                    self.learn_session();
                    self.patience.learn(&result);
                    let reply = result.unwrap_or_else(|error| self.reply_to(error));
                    self.machine.handle_reply(clock.now(), ticket, reply);
                }
                (version, result) = pending(&mut self.proclaiming) => self.handle_proclaimed(version, result),
                () = post.woken() => self.follow_orders(),
                item = next_standing(&mut self.watch, &*clock) => self.handle_item(item),
                () = sleep_until(&*clock, due, None) => {
                    self.learn_session();
                    self.machine.handle_timeout(clock.now());
                }
            }
        }
    }

    /// Takes over the latest news of the session before anything is decided.
    pub(super) fn learn_session(&mut self) {
        let now = self.clock.now();
        let status = self.status.borrow_and_update().clone();
        self.cell = status.current.clone();
        if let Some(own) = self.machine.session().cloned()
            && status.current.as_ref().is_none_or(|cell| *cell.id() != own)
        {
            let reason = match &status.lost {
                Some((id, reason)) if *id == own => *reason,
                _ => EndReason::SessionLost,
            };
            self.machine.handle_session_lost(now, &own, reason);
        }
        if let Some(cell) = &status.current
            && let Some(deadline) = cell.deadline()
        {
            self.machine.handle_session(now, cell.session(), deadline);
        }
        let ended: Vec<SessionId> = self
            .machine
            .residue()
            .iter()
            .filter(|id| !status.retired.contains(id))
            .cloned()
            .collect();
        for id in ended {
            self.machine.handle_session_ended(now, &id);
        }
        if let Some((number, error)) = status.error
            && number > self.reported
        {
            self.reported = number;
            self.post.tell(Event::Error(error.clone()));
            // A failure older than our standing is not ours: the session is being opened anew for us.
            if status.failed {
                self.failed.get_or_insert(error);
                self.machine.stop(now);
            }
        }
    }

    fn follow_orders(&mut self) {
        self.learn_session();
        let now = self.clock.now();
        let orders = self.post.take_orders();
        self.machine.handle_working(now, orders.working > 0);
        if let Some(token) = orders.resign {
            self.machine.resign(now, token);
        }
        if orders.stop {
            self.machine.stop(now);
        }
        if let Some((successor, session)) = orders.successor {
            self.post = successor;
            self.failed = None;
            session.open();
            self.session = Some(session);
            self.machine.stand(now);
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            self.publish(event);
        }
        while let Some((ticket, action)) = self.machine.poll_action() {
            self.perform(ticket, action);
        }
        if self.post.is_leaving() && !self.machine.is_leaving() {
            self.post.set(State::Joining);
        }
        self.follow_place();
        self.proclaim();
    }

    fn publish(&mut self, event: ElectionEvent) {
        let election = &self.election;
        match event {
            ElectionEvent::Waiting(ahead) => {
                self.warn_of_foreign(&ahead);
                info!(%election, ahead = %ahead.key, "waiting in line");
                self.post.set(State::Waiting(ahead.clone()));
                self.post.tell(Event::Waiting(ahead));
            }
            ElectionEvent::Elected(token) => {
                if let Some(cell) = self.cell.clone() {
                    info!(%election, %token, session = %cell.id(), "elected");
                    let term = Term::new(self.election.clone(), token, cell, self.timing.margin);
                    self.term = Some(term.clone());
                    self.post.set(State::Leading(term.clone()));
                    self.post.tell(Event::Elected(term));
                }
            }
            ElectionEvent::Ending(token, reason) => {
                info!(%election, %token, %reason, "waiting for the work of the term to end");
                if let Some(term) = &self.term {
                    term.asked_to_end(reason);
                }
                self.post.tell(Event::Ending { token, reason });
            }
            ElectionEvent::Ended(token, reason) => {
                info!(%election, %token, %reason, "term ended");
                if let Some(term) = self.term.take() {
                    term.end(reason);
                }
                self.post.set(if self.machine.is_leaving() {
                    State::Leaving
                } else {
                    State::Joining
                });
                self.post.tell(Event::Ended { token, reason });
            }
            ElectionEvent::Left => {
                debug!(%election, "left the line");
                self.post.set(State::Joining);
            }
            ElectionEvent::SessionGone(id) => {
                if let Some(session) = self.session_task.upgrade() {
                    session.gone(id);
                }
            }
            ElectionEvent::GivenUp(id) => {
                warn!(%election, session = %id, "cannot leave the line; giving up the session");
                if let Some(session) = self.session_task.upgrade() {
                    session.give_up(id);
                }
            }
            ElectionEvent::Failed => warn!(%election, "cannot stand"),
            ElectionEvent::Stopped => self.stopped(),
        }
    }

    /// Tells once that the candidate has stopped. The task may go on to look for ghosts.
    fn stopped(&mut self) {
        self.session = None;
        let error = self.failed.take();
        if self.post.stop(error) {
            info!(election = %self.election, "stopped");
        }
    }

    fn warn_of_foreign(&self, ahead: &Ahead) {
        if ahead.foreign {
            let error = StoreError::new(
                self.name,
                "standing",
                crate::ErrorKind::ForeignEntry,
                crate::Outcome::NotApplied,
                format!(
                    "{:?} stands ahead in election {}, but is no contender of it: we wait until it is gone; if \
                     nobody needs it, delete it, or else use another name for the election, on etcd one that no \
                     other election's begins with",
                    ahead.key, self.election
                ),
            );
            warn!(%error);
            self.post.tell(Event::Error(error));
        }
    }

    fn reply_to(&mut self, error: StoreError) -> ElectionReply {
        let reply = failure(&error).map_or(ElectionReply::SessionGone, ElectionReply::Failed);
        warn!(election = %self.election, %error, "request failed");
        if matches!(reply, ElectionReply::Failed(failure) if failure.is_permanent()) {
            self.failed = Some(error.clone());
        }
        self.post.tell(Event::Error(error));
        reply
    }

    fn perform(&mut self, ticket: Ticket, action: ElectionAction) {
        let (store, limit) = (self.store.clone(), self.patience.limit());
        let election = self.election.clone();
        let (version, value) = self.post.value();
        if matches!(action, ElectionAction::Enter(_)) {
            // The entry may be one that an earlier try has made, with the value of then.
            self.entered_with = if self.machine.is_unsettled() { 0 } else { version };
        } else if matches!(action, ElectionAction::Leave(_)) {
            self.entered_with = 0;
        }
        debug!(%election, ?action, "asking the store");
        let request = async move {
            let result = match action {
                ElectionAction::Enter(session) => {
                    in_time(limit, &store, "enter", store.enter(&election, &session, &value))
                        .await
                        .map(|(place, standing)| ElectionReply::Entered(place, standing))
                }
                ElectionAction::Find(session) => {
                    in_time(limit, &store, "find", store.find(&election, &session))
                        .await
                        .map(ElectionReply::Found)
                }
                ElectionAction::Leave(place) => in_time(limit, &store, "leave", store.leave(&place))
                    .await
                    .map(|()| ElectionReply::Left),
            };
            (ticket, result)
        };
        self.requests.push(request.boxed());
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The runtime was shut down under us: nobody renews any more, and nobody would tell.
        if let Some(term) = self.term.take() {
            term.end(EndReason::Stopped);
        }
        self.post.stop(None);
        // A successor whose order was not read any more has nobody else to tell it.
        while !self.registry.finish(&self.election, &self.post) {
            let Some((successor, _)) = self.post.take_orders().successor else {
                break;
            };
            self.post = successor;
            self.post.stop(None);
        }
    }
}
