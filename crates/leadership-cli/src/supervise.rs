//! One run of the command within one term.

use std::process::ExitStatus;
use std::time::Duration;

use leadership::{Term, Timestamp};
use rustix::process::Signal;
use tracing::{debug, info, warn};

use crate::failure::Failure;
use crate::group::{Group, Program};
use crate::message::Message;
use crate::plan::{Plan, Step, now, sleep_until};
use crate::signals::Signals;

/// How long what a command leaves behind may take to end before it is killed.
const LEFTOVERS: Duration = Duration::from_millis(500);

/// How a run ended. Nobody of the command's group is left.
pub(crate) enum Run {
    /// The command ended by itself, or because of a signal passed on to it.
    Ended(ExitStatus),
    /// It was ended, because it could not be relied on to end in time any more; why.
    Lost(String),
    /// It was never started: the term was over before.
    Late,
}

/// Runs the program while the term is valid. It is started once it could go on for `at_least` without a renewal.
pub(crate) async fn supervise(
    program: &Program,
    term: &Term,
    plan: Plan,
    at_least: Duration,
    signals: &mut Signals,
) -> Result<Run, Failure> {
    let mut group = Group::start(plan.for_guard()).await?;
    let Some(mut deadline) = room(term, plan, at_least).await else {
        group.dismiss().await;
        return Ok(Run::Late);
    };
    group.tell(Message::Until(deadline));
    let mut command = match group.spawn(program, term) {
        Ok(command) => command,
        // The guard kills an empty group, and itself, at the deadline, too.
        Err(_) if group.is_unguarded() => return Ok(Run::Late),
        Err(failure) => {
            group.dismiss().await;
            return Err(failure);
        }
    };
    info!(election = %term.election(), token = %term.token(), pid = command.id(), "command started");
    let sample = sample(plan);
    let mut asked = None;
    let status = loop {
        deadline = look(term, deadline, &group);
        let at = match plan.step(now(), deadline, asked) {
            Step::Wait(at) => at,
            Step::Terminate => {
                warn!(left = ?deadline.saturating_since(now()), "asking the command to end before the deadline");
                asked = Some(now());
                group.terminate();
                continue;
            }
            Step::Kill => {
                warn!(token = %term.token(), "killing the command");
                group.kill(&mut command).await;
                return Ok(Run::Lost(why(term)));
            }
        };
        tokio::select! {
            biased;
            status = command.wait() => break status,
            signal = signals.next() => pass_on(&group, signal),
            () = group.guard_ended() => {
                group.terminate();
                end_unguarded(term, plan, asked, &mut command).await;
                group.kill(&mut command).await;
                return Ok(Run::Lost("the guard is dead, without which the command does not go on".to_owned()));
            }
            _ = term.ended() => {}
            () = sleep_until(at.min(now() + sample)) => {}
        }
    };
    let status = status.map_err(|error| Failure::system("cannot wait for the command", &error))?;
    debug!(%status, "command ended");
    let ended = asked.is_some() || group.guard_has_acted();
    let left = look(term, deadline, &group).saturating_since(now());
    group.clean_up(LEFTOVERS.min(left)).await;
    Ok(if ended {
        Run::Lost(why(term))
    } else {
        Run::Ended(status)
    })
}

fn why(term: &Term) -> String {
    term.reason().map_or_else(
        || "no renewal was acknowledged in time before the deadline".to_owned(),
        |reason| reason.to_string(),
    )
}

/// The deadline, once there is time to run something before it. `None` if the term is over.
async fn room(term: &Term, plan: Plan, at_least: Duration) -> Option<Timestamp> {
    loop {
        let deadline = term.deadline()?;
        if matches!(plan.step(now() + at_least, deadline, None), Step::Wait(_)) {
            return Some(deadline);
        }
        sleep_until(now() + sample(plan)).await;
    }
}

/// The deadline now. One that has moved on is told to the guard; the start of all time if the term is over.
fn look(term: &Term, known: Timestamp, group: &Group) -> Timestamp {
    match term.deadline() {
        Some(deadline) => {
            if deadline > known {
                group.tell(Message::Until(deadline));
            }
            deadline.max(known)
        }
        None => Timestamp::ZERO,
    }
}

/// Renewals give no sign, so one has to look. Seldom enough to cost nothing, often enough to put an end off.
fn sample(plan: Plan) -> Duration {
    (plan.grace / 8).clamp(Duration::from_millis(20), Duration::from_millis(500))
}

fn pass_on(group: &Group, signal: Signal) {
    debug!(signal = signal.as_raw(), "passing the signal on");
    group.signal(signal);
}

/// Waits until a command that was asked to end has done so, or has to be killed.
async fn end_unguarded(
    term: &Term,
    plan: Plan,
    asked: Option<Timestamp>,
    command: &mut tokio::process::Child,
) {
    let asked = Some(asked.unwrap_or_else(now));
    loop {
        let deadline = term.deadline().unwrap_or(Timestamp::ZERO);
        let Step::Wait(at) = plan.step(now(), deadline, asked) else {
            return;
        };
        tokio::select! {
            _ = command.wait() => return,
            () = sleep_until(at) => {}
        }
    }
}
