//! What a witness says, line by line, and what its parent keeps of it. Both sides of the format are here.

use std::fmt::Display;
use std::time::Duration;

use leadership_core::{EndReason, State, Timestamp};

/// What a candidate is doing, as in [`State`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Not in line.
    #[default]
    Joining,
    /// In line behind another.
    Waiting,
    /// Leading, if the term is valid.
    Leading,
    /// Its term is over, and its entry may still stand.
    Leaving,
    /// It has left for good.
    Stopped,
}

/// All that a witness has said.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// What it does now.
    pub doing: Doing,
    /// Its terms, in order.
    pub terms: Vec<Testimony>,
}

/// What it saw of one of its terms.
#[derive(Clone, Debug)]
pub struct Testimony {
    /// The term's token.
    pub token: u64,
    /// When the first look at it began that found it valid.
    pub first: Timestamp,
    /// The last deadline that it was seen with.
    pub deadline: Timestamp,
    /// Once it is over: until when it surely was valid, and why it ended.
    pub over: Option<(Timestamp, EndReason)>,
}

impl Record {
    /// The term that goes on.
    pub fn leads(&self) -> Option<&Testimony> {
        self.terms.last().filter(|term| term.over.is_none())
    }

    pub(super) fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["doing", doing] => self.doing = doing_named(doing),
            ["elected", token, first] => self.terms.push(Testimony {
                token: number(token),
                first: stamp(first),
                deadline: stamp(first),
                over: None,
            }),
            ["deadline", deadline] => self.last(line).deadline = stamp(deadline),
            ["over", last, reason, lag] => {
                let term = self.last(line);
                term.over = Some((stamp(last), reason_named(reason, lag)));
            }
            _ => panic!("not a testimony: {line:?}"),
        }
    }

    fn last(&mut self, line: &str) -> &mut Testimony {
        let last = self.terms.last_mut();
        last.unwrap_or_else(|| panic!("{line:?} of no term"))
    }
}

pub(super) fn doing(state: &State) -> &'static str {
    match state {
        State::Joining => "joining",
        State::Waiting(_) => "waiting",
        State::Leading(_) => "leading",
        State::Leaving => "leaving",
        State::Stopped(None) => "stopped",
        // What cannot pass is not to be met in any of the tests that use this.
        other => panic!("the campaign has ended: {other:?}"),
    }
}

fn doing_named(name: &str) -> Doing {
    match name {
        "joining" => Doing::Joining,
        "waiting" => Doing::Waiting,
        "leading" => Doing::Leading,
        "leaving" => Doing::Leaving,
        "stopped" => Doing::Stopped,
        _ => panic!("doing what? {name:?}"),
    }
}

pub(super) fn reason(reason: EndReason) -> String {
    let (name, lag) = match reason {
        EndReason::Resigned => ("resigned", Duration::ZERO),
        EndReason::Stopped => ("stopped", Duration::ZERO),
        EndReason::SessionLost => ("session-lost", Duration::ZERO),
        EndReason::DeadlinePassed => ("deadline-passed", Duration::ZERO),
        EndReason::EntryRemoved => ("entry-removed", Duration::ZERO),
        EndReason::Paused(lag) => ("paused", lag),
        other => panic!("not known to the witness: {other:?}"),
    };
    format!("{name} {}", lag.as_nanos())
}

fn reason_named(name: &str, lag: &str) -> EndReason {
    match name {
        "resigned" => EndReason::Resigned,
        "stopped" => EndReason::Stopped,
        "session-lost" => EndReason::SessionLost,
        "deadline-passed" => EndReason::DeadlinePassed,
        "entry-removed" => EndReason::EntryRemoved,
        "paused" => EndReason::Paused(Duration::from_nanos(number(lag))),
        _ => panic!("ended why? {name:?}"),
    }
}

/// As it stands in a line.
pub(super) fn written(stamp: Timestamp) -> impl Display {
    stamp.since_start().as_nanos()
}

fn stamp(nanos: &str) -> Timestamp {
    Timestamp::new(Duration::from_nanos(number(nanos)))
}

fn number(word: &str) -> u64 {
    word.parse().unwrap()
}
