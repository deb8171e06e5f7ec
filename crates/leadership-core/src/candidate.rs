//! The handle of a candidate, and what it says of itself.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::broadcast;

use crate::election::EndReason;
use crate::error::{Error, InvalidInput, StoreError};
use crate::name::ElectionName;
use crate::post::Post;
use crate::store::{Ahead, Limits, Token};
use crate::term::Term;

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
        self.inner.post.election()
    }

    /// Whether it leads now: computed from the clock at this call.
    pub fn is_leader(&self) -> bool {
        matches!(&*self.inner.post.state().borrow(), State::Leading(term) if term.is_valid())
    }

    /// The term it leads now, if it does.
    pub fn term(&self) -> Option<Term> {
        match &*self.inner.post.state().borrow() {
            State::Leading(term) if term.is_valid() => Some(term.clone()),
            _ => None,
        }
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        self.inner.post.state().borrow().clone()
    }

    /// The state now and after each change. States that were passed through while nobody looked are skipped.
    pub fn states(&self) -> impl Stream<Item = State> + Send + Unpin + 'static {
        let mut receiver = self.inner.post.state().subscribe();
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
        // Subscribed before the look at the state, so that the end is seen in one of the two.
        let receiver = self.inner.post.events();
        let over = self.inner.post.is_stopped();
        Box::pin(stream::unfold(
            (Some(receiver), over),
            |(receiver, over)| async move {
                let mut receiver = receiver?;
                if over {
                    return Some((Event::Stopped, (None, false)));
                }
                match receiver.recv().await {
                    Ok(Event::Stopped) => Some((Event::Stopped, (None, false))),
                    Ok(event) => Some((event, (Some(receiver), false))),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        Some((Event::Missed(missed), (Some(receiver), false)))
                    }
                    Err(broadcast::error::RecvError::Closed) => None,
                }
            },
        ))
    }

    /// Waits until it leads. Completes at once if it does.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the candidate was stopped, or its campaign ended by an error that cannot pass.
    pub async fn elected(&self) -> Result<Term, Error> {
        let mut state = self.inner.post.state().subscribe();
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
    /// When the work ends by itself the candidate goes on leading: resign, stop, or call `lead` again. In a term
    /// that was asked to end no work begins: it waits for the next one.
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
            if term.is_ending() {
                // It waits for its work to end, so none may begin: called in a loop, we would hold it up.
                term.ended().await;
                continue;
            }
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

    /// Ends the present term and goes to the end of the line. Returns when the entry is gone from the store, or
    /// when its session was lost meanwhile: then the entry goes with the session, at latest after its TTL.
    ///
    /// Work of [`lead`](Self::lead) that goes on gets its time to end first; do not await this from within it.
    ///
    /// Fenced: it never ends a later term, however late it takes effect. Cancel safe: dropped, it goes on in
    /// the background.
    ///
    /// # Errors
    /// [`Error::NotLeading`], and nothing is changed.
    pub async fn resign(&self) -> Result<(), Error> {
        let term = self.term().ok_or(Error::NotLeading)?;
        let token = term.token();
        let mut state = self.inner.post.state().subscribe();
        self.inner.post.order(|orders| orders.resign = Some(token));
        let over = |state: &State| match state {
            State::Leading(term) => term.token() != token,
            State::Leaving => false,
            _ => true,
        };
        // An error means that the task is gone, and the term with it.
        state.wait_for(over).await.map(|_| ()).or(Ok(()))
    }

    /// Leaves the election. Returns when the entry is gone from the store, or when its session has had the time to
    /// end: without the store that takes up to twice the TTL.
    ///
    /// Work of [`lead`](Self::lead) that goes on gets its time to end first. Stopping twice is harmless.
    /// Cancel safe: dropped, it goes on in the background.
    pub async fn stop(&self) {
        let mut state = self.inner.post.state().subscribe();
        self.inner.post.order(|orders| orders.stop = true);
        // An error means that the task is gone with its runtime; nothing is left to wait for.
        let _ = state.wait_for(|state| matches!(state, State::Stopped(_))).await;
    }

    /// Orders it to stop, and returns when it does not lead any more.
    pub(crate) async fn stop_leading(&self) {
        let mut state = self.inner.post.state().subscribe();
        self.inner.post.order(|orders| orders.stop = true);
        let _ = state.wait_for(|state| !matches!(state, State::Leading(_))).await;
    }

    /// Changes what this candidate proclaims, in the same term. Returns when the store has it; a candidate
    /// that is not in line enters with it.
    ///
    /// Cancel safe: dropped, the wish stays. Of several, the last one counts; only a request that was given up
    /// and is applied late can bring back the value before.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the store cannot take the value, [`Error::Store`] when it refuses for good,
    /// [`Error::Stopped`].
    pub async fn proclaim(&self, value: impl Into<Vec<u8>>) -> Result<(), Error> {
        let value = value.into();
        let post = &self.inner.post;
        self.inner.limits.check_entry(post.election(), &value)?;
        let mut state = post.state().subscribe();
        let mut published = post.published();
        let version = post.wish(value);
        let stopped = state.wait_for(|state| matches!(state, State::Stopped(_)));
        tokio::select! {
            biased;
            Ok(published) = published.wait_for(|published| published.0 >= version) => match &*published {
                (settled, Some(error)) if *settled == version => Err(Error::Store(error.clone())),
                _ => Ok(()),
            },
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
