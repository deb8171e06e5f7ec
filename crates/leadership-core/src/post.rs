//! Where a candidate's handles and its task meet.
//!
//! State is a latest-value cell and orders are wishes that replace each other, so nothing that a consumer does or
//! leaves undone delays the task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast, watch};

use crate::candidate::{Event, State};
use crate::driver::session::SessionHandle;
use crate::error::StoreError;
use crate::name::ElectionName;
use crate::store::Token;

/// Events kept for a consumer that is slow; older ones are dropped and counted.
const EVENTS_KEPT: usize = 256;

/// Where a candidate's handles leave orders and its task leaves news.
#[derive(Debug)]
pub(crate) struct Post {
    election: ElectionName,
    state: watch::Sender<State>,
    events: broadcast::Sender<Event>,
    orders: Mutex<Orders>,
    wake: Notify,
    value: Mutex<(u64, Arc<[u8]>)>,
    /// The last version that the store has answered for, and its refusal if it refused it for good.
    published: watch::Sender<(u64, Option<StoreError>)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    pub(crate) stop: bool,
    pub(crate) resign: Option<Token>,
    /// How many calls of `lead` run their work.
    pub(crate) working: usize,
    /// Stand again, for a new candidate that reads this post.
    pub(crate) successor: Option<(Arc<Post>, Arc<SessionHandle>)>,
}

impl Post {
    pub(crate) fn new(election: ElectionName, value: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            election,
            state: watch::Sender::new(State::Joining),
            events: broadcast::Sender::new(EVENTS_KEPT),
            orders: Mutex::default(),
            wake: Notify::new(),
            value: Mutex::new((1, value.into())),
            published: watch::Sender::new((0, None)),
        })
    }

    pub(crate) fn election(&self) -> &ElectionName {
        &self.election
    }

    pub(crate) fn state(&self) -> &watch::Sender<State> {
        &self.state
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Versions of the value that the store has.
    pub(crate) fn published(&self) -> watch::Receiver<(u64, Option<StoreError>)> {
        self.published.subscribe()
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders());
        self.wake.notify_one();
    }

    /// The present wishes; the resignation is taken out, the rest goes on holding.
    pub(crate) fn take_orders(&self) -> Orders {
        let mut orders = self.orders();
        let taken = orders.clone();
        orders.resign = None;
        orders.successor = None;
        taken
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Counts as work of a leader until the guard is dropped.
    pub(crate) fn work(self: &Arc<Self>) -> Working {
        self.order(|orders| orders.working += 1);
        Working(self.clone())
    }

    pub(crate) fn value(&self) -> (u64, Arc<[u8]>) {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wishes for another value; returns the version that has it.
    pub(crate) fn wish(&self, value: Vec<u8>) -> u64 {
        let version = {
            let mut wished = self.value.lock().unwrap_or_else(PoisonError::into_inner);
            *wished = (wished.0 + 1, value.into());
            wished.0
        };
        self.wake.notify_one();
        version
    }

    /// The store has this version of the value.
    pub(crate) fn publish(&self, version: u64, refusal: Option<StoreError>) {
        self.published.send_if_modified(|published| {
            let newer = version > published.0;
            if newer {
                *published = (version, refusal);
            }
            newer
        });
    }

    /// Publishes the state. Stopped is final, though the task may go on to look for ghosts.
    pub(crate) fn set(&self, state: State) {
        self.state.send_if_modified(|present| {
            let open = !matches!(present, State::Stopped(_));
            if open {
                *present = state;
            }
            open
        });
    }

    pub(crate) fn is_leaving(&self) -> bool {
        matches!(&*self.state.borrow(), State::Leaving)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(&*self.state.borrow(), State::Stopped(_))
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody listening is no error.
        let _ = self.events.send(event);
    }

    /// Reports the end; `false` if that was done before.
    pub(crate) fn stop(&self, error: Option<StoreError>) -> bool {
        let first = self.state.send_if_modified(|state| {
            let first = !matches!(state, State::Stopped(_));
            if first {
                *state = State::Stopped(error);
            }
            first
        });
        if first {
            self.tell(Event::Stopped);
        }
        first
    }
}

/// Work of a leader that an ending term waits for.
pub(crate) struct Working(Arc<Post>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0
            .order(|orders| orders.working = orders.working.saturating_sub(1));
    }
}
