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

    /// How long the command has between TERM and KILL [default: a fifth of the ttl, as far as the store is certain of it]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_hyphen_values = true)]
    grace: Option<Duration>,

    /// Time between renewals [default: a third of the ttl, as far as the store is certain of it; on ZooKeeper a quarter]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_hyphen_values = true)]
    renew_every: Option<Duration>,

    /// How long the store may take to answer a request [default: a fifth of the ttl, as far as the store is certain of it]
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
    let config = config(&args);
    let mut signals = Signals::new().map_err(|error| Failure::system("signals", &error))?;
    let opened = tokio::select! {
        opened = args.store.open(config.clone()) => opened?,
        signal = signals.stop() => return Ok(exit_code(signal.as_raw())),
    };
    let elections = opened.elections;
    let limits = elections.store().limits();
    let plan = plan(&config, &limits, args.grace).map_err(leadership::Error::from)?;
    let id = args.id.unwrap_or_else(default_id);
    let candidate = elections.stand(&args.store.election, id.as_str())?;
    let program = Program {
        command: args.command,
        id,
    };
    let pace = config.pace(&limits);
    let campaign = Campaign {
        candidate: &candidate,
        program: &program,
        plan,
        renew_every: pace.renew_every,
        once: args.once,
    };
    let result = campaign.run(&mut signals).await;
    leave(&elections, pace.request_timeout, &mut signals).await;
    result
}

/// What a run goes by.
struct Campaign<'a> {
    candidate: &'a Candidate,
    program: &'a Program,
    plan: Plan,
    renew_every: Duration,
    once: bool,
}

impl Campaign<'_> {
    /// Runs the program in each term, until it ends by itself.
    async fn run(&self, signals: &mut Signals) -> Result<u8, Failure> {
        let mut lost = None;
        loop {
            let term = tokio::select! {
                biased;
                signal = signals.stop() => return Ok(exit_code(signal.as_raw())),
                term = self.candidate.elected() => term?,
            };
            // A term that went on in spite of late renewals is relied on again when renewals come as they should: a
            // command that was ended once need not be ended twice.
            let again = lost == Some(term.token());
            let at_least = if again { self.renew_every } else { Duration::ZERO };
            match supervise(self.program, &term, self.plan, at_least, signals).await? {
                Run::Ended(status) => return Ok(code(status)),
                Run::Late => {}
                Run::Lost(why) => {
                    if self.once {
                        let problem = format!("lost the leadership of {}: {why}", term.election());
                        return Err(Failure::new(LOST, problem));
                    }
                    warn!(election = %term.election(), token = %term.token(), why, "lost; standing again");
                    lost = Some(term.token());
                }
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
fn config(args: &Args) -> Config {
    let mut config = Config::with_ttl(args.ttl);
    if let Some(every) = args.renew_every {
        config = config.renew_every(every);
    }
    if let Some(timeout) = args.request_timeout {
        config = config.request_timeout(timeout);
    }
    config
}

/// The plan to end a command, if one slow renewal does not make it end.
fn plan(config: &Config, limits: &Limits, grace: Option<Duration>) -> Result<Plan, InvalidInput> {
    let (ttl, pace, certain) = (config.ttl(), config.pace(limits), limits.certain(config.ttl()));
    let grace = grace.unwrap_or(certain / 5);
    let lead = (certain / 50).clamp(Duration::from_millis(10), Duration::from_millis(200));
    let believed = certain.saturating_sub(pace.margin + lead);
    let most = believed.saturating_sub(pace.renew_every + pace.request_timeout);
    if grace < most {
        return Ok(Plan { grace, lead });
    }
    Err(InvalidInput::new(
        format!("grace {grace:?} with ttl {ttl:?}"),
        "one renewal that takes its time would end the command",
        format!("give a grace below {most:?}, or a longer ttl"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(certain_percent: u32) -> Limits {
        Limits {
            store: "test",
            ttl_min: Duration::from_secs(1),
            shorter: None,
            ttl_max: Duration::from_secs(60),
            certain_percent,
            renewals: Limits::RENEWALS,
            overdue: Duration::ZERO,
            value_max: 100,
            name_max: 100,
        }
    }

    fn planned(ttl: u64, grace: Option<u64>, certain_percent: u32) -> Result<Plan, InvalidInput> {
        let config = Config::with_ttl(Duration::from_secs(ttl));
        plan(&config, &limits(certain_percent), grace.map(Duration::from_secs))
    }

    #[test]
    fn the_usual_grace_fits_every_store() {
        for (ttl, certain_percent) in [(5, 100), (15, 66), (60, 50), (15, 33)] {
            let plan = planned(ttl, None, certain_percent).expect("fits");
            assert!(plan.lead < plan.grace);
        }
    }

    #[test]
    fn a_grace_that_ends_a_healthy_command_is_refused() {
        let error = planned(15, Some(6), 100).expect_err("refused").to_string();
        assert!(
            error.contains("grace 6s with ttl 15s") && error.contains("below 5.3s"),
            "{error}"
        );
        planned(15, Some(4), 66).expect_err("refused on a store that is certain of two thirds only");
    }
}
