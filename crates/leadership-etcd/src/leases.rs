//! Which leases a session lives by: one, named as the session is, until etcd elects another leader; then the entries
//! move to a new lease.
//!
//! A leader of etcd that was frozen, or that waited for its disk, believes for a moment that it still leads, finds
//! that leases have expired which were renewed elsewhere meanwhile, and has them revoked
//! (etcd-io/etcd#15247, #12528; the check that 3.5.13 makes before does not always see it). It can name only leases that
//! it knows. So as soon as an answer tells of a later term, the session gets a lease that no earlier leader knows of,
//! every entry is moved to it, and the old lease is revoked.
//!
//! While there are two, both are renewed, and the session is over when either is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leadership_core::{SessionId, StoreError};

use crate::client::lock;
use crate::line::lease_of;
use crate::session::KeepAlive;

/// How long a request whose outcome is unknown may still make an entry, which nobody would look for on an old lease.
const UNSURE: Duration = Duration::from_secs(10);

/// The leases of all sessions of a store.
#[derive(Clone, Default)]
pub(crate) struct Leases(Arc<Mutex<HashMap<SessionId, Held>>>);

/// What a session has.
#[derive(Default)]
struct Held {
    /// The newest one is the last.
    leases: Vec<Lease>,
    /// Every key that may be an entry of it, with the entry's create revision; 0 if that is not known yet.
    keys: HashMap<String, u64>,
    /// The term of etcd's leader in which the newest lease was granted; 0 if nobody knows.
    granted: u64,
    /// The latest term that an answer told of.
    seen: u64,
    /// Whether entries are being moved.
    moving: bool,
    /// Whether it is being closed: it gets no new lease.
    closing: bool,
}

struct Lease {
    id: i64,
    /// Its keep-alive stream, while it is not in use.
    stream: Option<KeepAlive>,
    /// Whether it had one.
    streamed: bool,
    /// How many requests under way may attach an entry to it.
    entering: usize,
    /// When such a request ended, the last time that it was not known how.
    unsure: Option<Instant>,
}

impl Lease {
    fn new(id: i64) -> Self {
        Self {
            id,
            stream: None,
            streamed: false,
            entering: 0,
            unsure: None,
        }
    }

    fn may_get_entries(&self) -> bool {
        self.entering > 0 || self.unsure.is_some_and(|since| since.elapsed() < UNSURE)
    }
}

/// What is to be done about a session whose entries should be on another lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It needs a new lease.
    Grant,
    /// What is there of these keys on one lease is to be moved to the other.
    Move {
        keys: Vec<String>,
        from: i64,
        to: i64,
        /// Whether that is all, so that the old lease can go.
        all: bool,
    },
    /// Nothing, or not now.
    Rest,
}

impl Leases {
    /// A lease was granted, in this term, to a new session.
    pub(crate) fn opened(&self, session: &SessionId, lease: i64, term: u64) {
        let held = Held {
            leases: vec![Lease::new(lease)],
            granted: term,
            seen: term,
            ..Held::default()
        };
        lock(&self.0).insert(session.clone(), held);
    }

    /// What a session lives by. A session that this store has not opened has the lease of its name.
    pub(crate) fn of(&self, operation: &'static str, session: &SessionId) -> Result<Vec<i64>, StoreError> {
        let named = lease_of(operation, session)?;
        Ok(self.with(session, named, |held| {
            held.leases.iter().map(|lease| lease.id).collect()
        }))
    }

    fn with<T>(&self, session: &SessionId, named: i64, then: impl FnOnce(&mut Held) -> T) -> T {
        let mut all = lock(&self.0);
        let held = all.entry(session.clone()).or_insert_with(|| Held {
            leases: vec![Lease::new(named)],
            ..Held::default()
        });
        then(held)
    }

    /// Whether a session still lives by this lease.
    pub(crate) fn has(&self, session: &SessionId, lease: i64) -> bool {
        self.known(session, lease, |_| ()).is_some()
    }

    fn known<T>(&self, session: &SessionId, lease: i64, then: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let mut all = lock(&self.0);
        let leases = &mut all.get_mut(session)?.leases;
        leases.iter_mut().find(|held| held.id == lease).map(then)
    }

    /// Takes the keep-alive stream of a lease out, to use it.
    pub(crate) fn take_stream(&self, session: &SessionId, lease: i64) -> Option<KeepAlive> {
        self.known(session, lease, |lease| lease.stream.take())?
    }

    /// Puts it back; dropped if the session lives by another lease now.
    pub(crate) fn keep_stream(&self, session: &SessionId, lease: i64, stream: KeepAlive) {
        self.known(session, lease, |lease| {
            lease.stream = Some(stream);
            lease.streamed = true;
        });
    }

