//! Everything that changes a line, each as one transaction: standing, taking the free lock, handing it over,
//! leaving, proclaiming.
//!
//! Each is fenced by the version of the contender's own entry (`check-index`), which changes with every change of
//! it: one that is applied late, or a second time, finds another version or no entry, and changes nothing. A
//! resignation hands the lock to the next in line in the same transaction, so that it is never free between.

use std::sync::Arc;

use leadership_core::{Ahead, ErrorKind, Outcome, Place, SessionId, Standing, StoreError, Token};
use tracing::debug;

use crate::client::lock;
use crate::error::{STORE, odd};
use crate::line::{
    Committed, Entries, Entry, Keys, LEADING, LOCK_FLAGS, Line, Lock, STANDING, WAITING, contended, leads,
    session_gone,
};
use crate::wire::{Op, Pair};

/// How often a change is tried anew when others changed the line meanwhile.
const TRIES: u32 = 8;

/// What became of taking the lock.
pub(crate) enum Taken {
    Leads(Token),
    /// Not yet: Consul keeps the lock for a while after its session was ended.
    Delayed,
    /// The lock, or the entry, is not as it was.
    Changed,
    SessionGone,
}

/// A leader's entry and the next one in line, as they were a while ago: enough to hand the lock over without another
/// look, because that is refused if one of them has changed.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) own: Entry,
    pub(crate) next: Entry,
}

impl Line {
    /// Looks who is next, for when the leader of this place leaves; whether somebody is.
    pub(crate) async fn see_next(&self, keys: &Keys, place: &Place) -> Result<bool, StoreError> {
        // It is never closed.
        let _look = self.looks.acquire().await.ok();
        let entries = self.entries(STANDING, keys).await?;
        let own = entries.own(place).filter(|own| own.leading);
        let next = own.and_then(|own| entries.next_after(own));
        let is_seen = next.is_some();
        let mut seen = lock(&self.seen);
        match (own, next) {
            (Some(own), Some(next)) => {
                let (own, next) = (own.clone(), next.clone());
                seen.insert(Arc::clone(&place.key), Seen { own, next });
            }
            _ => {
                seen.remove(&place.key);
            }
        }
        Ok(is_seen)
    }

    /// Forgets what leaders have seen whose session is over.
    pub(crate) fn forget(&self, session: &SessionId) {
        lock(&self.seen).retain(|_, seen| seen.own.session != session.as_str());
    }

    /// Puts a session in the line, if it is not there. Takes the lock at once when it is free and nobody waits.
    pub(crate) async fn stand(
        &self,
        keys: &Keys,
        session: &SessionId,
        value: &[u8],
    ) -> Result<(Entry, Standing), StoreError> {
        let mut wrote = false;
        let stood = self.stand_in(keys, session, value, &mut wrote).await;
        // What failed later changed nothing, but the entry is there.
        stood.map_err(|error| {
            if wrote {
                error.with_outcome(Outcome::Unknown)
            } else {
                error
            }
        })
    }

