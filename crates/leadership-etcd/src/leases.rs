//! Which leases a session lives by: one, named as the session is, until etcd elects another leader; then the entries
//! move to a new lease.
//!
//! A leader of etcd that was frozen, or that waited for its disk, believes for a moment that it still leads, finds
//! that leases have expired which were renewed elsewhere meanwhile, and has them revoked
//! (etcd-io/etcd#15247, #12528; the check that 3.5.13 makes before does not always see it). It can name only leases that
//! it knows. So as soon as an answer tells of a later term, the session gets a lease that no earlier leader knows of,
//! every entry is moved to it, and the old lease is revoked.
//!
//! While there are two, both are renewed, and the session is over when either is. A new one gets no entry before it was
//! renewed once: a renewal of the session that did not include it was sent before that, so what it promised holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leadership_core::{SessionId, StoreError};

use crate::client::lock;
use crate::line::lease_of;
use crate::session::KeepAlive;

/// How long a request whose outcome is unknown may still make an entry, which nobody would look for on an old lease.
const UNSURE: Duration = Duration::from_secs(10);
/// A session whose entries cannot be moved, term after term, gets no more than these.
const LEASES_MAX: usize = 3;
/// How long what a session lived by is remembered after it was to be over.
const SLACK: Duration = Duration::from_secs(60);

/// The leases of all sessions of a store.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    sessions: Arc<Mutex<HashMap<SessionId, Held>>>,
    /// The latest term that any answer told of.
    term: Arc<AtomicU64>,
}

/// What a session has.
struct Held {
    /// The newest one is the last.
    leases: Vec<Lease>,
    /// Every key that may be an entry of it, with the entry's create revision; 0 if that is not known yet.
    keys: HashMap<String, u64>,
    /// No leader of etcd before this term knows the newest lease; 0 if nobody can say.
    granted: u64,
    /// The latest term that an answer to its renewals told of.
    seen: u64,
    /// Whether entries are being moved.
    moving: bool,
    /// Whether it is being closed: it gets no new lease.
    closing: bool,
    /// When it is over unless it is renewed.
    over: Instant,
}

struct Lease {
    id: i64,
    /// Whether entries may be on it: it was renewed once since it is known here.
    ready: bool,
    /// Its keep-alive stream, while it is not in use.
    stream: Option<KeepAlive>,
    /// How many requests under way may attach an entry to it.
    entering: usize,
    /// When such a request ended, the last time that it was not known how.
    unsure: Option<Instant>,
}

impl Lease {
    fn new(id: i64, ready: bool) -> Self {
        Self {
            id,
            ready,
            stream: None,
            entering: 0,
            unsure: None,
        }
    }

    fn may_get_entries(&self) -> bool {
        self.entering > 0 || self.unsure.is_some_and(|since| since.elapsed() < UNSURE)
    }
}

impl Held {
    fn new(lease: i64, granted: u64, ttl: Duration) -> Self {
        Self {
            leases: vec![Lease::new(lease, true)],
            keys: HashMap::new(),
            granted,
            seen: granted,
            moving: false,
            closing: false,
            over: Instant::now() + ttl,
        }
    }

    /// The newest lease that entries may be on; a session always has one.
    fn newest(&mut self) -> Option<&mut Lease> {
        self.leases.iter_mut().rev().find(|lease| lease.ready)
    }
}

