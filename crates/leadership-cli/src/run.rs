//! `leadership run`: a command that runs only while this process leads.

use std::ffi::OsString;
use std::time::Duration;

use leadership::{Candidate, Config, Elections, InvalidInput, Limits};
use tracing::{info, warn};

use crate::failure::{Failure, LOST};
use crate::group::{Program, code};
use crate::plan::Plan;
use crate::signals::{Signals, exit_code};
use crate::store::{StoreArgs, duration};
use crate::supervise::{Run, supervise};

/// Stand in an election and run a command only while leading
///
/// The command runs in a process group of its own, with LEADERSHIP_TOKEN (the fencing token, which grows from
/// term to term), LEADERSHIP_ELECTION and LEADERSHIP_ID in its environment. INT, TERM, HUP, QUIT, USR1 and USR2
/// are passed on to the group. When the command ends, so does the leadership, and its exit code is ours.
///
/// While the store does not acknowledge renewals, TERM is sent to the group a grace before the deadline, and
/// KILL before it; then we stand again, and start the command again when elected. A guard process does the same
/// if this one is killed or stopped. A command that leaves its process group (a daemon, setsid) is out of reach.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: see `leadership --help`.")]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,

    /// What followers see, such as the node's name or address [default: host name:process id]
    #[arg(long)]
    id: Option<String>,

    /// How long the store keeps the leadership of a process that it does not hear
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, allow_hyphen_values = true)]
    ttl: Duration,

    /// How long the command has between TERM and KILL [default: a fifth of the ttl]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_hyphen_values = true)]
    grace: Option<Duration>,

    /// Time between renewals [default: a third of the ttl]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_hyphen_values = true)]
    renew_every: Option<Duration>,

    /// How long the store may take to answer a request [default: a fifth of the ttl]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_hyphen_values = true)]
    request_timeout: Option<Duration>,

    /// Exit with code 75 when the leadership was lost, rather than stand again
    #[arg(long)]
    once: bool,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn run(args: Args) -> Result<u8, Failure> {
    let timing = Timing::new(&args);
    let config = timing.config();
    let mut signals = Signals::new().map_err(|error| Failure::system("signals", &error))?;
    let opened = tokio::select! {
        opened = args.store.open(config) => opened?,
        signal = signals.stop() => return Ok(exit_code(signal.as_raw())),
    };
    let elections = opened.elections;
    let plan = timing
        .plan(&elections.store().limits())
        .map_err(leadership::Error::from)?;
    let id = args.id.unwrap_or_else(default_id);
    let candidate = elections.stand(&args.store.election, id.as_str())?;
    let program = Program {
        command: args.command,
        id,
    };
    let result = campaign(&candidate, &program, plan, args.once, &mut signals).await;
    leave(&elections, timing.request_timeout, &mut signals).await;
    result
}

/// Runs the program in each term, until it ends by itself.
async fn campaign(
    candidate: &Candidate,
    program: &Program,
    plan: Plan,
    once: bool,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    loop {
        let term = tokio::select! {
            biased;
            signal = signals.stop() => return Ok(exit_code(signal.as_raw())),
            term = candidate.elected() => term?,
        };
        match supervise(program, &term, plan, signals).await? {
            Run::Ended(status) => return Ok(code(status)),
            Run::Late => {}
            Run::Lost(why) => {
                if once {
                    let problem = format!("lost the leadership of {}: {why}", term.election());
                    return Err(Failure::new(LOST, problem));
                }
                warn!(election = %term.election(), token = %term.token(), why, "lost; standing again");
            }
        }
    }
}

/// Leaves the election and closes the session. Without the store that cannot be: the session then ends by
/// itself, so nobody waits for it long, and not at all who sends another signal.
async fn leave(elections: &Elections, request_timeout: Duration, signals: &mut Signals) {
    tokio::select! {
        () = elections.close() => info!("left the election"),
        () = tokio::time::sleep(request_timeout * 2) => {
            warn!("could not tell the store that we leave; others wait for the end of the ttl");
        }
        _ = signals.stop() => {}
    }
}

fn default_id() -> String {
    let host = rustix::system::uname();
    format!("{}:{}", host.nodename().to_string_lossy(), std::process::id())
}

/// The durations of a run.
struct Timing {
    ttl: Duration,
    renew_every: Duration,
    request_timeout: Duration,
    margin: Duration,
    grace: Duration,
}

impl Timing {
    fn new(args: &Args) -> Self {
        let ttl = args.ttl;
        Self {
            ttl,
            renew_every: args.renew_every.unwrap_or(ttl / 3),
            request_timeout: args.request_timeout.unwrap_or(ttl / 5),
            margin: ttl / 10,
            grace: args.grace.unwrap_or(ttl / 5),
        }
    }

    fn config(&self) -> Config {
        Config::with_ttl(self.ttl)
            .renew_every(self.renew_every)
            .request_timeout(self.request_timeout)
            .margin(self.margin)
    }

    /// The plan to end a command, if one slow renewal does not make it end.
    fn plan(&self, limits: &Limits) -> Result<Plan, InvalidInput> {
        let lead = (self.ttl / 50).clamp(Duration::from_millis(10), Duration::from_millis(200));
        let believed = limits.certain(self.ttl).saturating_sub(self.margin + lead);
        let most = believed.saturating_sub(self.renew_every + self.request_timeout);
        if self.grace < most {
            let grace = self.grace;
            return Ok(Plan { grace, lead });
        }
        Err(InvalidInput::new(
            format!("grace {:?} with ttl {:?}", self.grace, self.ttl),
            "one renewal that takes its time would end the command",
            format!("give a grace below {most:?}, or a longer ttl"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(certain_percent: u32) -> Limits {
        Limits {
            store: "test",
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(60),
            certain_percent,
            overdue: Duration::ZERO,
            value_max: 100,
            name_max: 100,
        }
    }

    fn timing(ttl: u64, grace: u64) -> Timing {
        let ttl = Duration::from_secs(ttl);
        Timing {
            ttl,
            renew_every: ttl / 3,
            request_timeout: ttl / 5,
            margin: ttl / 10,
            grace: Duration::from_secs(grace),
        }
    }

    #[test]
    fn a_fifth_of_the_ttl_is_a_grace_that_fits() {
        for ttl in [5, 15, 60] {
            let plan = timing(ttl, ttl / 5).plan(&limits(100)).expect("fits");
            assert!(plan.lead < plan.grace);
        }
    }

    #[test]
    fn a_grace_that_ends_a_healthy_command_is_refused() {
        let error = timing(15, 6).plan(&limits(100)).expect_err("refused").to_string();
        assert!(
            error.contains("grace 6s with ttl 15s") && error.contains("below 5.3s"),
            "{error}"
        );
        timing(15, 3)
            .plan(&limits(66))
            .expect_err("refused on a store that is certain of two thirds only");
    }
}
