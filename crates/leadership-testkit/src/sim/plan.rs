//! What a run is made of, all of it drawn from one seed: processes with clocks of their own, and incidents.
//!
//! A plan can be printed, changed and run again: the shrinker drops incidents from it one by one.

use std::fmt;
use std::time::Duration;

use super::random::Random;

/// The session's TTL in a simulation; the other durations are in their usual proportion to it.
pub const TTL: Duration = Duration::from_secs(3);

/// How fast a process's clock may go, in millionths of the store's: within what the margin of a tenth covers.
const RATES: std::ops::Range<u64> = 910_000..1_090_000;

/// Nothing begins later than this, and nothing that a run checks depends on what began earlier.
const FAULTS_BEGIN: u64 = 10_000;

/// A run, completely described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it was drawn from; the jitter of ways is still drawn from it when the plan runs.
    pub seed: u64,
    /// The processes that stand in the election.
    pub candidates: Vec<Process>,
    /// The processes that follow it.
    pub followers: Vec<Process>,
    /// What befalls them.
    pub incidents: Vec<Incident>,
    /// Whether everybody is asked all the time who leads, as busy applications do. Asking closes a session whose
    /// deadline has passed, so tasks that notice it by themselves are tried without.
    pub asked_often: bool,
}

/// A process of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// When it comes.
    pub starts: Duration,
    /// How fast its clock goes, in millionths of the store's.
    pub rate: u32,
    /// How long its requests, and replies to them, are under way at least.
    pub latency: Duration,
    /// How much longer they may take.
    pub jitter: Duration,
    /// How much of its delays between tries it leaves out, as [`Config::spread`](leadership_core::Config::spread).
    pub spread: u8,
    /// Whether it works whenever it leads, with [`Candidate::lead`](leadership_core::Candidate::lead).
    pub works: bool,
}

/// What befalls one process, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts, if it is of a kind that lasts.
    pub lasts: Duration,
    /// Whom it befalls.
    pub whom: Whom,
    /// What it is.
    pub kind: Kind,
}

/// Whom an incident befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// This candidate's process.
    Candidate(usize),
    /// This follower's process.
    Follower(usize),
    /// Everybody: it is the store.
    All,
}

/// Kinds of incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Requests and replies are lost.
    Cut,
    /// Replies are lost, requests are applied.
    RepliesLost,
    /// Requests are applied, and answered with an error of unknown outcome.
    AnswersSpoiled,
    /// Requests are refused.
    Refused,
    /// Requests are applied so much later, mostly after they were given up.
    Late(Duration),
    /// Replies and news come so much later.
    SlowReplies(Duration),
    /// Leaving and proclaiming is applied twice, the second time so much later.
    Repeated(Duration),
    /// Streams tell nothing and skip what happened meanwhile.
    StreamsStalled,
    /// Streams end with an error, as after a compaction.
    StreamsBroken,
    /// The process does not run.
    Paused,
    /// The store ends its session before its time.
    SessionRemoved,
    /// Somebody removes the leader's entry.
    HeadRemoved,
    /// It is asked to resign.
    Resigns,
    /// It is stopped, and stands again.
    StopsAndStands,
    /// It proclaims another value.
    Proclaims,
    /// It dies, and another process comes in its place.
    Dies,
}

impl Kind {
    /// Its name, without what it comes with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::RepliesLost => "replies lost",
            Self::AnswersSpoiled => "answers spoiled",
            Self::Refused => "refused",
            Self::Late(_) => "requests late",
            Self::SlowReplies(_) => "replies slow",
            Self::Repeated(_) => "repeated",
            Self::StreamsStalled => "streams stalled",
            Self::StreamsBroken => "streams broken",
            Self::Paused => "paused",
            Self::SessionRemoved => "session removed",
            Self::HeadRemoved => "head removed",
            Self::Resigns => "resigns",
            Self::StopsAndStands => "stops and stands",
            Self::Proclaims => "proclaims",
            Self::Dies => "dies",
        }
    }

    /// How much longer it has effects once it is over.
    fn lingers(self) -> Duration {
        match self {
            Self::Late(by) | Self::SlowReplies(by) | Self::Repeated(by) => by,
            _ => Duration::ZERO,
        }
    }
}

impl Incident {
    /// When it is over, with all its requests and news that are still under way.
    pub fn over(&self) -> Duration {
        self.at + self.lasts + self.kind.lingers()
    }