    /// Whether a lease had a stream before.
    pub(crate) fn had_stream(&self, session: &SessionId, lease: i64) -> bool {
        self.known(session, lease, |lease| lease.streamed)
            .unwrap_or(false)
    }

    /// A request that may attach `key` to the session's lease; to the newest, so that moving ends.
    pub(crate) fn entering(
        &self,
        operation: &'static str,
        session: &SessionId,
        key: &str,
    ) -> Result<Entering<'_>, StoreError> {
        let named = lease_of(operation, session)?;
        let lease = self.with(session, named, |held| {
            held.keys.insert(key.to_owned(), 0);
            let newest = held.leases.last_mut()?;
            newest.entering += 1;
            Some(newest.id)
        });
        Ok(Entering {
            leases: self,
            session: session.clone(),
            // A session always has one.
            lease: lease.unwrap_or(named),
            settled: false,
        })
    }

    /// There is an entry under this key, made at this revision.
    pub(crate) fn made(&self, session: &SessionId, key: &str, revision: u64) {
        if let Some(held) = lock(&self.0).get_mut(session) {
            held.keys.insert(key.to_owned(), revision);
        }
    }

    /// That entry is gone; not one that was made later.
    pub(crate) fn left(&self, session: &SessionId, key: &str, revision: u64) {
        if let Some(held) = lock(&self.0).get_mut(session)
            && held.keys.get(key) == Some(&revision)
        {
            held.keys.remove(key);
        }
    }

    /// An answer told of this term. Whether to begin to move the session's entries, which nobody else does then.
    pub(crate) fn saw(&self, session: &SessionId, term: u64) -> bool {
        let mut all = lock(&self.0);
        let Some(held) = all.get_mut(session) else {
            return false;
        };
        // Of a session that somebody else opened, the first term that is told counts for that of its lease.
        if held.granted == 0 {
            held.granted = term;
        }
        held.seen = held.seen.max(term);
        let moves = (held.seen > held.granted || held.leases.len() > 1) && !held.moving && !held.closing;
        held.moving |= moves;
        moves
    }

    /// What is next for a session whose entries are being moved.
    pub(crate) fn next(&self, session: &SessionId) -> Next {
        let mut all = lock(&self.0);
        let Some(held) = all.get_mut(session).filter(|held| !held.closing) else {
            return Next::Rest;
        };
        match &held.leases[..] {
            _ if held.seen > held.granted => Next::Grant,
            [old, .., new] => Next::Move {
                keys: held.keys.keys().cloned().collect(),
                from: old.id,
                to: new.id,
                all: !old.may_get_entries(),
            },
            _ => Next::Rest,
        }
    }

    /// A session got a new lease, granted in this term. Whether it still is one.
    pub(crate) fn granted(&self, session: &SessionId, lease: i64, term: u64) -> bool {
        let mut all = lock(&self.0);
        let Some(held) = all.get_mut(session).filter(|held| !held.closing) else {
            return false;
        };
        held.leases.push(Lease::new(lease));
        held.granted = term.max(held.seen);
        true
    }

    /// No entry is on this lease any more, nor will be.
    pub(crate) fn moved(&self, session: &SessionId, lease: i64) {
        if let Some(held) = lock(&self.0).get_mut(session) {
            held.leases.retain(|held| held.id != lease);
        }
    }

    /// Nobody moves the session's entries any more.
    pub(crate) fn rest(&self, session: &SessionId) {
        if let Some(held) = lock(&self.0).get_mut(session) {
            held.moving = false;
        }
    }

    /// The session is closed from now on: what it lives by is told, and gets no more.
    pub(crate) fn closing(
        &self,
        operation: &'static str,
        session: &SessionId,
    ) -> Result<Vec<i64>, StoreError> {
        let named = lease_of(operation, session)?;
        Ok(self.with(session, named, |held| {
            held.closing = true;
            held.leases
                .iter_mut()
                .map(|lease| {
                    lease.stream = None;
                    lease.id
                })
                .collect()
        }))
    }

    /// The session is over; what it lived by.
    pub(crate) fn forget(&self, session: &SessionId) -> Vec<i64> {
        let held = lock(&self.0).remove(session);
        let leases = held.into_iter().flat_map(|held| held.leases);
        leases.map(|lease| lease.id).collect()
    }

    /// Forgets sessions that ended without being closed.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        lock(&self.0).retain(|_, held| {
            let streams = held.leases.iter().filter_map(|lease| lease.stream.as_ref());
            let mut over = streams.map(|stream| stream.over);
            over.all(|over| over > now)
        });
    }
}

/// A request under way that may attach an entry to a lease.
pub(crate) struct Entering<'a> {
    leases: &'a Leases,
    session: SessionId,
    /// The lease.
    pub(crate) lease: i64,
    settled: bool,
}

