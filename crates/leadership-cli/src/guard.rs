//! The guard: a small process that ends a command in time when its supervisor cannot, because it was killed,
//! stopped, or never gets to run.
//!
//! The guard is the first member of the command's process group, so that the group has its number before the
//! command starts, and keeps it as long as the guard lives: it can never be the number of somebody else. What
//! is sent to the group reaches the guard too; it ignores all but KILL, and that is meant for it as well.
//! It knows the term's deadline by the clock that all processes of a machine share. When its stdin ends, the
//! supervisor is dead.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use leadership::Timestamp;
use rustix::process::{Pid, Signal, getpid, kill_process_group, setpgid};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, INTERNAL};
use crate::members::{LOOK_AGAIN, is_gone, killed, terminate};
use crate::message::Message;
use crate::plan::{Plan, Step, now, sleep_until};

/// The guard's name in a list of processes: another than the command's, so that who kills all processes of that
/// name leaves the guards to do their work.
pub(crate) const NAME: &str = "election-guard";
/// What the guard says when it is ready, and before it asks the command to end.
pub(crate) const READY: &str = "ready\n";
const ASKED: &str = "asked\n";
/// The exit code that says: the command's group is gone.
pub(crate) const GONE: u8 = 0;

/// Ends a command's process group by the deadline of a term. Started by `run`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Nanoseconds between TERM and KILL.
    grace: u64,
    /// Nanoseconds between KILL and the deadline.
    lead: u64,
    /// The group to join to leave the command's; 0 if there is none.
    refuge: i32,
}

impl Args {
    /// The arguments, as the supervisor gives them.
    pub(crate) fn list(plan: Plan, refuge: i32) -> [String; 4] {
        [
            "guard".to_owned(),
            plan.grace.as_nanos().to_string(),
            plan.lead.as_nanos().to_string(),
            refuge.to_string(),
        ]
    }
}

pub(crate) fn guard(args: &Args) -> Result<u8, Failure> {
    let plan = Plan {
        grace: Duration::from_nanos(args.grace),
        lead: Duration::from_nanos(args.lead),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system("guard", &error))?;
    // It is only a name.
    let _ = CString::new(NAME).map(|name| rustix::thread::set_name(&name));
    runtime.block_on(async {
        ignore_signals().map_err(|error| Failure::system("guard: signals", &error))?;
        let mut guard = Guard {
            group: getpid(),
            refuge: Pid::from_raw(args.refuge),
            plan,
            until: None,
            asked: None,
        };
        let stdin = std::io::stdin().as_fd().try_clone_to_owned();
        let stdin = stdin.and_then(pipe::Receiver::from_owned_fd).map_err(|error| {
            Failure::new(INTERNAL, format!("guard: {error}; it is started by `run` only"))
        })?;
        answer(READY).map_err(|error| Failure::system("guard: supervisor", &error))?;
        Ok(guard.run(BufReader::new(stdin).lines()).await)
    })
}

/// Sees to it that nothing meant for the command ends or stops the guard.
fn ignore_signals() -> std::io::Result<()> {
    for number in [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::TSTP,
        Signal::TTIN,
        Signal::TTOU,
        Signal::WINCH,
    ] {
        // The handler stays when the stream is dropped.
        let _ = signal(SignalKind::from_raw(number.as_raw()))?;
    }
    Ok(())
}

struct Guard {
    group: Pid,
    refuge: Option<Pid>,
    plan: Plan,
    /// The deadline, once it is known.
    until: Option<Timestamp>,
    /// When the command was asked to end.
    asked: Option<Timestamp>,
}

impl Guard {
    async fn run(&mut self, mut messages: Lines<BufReader<pipe::Receiver>>) -> u8 {
        loop {
            let wait = match self.until.map(|until| self.plan.step(now(), until, self.asked)) {
                Some(Step::Kill) => return self.kill().await,
                Some(Step::Terminate) => {
                    self.ask("the supervisor did not renew in time");
                    continue;
                }
                Some(Step::Wait(at)) => Some(at),
                None => None,
            };
            tokio::select! {
                line = messages.next_line() => match line {
                    Ok(Some(line)) => match Message::parse(&line) {
                        Some(Message::Until(at)) => self.until = self.until.max(Some(at)),
                        Some(Message::Asked) => self.asked = self.asked.or_else(|| Some(now())),
                        Some(Message::Over(limit)) => return self.clean_up(limit).await,
                        Some(Message::Never) => return GONE,
                        None => {}
                    },
                    Ok(None) | Err(_) => return self.orphaned().await,
                },
                () = async { match wait {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {}
            }
        }
    }

    /// Asks the command to end. One that was stopped has to run for that.
    fn ask(&mut self, why: &str) {
        say(&format!("{why}: TERM to group {}", self.group));
        // The supervisor may be dead.
        let _ = answer(ASKED);
        self.asked = Some(now());
        terminate(self.group);
    }

    /// Ends the group, and with it the guard.
    async fn kill(&self) -> u8 {
        say(&format!("KILL to group {}", self.group));
        if let Err(error) = kill_process_group(self.group, Signal::KILL) {
            say(&format!("cannot kill group {}: {error}", self.group));
            return INTERNAL;
        }
        // Here only if the guard has left the group.
        if killed(self.group).await {
            GONE
        } else {
            say(&format!("group {} was killed, but is not gone yet", self.group));
            INTERNAL
        }
    }

    /// The supervisor is dead; the command does not go on without it, whatever the deadline.
    async fn orphaned(&mut self) -> u8 {
        say(&format!("the supervisor is dead: ending group {}", self.group));
        self.clean_up(self.plan.grace).await
    }

    /// The command is over, or must be: ends what there is in the group within `limit`. To see whether it is
    /// gone, the guard has to be out of the group; nobody can take the group's number as long as it lives.
    async fn clean_up(&mut self, limit: Duration) -> u8 {
        let outside = self.refuge.is_some() && setpgid(None, self.refuge).is_ok();
        if outside && is_gone(self.group) {
            return GONE;
        }
        if self.asked.is_none() {
            terminate(self.group);
        }
        let until = now() + limit;
        let until = self
            .until
            .map_or(until, |deadline| until.min(deadline - self.plan.lead));
        while now() < until {
            tokio::time::sleep(LOOK_AGAIN).await;
            if outside && is_gone(self.group) {
                return GONE;
            }
        }
        self.kill().await
    }
}

fn answer(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn say(text: &str) {
    // The reader of stderr may be gone with the supervisor.
    let _ = writeln!(std::io::stderr(), "leadership guard: {text}");
}