    fn draw(random: &mut Random, candidates: usize, followers: usize) -> Self {
        let at = random.millis(300..FAULTS_BEGIN);
        let mut lasts = random.millis(50..2_000);
        if random.once_in(3) {
            // Longer than a session lives.
            lasts = random.millis(2_000..8_000);
        }
        let someone = Whom::Candidate(random.below(candidates));
        let everyone = random.once_in(4);
        let anyone = match random.within(0..6) {
            _ if everyone => Whom::All,
            0 => Whom::Follower(random.below(followers)),
            _ => someone,
        };
        let late = random.millis(100..4_000);
        let (kind, whom) = match random.within(0..22) {
            0..=2 => (Kind::Cut, anyone),
            3 => (Kind::RepliesLost, anyone),
            4 => (Kind::AnswersSpoiled, anyone),
            5 => (Kind::Refused, anyone),
            6..=7 => (Kind::Late(late), someone),
            8 => (Kind::SlowReplies(random.millis(100..900)), anyone),
            9 => (Kind::Repeated(late), someone),
            10 => (Kind::StreamsStalled, anyone),
            11 => (Kind::StreamsBroken, anyone),
            12..=14 => (Kind::Paused, if everyone { someone } else { anyone }),
            15 => (Kind::SessionRemoved, someone),
            16 => (Kind::HeadRemoved, Whom::All),
            17..=18 => (Kind::Resigns, if everyone { Whom::All } else { someone }),
            19 => (Kind::StopsAndStands, someone),
            20 => (Kind::Proclaims, someone),
            _ => (Kind::Dies, someone),
        };
        let lasting = matches!(
            kind,
            Kind::Cut
                | Kind::RepliesLost
                | Kind::AnswersSpoiled
                | Kind::Refused
                | Kind::Late(_)
                | Kind::SlowReplies(_)
                | Kind::Repeated(_)
                | Kind::StreamsStalled
                | Kind::Paused
        );
        if !lasting {
            lasts = Duration::ZERO;
        }
        Self {
            at,
            lasts,
            whom,
            kind,
        }
    }
}

impl Process {
    fn draw(random: &mut Random) -> Self {
        Self {
            starts: random.millis(0..500),
            rate: random.within(RATES) as u32,
            latency: random.millis(0..20),
            jitter: random.millis(0..10),
            spread: random.within(0..256) as u8,
            works: random.once_in(2),
        }
    }

    /// The same without anything that is its own: what the shrinker tries.
    pub(super) fn plain(&self) -> Self {
        Self {
            rate: 1_000_000,
            latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            spread: 0,
            works: false,
            ..self.clone()
        }
    }
}

impl Plan {
    /// The plan of a seed: three to seven candidates, one or two followers, and up to a dozen incidents; in one
    /// of four as many resignations besides.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let candidates: Vec<Process> = (0..random.within(3..8))
            .map(|_| Process::draw(&mut random))
            .collect();
        let followers: Vec<Process> = (0..random.within(1..3))
            .map(|_| Process::draw(&mut random))
            .collect();
        let mut incidents: Vec<Incident> = (0..random.within(2..13))
            .map(|_| Incident::draw(&mut random, candidates.len(), followers.len()))
            .collect();
        if random.once_in(4) {
            // The line goes round quickly, so that what comes late meets a later term of the same process.
            incidents.extend((0..random.within(5..15)).map(|_| Incident {
                at: random.millis(500..FAULTS_BEGIN),
                lasts: Duration::ZERO,
                whom: Whom::All,
                kind: Kind::Resigns,
            }));
        }
        incidents.sort_by_key(|incident| incident.at);
        let asked_often = random.once_in(2);
        Self {
            seed,
            candidates,
            followers,
            incidents,
            asked_often,
        }
    }

    /// When everybody has come and all incidents are over.
    pub fn healed(&self) -> Duration {
        let starts = self.candidates.iter().chain(&self.followers).map(|p| p.starts);
        let over = self.incidents.iter().map(Incident::over);
        starts.chain(over).max().unwrap_or_default()
    }

    /// Whether it names no process that it does not have.
    pub(super) fn is_whole(&self) -> bool {
        self.incidents.iter().all(|incident| match incident.whom {
            Whom::Candidate(index) => index < self.candidates.len(),
            Whom::Follower(index) => index < self.followers.len(),
            Whom::All => true,
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let often = if self.asked_often {
            "all the time"
        } else {
            "rarely"
        };
        writeln!(f, "seed {}, asked {often}", self.seed)?;
        for (kind, processes) in [("candidate", &self.candidates), ("follower", &self.followers)] {
            for (index, process) in processes.iter().enumerate() {
                let Process {
                    starts,
                    rate,
                    latency,
                    jitter,
                    spread,
                    works,
                } = process;
                write!(f, "  {kind} {index}: comes at {starts:?}, clock {rate} ppm, ")?;
                write!(f, "latency {latency:?} + {jitter:?}, spread {spread}")?;
                writeln!(f, "{}", if *works { ", works" } else { "" })?;
            }
        }
        for incident in &self.incidents {
            writeln!(f, "  {incident}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = match self.whom {
            Whom::Candidate(index) => format!("candidate {index}"),
            Whom::Follower(index) => format!("follower {index}"),
            Whom::All => "all".to_owned(),
        };
        write!(f, "at {:?} {whom}: {}", self.at, self.kind.name())?;
        match self.kind.lingers() {
            Duration::ZERO => {}
            by => write!(f, " by {by:?}")?,
        }
        if self.lasts.is_zero() {
            Ok(())
        } else {
            write!(f, " for {:?}", self.lasts)
        }
    }
}
