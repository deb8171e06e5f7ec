//! Sessions: opening, renewing, closing, and what is known of the entries that each has made. How long a renewal
//! is good for is in [`certain`](crate::certain).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leadership_core::{
    BootClock, Clock, ElectionName, ErrorKind, InvalidInput, Outcome, Session, SessionId, StoreError,
};
use tokio::task::AbortHandle;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::certain::{Renewals, timeout_for, ttl_of};
use crate::client::{AHEAD_MAX, Link, PATH_COST, Servers, WATCHED_MAX, lock};
use crate::error::{self, Effect, STORE};

/// How many ended sessions are remembered, so that closing one of them again succeeds.
const ENDED_MAX: usize = 256;
/// How many creations of unknown outcome are remembered per election. Each was given up after a request's
/// timeout, and all of them end with the session.
const DOUBTFUL_MAX: usize = 16;

/// The sessions of a store.
pub(crate) struct Sessions {
    servers: Arc<Servers>,
    open: Mutex<HashMap<SessionId, Arc<Live>>>,
    ended: Mutex<VecDeque<SessionId>>,
}

/// A session of ours.
pub(crate) struct Live {
    pub(crate) link: Arc<Link>,
    id: SessionId,
    renewals: Mutex<Renewals>,
    /// What we have made, or may have made, in each election.
    made: Mutex<HashMap<ElectionName, Made>>,
    silence: Mutex<Option<AbortHandle>>,
}

/// The entries that a session may have in an election. There is one at most, unless a creation was applied
/// after it had been given up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    /// What is unique in the name of an entry whose creation was answered.
    pub(crate) answered: Option<Uuid>,
    /// The same of creations whose outcome is unknown. Each is used for one creation only, so what is seen
    /// under it and removed never comes back.
    pub(crate) doubtful: VecDeque<Uuid>,
    /// The path ahead of our entry, if that one led when ours was made: when it goes, ours leads.
    pub(crate) second_to: Option<Arc<str>>,
    /// Whether our entry is at the head.
    pub(crate) first: bool,
    /// Whether its value was proclaimed anew.
    pub(crate) proclaimed: bool,
}

impl Made {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Uuid> {
        self.answered.iter().chain(&self.doubtful)
    }
}