/// What is to be done about a session whose entries should be on another lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It needs a new lease, because of this term.
    Grant(u64),
    /// Its new lease is to be renewed once.
    Renew(i64),
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
    /// The latest term that was told; 0 if none was.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// A lease was granted to a new session. `before` is the latest term that was told before it was asked for, `term`
    /// that of the answer, which may be later than that of the leader who granted it.
    pub(crate) fn opened(&self, session: &SessionId, lease: i64, before: u64, term: u64, ttl: Duration) {
        self.term.fetch_max(term, Ordering::Relaxed);
        let granted = if before == 0 { term } else { before.min(term) };
        lock(&self.sessions).insert(session.clone(), Held::new(lease, granted, ttl));
    }

    /// What a session lives by. A session that this store has not opened has the lease of its name.
    pub(crate) fn of(&self, operation: &'static str, session: &SessionId) -> Result<Vec<i64>, StoreError> {
        let named = lease_of(operation, session)?;
        Ok(self.with(session, named, |held| {
            held.leases.iter().map(|lease| lease.id).collect()
        }))
    }

    fn with<T>(&self, session: &SessionId, named: i64, then: impl FnOnce(&mut Held) -> T) -> T {
        let mut all = lock(&self.sessions);
        let held = all
            .entry(session.clone())
            .or_insert_with(|| Held::new(named, 0, Duration::ZERO));
        then(held)
    }

    /// Whether a session is known that does not need this lease: it lives by another one, or has not begun to live by
    /// this one.
    pub(crate) fn can_do_without(&self, session: &SessionId, lease: i64) -> bool {
        let all = lock(&self.sessions);
        all.get(session).is_some_and(|held| {
            let mut needed = held.leases.iter().filter(|held| held.ready);
            needed.all(|held| held.id != lease)
        })
    }

    /// A renewal was told that there is no such lease. Whether the session goes on without it: it lives by another one,
    /// or by this one not yet. Then it never will, because this renewal counts and has not renewed it.
    pub(crate) fn goes_on_without(&self, session: &SessionId, lease: i64) -> bool {
        let goes_on = self.can_do_without(session, lease);
        if goes_on && self.known(session, lease, |_| ()).is_some() {
            self.abandon(session, lease);
        }
        goes_on
    }

    fn known<T>(&self, session: &SessionId, lease: i64, then: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let mut all = lock(&self.sessions);
        let leases = &mut all.get_mut(session)?.leases;
        leases.iter_mut().find(|held| held.id == lease).map(then)
    }

    /// Takes the keep-alive stream of a lease out, to use it.
    pub(crate) fn take_stream(&self, session: &SessionId, lease: i64) -> Option<KeepAlive> {
        self.known(session, lease, |lease| lease.stream.take())?
    }

    /// Puts it back; dropped if the session lives by another lease now.
    pub(crate) fn keep_stream(&self, session: &SessionId, lease: i64, stream: KeepAlive) {
        self.known(session, lease, |lease| lease.stream = Some(stream));
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
            held.keys.entry(key.to_owned()).or_insert(0);
            let newest = held.newest()?;
            newest.entering += 1;
            Some(newest.id)
        });
        Ok(Entering {
            leases: self,
            session: session.clone(),
            lease: lease.unwrap_or(named),
            known: false,
        })
    }

    /// There is an entry under this key, made at this revision.
    pub(crate) fn made(&self, session: &SessionId, key: &str, revision: u64) {
        if let Some(held) = lock(&self.sessions).get_mut(session) {
            held.keys.insert(key.to_owned(), revision);
        }
    }

    /// That entry is gone; not one that was made later, or may be.
    pub(crate) fn left(&self, session: &SessionId, key: &str, revision: u64) {
        if let Some(held) = lock(&self.sessions).get_mut(session)
            && held.keys.get(key) == Some(&revision)
            && !held.leases.iter().any(Lease::may_get_entries)
        {
            held.keys.remove(key);
        }
    }

    /// A session was renewed, by an answer in this term; 0 if it does not tell. Whether to begin to move the session's
    /// entries, which nobody else does then.
    pub(crate) fn renewed(&self, session: &SessionId, term: u64, ttl: Duration) -> bool {
        self.term.fetch_max(term, Ordering::Relaxed);
        let mut all = lock(&self.sessions);
        let Some(held) = all.get_mut(session) else {
            return false;
        };
        held.over = Instant::now() + ttl;
        // Of a session that somebody else opened, the first term that is told counts for that of its lease.
        if held.granted == 0 {
            held.granted = term;
        }
        held.seen = held.seen.max(term);
        let wants = held.seen > held.granted || held.leases.len() > 1;
        let moves = wants && !held.moving && !held.closing;
        held.moving |= moves;
        moves
    }

    /// What is next for a session whose entries are being moved.
    pub(crate) fn next(&self, session: &SessionId) -> Next {
        let mut all = lock(&self.sessions);
        let Some(held) = all.get_mut(session).filter(|held| held.moving && !held.closing) else {
            return Next::Rest;
        };
        match &held.leases[..] {
            [.., new] if !new.ready => Next::Renew(new.id),
            leases if held.seen > held.granted && leases.len() < LEASES_MAX => Next::Grant(held.seen),
            [old, .., new] => Next::Move {
                keys: held.keys.keys().cloned().collect(),
                from: old.id,
                to: new.id,
                all: !old.may_get_entries(),
            },
            _ => Next::Rest,
        }
    }

    /// A session got a new lease, asked for because of this term: somebody leads in it or later, so no earlier leader
    /// can have granted it. Whether the session can have it.
    pub(crate) fn granted(&self, session: &SessionId, lease: i64, term: u64) -> bool {
        let mut all = lock(&self.sessions);
        let Some(held) = all.get_mut(session).filter(|held| held.moving && !held.closing) else {
            return false;
        };
        held.leases.push(Lease::new(lease, false));
        held.granted = term;
        true
    }

    /// Entries may be on a new lease, which has been renewed.
    pub(crate) fn ready(&self, session: &SessionId, lease: i64) {
        self.known(session, lease, |lease| lease.ready = true);
    }

    /// No entry is on this lease any more, nor will be.
    pub(crate) fn drop_lease(&self, session: &SessionId, lease: i64) {
        if let Some(held) = lock(&self.sessions).get_mut(session) {
            held.leases.retain(|held| held.id != lease);
        }
    }

    /// A new lease is not to be used; another one is tried.
    pub(crate) fn abandon(&self, session: &SessionId, lease: i64) {
        self.drop_lease(session, lease);
        if let Some(held) = lock(&self.sessions).get_mut(session) {
            held.granted = held.granted.min(held.seen.saturating_sub(1));
        }
    }

    /// Nobody moves the session's entries any more.
    pub(crate) fn rest(&self, session: &SessionId) {
        if let Some(held) = lock(&self.sessions).get_mut(session) {
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

    /// The session is over.
    pub(crate) fn forget(&self, session: &SessionId) {
        lock(&self.sessions).remove(session);
    }

    /// Forgets sessions that ended without being closed: first their streams, and some time later what they lived by.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        lock(&self.sessions).retain(|_, held| {
            if held.over < now {
                held.leases.iter_mut().for_each(|lease| lease.stream = None);
            }
            held.over + SLACK > now || held.leases.iter().any(Lease::may_get_entries)
        });
    }
}

