//! A command in its process group, with the guard that belongs to it: the supervisor's side.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use leadership::Term;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tracing::warn;

use crate::failure::{Failure, SYSTEM};
use crate::guard::{self, GONE, READY};
use crate::members::{self, KILLED, LOOK_AGAIN, killed};
use crate::message::Message;
use crate::plan::Plan;
use crate::signals::exit_code;

/// How long a guard may take to be ready.
const GUARD_START: Duration = Duration::from_secs(10);
/// The exit codes by which a shell says that it could not execute a command, and that it has not found it.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What is to be run.
pub(crate) struct Program {
    pub(crate) command: Vec<OsString>,
    pub(crate) id: String,
}

/// A process group with its guard. Dropped, the guard takes it that the supervisor is dead.
pub(crate) struct Group {
    id: Pid,
    guard: Child,
    messages: pipe::Sender,
    answers: pipe::Receiver,
}

impl Group {
    /// Starts a guard. Nothing else is in the group yet.
    pub(crate) async fn start(plan: Plan) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            let problem = format!("cannot start the guard: {error}; without it nothing is run");
            Failure::new(SYSTEM, problem)
        };
        let mut guard = Command::new(own_program().map_err(|error| failed(&error))?)
            .args(guard::Args::list(plan, members::own_group()))
            .arg0(guard::NAME)
            // It has no use for the one, and could fail at the other.
            .env_remove("LEADERSHIP_STORE")
            .env_remove("RUST_LOG")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let id = guard.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (Some(id), Some(stdin), Some(stdout)) = (id, guard.stdin.take(), guard.stdout.take()) else {
            return Err(failed(&"no process"));
        };
        let messages = stdin.into_owned_fd().and_then(pipe::Sender::from_owned_fd);
        let answers = stdout.into_owned_fd().and_then(pipe::Receiver::from_owned_fd);
        let (messages, mut answers) = match (messages, answers) {
            (Ok(messages), Ok(answers)) => (messages, answers),
            (Err(error), _) | (_, Err(error)) => return Err(failed(&error)),
        };
        let mut ready = [0; READY.len()];
        match tokio::time::timeout(GUARD_START, answers.read_exact(&mut ready)).await {
            Ok(Ok(_)) => Ok(Self {
                id,
                guard,
                messages,
                answers,
            }),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"it does not get ready")),
        }
    }

    /// Starts the command. That fails if the guard is dead: then there is no group to start it in.
    pub(crate) fn spawn(&self, program: &Program, term: &Term) -> Result<Child, Failure> {
        let [name, args @ ..] = program.command.as_slice() else {
            return Err(Failure::new(NOT_FOUND, "no command was given"));
        };
        // In the background of a terminal, reading from it would stop the command.
        let stdin = if io::stdin().is_terminal() {
            Stdio::null()
        } else {
            Stdio::inherit()
        };
        Command::new(name)
            .args(args)
            .env("LEADERSHIP_TOKEN", term.token().to_string())
            .env("LEADERSHIP_ELECTION", term.election().as_str())
            .env("LEADERSHIP_ID", &program.id)
            .process_group(self.id.as_raw_nonzero().get())
            .stdin(stdin)
            .spawn()
            .map_err(|error| not_started(Path::new(name), &error))
    }

    /// Tells the guard. One that is too slow misses it, and acts too early rather than too late; that one is
    /// dead is seen by [`guard_ended`](Self::guard_ended).
    pub(crate) fn tell(&self, message: Message) {
        let line = message.to_line();
        match self.messages.try_write(line.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => warn!(%error, "the guard does not listen"),
        }
    }

    /// Passes a signal on to everybody in the group.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.id, signal) {
            warn!(%error, signal = signal.as_raw(), "cannot pass the signal on");
        }
    }

    /// Asks the command to end.
    pub(crate) fn terminate(&self) {
        self.tell(Message::Asked);
        members::terminate(self.id);
    }

    /// Whether the guard has ended already.
    pub(crate) fn is_unguarded(&mut self) -> bool {
        !matches!(self.guard.try_wait(), Ok(None))
    }

    /// Whether the guard has asked the command to end, or has killed it.
    pub(crate) fn guard_has_acted(&self) -> bool {
        // It says so before it does it. At the end of its words it is dead.
        self.answers.try_read(&mut [0]).is_ok()
    }

    /// Completes if the guard ends by itself. Cancel safe.
    pub(crate) async fn guard_ended(&mut self) {
        // An error means that somebody else has waited for it: it is gone, too.
        let _ = self.guard.wait().await;
    }

    /// Kills everybody in the group, the guard too, and waits until nobody is left. `command` may have ended.
    pub(crate) async fn kill(mut self, command: &mut Child) -> ExitStatus {
        self.kill_now();
        let status = command.wait().await;
        self.guard_ended().await;
        if !killed(self.id).await {
            warn!(group = %self.id, "killed, but not gone yet");
        }
        status.unwrap_or_else(|_| ExitStatus::from_raw(Signal::KILL.as_raw()))
    }

    fn kill_now(&self) {
        match kill_process_group(self.id, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => warn!(%error, group = %self.id, "cannot kill the command's group"),
        }
    }

    /// The command is over: ends what it has left in its group within `limit`, and the guard.
    pub(crate) async fn clean_up(mut self, limit: Duration) {
        self.tell(Message::Over(limit));
        let ended = async {
            loop {
                tokio::select! {
                    status = self.guard.wait() => break status.ok(),
                    () = tokio::time::sleep(LOOK_AGAIN) => members::reap(self.id),
                }
            }
        };
        let clean = tokio::time::timeout(limit + KILLED + KILLED, ended).await;
        if !matches!(clean, Ok(Some(status)) if status.code() == Some(GONE.into())) {
            self.kill_now();
        }
    }

    /// There is no command, and there will be none.
    pub(crate) async fn dismiss(mut self) {
        self.tell(Message::Never);
        if tokio::time::timeout(KILLED, self.guard_ended()).await.is_err() {
            self.kill_now();
        }
    }
}

/// The very program that runs now, even if its file was replaced meanwhile.
fn own_program() -> io::Result<std::path::PathBuf> {
    let own = Path::new("/proc/self/exe");
    if own.exists() {
        Ok(own.to_owned())
    } else {
        std::env::current_exe()
    }
}

fn not_started(name: &Path, error: &io::Error) -> Failure {
    let name = name.display();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            NOT_FOUND,
            format!("command {name:?} was not found; check the path, or PATH"),
        ),
        _ => Failure::new(
            NOT_EXECUTABLE,
            format!("command {name:?} cannot be executed: {error}"),
        ),
    }
}

/// What `run` exits with when the command ended like this.
pub(crate) fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        (None, Some(signal)) => exit_code(signal),
        (None, None) => u8::MAX,
    }
}
