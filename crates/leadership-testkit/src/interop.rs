//! Strangers in our elections: a program of somebody else stands against a process of ours, in both orders, and
//! either is killed. Never two at once, nobody stuck.
//!
//! A stranger prints a line with `leading` when it leads, and lives until it is interrupted or killed.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::cluster::Tool;
use crate::worker::Worker;

/// How long a stranger waits whose predecessor was killed, at worst: Consul's `api.Lock` has a session of 15 s, which
/// lives twice that, and then a lock-delay of as much.
const PATIENCE: Duration = Duration::from_secs(75);
/// The ttl of ours.
const TTL: Duration = Duration::from_secs(4);
/// Long enough for whoever would lead wrongly to do so.
const WRONGLY: Duration = Duration::from_millis(700);
/// Ours that resigns may be first again, where the store has no line that all know.
const RESIGNATIONS: usize = 20;

/// A program of somebody else.
#[async_trait(?Send)]
pub trait Stranger {
    /// The next line that it prints; `None` once it has ended. Cancel safe.
    async fn line(&mut self) -> Result<Option<String>>;

    /// Asks it to leave.
    async fn interrupt(&mut self) -> Result<()>;

    /// Kills it without warning.
    async fn kill(&mut self) -> Result<()>;
}

#[async_trait(?Send)]
impl Stranger for Tool {
    async fn line(&mut self) -> Result<Option<String>> {
        self.next_line(PATIENCE * 2).await
    }

    async fn interrupt(&mut self) -> Result<()> {
        Self::interrupt(self).await
    }

    async fn kill(&mut self) -> Result<()> {
        Self::kill(self).await
    }
}

/// A stranger that is a process on this machine; killed on drop.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { child, lines })
    }
}

#[async_trait(?Send)]
impl Stranger for Program {
    async fn line(&mut self) -> Result<Option<String>> {
        Ok(self.lines.next_line().await?)
    }

    async fn interrupt(&mut self) -> Result<()> {
        let pid = self.child.id().context("it has ended")?.cast_signed();
        let pid = rustix::process::Pid::from_raw(pid).context("a process number")?;
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }

    async fn kill(&mut self) -> Result<()> {
        Ok(self.child.start_kill()?)
    }
}

/// What a case works with.
#[derive(Debug)]
pub struct Meeting<S> {
    /// The store's URL, for ours.
    pub url: String,
    /// The election that both stand in.
    pub election: String,
    /// Starts a stranger that stands in it.
    pub stranger: S,
}

impl<S: AsyncFn() -> Result<Box<dyn Stranger>>> Meeting<S> {
    fn ours(&self) -> Result<Worker> {
        Worker::start(&self.url, &self.election, TTL, 1)
    }

    /// They lead and we wait, until they leave; then they wait for us.
    ///
    /// # Errors
    /// Two at once, or somebody stuck.
    pub async fn they_leave_and_we_lead(&self) -> Result<()> {
        let mut theirs = (self.stranger)().await?;
        leads(&mut *theirs).await?;
        let mut ours = self.ours()?;
        waits(&mut ours).await?;
        theirs.interrupt().await?;
        ours.expect("elected").await?;
        ours.end().await
    }

    /// They lead and we wait, until they are killed.
    ///
    /// # Errors
    /// Two at once, or somebody stuck.
    pub async fn they_are_killed_and_we_lead(&self) -> Result<()> {
        let mut theirs = (self.stranger)().await?;
        leads(&mut *theirs).await?;
        let mut ours = self.ours()?;
        waits(&mut ours).await?;
        theirs.kill().await?;
        elected_in_the_end(&mut ours).await?;
        ours.end().await
    }

    /// We lead and they wait, until we resign; then we wait for them.
    ///
    /// # Errors
    /// Two at once, or somebody stuck.
    pub async fn we_resign_and_they_lead(&self) -> Result<()> {
        let mut ours = self.ours()?;
        ours.expect("elected").await?;
        let mut theirs = (self.stranger)().await?;
        ensure!(!leads_wrongly(&mut *theirs).await?, "two at once");
        for _ in 0..RESIGNATIONS {
            ours.resign().await?;
            ours.expect("resigning").await?;
            ours.expect("resigned").await?;
            tokio::select! {
                led = leads(&mut *theirs) => {
                    led?;
                    waits(&mut ours).await?;
                    theirs.interrupt().await?;
                    ours.expect("elected").await?;
                    return ours.end().await;
                }
                elected = ours.expect("elected") => elected.map(drop)?,
            }
        }
        bail!("they never led")
    }

    /// We lead and they wait, until we are killed.
    ///
    /// # Errors
    /// Two at once, or somebody stuck.
    pub async fn we_are_killed_and_they_lead(&self) -> Result<()> {
        let mut ours = self.ours()?;
        ours.expect("elected").await?;
        let mut theirs = (self.stranger)().await?;
        ensure!(!leads_wrongly(&mut *theirs).await?, "two at once");
        ours.kill().await?;
        leads(&mut *theirs).await?;
        theirs.interrupt().await
    }
}

async fn leads(theirs: &mut dyn Stranger) -> Result<()> {
    let led = async {
        while let Some(line) = theirs.line().await? {
            if line.contains("leading") {
                return Ok(());
            }
        }
        bail!("the stranger has ended")
    };
    timeout(PATIENCE, led)
        .await
        .context("the stranger does not lead")?
}

async fn leads_wrongly(theirs: &mut dyn Stranger) -> Result<bool> {
    match timeout(WRONGLY, leads(theirs)).await {
        Ok(led) => led.map(|()| true),
        Err(_) => Ok(false),
    }
}

async fn waits(ours: &mut Worker) -> Result<()> {
    match timeout(WRONGLY, ours.expect("elected")).await {
        Ok(elected) => {
            elected?;
            bail!("two at once")
        }
        Err(_) => Ok(()),
    }
}

/// Longer than one line's patience.
async fn elected_in_the_end(ours: &mut Worker) -> Result<()> {
    ours.expect_within("elected", PATIENCE).await.map(drop)
}