/// A request under way that may attach an entry to a lease.
pub(crate) struct Entering<'a> {
    leases: &'a Leases,
    session: SessionId,
    /// The lease.
    pub(crate) lease: i64,
    /// Whether it is known what became of it.
    known: bool,
}

impl Entering<'_> {
    /// It was answered.
    pub(crate) fn settled(mut self) {
        self.known = true;
    }

    /// It was refused, and made no entry.
    pub(crate) fn refused(self, key: &str) {
        let (leases, session) = (self.leases, self.session.clone());
        self.settled();
        leases.left(&session, key, 0);
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        self.leases.known(&self.session, self.lease, |lease| {
            lease.entering = lease.entering.saturating_sub(1);
            if !self.known {
                lease.unsure = Some(Instant::now());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(9);

    fn session() -> SessionId {
        SessionId::new("a")
    }

    fn opened() -> Leases {
        let leases = Leases::default();
        leases.opened(&session(), 10, 0, 3, TTL);
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
        assert!(
            !leases.renewed(&session(), 7, TTL),
            "its first term is that of its lease"
        );
        assert!(leases.renewed(&session(), 8, TTL));
    }

    /// Which lease an entry would be on.
    fn entering(leases: &Leases) -> i64 {
        let entering = leases.entering("test", &session(), "e/x").expect("known");
        let lease = entering.lease;
        entering.refused("e/x");
        lease
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
        assert!(!leases.renewed(&session(), 3, TTL));
        assert!(!leases.renewed(&session(), 2, TTL), "an answer that was late");
        assert!(leases.renewed(&session(), 4, TTL));
        assert!(!leases.renewed(&session(), 4, TTL), "somebody does already");
        assert_eq!(leases.next(&session()), Next::Grant(4));
        assert!(leases.granted(&session(), 11, 4));
        assert_eq!(of(&leases), [10, 11], "both are renewed");
        assert_eq!(leases.next(&session()), Next::Renew(11));
        assert!(leases.can_do_without(&session(), 11) && !leases.can_do_without(&session(), 10));
        assert_eq!(entering(&leases), 10, "not before it was renewed");
        leases.ready(&session(), 11);
        assert!(!leases.can_do_without(&session(), 11));
        assert_eq!(entering(&leases), 11);
        let (keys, from, to, all) = (vec!["e/a".to_owned()], 10, 11, true);
        assert_eq!(leases.next(&session()), Next::Move { keys, from, to, all });
        leases.drop_lease(&session(), 10);
        assert_eq!((of(&leases), leases.next(&session())), (vec![11], Next::Rest));
        leases.rest(&session());
        assert!(!leases.renewed(&session(), 4, TTL));
        assert!(leases.renewed(&session(), 5, TTL));
    }

    #[test]
    fn an_old_lease_stays_while_entries_may_still_turn_up_on_it() {
        let leases = opened();
        let under_way = leases.entering("test", &session(), "e/a").expect("known");
        let given_up = leases.entering("test", &session(), "e/b").expect("known");
        assert!(leases.renewed(&session(), 4, TTL));
        assert!(leases.granted(&session(), 11, 4));
        leases.ready(&session(), 11);
        assert_eq!(moves(&leases), (10, 11, false));
        under_way.settled();
        assert_eq!(moves(&leases), (10, 11, false));
        drop(given_up);
        assert_eq!(moves(&leases), (10, 11, false), "it may be applied late");
        leases.rest(&session());
        assert!(
            leases.renewed(&session(), 4, TTL),
            "tried again with the next renewal"
        );
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
        assert!(leases.renewed(&session(), 4, TTL));
        assert!(leases.granted(&session(), 11, 4));
        assert!(!leases.renewed(&session(), 5, TTL));
        leases.ready(&session(), 11);
        assert_eq!(leases.next(&session()), Next::Grant(5));
        assert!(leases.granted(&session(), 12, 5));
        leases.ready(&session(), 12);
        assert!(!leases.renewed(&session(), 6, TTL));
        assert_eq!(moves(&leases), (10, 12, true), "three are enough");
        assert_eq!(moves(&leases), (10, 12, true));
        leases.drop_lease(&session(), 10);
        assert_eq!(leases.next(&session()), Next::Grant(6));
        assert!(leases.granted(&session(), 13, 6));
        leases.ready(&session(), 13);
        assert_eq!(moves(&leases), (11, 13, true));
        leases.drop_lease(&session(), 11);
        leases.drop_lease(&session(), 12);
        assert_eq!((of(&leases), leases.next(&session())), (vec![13], Next::Rest));
    }

    #[test]
    fn a_session_that_is_closed_gets_no_lease_that_nobody_would_revoke() {
        let leases = opened();
        assert!(leases.renewed(&session(), 4, TTL));
        assert_eq!(leases.closing("test", &session()).expect("a lease"), [10]);
        assert_eq!(leases.next(&session()), Next::Rest);
        assert!(!leases.granted(&session(), 11, 4));
        leases.forget(&session());
        assert!(!leases.granted(&session(), 12, 4));
        // Somebody asks about it late; the one who was moving its entries must not give it a lease either.
        assert_eq!(of(&leases), [10]);
        assert!(!leases.granted(&session(), 13, 4));
    }

    #[test]
    fn a_new_lease_that_cannot_be_renewed_is_tried_again() {
        let leases = opened();
        assert!(leases.renewed(&session(), 4, TTL));
        assert!(leases.granted(&session(), 11, 4));
        leases.abandon(&session(), 11);
        leases.rest(&session());
        assert_eq!(of(&leases), [10]);
        assert!(leases.renewed(&session(), 4, TTL));
        assert_eq!(leases.next(&session()), Next::Grant(4));
    }

    #[test]
    fn a_new_lease_that_a_renewal_did_not_find_gets_no_entries() {
        let leases = opened();
        assert!(leases.renewed(&session(), 4, TTL));
        assert!(leases.granted(&session(), 11, 4));
        assert!(leases.goes_on_without(&session(), 11));
        // Whoever moves the entries has renewed it before, and hears of that only now.
        leases.ready(&session(), 11);
        assert_eq!((of(&leases), entering(&leases)), (vec![10], 10));
        assert_eq!(leases.next(&session()), Next::Grant(4));
        assert!(
            !leases.goes_on_without(&session(), 10),
            "the session ends with this one"
        );
        assert!(
            !leases.goes_on_without(&SessionId::new("b"), 11),
            "nobody knows it"
        );
    }

    #[test]
    fn an_answer_that_is_late_does_not_hide_who_granted_the_lease() {
        let leases = Leases::default();
        leases.opened(&SessionId::new("b"), 11, 0, 3, TTL);
        assert_eq!(leases.term(), 3);
        // Granted by the leader of term 3, answered when there was one of term 4.
        leases.opened(&session(), 10, 3, 4, TTL);
        assert!(leases.renewed(&session(), 4, TTL));
        assert_eq!(leases.next(&session()), Next::Grant(4));
    }

    #[test]
    fn an_entry_that_was_refused_is_moved_nowhere() {
        let leases = opened();
        let refused = leases.entering("test", &session(), "e/a").expect("known");
        refused.refused("e/a");
        leases.made(&session(), "e/c", 7);
        let refused = leases.entering("test", &session(), "e/c").expect("known");
        refused.refused("e/c");
        let given_up = leases.entering("test", &session(), "e/b").expect("known");
        drop(given_up);
        let refused = leases.entering("test", &session(), "e/b").expect("known");
        refused.refused("e/b");
        assert!(leases.renewed(&session(), 4, TTL));
        assert!(leases.granted(&session(), 11, 4));
        leases.ready(&session(), 11);
        let Next::Move { mut keys, .. } = leases.next(&session()) else {
            panic!("nothing to move")
        };
        keys.sort();
        assert_eq!(keys, ["e/b", "e/c"], "one may turn up, one was there before");
    }
}