    async fn stand_in(
        &self,
        keys: &Keys,
        session: &SessionId,
        value: &[u8],
        wrote: &mut bool,
    ) -> Result<(Entry, Standing), StoreError> {
        const ENTER: &str = "enter";
        let key = keys.entry(session.as_str());
        for _ in 0..TRIES {
            let ops = vec![
                Op::check_not_exists(&keys.lock),
                Op::check_not_exists(&key),
                Op::lock(&keys.lock, session.as_str(), LOCK_FLAGS, value),
                Op::lock(&key, session.as_str(), LEADING, value),
                Op::get_tree(&keys.line),
            ];
            let mut took = false;
            let entered = match self.txn(ENTER, ops).await? {
                Committed::Yes(pairs) => {
                    took = true;
                    Some(pairs)
                }
                Committed::No(refused) if refused.is_dead_session() => {
                    return Err(session_gone(ENTER, session));
                }
                // The entry is there already.
                Committed::No(refused) if refused.op_index == 1 => None,
                // The lock is there, or Consul keeps it: to the end of the line.
                Committed::No(_) => {
                    let ops = vec![
                        Op::check_not_exists(&key),
                        Op::lock(&key, session.as_str(), WAITING, value),
                        Op::get_tree(&keys.line),
                    ];
                    match self.txn(ENTER, ops).await? {
                        Committed::Yes(pairs) => Some(pairs),
                        // Only this session can ever have held this key, and Consul keeps it from others since the
                        // session was ended. It looks for that before it looks for the session.
                        Committed::No(refused) if refused.is_dead_session() || refused.is_delay() => {
                            return Err(session_gone(ENTER, session));
                        }
                        Committed::No(_) => None,
                    }
                }
            };
            *wrote |= entered.is_some();
            let entries = match entered {
                Some(pairs) => Entries::of(pairs, &keys.line),
                None => self.entries(ENTER, keys).await?,
            };
            // Gone in between: there is nothing to return to.
            let Some(own) = entries.of_session(session.as_str()).cloned() else {
                continue;
            };
            if took && entries.head_before(&own).is_none() {
                let standing = Standing::First(Token(own.version));
                return Ok((own, standing));
            }
            if let Some(standing) = self.settle(ENTER, keys, &entries, &own).await? {
                return Ok((own, standing));
            }
        }
        Err(contended(ENTER, keys))
    }

    /// Where an entry of ours stands, after whatever can be done for it was done. `None`: look again.
    pub(crate) async fn settle(
        &self,
        operation: &'static str,
        keys: &Keys,
        entries: &Entries,
        own: &Entry,
    ) -> Result<Option<Standing>, StoreError> {
        if own.leading {
            // Taken in this moment, past others who wait: they came first.
            if let Some(head) = entries.head_before(own)
                && own.fence == own.version
            {
                return self.step_back(operation, keys, own, head).await;
            }
            let lock = Lock::of(self.read(operation, &keys.lock).await?);
            if let Some(standing) = leads(own, &lock) {
                return Ok(Some(standing));
            }
            // Somebody took the lock away and left the entry.
            let ops = vec![Op::check_index(&own.key, own.version), Op::delete(&own.key)];
            self.txn(operation, ops).await?;
            return Ok(None);
        }
        if let Some(ahead) = entries.ahead_of(own) {
            let key = ahead.key.as_str().into();
            return Ok(Some(Standing::Behind(Ahead { key, foreign: false })));
        }
        let lock = Lock::of(self.read(operation, &keys.lock).await?);
        let version = match &lock {
            Lock::Free(version) => *version,
            // Handed to us since we looked, and then our entry has changed; or somebody deleted the entry of a term of
            // ours, and we take the lock anew for this one.
            Lock::Held(pair) if pair.session == own.session => Some(pair.modify_index),
            _ => return Ok(Some(Standing::Behind(lock.ahead(keys)))),
        };
        Ok(match self.take(operation, keys, own, version).await? {
            Taken::Leads(token) => Some(Standing::First(token)),
            Taken::Delayed => Some(Standing::Behind(lock.ahead(keys))),
            Taken::Changed => None,
            Taken::SessionGone => return Err(session_gone(operation, &SessionId::new(&*own.session))),
        })
    }

