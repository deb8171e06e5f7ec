//! The handle of a candidate, and the post through which it and its task speak.
//!
//! State is a latest-value cell and orders are wishes that replace each other, so nothing a consumer does or
//! leaves undone delays the task.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::{Notify, broadcast, watch};

use crate::election::EndReason;
use crate::elections::Error;
use crate::error::{InvalidInput, StoreError};
use crate::name::ElectionName;
use crate::store::{Ahead, Limits, Token};
use crate::term::Term;

/// Events kept for a consumer that is slow; older ones are dropped and counted.
const EVENTS_KEPT: usize = 256;

/// What a candidate is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum State {
    /// Not in line: opening a session, or entering.
    Joining,
    /// In line behind another.
    Waiting(Ahead),
    /// Leading, as long as the term says that it is valid.
    Leading(Term),
    /// The term is over, but its entry may still stand at the store.
    Leaving,
    /// Stopped, with the error that ended the campaign if one did.
    Stopped(Option<StoreError>),
}

/// What happened to a candidate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// In line behind another.
    Waiting(Ahead),
    /// A term began.
    Elected(Term),
    /// Resignation or stop was asked for; the term goes on until its work has ended.
    Ending {
        /// Of this term.
        token: Token,
        /// What was asked.
        reason: EndReason,
    },
    /// A term ended. The candidate stands again, unless it was stopped.
    Ended {
        /// Of this term.
        token: Token,
        /// Why it ended.
        reason: EndReason,
    },
    /// A request failed. The candidate goes on, unless `Stopped` follows.
    Error(StoreError),
    /// The consumer was too slow, and this many events were dropped. The state is as fresh as ever.
    Missed(u64),
    /// The candidate has stopped; no further event comes.
    Stopped,
}

/// One process standing in one election, until it is stopped or dropped.
///
/// It stands again by itself after every loss: a session that expired, an entry removed by somebody, a store
/// that was down. Clones are handles of the same candidate. When the last one is dropped, the candidate leaves
/// in the background.
#[derive(Clone, Debug)]
pub struct Candidate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    post: Arc<Post>,
    limits: Limits,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.post.order(|orders| orders.stop = true);
    }
}

