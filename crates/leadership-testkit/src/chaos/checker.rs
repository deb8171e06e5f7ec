//! Judges a history: nobody worked beside another, tokens grew, nobody was without a leader for long, followers
//! knew, and nobody was stuck.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use super::history::{Change, Fault, History, Sight, Work, Write};

/// What a history is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long nobody may work, from the loss of a leader, or from the end of what kept others from leading.
    pub leaderless: Duration,
    /// How long news may take to a follower, and to a leader whose entry or session was removed by hand.
    pub notice: Duration,
    /// How long a program that was frozen as a whole may take to be ended after it goes on. What it sends
    /// meanwhile only the resource can refuse.
    pub thaw: Duration,
}

impl Bounds {
    /// For sessions of this TTL, on a machine with other things to do.
    pub fn of(ttl: Duration) -> Self {
        Self {
            leaderless: ttl + Duration::from_secs(2),
            notice: Duration::from_secs(2),
            thaw: Duration::from_millis(500),
        }
    }
}

/// A stretch in which nobody worked, and what it went with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last write of the one before, or the start of the run.
    pub from: Duration,
    /// The first write of the next, or the end of the faults.
    pub to: Duration,
    /// Until the store had let go of the one before, as a follower saw it.
    pub detect: Duration,
    /// From then until the next one knew that it was elected.
    pub acquire: Duration,
    /// From then until its program had written for the first time.
    pub start: Duration,
    /// How long of it nothing was in the way: what the bound is for.
    pub unhindered: Duration,
    /// The fault that it goes back to, in words.
    pub cause: String,
}

impl Gap {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

/// What the checker found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Work beside that of a later term.
    pub overlaps: Vec<String>,
    /// Terms whose tokens do not grow.
    pub disorder: Vec<String>,
    /// Writes that the resource should have refused.
    pub unfenced: Vec<String>,
    /// Stretches without a leader that were too long.
    pub leaderless: Vec<String>,
    /// Followers that did not know who leads.
    pub stale: Vec<String>,
    /// Who was not in line in the end, or left something behind.
    pub stuck: Vec<String>,
    /// Terms in which work was done.
    pub terms: usize,
    /// Writes that the resource took.
    pub writes: usize,
    /// Writes of programs that were frozen, or whose entry was removed by hand, that the resource refused.
    pub fenced: usize,
    /// All stretches without a leader.
    pub gaps: Vec<Gap>,
}

impl Verdict {
    /// Whether nothing was found.
    pub fn passed(&self) -> bool {
        self.findings().all(|(_, found)| found.is_empty())
    }

    /// What was looked for, and what of it was found.
    pub fn findings(&self) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
        [
            ("overlapping terms", &self.overlaps),
            ("tokens out of order", &self.disorder),
            ("old tokens accepted", &self.unfenced),
            ("leaderless beyond the bound", &self.leaderless),
            ("stale followers", &self.stale),
            ("stuck or left behind", &self.stuck),
        ]
        .into_iter()
    }

    /// The longest stretch without a leader that nothing explains but the loss of the one before.
    pub fn longest(&self) -> Duration {
        let unhindered = self.gaps.iter().map(|gap| gap.unhindered);
        unhindered.max().unwrap_or_default()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "PASSED" } else { "FAILED" };
        write!(
            f,
            "{verdict}: {} terms, {} writes, {} late writes refused",
            self.terms, self.writes, self.fenced
        )?;
        for (what, found) in self.findings() {
            write!(f, "\n  {what}: {}", found.len())?;
            for one in found {
                write!(f, "\n    {one}")?;
            }
        }
        write!(
            f,
            "\n  longest unhindered stretch without a leader: {:.2?}",
            self.longest()
        )
    }
}

