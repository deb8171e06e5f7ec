//! A process of its own that stands in one election and testifies when it led, on the clock that all processes of a
//! machine share. It is the very test program, started again as a child, that a test can kill, stop and continue.
//!
//! [`serve`] is the child, [`Witness`] what its parent has of it, [`Record`] what it has said so far. A case that
//! fails panics, so this is for tests only.
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

mod record;
mod testify;

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::trials::soon;
pub use record::{Doing, Record, Testimony};
pub use testify::serve;

/// Set for the child: URL, election, name, and the ttl in milliseconds.
const ORDER: &str = "LEADERSHIP_TEST_WITNESS";

/// A witness as its parent has it; killed when dropped.
#[derive(Debug)]
pub struct Witness {
    child: Child,
    pid: Pid,
    stdin: Option<ChildStdin>,
    record: watch::Receiver<Record>,
    /// Ends when all that the child has said is in the record.
    hearing: JoinHandle<()>,
}

impl Witness {
    /// Has a process of its own stand under this name.
    pub fn start(url: &str, election: &str, name: &str, ttl: Duration) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ORDER, format!("{url} {election} {name} {}", ttl.as_millis()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, record) = watch::channel(Record::default());
        let hearing = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|record| record.hear(&line));
            }
        });
        Self {
            child,
            pid,
            stdin,
            record,
            hearing,
        }
    }

    /// What it has said so far.
    pub fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    /// Sends it a signal, such as SIGSTOP.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Tells it to leave the election.
    pub async fn stop(&mut self) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(b"stop\n").await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// Kills it without warning. When this returns it is dead, and the record complete.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
        soon("all is heard", &mut self.hearing).await.unwrap();
    }

    /// Closes its input, and waits until it has closed its session and ended by itself.
    pub async fn end(mut self) {
        drop(self.stdin.take());
        assert!(soon("the child ends", self.child.wait()).await.unwrap().success());
    }
}
