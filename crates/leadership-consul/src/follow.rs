//! Where a place stands, as a stream: a state that is asked for its next item. Who waits watches the entry of the one
//! ahead, and the first of those who wait the lock itself; it takes the lock when that is free, unless the leader has
//! handed it over already. Who leads is in [`lead`](crate::lead).

use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::stream::unfold;
use leadership_core::{Ahead, Place, Standing, StoreError, Token};
use tokio::time::Instant;
use tracing::debug;

use crate::handover::Taken;
use crate::line::{Entry, Keys, LOCK_FLAGS, Line, Lock, STANDING, session_gone};
use crate::watch::{Seen, Watch};
use crate::wire::Pair;

/// How long Consul may hold back the answer to who waits, and how often it looks whether its own entry is still there: a
/// second request held back for that would cost each election a second connection.
const WAIT_BEHIND: Duration = Duration::from_secs(30);
/// How long to who leads, whose renewals tell when the way is cut.
const WAIT: Duration = Duration::from_secs(60);
/// How long after its election a leader looks who is next.
const SEE_NEXT: Duration = Duration::from_millis(50);
/// Between tries to take a lock that Consul keeps for a while: at first, and at most.
const DELAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Follows where a place stands.
pub(crate) fn standing(
    line: Arc<Line>,
    keys: Keys,
    place: Place,
    known: Option<Standing>,
) -> BoxStream<'static, Result<Standing, StoreError>> {
    let follow = FollowPlace {
        line,
        keys,
        place,
        last: None,
        see_after: SEE_NEXT,
        looked: Instant::now(),
        at: known.map_or(At::Unknown, At::Known),
    };
    Box::pin(unfold(follow, FollowPlace::next))
}

struct FollowPlace {
    line: Arc<Line>,
    keys: Keys,
    place: Place,
    /// What was told last.
    last: Option<Standing>,
    /// How long after its last look at who is next a leader looks again.
    see_after: Duration,
    /// When a waiter looked for its own entry last.
    looked: Instant,
    at: At,
}

/// What a place's stream is about to do.
enum At {
    /// Tell what the entering told.
    Known(Standing),
    /// Read.
    Unknown,
    /// Wait for the one ahead to lead, or to go.
    BehindEntry(Watch),
    /// Wait for the lock.
    BehindLock(Watch),
    /// Wait until Consul gives the lock away, which it has kept since then.
    Delayed { since: Instant },
    /// Wait for the lock to be taken away.
    First(Watch),
    /// Nothing can follow.
    Gone,
    /// The error was told.
    Failed,
}

impl FollowPlace {
    async fn next(mut self) -> Option<(Result<Standing, StoreError>, Self)> {
        loop {
            let told = match std::mem::replace(&mut self.at, At::Failed) {
                At::Known(standing) => {
                    self.settle_known(&standing);
                    Some(Ok(standing))
                }
                At::Gone | At::Failed => return None,
                // Boxed, or every stream would be as large as a request even while it only waits.
                at => match Box::pin(self.step(at)).await {
                    Ok(told) => told.map(Ok),
                    Err(error) => Some(Err(error)),
                },
            };
            match told {
                // Told once is enough.
                Some(Ok(standing)) if self.last.as_ref() == Some(&standing) => {}
                Some(Ok(standing)) => {
                    self.last = Some(standing.clone());
                    return Some((Ok(standing), self));
                }
                Some(error) => return Some((error, self)),
                None => {}
            }
        }
    }

    fn settle_known(&mut self, standing: &Standing) {
        self.at = match standing {
            // The token is the index at which the lock was taken: what follows it is news.
            Standing::First(token) => {
                At::First(Watch::new(&self.line, &*self.keys.lock, WAIT).since(token.0))
            }
            Standing::Behind(ahead) if ahead.key == self.keys.lock => self.behind_lock(),
            Standing::Behind(ahead) => At::BehindEntry(Watch::new(&self.line, &*ahead.key, WAIT_BEHIND)),
            Standing::Gone => At::Gone,
        };
    }