    /// Takes the lock, which was free at `version`, for an entry that waits.
    pub(crate) async fn take(
        &self,
        operation: &'static str,
        keys: &Keys,
        own: &Entry,
        version: Option<u64>,
    ) -> Result<Taken, StoreError> {
        let still_free = match version {
            Some(version) => Op::check_index(&keys.lock, version),
            None => Op::check_not_exists(&keys.lock),
        };
        let ops = vec![
            Op::check_index(&own.key, own.version),
            still_free,
            Op::lock(&keys.lock, &own.session, LOCK_FLAGS, &own.value),
            Op::lock(&own.key, &own.session, LEADING, &own.value),
        ];
        match self.txn(operation, ops).await? {
            Committed::Yes(pairs) => {
                let written = pairs.iter().rev().find(|pair| pair.key == own.key);
                let written = written.ok_or_else(|| odd(operation, "the lock was taken without an index"))?;
                Ok(Taken::Leads(Token(written.modify_index)))
            }
            Committed::No(refused) if refused.is_delay() => Ok(Taken::Delayed),
            Committed::No(refused) if refused.is_dead_session() => Ok(Taken::SessionGone),
            Committed::No(_) => Ok(Taken::Changed),
        }
    }

    /// Hands the lock, which we took in the same moment in which it became free, to the first of those who wait.
    async fn step_back(
        &self,
        operation: &'static str,
        keys: &Keys,
        own: &Entry,
        head: &Entry,
    ) -> Result<Option<Standing>, StoreError> {
        let mut ops = hand_over(keys, own, head);
        ops.push(Op::lock(&own.key, &own.session, WAITING, &own.value));
        match self.txn(operation, ops).await? {
            Committed::Yes(_) => debug!(lock = %keys.lock, to = head.session, "stepped back behind the line"),
            // Whoever was the head is gone, or its session is.
            Committed::No(refused) => debug!(lock = %keys.lock, why = refused.what, "could not step back"),
        }
        Ok(None)
    }

    /// Removes the entry of a place, and hands over or frees the lock if it has it.
    pub(crate) async fn leave(&self, keys: &Keys, place: &Place) -> Result<(), StoreError> {
        const LEAVE: &str = "leave";
        let seen = lock(&self.seen).remove(&place.key);
        if let Some(seen) = seen.filter(|seen| seen.own.fence == place.fence) {
            let mut ops = hand_over(keys, &seen.own, &seen.next);
            ops.push(Op::delete(&seen.own.key));
            match self.txn(LEAVE, ops).await? {
                Committed::Yes(_) => return Ok(()),
                Committed::No(refused) => {
                    debug!(why = refused.what, "the line has changed since it was seen")
                }
            }
        }
        let mut refusals = 0;
        for _ in 0..TRIES {
            let entries = self.entries(LEAVE, keys).await?;
            let Some(own) = entries.own(place) else {
                if entries.of_session(place.session.as_str()).is_none() {
                    self.let_go(keys, &place.session).await?;
                }
                return Ok(());
            };
            let unchanged = Op::check_index(&own.key, own.version);
            let (ops, holds) = match entries.next_after(own) {
                _ if !own.leading => (vec![unchanged, Op::delete(&own.key)], None),
                Some(next) if refusals < 2 => {
                    let mut ops = hand_over(keys, own, next);
                    ops.push(Op::delete(&own.key));
                    (ops, Some(UNLOCK))
                }
                _ => {
                    let ops = vec![
                        unchanged,
                        Op::unlock(&keys.lock, &own.session, LOCK_FLAGS),
                        Op::delete(&own.key),
                    ];
                    (ops, Some(1))
                }
            };
            let refused = match self.txn(LEAVE, ops).await? {
                Committed::No(refused) => refused,
                Committed::Yes(pairs) => {
                    if let Some(freed) = pairs.iter().rev().find(|pair| *pair.key == *keys.lock) {
                        self.clear(keys, freed).await;
                    }
                    return Ok(());
                }
            };
            debug!(lock = %keys.lock, why = refused.what, "leaving was refused; looking again");
            if Some(refused.op_index) == holds {
                // Somebody took the lock away and left the entry.
                let ops = vec![Op::check_index(&own.key, own.version), Op::delete(&own.key)];
                self.txn(LEAVE, ops).await?;
            } else {
                refusals += 1;
            }
        }
        Err(contended(LEAVE, keys))
    }