impl Sessions {
    pub(crate) fn new(servers: Arc<Servers>) -> Self {
        Self {
            servers,
            open: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    pub(crate) async fn open(&self, ttl: Duration) -> Result<Session, StoreError> {
        let sent = BootClock.now();
        let link = self.servers.connect("open", timeout_for(ttl)).await?;
        let (id, timeout, ttl) = (
            SessionId::new(link.name()),
            link.timeout,
            ttl_of(ttl, link.timeout),
        );
        let live = Arc::new(Live {
            renewals: Mutex::new(Renewals::new(timeout, ttl, sent)),
            link: Arc::new(link),
            id: id.clone(),
            made: Mutex::default(),
            silence: Mutex::default(),
        });
        let silence = tokio::spawn(end_when_silent(Arc::downgrade(&live), timeout));
        *lock(&live.silence) = Some(silence.abort_handle());
        self.forget_ended();
        lock(&self.open).insert(id.clone(), live);
        Ok(Session { id, ttl })
    }

    /// A session of ours that has not ended, as far as we know.
    pub(crate) fn get(&self, id: &SessionId) -> Option<Arc<Live>> {
        let live = lock(&self.open).get(id).cloned()?;
        (!live.link.is_over()).then_some(live)
    }

    pub(crate) async fn renew(&self, session: &Session) -> Result<Duration, StoreError> {
        let Some(live) = self.get(&session.id) else {
            return Err(error::session_gone("renew", session.id.as_str()));
        };
        live.renew().await
    }

    /// Closes a session; an ended one is closed already.
    pub(crate) async fn close(&self, session: &Session) -> Result<(), StoreError> {
        let live = lock(&self.open).get(&session.id).cloned();
        let Some(live) = live else {
            return if lock(&self.ended).contains(&session.id) {
                Ok(())
            } else {
                Err(InvalidInput::new(
                    format!("session {}", session.id),
                    "it was not opened by this store, and ZooKeeper ends a session only for who has its password",
                    "close it where it was opened, or wait for its timeout",
                )
                .into_store_error(STORE, "close"))
            };
        };
        let closed = live.link.close().await;
        self.forget_ended();
        if closed {
            return Ok(());
        }
        let text = "no server has answered that the session is closed; it ends by itself, its timeout after our last try";
        let kind = ErrorKind::Unavailable;
        Err(StoreError::new(STORE, "close", kind, Outcome::Unknown, text))
    }

    /// Moves what has ended to where it is only remembered.
    fn forget_ended(&self) {
        let mut ended = lock(&self.ended);
        lock(&self.open).retain(|id, live| {
            let gone = live.link.is_gone();
            if gone {
                ended.push_back(id.clone());
            }
            !gone
        });
        while ended.len() > ENDED_MAX {
            ended.pop_front();
        }
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        // Streams hold sessions as well, and go on to tell that they are over.
        for live in lock(&self.open).values() {
            live.link.end();
        }
    }
}

impl Live {
    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    /// A request that only the leader of the ensemble can answer. A read would not do: a follower that has lost
    /// its leader answers reads for up to `syncLimit` ticks, while the leader counts the session's silence.
    async fn renew(&self) -> Result<Duration, StoreError> {
        let failed = |error| error::failed("renew", self.id.as_str(), Effect::Read, &error);
        let asked = BootClock.now();
        let client = self.link.client().await.map_err(failed)?;
        let sent = BootClock.now();
        self.link.ask(client.sync("/")).await.map_err(failed)?;
        drop(client);
        lock(&self.renewals).acknowledged(asked, sent).ok_or_else(|| {
            error::unavailable(
                "renew",
                "the server answers, but it is not certain yet that its leader has heard of it; trying again",
            )
        })
    }

    /// Takes room to watch one more entry with such a key beside the other entries of this session. What is noted of the entry next keeps it or gives it back.
    pub(crate) fn take_room(&self, election: &ElectionName, key_bytes: usize) -> Result<(), InvalidInput> {
        let mut all = lock(&self.made);
        if all.contains_key(election) {
            return Ok(());
        }
        // Under the same lock, or several that enter at once were let in for the room of one, and one of them refused
        // when it comes back.
        if has_room(all.keys(), election, key_bytes) {
            all.insert(election.clone(), Made::default());
            return Ok(());
        }
        Err(InvalidInput::new(
            format!("election {election}"),
            format!("its session stands in {} elections already", all.len()),
            "use Elections of their own for some of them: after a reconnection zookeeper-client could not watch more",
        ))
    }

    pub(crate) fn made(&self, election: &ElectionName) -> Made {
        lock(&self.made).get(election).cloned().unwrap_or_default()
    }

    /// Changes what is known of the entries in an election.
    pub(crate) fn note(&self, election: &ElectionName, change: impl FnOnce(&mut Made)) {
        let mut all = lock(&self.made);
        let made = all.entry(election.clone()).or_default();
        change(made);
        while made.doubtful.len() > DOUBTFUL_MAX {
            made.doubtful.pop_front();
        }
        if made.answered.is_none() && made.doubtful.is_empty() {
            all.remove(election);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(silence) = lock(&self.silence).take() {
            silence.abort();
        }
    }
}

/// Whether entries in all these elections and in one more can be watched, of which that one's key is so long.
fn has_room<'a>(
    all: impl Iterator<Item = &'a ElectionName>,
    election: &'a ElectionName,
    key_bytes: usize,
) -> bool {
    // The same in all keys of a store.
    let around = key_bytes.saturating_sub(election.as_str().len()) + PATH_COST;
    let paths = all.chain([election]).map(|name| name.as_str().len() + around);
    paths.sum::<usize>() <= WATCHED_MAX - AHEAD_MAX
}

/// Ends a session that nobody renews any more. The client's own pings would keep it for ever, even if whoever
/// stands with it is stuck; the trait says that such a session ends.
async fn end_when_silent(live: std::sync::Weak<Live>, ttl: Duration) {
    loop {
        let Some(silent) = live.upgrade().map(|live| lock(&live.renewals).silent_for()) else {
            return;
        };
        if silent >= ttl {
            break;
        }
        tokio::time::sleep(ttl - silent).await;
    }
    if let Some(live) = live.upgrade()
        && !live.link.is_over()
    {
        warn!(session = %live.id, "nobody renews this ZooKeeper session any more: closing it");
        live.link.end();
    }
    debug!("ZooKeeper session was silent for its whole timeout");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many elections with such names, one after the other, a session takes.
    fn taken(names: impl Iterator<Item = String>) -> usize {
        let mut all = Vec::new();
        for name in names {
            let name = ElectionName::new(name).expect("name");
            // As with no prefix.
            if !has_room(all.iter(), &name, 1 + name.as_str().len() + 58) {
                return all.len();
            }
            all.push(name);
        }
        panic!("nothing is refused")
    }

    #[test]
    fn the_entries_of_a_thousand_elections_fit_in_what_is_watched_anew_in_one_request() {
        let count = taken((0..9999).map(|i| format!("service/{i:05}")));
        assert!(count > 1000, "{count}");
        // zookeeper-client's SET_WATCHES_MAX_BYTES.
        assert!(count * (1 + 13 + 58) + AHEAD_MAX < 128 << 10, "{count}");
    }

    #[test]
    fn long_names_count_as_such_also_when_short_ones_follow() {
        let long = (0..50).map(|i| format!("{i:0>1000}"));
        let count = taken(long.chain((0..9999).map(|i| format!("{i:05}"))));
        assert!((51..600).contains(&count), "{count}");
    }
}