    fn behind_lock(&self) -> At {
        At::BehindLock(self.lock_watch())
    }

    fn lock_watch(&self) -> Watch {
        Watch::new(&self.line, &*self.keys.lock, WAIT_BEHIND)
    }

    /// Does one thing, and goes to what is next; tells where the place stands now, if that is known.
    async fn step(&mut self, at: At) -> Result<Option<Standing>, StoreError> {
        match at {
            At::Unknown => self.read().await,
            at @ (At::BehindEntry(_) | At::BehindLock(_)) if self.looked.elapsed() >= WAIT_BEHIND => {
                self.at = at;
                self.check_own().await
            }
            At::BehindEntry(mut watch) => match watch.look(&self.line).await? {
                Seen::Same => {
                    self.at = At::BehindEntry(watch);
                    Ok(None)
                }
                Seen::Changed(pair) => {
                    let ahead = pair.and_then(|pair| Entry::of(pair, &self.keys.line));
                    self.at = match ahead.filter(|ahead| ahead.fence < self.place.fence || ahead.leading) {
                        // It got the lock with this very change, so that only what follows is news.
                        Some(ahead) if ahead.leading => {
                            At::BehindLock(self.lock_watch().since(ahead.version))
                        }
                        Some(_) => At::BehindEntry(watch),
                        None => At::Unknown,
                    };
                    Ok(None)
                }
            },
            At::BehindLock(mut watch) => match watch.look(&self.line).await? {
                Seen::Same => {
                    self.at = At::BehindLock(watch);
                    Ok(None)
                }
                Seen::Changed(pair) => self.look_at_lock(watch, pair).await,
            },
            At::Delayed { since } => {
                let waited = since.elapsed() / 5;
                tokio::time::sleep(waited.clamp(DELAY.0, DELAY.1)).await;
                self.take(Some(since)).await
            }
            At::First(mut watch) => match self.look_as_leader(&mut watch).await? {
                Seen::Changed(pair) if !pair.as_ref().is_some_and(|pair| self.holds(pair)) => {
                    Ok(Some(self.gone()))
                }
                _ => {
                    self.at = At::First(watch);
                    Ok(None)
                }
            },
            at @ (At::Known(_) | At::Gone | At::Failed) => {
                self.at = at;
                Ok(None)
            }
        }
    }

    /// Waits for the lock to be taken away, and looks who is next meanwhile: a little later, when who has just resigned
    /// is in line again, and then less and less often; once somebody is, seldom, because a look that is of the past costs
    /// no more than another one.
    async fn look_as_leader(&mut self, watch: &mut Watch) -> Result<Seen, StoreError> {
        let mut look = std::pin::pin!(watch.look(&self.line));
        loop {
            let see = async {
                tokio::time::sleep(self.see_after).await;
                self.line.see_next(&self.keys, &self.place).await
            };
            let is_seen = tokio::select! {
                biased;
                seen = &mut look => return seen,
                // Without it, leaving takes a look more.
                told = see => told.unwrap_or_else(|error| {
                    debug!(lock = %self.keys.lock, %error, "who is next was not seen");
                    false
                }),
            };
            self.see_after = if is_seen {
                WAIT
            } else {
                (4 * self.see_after).min(WAIT)
            };
        }
    }

    /// Reads the whole line.
    async fn read(&mut self) -> Result<Option<Standing>, StoreError> {
        let entries = self.line.entries(STANDING, &self.keys).await?;
        let Some(own) = entries.own(&self.place) else {
            return Ok(Some(self.gone()));
        };
        if !own.leading && entries.ahead_of(own).is_none() {
            self.at = self.behind_lock();
            return Ok(None);
        }
        match self.line.settle(STANDING, &self.keys, &entries, own).await? {
            Some(standing) => {
                self.settle_known(&standing);
                Ok(Some(standing))
            }
            None => {
                self.at = At::Unknown;
                Ok(None)
            }
        }
    }