    /// Frees the lock that a session holds without an entry: somebody has deleted that. Refused to all others. And
    /// removes a free lock, which may be what an earlier try to leave that was given up had yet to do.
    async fn let_go(&self, keys: &Keys, session: &SessionId) -> Result<(), StoreError> {
        let ops = vec![
            Op::check_not_exists(&keys.entry(session.as_str())),
            Op::unlock(&keys.lock, session.as_str(), LOCK_FLAGS),
        ];
        match self.txn("leave", ops).await? {
            Committed::Yes(pairs) => {
                debug!(lock = %keys.lock, "freed a lock of ours whose entry was deleted");
                if let Some(freed) = pairs.last() {
                    self.clear(keys, freed).await;
                }
            }
            Committed::No(_) => {
                if let Some(lock) = self.read("leave", &keys.lock).await? {
                    self.clear(keys, &lock).await;
                }
            }
        }
        Ok(())
    }

    /// Removes the lock if it is free, unless somebody takes it. A request of its own, so that others who wait for it
    /// (Go's `api.Lock`) have the time to take it before one of us who stands again.
    async fn clear(&self, keys: &Keys, lock: &Pair) {
        if !lock.session.is_empty() || lock.flags != LOCK_FLAGS {
            return;
        }
        let ops = vec![
            Op::check_index(&keys.lock, lock.modify_index),
            Op::delete(&keys.lock),
        ];
        if let Err(error) = self.txn("leave", ops).await {
            debug!(lock = %keys.lock, %error, "left as a free lock, as Go's api.Lock leaves it");
        }
    }

    /// Changes the value of a place's entry.
    pub(crate) async fn proclaim(&self, keys: &Keys, place: &Place, value: &[u8]) -> Result<(), StoreError> {
        const PROCLAIM: &str = "proclaim";
        let gone = || {
            let text = format!(
                "the entry {} of index {} is not there any more",
                place.key, place.fence
            );
            StoreError::new(STORE, PROCLAIM, ErrorKind::EntryGone, Outcome::NotApplied, text)
        };
        for _ in 0..TRIES {
            let own = self.entry(PROCLAIM, keys, &place.session).await?;
            let Some(own) = own.filter(|own| own.fence == place.fence) else {
                return Err(gone());
            };
            let unchanged = Op::check_index(&own.key, own.version);
            let ops = if own.leading {
                let lock = self.read(PROCLAIM, &keys.lock).await?;
                let Some(lock) = lock.filter(|lock| lock.session == own.session) else {
                    return Err(gone());
                };
                // The entry stays as it is: its version is the token. The lock's version keeps a proclamation
                // that was given up from being applied after a later one.
                vec![
                    unchanged,
                    Op::check_index(&keys.lock, lock.modify_index),
                    Op::lock(&keys.lock, &own.session, LOCK_FLAGS, value),
                ]
            } else {
                vec![unchanged, Op::lock(&own.key, &own.session, WAITING, value)]
            };
            match self.txn(PROCLAIM, ops).await? {
                Committed::Yes(_) => return Ok(()),
                Committed::No(refused) if refused.is_dead_session() => {
                    return Err(session_gone(PROCLAIM, &place.session));
                }
                // It will pass, but not within a few tries.
                Committed::No(refused) if refused.is_delay() => break,
                Committed::No(_) => {}
            }
        }
        Err(contended(PROCLAIM, keys))
    }
}

/// The operation of [`hand_over`] that is refused to who does not have the lock.
const UNLOCK: usize = 2;

/// Moves the lock from one contender to another who waits, if both are as they were.
fn hand_over(keys: &Keys, from: &Entry, to: &Entry) -> Vec<Op> {
    vec![
        Op::check_index(&from.key, from.version),
        Op::check_index(&to.key, to.version),
        Op::unlock(&keys.lock, &from.session, LOCK_FLAGS),
        Op::lock(&keys.lock, &to.session, LOCK_FLAGS, &to.value),
        Op::lock(&to.key, &to.session, LEADING, &to.value),
    ]
}
