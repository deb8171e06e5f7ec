//! The processes of a run: candidates, each started again when it has ended, and followers.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpgid, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::history::{Change, Entry, Sight};
use crate::worker::nanos;

/// How long after its end a candidate is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// How much earlier than all else a command goes on that was frozen.
const HEAD_START: Duration = Duration::from_millis(20);

/// Where everybody notes what happens.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    start: u128,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Notes {
    /// The run starts now.
    pub(super) fn new() -> Self {
        Self {
            start: nanos(),
            entries: Arc::default(),
        }
    }

    /// The start by the machine's clock.
    pub(super) fn start(&self) -> u128 {
        self.start
    }

    pub(super) fn elapsed(&self) -> Duration {
        let elapsed = nanos().saturating_sub(self.start);
        Duration::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    pub(super) fn note(&self, what: Change) {
        let mut entries = self.entries();
        // Within the lock, so that the entries are in order.
        let at = self.elapsed();
        entries.push(Entry { at, what });
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the command is called in this run.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// The command `leadership`.
    pub(super) leadership: PathBuf,
    pub(super) election: String,
    pub(super) ttl: Duration,
    /// What makes this program, started anew, work on the resource.
    pub(super) resource: (&'static str, String),
}

impl Program {
    /// The command with these arguments, without the settings of whoever runs us.
    pub(super) fn call(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.leadership);
        command
            .args(arguments)
            .env_remove("LEADERSHIP_STORE")
            .env_remove("RUST_LOG");
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn candidate(&self, url: &str, id: &str, worker: &Path) -> Command {
        let ttl = format!("{}ms", self.ttl.as_millis());
        let arguments = [
            "run",
            "--store",
            url,
            "--election",
            &self.election,
            "--id",
            id,
            "--ttl",
            &ttl,
        ];
        let mut command = self.call(&arguments);
        command
            .args(["--connect-timeout", "60s", "--log", "info", "--"])
            .arg(worker);
        let (name, value) = &self.resource;
        command
            .env(name, value)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

/// A candidate: one process after the other.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) id: String,
    /// The present process.
    pid: watch::Receiver<Option<u32>>,
    /// Whether it is started again.
    stopping: watch::Sender<bool>,
    keeping: JoinHandle<Result<()>>,
}

impl Candidate {
    pub(super) fn start(program: Program, url: String, id: String, notes: Notes) -> Result<Self> {
        let (pid, seen) = watch::channel(None);
        let stopping = watch::Sender::new(false);
        let stop = stopping.subscribe();
        let worker = std::env::current_exe()?;
        let name = id.clone();
        let keeping = tokio::spawn(async move {
            while !*stop.borrow() {
                let mut child = program.candidate(&url, &id, &worker).spawn();
                let child = child
                    .as_mut()
                    .map_err(|error| anyhow::anyhow!("{:?}: {error}", program.leadership))?;
                pid.send_replace(child.id());
                live(child, &id, &notes).await?;
                pid.send_replace(None);
                tokio::time::sleep(AGAIN).await;
            }
            Ok(())
        });
        Ok(Self {
            id: name,
            pid: seen,
            stopping,
            keeping,
        })
    }

    /// Sends a signal to `leadership` alone.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.process() {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends a signal to `leadership`, its guard and its command.
    pub(super) fn signal_all(&self, signal: Signal) -> Result<()> {
        // Once it is dead they cannot be found any more.
        let children = self.children()?;
        self.signal(signal);
        for child in children {
            let _ = kill_process(child, signal);
        }
        Ok(())
    }

    /// Lets all of it go on after [`Signal::STOP`]: the command some time before those that could end it, as a
    /// scheduler may.
    pub(super) async fn thaw(&self) -> Result<()> {
        let children = self.children()?;
        let guards = |child: &&Pid| getpgid(Some(**child)).is_ok_and(|group| group == **child);
        for child in children.iter().filter(|child| !guards(child)) {
            let _ = kill_process(*child, Signal::CONT);
        }
        tokio::time::sleep(HEAD_START).await;
        self.signal_all(Signal::CONT)
    }

    /// Its guard, which leads the group of its command, and its command.
    fn children(&self) -> Result<Vec<Pid>> {
        self.process().map_or_else(|| Ok(Vec::new()), children)
    }

    fn process(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from((*self.pid.borrow())?).ok()?)
    }

    /// Waits until a process of it runs.
    pub(super) async fn running(&self) -> Result<()> {
        self.pid
            .clone()
            .wait_for(Option::is_some)
            .await
            .context("it is started no more")?;
        Ok(())
    }

    /// Ends it for good.
    pub(super) async fn stop(&mut self) -> Result<()> {
        self.stopping.send_replace(true);
        self.signal(Signal::TERM);
        (&mut self.keeping).await?
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        // Its process is killed on drop, and the guard ends the command.
        self.keeping.abort();
    }
}

/// Reads what a process logs until its end.
async fn live(child: &mut Child, id: &str, notes: &Notes) -> Result<()> {
    let pid = child.id().unwrap_or_default();
    notes.note(Change::Started {
        candidate: id.to_owned(),
        pid,
    });
    let stderr = child.stderr.take().context("no stderr")?;
    let mut last = String::new();
    let reading = lines(stderr, |line| {
        if let Some(change) = change(&line, id) {
            notes.note(change);
        }
        last = line;
    });
    let (status, ()) = tokio::join!(child.wait(), reading);
    let status = status?;
    let last = if status.code().is_some_and(|code| code != 0 && code < 128) {
        last
    } else {
        String::new()
    };
    notes.note(Change::Exited {
        candidate: id.to_owned(),
        how: format!("{status} {last}").trim_end().to_owned(),
    });
    Ok(())
}

async fn lines(from: impl AsyncRead + Unpin, mut each: impl FnMut(String)) {
    let mut lines = BufReader::new(from).lines();
    // An error here is the end of the process.
    while let Ok(Some(line)) = lines.next_line().await {
        each(line);
    }
}

/// What a line of a candidate's log says of its terms.
fn change(line: &str, id: &str) -> Option<Change> {
    let field = |name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}="))?;
        Some(rest)
    };
    let token = || field("token")?.split(' ').next()?.parse().ok();
    let candidate = id.to_owned();
    if line.contains(": elected election=") {
        return Some(Change::Elected {
            candidate,
            token: token()?,
        });
    }
    if line.contains(": term ended election=") {
        return Some(Change::Ended {
            candidate,
            token: token()?,
            reason: field("reason")?.to_owned(),
        });
    }
    None
}

