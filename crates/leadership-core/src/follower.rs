//! Follows who leads an election, without standing in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;
use tracing::debug;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::error::{Error, InvalidInput, StoreError};
use crate::name::ElectionName;
use crate::store::{Contender, DynStore, Leader};

/// A follower has no deadline that would tell how soon it has to know, so it waits no longer than people like to.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What a follower sees.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct View {
    /// Who leads, as of the last word from the store.
    pub leader: Option<Leader>,
    /// Whether the store has been heard at all.
    pub known: bool,
    /// Why the store cannot be heard now. What `leader` says may be outdated as long as this is set.
    pub error: Option<StoreError>,
}

/// A change of what a follower sees.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// Another leader, or the first one seen.
    Leader(Leader),
    /// The same leader proclaims another value.
    Value(Leader),
    /// Nobody leads.
    NoLeader,
    /// The store cannot be heard; what was said last may be outdated. The stream goes on trying, and says how
    /// things are as soon as it knows.
    Unreachable(StoreError),
}

/// Follows one election: who leads now, what changes, who is in line.
///
/// It survives store errors. Dropping it and its streams ends everything it has at the store.
pub struct Follower {
    election: ElectionName,
    store: DynStore,
    view: watch::Receiver<View>,
    request_timeout: Duration,
    task: Arc<Task>,
}

/// Ends the following when the follower and all its streams are dropped.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follower {
    pub(crate) fn new<N>(
        runtime: &tokio::runtime::Handle,
        store: DynStore,
        config: &Config,
        election: N,
    ) -> Result<Self, Error>
    where
        N: TryInto<ElectionName>,
        N::Error: Into<InvalidInput>,
    {
        let election = election.try_into().map_err(Into::into)?;
        let limits = store.limits();
        limits.check_entry(&election, &[])?;
        let (sender, view) = watch::channel(View::default());
        let backoff = Backoff {
            least: config.retry_least,
            greatest: config.retry_greatest.min(RETRY_MAX).max(config.retry_least),
            spread: 0,
        };
        let task = runtime.spawn(follow(store.clone(), election.clone(), backoff, sender));
        let task = Arc::new(Task(task));
        Ok(Self {
            election,
            store,
            view,
            request_timeout: config.pace(&limits).request_timeout,
            task,
        })
    }

    /// The election it follows.
    pub fn election(&self) -> &ElectionName {
        &self.election
    }

    /// What it sees now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Who leads now, as of the last word from the store.
    pub fn leader(&self) -> Option<Leader> {
        self.view.borrow().leader.clone()
    }

    /// How things are, as soon as the store has said so, and every change from then on. A slow consumer gets
    /// the latest; what changed and changed back meanwhile is skipped.
    pub fn changes(&self) -> impl Stream<Item = Change> + Send + Unpin + 'static {
        let mut receiver = self.view.clone();
        receiver.mark_changed();
        Box::pin(stream::unfold(
            (receiver, View::default(), self.task.clone()),
            |(mut receiver, mut told, task)| async move {
                loop {
                    receiver.changed().await.ok()?;
                    let view = receiver.borrow_and_update().clone();
                    let change = difference(&told, &view);
                    told = view;
                    if let Some(change) = change {
                        return Some((change, (receiver, told, task)));
                    }
                }
            },
        ))
    }

    /// Waits until somebody leads.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::NoRuntime`] when the runtime is shutting down.
    pub async fn led(&self) -> Result<Leader, Error> {
        let mut view = self.view.clone();
        let found = view.wait_for(|view| view.leader.is_some()).await;
        found
            .ok()
            .and_then(|view| view.leader.clone())
            .ok_or(Error::NoRuntime)
    }

    /// Everybody in line, in order, and whether the first one leads. Asks the store.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing is changed.
    pub async fn contenders(&self) -> Result<Vec<Contender>, Error> {
        let limit = self.request_timeout;
        match tokio::time::timeout(limit, self.store.contenders(&self.election)).await {
            Ok(contenders) => Ok(contenders?),
            Err(_) => Err(StoreError::timeout_at(&self.store, "contenders", limit).into()),
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("election", &self.election)
            .field("view", &*self.view.borrow())
            .finish_non_exhaustive()
    }
}

fn difference(told: &View, view: &View) -> Option<Change> {
    if let Some(error) = &view.error {
        return told.error.is_none().then(|| Change::Unreachable(error.clone()));
    }
    let recovered = told.error.is_some() || !told.known;
    match (&told.leader, &view.leader) {
        (_, None) if !view.known => None,
        (Some(_), None) => Some(Change::NoLeader),
        (None, None) => recovered.then_some(Change::NoLeader),
        (Some(old), Some(new)) if old == new => recovered.then(|| Change::Leader(new.clone())),
        (Some(old), Some(new)) if old.key == new.key && old.token == new.token => {
            Some(Change::Value(new.clone()))
        }
        (_, Some(new)) => Some(Change::Leader(new.clone())),
    }
}

/// Keeps the view up to date, subscribing again after every error. Ends when it is aborted.
async fn follow(store: DynStore, election: ElectionName, backoff: Backoff, view: watch::Sender<View>) {
    let store = Arc::clone(&store);
    let mut failures = 0;
    loop {
        let mut leaders = store.leader(&election);
        while let Some(item) = leaders.next().await {
            match item {
                Ok(leader) => {
                    failures = 0;
                    view.send_replace(View {
                        leader,
                        known: true,
                        error: None,
                    });
                }
                Err(error) => {
                    debug!(%election, %error, "cannot hear the store");
                    view.send_modify(|view| view.error = Some(error));
                }
            }
        }
        drop(leaders);
        failures += 1;
        tokio::time::sleep(backoff.delay(failures)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Token;

    fn leader(value: &str, token: u64) -> Leader {
        Leader {
            value: value.into(),
            token: Some(Token(token)),
            key: "k".into(),
        }
    }

    fn view(leader: Option<Leader>) -> View {
        View {
            leader,
            known: true,
            error: None,
        }
    }

    #[test]
    fn an_empty_election_is_told_as_no_leader_once() {
        let none = view(None);
        assert!(matches!(
            difference(&View::default(), &none),
            Some(Change::NoLeader)
        ));
        assert!(difference(&none, &none).is_none());
        assert!(
            difference(&View::default(), &View::default()).is_none(),
            "nothing is known yet"
        );
    }

    #[test]
    fn a_new_value_in_the_same_term_is_told_from_a_new_leader() {
        let one = view(Some(leader("a", 1)));
        assert!(matches!(
            difference(&one, &view(Some(leader("b", 1)))),
            Some(Change::Value(_))
        ));
        assert!(matches!(
            difference(&one, &view(Some(leader("a", 2)))),
            Some(Change::Leader(_))
        ));
        assert!(matches!(difference(&one, &view(None)), Some(Change::NoLeader)));
    }

    #[test]
    fn a_store_heard_again_is_told_even_if_nothing_changed() {
        let one = view(Some(leader("a", 1)));
        let error = StoreError::timeout("test", "leader", Duration::from_secs(1));
        let deaf = View {
            error: Some(error),
            ..one.clone()
        };
        assert!(matches!(difference(&one, &deaf), Some(Change::Unreachable(_))));
        assert!(difference(&deaf, &deaf).is_none());
        assert!(matches!(difference(&deaf, &one), Some(Change::Leader(_))));
    }
}