impl Candidate {
    pub(crate) fn new(post: Arc<Post>, limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner { post, limits }),
        }
    }

    /// The election it stands in.
    pub fn election(&self) -> &ElectionName {
        &self.inner.post.election
    }

    /// Whether it leads now: computed from the clock at this call.
    pub fn is_leader(&self) -> bool {
        matches!(&*self.inner.post.state.borrow(), State::Leading(term) if term.is_valid())
    }

    /// The term it leads now, if it does.
    pub fn term(&self) -> Option<Term> {
        match &*self.inner.post.state.borrow() {
            State::Leading(term) if term.is_valid() => Some(term.clone()),
            _ => None,
        }
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        self.inner.post.state.borrow().clone()
    }

    /// The state now and after each change. States that were passed through while nobody looked are skipped.
    pub fn states(&self) -> impl Stream<Item = State> + Send + Unpin + 'static {
        let mut receiver = self.inner.post.state.subscribe();
        receiver.mark_changed();
        Box::pin(stream::unfold(Some(receiver), |receiver| async move {
            let mut receiver = receiver?;
            receiver.changed().await.ok()?;
            let state = receiver.borrow_and_update().clone();
            let rest = (!matches!(state, State::Stopped(_))).then_some(receiver);
            Some((state, rest))
        }))
    }

    /// What happens from now on. Whoever reads it slowly gets [`Event::Missed`] and delays nobody.
    pub fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + 'static {
        let receiver = self.inner.post.events.subscribe();
        Box::pin(stream::unfold(Some(receiver), |receiver| async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Ok(Event::Stopped) => Some((Event::Stopped, None)),
                Ok(event) => Some((event, Some(receiver))),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    Some((Event::Missed(missed), Some(receiver)))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        }))
    }

    /// Waits until it leads. Completes at once if it does.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the candidate was stopped, or its campaign ended by an error that cannot pass.
    pub async fn elected(&self) -> Result<Term, Error> {
        let mut state = self.inner.post.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Leading(term) if term.is_valid() => return Ok(term.clone()),
                State::Stopped(cause) => return Err(Error::Stopped(cause.clone())),
                _ => {}
            }
            if state.changed().await.is_err() {
                return Err(Error::Stopped(None));
            }
        }
    }

    /// Waits to be elected and runs `work` while the term is valid: at its end, at latest at the deadline, the
    /// work is dropped, wherever it is.
    ///
    /// If somebody asks the candidate to resign or stop, [`Term::ending`] tells the work; the term goes on,
    /// renewed, until the work has ended, at most for [`Config::drain`](crate::Config::drain). So no work of
    /// this leader overlaps the next one's.
    ///
    /// When the work ends by itself the candidate goes on leading: resign, stop, or call `lead` again.
    ///
    /// Cancel safe: dropping it drops the work.
    ///
    /// ```
    /// # use leadership_core::{Config, Elections, Error, MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let elections = Elections::new(MemoryStore::new().shared(), Config::default())?;
    /// let candidate = elections.stand("service/scheduler", "node-1")?;
    /// let done = candidate.lead(|term| async move { format!("did it in term {}", term.token()) }).await?;
    /// # assert!(done.starts_with("did it"));
    /// candidate.stop().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Ended`] when the term ended before the work; [`Error::Stopped`] when there was no term.
    pub async fn lead<F, W>(&self, work: F) -> Result<W::Output, Error>
    where
        F: FnOnce(Term) -> W,
        W: Future,
    {
        loop {
            let term = self.elected().await?;
            let _working = self.inner.post.work();
            if !term.is_valid() {
                continue;
            }
            // The clock decides at each poll; the timer in `ended` is there to cause one in time.
            let passed = poll_fn(|_| {
                if term.is_valid() {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            });
            return tokio::select! {
                biased;
                () = passed => Err(Error::Ended(term.ended().await)),
                reason = term.ended() => Err(Error::Ended(reason)),
                output = work(term.clone()) => Ok(output),
            };
        }
    }

    /// Ends the present term and goes to the end of the line. Returns when the entry is gone from the store.
    ///
    /// Fenced: it never ends a later term, however late it takes effect. Cancel safe: dropped, it goes on in
    /// the background.
    ///
    /// # Errors
    /// [`Error::NotLeading`], and nothing is changed.
    pub async fn resign(&self) -> Result<(), Error> {
        let term = self.term().ok_or(Error::NotLeading)?;
        let token = term.token();
        let mut state = self.inner.post.state.subscribe();
        self.inner.post.order(|orders| orders.resign = Some(token));
        let over = |state: &State| match state {
            State::Leading(term) => term.token() != token,
            State::Leaving => false,
            _ => true,
        };
        // An error means that the task is gone, and the term with it.
        state.wait_for(over).await.map(|_| ()).or(Ok(()))
    }

    /// Leaves the election. Returns when the entry is gone from the store, or can only be gone because its
    /// session has ended: without the store that takes up to twice the TTL.
    ///
    /// Work of [`lead`](Self::lead) that goes on gets its time to end first. Stopping twice is harmless.
    /// Cancel safe: dropped, it goes on in the background.
    pub async fn stop(&self) {
        let mut state = self.inner.post.state.subscribe();
        self.inner.post.order(|orders| orders.stop = true);
        // An error means that the task is gone with its runtime; nothing is left to wait for.
        let _ = state.wait_for(|state| matches!(state, State::Stopped(_))).await;
    }

    /// Changes what this candidate proclaims, in the same term. Returns when the store has it; a candidate
    /// that is not in line enters with it.
    ///
    /// Cancel safe: dropped, the wish stays. Of several, the last one counts.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the store cannot take the value, [`Error::Stopped`].
    pub async fn proclaim(&self, value: impl Into<Vec<u8>>) -> Result<(), Error> {
        let value = value.into();
        let post = &self.inner.post;
        self.inner.limits.check_entry(&post.election, &value)?;
        let mut state = post.state.subscribe();
        let mut published = post.published.subscribe();
        let version = post.wish(value);
        let stopped = state.wait_for(|state| matches!(state, State::Stopped(_)));
        tokio::select! {
            biased;
            Ok(_) = published.wait_for(|published| *published >= version) => Ok(()),
            _ = stopped => Err(Error::Stopped(None)),
        }
    }
}

/// Checks what a candidate is to enter with.
pub(crate) fn check_value(
    limits: &Limits,
    election: &ElectionName,
    value: &[u8],
) -> Result<(), InvalidInput> {
    if value.is_empty() {
        return Err(InvalidInput::new(
            format!("id \"\" for election {election}"),
            "it is empty",
            "give what followers are to see, such as the node's name or address",
        ));
    }
    limits.check_entry(election, value)
}

/// Where a candidate's handles leave orders and its task leaves news.
#[derive(Debug)]
pub(crate) struct Post {
    election: ElectionName,
    state: watch::Sender<State>,
    events: broadcast::Sender<Event>,
    orders: Mutex<Orders>,
    wake: Notify,
    value: Mutex<(u64, Arc<[u8]>)>,
    published: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    pub(crate) stop: bool,
    pub(crate) resign: Option<Token>,
    /// How many calls of `lead` run their work.
    pub(crate) working: usize,
    /// Stand again, for a new candidate that reads this post.
    pub(crate) successor: Option<Arc<Post>>,
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
            published: watch::Sender::new(0),
        })
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
        taken
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn work(self: &Arc<Self>) -> Working {
        self.order(|orders| orders.working += 1);
        Working(self.clone())
    }

    pub(crate) fn value(&self) -> (u64, Arc<[u8]>) {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wishes for another value; returns the version that has it.
    fn wish(&self, value: Vec<u8>) -> u64 {
        let version = {
            let mut wished = self.value.lock().unwrap_or_else(PoisonError::into_inner);
            *wished = (wished.0 + 1, value.into());
            wished.0
        };
        self.wake.notify_one();
        version
    }

    /// The store has this version of the value.
    pub(crate) fn publish(&self, version: u64) {
        self.published.send_if_modified(|published| {
            let newer = version > *published;
            *published = version.max(*published);
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
struct Working(Arc<Post>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0
            .order(|orders| orders.working = orders.working.saturating_sub(1));
    }
}
