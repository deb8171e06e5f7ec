//! Which elections a session stands in. One candidate per election: two on one session would share an entry.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::driver::session::SessionHandle;
use crate::error::Error;
use crate::name::ElectionName;
use crate::post::Post;

/// The elections, each with the post that its task reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    posts: HashMap<ElectionName, Arc<Post>>,
    closed: bool,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more candidates, and returns those there are.
    pub(crate) fn close(&self) -> Vec<Arc<Post>> {
        let mut entries = self.lock();
        entries.closed = true;
        entries.posts.values().cloned().collect()
    }

    /// Takes an election for a new candidate. `true` if it needs a task of its own; `false` if the task of a
    /// stopped candidate is still there, to look for ghosts, and was told to stand again.
    pub(crate) fn take_place(
        &self,
        election: &ElectionName,
        post: &Arc<Post>,
        session: &Arc<SessionHandle>,
    ) -> Result<bool, Error> {
        let mut entries = self.lock();
        if entries.closed {
            return Err(Error::Closed);
        }
        match entries.posts.entry(election.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(post.clone());
                Ok(true)
            }
            Entry::Occupied(mut taken) if taken.get().is_stopped() => {
                let old = taken.insert(post.clone());
                old.order(|orders| orders.successor = Some((post.clone(), session.clone())));
                Ok(false)
            }
            Entry::Occupied(_) => Err(Error::AlreadyStanding(election.clone())),
        }
    }

    /// Gives an election up, unless another candidate has taken it over meanwhile.
    pub(crate) fn finish(&self, election: &ElectionName, post: &Arc<Post>) -> bool {
        let posts = &mut self.lock().posts;
        let own = posts.get(election).is_some_and(|taken| Arc::ptr_eq(taken, post));
        if own {
            posts.remove(election);
        }
        own
    }
}
