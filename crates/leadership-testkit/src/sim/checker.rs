//! Looks at every step of a run whether what the library promises holds, and keeps what happened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use leadership_core::{
    Candidate, Contender, ElectionName, Event, Follower, KvStore, Leader, MemoryStore, Term, Token,
};
use tokio::time::Instant;

use super::store::Passing;

/// How long news may take to reach a process whose way is in order: a delay between tries, and two ways.
pub(super) const NOTICE: Duration = Duration::from_secs(1);

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// At most one term is valid at a time.
    OneValidTerm,
    /// Tokens grow from term to term.
    TokensGrow,
    /// A term that has ended stays ended.
    EndIsFinal,
    /// Work runs only while its term is valid.
    WorkWithinTerm,
    /// A follower whose way is in order sees who leads, or that nobody does.
    FollowersSee,
    /// When faults are over somebody leads.
    SomebodyLeads,
    /// When faults are over everybody is in line, and nobody else.
    LineIsWhole,
    /// Without faults a leader goes on leading.
    LeadersStay,
    /// Resigning, stopping and closing come to an end.
    OrdersEnd,
    /// Who has stopped leaves nothing at the store.
    NothingIsLeft,
}

/// A promise that was broken, when, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// When, in virtual time since the start.
    pub at: Duration,
    /// How it looked.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} broken at {:?}: {}", self.promise, self.at, self.how)
    }
}

/// One thing that happened in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When, in virtual time since the start.
    pub at: Duration,
    /// To whom.
    pub who: Arc<str>,
    /// What.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3}s {:<5} {}", self.at.as_secs_f64(), self.who, self.what)
    }
}

/// One life of a candidate's process.
struct Member {
    name: Arc<str>,
    candidate: Option<Candidate>,
    paused: bool,
}

struct Record {
    term: Term,
    member: usize,
    over: bool,
}

struct Watching {
    name: Arc<str>,
    follower: Follower,
    /// Its way is in order since then; `None` while it is not.
    sound_since: Option<Instant>,
}

/// What is known of a run. Everything in it happens on one thread, so looking takes no time.
pub(super) struct Checker {
    start: Instant,
    memory: MemoryStore,
    election: ElectionName,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    history: Vec<Note>,
    members: Vec<Member>,
    terms: Vec<Record>,
    followers: Vec<Watching>,
    /// Terms whose entry or session somebody removed, and until when they may go on in spite of it.
    excused: BTreeMap<Token, Instant>,
    highest: Option<Token>,
    truth: Option<(Option<Leader>, Instant)>,
    violation: Option<Violation>,
    steps: u64,
    requests: u64,
}