    /// The lock as it is, to the first of those who wait.
    async fn look_at_lock(
        &mut self,
        watch: Watch,
        pair: Option<Pair>,
    ) -> Result<Option<Standing>, StoreError> {
        // Given to us by the one who led; with other flags, somebody has written to it since.
        if let Some(pair) = pair.as_ref().filter(|pair| self.holds(pair)) {
            if pair.flags != LOCK_FLAGS {
                self.at = At::Unknown;
                return Ok(None);
            }
            let token = Token(pair.modify_index);
            self.at = At::First(watch);
            return Ok(Some(Standing::First(token)));
        }
        let lock = Lock::of(pair);
        if let Lock::Free(version) = lock {
            let entries = self.line.entries(STANDING, &self.keys).await?;
            let own = entries.own(&self.place).cloned();
            // One that had the lock for a moment has stepped back behind those who came before it.
            if let Some(ahead) = own.as_ref().and_then(|own| entries.ahead_of(own)) {
                let key: Arc<str> = ahead.key.as_str().into();
                self.at = At::BehindEntry(Watch::new(&self.line, &*key, WAIT_BEHIND));
                return Ok(Some(Standing::Behind(Ahead { key, foreign: false })));
            }
            return self.take_free(own, version, Instant::now()).await;
        }
        self.at = At::BehindLock(watch);
        Ok(Some(Standing::Behind(lock.ahead(&self.keys))))
    }

    /// Looks at the lock anew, and takes it if it is free.
    async fn take(&mut self, since: Option<Instant>) -> Result<Option<Standing>, StoreError> {
        let own = self.own().await?;
        let lock = Lock::of(self.line.read(STANDING, &self.keys.lock).await?);
        let Lock::Free(version) = lock else {
            self.at = self.behind_lock();
            return Ok(None);
        };
        self.take_free(own, version, since.unwrap_or_else(Instant::now))
            .await
    }

    async fn take_free(
        &mut self,
        own: Option<Entry>,
        version: Option<u64>,
        since: Instant,
    ) -> Result<Option<Standing>, StoreError> {
        let Some(own) = own else {
            return Ok(Some(self.gone()));
        };
        if own.leading {
            self.at = At::Unknown;
            return Ok(None);
        }
        match self.line.take(STANDING, &self.keys, &own, version).await? {
            Taken::Leads(token) => {
                let watch = Watch::new(&self.line, &*self.keys.lock, WAIT);
                self.at = At::First(watch.since(token.0));
                Ok(Some(Standing::First(token)))
            }
            Taken::Delayed => {
                self.at = At::Delayed { since };
                Ok(Some(Standing::Behind(Lock::Free(version).ahead(&self.keys))))
            }
            Taken::Changed => {
                self.at = self.behind_lock();
                Ok(None)
            }
            Taken::SessionGone => Err(session_gone(STANDING, &self.place.session)),
        }
    }

    /// The place's very entry.
    async fn own(&self) -> Result<Option<Entry>, StoreError> {
        let own = self.line.entry(STANDING, &self.keys, &self.place.session).await?;
        Ok(own.filter(|own| own.fence == self.place.fence))
    }

    /// Whether the own entry is still there, which no watch tells who waits.
    async fn check_own(&mut self) -> Result<Option<Standing>, StoreError> {
        self.looked = Instant::now();
        Ok(match self.own().await? {
            Some(own) => {
                if own.leading {
                    self.at = At::Unknown;
                }
                None
            }
            None => Some(self.gone()),
        })
    }

    fn holds(&self, pair: &Pair) -> bool {
        pair.session == self.place.session.as_str()
    }

    fn gone(&mut self) -> Standing {
        self.at = At::Gone;
        Standing::Gone
    }
}