/// Judges a history in which these candidates stood.
pub fn check(history: &History, candidates: &[String], bounds: Bounds) -> Verdict {
    let mut verdict = Verdict {
        terms: history.works.len(),
        gaps: gaps(history, bounds),
        ..Verdict::default()
    };
    look_at_works(history, bounds, &mut verdict);
    for gap in &verdict.gaps {
        if gap.unhindered > bounds.leaderless {
            let (from, length) = (gap.from, gap.unhindered);
            let too_long = format!("{length:.2?} from {from:.2?} on, after {}", gap.cause);
            verdict.leaderless.push(too_long);
        }
    }
    look_at_followers(history, bounds, &mut verdict);
    for candidate in candidates {
        if !history.line.contains(candidate) {
            let line = &history.line;
            verdict
                .stuck
                .push(format!("{candidate} is not in line in the end: {line:?}"));
        }
    }
    for left in &history.left {
        verdict.stuck.push(format!("{left} has left its entry behind"));
    }
    verdict
}

fn look_at_works(history: &History, bounds: Bounds, verdict: &mut Verdict) {
    let mut highest: Option<&Work> = None;
    for (index, work) in history.works.iter().enumerate() {
        // A program may be started anew in the same term.
        let follows = |before: &Work| match work.token.cmp(&before.token) {
            Ordering::Greater => true,
            Ordering::Equal => work.candidate == before.candidate,
            Ordering::Less => false,
        };
        if let Some(before) = highest
            && !follows(before)
        {
            let (who, token) = (&work.candidate, work.token);
            let (other, after) = (&before.candidate, before.token);
            let disorder = format!("{who} with token {token} after {other} with token {after}");
            verdict.disorder.push(disorder);
        }
        highest = highest.filter(|before| before.token > work.token).or(Some(work));
        let later = &history.works[index + 1..];
        let next = later.iter().find(|later| later.token >= work.token);
        let (mut beside, mut unfenced) = (0, Vec::new());
        for write in &work.writes {
            verdict.writes += usize::from(write.accepted);
            if next.is_none_or(|next| write.sent <= next.first()) {
                continue;
            }
            if write.accepted && later.iter().any(|later| is_fenced_off(work, write, later)) {
                unfenced.push(write.sent);
            }
            if is_excused(history, bounds, work, write.sent) {
                verdict.fenced += 1;
            } else {
                beside += 1;
            }
        }
        if let [first, ..] = unfenced[..] {
            let (who, token, count) = (&work.candidate, work.token, unfenced.len());
            let accepted = format!("{count} writes of {who} with token {token}, from {first:.3?} on");
            verdict.unfenced.push(accepted);
        }
        if let (true, Some(next)) = (beside > 0, next) {
            let (who, token) = (&work.candidate, work.token);
            let last = work.writes.last().map_or(Duration::ZERO, |write| write.sent);
            let by = last.saturating_sub(next.first());
            let (other, after) = (&next.candidate, next.token);
            verdict.overlaps.push(format!(
                "{who} with token {token} wrote {beside} times beside {other} with token {after}, until {by:.3?} \
                 after its first write"
            ));
        }
    }
}

/// Whether the resource had seen the greater token of `later` when the write arrived.
fn is_fenced_off(work: &Work, write: &Write, later: &Work) -> bool {
    let seen = later.writes.iter().any(|other| other.arrived < write.arrived);
    later.token > work.token && seen
}

/// Whether only the resource can refuse what is sent then: the program was frozen, or an operator removed what its
/// term stood on.
fn is_excused(history: &History, bounds: Bounds, work: &Work, sent: Duration) -> bool {
    history.faults.iter().any(|fault| {
        let own = fault.candidate.as_ref() == Some(&work.candidate);
        let thaws = fault.kind.freezes_the_program()
            && own
            && fault.began <= sent
            && sent <= fault.end().saturating_add(bounds.thaw);
        let removed = fault.kind.is_by_hand()
            && own
            && fault.began <= sent
            && sent <= fault.end().saturating_add(bounds.notice);
        thaws || removed
    })
}