/// The child processes of a process.
fn children(parent: Pid) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero()))? {
        let children = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        let pids = children
            .split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        found.extend(pids);
    }
    Ok(found)
}

/// A follower: `leadership watch`.
#[derive(Debug)]
pub(super) struct Follower {
    reading: JoinHandle<()>,
}

impl Follower {
    pub(super) fn start(program: &Program, url: &str, name: &str, notes: Notes) -> Result<Self> {
        let arguments = ["watch", "--store", url, "--election", &program.election, "--json"];
        let mut command = program.call(&arguments);
        command
            .args(["--connect-timeout", "60s", "--log", "error"])
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let follower = name.to_owned();
        let reading = tokio::spawn(async move {
            let _child = child;
            lines(stdout, |line| {
                if let Some(sight) = sight(&line) {
                    let follower = follower.clone();
                    notes.note(Change::Saw { follower, sight });
                }
            })
            .await;
        });
        Ok(Self { reading })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// What a line of `leadership watch --json` says.
fn sight(line: &str) -> Option<Sight> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    match line["change"].as_str()? {
        "leader" | "value" => Some(Sight::Leader {
            name: line["leader"]["value"].as_str()?.to_owned(),
            token: line["leader"]["token"].as_u64(),
        }),
        "no_leader" => Some(Sight::Nobody),
        _ => Some(Sight::Unreachable(
            line["error"].as_str().unwrap_or_default().to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_of_terms() {
        let elected = "2026-01-01T00:00:00.000000Z  INFO leadership_core::driver::election: elected election=jobs \
                       token=17 session=ab";
        let term = Change::Elected {
            candidate: "n1".to_owned(),
            token: 17,
        };
        assert_eq!(change(elected, "n1"), Some(term));
        let ended = "2026-01-01T00:00:00.000000Z  INFO leadership_core::driver::election: term ended election=jobs \
                     token=17 reason=the deadline has passed";
        assert!(
            matches!(change(ended, "n1"), Some(Change::Ended { token: 17, reason, .. }) if reason == "the deadline has passed")
        );
        assert_eq!(change("something else", "n1"), None);
    }

    #[test]
    fn a_watch_tells_who_leads() {
        let leader = r#"{"change":"leader","leader":{"key":"k","token":7,"value":"n1"}}"#;
        let seen = Sight::Leader {
            name: "n1".to_owned(),
            token: Some(7),
        };
        assert_eq!(sight(leader), Some(seen));
        assert_eq!(sight(r#"{"change":"no_leader"}"#), Some(Sight::Nobody));
        assert_eq!(sight("no JSON"), None);
    }
}
