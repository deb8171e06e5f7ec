//! What happened in a run, by one clock: what the checker judges and the report draws.

use std::fmt;
use std::time::Duration;

use super::faults::Kind;

/// A run. All times are since its start, by the clock that the processes of a machine share and that goes on in
/// suspend (`CLOCK_BOOTTIME`).
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Everything but the work, in the order in which it was noticed.
    pub entries: Vec<Entry>,
    /// What was done by leaders, each with its token, in the order of their first writes.
    pub works: Vec<Work>,
    /// What befell whom.
    pub faults: Vec<Fault>,
    /// Who stood in line when all faults were over and some time had passed.
    pub line: Vec<String>,
    /// Who was left in line when everybody had been stopped.
    pub left: Vec<String>,
    /// When everybody was told to end.
    pub over: Duration,
    /// How long the run took until everybody had ended.
    pub took: Duration,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was noticed.
    pub at: Duration,
    /// What.
    pub what: Change,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A candidate's process began.
    Started {
        /// The candidate.
        candidate: String,
        /// The process.
        pid: u32,
    },
    /// A candidate's process ended.
    Exited {
        /// The candidate.
        candidate: String,
        /// Its exit code or signal.
        how: String,
    },
    /// A candidate says that it was elected.
    Elected {
        /// The candidate.
        candidate: String,
        /// The token of the term.
        token: u64,
    },
    /// A candidate says that its term has ended.
    Ended {
        /// The candidate.
        candidate: String,
        /// The token of the term.
        token: u64,
        /// Why.
        reason: String,
    },
    /// A follower says who leads.
    Saw {
        /// The follower.
        follower: String,
        /// What it says.
        sight: Sight,
    },
    /// A fault began; its number among the faults.
    FaultBegan(usize),
    /// A fault is over, with the servers healthy again if they were hurt.
    FaultOver(usize),
}

/// What a follower says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// This one leads.
    Leader {
        /// Its value.
        name: String,
        /// Its token, where others can read it.
        token: Option<u64>,
    },
    /// Nobody leads.
    Nobody,
    /// It cannot say.
    Unreachable(String),
}

/// The work of one leader in one term, as the guarded resource saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Whose.
    pub candidate: String,
    /// In the term of this token.
    pub token: u64,
    /// What it wrote, in the order of sending; never empty.
    pub writes: Vec<Write>,
}

/// A write that reached the guarded resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// When the writer sent it.
    pub sent: Duration,
    /// When the resource had it.
    pub arrived: Duration,
    /// Whether the resource took it: no greater token had come before.
    pub accepted: bool,
}

impl Work {
    /// When it began.
    pub fn first(&self) -> Duration {
        self.writes.first().map_or(Duration::ZERO, |write| write.sent)
    }

    /// When the last write was sent that the resource took; of work that was refused throughout, its beginning.
    pub fn last(&self) -> Duration {
        let accepted = self.writes.iter().rev().find(|write| write.accepted);
        accepted.map_or_else(|| self.first(), |write| write.sent)
    }

    /// Its writes that were refused.
    pub fn refused(&self) -> impl Iterator<Item = Duration> + '_ {
        self.writes
            .iter()
            .filter(|write| !write.accepted)
            .map(|write| write.sent)
    }
}

/// A fault as it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub kind: Kind,
    /// The candidate that it befell, if it is not the store.
    pub candidate: Option<String>,
    /// In words, with whom it befell and for how long.
    pub what: String,
    /// When it began.
    pub began: Duration,
    /// When it was over. Still `None` means that the run ended before.
    pub over: Option<Duration>,
}

impl Fault {
    /// When it was over, or the end of all time.
    pub fn end(&self) -> Duration {
        self.over.unwrap_or(Duration::MAX)
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader {
                name,
                token: Some(token),
            } => write!(f, "{name} leads with token {token}"),
            Self::Leader { name, token: None } => write!(f, "{name} leads"),
            Self::Nobody => write!(f, "nobody leads"),
            Self::Unreachable(error) => write!(f, "cannot say: {error}"),
        }
    }
}

impl History {
    /// Everything as lines of text, in the order of time.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<(Duration, String)> = Vec::new();
        for entry in &self.entries {
            let what = match &entry.what {
                Change::Started { candidate, pid } => format!("{candidate} starts as process {pid}"),
                Change::Exited { candidate, how } => format!("{candidate} ended: {how}"),
                Change::Elected { candidate, token } => format!("{candidate} is elected, token {token}"),
                Change::Ended {
                    candidate,
                    token,
                    reason,
                } => format!("{candidate}'s term {token} ended: {reason}"),
                Change::Saw { follower, sight } => format!("{follower}: {sight}"),
                Change::FaultBegan(index) => format!("FAULT {}", self.faults[*index].what),
                Change::FaultOver(index) => format!("over: {}", self.faults[*index].what),
            };
            lines.push((entry.at, what));
        }
        for work in &self.works {
            let (who, token) = (&work.candidate, work.token);
            lines.push((work.first(), format!("{who} works with token {token}")));
            let refused = work.refused().count();
            let refused = if refused == 0 {
                String::new()
            } else {
                format!(", then {refused} writes were refused")
            };
            let end = format!("{who}'s last write with token {token}{refused}");
            lines.push((work.last(), end));
        }
        lines.sort();
        lines
            .into_iter()
            .map(|(at, what)| format!("{:>9.3} s  {what}", at.as_secs_f64()))
            .collect()
    }
}
