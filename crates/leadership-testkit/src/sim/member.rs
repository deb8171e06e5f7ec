//! The processes of a run: what each has of its own, and what its application does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use leadership_core::{Config, DynStore, Elections, Error, Term};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::checker::Checker;
use super::clock::DriftingClock;
use super::plan::{Incident, Kind, Process, TTL};
use super::store::{Conditions, FaultyStore};

/// The election that everybody stands in.
pub(super) const ELECTION: &str = "simulated";

/// A process: its clock, its way to the store, its part in the elections.
pub(super) struct Member {
    pub(super) process: Process,
    pub(super) name: Arc<str>,
    /// Its number at the checker.
    pub(super) id: usize,
    pub(super) clock: Arc<DriftingClock>,
    pub(super) way: FaultyStore,
    pub(super) elections: Elections,
    pub(super) paused: bool,
    /// What its application is doing.
    tasks: Vec<JoinHandle<()>>,
}

impl Member {
    pub(super) fn new(
        process: Process,
        name: &str,
        seed: u64,
        store: DynStore,
        checker: &Arc<Checker>,
    ) -> Result<Self, Error> {
        let clock = Arc::new(DriftingClock::new(process.rate));
        let name: Arc<str> = name.into();
        let (onlooker, shown) = (checker.clone(), name.clone());
        let way = FaultyStore::watched(store, seed, move |passing| onlooker.passing(&shown, passing));
        let config = Config::with_ttl(TTL).clock(clock.clone()).spread(process.spread);
        let elections = Elections::new(Arc::new(way.clone()), config)?;
        let id = checker.admit(name.clone());
        checker.note(&name, "comes");
        Ok(Self {
            process,
            name,
            id,
            clock,
            way,
            elections,
            paused: false,
            tasks: Vec::new(),
        })
    }

    /// Its way is as the incidents that go on make it.
    pub(super) fn feel(&mut self, incidents: &[&Incident], checker: &Checker) {
        let mut conditions = Conditions {
            there: self.process.latency,
            back: self.process.latency,
            jitter: self.process.jitter,
            ..Conditions::default()
        };
        for incident in incidents {
            match incident.kind {
                Kind::Cut => conditions.requests_lost = true,
                Kind::RepliesLost => conditions.replies_lost = true,
                Kind::AnswersSpoiled => conditions.answers_spoiled = true,
                Kind::Refused => conditions.refused = true,
                Kind::Late(by) => conditions.there = conditions.there.max(by),
                Kind::SlowReplies(by) => conditions.back = conditions.back.max(by),
                Kind::Repeated(by) => conditions.repeated_after = Some(by),
                Kind::StreamsStalled => conditions.streams_stalled = true,
                Kind::Paused => conditions.paused = true,
                _ => {}
            }
        }
        if conditions.paused != self.paused {
            self.paused = conditions.paused;
            if self.paused {
                self.clock.pause();
            } else {
                self.clock.resume();
            }
            checker.set_paused(self.id, self.paused);
            // The first instruction after a pause is a look at who leads.
            checker.look();
        }
        self.way.set(conditions);
    }

    /// Stands in the election, and works if it is one that does.
    pub(super) fn stand(&mut self, checker: &Arc<Checker>) {
        self.tasks.push(tokio::spawn(self.standing(checker).stand()));
    }

    fn standing(&self, checker: &Arc<Checker>) -> Standing {
        Standing {
            elections: self.elections.clone(),
            checker: checker.clone(),
            name: self.name.clone(),
            id: self.id,
            works: self.process.works,
        }
    }

    /// Stops, and stands again.
    pub(super) fn stop_and_stand(&mut self, checker: &Arc<Checker>) {
        let Some(candidate) = checker.candidate(self.id) else {
            return;
        };
        let standing = self.standing(checker);
        self.tasks.push(tokio::spawn(async move {
            candidate.stop().await;
            drop(candidate);
            standing.stand().await;
        }));
    }

    pub(super) fn resign(&mut self, checker: &Checker) {
        if let Some(candidate) = checker.candidate(self.id) {
            // Whoever does not lead has nothing to resign.
            let resigning = async move { drop(candidate.resign().await) };
            self.tasks.push(tokio::spawn(resigning));
        }
    }

    pub(super) fn proclaim(&mut self, at: Duration, checker: &Checker) {
        if let Some(candidate) = checker.candidate(self.id) {
            let value = format!("{}.{}", self.name, at.as_millis());
            // It may be stopped before the store has it.
            let proclaiming = async move { drop(candidate.proclaim(value).await) };
            self.tasks.push(tokio::spawn(proclaiming));
        }
    }

    /// Gives everything up that its application holds. The library lets go in the background, as far as the way
    /// to the store permits.
    pub(super) fn let_go(mut self, checker: &Checker) {
        self.end_tasks();
        self.clock.resume();
        checker.attach(self.id, None);
    }

    /// Dies: nothing of it reaches the store any more.
    pub(super) fn die(self, checker: &Checker) {
        self.way.set(Conditions {
            requests_lost: true,
            ..Conditions::default()
        });
        checker.set_paused(self.id, false);
        self.let_go(checker);
    }

    pub(super) fn end_tasks(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

/// What it takes to stand, again and again.
struct Standing {
    elections: Elections,
    checker: Arc<Checker>,
    name: Arc<str>,
    id: usize,
    works: bool,
}

impl Standing {
    async fn stand(self) {
        // Closed or standing already: there is nothing to do.
        let Ok(candidate) = self.elections.stand(ELECTION, self.name.as_bytes()) else {
            return;
        };
        let Self { checker, id, .. } = self;
        // The elections are held by the process alone, so that they end with it.
        drop(self.elections);
        let mut events = candidate.events();
        checker.attach(id, Some(candidate.clone()));
        let onlooker = checker.clone();
        let telling = async move {
            while let Some(event) = events.next().await {
                onlooker.event(id, &event);
            }
        };
        let working = async move {
            if self.works {
                let lead = || candidate.lead(|term| work(checker.clone(), id, term));
                while !matches!(lead().await, Err(Error::Stopped(_))) {}
            }
        };
        futures_util::future::join(telling, working).await;
    }
}

/// Works until it is asked to end, and a little longer.
async fn work(checker: Arc<Checker>, id: usize, term: Term) {
    let ending = async {
        term.ending().await;
        sleep(TTL / 20).await;
    };
    let working = async {
        loop {
            checker.works(id, &term);
            sleep(TTL / 30).await;
        }
    };
    tokio::select! {
        biased;
        () = ending => {}
        () = working => {}
    }
}