/// When one piece of work ended and the next had not begun, before all were told to end.
fn gaps(history: &History, bounds: Bounds) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut until = Duration::ZERO;
    for work in &history.works {
        if work.first() > until && until < history.over {
            gaps.push(gap(history, bounds, until, Some(work)));
        }
        until = until.max(work.last());
    }
    if until < history.over {
        gaps.push(gap(history, bounds, until, None));
    }
    gaps
}

fn gap(history: &History, bounds: Bounds, from: Duration, next: Option<&Work>) -> Gap {
    let to = next.map_or(history.over, Work::first);
    let (released, elected) = next.map_or((to, to), |next| steps(history, from, next));
    // What began before the last write may have ended the term: it renewed for the last time before.
    let close = |fault: &&Fault| fault.began <= to && fault.end().saturating_add(bounds.leaderless) >= from;
    let near: Vec<&Fault> = history.faults.iter().filter(close).collect();
    let hindered = near.iter().map(|fault| {
        if fault.kind.hurts_the_store() {
            fault.end()
        } else {
            fault.began
        }
    });
    let free = hindered.max().unwrap_or_default().clamp(from, to);
    Gap {
        from,
        to,
        detect: released - from,
        acquire: elected - released,
        start: to - elected,
        unhindered: to - free,
        cause: near.last().map_or_else(
            || {
                if from.is_zero() {
                    "the start".to_owned()
                } else {
                    "no fault".to_owned()
                }
            },
            |fault| fault.what.clone(),
        ),
    }
}

/// When a follower saw that the store had let go of the one before, and when the next knew that it was elected.
fn steps(history: &History, from: Duration, next: &Work) -> (Duration, Duration) {
    let elected = |change: &Change| match change {
        Change::Elected { candidate, token } => *candidate == next.candidate && *token == next.token,
        _ => false,
    };
    let seen = |change: &Change| match change {
        Change::Saw {
            sight: Sight::Leader { name, token },
            ..
        } => *name == next.candidate && token.is_none_or(|token| token == next.token),
        _ => false,
    };
    let to = next.first();
    let entries = &history.entries;
    let elected = entries.iter().find(|entry| elected(&entry.what));
    let elected = elected.map_or(to, |entry| entry.at).clamp(from, to);
    let seen = entries.iter().find(|entry| seen(&entry.what) && entry.at >= from);
    (
        seen.map_or(elected, |entry| entry.at).clamp(from, elected),
        elected,
    )
}

fn look_at_followers(history: &History, bounds: Bounds, verdict: &mut Verdict) {
    let mut followers: Vec<&String> = Vec::new();
    for entry in &history.entries {
        if let Change::Saw { follower, .. } = &entry.what
            && !followers.contains(&follower)
        {
            followers.push(follower);
        }
    }
    for work in &history.works {
        let due = due(history, bounds, work.first());
        // A term that was over by then need not be known.
        if work.last() < due {
            continue;
        }
        for follower in &followers {
            let sight = history.entries.iter().rev().find_map(|entry| match &entry.what {
                Change::Saw { follower: who, sight } if who == *follower && entry.at <= due => Some(sight),
                _ => None,
            });
            let knows = matches!(sight, Some(Sight::Leader { name, token })
                if *name == work.candidate && token.is_none_or(|token| token == work.token));
            if !knows {
                let said = sight.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                let (who, token) = (&work.candidate, work.token);
                verdict.stale.push(format!(
                    "at {due:.2?} {follower} says {said}, while {who} works with token {token}"
                ));
            }
        }
    }
}

/// When news of `begin` has to be there: some time after it, and after what kept it up.
fn due(history: &History, bounds: Bounds, begin: Duration) -> Duration {
    let mut due = begin + bounds.notice;
    let hurting = history.faults.iter().filter(|fault| fault.kind.hurts_the_store());
    for fault in hurting {
        // In the order in which they began, so that one look is enough.
        if fault.began <= due && fault.end() >= begin {
            due = due.max(fault.end().saturating_add(bounds.notice));
        }
    }
    due
}