impl Entering<'_> {
    /// It is known what became of it.
    pub(crate) fn settled(mut self) {
        self.settled = true;
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        self.leases.known(&self.session, self.lease, |lease| {
            lease.entering = lease.entering.saturating_sub(1);
            if !self.settled {
                lease.unsure = Some(Instant::now());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionId {
        SessionId::new("a")
    }

    fn opened() -> Leases {
        let leases = Leases::default();
        leases.opened(&session(), 10, 3);
        leases
    }

    fn of(leases: &Leases) -> Vec<i64> {
        leases.of("test", &session()).expect("a lease")
    }

    #[test]
    fn a_session_of_somebody_else_has_the_lease_of_its_name() {
        let leases = Leases::default();
        assert_eq!(of(&leases), [10]);
        assert!(leases.of("test", &SessionId::new("no lease")).is_err());
        assert!(!leases.saw(&session(), 7), "its first term is that of its lease");
        assert!(leases.saw(&session(), 8));
    }

    fn moves(leases: &Leases) -> (i64, i64, bool) {
        match leases.next(&session()) {
            Next::Move { from, to, all, .. } => (from, to, all),
            next => panic!("{next:?}"),
        }
    }

    #[test]
    fn a_later_term_has_the_entries_moved_once_to_a_new_lease() {
        let leases = opened();
        leases
            .entering("test", &session(), "e/a")
            .expect("known")
            .settled();
        leases
            .entering("test", &session(), "e/b")
            .expect("known")
            .settled();
        leases.left(&session(), "e/a", 7);
        leases.made(&session(), "e/b", 8);
        leases.left(&session(), "e/b", 8);
        assert!(!leases.saw(&session(), 3));
        assert!(!leases.saw(&session(), 2), "an answer that was late");
        assert!(leases.saw(&session(), 4));
        assert!(!leases.saw(&session(), 4), "somebody does already");
        assert_eq!(leases.next(&session()), Next::Grant);
        assert!(leases.granted(&session(), 11, 4));
        assert_eq!(of(&leases), [10, 11], "both are renewed");
        let (keys, from, to, all) = (vec!["e/a".to_owned()], 10, 11, true);
        assert_eq!(leases.next(&session()), Next::Move { keys, from, to, all });
        leases.moved(&session(), 10);
        assert_eq!((of(&leases), leases.next(&session())), (vec![11], Next::Rest));
        leases.rest(&session());
        assert!(!leases.saw(&session(), 4));
        assert!(leases.saw(&session(), 5));
    }

    #[test]
    fn an_old_lease_stays_while_entries_may_still_turn_up_on_it() {
        let leases = opened();
        let under_way = leases.entering("test", &session(), "e/a").expect("known");
        let given_up = leases.entering("test", &session(), "e/b").expect("known");
        assert!(leases.saw(&session(), 4));
        assert!(leases.granted(&session(), 11, 4));
        assert_eq!(moves(&leases), (10, 11, false));
        under_way.settled();
        assert_eq!(moves(&leases), (10, 11, false));
        drop(given_up);
        assert_eq!(moves(&leases), (10, 11, false), "it may be applied late");
        leases.rest(&session());
        assert!(leases.saw(&session(), 4), "tried again with the next renewal");
        leases.known(&session(), 10, |lease| {
            lease.unsure = Instant::now().checked_sub(UNSURE);
        });
        assert_eq!(moves(&leases), (10, 11, true));
        let later = leases.entering("test", &session(), "e/c").expect("known");
        assert_eq!(later.lease, 11);
    }

    #[test]
    fn a_term_after_the_next_one_has_all_moved_to_the_newest() {
        let leases = opened();
        assert!(leases.saw(&session(), 4));
        assert!(leases.granted(&session(), 11, 4));
        assert!(!leases.saw(&session(), 5));
        assert_eq!(leases.next(&session()), Next::Grant);
        assert!(leases.granted(&session(), 12, 5));
        assert_eq!(moves(&leases), (10, 12, true));
        leases.moved(&session(), 10);
        assert_eq!(moves(&leases), (11, 12, true));
        leases.moved(&session(), 11);
        assert_eq!((of(&leases), leases.next(&session())), (vec![12], Next::Rest));
    }

    #[test]
    fn a_session_that_is_closed_gets_no_lease_that_nobody_would_revoke() {
        let leases = opened();
        assert!(leases.saw(&session(), 4));
        assert_eq!(leases.closing("test", &session()).expect("a lease"), [10]);
        assert_eq!(leases.next(&session()), Next::Rest);
        assert!(!leases.granted(&session(), 11, 4));
        assert_eq!(leases.forget(&session()), [10]);
        assert!(!leases.granted(&session(), 12, 4));
    }
}