impl Checker {
    pub(super) fn new(memory: MemoryStore, election: ElectionName) -> Self {
        Self {
            start: Instant::now(),
            memory,
            election,
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new life of a candidate's process; returns the number by which it is known here.
    pub(super) fn admit(&self, name: Arc<str>) -> usize {
        let mut inner = self.inner();
        inner.members.push(Member {
            name,
            candidate: None,
            paused: false,
        });
        inner.members.len() - 1
    }

    pub(super) fn attach(&self, member: usize, candidate: Option<Candidate>) {
        self.inner().members[member].candidate = candidate;
    }

    pub(super) fn candidate(&self, member: usize) -> Option<Candidate> {
        self.inner().members[member].candidate.clone()
    }

    pub(super) fn set_paused(&self, member: usize, paused: bool) {
        self.inner().members[member].paused = paused;
    }

    pub(super) fn follow(&self, name: Arc<str>, follower: Follower) -> usize {
        let mut inner = self.inner();
        inner.followers.push(Watching {
            name,
            follower,
            sound_since: Some(Instant::now()),
        });
        inner.followers.len() - 1
    }

    /// The follower's way is in order from now on, or is not.
    pub(super) fn set_sound(&self, follower: usize, sound: bool) {
        let since = &mut self.inner().followers[follower].sound_since;
        match sound {
            true if since.is_none() => *since = Some(Instant::now()),
            false => *since = None,
            true => {}
        }
    }

    /// Somebody removed what the term of this token depends on: it may go on until the news of that is there.
    pub(super) fn excuse(&self, token: Token, until: Instant) {
        self.inner().excused.insert(token, until);
    }

    /// What befell `who`.
    pub(super) fn note(&self, who: &Arc<str>, what: impl Into<String>) {
        let at = self.start.elapsed();
        self.inner().history.push(Note {
            at,
            who: who.clone(),
            what: what.into(),
        });
    }

    /// What passed on somebody's way to the store.
    pub(super) fn passing(&self, who: &Arc<str>, passing: Passing) {
        match passing {
            Passing::Applied { operation, outcome } => {
                self.inner().requests += 1;
                self.note(who, format!("{operation} applied: {outcome}"));
            }
            Passing::Answered(operation) => self.note(who, format!("{operation} answered")),
            Passing::Failed(operation) => self.note(who, format!("{operation} failed")),
            Passing::Told { operation, item } => self.note(who, format!("{operation} tells {item}")),
        }
        self.look();
    }

    /// What a candidate says of itself.
    pub(super) fn event(&self, member: usize, event: &Event) {
        let name = self.inner().members[member].name.clone();
        match event {
            Event::Elected(term) => {
                self.note(&name, format!("ELECTED, token {}", term.token()));
                self.elected(member, term);
            }
            Event::Ended { token, reason } => self.note(&name, format!("term {token} ended: {reason}")),
            Event::Ending { token, reason } => self.note(&name, format!("term {token} ends: {reason}")),
            Event::Waiting(ahead) => self.note(&name, format!("waits behind {}", ahead.key)),
            Event::Stopped => self.note(&name, "stopped"),
            _ => {}
        }
        self.look();
    }

    fn elected(&self, member: usize, term: &Term) {
        let mut inner = self.inner();
        let token = term.token();
        let highest = inner.highest;
        if highest.is_some_and(|highest| token <= highest) && !inner.excused.contains_key(&token) {
            let how = format!("token {token} after {highest:?}");
            self.blame(&mut inner, Promise::TokensGrow, how);
        }
        inner.highest = highest.max(Some(token));
        inner.terms.push(Record {
            term: term.clone(),
            member,
            over: false,
        });
    }

    /// A leader's work does a step.
    pub(super) fn works(&self, member: usize, term: &Term) {
        if !term.is_valid() {
            let mut inner = self.inner();
            let how = format!(
                "{} works in term {}, which is over",
                inner.members[member].name,
                term.token()
            );
            self.blame(&mut inner, Promise::WorkWithinTerm, how);
        }
        self.look();
    }

    /// Asks all candidates whether they lead, and all followers who does.
    pub(super) fn look(&self) {
        let now = Instant::now();
        let mut guard = self.inner();
        let inner = &mut *guard;
        inner.steps += 1;
        let mut valid: Vec<(Token, usize)> = Vec::new();
        let mut revived = None;
        for record in &mut inner.terms {
            // Nothing runs in a paused process, so nobody there can ask.
            if inner.members[record.member].paused {
                continue;
            }
            match (record.over, record.term.is_valid()) {
                (true, true) => revived = Some(record.term.token()),
                (_, false) => record.over = true,
                (false, true) => valid.push((record.term.token(), record.member)),
            }
        }
        for (index, member) in inner.members.iter().enumerate() {
            if !member.paused
                && let Some(term) = member.candidate.as_ref().and_then(Candidate::term)
                && valid.iter().all(|(token, _)| *token != term.token())
            {
                valid.push((term.token(), index));
            }
        }
        let excused = &inner.excused;
        valid.retain(|(token, _)| excused.get(token).is_none_or(|until| now >= *until));
        if let Some(token) = revived {
            let how = format!("term {token} was over, and is valid");
            self.blame(inner, Promise::EndIsFinal, how);
        }
        if valid.len() > 1 {
            let terms: Vec<String> = valid
                .iter()
                .map(|(token, member)| format!("{} with token {token}", inner.members[*member].name))
                .collect();
            self.blame(inner, Promise::OneValidTerm, terms.join(" and "));
        }
        self.look_at_followers(inner, now);
    }

    fn look_at_followers(&self, inner: &mut Inner, now: Instant) {
        let line = self.line();
        let leader = line.first().map(|first| Leader {
            value: first.value.clone(),
            token: Some(Token(first.order)),
            key: first.key.clone(),
        });
        match &inner.truth {
            Some((known, _)) if *known == leader => {}
            _ => inner.truth = Some((leader, now)),
        }
        let Some((truth, since)) = &inner.truth else {
            return;
        };
        let mut wrong = None;
        for watching in &inner.followers {
            let sound_for = watching.sound_since.map(|since| now - since);
            if sound_for.is_none_or(|sound| sound < NOTICE) || now - *since < NOTICE {
                continue;
            }
            let view = watching.follower.view();
            if !view.known || view.leader != *truth || view.error.is_some() {
                wrong = Some(format!("{} sees {view:?}, but there is {truth:?}", watching.name));
            }
        }
        if let Some(how) = wrong {
            self.blame(inner, Promise::FollowersSee, how);
        }
    }

    /// Keeps the first violation: what follows from it is of no interest.
    fn blame(&self, inner: &mut Inner, promise: Promise, how: String) {
        let at = self.start.elapsed();
        inner.violation.get_or_insert(Violation { promise, at, how });
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.inner().violation.clone()
    }

    pub(super) fn broken(&self, promise: Promise, how: impl Into<String>) -> Violation {
        let mut inner = self.inner();
        self.blame(&mut inner, promise, how.into());
        let at = self.start.elapsed();
        let how = String::new();
        inner.violation.clone().unwrap_or(Violation { promise, at, how })
    }

    /// The line at the store.
    pub(super) fn line(&self) -> Vec<Contender> {
        // A store in memory answers at once.
        let line = self.memory.contenders(&self.election).now_or_never();
        line.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether all followers see this leader.
    pub(super) fn all_see(&self, term: &Term) -> bool {
        let seen = |watching: &Watching| watching.follower.leader().and_then(|leader| leader.token);
        self.inner()
            .followers
            .iter()
            .all(|watching| seen(watching) == Some(term.token()))
    }

    pub(super) fn all_see_nobody(&self) -> bool {
        let unled = |watching: &Watching| {
            let view = watching.follower.view();
            view.known && view.leader.is_none()
        };
        self.inner().followers.iter().all(unled)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The history, and how many terms there were, requests were applied, and steps looked at.
    pub(super) fn finish(&self) -> (Vec<Note>, usize, u64, u64) {
        let mut inner = self.inner();
        let history = std::mem::take(&mut inner.history);
        (history, inner.terms.len(), inner.requests, inner.steps)
    }
}
