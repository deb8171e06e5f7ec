//! The command `leadership`: runs a program only while it leads, shows who leads, and shows off.
//!
//! This file reads the command line and turns failures into one line and an exit code.

mod demo;
mod distant;
mod failure;
mod group;
mod guard;
mod members;
mod message;
mod plan;
mod run;
mod signals;
mod status;
mod store;
mod supervise;
mod text;
mod watch;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, USAGE};

#[cfg(not(unix))]
compile_error!("the command `leadership` needs process groups and signals, so it is for Unix only");

/// Leader election for programs: run one only while leading, see who leads.
#[derive(Parser)]
#[command(name = "leadership", version, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What to log to stderr: error, warn, info, debug, trace, or a filter such as leadership_core=debug
    #[arg(
        long,
        global = true,
        env = "RUST_LOG",
        default_value = "warn",
        value_name = "FILTER"
    )]
    log: String,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Watch(watch::Args),
    Status(status::Args),
    /// Three candidates in this process: one is elected, killed, replaced; the next resigns. Needs no store
    Demo,
    #[command(hide = true)]
    Guard(guard::Args),
}

const EXIT_CODES: &str = "\
Exit codes:
  0      done; `status`: somebody leads
  1      `status`: nobody leads
  64     an input that cannot work
  69     the store cannot be reached
  70     something that cannot happen did
  71     the system refused: no process could be started, no output written
  75     `run --once`: the leadership was lost and the command was ended
  77     the store refused the credentials
  126    `run`: the command cannot be executed
  127    `run`: the command was not found
  128+n  ended by signal n, or `run`: the command was
  `run` otherwise exits with the code of its command.";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match EnvFilter::try_new(&cli.log) {
        Ok(filter) => tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init(),
        Err(error) => {
            let problem = format!(
                "--log (or RUST_LOG) {:?}: {error}; use a level such as info",
                cli.log
            );
            return Failure::new(USAGE, problem).report();
        }
    }
    let result = match cli.command {
        Command::Run(args) => on_runtime(run::run(args)),
        Command::Watch(args) => on_runtime(watch::watch(args)),
        Command::Status(args) => on_runtime(status::status(args)),
        Command::Demo => demo::demo(),
        Command::Guard(args) => guard::guard(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

fn on_runtime(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::system("no threads", &error))?;
    let result = runtime.block_on(work);
    // What has to be gone from the store is gone by now.
    runtime.shutdown_background();
    result
}

/// Tells what is wrong with the command line. Its text repeats what was given, such as a store's URL.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() {
        let _ = std::io::stderr().write_all(text::without_passwords(&text).as_bytes());
        ExitCode::from(USAGE)
    } else {
        let _ = std::io::stdout().write_all(text.as_bytes());
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
